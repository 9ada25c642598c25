/* Judges chains of test vectors: a line in, a line out. For tests/vectors/run.
 *
 *   STORE <tab> CHAIN <tab> UNIX SECONDS <tab> ignore-ends|look-at-ends  ->  outcome <tab> reason
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tls/chain.h"

static const char *judge(const char *store_path, const char *chain_path, int64_t at,
                         bool ignore_ends, struct chain_verdict *ret_verdict)
{
    const struct certificate_facts *served[CHAIN_SERVED_MAX];
    struct chain_store *store = NULL;
    static struct error error;
    size_t count = 0;

    if (chain_store_new(&store, "vectors", store_path, &error) != 0)
        return error.message;
    if (certificate_facts_read(served, CHAIN_SERVED_MAX, &count, chain_path, NULL, &error) != 0) {
        chain_store_unref(store);
        return error.message;
    }
    if (ignore_ends)
        chain_store_ignore_ends(store);
    struct chain_question question = {.served = served, .count = count, .at = at};
    chain_judge(store, &question, ret_verdict);
    for (size_t i = 0; i < count; i++)
        certificate_facts_unref(served[i]);
    chain_store_unref(store);
    return NULL;
}

int main(void)
{
    char line[8192];

    while (fgets(line, sizeof line, stdin) != NULL) {
        struct chain_verdict verdict = {.path_count = 0};
        char *store = strtok(line, "\t\n"), *chain = strtok(NULL, "\t\n"),
             *at = strtok(NULL, "\t\n"), *ends = strtok(NULL, "\t\n");
        if (ends == NULL)
            return 2;
        const char *unreadable =
            judge(store, chain, strtoll(at, NULL, 10), strcmp(ends, "ignore-ends") == 0, &verdict);
        printf("%s\t%s\n", unreadable != NULL ? "unreadable" : chain_outcome_name(verdict.outcome),
               unreadable != NULL ? unreadable : verdict.reason);
        fflush(stdout);
        chain_verdict_fini(&verdict);
    }
    return 0;
}
