/* Certificate transparency, report only: browsers enforce it by lists of their own. */
#include <stdio.h>

#include "base/string.h"
#include "watch/checks/check.h"
#include "watch/checks/words.h"

static const char reissue[] =
    "have the certificate issued anew; a CA that browsers trust sees to its timestamps by itself";

static size_t count_of(const struct timestamps *timestamps, enum timestamp_outcome outcome)
{
    size_t count = 0;

    for (size_t i = 0; i < timestamps->count; i++)
        count += timestamps->items[i].outcome == outcome;
    return count;
}

/* Wrong ones are wrong below any root. */
static void judge_each(struct findings *findings, const struct timestamps *timestamps,
                       const struct certificate_facts *leaf)
{
    static const enum timestamp_outcome wrong[] = {TIMESTAMP_BAD_SIGNATURE,
                                                   TIMESTAMP_FROM_THE_FUTURE};
    size_t unknown = count_of(timestamps, TIMESTAMP_UNKNOWN_LOG);

    if (timestamps->malformed)
        words_blame(findings_add(findings, "timestamps-malformed", SEVERITY_WARNING, reissue,
                                 "the certificate's transparency timestamps cannot be read"),
                    leaf);
    for (size_t i = 0; i < ARRAY_SIZE(wrong); i++) {
        size_t count = count_of(timestamps, wrong[i]);
        if (count > 0)
            words_blame(findings_add(findings, "timestamps-invalid", SEVERITY_WARNING, reissue,
                                     "%zu of %zu transparency timestamps are not valid: %s", count,
                                     timestamps->count, timestamp_outcome_name(wrong[i])),
                        leaf);
    }
    if (unknown > 0)
        findings_add(findings, "timestamps-unknown-log", SEVERITY_INFO,
                     "nothing; or give a newer list of logs",
                     "%zu of %zu transparency timestamps are of logs that the list does not have",
                     unknown, timestamps->count);
}

void check_timestamps(const struct endpoint *endpoint, const struct check_policy *policy,
                      struct findings *findings)
{
    const struct timestamps *timestamps = &endpoint->revocation.timestamps;
    struct timestamps_policy weight;

    (void)policy;
    if (!endpoint->revocation.prepared || endpoint->seen.chain_count == 0)
        return;
    const struct certificate_facts *leaf = endpoint->seen.chain[0];
    judge_each(findings, timestamps, leaf);
    timestamps_weigh(&weight, timestamps, leaf);
    if (weight.enough || !words_public(endpoint))
        return;
    struct finding *finding =
        findings_add(findings, "timestamps-missing", SEVERITY_WARNING, reissue,
                     "browsers ask for more certificate transparency: %s", weight.missing);
    snprintf(finding->evidence, sizeof finding->evidence,
             "%zu of %zu needed distinct logs, %zu operators", weight.counted, weight.needed,
             weight.operators);
    words_blame(finding, leaf);
}
