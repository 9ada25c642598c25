#include "edge/offer.h"

#include <string.h>

static size_t padded(size_t size)
{
    return (size + 15) & ~(size_t)15;
}

bool offer_append(struct offer_batch *batch, const struct session_offer *offer,
                  const uint8_t *preamble, const uint8_t *surplus, int fd)
{
    size_t size = sizeof *offer + offer->preamble_size + offer->surplus_size;
    uint8_t *place = batch->body + batch->size;

    if (batch->count == MESSAGE_OFFERS_MAX || padded(size) > sizeof batch->body - batch->size)
        return false;
    memcpy(place, offer, sizeof *offer);
    ((struct session_offer *)(void *)place)->size = (uint32_t)size;
    if (offer->preamble_size != 0)
        memcpy(place + sizeof *offer, preamble, offer->preamble_size);
    if (offer->surplus_size != 0)
        memcpy(place + sizeof *offer + offer->preamble_size, surplus, offer->surplus_size);
    batch->fds[batch->count++] = fd;
    batch->size += padded(size);
    return true;
}

const struct session_offer *offer_next(const uint8_t *body, size_t size, size_t *at,
                                       const uint8_t **ret_data)
{
    const struct session_offer *offer = (const void *)(body + *at);

    if (*at > size || size - *at < sizeof *offer)
        return NULL;
    if (offer->size < sizeof *offer || offer->size > size - *at ||
        offer->preamble_size > BLOCK_SIZE || offer->surplus_size > offer->size ||
        offer->size - sizeof *offer - offer->surplus_size != offer->preamble_size)
        return NULL;
    *ret_data = body + *at + sizeof *offer;
    *at += padded(offer->size);
    return offer;
}
