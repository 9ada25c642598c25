/* base/pin.h: what is a pin, and what is none. */
#include "base/pin.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#define DIGITS "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
#define BASE64 "47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU="

static void no_pins(void **state)
{
    static const char *const texts[] = {"",
                                        "sha256/",
                                        "sha1/" BASE64,
                                        BASE64 "=",
                                        "47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU",
                                        "47DEQpj8HBSa-_TImW-5JCeuQeRkm5NMpJWZG3hSuFU=",
                                        "e3b0c442",
                                        DIGITS "00",
                                        "g" DIGITS,
                                        "e:" DIGITS};
    uint8_t pin[32];
    struct error error;

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(texts); i++) {
        if (pin_parse(pin, texts[i], &error) == 0)
            fail_msg("%s", texts[i]);
        assert_int_equal(error.code, ERROR_USAGE);
        assert_non_null(strstr(error.message, "expected the SHA-256 of a public key"));
    }
}

static void the_same_in_all_forms(void **state)
{
    static const char *const texts[] = {DIGITS, "sha256/" BASE64, "sha256//" BASE64, BASE64,
                                        "E3:b0:c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b"
                                        "7852b855"};
    static const uint8_t expected[32] = {0xe3, 0xb0, 0xc4, 0x42, 0x98, 0xfc, 0x1c, 0x14,
                                         0x9a, 0xfb, 0xf4, 0xc8, 0x99, 0x6f, 0xb9, 0x24,
                                         0x27, 0xae, 0x41, 0xe4, 0x64, 0x9b, 0x93, 0x4c,
                                         0xa4, 0x95, 0x99, 0x1b, 0x78, 0x52, 0xb8, 0x55};
    uint8_t pin[32];

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(texts); i++) {
        memset(pin, 0, sizeof pin);
        assert_int_equal(pin_parse(pin, texts[i], NULL), 0);
        assert_memory_equal(pin, expected, sizeof pin);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(no_pins),
        cmocka_unit_test(the_same_in_all_forms),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
