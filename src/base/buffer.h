/* A growing byte buffer with a fixed maximum, so that nothing a peer can lengthen grows without
 * limit. A secret one keeps its content in memory of base/secret.h, also while it grows. */
#pragma once

#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/attributes.h"

struct buffer {
    uint8_t *data;
    size_t size;     /* bytes in use */
    size_t capacity; /* bytes allocated */
    size_t maximum;  /* never grows beyond */
    bool failed;     /* sticky: an append did not fit; check once at the end */
    bool secret;
};

void buffer_init(struct buffer *buffer, size_t maximum);
void buffer_init_secret(struct buffer *buffer, size_t maximum);
void buffer_fini(struct buffer *buffer); /* accepts NULL and zeroed */
static inline void buffer_auto(struct buffer *buffer)
{
    buffer_fini(buffer);
}

/* Appends; on lack of room or memory nothing is appended and `failed` sticks. Returns success. */
bool buffer_append(struct buffer *buffer, const void *data, size_t size);
bool buffer_append_text(struct buffer *buffer, const char *text);
bool buffer_printf(struct buffer *buffer, const char *format, ...) PRINTF_LIKE(2, 3);

/* Makes room for `size` more bytes and returns where they go, or NULL; the caller then adds to
 * `size`. */
uint8_t *buffer_reserve(struct buffer *buffer, size_t size);

/* Drops `size` bytes from the front. */
void buffer_consume(struct buffer *buffer, size_t size);

/* The content as a C string (a terminating zero is kept behind it); "" when empty or out of memory.
 */
const char *buffer_text(struct buffer *buffer);

/* Hands the content over, malloc'ed with a zero behind it, and leaves the buffer empty; NULL when
 * out of memory. Not of a secret buffer. `ret_size` may be NULL. */
char *buffer_steal(struct buffer *buffer, size_t *ret_size);
