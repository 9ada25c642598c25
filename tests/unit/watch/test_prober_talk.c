/* watch/prober_talk.h: what breaks the rules, and what comes in pieces. */
#include "watch/prober_talk.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/json.h"

#define LINE_MAX_BYTES 64
#define BYTES_MAX      16

static char heard[512];

static bool note(void *context, const json_t *line, const uint8_t *bytes, size_t size)
{
    size_t used = strlen(heard);

    (void)context;
    snprintf(heard + used, sizeof heard - used, "%s=%.*s;", json_text(line, "a"),
             bytes == NULL ? 1 : (int)size, bytes == NULL ? "-" : (const char *)bytes);
    return strcmp(json_text(line, "a"), "no") != 0;
}

static bool hear(struct buffer *input)
{
    return prober_talk_hear(input, LINE_MAX_BYTES, BYTES_MAX, note, NULL);
}

static bool hear_text(const char *text)
{
    __attribute__((cleanup(buffer_auto))) struct buffer input;

    buffer_init(&input, 4096);
    heard[0] = '\0';
    ignore(buffer_append_text(&input, text));
    return hear(&input);
}

static void what_breaks_the_rules(void **state)
{
    static const char *const texts[] = {
        "\n",
        "x\n",
        "7\n",
        "[{}]\n",
        "{\"a\":\"x\",\"a\":\"y\"}\n",
        "{\"size\":17}\n",
        "{\"size\":-1}\n",
        "{\"size\":\"1\"}\n",
        "{\"size\":1.5}\n",
        "{\"size\":null}\n",
        "{\"a\":\"no\"}\n",
        "{}\n{\"a\":\"0123456789012345678901234567890123456789012345678901234567890123456789",
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(texts); i++) {
        if (hear_text(texts[i]))
            fail_msg("%s", texts[i]);
    }
}

static void byte_by_byte(void **state)
{
    static const char text[] = "{\"a\":\"1\"}\n{\"a\":\"2\",\"size\":4}\n\n{}\n"
                               "{\"a\":\"3\",\"size\":0}\n{\"a\":\"4\"}\n";
    struct buffer input;

    (void)state;
    heard[0] = '\0';
    buffer_init(&input, 4096);
    for (size_t i = 0; i < sizeof text - 1; i++) {
        assert_true(buffer_append(&input, text + i, 1));
        assert_true(hear(&input));
    }
    assert_int_equal(input.size, 0);
    assert_string_equal(heard, "1=-;2=\n{}\n;3=;4=-;");
    buffer_fini(&input);
}

static void what_is_said_is_heard(void **state)
{
    struct buffer buffer;

    (void)state;
    heard[0] = '\0';
    buffer_init(&buffer, 45);
    assert_true(prober_talk_say(&buffer, json_pack("{s:s}", "a", "x"), "\n{}", 3));
    /* What does not fit leaves nothing behind. */
    assert_false(prober_talk_say(&buffer, json_pack("{s:s}", "a", "y"), "123456789", 9));
    assert_true(prober_talk_say(&buffer, json_pack("{s:s}", "a", "z"), NULL, 0));
    assert_true(hear(&buffer));
    assert_string_equal(heard, "x=\n{};z=-;");
    buffer_fini(&buffer);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_breaks_the_rules),
        cmocka_unit_test(byte_by_byte),
        cmocka_unit_test(what_is_said_is_heard),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
