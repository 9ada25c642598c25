/* Any bytes as a stapled OCSP response: nothing unsigned may be believed. */
#include <stdlib.h>

#include "tls/revocation.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct ocsp_verdict verdict;
    uint8_t *list = NULL;
    size_t list_size;

    ocsp_judge(&verdict, data, size, NULL, NULL, 1700000000);
    if (verdict.outcome == OCSP_GOOD || verdict.outcome == OCSP_REVOKED)
        abort();
    if (ocsp_timestamps(&list, &list_size, data, size))
        free(list);
    return 0;
}
