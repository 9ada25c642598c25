/* Judges chains of test vectors: a line in, a line out. For tests/vectors/run.
 *
 *   STORE <tab> CHAIN <tab> UNIX SECONDS <tab> ignore-ends|look-at-ends <tab> LISTS <tab> POLICIES
 *     -> outcome <tab> reason <tab> ids of critical findings, comma separated
 *
 * STORE "-": nobody is trusted; the findings are then what the certificates say of themselves.
 * LISTS: a file of revocation lists; every certificate of the path must be on none and in the scope
 * of one. "-": not looked at.
 * POLICIES: words with "+" between them: "required", "no-mapping", "no-any", and the policies that
 * are accepted, in dotted numbers. "-": none are asked for. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/oid.h"
#include "tls/revocation.h"
#include "watch/checks/check.h"

#define LISTS_MAX 16

struct line {
    const char *store, *chain, *lists;
    int64_t at;
    bool ignore_ends;
    struct chain_policies policies;
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
    const struct chain_question question = {.served = endpoint->seen.chain,
                                            .count = endpoint->seen.chain_count,
                                            .at = line->at,
                                            .policies = &line->policies};
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

/* ---- revocation lists ---- */

static size_t read_lists(struct crl *lists[LISTS_MAX], const char *path)
{
    static uint8_t data[1 << 20];
    FILE *file = fopen(path, "rb");
    size_t size = file != NULL ? fread(data, 1, sizeof data, file) : 0, count = 0;

    if (file != NULL)
        fclose(file);
    if (crl_new_all(lists, LISTS_MAX, &count, data, size, NULL) != 0)
        count = 0;
    return count;
}

/* NULL: nothing against the path. */
static const char *judge_lists(const struct line *line, const struct endpoint *endpoint)
{
    struct crl *lists[LISTS_MAX];
    size_t count = read_lists(lists, line->lists);
    const char *against = NULL;

    for (size_t i = 0; i + 1 < endpoint->needed_count && against == NULL; i++) {
        struct crl_answer answer;
        const struct crl_question question = {.certificate = endpoint->needed[i],
                                              .issuers = endpoint->needed + i + 1,
                                              .issuer_count = endpoint->needed_count - i - 1,
                                              .others = endpoint->seen.chain,
                                              .other_count = endpoint->seen.chain_count,
                                              .at = line->at};
        crl_judge_all(&answer, lists, count, &question);
        if (answer.verdict.outcome == CRL_REVOKED)
            against = "revoked";
        else if (answer.verdict.outcome != CRL_GOOD)
            against = "unknown";
    }
    for (size_t i = 0; i < count; i++)
        crl_unref(lists[i]);
    return against;
}

/* ---- the answer ---- */

static void print(const struct line *line, const struct endpoint *endpoint)
{
    const struct chain_verdict *verdict = &endpoint->trust[0].verdict;
    bool asked = endpoint->trust_count > 0;

    const char *outcome = asked ? chain_outcome_name(verdict->outcome) : "not-asked";
    const char *revoked =
        line->lists != NULL && endpoint->needed_count > 0 ? judge_lists(line, endpoint) : NULL;

    printf("%s\t%s\t", revoked != NULL ? revoked : outcome, asked ? verdict->reason : "");
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
        print(line, endpoint);
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

static void read_policies(struct chain_policies *policies, char *text)
{
    for (char *word; (word = strsep(&text, "+")) != NULL;) {
        if (strcmp(word, "required") == 0)
            policies->required = true;
        else if (strcmp(word, "no-mapping") == 0)
            policies->mapping_inhibited = true;
        else if (strcmp(word, "no-any") == 0)
            policies->any_inhibited = true;
        else if (policies->count < CHAIN_POLICIES_MAX && oid_valid(word))
            policies->accepted[policies->count++] = word;
    }
}

int main(void)
{
    static struct endpoint endpoint;
    char text[8192];

    while (fgets(text, sizeof text, stdin) != NULL) {
        char *store = strtok(text, "\t\n"), *chain = strtok(NULL, "\t\n"),
             *at = strtok(NULL, "\t\n"), *ends = strtok(NULL, "\t\n"),
             *lists = strtok(NULL, "\t\n"), *policies = strtok(NULL, "\t\n");
        if (policies == NULL)
            return 2;
        struct line line = {.store = store,
                            .chain = chain,
                            .lists = strcmp(lists, "-") != 0 ? lists : NULL,
                            .at = strtoll(at, NULL, 10),
                            .ignore_ends = strcmp(ends, "ignore-ends") == 0};
        read_policies(&line.policies, policies);
        judge(&line, &endpoint);
        clear(&endpoint);
    }
    return 0;
}
