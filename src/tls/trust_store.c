#include "tls/trust_store.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include <openssl/err.h>
#include <openssl/pem.h>

#include "tls/certificate_internal.h"
#include "tls/openssl_auto.h"

struct cached_store {
    char *path; /* NULL: the system's */
    struct timespec changed;
    off_t size;
    X509_STORE *store;
    struct cached_store *next;
};

static struct cached_store *cache;

static bool same_path(const char *a, const char *b)
{
    return a == NULL || b == NULL ? a == b : strcmp(a, b) == 0;
}

static struct cached_store *cache_entry(const char *path)
{
    struct cached_store *entry = cache;

    while (entry != NULL && !same_path(entry->path, path))
        entry = entry->next;
    if (entry != NULL || (entry = calloc(1, sizeof *entry)) == NULL)
        return entry;
    if (path != NULL && (entry->path = strdup(path)) == NULL) {
        free(entry);
        return NULL;
    }
    entry->next = cache;
    cache = entry;
    return entry;
}

static bool unchanged(const struct cached_store *entry, const struct stat *status)
{
    return entry->changed.tv_sec == status->st_mtim.tv_sec &&
           entry->changed.tv_nsec == status->st_mtim.tv_nsec && entry->size == status->st_size;
}

static int store_load(X509_STORE **ret_store, const char *path, struct error *error)
{
    X509_STORE *store = X509_STORE_new();

    if (store == NULL)
        return error_set(error, ERROR_MEMORY, "out of memory");
    if ((path != NULL ? X509_STORE_load_file(store, path) : X509_STORE_set_default_paths(store)) !=
        1) {
        X509_STORE_free(store);
        return error_set(error, ERROR_IO, "cannot read trust anchors from %s: %s",
                         path != NULL ? path : "the system's store", openssl_reason());
    }
    ERR_clear_error();
    *ret_store = store;
    return 0;
}

int trust_store_file(X509_STORE **ret_store, const char *path, struct error *error)
{
    struct stat status = {0};
    struct cached_store *entry = cache_entry(path);

    if (entry == NULL)
        return error_set(error, ERROR_MEMORY, "out of memory");
    if (path != NULL && stat(path, &status) != 0)
        return error_set(error, ERROR_IO, "cannot read trust anchors from %s: %s", path,
                         strerror(errno));
    if (entry->store == NULL || !unchanged(entry, &status)) {
        X509_STORE *store = NULL;
        int result = store_load(&store, path, error);
        if (result != 0)
            return result;
        X509_STORE_free(entry->store);
        entry->store = store;
        entry->changed = status.st_mtim;
        entry->size = status.st_size;
    }
    X509_STORE_up_ref(entry->store);
    *ret_store = entry->store;
    return 0;
}

int trust_store_text(X509_STORE **ret_store, const char *pem, struct error *error)
{
    AUTO(BIO) *input = BIO_new_mem_buf(pem, -1);
    X509_STORE *store = X509_STORE_new();
    int count = 0;

    if (input == NULL || store == NULL) {
        X509_STORE_free(store);
        return error_set(error, ERROR_MEMORY, "out of memory");
    }
    for (;;) {
        AUTO(X509) *anchor = PEM_read_bio_X509(input, NULL, NULL, NULL);
        if (anchor == NULL || X509_STORE_add_cert(store, anchor) != 1)
            break;
        count++;
    }
    bool complete = ERR_GET_REASON(ERR_peek_last_error()) == PEM_R_NO_START_LINE;
    const char *reason = openssl_reason();
    if (count == 0 || !complete) {
        X509_STORE_free(store);
        return error_set(error, ERROR_CERTIFICATE_UNPARSABLE,
                         "the trust anchors cannot be parsed: %s",
                         complete ? "there is no certificate" : reason);
    }
    ignore(X509_STORE_set_flags(store, X509_V_FLAG_PARTIAL_CHAIN));
    *ret_store = store;
    return 0;
}
