/* A batch of sessions on its way from a handshaker to a relay: building and reading in one place.
 */
#pragma once

#include "session/messages.h"

struct offer_batch {
    size_t size;
    size_t count;
    int fds[MESSAGE_OFFERS_MAX];
    uint8_t body[65536] __attribute__((aligned(16)));
};

/* Appends; false when the batch has no room (send it first). The batch owns `fd` then. `client` is
 * looked at when generation.trust is not 0. */
bool offer_append(struct offer_batch *batch, const struct session_offer *offer,
                  const struct client_identity *client, const uint8_t *preamble,
                  const uint8_t *surplus, int fd);

/* Reads the offer at *at and advances; NULL at the end or when the rest is malformed. *ret_client:
 * NULL without a client certificate. */
const struct session_offer *offer_next(const uint8_t *body, size_t size, size_t *at,
                                       const struct client_identity **ret_client,
                                       const uint8_t **ret_data);
