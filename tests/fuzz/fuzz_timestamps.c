/* Any bytes as a list of certificate timestamps. */
#include <stdlib.h>

#include "tls/timestamps.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const struct certificate_facts certificate = {.not_after = 1};
    struct timestamps timestamps = {0};
    struct timestamps_policy policy;

    timestamps_add(&timestamps, TIMESTAMP_TLS, data, size, &certificate, NULL, NULL, 1700000000);
    timestamps_weigh(&policy, &timestamps, &certificate);
    if (timestamps.count > TIMESTAMPS_MAX || policy.counted > timestamps.count)
        abort();
    return 0;
}
