/* What differs between two certificates in a row. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <string.h>

#include "watch/difference.h"

#define LEAF(names, rest)                                                                          \
    "{\"certificates\":[{\"subject_an\":[" names "],\"key\":\"EC\",\"key_bits\":256," rest "}]"
#define DATES                                                                                      \
    "\"not_before\":\"2026-01-01T00:00:00Z\",\"not_after\":\"2026-04-01T00:00:00Z\","              \
    "\"issuer_cn\":\"R10\",\"spki_sha256\":\"11\""
#define LATER                                                                                      \
    "\"not_before\":\"2026-03-01T00:00:00Z\",\"not_after\":\"2026-05-30T00:00:00Z\","              \
    "\"issuer_cn\":\"R10\",\"spki_sha256\":\"22\""

/* The `what` of all, in order. */
static const char *differences(const char *before, const char *after)
{
    static char text[400];
    json_t *a = json_loads(before, 0, NULL), *b = json_loads(after, 0, NULL);
    json_t *list = difference_of(a, b);
    size_t used = 0;

    assert_non_null(a);
    assert_non_null(b);
    text[0] = '\0';
    for (size_t i = 0; i < json_array_size(list); i++)
        used +=
            (size_t)snprintf(text + used, sizeof text - used, "%s ",
                             json_string_value(json_object_get(json_array_get(list, i), "what")));
    json_decref(list);
    json_decref(a);
    json_decref(b);
    return text;
}

static void test_nothing(void **state)
{
    (void)state;
    assert_string_equal(differences("{}", "{}"), "");
    assert_string_equal(differences("{\"certificates\":[]}", LEAF("\"a\"", DATES) "}"), "");
    assert_string_equal(differences(LEAF("\"a\"", DATES) "}", LEAF("\"a\"", LATER) "}"), "");
}

static void test_worse(void **state)
{
    (void)state;
    assert_string_equal(differences(LEAF("\"a\",\"b\"", DATES) "}", LEAF("\"b\",\"c\"", LATER) "}"),
                        "names-lost names-gained ");
    assert_string_equal(differences(LEAF("\"a\"", LATER) "}", LEAF("\"a\"", DATES) "}"),
                        "ends-earlier ");
    assert_string_equal(differences(LEAF("\"a\"", DATES) "}", LEAF("\"a\"", DATES) "}"),
                        "key-reused ");
    assert_string_equal(differences(LEAF("\"a\"", DATES) ",\"timestamps\":{\"count\":3}}",
                                    LEAF("\"a\"", LATER) ",\"timestamps\":{\"count\":2}}"),
                        "timestamps-fewer ");
    assert_string_equal(differences("{\"certificates\":[{\"key\":\"RSA\",\"key_bits\":4096},{}]}",
                                    "{\"certificates\":[{\"key\":\"RSA\",\"key_bits\":2048}]}"),
                        "chain-shorter key-type ");
}

/* Of a list that was cut nothing is lost for certain. */
static void test_cut(void **state)
{
    (void)state;
    assert_string_equal(differences(LEAF("\"a\",\"b\"", DATES) "}",
                                    LEAF("\"b\"", "\"subject_an_count\":2000," LATER) "}"),
                        "");
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_nothing), cmocka_unit_test(test_worse),
                                       cmocka_unit_test(test_cut)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
