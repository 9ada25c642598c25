#include "vault/store.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "base/secret.h"

#define NAME_TEXT_MAX 32

/* ---- whole files ---- */

int store_write(int directory, const char *name, const void *data, size_t size, struct error *error)
{
    char temporary[NAME_TEXT_MAX * 4];

    if ((size_t)snprintf(temporary, sizeof temporary, "%s.new", name) >= sizeof temporary)
        return error_set(error, ERROR_LIMIT, "the name %s is too long", name);
    int fd =
        openat(directory, temporary, O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (fd < 0)
        return error_set(error, ERROR_IO, "cannot write %s: %s", name, strerror(errno));
    int result = file_write(fd, data, size);
    if (result == 0 && fsync(fd) != 0)
        result = -errno;
    if (close(fd) != 0 && result == 0)
        result = -errno;
    if (result == 0 && renameat(directory, temporary, directory, name) != 0)
        result = -errno;
    if (result != 0) {
        ignore(unlinkat(directory, temporary, 0));
        return error_set(error, ERROR_IO, "cannot write %s: %s", name, strerror(-result));
    }
    ignore(
        fsync(directory)); /* the content is safe; only the name may be lost, as if never written */
    return 0;
}

int store_read(struct buffer *content, int directory, const char *name, struct error *error)
{
    int fd = openat(directory, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);

    if (fd < 0)
        return error_set(error, errno == ENOENT ? ERROR_NOT_FOUND : ERROR_IO, "cannot open %s: %s",
                         name, strerror(errno));
    int result = file_read(content, fd, name, error);
    close(fd);
    return result;
}

static int folder_open(int parent, const char *name)
{
    if (mkdirat(parent, name, 0700) != 0 && errno != EEXIST)
        return -1;
    return openat(parent, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
}

int store_folder(int *ret_directory, int state_folder, const char *parent, const char *name,
                 struct error *error)
{
    int fd = folder_open(state_folder, parent);

    if (fd >= 0 && name != NULL) {
        int inner = folder_open(fd, name);
        int reason = errno;
        close(fd);
        errno = reason;
        fd = inner;
    }
    if (fd < 0)
        return error_set(error, ERROR_IO, "cannot make the folder %s%s%s in the state folder: %s",
                         parent, name != NULL ? "/" : "", name != NULL ? name : "",
                         strerror(errno));
    *ret_directory = fd;
    return 0;
}

/* ---- versions ---- */

static void version_name(char name[NAME_TEXT_MAX], uint32_t version)
{
    ignore(snprintf(name, NAME_TEXT_MAX, "%u.pem", version));
}

static bool version_parse(const char *name, uint32_t *ret_version)
{
    char *end;

    if (name[0] < '1' || name[0] > '9')
        return false;
    unsigned long number = strtoul(name, &end, 10);
    if (number > UINT32_MAX || strcmp(end, ".pem") != 0)
        return false;
    *ret_version = (uint32_t)number;
    return true;
}

static int descending(const void *a, const void *b)
{
    uint32_t left, right;

    memcpy(&left, a, sizeof left);
    memcpy(&right, b, sizeof right);
    return left > right ? -1 : left < right;
}

/* The versions in the folder, newest first; malloc'ed. */
static int versions_list(uint32_t **ret_versions, size_t *ret_count, int directory,
                         struct error *error)
{
    int fd = openat(directory, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *folder = fd >= 0 ? fdopendir(fd) : NULL;
    uint32_t *versions = NULL, version;
    size_t count = 0;
    struct dirent *entry;

    if (folder == NULL) {
        int result =
            error_set(error, ERROR_IO, "cannot list the stored versions: %s", strerror(errno));
        if (fd >= 0)
            close(fd);
        return result;
    }
    while ((entry = readdir(folder)) != NULL) {
        if (!version_parse(entry->d_name, &version))
            continue;
        uint32_t *larger = realloc(versions, (count + 1) * sizeof *versions);
        if (larger == NULL) {
            free(versions);
            closedir(folder);
            return error_set(error, ERROR_MEMORY, "out of memory");
        }
        versions = larger;
        versions[count++] = version;
    }
    closedir(folder);
    if (count > 0)
        qsort(versions, count, sizeof *versions, descending);
    *ret_versions = versions;
    *ret_count = count;
    return 0;
}

static int pair_read(struct keypair **ret_pair, int directory, uint32_t version,
                     struct error *error)
{
    __attribute__((cleanup(buffer_auto))) struct buffer text;
    char name[NAME_TEXT_MAX];

    buffer_init_secret(&text, KEYPAIR_PEM_MAX);
    version_name(name, version);
    int result = store_read(&text, directory, name, error);
    return result != 0 ? result
                       : keypair_parse(ret_pair, buffer_text(&text), text.size, NULL, 0, error);
}

int store_pair_write(int directory, uint32_t version, const struct keypair *pair,
                     struct error *error)
{
    char name[NAME_TEXT_MAX];
    size_t size;
    char *pem = keypair_to_pem(pair, &size);

    if (pem == NULL)
        return error_set(error, ERROR_MEMORY, "out of memory");
    version_name(name, version);
    int result = store_write(directory, name, pem, size, error);
    secret_wipe(pem, size);
    free(pem);
    return result;
}

void store_pair_remove(int directory, uint32_t version)
{
    char name[NAME_TEXT_MAX];

    version_name(name, version);
    ignore(unlinkat(directory, name, 0));
}

int store_pairs_read(struct stored_pair ret_pairs[KEY_TYPE_COUNT], int directory, store_bad_fn *bad,
                     void *context, struct error *error)
{
    uint32_t *versions;
    size_t count;
    int result = versions_list(&versions, &count, directory, error);

    if (result != 0)
        return result;
    memset(ret_pairs, 0, KEY_TYPE_COUNT * sizeof *ret_pairs);
    for (size_t i = 0; i < count; i++) {
        struct error reason = {0};
        struct keypair *pair;
        if (pair_read(&pair, directory, versions[i], &reason) != 0) {
            bad(context, versions[i], &reason);
            continue;
        }
        struct stored_pair *place = &ret_pairs[keypair_type(pair)];
        if (place->pair == NULL)
            *place = (struct stored_pair){pair, versions[i]};
        else
            keypair_unref(pair);
    }
    free(versions);
    return 0;
}

void store_pairs_prune(int directory, enum key_type type)
{
    uint32_t *versions;
    size_t count, seen = 0;

    if (versions_list(&versions, &count, directory, NULL) != 0)
        return;
    for (size_t i = 0; i < count; i++) {
        struct keypair *pair;
        if (pair_read(&pair, directory, versions[i], NULL) != 0)
            continue;
        if (keypair_type(pair) == type && seen++ > STORE_KEPT)
            store_pair_remove(directory, versions[i]);
        keypair_unref(pair);
    }
    free(versions);
}
