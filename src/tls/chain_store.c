/* Trust anchors: files, and the system's, which is read once per process. */
#include "tls/chain_internal.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/string.h"
#include "tls/certificate_facts_internal.h"

#define ANCHORS_MAX 4096

struct anchor {
    unsigned long hash; /* of the subject */
    const struct certificate_facts *facts;
};

struct chain_store {
    unsigned references;
    char *name;
    const struct certificate_facts **anchors; /* in the order of `hashes` */
    unsigned long *hashes;
    size_t count;
    bool ends_ignored;
};

/* ---- reading ---- */

static int compare_anchors(const void *a, const void *b)
{
    unsigned long left = ((const struct anchor *)a)->hash, right = ((const struct anchor *)b)->hash;

    return left < right ? -1 : left > right;
}

/* Takes the references of `list`. */
static bool store_fill(struct chain_store *store, const struct certificate_facts **list,
                       size_t count)
{
    struct anchor *sorted = calloc(count, sizeof *sorted);

    store->anchors = calloc(count, sizeof(void *));
    store->hashes = calloc(count, sizeof *store->hashes);
    if (sorted == NULL || store->anchors == NULL || store->hashes == NULL) {
        for (size_t i = 0; i < count; i++)
            certificate_facts_unref(list[i]);
        free(sorted);
        return false;
    }
    for (size_t i = 0; i < count; i++)
        sorted[i] = (struct anchor){X509_subject_name_hash(facts_x509(list[i])), list[i]};
    qsort(sorted, count, sizeof *sorted, compare_anchors);
    for (size_t i = 0; i < count; i++) {
        store->hashes[i] = sorted[i].hash;
        store->anchors[i] = sorted[i].facts;
    }
    store->count = count;
    free(sorted);
    return true;
}

static int store_read(struct chain_store **ret_store, const char *name, const char *path,
                      struct error *error)
{
    const struct certificate_facts **list = calloc(ANCHORS_MAX, sizeof(void *));
    struct chain_store *store = calloc(1, sizeof *store);
    size_t count = 0;
    int result = 0;

    if (list == NULL || store == NULL || (store->name = strdup(name)) == NULL)
        result = error_set(error, ERROR_MEMORY, "out of memory");
    if (result == 0)
        result = certificate_facts_read(list, ANCHORS_MAX, &count, path, NULL, error);
    if (result == 0 && !store_fill(store, list, count))
        result = error_set(error, ERROR_MEMORY, "out of memory");
    free(list);
    if (result != 0) {
        if (store != NULL)
            store->references = 1;
        chain_store_unref(store);
        return error_prepend(error, "cannot read trust anchors");
    }
    store->references = 1;
    *ret_store = store;
    return 0;
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

static int system_store(struct chain_store **ret_store, struct error *error)
{
    static struct chain_store *kept;

    if (kept == NULL) {
        int result = store_read(&kept, "system", system_bundle(), error);
        if (result != 0)
            return result;
    }
    *ret_store = kept;
    return 0;
}

/* What an administrator has added to the system's store belongs to no public programme. */
#define LOCAL_FOLDER "/usr/local/share/ca-certificates"

static const struct chain_store *local_store(void)
{
    static struct chain_store store;
    static const struct certificate_facts *list[ANCHORS_MAX];
    static bool read;
    size_t count = 0;

    if (read)
        return &store;
    read = true;
    DIR *folder = opendir(LOCAL_FOLDER);
    if (folder == NULL)
        return &store;
    for (struct dirent *entry; (entry = readdir(folder)) != NULL && count < ANCHORS_MAX;) {
        char path[512];
        size_t found = 0;
        if (!string_ends_with(entry->d_name, ".crt"))
            continue;
        ignore(snprintf(path, sizeof path, "%s/%s", LOCAL_FOLDER, entry->d_name));
        if (certificate_facts_read(list + count, ANCHORS_MAX - count, &found, path, NULL, NULL) ==
            0)
            count += found;
    }
    closedir(folder);
    if (count > 0)
        ignore(store_fill(&store, list, count));
    return &store;
}

/* ---- what others ask ---- */

int chain_store_new(struct chain_store **ret_store, const char *name, const char *path,
                    struct error *error)
{
    struct chain_store *system;

    if (path != NULL)
        return store_read(ret_store, name, path, error);
    int result = system_store(&system, error);
    if (result != 0)
        return result;
    /* Of its own, as the name and what is set on it are. */
    const struct certificate_facts **list = calloc(system->count + 1, sizeof(void *));
    struct chain_store *store = calloc(1, sizeof *store);
    if (list == NULL || store == NULL || (store->name = strdup(name)) == NULL) {
        free(list);
        free(store);
        return error_set(error, ERROR_MEMORY, "out of memory");
    }
    store->references = 1;
    for (size_t i = 0; i < system->count; i++)
        list[i] = certificate_facts_ref(system->anchors[i]);
    bool filled = store_fill(store, list, system->count);
    free(list);
    if (!filled) {
        chain_store_unref(store);
        return error_set(error, ERROR_MEMORY, "out of memory");
    }
    *ret_store = store;
    return 0;
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
    for (size_t i = 0; i < store->count; i++)
        certificate_facts_unref(store->anchors[i]);
    free(store->anchors);
    free(store->hashes);
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

void chain_store_find(const struct chain_store *store, unsigned long hash,
                      const struct certificate_facts *const **ret_first, size_t *ret_count)
{
    size_t from = 0, until = store->count;

    while (from < until) {
        size_t middle = (from + until) / 2;
        if (store->hashes[middle] < hash)
            from = middle + 1;
        else
            until = middle;
    }
    *ret_first = store->anchors + from;
    *ret_count = 0;
    while (from + *ret_count < store->count && store->hashes[from + *ret_count] == hash)
        ++*ret_count;
}

bool chain_store_has(const struct chain_store *store, const struct certificate_facts *facts)
{
    const struct certificate_facts *const *first;
    size_t count = 0;

    if (store->count > 0)
        chain_store_find(store, X509_subject_name_hash(facts_x509(facts)), &first, &count);
    for (size_t i = 0; i < count; i++) {
        if (certificate_facts_same(first[i], facts))
            return true;
    }
    return false;
}

bool chain_store_public(const struct chain_store *store, const struct certificate_facts *anchor)
{
    struct chain_store *system;

    return chain_store_has(store, anchor) && system_store(&system, NULL) == 0 &&
           chain_store_has(system, anchor) && !chain_store_has(local_store(), anchor);
}
