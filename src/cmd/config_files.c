#include "cmd/config_files.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "loop/descriptors.h"

struct opening {
    struct config_files *files;
    const char *config;
    const struct conf *before;
    FILE *report;
};

/* The descriptor, or -1 and why. */
static int open_path(const char *path, bool folder, const char **ret_fault)
{
    struct stat status;
    int fd = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC | O_NOCTTY | (folder ? O_DIRECTORY : 0));

    if (fd < 0) {
        *ret_fault = strerror(errno);
        return -1;
    }
    if (folder || (fstat(fd, &status) == 0 && S_ISREG(status.st_mode)))
        return fd;
    close(fd);
    *ret_fault = "it is no regular file";
    return -1;
}

static bool keep(struct config_files *files, const char *path, int fd)
{
    struct config_file *items = reallocarray(files->items, files->count + 1, sizeof *files->items);
    char *copy = strdup(path);

    if (items != NULL)
        files->items = items;
    if (items == NULL || copy == NULL) {
        free(copy);
        return false;
    }
    items[files->count++] = (struct config_file){copy, fd};
    /* cppcheck-suppress memleak; the list has it */
    return true;
}

struct looking {
    const char *path, *role;
};

static int is_same(void *context, const char *path, const char *role, bool folder)
{
    const struct looking *looking = context;
    (void)folder;

    return strcmp(path, looking->path) == 0 && strcmp(role, looking->role) == 0;
}

static void fail(struct opening *opening, const char *path, const char *role, const char *fault)
{
    struct looking looking = {path, role};
    bool known =
        opening->before != NULL && conf_each_watch_path(opening->before, is_same, &looking) != 0;

    fprintf(opening->report, "%s: %s%s: cannot open %s: %s\n", opening->config,
            known ? "warning: " : "", role, path, fault);
    opening->files->failures += known ? 0 : 1;
}

static int open_one(void *context, const char *path, const char *role, bool folder)
{
    struct opening *opening = context;
    const char *fault = "out of memory";

    int fd = open_path(path, folder, &fault);
    if (fd >= 0 && !folder && keep(opening->files, path, fd))
        return 0;
    if (fd >= 0)
        close(fd);
    if (fd >= 0 && folder)
        return 0;
    fail(opening, path, role, fault);
    return 0;
}

void config_files_open(struct config_files *ret_files, const struct conf *conf,
                       const struct conf *before, FILE *report)
{
    struct opening opening = {
        .files = ret_files, .config = conf->path, .before = before, .report = report};

    ignore((long)descriptors_raise()); /* there may be a target in each of thousands of files */
    *ret_files = (struct config_files){.count = 0};
    ignore(conf_each_path(conf, open_one, &opening));
}

void config_files_close(struct config_files *files)
{
    for (size_t i = 0; i < files->count; i++) {
        close(files->items[i].fd);
        free(files->items[i].path);
    }
    free(files->items);
    *files = (struct config_files){.count = 0};
}

/* -1: it was not opened. */
static int find_file(const struct config_files *files, const char *path)
{
    for (size_t i = 0; i < files->count; i++) {
        if (strcmp(files->items[i].path, path) == 0)
            return files->items[i].fd;
    }
    return -1;
}

bool config_files_opened(const struct config_files *files, const char *path)
{
    return find_file(files, path) >= 0;
}

int config_files_read(struct buffer *content, const struct config_files *files, const char *path,
                      struct error *error)
{
    int fd = find_file(files, path);

    return fd >= 0 ? file_read(content, fd, path, error)
                   : error_set(error, ERROR_NOT_FOUND, "%s was not opened", path);
}
