/* The names of a folder, and who asks for them. */
#include "vault/folder.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/string.h"

#define GIVEN_S     5
#define RELIST_NS   (100 * NS_PER_MS)
#define RETRY_NS    (60 * NS_PER_S)
#define JOURNAL_MAX (64u << 20)

static struct vault *vault_of(const struct folder *folder)
{
    return folder->lineage->vault;
}

/* ---- the journal of versions ---- */

struct journal {
    struct folder *folder;
    size_t lines;
};

static void journal_line(void *context, uint32_t version, enum key_type type,
                         const uint8_t fingerprint[32], const char *host)
{
    struct journal *journal = context;
    struct folder_index *index = &journal->folder->index;
    struct folder_entry *entry = folder_index_find(index, host);
    struct folder_host *used = entry != NULL ? folder_entry_use(index, entry) : NULL;

    journal->lines++;
    if (used == NULL)
        return;
    used->version = version;
    used->key_type = (uint8_t)type;
    memcpy(used->fingerprint, fingerprint, sizeof used->fingerprint);
}

/* Rewrites a journal of which less than half still counts. The last number given stays, whoever had
 * it. */
static void journal_compact(struct folder *folder, size_t lines)
{
    struct folder_index *index = &folder->index;
    struct error error = {0};
    struct buffer text;

    if (lines < 64 || lines < 2 * index->host_count)
        return;
    buffer_init(&text, JOURNAL_MAX);
    versions_line(&text, folder->lineage->versions.last, KEY_TYPE_ECDSA, (const uint8_t[32]){0},
                  "");
    for (size_t i = 0; i < index->count; i++) {
        const struct folder_host *used = folder_entry_used(index, &index->entries[i]);
        if (used != NULL)
            versions_line(&text, used->version, used->key_type, used->fingerprint,
                          folder_entry_host(index, &index->entries[i]));
    }
    if (!text.failed &&
        versions_replace(&folder->lineage->versions, vault_of(folder)->host.state_folder,
                         folder->lineage->conf->name, &text, &error) != 0)
        vault_warn(vault_of(folder), folder->lineage, "%s", error.message);
    buffer_fini(&text);
}

static void journal_read(struct folder *folder)
{
    struct journal journal = {.folder = folder};
    struct error error = {0};

    if (versions_open(&folder->lineage->versions, vault_of(folder)->host.state_folder,
                      folder->lineage->conf->name, journal_line, &journal, &error) != 0)
        vault_warn(vault_of(folder), folder->lineage, "%s", error.message);
    else
        journal_compact(folder, journal.lines);
}

/* ---- reading again what is in use ---- */

static bool in_use(const struct folder_host *used)
{
    return used != NULL && (used->version != 0 || used->trouble != NULL);
}

void folder_refresh_next(struct folder *folder)
{
    struct folder_index *index = &folder->index;

    while (folder->refresh < index->count) {
        const struct folder_entry *entry = &index->entries[folder->refresh++];
        const struct folder_host *used = folder_entry_used(index, entry);
        if (used != NULL && used->version != 0 && folder_read(folder, entry, EVERYBODY, "", true))
            return; /* one at a time: there may be many, and nobody waits */
    }
    folder->refreshing = false;
}

static void refresh_all(struct folder *folder)
{
    folder->refresh = 0;
    if (folder->refreshing)
        return;
    folder->refreshing = true;
    folder_refresh_next(folder);
}

/* ---- listing ---- */

static void list_decided(struct folder *folder)
{
    if (folder->started)
        return;
    folder->started = true;
    lineage_loaded(folder->lineage);
}

static void list_failed(struct folder *folder, const char *reason)
{
    char text[TROUBLE_MAX];

    ignore(snprintf(text, sizeof text, "io: cannot list %.150s: %.100s",
                    folder->lineage->conf->folder, reason));
    if (strcmp(text, folder->trouble) != 0)
        vault_report(vault_of(folder), EVENT_CERTIFICATE_REFUSED, folder->lineage->index, 0, "",
                     text);
    ignore(string_copy(folder->trouble, sizeof folder->trouble, text));
    timer_set(vault_of(folder)->host.loop, &folder->list_timer,
              loop_now(vault_of(folder)->host.loop) + RETRY_NS);
    list_decided(folder);
}

/* Takes the descriptor. Returns an errno. */
static int read_names(struct folder_index *index, int fd)
{
    DIR *directory = fdopendir(fd);
    enum folder_spelling spelling;
    struct dirent *entry;
    char host[HOST_MAX];
    int result = 0;

    if (directory == NULL) {
        result = errno;
        close(fd);
        return result;
    }
    rewinddir(directory);
    while (result == 0 && (errno = 0, entry = readdir(directory)) != NULL) {
        if (folder_host_of_file(entry->d_name, host, &spelling) &&
            folder_index_add(index, host, spelling) == NULL)
            result = ENOMEM;
    }
    if (entry == NULL && errno != 0)
        result = errno;
    closedir(directory);
    return result;
}

/* What is in use keeps its version; what is gone is taken back. */
static void carry_over(struct folder *folder, struct folder_index *fresh)
{
    struct folder_index *old = &folder->index;

    for (size_t i = 0; i < old->count; i++) {
        struct folder_host *used = folder_entry_used(old, &old->entries[i]);
        if (!in_use(used))
            continue;
        const char *host = folder_entry_host(old, &old->entries[i]);
        struct folder_entry *entry = folder_index_find(fresh, host);
        struct folder_host *place = entry != NULL ? folder_entry_use(fresh, entry) : NULL;
        if (place == NULL) {
            folder_say_unknown(folder, EVERYBODY, host);
            continue;
        }
        *place = *used;
        used->trouble = NULL;
    }
    folder_index_fini(old);
    *old = *fresh;
}

static void folder_opened(void *context, int fd, int result)
{
    struct folder *folder = context;
    struct folder_index fresh;

    folder->listing = false;
    if (vault_of(folder)->ending || fd < 0) {
        if (fd >= 0)
            close(fd);
        if (!vault_of(folder)->ending)
            list_failed(folder, strerror(-result));
        return;
    }
    folder_index_init(&fresh);
    result = read_names(&fresh, fd);
    if (result != 0) {
        folder_index_fini(&fresh);
        list_failed(folder, strerror(result));
        return;
    }
    carry_over(folder, &fresh);
    folder->trouble[0] = '\0';
    if (!folder->listed)
        journal_read(folder);
    folder->listed = true;
    list_decided(folder);
    refresh_all(folder);
    if (folder->again)
        timer_set(vault_of(folder)->host.loop, &folder->list_timer,
                  loop_now(vault_of(folder)->host.loop) + RELIST_NS);
    folder->again = false;
}

static void folder_watched(void *context, int fd, int result)
{
    struct folder *folder = context;

    if (fd >= 0)
        close(fd);
    folder->watch = result >= 0 ? result : -1;
}

static void folder_rewatched(void *context, int fd, int result)
{
    struct folder *folder = context;
    bool moved = result >= 0 && result != folder->watch;

    folder_watched(context, fd, result);
    if (moved)
        timer_set(vault_of(folder)->host.loop, &folder->list_timer,
                  loop_now(vault_of(folder)->host.loop));
}

static void list(void *context)
{
    struct folder *folder = context;

    if (folder->listing) {
        folder->again = true;
        return;
    }
    folder->listing = true;
    vault_ask_watch(folder->lineage, folder->lineage->conf->folder, true, folder_watched, folder);
    vault_ask_open(folder->lineage, folder->lineage->conf->folder, true, folder_opened, folder);
}

/* ---- what the vault calls ---- */

void folder_start(struct lineage *lineage)
{
    struct folder *folder = calloc(1, sizeof *folder);

    if (folder == NULL) {
        vault_warn(lineage->vault, lineage, "out of memory");
        lineage_loaded(lineage);
        return;
    }
    lineage->folder = folder;
    folder->lineage = lineage;
    folder->watch = -1;
    folder_index_init(&folder->index);
    timer_init(&folder->settle_timer, folder_settle_over, folder);
    timer_init(&folder->list_timer, list, folder);
    list(folder);
}

/* An entry whose file was not refused just now. */
static const struct folder_entry *usable(const struct folder *folder, const char *host)
{
    const struct folder_entry *entry = folder_index_find(&folder->index, host);
    const struct folder_host *used =
        entry != NULL ? folder_entry_used(&folder->index, entry) : NULL;

    return used != NULL && used->refused_until > vault_now() ? NULL : entry;
}

/* Strangers may ask for any number of names below a wildcard; its file is not read again for each.
 * That it was given is forgotten soon, because the handshaker forgets, too. */
static bool given_already(const struct folder *folder, const struct folder_entry *wildcard,
                          unsigned handshaker)
{
    struct folder_host *used = folder_entry_used(&folder->index, wildcard);
    int64_t now = vault_now();

    if (used == NULL)
        return false;
    if (now < used->given_since || now >= used->given_since + GIVEN_S) {
        used->given = 0;
        used->given_since = now;
    }
    return (used->given >> handshaker & 1) != 0;
}

void folder_peer_ended(struct lineage *lineage, unsigned handshaker)
{
    struct folder *folder = lineage->folder;

    for (size_t i = 0; folder != NULL && i < folder->index.host_count; i++)
        folder->index.hosts[i].given &= ~(1ull << handshaker);
}

void folder_wanted(struct lineage *lineage, unsigned handshaker, const char *name)
{
    struct folder *folder = lineage->folder;
    const struct folder_entry *entry = NULL;
    char wildcard[HOST_MAX];
    const char *dot = strchr(name, '.');
    bool given = false;

    if (folder == NULL)
        return;
    if (folder_host_valid(name) && name[0] != '*') {
        entry = usable(folder, name);
        if (entry == NULL && dot != NULL &&
            snprintf(wildcard, sizeof wildcard, "*%s", dot) < (int)sizeof wildcard) {
            entry = usable(folder, wildcard);
            given = entry != NULL && given_already(folder, entry, handshaker);
        }
    }
    if (entry == NULL || given || !folder_read(folder, entry, handshaker, name, false))
        folder_say_unknown(folder, handshaker, name);
}

void folder_renew(struct lineage *lineage, struct command *command)
{
    struct vault_outcome outcome = {0};

    if (lineage->folder != NULL)
        list(lineage->folder);
    ignore(snprintf(outcome.check, sizeof outcome.check, "the folder is being read again"));
    command_report(lineage->vault, command, &outcome);
}

static void file_gone(struct folder *folder, const char *host)
{
    const struct folder_entry *entry = folder_index_find(&folder->index, host);

    if (entry == NULL)
        return;
    bool used = in_use(folder_entry_used(&folder->index, entry));
    folder_index_remove(&folder->index, host);
    folder_settled(folder, host);
    if (used)
        folder_say_unknown(folder, EVERYBODY, host);
}

static void file_changed(struct folder *folder, const char *host, enum folder_spelling spelling)
{
    struct folder_entry *entry = folder_index_add(&folder->index, host, spelling);
    struct folder_host *used = entry != NULL ? folder_entry_used(&folder->index, entry) : NULL;

    if (!in_use(used))
        return;
    used->refused_until = 0;
    ignore(folder_read(folder, entry, EVERYBODY, "", false));
}

void folder_event(struct lineage *lineage, const struct inotify_event *event)
{
    struct folder *folder = lineage->folder;
    enum folder_spelling spelling;
    char host[HOST_MAX];

    if (folder == NULL)
        return;
    if (event == NULL) {
        vault_ask_watch(lineage, lineage->conf->folder, true, folder_rewatched, folder);
        return;
    }
    if ((event->mask & (IN_Q_OVERFLOW | IN_DELETE_SELF | IN_MOVE_SELF | IN_UNMOUNT | IN_IGNORED)) !=
        0) {
        timer_set(vault_of(folder)->host.loop, &folder->list_timer,
                  loop_now(vault_of(folder)->host.loop) + RELIST_NS);
        return;
    }
    if (!folder->listed || strnlen(event->name, event->len) == event->len ||
        !folder_host_of_file(event->name, host, &spelling))
        return;
    if ((event->mask & (IN_DELETE | IN_MOVED_FROM)) != 0)
        file_gone(folder, host);
    else if ((event->mask & (IN_CREATE | IN_CLOSE_WRITE | IN_MOVED_TO | IN_ATTRIB)) != 0)
        file_changed(folder, host, spelling);
}

bool folder_watches(const struct lineage *lineage, int watch)
{
    return lineage->folder != NULL && lineage->folder->watch == watch;
}

void folder_fini(struct lineage *lineage)
{
    struct folder *folder = lineage->folder;

    if (folder == NULL)
        return;
    timer_cancel(vault_of(folder)->host.loop, &folder->list_timer);
    while (folder->settling != NULL)
        folder_settled(folder, folder->settling->host);
    folder_index_fini(&folder->index);
    free(folder);
    lineage->folder = NULL;
}

/* ---- which versions are in service ---- */

static bool host_serves(const struct folder_index *index, const char *host, uint32_t version)
{
    const struct folder_entry *entry = folder_index_find(index, host);
    const struct folder_host *used = entry != NULL ? folder_entry_used(index, entry) : NULL;

    return used != NULL && used->version == version;
}

static bool any_host_serves(const struct folder_index *index, uint32_t version)
{
    for (size_t i = 0; i < index->count; i++) {
        const struct folder_host *used = folder_entry_used(index, &index->entries[i]);
        if (used != NULL && used->version == version)
            return true;
    }
    return false;
}

bool folder_serves(const struct lineage *lineage, uint32_t version, const char *server_name)
{
    const struct folder *folder = lineage->folder;
    const char *dot = strchr(server_name, '.');
    char wildcard[HOST_MAX];

    if (folder == NULL || version == 0)
        return false;
    if (strlen(server_name) >= SLOT_NAME_MAX - 1)
        return any_host_serves(&folder->index, version);
    return host_serves(&folder->index, server_name, version) ||
           (dot != NULL && snprintf(wildcard, sizeof wildcard, "*%s", dot) < (int)sizeof wildcard &&
            host_serves(&folder->index, wildcard, version));
}

/* ---- what `certs` shows ---- */

static int each_host(const struct folder *folder, const struct folder_entry *at, vault_entry_fn *fn,
                     void *context)
{
    const struct folder_host *used = folder_entry_used(&folder->index, at);
    const char *host = folder_entry_host(&folder->index, at);

    if (!in_use(used))
        return 0;
    struct vault_entry entry = {
        .certificate = folder->lineage->index,
        .name = folder->lineage->conf->name,
        .host = host,
        .from = CONF_FROM_FILES,
        .state = used->trouble != NULL ? VAULT_REFUSED : VAULT_LIVE,
        .present = used->version != 0,
        .version = used->version,
        .key_type = used->key_type,
        .key_bits = used->key_bits,
        .not_before = used->not_before,
        .not_after = used->not_after,
        .names = &host,
        .name_count = 1,
        .last_error = used->trouble != NULL ? used->trouble : "",
    };
    memcpy(entry.fingerprint, used->fingerprint, sizeof entry.fingerprint);
    return fn(context, &entry);
}

int folder_each(const struct lineage *lineage, vault_entry_fn *fn, void *context)
{
    const struct folder *folder = lineage->folder;
    struct vault_entry entry = {.certificate = lineage->index,
                                .name = lineage->conf->name,
                                .host = "",
                                .from = CONF_FROM_FILES,
                                .state = VAULT_REFUSED,
                                .last_error = "memory: out of memory"};

    if (folder == NULL)
        return fn(context, &entry);
    entry.state = folder->trouble[0] != '\0' ? VAULT_REFUSED
                  : folder->listed           ? VAULT_LIVE
                                             : VAULT_EMPTY;
    entry.last_error = folder->trouble;
    entry.folder_files = folder->index.files;
    for (size_t i = 0; i < folder->index.count; i++)
        entry.folder_used += in_use(folder_entry_used(&folder->index, &folder->index.entries[i]));
    int result = fn(context, &entry);
    for (size_t i = 0; i < folder->index.count && result == 0; i++)
        result = each_host(folder, &folder->index.entries[i], fn, context);
    return result;
}
