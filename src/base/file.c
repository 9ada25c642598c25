#include "base/file.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

#define STREAM_SIZE 65536 /* made room for at once where nobody knows how much will come */

static int too_large(const struct buffer *content, const char *name, struct error *error)
{
    size_t maximum = content->maximum;
    bool mebibytes = maximum >= 1u << 20 && maximum % (1u << 20) == 0;
    bool kibibytes = maximum >= 1u << 10 && maximum % (1u << 10) == 0;

    return error_set(error, ERROR_LIMIT, "%s is larger than %zu %s", name,
                     mebibytes   ? maximum >> 20
                     : kibibytes ? maximum >> 10
                                 : maximum,
                     mebibytes   ? "MiB"
                     : kibibytes ? "KiB"
                                 : "bytes");
}

/* Reads on until the end; `offset` < 0: where the descriptor stands. A byte of its own is read when
 * all room is taken, so that a file which fits exactly makes no buffer grow. */
static int read_on(struct buffer *content, int fd, off_t offset, const char *name,
                   struct error *error)
{
    for (;;) {
        size_t room = content->capacity - content->size;
        uint8_t more = 0;
        void *place = room > 0 ? content->data + content->size : &more;
        size_t wanted = room > 0 ? room : 1;
        ssize_t got = offset < 0 ? read(fd, place, wanted) : pread(fd, place, wanted, offset);

        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            return error_set(error, ERROR_IO, "cannot read %s: %s", name, strerror(errno));
        if (got == 0)
            return 0;
        offset += offset < 0 ? 0 : got;
        if (room > 0)
            content->size += (size_t)got;
        else if (content->size == content->maximum)
            return too_large(content, name, error);
        else if (!buffer_append(content, &more, 1))
            return error_set(error, ERROR_MEMORY, "out of memory");
    }
}

int file_read(struct buffer *content, int fd, const char *name, struct error *error)
{
    struct stat facts;

    if (fstat(fd, &facts) != 0)
        return error_set(error, ERROR_IO, "cannot read %s: %s", name, strerror(errno));
    if (!S_ISREG(facts.st_mode))
        return error_set(error, ERROR_IO, "%s is no regular file", name);
    if (facts.st_size < 0 || (size_t)facts.st_size > content->maximum - content->size)
        return too_large(content, name, error);
    if (buffer_reserve(content, (size_t)facts.st_size) == NULL)
        return error_set(error, ERROR_MEMORY, "out of memory");
    return read_on(content, fd, 0, name, error);
}

int file_read_stream(struct buffer *content, int fd, const char *name, struct error *error)
{
    size_t room = content->maximum - content->size;

    if (buffer_reserve(content, room < STREAM_SIZE ? room : STREAM_SIZE) == NULL)
        return error_set(error, ERROR_MEMORY, "out of memory");
    return read_on(content, fd, -1, name, error);
}

int file_write(int fd, const void *data, size_t size)
{
    const uint8_t *bytes = data;

    for (size_t done = 0; done < size;) {
        ssize_t put = write(fd, bytes + done, size - done);
        if (put < 0 && errno == EINTR)
            continue;
        if (put <= 0)
            return put < 0 ? -errno : -EIO;
        done += (size_t)put;
    }
    return 0;
}

struct file_identity file_identity(const struct stat *facts)
{
    return (struct file_identity){.device = facts->st_dev,
                                  .inode = facts->st_ino,
                                  .size = facts->st_size,
                                  .modified = facts->st_mtim,
                                  .changed = facts->st_ctim};
}

static bool same_time(const struct timespec *a, const struct timespec *b)
{
    return a->tv_sec == b->tv_sec && a->tv_nsec == b->tv_nsec;
}

bool file_identity_same(const struct file_identity *a, const struct file_identity *b)
{
    return a->device == b->device && a->inode == b->inode && a->size == b->size &&
           same_time(&a->modified, &b->modified) && same_time(&a->changed, &b->changed);
}
