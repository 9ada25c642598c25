/* Types of options: text, paths, durations, sizes, numbers, words. */
#include "conf/schema.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/string.h"
#include "conf/list.h"

#define DURATION_MAX (3660ull * 24 * 3600 * 1000) /* ten years: more is a slip of the pen */
#define PATH_SIZE    1000 /* fits every message between processes and every system call */

#define LIST_MAX 1000

struct unit {
    const char *name;
    uint64_t factor;
};

/* Smallest first. */
static const struct unit duration_units[] = {
    {"ms", 1}, {"s", 1000}, {"m", 60 * 1000}, {"h", 3600 * 1000}, {"d", 24 * 3600 * 1000}};
static const struct unit size_units[] = {{"", 1},         {"k", 1u << 10},   {"m", 1u << 20},
                                         {"g", 1u << 30}, {"t", 1ull << 40}, {"p", 1ull << 50}};

/* ---- text ---- */

void schema_show_quoted(struct buffer *buffer, const char *text)
{
    ignore(buffer_append_text(buffer, "\""));
    for (const char *c = text; *c != '\0'; c++) {
        if (*c == '"' || *c == '\\')
            ignore(buffer_append_text(buffer, "\\"));
        ignore(buffer_append(buffer, c, 1));
    }
    ignore(buffer_append_text(buffer, "\""));
}

void schema_text_show(struct buffer *buffer, const struct conf *conf,
                      const struct schema_option *option, const void *field)
{
    (void)conf;
    (void)option;
    const char *const *text = field;
    if (*text != NULL)
        schema_show_quoted(buffer, *text);
}

void schema_text_free(void *field)
{
    char **text = field;
    free(*text);
    *text = NULL;
}

static int text_keep(struct schema_reader *reader, const char *text, char **ret_text)
{
    char *copy = strdup(text);
    if (copy == NULL)
        return schema_fail_memory(reader);
    *ret_text = copy;
    return 0;
}

static int text_read(struct schema_reader *reader, const struct schema_option *option,
                     const struct schema_value *value, void *field)
{
    if (value->text[0] == '\0')
        return schema_fail_value(reader, option, value, "some text");
    return text_keep(reader, value->text, field);
}

void schema_list_show(struct buffer *buffer, const struct conf *conf,
                      const struct schema_option *option, const void *field)
{
    (void)conf;
    (void)option;
    const struct conf_text_list *list = field;
    for (size_t i = 0; i < list->count; i++) {
        ignore(buffer_append_text(buffer, i == 0 ? "{" : ", "));
        schema_show_quoted(buffer, list->items[i]);
    }
    if (list->count > 0)
        ignore(buffer_append_text(buffer, "}"));
}

void schema_list_free(void *field)
{
    struct conf_text_list *list = field;

    for (size_t i = 0; i < list->count; i++)
        free(list->items[i]);
    free(list->items);
    *list = (struct conf_text_list){0};
}

static int list_keep(struct schema_reader *reader, const struct schema_option *option,
                     const struct schema_value *value, const char *text,
                     struct conf_text_list *list)
{
    if (list->count == LIST_MAX)
        return schema_fail_value(reader, option, value, "at most %d values", LIST_MAX);
    char **item = list_append(&list->items, &list->count, sizeof *list->items);
    return item == NULL ? schema_fail_memory(reader) : text_keep(reader, text, item);
}

static bool list_has(const struct conf_text_list *list, const char *text)
{
    for (size_t i = 0; i < list->count; i++) {
        if (strcmp(list->items[i], text) == 0)
            return true;
    }
    return false;
}

/* Words of the option's table, each once. */
static int words_read(struct schema_reader *reader, const struct schema_option *option,
                      const struct schema_value *value, void *field)
{
    unsigned number;
    int code = option->words == NULL ? 0 : schema_choice.read(reader, option, value, &number);

    if (code != 0)
        return code;
    if (option->words != NULL && list_has(field, value->text))
        return schema_fail_value(reader, option, value, "each word once");
    return list_keep(reader, option, value, value->text, field);
}

const struct schema_type schema_text = {
    .read = text_read, .show = schema_text_show, .free = schema_text_free};
const struct schema_type schema_text_list = {
    .list = true, .read = words_read, .show = schema_list_show, .free = schema_list_free};

/* ---- paths ---- */

static int path_check(struct schema_reader *reader, const struct schema_option *option,
                      const struct schema_value *value)
{
    if (value->text[0] != '/')
        return schema_fail_value(reader, option, value, "an absolute path, beginning with '/'");
    if (strlen(value->text) >= PATH_SIZE)
        return schema_fail_value(reader, option, value, "a path shorter than %d bytes", PATH_SIZE);
    return 0;
}

static int path_read(struct schema_reader *reader, const struct schema_option *option,
                     const struct schema_value *value, void *field)
{
    int code = path_check(reader, option, value);
    return code != 0 ? code : text_keep(reader, value->text, field);
}

static int path_list_read(struct schema_reader *reader, const struct schema_option *option,
                          const struct schema_value *value, void *field)
{
    int code = value->text[0] == '\0' ? 0 : path_check(reader, option, value);
    return code != 0 ? code : list_keep(reader, option, value, value->text, field);
}

const struct schema_type schema_path = {
    .read = path_read, .show = schema_text_show, .free = schema_text_free};
const struct schema_type schema_path_list = {
    .list = true, .read = path_list_read, .show = schema_list_show, .free = schema_list_free};

/* ---- numbers with and without unit ---- */

/* Digits at `text`; *ret_end is behind them. Fails on none and on more than fit in 63 bits. */
static int number_begin(uint64_t *ret_number, const char *text, const char **ret_end)
{
    uint64_t number = 0;

    if (!isdigit((unsigned char)*text))
        return -1;
    for (; isdigit((unsigned char)*text); text++) {
        if (number > (INT64_MAX - 9) / 10)
            return -1;
        number = number * 10 + (uint64_t)(*text - '0');
    }
    *ret_number = number;
    *ret_end = text;
    return 0;
}

int schema_read_number(uint64_t *ret_number, const char *text)
{
    const char *end;
    uint64_t number;

    if (number_begin(&number, text, &end) != 0 || *end != '\0')
        return -1;
    *ret_number = number;
    return 0;
}

static int unit_read(uint64_t *ret_number, const char *text, const struct unit *units, size_t count)
{
    const char *end;
    uint64_t number;

    if (number_begin(&number, text, &end) != 0)
        return -1;
    for (size_t i = 0; i < count; i++) {
        if (strcasecmp(end, units[i].name) == 0) {
            if (number > INT64_MAX / units[i].factor)
                return -1;
            *ret_number = number * units[i].factor;
            return 0;
        }
    }
    return -1;
}

int schema_read_duration(uint64_t *ret_ms, const char *text)
{
    uint64_t ms;

    if (unit_read(&ms, text, duration_units, ARRAY_SIZE(duration_units)) != 0 || ms > DURATION_MAX)
        return -1;
    *ret_ms = ms;
    return 0;
}

/* In the largest unit that gives a whole number. */
static const char *unit_format(char *text, size_t size, uint64_t number, const struct unit *units,
                               size_t count)
{
    size_t best = 0;

    for (size_t i = 0; i < count && number != 0; i++) {
        if (number % units[i].factor == 0)
            best = i;
    }
    ignore(snprintf(text, size, "%llu%s", (unsigned long long)(number / units[best].factor),
                    units[best].name));
    return text;
}

static const char *duration_format(char text[32], uint64_t ms)
{
    return unit_format(text, 32, ms, duration_units, ARRAY_SIZE(duration_units));
}

static const char *size_format(char text[32], uint64_t size)
{
    return unit_format(text, 32, size, size_units, ARRAY_SIZE(size_units));
}

static const char *count_format(char text[32], uint64_t number)
{
    ignore(snprintf(text, 32, "%llu", (unsigned long long)number));
    return text;
}

static bool says_none(const struct schema_option *option, const char *text)
{
    return option->none &&
           (strcmp(text, "none") == 0 || strcmp(text, "off") == 0 || strcmp(text, "0") == 0);
}

typedef int number_reader(uint64_t *ret_number, const char *text);
typedef const char *number_format(char text[32], uint64_t number);

static int ranged_read(struct schema_reader *reader, const struct schema_option *option,
                       const struct schema_value *value, number_reader *read, number_format *format,
                       const char *kind, uint64_t *ret_number)
{
    char minimum[32], maximum[32];
    uint64_t number;

    if (says_none(option, value->text)) {
        *ret_number = 0;
        return 0;
    }
    if (read(&number, value->text) != 0 || number < option->minimum || number > option->maximum)
        return schema_fail_value(reader, option, value, "%s from %s to %s%s", kind,
                                 format(minimum, option->minimum), format(maximum, option->maximum),
                                 option->none ? ", or none" : "");
    *ret_number = number;
    return 0;
}

static int duration_ranged(struct schema_reader *reader, const struct schema_option *option,
                           const struct schema_value *value, uint64_t *ret_ms)
{
    return ranged_read(reader, option, value, schema_read_duration, duration_format,
                       "a duration with its unit (ms, s, m, h, d)", ret_ms);
}

static int size_number(uint64_t *ret_size, const char *text)
{
    return unit_read(ret_size, text, size_units, ARRAY_SIZE(size_units));
}

static int size_ranged(struct schema_reader *reader, const struct schema_option *option,
                       const struct schema_value *value, uint64_t *ret_size)
{
    return ranged_read(reader, option, value, size_number, size_format,
                       "a size in bytes or with its unit (k, m, g, t, p)", ret_size);
}

static void number_show(struct buffer *buffer, const struct schema_option *option,
                        number_format *format, uint64_t number)
{
    char text[32];
    ignore(buffer_append_text(buffer, number == 0 && option->none ? "none" : format(text, number)));
}

static int duration_read(struct schema_reader *reader, const struct schema_option *option,
                         const struct schema_value *value, void *field)
{
    return duration_ranged(reader, option, value, field);
}

static void duration_show(struct buffer *buffer, const struct conf *conf,
                          const struct schema_option *option, const void *field)
{
    (void)conf;
    number_show(buffer, option, duration_format, *(const uint64_t *)field);
}

static int duration_32_read(struct schema_reader *reader, const struct schema_option *option,
                            const struct schema_value *value, void *field)
{
    uint64_t ms;
    int code = duration_ranged(reader, option, value, &ms);

    if (code == 0)
        *(uint32_t *)field = (uint32_t)ms;
    return code;
}

static void duration_32_show(struct buffer *buffer, const struct conf *conf,
                             const struct schema_option *option, const void *field)
{
    (void)conf;
    number_show(buffer, option, duration_format, *(const uint32_t *)field);
}

static int seconds_read(struct schema_reader *reader, const struct schema_option *option,
                        const struct schema_value *value, void *field)
{
    uint64_t ms;
    int code = duration_ranged(reader, option, value, &ms);

    if (code != 0)
        return code;
    if (ms % 1000 != 0)
        return schema_fail_value(reader, option, value, "whole seconds");
    *(uint32_t *)field = (uint32_t)(ms / 1000);
    return 0;
}

static void seconds_show(struct buffer *buffer, const struct conf *conf,
                         const struct schema_option *option, const void *field)
{
    (void)conf;
    number_show(buffer, option, duration_format, *(const uint32_t *)field * 1000ull);
}

static int size_read(struct schema_reader *reader, const struct schema_option *option,
                     const struct schema_value *value, void *field)
{
    return size_ranged(reader, option, value, field);
}

static void size_show(struct buffer *buffer, const struct conf *conf,
                      const struct schema_option *option, const void *field)
{
    (void)conf;
    number_show(buffer, option, size_format, *(const uint64_t *)field);
}

static int size_32_read(struct schema_reader *reader, const struct schema_option *option,
                        const struct schema_value *value, void *field)
{
    uint64_t size;
    int code = size_ranged(reader, option, value, &size);

    if (code == 0)
        *(uint32_t *)field = (uint32_t)size;
    return code;
}

static void size_32_show(struct buffer *buffer, const struct conf *conf,
                         const struct schema_option *option, const void *field)
{
    (void)conf;
    number_show(buffer, option, size_format, *(const uint32_t *)field);
}

static int count_read(struct schema_reader *reader, const struct schema_option *option,
                      const struct schema_value *value, void *field)
{
    uint64_t number;
    int code =
        ranged_read(reader, option, value, schema_read_number, count_format, "a number", &number);

    if (code == 0)
        *(uint32_t *)field = (uint32_t)number;
    return code;
}

static void count_show(struct buffer *buffer, const struct conf *conf,
                       const struct schema_option *option, const void *field)
{
    (void)conf;
    number_show(buffer, option, count_format, *(const uint32_t *)field);
}

static int integer_read(struct schema_reader *reader, const struct schema_option *option,
                        const struct schema_value *value, void *field)
{
    uint32_t number;
    int code = count_read(reader, option, value, &number);

    if (code == 0)
        *(int *)field = (int)number;
    return code;
}

static void integer_show(struct buffer *buffer, const struct conf *conf,
                         const struct schema_option *option, const void *field)
{
    (void)conf;
    number_show(buffer, option, count_format, (uint64_t) * (const int *)field);
}

const struct schema_type schema_duration = {.read = duration_read, .show = duration_show};
const struct schema_type schema_duration_32 = {.read = duration_32_read, .show = duration_32_show};
const struct schema_type schema_seconds = {.read = seconds_read, .show = seconds_show};
const struct schema_type schema_size = {.read = size_read, .show = size_show};
const struct schema_type schema_size_32 = {.read = size_32_read, .show = size_32_show};
const struct schema_type schema_count = {.read = count_read, .show = count_show};
const struct schema_type schema_integer = {.read = integer_read, .show = integer_show};

/* ---- words ---- */

static const struct schema_word boolean_words[] = {{"no", 0},    {"yes", 1},  {"off", 0}, {"on", 1},
                                                   {"false", 0}, {"true", 1}, {NULL, 0}};

/* "a, b or c": the words of different meaning. */
static void list_words(char *text, size_t size, const struct schema_word *words)
{
    size_t used = 0, count = 0;

    while (words[count].word != NULL &&
           (count == 0 || words[count].number > words[count - 1].number))
        count++;
    text[0] = '\0';
    for (size_t i = 0; i < count && used < size; i++) {
        const char *separator = i == 0 ? "" : i + 1 == count ? " or " : ", ";
        int written = snprintf(text + used, size - used, "%s%s", separator, words[i].word);
        used += written < 0 ? 0 : (size_t)written;
    }
}

static int word_find(struct schema_reader *reader, const struct schema_option *option,
                     const struct schema_value *value, const struct schema_word *words,
                     unsigned *ret_number)
{
    struct schema_nearest nearest = {.word = value->text};
    char expected[256], hint[SCHEMA_SHOWN_MAX];

    for (const struct schema_word *word = words; word->word != NULL; word++) {
        if (strcmp(word->word, value->text) == 0) {
            *ret_number = word->number;
            return 0;
        }
        schema_nearest_try(&nearest, word->word);
    }
    list_words(expected, sizeof expected, words);
    return schema_fail_value(reader, option, value, "%s%s", expected,
                             schema_nearest_text(&nearest, hint));
}

static int choice_read(struct schema_reader *reader, const struct schema_option *option,
                       const struct schema_value *value, void *field)
{
    return word_find(reader, option, value, option->words, field);
}

static void choice_show(struct buffer *buffer, const struct conf *conf,
                        const struct schema_option *option, const void *field)
{
    unsigned number;

    (void)conf;
    memcpy(&number, field, sizeof number);
    for (const struct schema_word *word = option->words; word->word != NULL; word++) {
        if (word->number == number) {
            ignore(buffer_append_text(buffer, word->word));
            return;
        }
    }
}

static int boolean_read(struct schema_reader *reader, const struct schema_option *option,
                        const struct schema_value *value, void *field)
{
    unsigned number;
    int code = word_find(reader, option, value, boolean_words, &number);

    if (code == 0)
        *(bool *)field = number != 0;
    return code;
}

static void boolean_show(struct buffer *buffer, const struct conf *conf,
                         const struct schema_option *option, const void *field)
{
    (void)conf;
    (void)option;
    ignore(buffer_append_text(buffer, *(const bool *)field ? "yes" : "no"));
}

const struct schema_type schema_choice = {.read = choice_read, .show = choice_show};
const struct schema_type schema_boolean = {.read = boolean_read, .show = boolean_show};

/* ---- lists of names ---- */

static int alpn_read(struct schema_reader *reader, const struct schema_option *option,
                     const struct schema_value *value, void *field)
{
    size_t size = strlen(value->text);

    if (size < 1 || size > 255)
        return schema_fail_value(reader, option, value,
                                 "protocol names of 1 to 255 bytes (RFC 7301), here %zu", size);
    for (const char *c = value->text; *c != '\0'; c++) {
        if (!isgraph((unsigned char)*c))
            return schema_fail_value(reader, option, value,
                                     "a protocol name of printable ASCII, such as h2");
    }
    if (list_has(field, value->text))
        return schema_fail_value(reader, option, value, "each protocol once");
    return list_keep(reader, option, value, value->text, field);
}

static int names_read(struct schema_reader *reader, const struct schema_option *option,
                      const struct schema_value *value, void *field)
{
    char name[SCHEMA_NAME_SIZE];
    const char *wrong = schema_read_name(name, value->text, true, true);

    if (wrong != NULL)
        return schema_fail_value(reader, option, value,
                                 "a DNS name, a wildcard like *.shop.example or an IP address: %s",
                                 wrong);
    if (list_has(field, name))
        return schema_fail_value(reader, option, value, "each name once");
    return list_keep(reader, option, value, name, field);
}

static int host_read(struct schema_reader *reader, const struct schema_option *option,
                     const struct schema_value *value, void *field)
{
    char name[SCHEMA_NAME_SIZE];
    const char *wrong = schema_read_name(name, value->text, false, true);

    if (wrong != NULL)
        return schema_fail_value(reader, option, value, "a DNS name or an IP address: %s", wrong);
    return text_keep(reader, name, field);
}

const struct schema_type schema_alpn = {
    .list = true, .read = alpn_read, .show = schema_list_show, .free = schema_list_free};
const struct schema_type schema_names = {
    .list = true, .read = names_read, .show = schema_list_show, .free = schema_list_free};
const struct schema_type schema_host = {
    .read = host_read, .show = schema_text_show, .free = schema_text_free};
