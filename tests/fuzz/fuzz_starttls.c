/* The first byte chooses the protocol, the second the size of the pieces in which the rest comes.
 */
#include <stdlib.h>
#include <string.h>

#include "watch/starttls.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    enum starttls_status status = STARTTLS_WANT_READ;
    struct starttls starttls;

    if (size < 2)
        return 0;
    size_t piece = data[1] + 1u;
    starttls_init(&starttls, data[0] % TARGET_PROTOCOL_COUNT, "chat.example");
    for (size_t at = 2; at < size && status == STARTTLS_WANT_READ; at += piece) {
        status = starttls_feed(&starttls, data + at, size - at < piece ? size - at : piece);
        starttls_sent(&starttls);
    }
    if (starttls.input_size > sizeof starttls.input ||
        memchr(starttls.reason, 0, sizeof starttls.reason) == NULL)
        abort();
    return 0;
}
