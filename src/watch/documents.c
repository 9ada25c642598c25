/* One entry per address and kind; who waits for it hangs on it, and is told by a timer of its own,
 * so that nobody is called from inside a call. */
#include "watch/documents.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/clock.h"
#include "base/json.h"
#include "base/map.h"
#include "base/string.h"
#include "tls/issuer_bundle.h"

#define TIMEOUT_MS      15000
#define MEMORY_MAX      (256u << 20)
#define ENTRIES_MAX     4096
#define ENTRY_SIZE      1024 /* of an entry without its list; a guess */
#define KEY_MAX         (DOCUMENT_KEY_MAX + 1)
#define RETRY_FIRST_S   60
#define RETRY_LAST_S    3600
#define DAY_S           86400
#define RENEWAL_PAUSE_S (6 * 3600)

struct entry {
    struct documents *documents;
    struct document document;
    char key[KEY_MAX];
    int64_t fresh_until, usable_until, retry_at; /* Unix seconds */
    unsigned failures;
    uint64_t used; /* order of use */
    size_t size;
    bool public_only;
    bool recalled, recalling; /* the keeper was asked; has not answered yet */
    struct http_request *fetch;
    struct document_request *waiting;
};

struct document_request {
    struct entry *entry;
    struct document_request *previous, *next;
    document_done_fn *done;
    void *context;
    struct timer ready;
};

struct documents {
    struct loop *loop;
    struct http_client *client;
    struct documents_options options;
    struct map entries;
    size_t size;
    uint64_t used;
};

static const char *url_of(const struct entry *entry)
{
    return entry->key + 2;
}

/* ---- what is known ---- */

static void document_clear(struct document *document)
{
    crl_unref(document->crl);
    for (size_t i = 0; i < document->issuer_count; i++)
        certificate_facts_unref(document->issuers[i]);
    *document = (struct document){.kind = document->kind};
}

static void take_list(struct entry *entry, struct crl *crl, int64_t now)
{
    int64_t next = crl_next_update(crl), half = next > now ? (next - now) / 2 : 0;

    document_clear(&entry->document);
    entry->document.crl = crl;
    entry->document.known = true;
    /* CAs publish long before a list ends: asking at half time learns of revocations earlier. */
    if (half > DAY_S)
        half = DAY_S;
    entry->fresh_until = now + (half > RETRY_FIRST_S ? half : RETRY_FIRST_S);
    entry->usable_until = next > now ? next : entry->fresh_until;
    entry->documents->size += crl_size(crl);
    entry->documents->size -= entry->size - ENTRY_SIZE;
    entry->size = ENTRY_SIZE + crl_size(crl);
}

static int read_list(struct entry *entry, const uint8_t *body, size_t size, int64_t now,
                     struct error *error)
{
    struct crl *crl;
    int result = crl_new(&crl, body, size, error);

    if (result != 0)
        return result;
    take_list(entry, crl, now);
    return 0;
}

static void keep_for(struct entry *entry, int64_t now, int64_t seconds)
{
    entry->document.known = true;
    entry->fresh_until = now + seconds;
    entry->usable_until = now + DAY_S;
}

static int read_issuers(struct entry *entry, const uint8_t *body, size_t size, int64_t now,
                        struct error *error)
{
    const struct certificate_facts *list[DOCUMENT_ISSUERS_MAX];
    size_t count = 0;
    int result = issuer_bundle_read(list, DOCUMENT_ISSUERS_MAX, &count, body, size, error);

    if (result != 0)
        return result;
    document_clear(&entry->document);
    memcpy(entry->document.issuers, list, count * sizeof *list);
    entry->document.issuer_count = count;
    keep_for(entry, now, DAY_S);
    return 0;
}

static int read_directory(struct entry *entry, const json_t *object, int64_t now,
                          struct error *error)
{
    const char *url = json_string_value(json_object_get(object, "renewalInfo"));

    if (url == NULL || strlen(url) >= sizeof entry->document.renewal_url)
        return error_set(error, ERROR_PROTOCOL, "this CA offers no renewal information");
    document_clear(&entry->document);
    string_copy(entry->document.renewal_url, sizeof entry->document.renewal_url, url);
    keep_for(entry, now, DAY_S);
    return 0;
}

static int read_renewal(struct entry *entry, const json_t *object, int64_t retry_after_s,
                        int64_t now, struct error *error)
{
    const json_t *window = json_object_get(object, "suggestedWindow");
    const char *explanation = json_string_value(json_object_get(object, "explanationURL"));
    int64_t start = json_get_time(window, "start"), end = json_get_time(window, "end");

    if (start == 0 || end <= start)
        return error_set(error, ERROR_PROTOCOL,
                         "found no suggestedWindow that begins before it ends");
    document_clear(&entry->document);
    entry->document.start = start;
    entry->document.end = end;
    if (explanation != NULL)
        string_printable(entry->document.explanation, sizeof entry->document.explanation,
                         explanation, strlen(explanation));
    if (retry_after_s < RETRY_FIRST_S)
        retry_after_s = RENEWAL_PAUSE_S;
    keep_for(entry, now, retry_after_s < DAY_S ? retry_after_s : DAY_S);
    return 0;
}

static int read_document(struct entry *entry, const struct document_copy *copy, struct error *error)
{
    int64_t now = copy->fetched_at;

    switch (entry->document.kind) {
    case DOCUMENT_CRL:
        return read_list(entry, copy->body, copy->size, now, error);
    case DOCUMENT_ISSUERS:
        return read_issuers(entry, copy->body, copy->size, now, error);
    case DOCUMENT_DIRECTORY:
    case DOCUMENT_RENEWAL:
        break;
    }
    json_error_t reason;
    AUTO(json_t_pointer)
    object = json_loadb((const char *)copy->body, copy->size, 0, &reason);
    if (object == NULL)
        return error_set(error, ERROR_PROTOCOL, "the answer is no JSON");
    return entry->document.kind == DOCUMENT_DIRECTORY
               ? read_directory(entry, object, now, error)
               : read_renewal(entry, object, copy->retry_after_s, now, error);
}

static void note_failure(struct entry *entry, const struct error *error, bool malformed)
{
    int64_t now = time(NULL), pause = RETRY_FIRST_S;

    for (unsigned i = 0; i < entry->failures && pause < RETRY_LAST_S; i++)
        pause *= 2;
    entry->failures++;
    entry->retry_at = now + (pause < RETRY_LAST_S ? pause : RETRY_LAST_S);
    if (entry->document.known && now < entry->usable_until)
        return;
    document_clear(&entry->document);
    entry->document.malformed = malformed;
    string_copy(entry->document.reason, sizeof entry->document.reason, error->message);
}

/* ---- fetching ---- */

static void wake_waiting(struct entry *entry)
{
    for (struct document_request *one = entry->waiting; one != NULL; one = one->next)
        timer_set(entry->documents->loop, &one->ready, loop_now(entry->documents->loop));
}

static void fetched(void *context, const struct http_answer *answer)
{
    struct entry *entry = context;
    const struct documents_keeper *keeper = entry->documents->options.keeper;
    const struct document_copy copy = {.body = answer->body,
                                       .size = answer->body_size,
                                       .fetched_at = time(NULL),
                                       .retry_after_s = answer->retry_after_s};
    struct error error = answer->error;
    int result = 0;

    entry->fetch = NULL;
    if (!answer->failed && answer->status != 200)
        error_set(&error, ERROR_PEER, "the server answers with HTTP status %u", answer->status);
    else if (!answer->failed)
        result = read_document(entry, &copy, &error);
    if (answer->failed || answer->status != 200 || result != 0)
        note_failure(entry, &error, result != 0);
    else
        entry->failures = 0;
    if (entry->failures == 0 && keeper != NULL && copy.size <= DOCUMENT_KEPT_MAX)
        keeper->keep(keeper->context, entry->key, &copy, entry->usable_until);
    wake_waiting(entry);
}

static void fetch(struct entry *entry)
{
    const struct documents *documents = entry->documents;
    const struct http_order order = {
        .url = url_of(entry),
        .timeout_ms = documents->options.timeout_ms,
        .answer_max =
            entry->document.kind == DOCUMENT_CRL ? CRL_SIZE_MAX : CERTIFICATE_FACTS_SIZE_MAX,
        .follow = true,
        .public_only = entry->public_only,
    };
    struct error error = {0};

    entry->fetch = http_client_ask(documents->client, &order, fetched, entry, &error);
    if (entry->fetch == NULL) {
        note_failure(entry, &error, false);
        wake_waiting(entry);
    }
}

/* ---- what was kept ---- */

static bool is_fresh(const struct entry *entry, int64_t now)
{
    return entry->document.known && now < entry->fresh_until;
}

/* Once for each entry. */
static bool recall(struct entry *entry)
{
    const struct documents_keeper *keeper = entry->documents->options.keeper;

    if (keeper == NULL || entry->recalled)
        return false;
    entry->recalled = true;
    entry->recalling = keeper->recall(keeper->context, entry->key);
    return entry->recalling;
}

void documents_recalled(struct documents *documents, const char *key,
                        const struct document_copy *copy)
{
    struct entry *entry = map_get(&documents->entries, key);
    int64_t now = time(NULL);

    if (entry == NULL || !entry->recalling)
        return;
    entry->recalling = false;
    if (copy != NULL && copy->fetched_at <= now && read_document(entry, copy, NULL) == 0 &&
        now >= entry->usable_until)
        document_clear(&entry->document);
    if (is_fresh(entry, now))
        wake_waiting(entry);
    else if (entry->waiting != NULL)
        fetch(entry);
}

/* ---- entries ---- */

static void entry_free(struct entry *entry)
{
    ignore(map_remove(&entry->documents->entries, entry->key) != NULL);
    http_client_cancel(entry->fetch);
    entry->documents->size -= entry->size;
    document_clear(&entry->document);
    free(entry);
}

static struct entry *least_used(struct documents *documents)
{
    struct entry *oldest = NULL;
    const struct map_entry *place;

    for (size_t at = 0; (place = map_next(&documents->entries, &at)) != NULL;) {
        struct entry *entry = place->value;
        if (entry->waiting == NULL && entry->fetch == NULL &&
            (oldest == NULL || entry->used < oldest->used))
            oldest = entry;
    }
    return oldest;
}

static void make_room(struct documents *documents)
{
    while (documents->size > documents->options.memory_max ||
           documents->entries.count >= ENTRIES_MAX) {
        struct entry *entry = least_used(documents);
        if (entry == NULL)
            return;
        entry_free(entry);
    }
}

/* The kind, who may be asked, the address. */
static bool make_key(char key[KEY_MAX], enum document_kind kind, const char *url, bool public_only)
{
    int size = snprintf(key, KEY_MAX, "%d%c%s", (int)kind, public_only ? 'p' : 'a', url);

    return size > 0 && size < KEY_MAX;
}

static struct entry *entry_get(struct documents *documents, enum document_kind kind,
                               const char *url, bool public_only)
{
    char key[KEY_MAX];

    if (!make_key(key, kind, url, public_only))
        return NULL;
    struct entry *entry = map_get(&documents->entries, key);
    if (entry != NULL)
        return entry;
    make_room(documents);
    entry = calloc(1, sizeof *entry);
    if (entry == NULL || !map_put(&documents->entries, key, entry)) {
        free(entry);
        return NULL;
    }
    entry->documents = documents;
    entry->document.kind = kind;
    entry->public_only = public_only;
    entry->size = ENTRY_SIZE;
    documents->size += ENTRY_SIZE;
    string_copy(entry->key, sizeof entry->key, key);
    return entry;
}

/* ---- requests ---- */

static void request_unlink(struct document_request *request)
{
    struct entry *entry = request->entry;

    if (request->previous != NULL)
        request->previous->next = request->next;
    else
        entry->waiting = request->next;
    if (request->next != NULL)
        request->next->previous = request->previous;
    timer_cancel(entry->documents->loop, &request->ready);
}

static void ready(void *context)
{
    struct document_request *request = context;
    struct entry *entry = request->entry;
    document_done_fn *done = request->done;
    void *done_context = request->context;

    request_unlink(request);
    free(request);
    entry->used = ++entry->documents->used;
    done(done_context, &entry->document);
}

struct document_request *documents_get(struct documents *documents, enum document_kind kind,
                                       const char *url, bool public_only, document_done_fn *done,
                                       void *context)
{
    int64_t now = time(NULL);
    struct entry *entry = entry_get(documents, kind, url, public_only);
    struct document_request *request = entry != NULL ? calloc(1, sizeof *request) : NULL;

    if (request == NULL)
        return NULL;
    *request = (struct document_request){
        .entry = entry, .next = entry->waiting, .done = done, .context = context};
    timer_init(&request->ready, ready, request);
    if (entry->waiting != NULL)
        entry->waiting->previous = request;
    entry->waiting = request;
    if (entry->fetch != NULL || entry->recalling)
        return request;
    if (is_fresh(entry, now) || now < entry->retry_at)
        timer_set(documents->loop, &request->ready, loop_now(documents->loop));
    else if (!recall(entry))
        fetch(entry);
    return request;
}

void documents_cancel(struct document_request *request)
{
    if (request == NULL)
        return;
    request_unlink(request);
    free(request);
}

void documents_reject(struct documents *documents, enum document_kind kind, const char *url,
                      bool public_only)
{
    char key[KEY_MAX];
    struct entry *entry =
        make_key(key, kind, url, public_only) ? map_get(&documents->entries, key) : NULL;
    struct error error;

    if (entry == NULL || !entry->document.known)
        return;
    error_set(&error, ERROR_PEER, "what came from there is not signed by the issuer");
    entry->usable_until = 0;
    note_failure(entry, &error, true);
    if (documents->options.keeper != NULL)
        documents->options.keeper->drop(documents->options.keeper->context, entry->key);
}

struct documents *documents_new(struct loop *loop, struct http_client *client,
                                const struct documents_options *options)
{
    struct documents *documents = calloc(1, sizeof *documents);

    if (documents == NULL)
        return NULL;
    *documents = (struct documents){.loop = loop, .client = client, .options = *options};
    if (options->timeout_ms == 0)
        documents->options.timeout_ms = TIMEOUT_MS;
    if (options->memory_max == 0)
        documents->options.memory_max = MEMORY_MAX;
    map_init(&documents->entries);
    return documents;
}

void documents_free(struct documents *documents)
{
    const struct map_entry *place;

    if (documents == NULL)
        return;
    for (size_t at = 0; (place = map_next(&documents->entries, &at)) != NULL; at = 0) {
        struct entry *entry = place->value;
        while (entry->waiting != NULL)
            documents_cancel(entry->waiting);
        entry_free(entry);
    }
    map_fini(&documents->entries);
    free(documents);
}
