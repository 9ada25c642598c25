#include "base/buffer.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define SMALLEST_CAPACITY 256
#define READ_SIZE         65536

void buffer_init(struct buffer *buffer, size_t maximum)
{
    *buffer = (struct buffer){.maximum = maximum};
}

void buffer_fini(struct buffer *buffer)
{
    if (buffer == NULL)
        return;
    free(buffer->data);
    *buffer = (struct buffer){0};
}

/* One byte more than `capacity` is allocated, so that buffer_text() always has room for its zero.
 */
static bool grow(struct buffer *buffer, size_t wanted)
{
    size_t capacity = buffer->capacity > 0 ? buffer->capacity : SMALLEST_CAPACITY;

    while (capacity < wanted && capacity <= buffer->maximum / 2)
        capacity *= 2;
    if (capacity < wanted || capacity > buffer->maximum)
        capacity = buffer->maximum;
    uint8_t *data = realloc(buffer->data, capacity + 1);
    if (data == NULL)
        return false;
    buffer->data = data;
    buffer->capacity = capacity;
    return true;
}

uint8_t *buffer_reserve(struct buffer *buffer, size_t size)
{
    if (size > buffer->maximum - buffer->size) {
        buffer->failed = true;
        return NULL;
    }
    size_t wanted = buffer->size + size;
    if ((buffer->data == NULL || wanted > buffer->capacity) && !grow(buffer, wanted)) {
        buffer->failed = true;
        return NULL;
    }
    return buffer->data + buffer->size;
}

bool buffer_append(struct buffer *buffer, const void *data, size_t size)
{
    if (size == 0)
        return true;
    uint8_t *place = buffer_reserve(buffer, size);
    if (place == NULL)
        return false;
    memcpy(place, data, size);
    buffer->size += size;
    return true;
}

bool buffer_append_text(struct buffer *buffer, const char *text)
{
    return buffer_append(buffer, text, strlen(text));
}

bool buffer_printf(struct buffer *buffer, const char *format, ...)
{
    va_list arguments;

    va_start(arguments, format);
    int length = vsnprintf(NULL, 0, format, arguments);
    va_end(arguments);
    if (length < 0) {
        buffer->failed = true;
        return false;
    }
    uint8_t *place = buffer_reserve(buffer, (size_t)length);
    if (place == NULL)
        return false;
    va_start(arguments, format);
    ignore(vsnprintf((char *)place, (size_t)length + 1, format, arguments));
    va_end(arguments);
    buffer->size += (size_t)length;
    return true;
}

/* Of what does not fit one byte is read, to know that there is more. */
int buffer_read(struct buffer *buffer, int fd)
{
    for (;;) {
        size_t room = buffer->maximum - buffer->size;
        uint8_t more;
        uint8_t *place =
            room > 0 ? buffer_reserve(buffer, room < READ_SIZE ? room : READ_SIZE) : &more;
        if (place == NULL)
            return -ENOMEM;
        ssize_t got = read(fd, place, room == 0 ? 1 : room < READ_SIZE ? room : READ_SIZE);
        if (got < 0 && errno == EINTR)
            continue;
        if (got <= 0)
            return got == 0 ? 0 : -errno;
        if (room == 0)
            return -EFBIG;
        buffer->size += (size_t)got;
    }
}

void buffer_consume(struct buffer *buffer, size_t size)
{
    assert(size <= buffer->size);
    buffer->size -= size;
    if (size > 0 && buffer->size > 0)
        memmove(buffer->data, buffer->data + size, buffer->size);
}

const char *buffer_text(struct buffer *buffer)
{
    if (buffer->data == NULL)
        return "";
    buffer->data[buffer->size] = '\0';
    return (const char *)buffer->data;
}
