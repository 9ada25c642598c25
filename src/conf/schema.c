#include "conf/schema.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/string.h"

static const struct schema_section *const sections[] = {
    &schema_admin,   &schema_listener,    &schema_upstream,    &schema_certificate, &schema_watch,
    &schema_channel, &schema_alert_route, &schema_maintenance, &schema_exporter};

/* ---- messages ---- */

int schema_fail(struct schema_reader *reader, unsigned line, const char *format, ...)
{
    char text[sizeof reader->error->message];
    va_list arguments;

    va_start(arguments, format);
    ignore(vsnprintf(text, sizeof text, format, arguments));
    va_end(arguments);
    return line == 0
               ? error_set(reader->error, ERROR_CONFIG, "%s: %s", reader->path, text)
               : error_set(reader->error, ERROR_CONFIG, "%s:%u: %s", reader->path, line, text);
}

int schema_fail_memory(struct schema_reader *reader)
{
    return error_set(reader->error, ERROR_MEMORY, "%s: out of memory", reader->path);
}

int schema_fail_value(struct schema_reader *reader, const struct schema_option *option,
                      const struct schema_value *value, const char *expected_format, ...)
{
    char expected[512], place[SCHEMA_SHOWN_MAX + 32], shown[SCHEMA_SHOWN_MAX];
    va_list arguments;

    va_start(arguments, expected_format);
    ignore(vsnprintf(expected, sizeof expected, expected_format, arguments));
    va_end(arguments);
    schema_place(place, sizeof place, reader->tree);
    return schema_fail(reader, value->line, "%s in %s: found '%s'; expected %s", option->name,
                       place, schema_shown(shown, value->text), expected);
}

void schema_warn(struct schema_reader *reader, unsigned line, const char *format, ...)
{
    char text[512];
    va_list arguments;

    if (reader->warn == NULL)
        return;
    va_start(arguments, format);
    ignore(vsnprintf(text, sizeof text, format, arguments));
    va_end(arguments);
    reader->warn(reader->warn_context, line, text);
}

const char *schema_shown(char shown[SCHEMA_SHOWN_MAX], const char *text)
{
    return string_printable(shown, SCHEMA_SHOWN_MAX, text, strlen(text));
}

static const struct schema_section *section_of(const cfg_t *tree)
{
    for (size_t i = 0; i < ARRAY_SIZE(sections); i++) {
        if (strcmp(sections[i]->kind, tree->name) == 0)
            return sections[i];
    }
    return &schema_global;
}

char *schema_place(char *text, size_t size, const cfg_t *tree)
{
    char shown[SCHEMA_SHOWN_MAX];

    if (tree->title != NULL)
        ignore(snprintf(text, size, "%s '%s'", tree->name, schema_shown(shown, tree->title)));
    else if (section_of(tree) != &schema_global)
        ignore(snprintf(text, size, "%s", tree->name));
    else
        ignore(snprintf(text, size, "the global options"));
    return text;
}

void schema_nearest_try(struct schema_nearest *nearest, const char *candidate)
{
    size_t size = strlen(nearest->word);

    if (size > CONF_NAME_MAX || strlen(candidate) > CONF_NAME_MAX)
        return;
    unsigned distance = string_distance(nearest->word, candidate);
    if (distance * 4 <= size + 2 && (nearest->best == NULL || distance < nearest->distance)) {
        nearest->best = candidate;
        nearest->distance = distance;
    }
}

const char *schema_nearest_text(const struct schema_nearest *nearest, char text[SCHEMA_SHOWN_MAX])
{
    text[0] = '\0';
    if (nearest->best != NULL)
        ignore(snprintf(text, SCHEMA_SHOWN_MAX, "; did you mean '%s'?", nearest->best));
    return text;
}

static bool knows(const struct schema_section *section, const char *name)
{
    for (const struct schema_option *option = section->options; option->name != NULL; option++) {
        if (!option->internal && strcmp(option->name, name) == 0)
            return true;
    }
    return false;
}

/* Where else this very name is known: "; it is an option of upstream", or "". */
static const char *home_text(const char *name, char text[SCHEMA_SHOWN_MAX])
{
    text[0] = '\0';
    if (knows(&schema_global, name))
        ignore(snprintf(text, SCHEMA_SHOWN_MAX, "; it is a global option, outside of any section"));
    for (size_t i = 0; i < ARRAY_SIZE(sections) && text[0] == '\0'; i++) {
        if (knows(sections[i], name))
            ignore(snprintf(text, SCHEMA_SHOWN_MAX, "; it is an option of %s", sections[i]->kind));
    }
    return text;
}

int schema_fail_unknown(struct schema_reader *reader, const cfg_t *tree, const char *name)
{
    const struct schema_section *here = section_of(tree);
    struct schema_nearest nearest = {.word = name};
    char place[SCHEMA_SHOWN_MAX + 32], shown[SCHEMA_SHOWN_MAX], hint[SCHEMA_SHOWN_MAX];

    for (const struct schema_option *option = here->options; option->name != NULL; option++) {
        if (!option->internal)
            schema_nearest_try(&nearest, option->name);
    }
    for (size_t i = 0; i < ARRAY_SIZE(sections) && here == &schema_global; i++)
        schema_nearest_try(&nearest, sections[i]->kind);
    if (home_text(name, hint)[0] == '\0')
        schema_nearest_text(&nearest, hint);
    return schema_fail(reader, (unsigned)tree->line, "unknown option%s '%s' in %s%s",
                       here == &schema_global && hint[0] == '\0' ? " or section" : "",
                       schema_shown(shown, name), schema_place(place, sizeof place, tree), hint);
}

/* ---- libconfuse's side ---- */

static int value_read(cfg_t *tree, cfg_opt_t *option, const char *text, void *result)
{
    struct schema_value *value = malloc(sizeof *value + strlen(text) + 1);

    (void)option;
    if (value == NULL)
        return -1;
    value->line = (unsigned)tree->line;
    strcpy(value->text, text);
    memcpy(result, &value, sizeof(void *));
    /* cppcheck-suppress memleak; libconfuse owns it now */
    return 0;
}

/* Internal options stand last in their tables. */
static size_t option_count(const struct schema_section *section, bool internal)
{
    size_t count = 0;

    while (section->options[count].name != NULL && (internal || !section->options[count].internal))
        count++;
    return count;
}

/* Every option is a list for libconfuse, so that a wrong number of values gets our message. */
static cfg_opt_t *option_table(const struct schema_section *section, size_t spare, bool internal)
{
    size_t count = option_count(section, internal);
    cfg_opt_t *table = calloc(count + spare + 1, sizeof *table);

    for (size_t i = 0; table != NULL && i < count; i++) {
        cfg_opt_t option =
            CFG_PTR_LIST_CB(section->options[i].name, NULL, CFGF_NONE, value_read, free);
        table[i] = option;
    }
    return table;
}

cfg_opt_t *schema_options(bool internal)
{
    cfg_opt_t *table = option_table(&schema_global, ARRAY_SIZE(sections), internal);
    size_t count = option_count(&schema_global, internal);

    for (size_t i = 0; table != NULL && i < ARRAY_SIZE(sections); i++) {
        cfg_opt_t *suboptions = option_table(sections[i], 0, internal);
        if (suboptions == NULL) {
            schema_options_free(table);
            return NULL;
        }
        cfg_opt_t section = CFG_SEC(sections[i]->kind, suboptions,
                                    sections[i]->titled ? CFGF_MULTI | CFGF_TITLE : CFGF_NONE);
        table[count + i] = section;
    }
    return table;
}

void schema_options_free(cfg_opt_t *options)
{
    if (options == NULL)
        return;
    for (cfg_opt_t *option = options; option->name != NULL; option++)
        free(option->subopts);
    free(options);
}

/* ---- reading ---- */

static const struct schema_value *value_at(cfg_opt_t *option, size_t index)
{
    return cfg_opt_getnptr(option, (unsigned)index);
}

size_t schema_given(const struct schema_reader *reader, const char *option)
{
    return cfg_size(reader->tree, option);
}

unsigned schema_line(const struct schema_reader *reader, const char *option, size_t index)
{
    cfg_opt_t *values = cfg_getopt(reader->tree, option);

    return values != NULL && index < cfg_opt_size(values) ? value_at(values, index)->line
                                                          : reader->line;
}

static int read_value(struct schema_reader *reader, const struct schema_option *option,
                      const struct schema_value *value, void *object)
{
    if (strlen(value->text) > SCHEMA_VALUE_MAX)
        return schema_fail_value(reader, option, value, "at most %d bytes", SCHEMA_VALUE_MAX);
    return option->type->read(reader, option, value, (unsigned char *)object + option->offset);
}

static int read_fallback(struct schema_reader *reader, const struct schema_option *option,
                         void *object)
{
    if (option->fallback == NULL)
        return 0;
    size_t size = strlen(option->fallback) + 1;
    struct schema_value *value = malloc(sizeof *value + size);
    if (value == NULL)
        return schema_fail_memory(reader);
    value->line = 0;
    memcpy(value->text, option->fallback, size);
    int code = read_value(reader, option, value, object);
    free(value);
    return code;
}

static int read_option(struct schema_reader *reader, const struct schema_option *option,
                       void *object)
{
    cfg_opt_t *values = cfg_getopt(reader->tree, option->name);
    size_t count = cfg_opt_size(values);

    if (count == 0)
        return read_fallback(reader, option, object);
    if (count > 1 && !option->type->list) {
        char place[SCHEMA_SHOWN_MAX + 32];
        return schema_fail(reader, value_at(values, 1)->line,
                           "%s in %s: found a list of %zu values; expected one value", option->name,
                           schema_place(place, sizeof place, reader->tree), count);
    }
    for (size_t i = 0; i < count; i++) {
        int code = read_value(reader, option, value_at(values, i), object);
        if (code != 0)
            return code;
    }
    return 0;
}

static int check_refused(struct schema_reader *reader, const void *object)
{
    const struct schema_section *schema = reader->schema;

    for (const struct schema_option *option = schema->options;
         schema->refuses != NULL && option->name != NULL; option++) {
        if ((option->internal && !reader->internal) || schema_given(reader, option->name) == 0)
            continue;
        const char *why = schema->refuses(object, option);
        if (why != NULL) {
            char place[SCHEMA_SHOWN_MAX + 32];
            return schema_fail(reader, schema_line(reader, option->name, 0), "%s in %s: %s",
                               option->name, schema_place(place, sizeof place, reader->tree), why);
        }
    }
    return 0;
}

int schema_read(struct schema_reader *reader, void *object)
{
    const struct schema_section *schema = reader->schema;
    int code = 0;

    for (const struct schema_option *option = schema->options; code == 0 && option->name != NULL;
         option++)
        code = option->internal && !reader->internal ? 0 : read_option(reader, option, object);
    if (code == 0 && schema->complete != NULL)
        code = schema->complete(reader, object);
    if (code == 0)
        code = check_refused(reader, object);
    if (code == 0 && schema->check != NULL)
        code = schema->check(reader, object);
    return code;
}

void schema_show(struct buffer *buffer, const struct conf *conf,
                 const struct schema_section *schema, const void *object, const char *indent,
                 bool internal)
{
    for (const struct schema_option *option = schema->options; option->name != NULL; option++) {
        if (internal ? option->external : option->internal)
            continue;
        if (schema->refuses != NULL && schema->refuses(object, option) != NULL)
            continue;
        size_t line = buffer->size;
        ignore(buffer_printf(buffer, "%s%s = ", indent, option->name));
        size_t value = buffer->size;
        option->type->show(buffer, conf, option, (const unsigned char *)object + option->offset);
        if (buffer->size == value)
            buffer->size = line; /* unset */
        else
            ignore(buffer_append_text(buffer, "\n"));
    }
}

void schema_free(const struct schema_section *schema, void *object)
{
    for (const struct schema_option *option = schema->options; option->name != NULL; option++) {
        if (option->type->free != NULL)
            option->type->free((unsigned char *)object + option->offset);
    }
}
