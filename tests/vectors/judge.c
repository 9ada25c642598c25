/* Judges chains of test vectors: a line in, a line out. For tests/vectors/run.
 *
 *   STORE <tab> CHAIN <tab> UNIX SECONDS <tab> ignore-ends|look-at-ends
 *     -> outcome <tab> reason <tab> ids of critical findings, comma separated
 *
 * STORE "-": nobody is trusted; the findings are then what the certificates say of themselves. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "watch/checks/check.h"

struct line {
    const char *store, *chain;
    int64_t at;
    bool ignore_ends;
};

static int read_files(const struct line *line, struct endpoint *endpoint,
                      struct chain_store **ret_store, struct error *error)
{
    int result = certificate_facts_read(endpoint->seen.chain, CHAIN_SERVED_MAX,
                                        &endpoint->seen.chain_count, line->chain, NULL, error);

    if (result != 0 || strcmp(line->store, "-") == 0)
        return result;
    result = chain_store_new(ret_store, "vectors", line->store, error);
    if (result == 0 && line->ignore_ends)
        chain_store_ignore_ends(*ret_store);
    return result;
}

static void ask(const struct line *line, struct endpoint *endpoint, struct chain_store *store)
{
    const struct chain_question question = {
        .served = endpoint->seen.chain, .count = endpoint->seen.chain_count, .at = line->at};
    struct chain_verdict *verdict = &endpoint->trust[0].verdict;

    endpoint->trust[0].store = store;
    endpoint->trust_count = 1;
    chain_judge(store, &question, verdict);
    if (verdict->path_count > 0) {
        endpoint->needed_count = verdict->paths[0].count;
        memcpy(endpoint->needed, verdict->paths[0].certificates,
               endpoint->needed_count * sizeof *endpoint->needed);
    }
}

static void print(const struct endpoint *endpoint)
{
    const struct chain_verdict *verdict = &endpoint->trust[0].verdict;
    bool asked = endpoint->trust_count > 0;

    printf("%s\t%s\t", asked ? chain_outcome_name(verdict->outcome) : "not-asked",
           asked ? verdict->reason : "");
    for (size_t i = 0; i < endpoint->findings.count; i++) {
        if (endpoint->findings.items[i].severity == SEVERITY_CRITICAL)
            printf("%s,", endpoint->findings.items[i].id);
    }
    printf("\n");
}

static void judge(const struct line *line, struct endpoint *endpoint)
{
    const struct check_policy policy = {.at = line->at};
    struct chain_store *store = NULL;
    struct error error = {.code = ERROR_NONE};

    if (read_files(line, endpoint, &store, &error) != 0) {
        printf("unreadable\t%s\t\n", error.message);
    } else {
        if (store != NULL)
            ask(line, endpoint, store);
        check_chain_shape(endpoint, &policy, &endpoint->findings);
        check_certificates(endpoint, &policy, &endpoint->findings);
        print(endpoint);
    }
    fflush(stdout);
    chain_store_unref(store);
}

static void clear(struct endpoint *endpoint)
{
    for (size_t i = 0; i < endpoint->trust_count; i++)
        chain_verdict_fini(&endpoint->trust[i].verdict);
    for (size_t i = 0; i < endpoint->seen.chain_count; i++)
        certificate_facts_unref(endpoint->seen.chain[i]);
    memset(endpoint, 0, sizeof *endpoint);
}

int main(void)
{
    static struct endpoint endpoint;
    char text[8192];

    while (fgets(text, sizeof text, stdin) != NULL) {
        char *store = strtok(text, "\t\n"), *chain = strtok(NULL, "\t\n"),
             *at = strtok(NULL, "\t\n"), *ends = strtok(NULL, "\t\n");
        if (ends == NULL)
            return 2;
        struct line line = {.store = store,
                            .chain = chain,
                            .at = strtoll(at, NULL, 10),
                            .ignore_ends = strcmp(ends, "ignore-ends") == 0};
        judge(&line, &endpoint);
        clear(&endpoint);
    }
    return 0;
}
