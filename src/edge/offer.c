#include "edge/offer.h"

#include <string.h>

static size_t padded(size_t size)
{
    return (size + 15) & ~(size_t)15;
}

static size_t client_size(const struct session_offer *offer)
{
    return offer->generation.trust != 0 ? sizeof(struct client_identity) : 0;
}

_Static_assert(sizeof(struct session_offer) % 8 == 0, "what follows is aligned");

bool offer_append(struct offer_batch *batch, const struct session_offer *offer,
                  const struct client_identity *client, const uint8_t *preamble,
                  const uint8_t *surplus, int fd)
{
    size_t known = client_size(offer);
    size_t size = sizeof *offer + known + offer->preamble_size + offer->surplus_size;
    uint8_t *place = batch->body + batch->size;

    if (batch->count == MESSAGE_OFFERS_MAX || padded(size) > sizeof batch->body - batch->size)
        return false;
    memcpy(place, offer, sizeof *offer);
    ((struct session_offer *)(void *)place)->size = (uint32_t)size;
    if (known != 0)
        memcpy(place + sizeof *offer, client, known);
    place += sizeof *offer + known;
    if (offer->preamble_size != 0)
        memcpy(place, preamble, offer->preamble_size);
    if (offer->surplus_size != 0)
        memcpy(place + offer->preamble_size, surplus, offer->surplus_size);
    batch->fds[batch->count++] = fd;
    batch->size += padded(size);
    return true;
}

const struct session_offer *offer_next(const uint8_t *body, size_t size, size_t *at,
                                       const struct client_identity **ret_client,
                                       const uint8_t **ret_data)
{
    const struct session_offer *offer = (const void *)(body + *at);

    if (*at > size || size - *at < sizeof *offer)
        return NULL;
    size_t known = client_size(offer);
    if (offer->size < sizeof *offer + known || offer->size > size - *at ||
        offer->preamble_size > BLOCK_SIZE || offer->surplus_size > offer->size ||
        offer->size - sizeof *offer - known < offer->surplus_size ||
        offer->size - sizeof *offer - known - offer->surplus_size != offer->preamble_size)
        return NULL;
    *ret_client = known != 0 ? (const void *)(body + *at + sizeof *offer) : NULL;
    *ret_data = body + *at + sizeof *offer + known;
    *at += padded(offer->size);
    return offer;
}
