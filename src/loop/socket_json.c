#include "loop/socket_json.h"

#include <string.h>

#include "base/json.h"
#include "loop/socket.h"

void json_set_address(json_t *object, const char *key, const uint8_t bytes[16], uint16_t port)
{
    static const uint8_t none[16];
    struct address address;
    char text[ADDRESS_TEXT_MAX];

    if (memcmp(bytes, none, sizeof none) == 0)
        return;
    address_from_bytes(&address, bytes, port);
    json_set_text(object, key, address_format(text, sizeof text, &address));
}
