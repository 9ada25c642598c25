/* Any bytes as what the other process says: whatever is taken leaves the front, and what has come
 * whole is never left behind. */
#include <stdlib.h>
#include <string.h>

#include "watch/prober_talk.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static bool take(void *context, const json_t *line, const uint8_t *bytes, size_t size)
{
    (void)context;
    if (!json_is_object(line) || size > 64 || (bytes == NULL && size != 0))
        abort();
    return true;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct buffer input;

    buffer_init(&input, size + 1);
    if (size > 0 && buffer_append(&input, data, size) &&
        prober_talk_hear(&input, 256, 64, take, NULL) && input.size > 256 + 64)
        abort();
    buffer_fini(&input);
    return 0;
}
