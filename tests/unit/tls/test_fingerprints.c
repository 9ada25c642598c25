/* Files of fingerprints: what is wrong is told with its line, and what is in one is found. */
#include "tls/fingerprints.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#define JA4 "t13d1516h2_8daaf6152771_e5627efa2ab1"

static void test_bad_lines(void **state)
{
    static const struct {
        const char *text, *message;
    } cases[] = {
        {"t13d15", "f:1: found 't13d15'; expected a JA4 fingerprint"},
        {"# fine\n\nx13d1516h2\n", "f:3: found 'x13d1516h2'"},
        {"T13D1516H2\n", "f:1: found 'T13D1516H2'"},
        {"t13d1516h2-8daaf6152771\n", "f:1: found"},
        {"t13d1516h2_8daaf615277_\n", "f:1: found"},
        {JA4 "0\n", "f:1: found"},
        {"t13d1516h2,\n", "f:1: found"},
        {JA4 "\n\x1b[31mred line\n", "f:2: found '\\x1b[31mred'"},
    };
    struct fingerprints *fingerprints = NULL;
    struct error error;

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        memset(&error, 0, sizeof error);
        assert_true(fingerprints_parse(&fingerprints, "f", cases[i].text, &error) < 0);
        assert_int_equal(error.code, ERROR_CONFIG);
        if (strstr(error.message, cases[i].message) == NULL)
            fail_msg("expected %s, found %s", cases[i].message, error.message);
        assert_null(fingerprints);
    }
}

static void test_match(void **state)
{
    struct fingerprints *fingerprints;
    struct error error;

    (void)state;
    assert_int_equal(fingerprints_parse(&fingerprints, "f",
                                        "# clients\r\n" JA4 "  a browser\r\n\n"
                                        "\tt12d030400\tno ALPN\n"
                                        "t13i020200_aaaaaaaaaaaa any of these",
                                        &error),
                     0);
    assert_true(fingerprints_match(fingerprints, JA4));
    assert_true(fingerprints_match(fingerprints, "t12d030400_bbbbbbbbbbbb_cccccccccccc"));
    assert_true(fingerprints_match(fingerprints, "t13i020200_aaaaaaaaaaaa_cccccccccccc"));
    assert_false(fingerprints_match(fingerprints, "t13i020200_aaaaaaaaaaab_cccccccccccc"));
    assert_false(fingerprints_match(fingerprints, "t13d1516h2_8daaf6152771_e5627efa2ab2"));
    assert_false(fingerprints_match(fingerprints, ""));
    assert_false(fingerprints_match(NULL, JA4));
    fingerprints_free(fingerprints);
    assert_int_equal(fingerprints_parse(&fingerprints, "f", "", &error), 0);
    assert_false(fingerprints_match(fingerprints, JA4));
    fingerprints_free(fingerprints);
    fingerprints_free(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_bad_lines),
        cmocka_unit_test(test_match),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
