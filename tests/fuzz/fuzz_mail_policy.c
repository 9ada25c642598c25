/* Any bytes as a policy of MTA-STS, and its first bytes as the record that leads to it. */
#include <stdlib.h>
#include <string.h>

#include "watch/mail_policy.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct mail_policy policy;
    char record[512] = "";

    memcpy(record, data, size < sizeof record ? size : sizeof record - 1);
    if (mail_policy_is_record(record) && mail_policy_record_defect(record) == NULL &&
        strstr(record, "id=") == NULL)
        abort();
    if (mail_policy_parse(&policy, data, size) == NULL &&
        (policy.pattern_count > MAIL_POLICY_PATTERNS_MAX ||
         mail_policy_covers(&policy, "no host has spaces")))
        abort();
    return 0;
}
