#include "edge/supervisor_history.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/file.h"
#include "conf/conf.h"

#define FOLDER         "history"
#define NEW_FILE       "new"
#define NAME_MAX_BYTES 48 /* 000012-20260102T030405Z.conf */

/* ---- trust ---- */

static bool ours(const struct stat *facts)
{
    return facts->st_uid == geteuid() && (facts->st_mode & (S_IWGRP | S_IWOTH)) == 0;
}

int history_open(int state_folder, struct error *error)
{
    struct stat facts;

    if (mkdirat(state_folder, FOLDER, 0700) != 0 && errno != EEXIST) {
        ignore(
            error_set(error, ERROR_IO, "cannot make the folder '" FOLDER "': %s", strerror(errno)));
        return -1;
    }
    int fd = openat(state_folder, FOLDER, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0 || fstat(fd, &facts) != 0) {
        ignore(
            error_set(error, ERROR_IO, "cannot open the folder '" FOLDER "': %s", strerror(errno)));
        if (fd >= 0)
            close(fd);
        return -1;
    }
    if (ours(&facts))
        return fd;
    ignore(error_set(error, ERROR_IO,
                     "the folder '" FOLDER "' belongs to user %u or others may write to it "
                     "(mode %03o); expected user %u, mode 700: remove it",
                     (unsigned)facts.st_uid, (unsigned)facts.st_mode & 0777u, (unsigned)geteuid()));
    close(fd);
    return -1;
}

/* ---- names ---- */

static void file_name(char name[NAME_MAX_BYTES], const struct history_entry *entry)
{
    char when[24] = "";
    time_t at = (time_t)entry->at;
    struct tm parts;

    if (gmtime_r(&at, &parts) != NULL)
        ignore((long)strftime(when, sizeof when, "%Y%m%dT%H%M%SZ", &parts));
    ignore(snprintf(name, NAME_MAX_BYTES, "%06u-%s.conf", entry->number, when));
}

static bool parse_name(const char *name, struct history_entry *ret_entry)
{
    struct tm parts = {0};
    char *end;

    if (name[0] < '0' || name[0] > '9')
        return false;
    unsigned long number = strtoul(name, &end, 10);
    if (*end != '-' || number == 0 || number > INT32_MAX)
        return false;
    const char *rest = strptime(end + 1, "%Y%m%dT%H%M%SZ", &parts);
    if (rest == NULL || strcmp(rest, ".conf") != 0)
        return false;
    *ret_entry = (struct history_entry){.number = (uint32_t)number, .at = timegm(&parts)};
    return true;
}

/* ---- files ---- */

/* A file that we have written, and nobody else. */
static bool trusted(int fd)
{
    struct stat facts;

    return fstat(fd, &facts) == 0 && ours(&facts) && facts.st_nlink == 1;
}

/* Malloc'ed; NULL when it cannot be read or trusted. */
static char *read_file(int folder, const char *name, size_t *ret_size)
{
    __attribute__((cleanup(buffer_auto))) struct buffer text;
    int fd = openat(folder, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);

    buffer_init(&text, CONF_TEXT_MAX);
    if (fd < 0)
        return NULL;
    bool whole = trusted(fd) && file_read(&text, fd, name, NULL) == 0;
    close(fd);
    if (!whole || text.size == 0 || memchr(text.data, '\0', text.size) != NULL)
        return NULL;
    return buffer_steal(&text, ret_size);
}

static int write_file(int folder, const struct history_entry *entry, struct error *error)
{
    char name[NAME_MAX_BYTES];

    file_name(name, entry);
    ignore(unlinkat(folder, NEW_FILE, 0)); /* of an earlier try */
    int fd = openat(folder, NEW_FILE, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (fd < 0)
        return error_set(error, ERROR_IO, "cannot write into the history: %s", strerror(errno));
    int result = file_write(fd, entry->text, entry->size);
    if (close(fd) != 0 && result == 0)
        result = -errno;
    if (result == 0 && renameat(folder, NEW_FILE, folder, name) == 0)
        return 0;
    int code = error_set(error, ERROR_IO, "cannot write into the history: %s",
                         strerror(result != 0 ? -result : errno));
    ignore(unlinkat(folder, NEW_FILE, 0));
    return code;
}

/* ---- the list ---- */

static void drop(struct history *history, size_t index, bool file)
{
    char name[NAME_MAX_BYTES];

    file_name(name, &history->entries[index]);
    if (file && history->folder >= 0)
        ignore(unlinkat(history->folder, name, 0));
    free(history->entries[index].text);
    history->count--;
    memmove(&history->entries[index], &history->entries[index + 1],
            (history->count - index) * sizeof *history->entries);
}

/* Makes room: the oldest that is neither in force nor what would be returned to. */
static void prune(struct history *history)
{
    for (size_t i = 0; history->count > HISTORY_MAX && i < history->count;) {
        uint32_t number = history->entries[i].number;
        if (number == history->current || number == history->previous)
            i++;
        else
            drop(history, i, true);
    }
}

static void insert(struct history *history, const struct history_entry *entry)
{
    size_t at = history->count;

    while (at > 0 && history->entries[at - 1].number > entry->number)
        at--;
    memmove(&history->entries[at + 1], &history->entries[at],
            (history->count - at) * sizeof *history->entries);
    history->entries[at] = *entry;
    history->count++;
    if (entry->number > history->last)
        history->last = entry->number;
    prune(history);
}

void history_init(struct history *history, int folder)
{
    *history = (struct history){.folder = folder};
    int copy = folder < 0 ? -1 : openat(folder, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *directory = copy < 0 ? NULL : fdopendir(copy);
    const struct dirent *found;

    if (directory == NULL) {
        if (copy >= 0)
            close(copy);
        return;
    }
    while ((found = readdir(directory)) != NULL) {
        struct history_entry entry;
        if (!parse_name(found->d_name, &entry))
            continue;
        entry.text = read_file(folder, found->d_name, &entry.size);
        if (entry.text != NULL)
            insert(history, &entry);
    }
    closedir(directory);
}

void history_fini(struct history *history)
{
    while (history->count > 0)
        drop(history, history->count - 1, false);
}

static const struct history_entry *find_text(const struct history *history, const char *text)
{
    for (size_t i = 0; i < history->count; i++) {
        if (strcmp(history->entries[i].text, text) == 0)
            return &history->entries[i];
    }
    return NULL;
}

/* At start nobody knows any more what was in force before: the newest other one will do. */
static void set_current(struct history *history, uint32_t number)
{
    if (history->current == number)
        return;
    history->previous = history->current;
    for (size_t i = 0; history->current == 0 && i < history->count; i++) {
        if (history->entries[i].number != number)
            history->previous = history->entries[i].number;
    }
    history->current = number;
}

bool history_note(struct history *history, const char *text, int64_t now, struct error *error)
{
    const struct history_entry *known = find_text(history, text);

    if (known != NULL) {
        set_current(history, known->number);
        return true;
    }
    struct history_entry entry = {
        .number = history->last + 1, .at = now, .text = strdup(text), .size = strlen(text)};
    if (entry.text == NULL) {
        ignore(error_set(error, ERROR_MEMORY, "out of memory"));
        return false;
    }
    set_current(history, entry.number);
    insert(history, &entry);
    return history->folder < 0 || write_file(history->folder, &entry, error) == 0;
}

const struct history_entry *history_find(const struct history *history, uint32_t number)
{
    for (size_t i = 0; i < history->count; i++) {
        if (history->entries[i].number == number)
            return &history->entries[i];
    }
    return NULL;
}
