/* Any bytes as a trust set on its way to handshakers: what is accepted is written and read again
 * unchanged, and judges. */
#include <stdlib.h>
#include <string.h>

#include "tls/trust_set.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const struct client_identity client = {.not_after = INT64_MAX, .chain_count = 2};
    struct trust_set *set, *again;
    struct trust_facts facts;
    struct error error;

    if (trust_set_import(&set, data, size, &error) != 0)
        return 0;
    uint8_t *document = trust_set_export(set, &size);
    if (document == NULL || trust_set_import(&again, document, size, &error) != 0 ||
        memcmp(trust_set_digest(set), trust_set_digest(again), 32) != 0)
        abort();
    trust_set_facts(again, &facts);
    if (trust_set_judge(set, &client, 0) != trust_set_judge(again, &client, 0) ||
        trust_set_stale(set, 1) != trust_set_stale(again, 1) ||
        trust_set_follows(set, again, 0, &error) != 0)
        abort();
    trust_set_unref(set);
    trust_set_unref(again);
    free(document);
    return 0;
}
