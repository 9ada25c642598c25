#include "watch/prober_talk.h"

#include <string.h>

#include "base/json.h"

#define KEPT (1u << 20)

bool prober_talk_say(struct buffer *output, json_t *line, const void *bytes, size_t size)
{
    size_t before = output->size;

    if (line == NULL)
        return false;
    if (bytes != NULL)
        json_set_number(line, "size", size);
    if (json_line(line, output) && (bytes == NULL || buffer_append(output, bytes, size)))
        return true;
    output->size = before;
    output->failed = false;
    return false;
}

/* One line with what belongs to it: 1 taken, 0 it is not whole, -1 it breaks the rules. */
static int take_one(const uint8_t *data, size_t available, size_t line_max, size_t bytes_max,
                    prober_talk_fn *fn, void *context, size_t *ret_taken)
{
    const uint8_t *end = available == 0 ? NULL : memchr(data, '\n', available);
    bool wrong = false;

    if (end == NULL)
        return available < line_max ? 0 : -1;
    size_t length = (size_t)(end - data) + 1;
    if (length > line_max)
        return -1;
    AUTO(json_t_pointer)
    line = json_loadb((const char *)data, length, JSON_REJECT_DUPLICATES, NULL);
    uint64_t size = json_get_number(line, "size", 0, &wrong);
    if (!json_is_object(line) || wrong || size > bytes_max)
        return -1;
    if (available - length < size)
        return 0;
    *ret_taken = length + size;
    bool has_bytes = json_object_get(line, "size") != NULL;
    return fn(context, line, has_bytes ? data + length : NULL, size) ? 1 : -1;
}

bool prober_talk_hear(struct buffer *input, size_t line_max, size_t bytes_max, prober_talk_fn *fn,
                      void *context)
{
    size_t taken = 0, one = 0;
    int result;

    while ((result = take_one(input->data + taken, input->size - taken, line_max, bytes_max, fn,
                              context, &one)) > 0)
        taken += one;
    buffer_consume(input, taken);
    prober_talk_trim(input);
    return result == 0;
}

void prober_talk_trim(struct buffer *buffer)
{
    size_t maximum = buffer->maximum;

    if (buffer->size != 0 || buffer->capacity <= KEPT)
        return;
    buffer_fini(buffer);
    buffer_init(buffer, maximum);
}
