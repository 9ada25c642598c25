#include "net/names_message.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static struct names_answer answer;

/* Header: id, flags (response, recursion, `flags`), one question, `answers` records. */
#define HEADER(flags, answers) "\x12\x34\x81" flags "\0\x01\0" answers "\0\0\0\0"
#define QUESTION(name, type)   name "\0" type "\0\x01"
/* Owner by pointer to the question, type, class, lifetime, size, data. */
#define RECORD(type, size, data) "\xc0\x0c\0" type "\0\x01\0\0\0\x3c\0" size data
#define DOMAIN                                                                                     \
    "\x07"                                                                                         \
    "example\x03"                                                                                  \
    "org"

#define PARSE(type, name, bytes)                                                                   \
    names_message_parse(&answer, type, name, (const uint8_t *)bytes, sizeof(bytes) - 1)

static void no_answer_is_told_apart(void **state)
{
    (void)state;

    PARSE(NAMES_TYPE_MX, "example.org", HEADER("\x83", "\0") QUESTION(DOMAIN, "\0\x0f"));
    assert_int_equal(answer.outcome, NAMES_UNKNOWN);
    PARSE(NAMES_TYPE_MX, "example.org", HEADER("\x80", "\0") QUESTION(DOMAIN, "\0\x0f"));
    assert_int_equal(answer.outcome, NAMES_NONE);
    PARSE(NAMES_TYPE_MX, "example.org", HEADER("\x82", "\0") QUESTION(DOMAIN, "\0\x0f"));
    assert_int_equal(answer.outcome, NAMES_FAILED);
    assert_non_null(answer.reason);
    assert_false(answer.authenticated);
    PARSE(NAMES_TYPE_MX, "example.org", HEADER("\xa3", "\0") QUESTION(DOMAIN, "\0\x0f"));
    assert_true(answer.authenticated);
}

#define WHOLE_MX                                                                                   \
    HEADER("\x80", "\x03")                                                                         \
    QUESTION(DOMAIN, "\0\x0f")                                                                     \
    RECORD("\x0f", "\x08",                                                                         \
           "\0\x14\x03"                                                                            \
           "mx2\xc0\x0c")                                                                          \
    RECORD("\x0f", "\x08",                                                                         \
           "\0\x0a\x03"                                                                            \
           "MX1\xc0\x0c")                                                                          \
    RECORD("\x0f", "\x03", "\0\0\0")

/* Every cut of a good answer is no answer, and nothing behind its end is read. */
static void a_cut_answer_fails(void **state)
{
    (void)state;
    static const char whole[] = WHOLE_MX;

    for (size_t size = 0; size + 1 < sizeof whole; size++) {
        uint8_t *cut = malloc(size + 1);
        memcpy(cut, whole, size);
        names_message_parse(&answer, NAMES_TYPE_MX, "example.org", cut, size);
        assert_int_equal(answer.outcome, NAMES_FAILED);
        assert_int_equal(answer.count, 0);
        free(cut);
    }
}

static void damaged_records_fail(void **state)
{
    (void)state;

    /* A name that points at itself. */
    PARSE(NAMES_TYPE_MX, "example.org",
          HEADER("\x80", "\x01") QUESTION(DOMAIN, "\0\x0f")
              RECORD("\x0f", "\x04", "\0\x0a\xc0\x2b"));
    assert_int_equal(answer.outcome, NAMES_FAILED);
    /* A name that ends before the record does. */
    PARSE(NAMES_TYPE_MX, "example.org",
          HEADER("\x80", "\x01") QUESTION(DOMAIN, "\0\x0f")
              RECORD("\x0f", "\x05", "\0\x0a\xc0\x0cx"));
    assert_int_equal(answer.outcome, NAMES_FAILED);
    /* A string that is longer than its record. */
    PARSE(NAMES_TYPE_TXT, "example.org",
          HEADER("\x80", "\x01") QUESTION(DOMAIN, "\0\x10") RECORD("\x10", "\x03",
                                                                   "\x05"
                                                                   "ab"));
    assert_int_equal(answer.outcome, NAMES_FAILED);
    /* An association without data. */
    PARSE(NAMES_TYPE_TLSA, "example.org",
          HEADER("\x80", "\x01") QUESTION(DOMAIN, "\0\x34") RECORD("\x34", "\x03", "\x03\x01\x01"));
    assert_int_equal(answer.outcome, NAMES_FAILED);
    /* A question, not an answer. */
    PARSE(NAMES_TYPE_MX, "example.org",
          "\x12\x34\x01\0\0\x01\0\0\0\0\0\0" QUESTION(DOMAIN, "\0\x0f"));
    assert_int_equal(answer.outcome, NAMES_FAILED);
}

static void mail_exchangers_come_by_preference(void **state)
{
    (void)state;

    PARSE(NAMES_TYPE_MX, "Example.ORG.", WHOLE_MX);
    assert_int_equal(answer.outcome, NAMES_FOUND);
    assert_int_equal(answer.count, 3);
    assert_string_equal(answer.mx[0].host, "");
    assert_string_equal(answer.mx[1].host, "mx1.example.org");
    assert_int_equal(answer.mx[1].preference, 10);
    assert_string_equal(answer.mx[2].host, "mx2.example.org");
}

static void texts_are_joined_and_printable(void **state)
{
    (void)state;

    PARSE(NAMES_TYPE_TXT, "example.org",
          HEADER("\x80", "\x02") QUESTION(DOMAIN, "\0\x10") RECORD("\x10", "\x08",
                                                                   "\x03"
                                                                   "v=S\x03"
                                                                   "TSv") RECORD("\x10", "\x03",
                                                                                 "\x02"
                                                                                 "a\x1b"));
    assert_int_equal(answer.count, 2);
    assert_string_equal(answer.texts[0], "v=STSv");
    assert_string_equal(answer.texts[1], "a\\x1b");
}

/* 20,000 bytes of text are cut, not refused. */
static void long_texts_are_cut(void **state)
{
    (void)state;
    static const char head[] =
        HEADER("\x80", "\x01") QUESTION(DOMAIN, "\0\x10") "\xc0\x0c\0\x10\0\x01\0\0\0\x3c\x4e\x20";
    static uint8_t message[sizeof head - 1 + 20000];

    memcpy(message, head, sizeof head - 1);
    memset(message + sizeof head - 1, 0x7f, 20000);
    for (size_t at = sizeof head - 1; at < sizeof message; at += 128) {
        size_t left = sizeof message - at - 1;
        message[at] = (uint8_t)(left < 127 ? left : 127);
    }
    names_message_parse(&answer, NAMES_TYPE_TXT, "example.org", message, sizeof message);
    assert_int_equal(answer.count, 1);
    assert_in_range(strlen(answer.texts[0]), 500, 511);
}

static void associations(void **state)
{
    (void)state;

    PARSE(NAMES_TYPE_TLSA, "example.org",
          HEADER("\xa0", "\x01") QUESTION(DOMAIN, "\0\x34") RECORD("\x34", "\x07",
                                                                   "\x03\x01\x01"
                                                                   "abcd"));
    assert_int_equal(answer.count, 1);
    assert_true(answer.authenticated);
    assert_int_equal(answer.tlsa[0].usage, 3);
    assert_int_equal(answer.tlsa[0].selector, 1);
    assert_int_equal(answer.tlsa[0].matching, 1);
    assert_int_equal(answer.tlsa[0].size, 4);
    assert_memory_equal(answer.tlsa[0].data, "abcd", 4);
}

/* "example.org" is an alias of "b", which has the record; one of "c" is none of its business. */
static void aliases_are_followed_and_strangers_left_out(void **state)
{
    (void)state;

    PARSE(NAMES_TYPE_TLSA, "example.org",
          HEADER("\x80", "\x03")
              QUESTION(DOMAIN, "\0\x34") "\x01"
                                         "b\0\0\x34\0\x01\0\0\0\x3c\0\x04\x03\x01\x01"
                                         "x"
                                         "\x01"
                                         "c\0\0\x34\0\x01\0\0\0\x3c\0\x04\x03\x01\x01"
                                         "y" RECORD("\x05", "\x03",
                                                    "\x01"
                                                    "B\0"));
    assert_int_equal(answer.outcome, NAMES_FOUND);
    assert_int_equal(answer.count, 1);
    assert_int_equal(answer.tlsa[0].data[0], 'x');
}

static void a_circle_of_aliases_ends(void **state)
{
    (void)state;

    PARSE(NAMES_TYPE_MX, "example.org",
          HEADER("\x80", "\x02") QUESTION(DOMAIN, "\0\x0f")
              RECORD("\x05", "\x03",
                     "\x01"
                     "b\0") "\x01"
                            "b\0\0\x05\0\x01\0\0\0\x3c\0\x02\xc0\x0c");
    assert_int_equal(answer.outcome, NAMES_NONE);
}

static void more_records_than_room_are_left_out(void **state)
{
    (void)state;
    static const char head[] = HEADER("\x80", "\xff") QUESTION(DOMAIN, "\0\x10");
    static const char record[] = RECORD("\x10", "\x02", "\x01x");
    static uint8_t message[sizeof head - 1 + 255 * (sizeof record - 1)];

    memcpy(message, head, sizeof head - 1);
    for (size_t i = 0; i < 255; i++)
        memcpy(message + sizeof head - 1 + i * (sizeof record - 1), record, sizeof record - 1);
    names_message_parse(&answer, NAMES_TYPE_TXT, "example.org", message, sizeof message);
    assert_int_equal(answer.outcome, NAMES_FOUND);
    assert_int_equal(answer.count, NAMES_ANSWERS_MAX);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(no_answer_is_told_apart),
        cmocka_unit_test(a_cut_answer_fails),
        cmocka_unit_test(damaged_records_fail),
        cmocka_unit_test(a_circle_of_aliases_ends),
        cmocka_unit_test(more_records_than_room_are_left_out),
        cmocka_unit_test(long_texts_are_cut),
        cmocka_unit_test(mail_exchangers_come_by_preference),
        cmocka_unit_test(texts_are_joined_and_printable),
        cmocka_unit_test(associations),
        cmocka_unit_test(aliases_are_followed_and_strangers_left_out),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
