/* Any bytes as revocation lists; without an issuer they may say nothing, alone and together. */
#include <stdlib.h>

#include "tls/revocation.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const struct certificate_facts nobody = {0};
    const struct crl_question question = {.certificate = &nobody, .at = 1700000000};
    struct crl_verdict verdict;
    struct crl_answer answer;
    struct crl *lists[4];
    size_t count = 0;

    if (crl_new_all(lists, 4, &count, data, size, NULL) != 0)
        return 0;
    crl_judge_all(&answer, lists, count, &question);
    if (answer.verdict.outcome != CRL_ISSUER_UNKNOWN || answer.left_out < count)
        abort();
    for (size_t i = 0; i < count; i++) {
        crl_judge(&verdict, lists[i], &question);
        if (verdict.outcome != CRL_ISSUER_UNKNOWN || crl_size(lists[i]) == 0)
            abort();
        crl_unref(lists[i]);
    }
    return 0;
}
