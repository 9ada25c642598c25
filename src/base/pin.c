#include "base/pin.h"

#include <stdbool.h>
#include <string.h>

#include "base/string.h"

static bool pin_from_hex(uint8_t ret_pin[32], const char *text)
{
    size_t digits = 0;

    memset(ret_pin, 0, 32);
    for (; *text != '\0'; text++) {
        int digit = string_hex_digit(*text);
        if (*text == ':' && digits % 2 == 0)
            continue;
        if (digit < 0 || digits == 64)
            return false;
        ret_pin[digits / 2] = (uint8_t)(ret_pin[digits / 2] << 4 | digit);
        digits++;
    }
    return digits == 64;
}

static bool pin_from_base64(uint8_t ret_pin[32], const char *text)
{
    static const char alphabet[] =
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    uint32_t bits = 0;
    size_t size = 0;

    if (strlen(text) != 44 || text[43] != '=')
        return false;
    for (size_t i = 0; i < 43; i++) {
        const char *place = text[i] != '\0' ? strchr(alphabet, text[i]) : NULL;
        if (place == NULL)
            return false;
        bits = bits << 6 | (uint32_t)(place - alphabet);
        if (i % 4 != 0 && size < 32)
            ret_pin[size++] = (uint8_t)(bits >> (6 - 2 * (i % 4)));
    }
    return size == 32;
}

int pin_parse(uint8_t ret_pin[32], const char *text, struct error *error)
{
    const char *value = string_starts_with(text, "sha256//")  ? text + 8
                        : string_starts_with(text, "sha256/") ? text + 7
                                                              : text;

    if (pin_from_hex(ret_pin, value) || pin_from_base64(ret_pin, value))
        return 0;
    return error_set(error, ERROR_USAGE,
                     "found \"%s\"; expected the SHA-256 of a public key, as 64 hex digits or in "
                     "base64",
                     text);
}
