/* The parts of `holdfast keylife`. */
#pragma once

#include "admin/control_client.h"
#include "tls/key_limits.h"

struct keylife {
    const char *cipher; /* as it is shown */
    struct key_question question;
    unsigned sequence_bits;
    double rate;        /* bytes per second; 0: not given */
    double volume;      /* bytes to be sent; 0: not given */
    double fleet_bytes; /* sent under all keys; 0: one key alone */
    bool tls12;
    bool json;
};

/* keylife_report.c: the answer. Returns the exit code. */
int keylife_report(const struct keylife *life);

/* keylife_clients.c: what TLS stacks do by themselves. */
int keylife_clients(bool json);

/* keylife_listener.c: where the keys of the running sessions stand. */
int keylife_listener(const char *listener, const struct client_options *options);
