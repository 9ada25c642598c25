/* What TLS stacks do with keys, by family: what they renew by themselves, what they cannot take.
 * Shown by `keylife --clients` and in the policy document. */
#pragma once

#include <jansson.h>
#include <stddef.h>

/* How it is known. */
enum client_evidence {
    CLIENT_MEASURED, /* by running this version against a server of ours */
    CLIENT_REPORTED  /* by others, at `source` */
};

struct client_facts {
    const char *family;
    const char *version;       /* looked at; "" for several */
    const char *renews;        /* when it renews its sending key by itself */
    const char *key_updates;   /* what it does with KeyUpdates that come to it */
    const char *renegotiation; /* TLS 1.2, asked for by the server */
    const char *post_handshake_authentication;
    enum client_evidence evidence;
    const char *source;
};

#define CLIENT_FACTS_AS_OF "2026-11"

extern const struct client_facts client_facts[];
extern const size_t client_facts_count;

const char *client_evidence_name(enum client_evidence evidence);

json_t *client_facts_to_json(const struct client_facts *facts);
