/* A job goes through three steps: missing intermediates one after the other, then lists and renewal
 * window side by side, then the judgement of all that is at hand. */
#include "watch/revocation.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/buffer.h"
#include "base/string.h"

#define OPERATOR_LISTS_MAX (16 * CRL_FILE_LISTS_MAX)
#define LIST_URLS_MAX      3 /* asked of one certificate, until one answers */
#define POOL_MAX           256

struct revocation {
    struct loop *loop;
    struct documents *documents;
};

struct list_request {
    struct revocation_job *job;
    struct endpoint_crl *result;
    size_t url, changes_url; /* the next ones to ask */
    unsigned tries;
    struct crl *complete, *changes; /* fetched; references; NULL */
    char complete_source[256], changes_source[256];
    const struct crl *by; /* what the verdict is by; borrowed; NULL: nothing */
    struct document_request *request;
};

struct revocation_job {
    struct revocation *revocation;
    struct endpoint *endpoint;
    struct revocation_order order;
    revocation_done_fn *done;
    void *context;
    bool public_only;
    struct timer start;
    struct document_request *issuers, *renewal;
    const struct certificate_facts *lacking; /* whose issuer is asked for */
    size_t issuer_url;
    struct list_request lists[CHAIN_DEPTH_MAX];
    size_t open; /* lists and renewal under way */
};

/* ---- who has issued what ---- */

static size_t gather(const struct endpoint *endpoint,
                     const struct certificate_facts *pool[POOL_MAX])
{
    size_t count = 0;

    for (size_t i = 0; i < endpoint->seen.chain_count; i++)
        pool[count++] = endpoint->seen.chain[i];
    for (size_t i = 0; i < endpoint->revocation.fetched_count; i++)
        pool[count++] = endpoint->revocation.fetched[i];
    for (size_t i = 0; i < endpoint->trust_count; i++) {
        const struct chain_verdict *verdict = &endpoint->trust[i].verdict;
        for (size_t at = 0;
             verdict->path_count > 0 && at < verdict->paths[0].count && count < POOL_MAX; at++)
            pool[count++] = verdict->paths[0].certificates[at];
    }
    return count;
}

static const struct certificate_facts *issuer_of(const struct endpoint *endpoint,
                                                 const struct certificate_facts *certificate)
{
    const struct certificate_facts *pool[POOL_MAX];

    return chain_issuer(certificate, pool, gather(endpoint, pool));
}

static bool is_trusted(const struct endpoint *endpoint)
{
    for (size_t i = 0; i < endpoint->trust_count; i++) {
        if (endpoint->trust[i].verdict.path_count == 0)
            return false;
    }
    return endpoint->trust_count > 0;
}

static bool is_http(const char *url)
{
    return string_starts_with(url, "http://") || string_starts_with(url, "https://");
}

/* ---- the end ---- */

static int64_t judged_at(const struct revocation_job *job)
{
    int64_t now = time(NULL);

    return job->order.at != 0 && job->order.at < now ? job->order.at : now;
}

static void judge_staple(struct revocation_job *job)
{
    struct endpoint *endpoint = job->endpoint;
    struct endpoint_revocation *found = &endpoint->revocation;
    const struct certificate_facts *leaf = endpoint->seen.chain[0];
    const struct certificate_logs *logs = job->order.logs;
    uint8_t *list;
    size_t size;

    found->issuer = issuer_of(endpoint, leaf);
    ocsp_judge(&found->staple, endpoint->seen.staple, endpoint->seen.staple_size, leaf,
               found->issuer, judged_at(job));
    if (leaf->timestamps != NULL)
        timestamps_add(&found->timestamps, TIMESTAMP_EMBEDDED, leaf->timestamps,
                       leaf->timestamps_size, leaf, found->issuer, logs, judged_at(job));
    if (endpoint->seen.timestamps_size > 0)
        timestamps_add(&found->timestamps, TIMESTAMP_TLS, endpoint->seen.timestamps,
                       endpoint->seen.timestamps_size, leaf, found->issuer, logs, judged_at(job));
    if (ocsp_timestamps(&list, &size, endpoint->seen.staple, endpoint->seen.staple_size)) {
        timestamps_add(&found->timestamps, TIMESTAMP_STAPLE, list, size, leaf, found->issuer, logs,
                       judged_at(job));
        free(list);
    }
}

static void job_free(struct revocation_job *job)
{
    for (size_t i = 0; i < CHAIN_DEPTH_MAX; i++) {
        documents_cancel(job->lists[i].request);
        crl_unref(job->lists[i].complete);
        crl_unref(job->lists[i].changes);
    }
    free(job);
}

static void finish(struct revocation_job *job)
{
    struct endpoint *endpoint = job->endpoint;
    revocation_done_fn *done = job->done;
    void *context = job->context;

    if (endpoint->seen.chain_count > 0)
        judge_staple(job);
    endpoint->revocation.prepared = true;
    job_free(job);
    done(context, endpoint);
}

static void one_less(struct revocation_job *job)
{
    if (--job->open == 0)
        finish(job);
}

/* ---- revocation lists ---- */

struct list_set {
    struct crl *lists[OPERATOR_LISTS_MAX + 2];
    const char *sources[OPERATOR_LISTS_MAX + 2];
    size_t count;
};

static void set_add(struct list_set *set, struct crl *crl, const char *source)
{
    if (crl == NULL || set->count == ARRAY_SIZE(set->lists))
        return;
    set->lists[set->count] = crl;
    set->sources[set->count++] = source;
}

/* Who stands above the certificate and who else is at hand; borrowed from the job. */
struct issuers {
    const struct certificate_facts *pool[POOL_MAX], *issuer;
    struct crl_question question;
};

static size_t gather_signers(const struct revocation_job *job,
                             const struct certificate_facts *pool[POOL_MAX])
{
    size_t count = gather(job->endpoint, pool);

    for (size_t i = 0; i < job->order.crl_file_count; i++) {
        const struct crl_file *file = job->order.crl_files[i];
        for (size_t at = 0; at < file->signer_count && count < POOL_MAX; at++)
            pool[count++] = file->signers[at];
    }
    return count;
}

static const struct crl_question *ask_about(struct issuers *issuers,
                                            const struct list_request *list)
{
    const struct endpoint *endpoint = list->job->endpoint;
    const struct certificate_facts *certificate = list->result->certificate;
    struct crl_question *question = &issuers->question;
    size_t at = 0;

    *question = (struct crl_question){.certificate = certificate, .at = judged_at(list->job)};
    while (at + 1 < endpoint->needed_count && endpoint->needed[at] != certificate)
        at++;
    if (at + 1 < endpoint->needed_count) {
        question->issuers = endpoint->needed + at + 1;
        question->issuer_count = endpoint->needed_count - at - 1;
        question->others = issuers->pool;
        question->other_count = gather_signers(list->job, issuers->pool);
    } else if ((issuers->issuer = issuer_of(endpoint, certificate)) != NULL) {
        question->issuers = &issuers->issuer;
        question->issuer_count = 1;
    }
    return question;
}

static bool says_something(const struct crl_verdict *verdict)
{
    return verdict->outcome == CRL_GOOD || verdict->outcome == CRL_REVOKED;
}

static void take_answer(struct endpoint_crl *result, const struct crl_answer *answer,
                        const struct list_set *set)
{
    result->verdict = answer->verdict;
    string_copy(result->source, sizeof result->source, set->sources[answer->by]);
    result->changes[0] = result->left_out[0] = '\0';
    if (answer->changes < set->count)
        string_copy(result->changes, sizeof result->changes, set->sources[answer->changes]);
    if (answer->left_out < set->count)
        string_copy(result->left_out, sizeof result->left_out, set->sources[answer->left_out]);
    string_copy(result->left_out_reason, sizeof result->left_out_reason, answer->left_out_reason);
}

/* By all lists at hand. Those of the operator that are of other CAs say nothing. */
static void judge_lists(struct list_request *list)
{
    const struct revocation_order *order = &list->job->order;
    struct endpoint_crl *result = list->result;
    struct list_set set = {.count = 0};
    struct issuers issuers;
    struct crl_answer answer;

    list->by = NULL;
    set_add(&set, list->complete, list->complete_source);
    set_add(&set, list->changes, list->changes_source);
    size_t fetched = set.count;
    for (size_t i = 0; i < order->crl_file_count; i++) {
        for (size_t j = 0; j < order->crl_files[i]->count; j++)
            set_add(&set, order->crl_files[i]->lists[j], order->crl_files[i]->path);
    }
    crl_judge_all(&answer, set.lists, set.count, ask_about(&issuers, list));
    bool is_other =
        answer.verdict.outcome == CRL_OTHER_ISSUER || answer.verdict.outcome == CRL_ISSUER_UNKNOWN;
    if (answer.by == set.count || (is_other && answer.by >= fetched))
        return;
    list->by = set.lists[answer.by];
    take_answer(result, &answer, &set);
}

/* Only whom a store trusts has a say: the list is shared, and anybody can call himself a CA of that
 * name. */
static void reject_strangers(struct list_request *list, struct crl *crl, const char *url)
{
    const struct revocation_job *job = list->job;
    struct issuers issuers;
    struct crl_verdict verdict;

    crl_judge(&verdict, crl, ask_about(&issuers, list));
    if (verdict.outcome == CRL_UNTRUSTED && job->endpoint->needed_count > 0)
        documents_reject(job->revocation->documents, DOCUMENT_CRL, url, job->public_only);
}

static void list_fetched(void *context, const struct document *document);

/* Asks the certificate's next address; false: there is none, or no memory. */
static bool ask_next_list(struct list_request *list)
{
    const struct certificate_facts *certificate = list->result->certificate;

    while (list->url < certificate->crl_url_count && list->tries < LIST_URLS_MAX) {
        const char *url = certificate->crl_urls[list->url++];
        if (!is_http(url))
            continue;
        list->tries++;
        string_copy(list->complete_source, sizeof list->complete_source, url);
        list->request = documents_get(list->job->revocation->documents, DOCUMENT_CRL, url,
                                      list->job->public_only, list_fetched, list);
        if (list->request != NULL)
            return true;
    }
    return false;
}

static void changes_fetched(void *context, const struct document *document);

/* Could changes make a difference: revoke, lift a hold, or stand in for a list that has ended? */
static bool need_changes(const struct list_request *list)
{
    const struct crl_verdict *verdict = &list->result->verdict;
    bool is_held = verdict->outcome == CRL_REVOKED &&
                   strcmp(verdict->revocation_reason, "certificateHold") == 0;

    return list->job->order.crls && list->by != NULL && !crl_is_delta(list->by) &&
           (is_held || verdict->outcome == CRL_GOOD || verdict->outcome == CRL_STALE);
}

static const char *changes_url(const struct list_request *list, size_t at)
{
    const struct certificate_facts *certificate = list->result->certificate;

    return at < certificate->delta_url_count
               ? certificate->delta_urls[at]
               : crl_delta_url(list->by, at - certificate->delta_url_count);
}

/* The next address that the certificate, or the list, names for its changes (RFC 5280 §5.2.6). */
static bool ask_next_changes(struct list_request *list)
{
    const char *url;

    while (need_changes(list) && list->changes_url < LIST_URLS_MAX &&
           (url = changes_url(list, list->changes_url)) != NULL) {
        list->changes_url++;
        if (!is_http(url))
            continue;
        string_copy(list->changes_source, sizeof list->changes_source, url);
        list->request = documents_get(list->job->revocation->documents, DOCUMENT_CRL, url,
                                      list->job->public_only, changes_fetched, list);
        if (list->request != NULL)
            return true;
    }
    return false;
}

static void changes_fetched(void *context, const struct document *document)
{
    struct list_request *list = context;
    struct endpoint_crl *result = list->result;

    list->request = NULL;
    if (document->known) {
        list->changes = crl_ref(document->crl);
        reject_strangers(list, list->changes, changes_url(list, list->changes_url - 1));
        judge_lists(list);
    } else {
        string_copy(result->left_out, sizeof result->left_out, list->changes_source);
        string_copy(result->left_out_reason, sizeof result->left_out_reason, document->reason);
        if (ask_next_changes(list))
            return;
    }
    one_less(list->job);
}

/* What is at hand and has ended says more than what cannot be had. */
static void tell_unreachable(struct list_request *list, const struct document *document)
{
    struct endpoint_crl *result = list->result;

    if (result->verdict.outcome == CRL_STALE || result->verdict.outcome == CRL_NOT_YET_VALID)
        return;
    result->verdict =
        (struct crl_verdict){.outcome = document->malformed ? CRL_MALFORMED : CRL_UNREACHABLE};
    string_copy(result->verdict.reason, sizeof result->verdict.reason, document->reason);
    string_copy(result->source, sizeof result->source, list->complete_source);
}

static void list_fetched(void *context, const struct document *document)
{
    struct list_request *list = context;

    list->request = NULL;
    if (document->known) {
        crl_unref(list->complete);
        list->complete = crl_ref(document->crl);
        reject_strangers(list, list->complete, list->result->certificate->crl_urls[list->url - 1]);
        judge_lists(list);
    } else {
        tell_unreachable(list, document);
    }
    if (!says_something(&list->result->verdict) && ask_next_list(list))
        return;
    if (!ask_next_changes(list))
        one_less(list->job);
}

static void look_up(struct revocation_job *job, const struct certificate_facts *certificate)
{
    struct endpoint_revocation *found = &job->endpoint->revocation;
    struct endpoint_crl *result = &found->crls[found->crl_count];
    struct list_request *list = &job->lists[found->crl_count];

    *result =
        (struct endpoint_crl){.certificate = certificate, .verdict = {.outcome = CRL_NOT_ASKED}};
    *list = (struct list_request){.job = job, .result = result};
    judge_lists(list);
    bool is_known = says_something(&result->verdict);
    if ((!is_known && job->order.crls && ask_next_list(list)) || ask_next_changes(list))
        job->open++;
    else if (!is_known && !job->order.crls && result->verdict.outcome == CRL_NOT_ASKED)
        return; /* nobody looked */
    found->crl_count++;
}

/* All certificates of the path but its anchor; without a path, those that lead upwards. */
static void look_up_all(struct revocation_job *job)
{
    struct endpoint *endpoint = job->endpoint;
    const struct certificate_facts *certificate = endpoint->seen.chain[0];

    for (size_t i = 0; i + 1 < endpoint->needed_count; i++)
        look_up(job, endpoint->needed[i]);
    for (unsigned i = 0; endpoint->needed_count == 0 && i < CHAIN_DEPTH_MAX - 1 &&
                         certificate != NULL && !certificate->self_issued;
         i++) {
        look_up(job, certificate);
        certificate = issuer_of(endpoint, certificate);
    }
}

/* ---- renewal information ---- */

static void append_base64url(struct buffer *output, const uint8_t *data, size_t size)
{
    static const char alphabet[] =
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    uint32_t bits = 0;
    unsigned count = 0;

    for (size_t i = 0; i < size; i++) {
        bits = bits << 8 | data[i];
        for (count += 8; count >= 6; count -= 6)
            ignore(buffer_append(output, &alphabet[bits >> (count - 6) & 63], 1));
    }
    if (count > 0)
        ignore(buffer_append(output, &alphabet[bits << (6 - count) & 63], 1));
}

/* Hex digits to `size` bytes, zeros in front. False: it is longer, or no hex. */
static bool read_hex(uint8_t *bytes, size_t size, const char *hex)
{
    size_t digits = strlen(hex);

    memset(bytes, 0, size);
    if (digits > 2 * size)
        return false;
    for (size_t i = 0; i < digits; i++) {
        int value = string_hex_digit(hex[digits - 1 - i]);
        if (value < 0)
            return false;
        bytes[size - 1 - i / 2] |= (uint8_t)(value << (i % 2 * 4));
    }
    return true;
}

/* RFC 9773 §4.1: base64url(key identifier of the issuer) "." base64url(serial number's content). */
static bool append_renewal_id(struct buffer *output, const struct certificate_facts *leaf)
{
    uint8_t key_id[64], serial[64];
    size_t key_id_size = leaf->authority_key_id != NULL ? strlen(leaf->authority_key_id) / 2 : 0;

    if (key_id_size == 0 || key_id_size > sizeof key_id || leaf->serial_size > sizeof serial ||
        !read_hex(key_id, key_id_size, leaf->authority_key_id) ||
        !read_hex(serial, leaf->serial_size, leaf->serial))
        return false;
    append_base64url(output, key_id, key_id_size);
    ignore(buffer_append_text(output, "."));
    append_base64url(output, serial, leaf->serial_size);
    return !output->failed;
}

static void renewal_fetched(void *context, const struct document *document)
{
    struct revocation_job *job = context;
    struct endpoint_renewal *renewal = &job->endpoint->revocation.renewal;

    job->renewal = NULL;
    renewal->known = document->known;
    renewal->start = document->start;
    renewal->end = document->end;
    string_copy(renewal->explanation, sizeof renewal->explanation, document->explanation);
    string_copy(renewal->reason, sizeof renewal->reason, document->reason);
    one_less(job);
}

static void directory_fetched(void *context, const struct document *document)
{
    struct revocation_job *job = context;
    struct endpoint_renewal *renewal = &job->endpoint->revocation.renewal;
    __attribute__((cleanup(buffer_auto))) struct buffer url;

    job->renewal = NULL;
    string_copy(renewal->reason, sizeof renewal->reason, document->reason);
    buffer_init(&url, 1024);
    ignore(buffer_append_text(&url, document->renewal_url));
    if (url.size > 0 && url.data[url.size - 1] != '/')
        ignore(buffer_append_text(&url, "/"));
    if (document->known && append_renewal_id(&url, job->endpoint->seen.chain[0]))
        job->renewal = documents_get(job->revocation->documents, DOCUMENT_RENEWAL,
                                     buffer_text(&url), false, renewal_fetched, job);
    if (job->renewal == NULL)
        one_less(job);
}

static const char *directory_of(const struct revocation_order *order,
                                const struct certificate_facts *leaf)
{
    if (order->renewal_directory != NULL)
        return order->renewal_directory;
    return strstr(leaf->issuer, "O=Let's Encrypt") != NULL
               ? "https://acme-v02.api.letsencrypt.org/directory"
               : NULL;
}

static void ask_renewal(struct revocation_job *job)
{
    const struct certificate_facts *leaf = job->endpoint->seen.chain[0];
    const char *directory = directory_of(&job->order, leaf);

    if (!job->order.renewal || directory == NULL || leaf->authority_key_id == NULL)
        return;
    job->renewal = documents_get(job->revocation->documents, DOCUMENT_DIRECTORY, directory, false,
                                 directory_fetched, job);
    if (job->renewal != NULL)
        job->open++;
}

/* ---- missing intermediates ---- */

static void ask_side_by_side(struct revocation_job *job)
{
    job->open = 1; /* until all have been asked */
    look_up_all(job);
    ask_renewal(job);
    one_less(job);
}

static void ask_issuers(struct revocation_job *job);

static void issuers_fetched(void *context, const struct document *document)
{
    struct revocation_job *job = context;
    struct endpoint_revocation *found = &job->endpoint->revocation;
    const struct certificate_facts *issuer =
        document->known ? chain_issuer(job->lacking, document->issuers, document->issuer_count)
                        : NULL;

    job->issuers = NULL;
    if (issuer != NULL) {
        found->fetched[found->fetched_count++] = certificate_facts_ref(issuer);
        found->fetch_reason[0] = '\0';
        job->issuer_url = 0;
    } else {
        string_copy(found->fetch_reason, sizeof found->fetch_reason,
                    document->known ? "what is there has not issued the certificate"
                                    : document->reason);
        job->issuer_url++;
    }
    ask_issuers(job);
}

/* The first certificate upwards from the leaf whose issuer is not at hand; NULL: the chain ends. */
static const struct certificate_facts *find_lacking(const struct endpoint *endpoint)
{
    const struct certificate_facts *certificate = endpoint->seen.chain[0];

    for (unsigned i = 0; i < CHAIN_DEPTH_MAX && !certificate->self_issued; i++) {
        const struct certificate_facts *issuer = issuer_of(endpoint, certificate);
        if (issuer == NULL)
            return certificate;
        certificate = issuer;
    }
    return NULL;
}

static void ask_issuers(struct revocation_job *job)
{
    struct endpoint_revocation *found = &job->endpoint->revocation;

    job->lacking = job->order.intermediates && !is_trusted(job->endpoint) &&
                           found->fetched_count < ENDPOINT_FETCHED_MAX
                       ? find_lacking(job->endpoint)
                       : NULL;
    while (job->lacking != NULL && job->issuer_url < job->lacking->issuer_url_count) {
        const char *url = job->lacking->issuer_urls[job->issuer_url];
        if (is_http(url))
            job->issuers = documents_get(job->revocation->documents, DOCUMENT_ISSUERS, url,
                                         job->public_only, issuers_fetched, job);
        if (job->issuers != NULL)
            return;
        job->issuer_url++;
    }
    ask_side_by_side(job);
}

/* ---- jobs ---- */

static void start(void *context)
{
    struct revocation_job *job = context;

    if (job->endpoint->seen.chain_count == 0)
        finish(job);
    else
        ask_issuers(job);
}

struct revocation_job *revocation_prepare(struct revocation *revocation, struct endpoint *endpoint,
                                          const struct revocation_order *order,
                                          revocation_done_fn *done, void *context)
{
    struct revocation_job *job = calloc(1, sizeof *job);

    if (job == NULL)
        return NULL;
    *job = (struct revocation_job){.revocation = revocation,
                                   .endpoint = endpoint,
                                   .order = *order,
                                   .done = done,
                                   .context = context,
                                   .public_only = endpoint->target.kind != TARGET_FILE &&
                                                  http_address_public(&endpoint->address)};
    timer_init(&job->start, start, job);
    timer_set(revocation->loop, &job->start, loop_now(revocation->loop));
    return job;
}

void revocation_cancel(struct revocation_job *job)
{
    if (job == NULL)
        return;
    timer_cancel(job->revocation->loop, &job->start);
    documents_cancel(job->issuers);
    documents_cancel(job->renewal);
    job_free(job);
}

/* ---- all of it ---- */

int revocation_new(struct revocation **ret_revocation, struct loop *loop,
                   struct http_client *client, const struct revocation_options *options,
                   struct error *error)
{
    const struct documents_options limits = {.keeper = options->keeper,
                                             .timeout_ms = options->timeout_ms,
                                             .memory_max = options->memory_max};
    struct revocation *revocation = calloc(1, sizeof *revocation);

    if (revocation == NULL)
        return error_set(error, ERROR_MEMORY, "out of memory");
    revocation->loop = loop;
    revocation->documents = documents_new(loop, client, &limits);
    if (revocation->documents == NULL) {
        revocation_free(revocation);
        return error_set(error, ERROR_MEMORY, "out of memory");
    }
    *ret_revocation = revocation;
    return 0;
}

void revocation_recalled(struct revocation *revocation, const char *key,
                         const struct document_copy *copy)
{
    documents_recalled(revocation->documents, key, copy);
}

void revocation_free(struct revocation *revocation)
{
    if (revocation == NULL)
        return;
    documents_free(revocation->documents);
    free(revocation);
}
