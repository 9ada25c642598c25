/* What a handshaker judges client certificates by: a trust set per listener, sent by control. */
#pragma once

#include "edge/worker.h"
#include "tls/trust_set.h"

struct client_trust {
    struct trust_set *sets[CONF_LISTENERS_MAX];
    struct trust_set *next[CONF_LISTENERS_MAX]; /* of the configuration that is prepared */
};

/* Takes what control sends, for the configuration in force or the prepared one; one that is of
 * neither is left out. `document` NULL: there is none any more. *ret_changed: the set in force is
 * another one. */
MUST_CHECK int client_trust_take(struct client_trust *trust, const struct worker *worker,
                                 const struct message_client_trust *body, const char *document,
                                 size_t size, bool *ret_changed, struct error *error);
/* What was prepared is in force; listeners that have or had a set are marked: their contexts hold
 * on to the one before. */
void client_trust_swap(struct client_trust *trust, bool ret_changed[CONF_LISTENERS_MAX]);
void client_trust_fini(struct client_trust *trust); /* accepts zeroed */
