/* Finding all paths, and what they come to. Depth first over what was sent, fetched and trusted;
 * whatever a server sends, the work is bounded by a budget of comparisons. */
#include "tls/chain_internal.h"

#include <arpa/inet.h>
#include <string.h>

#include "tls/certificate_facts_internal.h"

#define POOL_MAX        (2 * CHAIN_SERVED_MAX)
#define COMPARISONS_MAX 4096
#define SIGNATURES_MAX  256 /* by name the issuer, so verified */

/* Why there is no path: the attempt that came furthest counts. */
struct failure {
    unsigned progress; /* 0: none yet */
    int code;
    const struct certificate_facts *at;
};

struct search {
    const struct chain_store *store;
    const struct chain_question *question;
    const struct certificate_facts *pool[POOL_MAX]; /* those who may stand between, each once */
    unsigned long pool_hashes[POOL_MAX];            /* of their subjects */
    size_t pool_count;
    const struct certificate_facts *path[CHAIN_DEPTH_MAX];
    size_t depth;
    unsigned comparisons, signatures;
    bool exhausted;
    struct chain_path paths[CHAIN_PATHS_MAX]; /* that hold at some time, the longest-living first;
                                                 references of the verdict's */
    struct path_result results[CHAIN_PATHS_MAX];
    size_t path_count;
    struct failure failure;
};

static void fail(struct search *search, unsigned progress, int code,
                 const struct certificate_facts *at)
{
    if (progress > search->failure.progress)
        search->failure = (struct failure){progress, code, at};
}

enum { /* a whole path that something forbids says more than one that ends nowhere */
       PROGRESS_DEAD_END = 1, /* + depth */
       PROGRESS_FORBIDDEN = 100,
       PROGRESS_TIME = 200
};

/* ---- a path is whole ---- */

static void path_limit(struct chain_path *path, const struct certificate_facts *facts)
{
    if (facts->not_before > path->not_before)
        path->not_before = facts->not_before;
    if (facts->not_after < path->not_after)
        path->not_after = facts->not_after;
}

static void path_release(struct chain_path *path)
{
    for (size_t i = 0; i < path->count; i++)
        certificate_facts_unref(path->certificates[i]);
}

/* Keeps the longest-living ones. */
static void keep(struct search *search, const struct chain_path *path,
                 const struct path_result *result)
{
    size_t place = search->path_count;

    while (place > 0 && search->paths[place - 1].not_after < path->not_after)
        place--;
    if (place == CHAIN_PATHS_MAX)
        return;
    if (search->path_count == CHAIN_PATHS_MAX)
        path_release(&search->paths[--search->path_count]);
    memmove(search->paths + place + 1, search->paths + place,
            (search->path_count - place) * sizeof *path);
    memmove(search->results + place + 1, search->results + place,
            (search->path_count - place) * sizeof *result);
    search->paths[place] = *path;
    search->results[place] = *result;
    search->path_count++;
    for (size_t i = 0; i < path->count; i++)
        certificate_facts_ref(path->certificates[i]);
}

static void complete(struct search *search)
{
    struct path_result result =
        chain_path_verify(search->path, search->depth, search->question->policies);
    struct chain_path path = {
        .count = search->depth, .not_before = INT64_MIN, .not_after = INT64_MAX};
    bool ignored = chain_store_ends_ignored(search->store) && search->depth > 1;

    if (result.code != X509_V_OK) {
        size_t at = (size_t)result.at < search->depth ? (size_t)result.at : 0;
        fail(search, PROGRESS_FORBIDDEN, result.code, search->path[at]);
        return;
    }
    for (size_t i = 0; i < search->depth; i++) {
        path.certificates[i] = search->path[i];
        if (i + 1 < search->depth || !ignored)
            path_limit(&path, search->path[i]);
    }
    keep(search, &path, &result);
}

/* ---- the search ---- */

/* RFC 4158 §2.4.2: a name with its key stands in a path only once. */
static bool on_path(const struct search *search, const struct certificate_facts *facts)
{
    for (size_t i = 0; i < search->depth; i++) {
        const struct certificate_facts *before = search->path[i];
        if (certificate_facts_same(before, facts) ||
            (memcmp(before->public_key_sha256, facts->public_key_sha256, 32) == 0 &&
             X509_NAME_cmp(X509_get_subject_name(facts_x509(before)),
                           X509_get_subject_name(facts_x509(facts))) == 0))
            return true;
    }
    return false;
}

static enum issued try_issuer(struct search *search, const struct certificate_facts *issuer)
{
    if (search->signatures++ >= SIGNATURES_MAX) {
        search->exhausted = true;
        return ISSUED_NO;
    }
    return chain_issued(search->path[search->depth - 1], issuer);
}

/* What has led nowhere is told by the certificate whose issuer is missing. */
static void dead_end(struct search *search, bool bad_signature)
{
    const struct certificate_facts *last = search->path[search->depth - 1];
    int code = X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT_LOCALLY;

    if (search->exhausted)
        code = X509_V_ERR_CERT_CHAIN_TOO_LONG;
    else if (last->self_signed)
        code = search->depth == 1 ? X509_V_ERR_DEPTH_ZERO_SELF_SIGNED_CERT
                                  : X509_V_ERR_SELF_SIGNED_CERT_IN_CHAIN;
    else if (bad_signature)
        code = X509_V_ERR_CERT_SIGNATURE_FAILURE;
    fail(search, PROGRESS_DEAD_END + (unsigned)search->depth, code, last);
}

static void extend(struct search *search);

/* Anchors first: most paths end as soon as they can. */
static bool extend_to_anchors(struct search *search, unsigned long hash, bool *ret_bad)
{
    size_t first, count;
    bool found = false;

    chain_store_find(search->store, hash, &first, &count);
    for (size_t i = 0; i < count && !search->exhausted; i++) {
        const struct certificate_facts *anchor = chain_store_anchor(search->store, first + i);
        if (anchor == NULL || on_path(search, anchor))
            continue;
        enum issued issued = try_issuer(search, anchor);
        *ret_bad = *ret_bad || issued == ISSUED_BAD_SIGNATURE;
        if (issued != ISSUED_YES)
            continue;
        found = true;
        search->path[search->depth++] = anchor;
        complete(search);
        search->depth--;
    }
    return found;
}

static bool extend_through_pool(struct search *search, unsigned long hash, bool *ret_bad)
{
    bool found = false;

    for (size_t i = 0; i < search->pool_count && !search->exhausted; i++) {
        if (search->comparisons++ >= COMPARISONS_MAX)
            search->exhausted = true;
        if (search->pool_hashes[i] != hash || on_path(search, search->pool[i]))
            continue;
        enum issued issued = try_issuer(search, search->pool[i]);
        *ret_bad = *ret_bad || issued == ISSUED_BAD_SIGNATURE;
        if (issued != ISSUED_YES)
            continue;
        found = true;
        search->path[search->depth++] = search->pool[i];
        extend(search);
        search->depth--;
    }
    return found;
}

static void extend(struct search *search)
{
    unsigned long hash = X509_issuer_name_hash(facts_x509(search->path[search->depth - 1]));
    bool bad_signature = false, found = false;

    if (search->depth == CHAIN_DEPTH_MAX) {
        fail(search, PROGRESS_DEAD_END, X509_V_ERR_CERT_CHAIN_TOO_LONG,
             search->path[search->depth - 1]);
        return;
    }
    found = extend_to_anchors(search, hash, &bad_signature);
    found = extend_through_pool(search, hash, &bad_signature) || found;
    if (!found)
        dead_end(search, bad_signature);
}

/* Each once; those that are anchors end paths and stand between nothing. */
static void pool_add(struct search *search, const struct certificate_facts *const *list,
                     size_t count)
{
    for (size_t i = 0; i < count && search->pool_count < POOL_MAX; i++) {
        bool known = chain_store_has(search->store, list[i]);
        for (size_t j = 0; j < search->pool_count && !known; j++)
            known = certificate_facts_same(search->pool[j], list[i]);
        if (known)
            continue;
        search->pool_hashes[search->pool_count] = X509_subject_name_hash(facts_x509(list[i]));
        search->pool[search->pool_count++] = list[i];
    }
}

static void search_run(struct search *search)
{
    const struct chain_question *question = search->question;

    pool_add(search, question->served + 1, question->count - 1);
    pool_add(search, question->fetched, question->fetched_count);
    search->path[search->depth++] = question->served[0];
    if (chain_store_has(search->store, question->served[0]))
        complete(search);
    else
        extend(search);
}

/* ---- the verdict ---- */

/* A certificate is expired from the second on in which it ends: OpenSSL counts so, and the
 * strictest counts. */
static bool holds(const struct chain_path *path, int64_t at)
{
    return path->not_before <= at && at < path->not_after;
}

/* From `at` on, how long does one or another path hold without a gap? */
static int64_t last_moment(const struct search *search, int64_t at)
{
    bool moved = true;

    while (moved) {
        moved = false;
        for (size_t i = 0; i < search->path_count; i++) {
            if (holds(&search->paths[i], at)) {
                at = search->paths[i].not_after;
                moved = true;
            }
        }
    }
    return at;
}

static int index_of(const struct chain_question *question, const struct certificate_facts *facts)
{
    for (size_t i = 0; facts != NULL && i < question->count; i++) {
        if (certificate_facts_same(question->served[i], facts))
            return (int)i;
    }
    return -1;
}

/* No path holds now, but some do at other times: who stands in the way of the best of them? */
static void blame_time(struct search *search, int64_t at)
{
    const struct chain_path *path = &search->paths[0];

    for (size_t i = 0; i < path->count; i++) {
        const struct certificate_facts *facts = path->certificates[i];
        if (at >= facts->not_after)
            fail(search, PROGRESS_TIME, X509_V_ERR_CERT_HAS_EXPIRED, facts);
        else if (at < facts->not_before)
            fail(search, PROGRESS_TIME, X509_V_ERR_CERT_NOT_YET_VALID, facts);
    }
}

static void verdict_set(struct chain_verdict *verdict, int code,
                        const struct certificate_facts *blamed, int at)
{
    verdict->code = code;
    verdict->outcome = chain_outcome_of(code);
    verdict->reason = X509_verify_cert_error_string(code);
    verdict->blamed = blamed != NULL ? certificate_facts_ref(blamed) : NULL;
    verdict->at = at;
}

static void judge_name(const struct chain_question *question, struct chain_verdict *verdict)
{
    unsigned char address[16];
    const char *name = question->name;

    if (name == NULL || name[0] == '\0' || certificate_facts_cover(question->served[0], name))
        return;
    bool is_address =
        inet_pton(AF_INET, name, address) == 1 || inet_pton(AF_INET6, name, address) == 1;
    verdict_set(verdict, is_address ? X509_V_ERR_IP_ADDRESS_MISMATCH : X509_V_ERR_HOSTNAME_MISMATCH,
                question->served[0], 0);
}

/* Moves the paths that hold now; the others go. */
static void take_paths(struct search *search, struct chain_verdict *verdict)
{
    for (size_t i = 0; i < search->path_count; i++) {
        if (!holds(&search->paths[i], search->question->at)) {
            path_release(&search->paths[i]);
            continue;
        }
        if (verdict->path_count == 0) {
            verdict->strict_code = search->results[i].strict_code;
            if (verdict->strict_code != X509_V_OK)
                verdict->strict_reason = X509_verify_cert_error_string(verdict->strict_code);
            verdict->strict_at =
                verdict->strict_code == X509_V_OK
                    ? -1
                    : index_of(search->question,
                               search->paths[i].certificates[search->results[i].strict_at]);
        }
        verdict->paths[verdict->path_count++] = search->paths[i];
    }
}

void chain_judge(const struct chain_store *store, const struct chain_question *question,
                 struct chain_verdict *ret_verdict)
{
    struct search search = {.store = store, .question = question};
    struct chain_verdict verdict = {.at = -1, .strict_at = -1};

    if (question->count == 0) {
        verdict_set(&verdict, X509_V_ERR_UNSPECIFIED, NULL, -1);
        verdict.reason = "the server sent no certificate";
        *ret_verdict = verdict;
        return;
    }
    search_run(&search);
    int64_t until = last_moment(&search, question->at);
    if (until > question->at) {
        verdict.breaks_at = until;
        verdict_set(&verdict, X509_V_OK, NULL, -1);
        judge_name(question, &verdict);
    } else {
        if (search.path_count > 0)
            blame_time(&search, question->at);
        verdict_set(&verdict, search.failure.code, search.failure.at,
                    index_of(question, search.failure.at));
    }
    take_paths(&search, &verdict);
    *ret_verdict = verdict;
}

void chain_verdict_fini(struct chain_verdict *verdict)
{
    for (size_t i = 0; i < verdict->path_count; i++)
        path_release(&verdict->paths[i]);
    verdict->path_count = 0;
    certificate_facts_unref(verdict->blamed);
    verdict->blamed = NULL;
}
