#include "vault/ticket_store.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "base/secret.h"
#include "base/string.h"
#include "vault/store.h"

#define NAME_SIZE  100 /* what is left for ".damaged-99" fits in a name, too */
#define ASIDES_MAX 99

struct ticket_store {
    int state_folder;           /* the caller's */
    char folder_path[PATH_MAX]; /* "": the state folder */
    char name[NAME_SIZE];
    int folder, lock;          /* -1: not open */
    struct file_identity seen; /* when it was read or written last */
    uint64_t sequence;
    bool known; /* `stored` is what the file holds */
    struct ticket_keys stored, read;
    uint8_t kek[KEY_ENCRYPTION_SIZE];
};

struct ticket_store *ticket_store_new(int state_folder, const char *path,
                                      const uint8_t kek[KEY_ENCRYPTION_SIZE])
{
    struct ticket_store *store = secret_alloc(sizeof *store);
    const char *slash = path == NULL ? NULL : strrchr(path, '/');

    if (store == NULL)
        return NULL;
    store->state_folder = state_folder;
    store->folder = store->lock = -1;
    memcpy(store->kek, kek, sizeof store->kek);
    if (slash != NULL)
        ignore(snprintf(store->folder_path, sizeof store->folder_path, "%.*s",
                        slash == path ? 1 : (int)(slash - path), path));
    ignore(string_copy(store->name, sizeof store->name,
                       slash != NULL ? slash + 1 : TICKET_STORE_NAME));
    return store;
}

static bool is_shared(const struct ticket_store *store)
{
    return store->folder_path[0] != '\0';
}

static void close_folder(struct ticket_store *store)
{
    if (store->folder >= 0 && store->folder != store->state_folder)
        ignore(close(store->folder));
    store->folder = -1;
}

void ticket_store_free(struct ticket_store *store)
{
    if (store == NULL)
        return;
    close_folder(store);
    secret_free(store, sizeof *store);
}

struct ticket_store *ticket_store_renew(struct ticket_store *store, int state_folder,
                                        const char *path, const uint8_t kek[KEY_ENCRYPTION_SIZE])
{
    struct ticket_store *fresh = ticket_store_new(state_folder, path, kek);

    if (store == NULL || fresh == NULL || strcmp(store->folder_path, fresh->folder_path) != 0 ||
        strcmp(store->name, fresh->name) != 0) {
        ticket_store_free(store);
        return fresh;
    }
    ticket_store_free(fresh);
    if (!secret_equal(store->kek, kek, sizeof store->kek)) {
        memcpy(store->kek, kek, sizeof store->kek);
        store->known = false; /* under this key */
    }
    return store;
}

/* ---- one at a time ---- */

static int open_folder(struct ticket_store *store, struct error *error)
{
    if (!is_shared(store))
        store->folder = store->state_folder;
    else if (store->folder < 0)
        store->folder = open(store->folder_path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    return store->folder >= 0 ? 0
                              : error_set(error, ERROR_IO, "cannot open the folder %s: %s",
                                          store->folder_path, strerror(errno));
}

static int take_lock(struct ticket_store *store, struct error *error)
{
    char name[NAME_SIZE + 8];

    if (!is_shared(store))
        return 0;
    ignore(snprintf(name, sizeof name, "%s.lock", store->name));
    store->lock =
        openat(store->folder, name, O_RDWR | O_CREAT | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC, 0600);
    if (store->lock < 0)
        return error_set(error, ERROR_IO, "cannot open %s: %s", name, strerror(errno));
    if (flock(store->lock, LOCK_EX | LOCK_NB) == 0)
        return 0;
    return error_set(error, errno == EWOULDBLOCK ? ERROR_BUSY : ERROR_IO, "cannot lock %s: %s",
                     name, strerror(errno));
}

static void drop_lock(struct ticket_store *store)
{
    if (store->lock >= 0)
        ignore(close(store->lock));
    store->lock = -1;
}

/* ---- reading ---- */

static void note_file(struct ticket_store *store)
{
    struct stat facts;

    memset(&store->seen, 0, sizeof store->seen);
    if (fstatat(store->folder, store->name, &facts, AT_SYMLINK_NOFOLLOW) == 0)
        store->seen = file_identity(&facts);
}

static bool has_changed(const struct ticket_store *store)
{
    struct stat facts;

    if (fstatat(store->folder, store->name, &facts, AT_SYMLINK_NOFOLLOW) != 0)
        return true;
    struct file_identity identity = file_identity(&facts);
    return !file_identity_same(&identity, &store->seen);
}

/* What stands there is somebody's purpose or mistake: it is left, and told. */
static int refuse_kind(const struct ticket_store *store, const struct stat *facts,
                       struct error *error)
{
    return error_set(error, ERROR_IO, "%s: found a %s; expected a regular file; remove it",
                     store->name,
                     S_ISLNK(facts->st_mode)   ? "symbolic link"
                     : S_ISDIR(facts->st_mode) ? "folder"
                                               : "special file");
}

/* Fails with ERROR_NOT_FOUND when there is no file. */
static int read_file(const struct ticket_store *store, uint8_t bytes[TICKET_FILE_MAX + 1],
                     size_t *ret_size, struct error *error)
{
    struct stat facts;

    if (fstatat(store->folder, store->name, &facts, AT_SYMLINK_NOFOLLOW) == 0 &&
        !S_ISREG(facts.st_mode))
        return refuse_kind(store, &facts, error);
    int fd = openat(store->folder, store->name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    if (fd < 0)
        return error_set(error, errno == ENOENT ? ERROR_NOT_FOUND : ERROR_IO, "cannot open %s: %s",
                         store->name, strerror(errno));
    ssize_t size = pread(fd, bytes, TICKET_FILE_MAX + 1, 0);
    int reason = errno;
    ignore(close(fd));
    if (size < 0)
        return error_set(error, ERROR_IO, "cannot read %s: %s", store->name, strerror(reason));
    *ret_size = (size_t)size;
    return 0;
}

/* Nothing that stands there already is replaced by it. */
static bool keep_aside(const struct ticket_store *store, char *aside, size_t size)
{
    for (unsigned i = 1; i <= ASIDES_MAX; i++) {
        ignore(snprintf(aside, size, "%s.unusable-%u", store->name, i));
        if (renameat2(store->folder, store->name, store->folder, aside, RENAME_NOREPLACE) == 0)
            return true;
        if (errno != EEXIST)
            break;
    }
    return false;
}

/* A file that we cannot read. Only when the place is free afterwards may it be written:
 * *ret_free. */
static int refuse(const struct ticket_store *store, int result, bool *ret_free, struct error *error)
{
    char aside[NAME_SIZE + 16], reason[400];

    ignore(string_copy(reason, sizeof reason, error->message));
    if (is_shared(store) && result == -ERROR_TLS)
        return error_set(error, ERROR_TLS, "%s: %s; it is left to those who can read it",
                         store->name, reason);
    *ret_free = keep_aside(store, aside, sizeof aside);
    if (!*ret_free)
        return error_set(error, -result, "%s: %s; it cannot be put aside: %s", store->name, reason,
                         strerror(errno));
    return error_set(error, -result, "%s: %s; it is kept as %s", store->name, reason, aside);
}

/* Reads the file when it has changed. *ret_free: it may be written, whatever is returned. */
static int take_up(struct ticket_store *store, struct ticket_keys *keys,
                   const struct ticket_rules *rules, const struct ticket_clock *clock,
                   unsigned *done, bool *ret_free, struct error *error)
{
    uint8_t bytes[TICKET_FILE_MAX + 1];
    uint64_t sequence;
    size_t size = 0;

    *ret_free = true;
    if (!has_changed(store))
        return 0;
    store->known = false;
    int result = read_file(store, bytes, &size, error);
    if (result == -ERROR_NOT_FOUND)
        return 0;
    *ret_free = false;
    if (result == 0)
        result = ticket_file_open(&store->read, &sequence, bytes, size, store->kek, error);
    if (result == -ERROR_PROTOCOL || result == -ERROR_TLS)
        return refuse(store, result, ret_free, error);
    if (result < 0)
        return result;
    *ret_free = true;
    *done |= ticket_keys_merge(keys, &store->read, rules, clock);
    if (sequence < store->sequence)
        return error_set(error, ERROR_PROTOCOL,
                         "%s: found an earlier state of it (writing %llu after %llu); somebody put "
                         "back a copy",
                         store->name, (unsigned long long)sequence,
                         (unsigned long long)store->sequence);
    store->sequence = sequence;
    store->stored = store->read;
    store->known = true;
    note_file(store);
    return 0;
}

/* ---- writing ---- */

static int write_file(struct ticket_store *store, const struct ticket_keys *keys,
                      struct error *error)
{
    uint8_t bytes[TICKET_FILE_MAX];
    size_t size = ticket_file_seal(bytes, keys, store->sequence + 1, store->kek);

    if (size == 0)
        return error_set(error, ERROR_INTERNAL, "cannot encrypt the ticket keys");
    int result = store_write(store->folder, store->name, bytes, size, error);
    if (result < 0)
        return result;
    store->sequence++;
    store->stored = *keys;
    store->known = true;
    note_file(store);
    return 0;
}

unsigned ticket_store_act(struct ticket_keys *keys, enum ticket_action action,
                          const struct ticket_rules *rules, const struct ticket_clock *clock)
{
    switch (action) {
    case TICKET_ADVANCE:
        return ticket_keys_advance(keys, rules, clock);
    case TICKET_ROTATE:
        return ticket_keys_rotate(keys, rules, clock);
    case TICKET_REPLACE:
        return ticket_keys_replace(keys, rules, clock);
    }
    return 0;
}

int ticket_store_sync(struct ticket_store *store, struct ticket_keys *keys,
                      enum ticket_action action, const struct ticket_rules *rules,
                      const struct ticket_clock *clock, unsigned *ret_done, struct error *error)
{
    bool writable = false;
    unsigned done = 0;

    int result = open_folder(store, error);
    if (result == 0)
        result = take_lock(store, error);
    if (result == -ERROR_BUSY) {
        drop_lock(store);
        return result;
    }
    if (result == 0)
        result = take_up(store, keys, rules, clock, &done, &writable, error);
    *ret_done = done | ticket_store_act(keys, action, rules, clock);
    if (writable && !(store->known && ticket_keys_same(keys, &store->stored))) {
        struct error failure = {0};
        int written = write_file(store, keys, &failure);
        if (result == 0 && written < 0) {
            *error = failure;
            result = written;
        }
    }
    drop_lock(store);
    if (result < 0)
        close_folder(store);
    return result;
}
