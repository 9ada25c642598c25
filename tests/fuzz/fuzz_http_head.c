/* Any bytes as a web server's answer: what is shown of it is printable, and once a head is whole,
 * what follows changes nothing. */
#include <stdlib.h>
#include <string.h>

#include "watch/http_head.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct endpoint_http http = {.asked = true}, shorter = {.asked = true};

    if (http_head_read(data, size, &http) != HTTP_HEAD_DONE)
        return 0;
    if (size > 0 && http_head_read(data, size - 1, &shorter) == HTTP_HEAD_DONE &&
        shorter.status != http.status)
        abort();
    for (const char *text = http.strict_transport_security; *text != '\0'; text++) {
        if ((uint8_t)*text < 0x20)
            abort();
    }
    return 0;
}
