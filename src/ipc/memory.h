/* Shared memory that outlives the process using it: a memfd created by the supervisor and passed
 * on. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/attributes.h"

/* A zeroed memfd of `size` bytes sealed against resizing; -1 when the system refuses. */
int memory_create(const char *name, size_t size);

/* Another descriptor of it, for reading only; -1 on failure. What our user shares with nobody (we
 * are root, the receiver is not) cannot be opened for writing through it either. */
int memory_reopen(int fd);

/* Maps it; NULL on failure. `writable` false maps it read-only. */
void *memory_map(int fd, size_t size, bool writable);
void memory_unmap(void *memory, size_t size);

/* A memfd holding these bytes, sealed against any change; -1 on failure. For passing documents
 * (configuration, certificates) to another process. */
int memory_document(const char *name, const void *data, size_t size);
/* The content of a document (malloc'ed, zero-terminated); NULL on failure or beyond `maximum`. */
char *memory_document_read(int fd, size_t maximum, size_t *ret_size);
