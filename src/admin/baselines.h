/* Published advice on TLS, as data: what it allows and what it wants. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct baseline {
    const char *name, *title, *version, *date, *source;
    bool tls12_allowed, tls12_wanted, tls13_wanted;
    const char *suites;        /* of both versions, OpenSSL's names joined by colons */
    const char *groups;        /* allowed; IANA names, lower case; NULL: not judged */
    const char *groups_wanted; /* each of them; NULL: not judged */
    bool rsa_allowed;
    bool client_order_wanted; /* the client's order of suites decides */
    bool alpn_wanted;
    uint64_t ticket_lifetime_max; /* ms; 0: not judged */
};

extern const struct baseline baselines[];
extern const size_t baseline_count;

const struct baseline *baseline_find(const char *name); /* NULL: there is none of this name */
