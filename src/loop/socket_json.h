/* Addresses in JSON. */
#pragma once

#include <stdint.h>
#include <jansson.h>

/* "10.0.0.1:443" from the 16 bytes and port that slots and events carry; left out when all zero. */
void json_set_address(json_t *object, const char *key, const uint8_t bytes[16], uint16_t port);
