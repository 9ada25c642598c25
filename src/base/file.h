/* Whole files, for whoever has them open: who opens decides what may be opened.
 *
 * Content goes into a buffer: its maximum is the bound, its kind (buffer_init_secret) decides
 * whether it is wiped. After a failure a part of the content may stand there. Messages call the
 * file `name`; "it" where the words of the caller name it: "shop.pem: it is larger than 1 MiB". */
#pragma once

#include <stdbool.h>
#include <sys/stat.h>

#include "base/buffer.h"
#include "base/error.h"

/* Appends a regular file from its beginning, wherever the offset of `fd` stands (it belongs to all
 * holders of the descriptor). What is no regular file could block or have no end: ERROR_IO, as when
 * it cannot be read. More than fits: ERROR_LIMIT. After success the buffer has memory even when the
 * file is empty. */
MUST_CHECK int file_read(struct buffer *content, int fd, const char *name, struct error *error);

/* Appends all that `fd` still gives, be it a file or a pipe; blocks until it ends. */
MUST_CHECK int file_read_stream(struct buffer *content, int fd, const char *name,
                                struct error *error);

/* Writes all of it. 0, or -errno when only a part was written. */
MUST_CHECK int file_write(int fd, const void *data, size_t size);

/* What tells a file from the one that was read last, so that it is read again only when it is
 * another one. All zero: no file. */
struct file_identity {
    dev_t device;
    ino_t inode;
    off_t size;
    struct timespec modified, changed;
};
struct file_identity file_identity(const struct stat *facts);
bool file_identity_same(const struct file_identity *a, const struct file_identity *b);
