/* Any bytes as a server's first answer: an answer that is accepted names a version, and no prefix
 * of what is incomplete may be complete. */
#include <stdlib.h>

#include "tls/probe_hello.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct probe_hello_answer answer;
    enum probe_hello_result result = probe_hello_read(data, size, &answer);

    if (result == PROBE_HELLO_MORE && size > 0 &&
        probe_hello_read(data, size - 1, &answer) != PROBE_HELLO_MORE)
        abort();
    ignore(probe_hello_body(data, size, &answer));
    return 0;
}
