/* Opening and watching files for control, which has no right to read them by itself: only paths
 * that the accepted configuration names, and files directly in a configured folder. */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/stat.h>
#include <unistd.h>

#include "edge/supervisor_internal.h"

#define WATCH_MASK                                                                                 \
    (IN_CLOSE_WRITE | IN_MOVED_TO | IN_MOVED_FROM | IN_CREATE | IN_DELETE | IN_ATTRIB |            \
     IN_DELETE_SELF | IN_MOVE_SELF)
#define LINKS_MAX 16

/* Is `path` a file name directly below `folder`? */
static bool directly_in(const char *folder, const char *path)
{
    size_t size = strlen(folder);

    while (size > 1 && folder[size - 1] == '/')
        size--;
    if (strncmp(folder, path, size) != 0 || path[size] != '/')
        return false;
    const char *name = path + size + 1;
    return name[0] != 0 && strchr(name, '/') == NULL && strcmp(name, ".") != 0 &&
           strcmp(name, "..") != 0;
}

static int matches(void *context, const char *path, const char *role, bool folder)
{
    const char *wanted = context;
    (void)role;

    return strcmp(path, wanted) == 0 || (folder && directly_in(path, wanted)) ? 1 : 0;
}

static bool allowed(const struct supervisor *supervisor, const char *path)
{
    char wanted[MESSAGE_PATH_MAX];

    memcpy(wanted, path, sizeof wanted);
    return memchr(path, 0, MESSAGE_PATH_MAX) != NULL &&
           conf_each_path(supervisor->conf, matches, wanted) != 0;
}

void files_open(struct process *control, const struct message_open *body)
{
    struct message_opened answer = {.request = body->request, .result = -EACCES};
    int fd = -1;

    if (allowed(control->supervisor, body->path)) {
        fd = open(body->path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY |
                                  (body->folder != 0 ? O_DIRECTORY : 0));
        answer.result = fd < 0 ? -errno : 0;
    }
    ignore((long)channel_send(life_of(control, LIFE_CURRENT)->channel, MESSAGE_OPENED, &answer,
                              sizeof answer, &fd, fd >= 0 ? 1 : 0));
    if (fd >= 0)
        ignore(close(fd));
}

static int watch_folder(int inotify, const char *path)
{
    int watch = inotify_add_watch(inotify, path, WATCH_MASK | IN_ONLYDIR);
    return watch < 0 ? -errno : watch;
}

/* Watches the folder in which the last component of `path` stands and, for every symbolic link on
 * the way, the folder in which the link stands. Returns the watch of the folder of `path` itself.
 */
static int watch_along(int inotify, const char *path, unsigned links)
{
    char prefix[PATH_MAX], target[PATH_MAX], next[2 * PATH_MAX];
    int last = -ENOENT;

    for (const char *at = path + 1;;) {
        const char *slash = strchr(at, '/');
        size_t size = slash == NULL ? strlen(path) : (size_t)(slash - path);
        struct stat facts;
        size_t parent = (size_t)(at - path) - 1;

        if (size >= sizeof prefix)
            return -ENAMETOOLONG;
        memcpy(prefix, path, size);
        prefix[size] = 0;
        bool link = lstat(prefix, &facts) == 0 && S_ISLNK(facts.st_mode);
        if (link || slash == NULL) {
            char folder[PATH_MAX];
            ignore(snprintf(folder, sizeof folder, "%.*s", parent == 0 ? 1 : (int)parent, path));
            last = watch_folder(inotify, folder);
        }
        if (link && links < LINKS_MAX) {
            ssize_t length = readlink(prefix, target, sizeof target - 1);
            if (length > 0) {
                target[length] = 0;
                int size_next = snprintf(
                    next, sizeof next, "%.*s/%s%s", target[0] == '/' ? 0 : (int)parent, path,
                    target[0] == '/' ? target + 1 : target, slash == NULL ? "" : slash);
                if (size_next > 0 && size_next < (int)sizeof next && size_next < PATH_MAX)
                    ignore(watch_along(inotify, next, links + 1));
            }
        }
        if (slash == NULL)
            return last;
        at = slash + 1;
    }
}

void files_watch(struct process *control, const struct message_open *body)
{
    struct message_opened answer = {.request = body->request, .result = -EACCES};
    int inotify = control->supervisor->house->descriptors[HOUSE_INOTIFY];

    if (allowed(control->supervisor, body->path) && body->path[0] == '/') {
        answer.result = watch_along(inotify, body->path, 0);
        if (body->folder != 0)
            answer.result = watch_folder(inotify, body->path);
    }
    ignore((long)channel_send(life_of(control, LIFE_CURRENT)->channel, MESSAGE_WATCHED, &answer,
                              sizeof answer, NULL, 0));
}
