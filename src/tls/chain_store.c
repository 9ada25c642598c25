/* Trust anchors: files, and the system's, which is read once per process. A store has a hundred
 * roots and more, of which a check needs one: an anchor is read when its name is asked for. */
#include "tls/chain_internal.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <openssl/err.h>

#include "base/string.h"
#include "tls/certificate_facts_internal.h"

#define ANCHORS_MAX 4096

struct anchor {
    unsigned long hash; /* of the subject */
    uint8_t *der;
    size_t size;
    const struct certificate_facts *facts; /* NULL: not read yet */
};

/* Shared by the stores that hold the same. */
struct anchors {
    unsigned references;
    struct anchor *list; /* by hash */
    size_t count, capacity;
};

struct chain_store {
    unsigned references;
    char *name;
    struct anchors *anchors;
    bool ends_ignored;
};

/* ---- reading ---- */

static void anchors_unref(struct anchors *anchors)
{
    if (anchors == NULL || --anchors->references > 0)
        return;
    for (size_t i = 0; i < anchors->count; i++) {
        free(anchors->list[i].der);
        certificate_facts_unref(anchors->list[i].facts);
    }
    free(anchors->list);
    free(anchors);
}

/* Steps into, or over, one element; NULL where there is none. */
static const uint8_t *step(const uint8_t *place, const uint8_t *end, bool into)
{
    long size;
    int tag, class;

    if (place == NULL || place >= end ||
        (ASN1_get_object(&place, &size, &tag, &class, end - place) & 0x80) != 0 ||
        size > end - place)
        return NULL;
    return into ? place : place + size;
}

/* The subject without the rest: TBSCertificate is version (optional), serial number, algorithm,
 * issuer, validity, subject (RFC 5280 §4.1). */
static bool subject_hash(const uint8_t *der, size_t size, unsigned long *ret_hash)
{
    const uint8_t *end = der + size, *place = step(step(der, end, true), end, true);
    int worked = 0;

    for (int over = place != NULL && place < end && *place == 0xa0 ? 5 : 4; over > 0; over--)
        place = step(place, end, false);
    X509_NAME *subject = place != NULL ? d2i_X509_NAME(NULL, &place, end - place) : NULL;
    if (subject != NULL)
        *ret_hash = X509_NAME_hash_ex(subject, NULL, NULL, &worked);
    X509_NAME_free(subject);
    ERR_clear_error();
    return worked == 1;
}

static int take_anchor(void *context, const uint8_t *der, size_t size, struct error *error)
{
    struct anchors *anchors = context;
    struct anchor anchor = {.size = size};

    if (anchors->count == ANCHORS_MAX)
        return error_set(error, ERROR_LIMIT, "found more than %d anchors; expected fewer",
                         ANCHORS_MAX);
    if (!subject_hash(der, size, &anchor.hash))
        return error_set(error, ERROR_CERTIFICATE_UNPARSABLE,
                         "found %zu bytes that are no certificate; expected an anchor", size);
    if (anchors->count == anchors->capacity) {
        size_t capacity = anchors->capacity == 0 ? 16 : 2 * anchors->capacity;
        struct anchor *grown = reallocarray(anchors->list, capacity, sizeof *grown);
        if (grown == NULL)
            return error_set(error, ERROR_MEMORY, "out of memory");
        anchors->list = grown;
        anchors->capacity = capacity;
    }
    anchor.der = malloc(size);
    if (anchor.der == NULL)
        return error_set(error, ERROR_MEMORY, "out of memory");
    memcpy(anchor.der, der, size);
    anchors->list[anchors->count++] = anchor;
    return 0;
}

static int compare_anchors(const void *a, const void *b)
{
    unsigned long left = ((const struct anchor *)a)->hash, right = ((const struct anchor *)b)->hash;

    return left < right ? -1 : left > right;
}

static void anchors_sort(struct anchors *anchors)
{
    if (anchors->count > 0)
        qsort(anchors->list, anchors->count, sizeof *anchors->list, compare_anchors);
}

/* From a file, or, with `path` NULL, from what somebody has read. */
static int anchors_read(struct anchors **ret_anchors, const char *path, const uint8_t *data,
                        size_t size, struct error *error)
{
    struct anchors *anchors = calloc(1, sizeof *anchors);

    if (anchors == NULL)
        return error_set(error, ERROR_MEMORY, "out of memory");
    anchors->references = 1;
    int result = path != NULL
                     ? certificate_file_read(path, NULL, take_anchor, anchors, error)
                     : certificate_data_read(data, size, NULL, take_anchor, anchors, error);
    if (result != 0) {
        anchors_unref(anchors);
        return error_prepend(error, "cannot read trust anchors");
    }
    anchors_sort(anchors);
    *ret_anchors = anchors;
    return 0;
}

static void anchors_find(const struct anchors *anchors, unsigned long hash, size_t *ret_first,
                         size_t *ret_count)
{
    size_t from = 0, until = anchors->count;

    while (from < until) {
        size_t middle = (from + until) / 2;
        if (anchors->list[middle].hash < hash)
            from = middle + 1;
        else
            until = middle;
    }
    *ret_first = from;
    *ret_count = 0;
    while (from + *ret_count < anchors->count && anchors->list[from + *ret_count].hash == hash)
        ++*ret_count;
}

static bool anchors_have(const struct anchors *anchors, const struct certificate_facts *facts)
{
    size_t first, count;

    if (anchors == NULL)
        return false;
    anchors_find(anchors, X509_subject_name_hash(facts_x509(facts)), &first, &count);
    for (size_t i = first; i < first + count; i++) {
        if (anchors->list[i].size == facts->der_size &&
            memcmp(anchors->list[i].der, facts->der, facts->der_size) == 0)
            return true;
    }
    return false;
}

/* ---- the system's ---- */

/* The bundle of the distribution; SSL_CERT_FILE as OpenSSL has it. */
static const char *system_bundle(void)
{
    static const char *const places[] = {
        "/etc/ssl/certs/ca-certificates.crt",                /* Debian */
        "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem", /* Fedora */
        "/etc/ssl/ca-bundle.pem",                            /* SUSE */
        "/etc/ssl/cert.pem"};
    const char *chosen = getenv(X509_get_default_cert_file_env());

    if (chosen != NULL && chosen[0] != '\0')
        return chosen;
    for (size_t i = 0; i < ARRAY_SIZE(places); i++) {
        if (access(places[i], R_OK) == 0)
            return places[i];
    }
    return X509_get_default_cert_file();
}

static bool same_file(const struct stat *a, const struct stat *b)
{
    return a->st_dev == b->st_dev && a->st_ino == b->st_ino && a->st_size == b->st_size &&
           a->st_mtim.tv_sec == b->st_mtim.tv_sec && a->st_mtim.tv_nsec == b->st_mtim.tv_nsec;
}

/* Borrowed. Read again when the file is another one; what was read last holds while that fails. */
static int system_anchors(struct anchors **ret_anchors, struct error *error)
{
    static struct anchors *kept;
    static struct stat facts;
    struct anchors *newer = NULL;
    struct stat now = {0};
    const char *path = system_bundle();
    bool known = stat(path, &now) == 0;
    int result = 0;

    if (kept == NULL || (known && !same_file(&now, &facts)))
        result = anchors_read(&newer, path, NULL, 0, kept == NULL ? error : NULL);
    if (kept == NULL && result != 0)
        return result;
    if (newer != NULL) {
        anchors_unref(kept);
        kept = newer;
    }
    facts = now;
    *ret_anchors = kept;
    return 0;
}

/* What an administrator has added to the system's store belongs to no public programme. NULL: there
 * is nothing. */
#define LOCAL_FOLDER "/usr/local/share/ca-certificates"

static const struct anchors *local_anchors(void)
{
    static struct anchors *kept;
    static bool read;
    DIR *folder = read ? NULL : opendir(LOCAL_FOLDER);

    read = true;
    if (folder == NULL || (kept = calloc(1, sizeof *kept)) == NULL) {
        if (folder != NULL)
            closedir(folder);
        return kept;
    }
    kept->references = 1;
    for (struct dirent *entry; (entry = readdir(folder)) != NULL;) {
        char path[512];
        if (!string_ends_with(entry->d_name, ".crt"))
            continue;
        ignore(snprintf(path, sizeof path, "%s/%s", LOCAL_FOLDER, entry->d_name));
        ignore(certificate_file_read(path, NULL, take_anchor, kept, NULL));
    }
    closedir(folder);
    anchors_sort(kept);
    return kept;
}

/* ---- what others ask ---- */

/* Takes the reference to the anchors. */
static int store_of(struct chain_store **ret_store, const char *name, struct anchors *anchors,
                    struct error *error)
{
    struct chain_store *store = calloc(1, sizeof *store);

    if (store == NULL || (store->name = strdup(name)) == NULL) {
        free(store);
        anchors_unref(anchors);
        return error_set(error, ERROR_MEMORY, "out of memory");
    }
    store->references = 1;
    store->anchors = anchors;
    *ret_store = store;
    return 0;
}

int chain_store_new(struct chain_store **ret_store, const char *name, const char *path,
                    struct error *error)
{
    struct anchors *anchors = NULL;
    int result = path != NULL ? anchors_read(&anchors, path, NULL, 0, error)
                              : system_anchors(&anchors, error);

    if (result != 0)
        return result;
    if (path == NULL)
        anchors->references++;
    return store_of(ret_store, name, anchors, error);
}

int chain_store_parse(struct chain_store **ret_store, const char *name, const void *data,
                      size_t size, struct error *error)
{
    struct anchors *anchors = NULL;
    int result = anchors_read(&anchors, NULL, data, size, error);

    return result != 0 ? result : store_of(ret_store, name, anchors, error);
}

struct chain_store *chain_store_ref(struct chain_store *store)
{
    store->references++;
    return store;
}

void chain_store_unref(struct chain_store *store)
{
    if (store == NULL || --store->references > 0)
        return;
    anchors_unref(store->anchors);
    free(store->name);
    free(store);
}

const char *chain_store_name(const struct chain_store *store)
{
    return store->name;
}

void chain_store_ignore_ends(struct chain_store *store)
{
    store->ends_ignored = true;
}

bool chain_store_ends_ignored(const struct chain_store *store)
{
    return store->ends_ignored;
}

void chain_store_find(const struct chain_store *store, unsigned long hash, size_t *ret_first,
                      size_t *ret_count)
{
    anchors_find(store->anchors, hash, ret_first, ret_count);
}

const struct certificate_facts *chain_store_anchor(const struct chain_store *store, size_t place)
{
    struct anchor *anchor = &store->anchors->list[place];

    if (anchor->facts == NULL &&
        certificate_facts_new(&anchor->facts, anchor->der, anchor->size, NULL) != 0)
        anchor->facts = NULL;
    return anchor->facts;
}

bool chain_store_has(const struct chain_store *store, const struct certificate_facts *facts)
{
    return anchors_have(store->anchors, facts);
}

bool chain_store_public(const struct chain_store *store, const struct certificate_facts *anchor)
{
    struct anchors *system;

    return anchors_have(store->anchors, anchor) && system_anchors(&system, NULL) == 0 &&
           anchors_have(system, anchor) && !anchors_have(local_anchors(), anchor);
}
