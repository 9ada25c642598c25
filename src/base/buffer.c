#include "base/buffer.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/secret.h"

#define SMALLEST_CAPACITY 256

void buffer_init(struct buffer *buffer, size_t maximum)
{
    *buffer = (struct buffer){.maximum = maximum};
}

void buffer_init_secret(struct buffer *buffer, size_t maximum)
{
    *buffer = (struct buffer){.maximum = maximum, .secret = true};
}

static void release(struct buffer *buffer)
{
    if (buffer->secret)
        secret_free(buffer->data, buffer->capacity + 1);
    else
        free(buffer->data);
}

void buffer_fini(struct buffer *buffer)
{
    if (buffer == NULL)
        return;
    release(buffer);
    *buffer = (struct buffer){0};
}

/* realloc() would leave the old content behind. */
static uint8_t *move_secret(struct buffer *buffer, size_t size)
{
    uint8_t *data = secret_alloc(size);

    if (data == NULL)
        return NULL;
    if (buffer->size > 0)
        memcpy(data, buffer->data, buffer->size);
    release(buffer);
    return data;
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
    uint8_t *data =
        buffer->secret ? move_secret(buffer, capacity + 1) : realloc(buffer->data, capacity + 1);
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

char *buffer_steal(struct buffer *buffer, size_t *ret_size)
{
    assert(!buffer->secret);
    char *text = realloc(buffer->data, buffer->size + 1);

    if (text == NULL)
        return NULL;
    text[buffer->size] = '\0';
    if (ret_size != NULL)
        *ret_size = buffer->size;
    buffer->data = NULL;
    buffer->size = buffer->capacity = 0;
    return text;
}
