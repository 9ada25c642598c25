#include "watch/judge.h"

#include <string.h>
#include <time.h>

static void ask_store(struct endpoint *endpoint, struct chain_store *store,
                      const struct check_policy *policy)
{
    struct endpoint_trust *trust = &endpoint->trust[endpoint->trust_count++];
    const struct chain_question question = {.served = endpoint->seen.chain,
                                            .count = endpoint->seen.chain_count,
                                            .name =
                                                endpoint->name[0] != '\0' ? endpoint->name : NULL,
                                            .policies = &policy->policies,
                                            .at = policy->at};

    trust->store = store;
    chain_judge(store, &question, &trust->verdict);
}

/* The first store's best path says which certificates matter; without one, all of them do. */
static void take_needed(struct endpoint *endpoint)
{
    const struct chain_verdict *verdict = &endpoint->trust[0].verdict;

    if (verdict->path_count == 0)
        return;
    endpoint->needed_count = verdict->paths[0].count;
    memcpy(endpoint->needed, verdict->paths[0].certificates,
           endpoint->needed_count * sizeof *endpoint->needed);
}

static void take_end(struct endpoint *endpoint)
{
    int64_t first = INT64_MAX;

    for (size_t i = 0; i < endpoint->trust_count; i++) {
        int64_t end = endpoint->trust[i].verdict.breaks_at;
        if (end < first)
            first = end;
    }
    endpoint->breaks_at = endpoint->trust_count > 0 ? first : 0;
}

static struct check_policy policy_of(const struct checker_options *options)
{
    struct check_policy policy = options->policy;

    if (policy.at == 0)
        policy.at = time(NULL);
    return policy;
}

void judge_trust(struct endpoint *endpoint, const struct checker_options *options)
{
    const struct check_policy policy = policy_of(options);

    endpoint->judged_at = options->policy.at;
    if (endpoint->seen.chain_count == 0)
        return;
    for (size_t i = 0; i < options->store_count; i++)
        ask_store(endpoint, options->stores[i], &policy);
    if (endpoint->trust_count > 0)
        take_needed(endpoint);
    take_end(endpoint);
}

void judge_findings(struct endpoint *endpoint, const struct checker_options *options)
{
    const struct check_policy policy = policy_of(options);

    check_endpoint(endpoint, &policy);
}
