/* What control and the process that probes say to each other over their socket: lines of JSON
 * objects, and behind a line with "size" so many bytes. */
#pragma once

#include <jansson.h>

#include "base/buffer.h"

/* False when it did not fit: nothing is appended then. Drops the caller's reference. */
MUST_CHECK bool prober_talk_say(struct buffer *output, json_t *line, const void *bytes,
                                size_t size);

/* `bytes` NULL: none. False: it breaks the rules. */
typedef bool prober_talk_fn(void *context, const json_t *line, const uint8_t *bytes, size_t size);
/* Takes what is whole from the front; lines, and bytes behind them, up to these sizes. False: it
 * breaks the rules. */
MUST_CHECK bool prober_talk_hear(struct buffer *input, size_t line_max, size_t bytes_max,
                                 prober_talk_fn *fn, void *context);

/* Gives back what an empty buffer has grown to. */
void prober_talk_trim(struct buffer *buffer);
