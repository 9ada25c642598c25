/* Any bytes as a batch of sessions from a handshaker: what is accepted lies inside the message, and
 * is the same when it is put into a batch of our own and read again. */
#include <stdlib.h>
#include <string.h>

#include "edge/offer.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* A batch of our own has the offers without what lies between them. */
static void check_again(const struct session_offer *offer, const struct client_identity *client,
                        const uint8_t *follows)
{
    static struct offer_batch batch;
    const struct client_identity *client_again;
    const uint8_t *data;
    size_t at = 0;

    batch.size = batch.count = 0;
    if (!offer_append(&batch, offer, client, follows, follows + offer->preamble_size, -1))
        abort();
    const struct session_offer *again =
        offer_next(batch.body, batch.size, &at, &client_again, &data);
    if (again == NULL || memcmp(again, offer, sizeof *offer) != 0 ||
        (client == NULL) != (client_again == NULL) ||
        (client != NULL && memcmp(client, client_again, sizeof *client) != 0) ||
        memcmp(data, follows, offer->preamble_size + offer->surplus_size) != 0)
        abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const struct client_identity *client;
    const struct session_offer *offer;
    const uint8_t *follows;
    size_t at = 0;

    if (size > sizeof((struct offer_batch *)NULL)->body)
        return 0;
    /* A copy of exactly this size, aligned as a received message is, so that a step outside is
     * seen. */
    uint8_t *body = malloc(size);
    if (size != 0)
        memcpy(body, data, size);
    while (size != 0 && (offer = offer_next(body, size, &at, &client, &follows)) != NULL)
        check_again(offer, client, follows);
    free(body);
    return 0;
}
