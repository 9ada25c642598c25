/* Any bytes as a PROXY header; what is accepted must be the same when built by us and read back. */
#include <stdlib.h>
#include <string.h>

#include "session/proxy_protocol.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct proxy_protocol_header header, again;
    uint8_t output[PROXY_PROTOCOL_V2_MAX];
    size_t consumed;

    if (proxy_protocol_parse(data, size, &header, &consumed) != PROXY_PROTOCOL_OK) {
        return 0;
    }
    size_t n = proxy_protocol_build_v2(&header.source, &header.destination, NULL, output);
    if (consumed > size ||
        proxy_protocol_parse(output, n, &again, &consumed) != PROXY_PROTOCOL_OK || consumed != n ||
        again.local != header.local || again.source.any.sa_family != header.source.any.sa_family) {
        abort();
    }
    n = proxy_protocol_build_v1(&header.source, &header.destination, output);
    if (proxy_protocol_parse(output, n, &again, &consumed) != PROXY_PROTOCOL_OK || consumed != n) {
        abort();
    }
    return 0;
}
