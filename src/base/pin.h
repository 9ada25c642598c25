/* Public keys as people pin them: the SHA-256 of a SubjectPublicKeyInfo (RFC 7469 §2.4). */
#pragma once

#include <stdint.h>

#include "base/error.h"

/* 64 hex digits, with or without colons, or base64; "sha256/" or "sha256//" may stand before. */
MUST_CHECK int pin_parse(uint8_t ret_pin[32], const char *text, struct error *error);
