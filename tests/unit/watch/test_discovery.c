#include "watch/discovery.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static struct error error;

static void bad_ranges(void **state)
{
    (void)state;
    static const struct {
        const char *text, *words;
    } bad[] = {
        {"", "expected a range"},
        {"192.0.2.0/28", "expected a range"},
        {":443", "expected a range"},
        {"shop.example:443", "expected a range"},
        {"2001:db8::/120:443", "expected a range"},
        {"[2001:db8::/120:443", "expected a range"},
        {"192.0.2.0/33:443", "expected a range"},
        {"192.0.2.0/28:", "ports"},
        {"192.0.2.0/28:0", "ports"},
        {"192.0.2.0/28:65536", "ports"},
        {"192.0.2.0/28:443,", "ports"},
        {"192.0.2.0/28:443;1", "ports"},
        {"192.0.2.0/28:-443", "ports"},
        {"192.0.2.0/28:1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17", "ports"},
        {"10.0.0.0/19:443", "more than 4096 addresses"},
        {"[2001:db8::/64]:443", "more than 4096 addresses"},
        {"\x1b[2J:443", "\\x1b"},
    };
    struct discovery_range range = {.port_count = 77};

    for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
        assert_int_equal(discovery_range_parse(&range, bad[i].text, &error), -ERROR_USAGE);
        if (strstr(error.message, bad[i].words) == NULL)
            fail_msg("%s: %s", bad[i].text, error.message);
    }
    assert_int_equal(range.port_count, 77);
}

static void ranges(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        size_t size;
        const char *first, *last;
    } good[] = {
        {"192.0.2.7:443", 1, "192.0.2.7:443", "192.0.2.7:443"},
        {"192.0.2.9/30:443,8443", 8, "192.0.2.8:443", "192.0.2.11:8443"},
        {"10.1.0.0/20:25", 4096, "10.1.0.0:25", "10.1.15.255:25"},
        {"[2001:db8::/120]:443", 256, "[2001:db8::]:443", "[2001:db8::ff]:443"},
        {"[::1]:443", 1, "[::1]:443", "[::1]:443"},
    };
    struct discovery_range range;
    char text[ADDRESS_TEXT_MAX];

    for (size_t i = 0; i < ARRAY_SIZE(good); i++) {
        if (discovery_range_parse(&range, good[i].text, &error) != 0)
            fail_msg("%s", error.message);
        assert_int_equal(discovery_range_size(&range), good[i].size);
        assert_string_equal(discovery_range_at(&range, 0, text), good[i].first);
        assert_string_equal(discovery_range_at(&range, good[i].size - 1, text), good[i].last);
    }
}

struct taken {
    char text[1024];
    size_t enough;
};

static bool take(void *context, const char *target)
{
    struct taken *taken = context;

    strcat(strcat(taken->text, target), " ");
    return --taken->enough > 0;
}

static void zone_files(void **state)
{
    (void)state;
    static const char zone[] = "$TTL 3600\n"
                               "$ORIGIN shop.test.\n"
                               "@ IN SOA ns admin ( 1 ; serial\n 2 3 4 5 )\n"
                               "  IN NS ns\n"
                               "  IN MX 10 mail\n"
                               "  A 192.0.2.1\n"
                               "www 60 IN CNAME @\n"
                               "www IN AAAA 2001:db8::1\n"
                               "this is no record\n"
                               "*.wild A 192.0.2.2\n"
                               "_acme-challenge CNAME elsewhere.test.\n"
                               "API IN A 192.0.2.3\n"
                               "elsewhere.test. A 192.0.2.4\n"
                               "$ORIGIN sub.shop.test.\n"
                               "deep A 192.0.2.5\n";
    struct taken taken = {.enough = 100};

    assert_int_equal(discovery_zone(zone, sizeof zone - 1, take, &taken, NULL), 5);
    assert_string_equal(taken.text,
                        "shop.test www.shop.test API.shop.test elsewhere.test deep.sub.shop.test ");
    taken = (struct taken){.enough = 2};
    assert_int_equal(discovery_zone(zone, sizeof zone - 1, take, &taken, NULL), 2);
    taken = (struct taken){.enough = 100};
    assert_int_equal(discovery_zone("", 0, take, &taken, NULL), 0);
    assert_int_equal(discovery_zone("\x7f"
                                    "ELF\0\0\n\xff(\n",
                                    10, take, &taken, NULL),
                     0);
}

/* A file of another kind is not one without names. */
static void no_zone_file(void **state)
{
    char text[2000 * 6 + 1] = "";
    size_t size = 0;
    (void)state;

    for (unsigned i = 0; i < 2000; i++)
        size += (size_t)sprintf(text + size, "what \n");
    struct taken taken = {.enough = 100};
    assert_true(discovery_zone(text, size, take, &taken, &error) < 0);
    assert_non_null(strstr(error.message, "expected a zone file"));
}

static void lists(void **state)
{
    (void)state;
    static const char list[] = "# names\n\n  shop.test  \r\nshop.test:8443 # second\nshop.test\n"
                               "https://last.test/";
    struct taken taken = {.enough = 100};

    assert_int_equal(discovery_list(list, sizeof list - 1, take, &taken, NULL), 3);
    assert_string_equal(taken.text, "shop.test shop.test:8443 https://last.test/ ");
}

static bool count(void *context, const char *target)
{
    (void)target;
    ++*(size_t *)context;
    return true;
}

/* What is too long is refused whole: nothing of it is looked at. */
static void lists_have_an_end(void **state)
{
    (void)state;
    size_t size = 0, given = 0;
    char *text = malloc((DISCOVERY_NAMES_MAX + 1) * 9);

    for (unsigned i = 0; i <= DISCOVERY_NAMES_MAX; i++)
        size += (size_t)sprintf(text + size, "h%06u\n", i);
    assert_true(discovery_list(text, size, count, &given, &error) < 0);
    assert_int_equal(error.code, ERROR_LIMIT);
    assert_non_null(strstr(error.message, "more than 100000 names"));
    assert_int_equal(given, 0);
    assert_int_equal(discovery_list(text, size - 8, count, &given, &error), DISCOVERY_NAMES_MAX);
    assert_int_equal(given, DISCOVERY_NAMES_MAX);
    memset(text, 'x', 1000);
    assert_int_equal(discovery_list(text, 1000, count, &given, &error), 0);
    free(text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(bad_ranges), cmocka_unit_test(lists_have_an_end),
        cmocka_unit_test(ranges),     cmocka_unit_test(zone_files),
        cmocka_unit_test(lists),      cmocka_unit_test(no_zone_file),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
