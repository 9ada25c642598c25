#include "edge/alpn.h"

#include <stdlib.h>
#include <string.h>

uint8_t *alpn_encode(const struct conf_text_list *names, size_t *ret_size)
{
    size_t size = 0, at = 0;

    for (size_t i = 0; i < names->count; i++)
        size += 1 + strlen(names->items[i]);
    uint8_t *wire = malloc(size + 1);
    if (wire == NULL)
        return NULL;
    for (size_t i = 0; i < names->count; i++) {
        size_t length = strlen(names->items[i]);
        wire[at++] = (uint8_t)length; /* conf/ admits 1 to 255 */
        memcpy(wire + at, names->items[i], length);
        at += length;
    }
    *ret_size = size;
    return wire;
}
