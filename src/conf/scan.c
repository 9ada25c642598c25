#include "conf/scan.h"

#include <ctype.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/map.h"
#include "base/string.h"
#include "conf/list.h"

#define WORD_SHOWN 80

struct word {
    const char *text;
    size_t size;
    unsigned line;
    bool quoted;
};

struct scanner {
    struct scan *scan;
    const char *path;
    char *at; /* in scan->text */
    unsigned line;
    struct error *error;
    struct word pending[2]; /* words that are no value yet: an option's name, or kind and title of a
                               section */
    size_t pending_count;   /* may be larger: libconfuse will complain */
    bool value_follows;     /* behind '=' */
    unsigned value_line;    /* of the latest value without braces; 0: none */
    unsigned list_line;     /* where the open list began; 0: none */
    size_t section;         /* the open section, or SCAN_NO_SECTION */
};

static int fail(struct scanner *scanner, unsigned line, const char *text)
{
    return error_set(scanner->error, ERROR_CONFIG, "%s:%u: %s", scanner->path, line, text);
}

static int fail_memory(struct scanner *scanner)
{
    return error_set(scanner->error, ERROR_MEMORY, "%s: out of memory", scanner->path);
}

static void blank(char *from, const char *to)
{
    for (; from < to; from++) {
        if (*from != '\n')
            *from = ' ';
    }
}

/* Characters of a value without quotes. libconfuse takes more, and silently drops some: '*' of
 * "*.example" among them. */
static bool is_word_character(char c)
{
    return isalnum((unsigned char)c) || (c != '\0' && strchr("_-.:/@%[]", c) != NULL);
}

static int skip_block_comment(struct scanner *scanner)
{
    char *end = strstr(scanner->at + 2, "*/");

    if (end == NULL)
        return fail(scanner, scanner->line, "comment without end; expected a closing */");
    for (const char *c = scanner->at; c < end; c++)
        scanner->line += *c == '\n';
    blank(scanner->at, end + 2);
    scanner->at = end + 2;
    return 0;
}

static void skip_line_comment(struct scanner *scanner)
{
    char *end = scanner->at + strcspn(scanner->at, "\n");

    blank(scanner->at, end);
    scanner->at = end;
}

static void take_word(struct scanner *scanner, const char *text, size_t size, bool quoted)
{
    if (scanner->value_follows || scanner->list_line != 0) {
        scanner->value_line = scanner->value_follows ? scanner->line : scanner->value_line;
        scanner->value_follows = false;
        return;
    }
    if (scanner->pending_count < ARRAY_SIZE(scanner->pending))
        scanner->pending[scanner->pending_count] = (struct word){text, size, scanner->line, quoted};
    scanner->pending_count++;
}

static int scan_quoted(struct scanner *scanner)
{
    char quote = *scanner->at;
    const char *begin = scanner->at + 1;
    char *c = scanner->at + 1;

    for (; *c != quote; c++) {
        if (*c == '\0' || *c == '\n')
            return fail(scanner, scanner->line,
                        "value without closing quote; expected it on the same line");
        if (*c == '$' && c[1] == '{')
            return fail(scanner, scanner->line,
                        "found '${'; variables of the environment are not expanded, write the "
                        "value itself");
        if (*c == '\\') {
            if (c[1] != '\\' && c[1] != quote)
                return fail(scanner, scanner->line,
                            "backslash inside quotes; expected it only before a quote or another "
                            "backslash");
            c++;
        } else if ((unsigned char)*c < ' ' || *c == 0x7f) {
            return fail(scanner, scanner->line, "control character inside quotes; expected text");
        }
    }
    take_word(scanner, begin, (size_t)(c - begin), true);
    scanner->at = c + 1;
    return 0;
}

static int open_section(struct scanner *scanner)
{
    struct scan *scan = scanner->scan;
    const struct word *words = scanner->pending;

    if (scanner->pending_count == 0)
        return fail(scanner, scanner->line,
                    "unexpected '{'; expected the name of an option or section before it");
    struct scan_section *section =
        list_append(&scan->sections, &scan->section_count, sizeof *scan->sections);
    if (section == NULL)
        return fail_memory(scanner);
    section->line = words[0].line;
    section->kind = strndup(words[0].text, words[0].size);
    section->title =
        scanner->pending_count > 1 ? strndup(words[1].text, words[1].size) : strdup("");
    if (section->kind == NULL || section->title == NULL)
        return fail_memory(scanner);
    scanner->section = scan->section_count - 1;
    scanner->pending_count = 0;
    return 0;
}

static int scan_open(struct scanner *scanner)
{
    if (scanner->list_line != 0)
        return error_set(
            scanner->error, ERROR_CONFIG,
            "%s:%u: unexpected '{' inside a list; is the '}' of the list from line %u missing?",
            scanner->path, scanner->line, scanner->list_line);
    if (scanner->value_follows) {
        scanner->value_follows = false;
        scanner->list_line = scanner->line;
        return 0;
    }
    if (scanner->section == SCAN_NO_SECTION)
        return open_section(scanner);
    const struct scan_section *outer = &scanner->scan->sections[scanner->section];
    char shown[WORD_SHOWN];
    return error_set(scanner->error, ERROR_CONFIG,
                     "%s:%u: unexpected '{' inside a section; sections do not nest: is the '}' of "
                     "%s from line %u "
                     "missing, or an '=' here?",
                     scanner->path, scanner->line,
                     string_printable(shown, sizeof shown, outer->kind, strlen(outer->kind)),
                     outer->line);
}

/* More words than can be a name, in the line of a value: "30 minutes". */
static int check_value(struct scanner *scanner, size_t names)
{
    const struct word *word = &scanner->pending[0];
    char shown[WORD_SHOWN];

    if (scanner->pending_count <= names || word->line != scanner->value_line || word->quoted)
        return 0;
    return error_set(
        scanner->error, ERROR_CONFIG,
        "%s:%u: found '%s' behind a value; expected a value in one piece, such as 30m, "
        "or in quotes",
        scanner->path, word->line, string_printable(shown, sizeof shown, word->text, word->size));
}

static int scan_close(struct scanner *scanner)
{
    if (scanner->value_follows)
        return fail(scanner, scanner->line, "unexpected '}'; expected a value after '='");
    int code = scanner->list_line == 0 ? check_value(scanner, 0) : 0;
    if (code < 0)
        return code;
    if (scanner->list_line != 0)
        scanner->list_line = 0;
    else if (scanner->section != SCAN_NO_SECTION)
        scanner->section = SCAN_NO_SECTION;
    else
        return fail(scanner, scanner->line, "unexpected '}'; no section is open here");
    return 0;
}

static int scan_equals(struct scanner *scanner)
{
    struct scan *scan = scanner->scan;
    const struct word *name = &scanner->pending[0];

    if (scanner->list_line != 0)
        return error_set(
            scanner->error, ERROR_CONFIG,
            "%s:%u: unexpected '=' inside a list; is the '}' of the list from line %u missing?",
            scanner->path, scanner->line, scanner->list_line);
    if (scanner->pending_count == 0 || name->quoted)
        return fail(scanner, scanner->line,
                    "unexpected '='; expected the name of an option, without quotes, before it");
    int code = check_value(scanner, 1);
    if (code < 0)
        return code;
    struct scan_option *option =
        list_append(&scan->options, &scan->option_count, sizeof *scan->options);
    if (option == NULL)
        return fail_memory(scanner);
    option->section = scanner->section;
    option->line = name->line;
    option->name = strndup(name->text, name->size);
    if (option->name == NULL)
        return fail_memory(scanner);
    scanner->pending_count = 0;
    scanner->value_follows = true;
    return 0;
}

static int fail_character(struct scanner *scanner)
{
    char shown[8];

    if (*scanner->at == '$' && scanner->at[1] == '{')
        return fail(
            scanner, scanner->line,
            "found '${'; variables of the environment are not expanded, write the value itself");
    return error_set(scanner->error, ERROR_CONFIG,
                     "%s:%u: unexpected '%s'; a value with such a character stands in quotes, an "
                     "option ends with its line",
                     scanner->path, scanner->line,
                     string_printable(shown, sizeof shown, scanner->at, 1));
}

static int scan_token(struct scanner *scanner)
{
    char *begin = scanner->at;

    if (is_word_character(*begin)) {
        while (is_word_character(*scanner->at))
            scanner->at++;
        take_word(scanner, begin, (size_t)(scanner->at - begin), false);
        return 0;
    }
    switch (*begin) {
    case '"':
    case '\'':
        return scan_quoted(scanner);
    case '{':
        scanner->at++;
        return scan_open(scanner);
    case '}':
        scanner->at++;
        return scan_close(scanner);
    case '=':
        scanner->at++;
        return scan_equals(scanner);
    case ',':
        scanner->at++;
        if (scanner->list_line == 0)
            return fail(scanner, scanner->line,
                        "unexpected ','; expected several values in braces: {a, b}");
        return 0;
    default:
        return fail_character(scanner);
    }
}

/* White space and comments; returns whether there were any. */
static bool scan_space(struct scanner *scanner, int *ret_code)
{
    char *at = scanner->at;

    if (*at == '\n') {
        scanner->line++;
        scanner->at++;
    } else if (*at == ' ' || *at == '\t') {
        scanner->at++;
    } else if (*at == '\r' && at[1] == '\n') {
        *at = ' ';
        scanner->at++;
    } else if (*at == '#' || (*at == '/' && at[1] == '/')) {
        skip_line_comment(scanner);
    } else if (*at == '/' && at[1] == '*') {
        *ret_code = skip_block_comment(scanner);
    } else {
        return false;
    }
    return true;
}

static int scan_end(struct scanner *scanner)
{
    if (scanner->list_line != 0)
        return error_set(scanner->error, ERROR_CONFIG,
                         "%s:%u: the file ends inside the list from line %u; expected '}'",
                         scanner->path, scanner->line, scanner->list_line);
    if (scanner->section != SCAN_NO_SECTION) {
        const struct scan_section *open = &scanner->scan->sections[scanner->section];
        char shown[WORD_SHOWN];
        return error_set(scanner->error, ERROR_CONFIG,
                         "%s:%u: the file ends inside section %s from line %u; expected '}'",
                         scanner->path, scanner->line,
                         string_printable(shown, sizeof shown, open->kind, strlen(open->kind)),
                         open->line);
    }
    if (scanner->value_follows)
        return fail(scanner, scanner->line, "the file ends behind '='; expected a value");
    return check_value(scanner, 0);
}

int scan_text(struct scan *ret_scan, const char *path, const char *text, struct error *error)
{
    struct scan scan = {.text = strdup(text)};
    struct scanner scanner = {.scan = &scan,
                              .path = path,
                              .at = scan.text,
                              .line = 1,
                              .error = error,
                              .section = SCAN_NO_SECTION};
    int code = scan.text == NULL ? fail_memory(&scanner) : 0;

    while (code == 0 && *scanner.at != '\0') {
        if (!scan_space(&scanner, &code))
            code = scan_token(&scanner);
    }
    if (code == 0)
        code = scan_end(&scanner);
    if (code == 0)
        *ret_scan = scan;
    else
        scan_fini(&scan);
    return code;
}

void scan_fini(struct scan *scan)
{
    if (scan == NULL)
        return;
    for (size_t i = 0; i < scan->section_count; i++) {
        free(scan->sections[i].kind);
        free(scan->sections[i].title);
    }
    for (size_t i = 0; i < scan->option_count; i++)
        free(scan->options[i].name);
    free(scan->sections);
    free(scan->options);
    free(scan->text);
    *scan = (struct scan){0};
}

/* Puts `key` with its line into `map`; the line of an earlier one comes back (0: none). Takes
 * `key`. */
static int note_line(struct map *map, char *key, unsigned line, unsigned *ret_earlier,
                     const char *path, struct error *error)
{
    if (key == NULL)
        return error_set(error, ERROR_MEMORY, "%s: out of memory", path);
    string_lower(key);
    *ret_earlier = (unsigned)(uintptr_t)map_get(map, key);
    bool kept = *ret_earlier != 0 || map_put(map, key, (void *)(uintptr_t)line);
    free(key);
    return kept ? 0 : error_set(error, ERROR_MEMORY, "%s: out of memory", path);
}

static int check_sections(const struct scan *scan, struct map *map, const char *path,
                          struct error *error)
{
    for (size_t i = 0; i < scan->section_count; i++) {
        const struct scan_section *section = &scan->sections[i];
        unsigned earlier;
        int code = note_line(map, list_key(section->kind, section->title), section->line, &earlier,
                             path, error);
        if (code != 0)
            return code;
        if (earlier != 0 && section->title[0] == '\0')
            return error_set(error, ERROR_CONFIG,
                             "%s:%u: a second section %s; the first stands on line %u", path,
                             section->line, section->kind, earlier);
        if (earlier != 0) {
            char shown[WORD_SHOWN];
            string_printable(shown, sizeof shown, section->title, strlen(section->title));
            return error_set(error, ERROR_CONFIG,
                             "%s:%u: a second %s '%s'; the first stands on line %u", path,
                             section->line, section->kind, shown, earlier);
        }
    }
    return 0;
}

static int check_options(const struct scan *scan, struct map *map, const char *path,
                         struct error *error)
{
    for (size_t i = 0; i < scan->option_count; i++) {
        const struct scan_option *option = &scan->options[i];
        char section[24];
        unsigned earlier;
        ignore(snprintf(section, sizeof section, "%zu", option->section));
        int code =
            note_line(map, list_key(section, option->name), option->line, &earlier, path, error);
        if (code != 0)
            return code;
        if (earlier != 0)
            return error_set(error, ERROR_CONFIG,
                             "%s:%u: option '%s' stands here twice; the first is on line %u", path,
                             option->line, option->name, earlier);
    }
    return 0;
}

int scan_check_duplicates(const struct scan *scan, const char *path, struct error *error)
{
    struct map map;

    map_init(&map);
    int code = check_sections(scan, &map, path, error);
    if (code == 0)
        code = check_options(scan, &map, path, error);
    map_fini(&map);
    return code;
}
