/* Any bytes as the start of a connection; what is accepted must make a fingerprint, and no prefix
 * of it may be accepted. */
#include <stdlib.h>

#include "tls/client_hello.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct client_hello hello, other;
    char text[CLIENT_HELLO_JA4_SIZE];

    if (client_hello_parse(data, size, 16384, &hello) == CLIENT_HELLO_OK &&
        (!client_hello_ja4(&hello, text) || hello.wire_size > size ||
         client_hello_parse(data, hello.wire_size - 1, 16384, &other) != CLIENT_HELLO_INCOMPLETE)) {
        abort();
    }
    return 0;
}
