/* Reading a configuration whole: scan, libconfuse's tree, names, options, and then the checks
 * across sections. Names come before options, so that a section may refer to one further down. */
#include "conf/conf.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/file.h"
#include "base/string.h"
#include "conf/check.h"
#include "conf/kind.h"
#include "conf/place.h"
#include "conf/schema.h"

#define SHOW_MAX (64u << 20)

/* ---- libconfuse ---- */

/* libconfuse's error function gets no context of ours, so the parse under way stands here. */
static struct schema_reader *parse_under_way;
static bool parse_failed;

static void parse_error(cfg_t *tree, const char *format, va_list arguments) PRINTF_LIKE(2, 0);
static void parse_error(cfg_t *tree, const char *format, va_list arguments)
{
    struct schema_reader *reader = parse_under_way;
    char text[256], shown[SCHEMA_SHOWN_MAX], place[SCHEMA_SHOWN_MAX + 32];

    if (parse_failed) /* what follows from the first error does not help */
        return;
    parse_failed = true;
    if (strstr(format, "no such option") != NULL) {
        ignore(schema_fail_unknown(reader, tree, va_arg(arguments, const char *)));
        return;
    }
    const char *expected = strstr(format, "unexpected token") != NULL
                               ? "values of a list separated by ',' and closed by '}'"
                               : "NAME = VALUE, NAME = {VALUE, VALUE} or a section";
    ignore(vsnprintf(text, sizeof text, format, arguments));
    ignore(schema_fail(reader, (unsigned)tree->line, "%s, in %s; expected %s",
                       schema_shown(shown, text), schema_place(place, sizeof place, tree),
                       expected));
}

static int parse_tree(struct schema_reader *reader, const char *text, cfg_t **ret_tree)
{
    cfg_opt_t *options = schema_options(reader->internal);
    cfg_t *tree = options == NULL ? NULL : cfg_init(options, CFGF_NONE);

    schema_options_free(options);
    if (tree == NULL)
        return schema_fail_memory(reader);
    ignore(cfg_set_error_function(tree, parse_error) != NULL);
    parse_under_way = reader;
    parse_failed = false;
    int result = cfg_parse_buf(tree, text);
    parse_under_way = NULL;
    if (result == CFG_SUCCESS) {
        *ret_tree = tree;
        return 0;
    }
    cfg_free(tree);
    return parse_failed ? -(int)ERROR_CONFIG : schema_fail_memory(reader);
}

/* ---- names ---- */

static int read_title(struct schema_reader *reader, const cfg_t *tree, char **ret_name)
{
    char shown[SCHEMA_SHOWN_MAX];
    const char *c = tree->title;

    while (isalnum((unsigned char)*c) ||
           (c > tree->title && *c != '\0' && strchr("_.-", *c) != NULL))
        c++;
    if (*c != '\0' || c == tree->title || c - tree->title >= CONF_NAME_MAX)
        return schema_fail(
            reader, (unsigned)tree->line,
            "name of a section %s: found '%s'; expected 1 to %d letters, digits, '-', '.' and '_', "
            "beginning with a letter or digit",
            tree->name, schema_shown(shown, tree->title), CONF_NAME_MAX - 1);
    char *name = strdup(tree->title);
    if (name == NULL)
        return schema_fail_memory(reader);
    string_lower(name);
    *ret_name = name;
    return 0;
}

/* ---- sections in the order of the file ---- */

struct section_cursor {
    size_t titled[KIND_COUNT]; /* sections of each kind behind us */
};

/* The tree and the object of the next section of this kind; `*ret_object` is NULL before it is
 * made. Returns the kind, NULL: one without title. */
static const struct kind *next_section(struct section_cursor *cursor, struct schema_reader *reader,
                                       cfg_t *root, const char *name, void **ret_object)
{
    const struct kind *kind = kind_find(name);
    size_t index = 0;

    if (kind == NULL) {
        const struct kind_single *single = conf_singles;
        while (strcmp(single->schema->kind, name) != 0)
            single++;
        reader->schema = single->schema;
        *ret_object = single_object(reader->conf, single);
    } else {
        reader->schema = kind->schema;
        index = cursor->titled[kind - conf_kinds]++;
        *ret_object =
            index < kind_count(reader->conf, kind) ? kind_object(reader->conf, kind, index) : NULL;
    }
    reader->tree = cfg_getnsec(root, reader->schema->kind, (unsigned)index);
    return kind;
}

static int begin_object(struct schema_reader *reader, const struct kind *kind)
{
    void *object = kind_append(reader->conf, kind);

    if (object == NULL)
        return schema_fail_memory(reader);
    if (kind->number == CONF_KIND_LISTENER)
        ((struct conf_listener *)object)->upstream = CONF_NONE;
    return read_title(reader, reader->tree, (char **)object);
}

static int begin_objects(struct schema_reader *reader, const struct scan *scan, cfg_t *root)
{
    struct section_cursor cursor = {0};
    void *object;

    for (size_t i = 0; i < scan->section_count; i++) {
        const struct kind *kind =
            next_section(&cursor, reader, root, scan->sections[i].kind, &object);
        if (reader->tree == NULL)
            return error_set(reader->error, ERROR_INTERNAL,
                             "%s:%u: section was scanned but not parsed", reader->path,
                             scan->sections[i].line);
        /* libconfuse leaves the line of the closing brace here; from now on it is that of the
         * opening. */
        reader->tree->line = (int)scan->sections[i].line;
        int code = kind == NULL ? 0 : begin_object(reader, kind);
        if (code != 0)
            return code;
    }
    return 0;
}

static int read_sections(struct schema_reader *reader, const struct scan *scan, cfg_t *root)
{
    struct section_cursor cursor = {0};
    void *object = reader->conf;

    reader->schema = &schema_global;
    reader->tree = root;
    reader->line = 0;
    int code = schema_read(reader, object);
    for (size_t i = 0; code == 0 && i < scan->section_count; i++) {
        ignore(next_section(&cursor, reader, root, scan->sections[i].kind, &object) != NULL);
        reader->line = scan->sections[i].line;
        code = schema_read(reader, object);
    }
    return code;
}

static int parse_scanned(struct schema_reader *reader, const struct scan *scan)
{
    cfg_t *root = NULL;

    int code = parse_tree(reader, scan->text, &root);
    if (code != 0)
        return code;
    code = scan_check_duplicates(scan, reader->path, reader->error);
    if (code == 0)
        code = begin_objects(reader, scan, root);
    if (code == 0)
        code = read_sections(reader, scan, root);
    if (code == 0 && !reader->internal)
        code = conf_check(reader, root);
    cfg_free(root);
    return code;
}

static int parse(struct schema_reader *reader, struct conf **ret_conf, const char *text)
{
    struct scan scan;

    int code = scan_text(&scan, reader->path, text, reader->error);
    if (code != 0)
        return code;
    reader->conf = calloc(1, sizeof *reader->conf);
    if (reader->conf != NULL)
        reader->conf->path = strdup(reader->path);
    code = reader->conf == NULL || reader->conf->path == NULL ? schema_fail_memory(reader)
                                                              : parse_scanned(reader, &scan);
    scan_fini(&scan);
    if (code == 0) {
        if (!reader->internal)
            place_fresh(reader->conf);
        else
            code = place_arrange(reader->conf, reader->error);
    }
    if (code == 0)
        *ret_conf = reader->conf;
    else
        conf_free(reader->conf);
    return code;
}

int conf_parse(struct conf **ret_conf, const char *path, const char *text, conf_warning_fn *warn,
               void *warn_context, struct error *error)
{
    struct schema_reader reader = {
        .path = path, .warn = warn, .warn_context = warn_context, .error = error};

    if (strnlen(text, CONF_TEXT_MAX + 1) > CONF_TEXT_MAX)
        return error_set(error, ERROR_CONFIG, "%s: the configuration is larger than %u MiB", path,
                         CONF_TEXT_MAX >> 20);
    return parse(&reader, ret_conf, text);
}

int conf_parse_internal(struct conf **ret_conf, const char *path, const char *text,
                        struct error *error)
{
    struct schema_reader reader = {.path = path, .error = error, .internal = true};

    return parse(&reader, ret_conf, text);
}

/* ---- reading the file ---- */

static int read_text(char **ret_text, int fd, const char *path, struct error *error)
{
    __attribute__((cleanup(buffer_auto))) struct buffer text;

    buffer_init(&text, CONF_TEXT_MAX);
    int code = file_read_stream(&text, fd, path, error);
    if (code == -ERROR_LIMIT)
        return error_set(error, ERROR_CONFIG, "%s: the configuration is larger than %u MiB", path,
                         CONF_TEXT_MAX >> 20);
    if (code != 0)
        return code;
    if (memchr(buffer_text(&text), '\0', text.size) != NULL)
        return error_set(error, ERROR_CONFIG, "%s: found a zero byte; expected text", path);
    *ret_text = buffer_steal(&text, NULL);
    return *ret_text != NULL ? 0 : error_set(error, ERROR_MEMORY, "%s: out of memory", path);
}

int conf_read(char **ret_text, const char *path, struct error *error)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY);

    if (fd < 0)
        return error_set(error, ERROR_IO, "cannot open %s: %s", path, strerror(errno));
    int code = read_text(ret_text, fd, path, error);
    close(fd);
    return code;
}

/* ---- using it ---- */

uint64_t conf_longest_ticket(const struct conf *conf)
{
    uint64_t longest = 0;

    for (size_t i = 0; i < conf->listener_count; i++) {
        const struct conf_listener *listener = &conf->listeners[i];
        if (conf_listener_in_force(listener) && listener->mode == CONF_MODE_TCP &&
            listener->tickets != 0 && listener->ticket_lifetime > longest)
            longest = listener->ticket_lifetime;
    }
    return longest;
}

void conf_free(struct conf *conf)
{
    if (conf == NULL)
        return;
    for (const struct kind *kind = conf_kinds; kind < conf_kinds + KIND_COUNT; kind++) {
        for (size_t i = 0; i < kind_count(conf, kind); i++) {
            free(kind_name(conf, kind, i));
            schema_free(kind->schema, kind_object(conf, kind, i));
        }
        free(kind_object(conf, kind, 0)); /* the array, which may be there without objects */
    }
    for (size_t i = 0; i < KIND_SINGLE_COUNT; i++)
        schema_free(conf_singles[i].schema, single_object(conf, &conf_singles[i]));
    schema_free(&schema_global, conf);
    free(conf->path);
    free(conf);
}

static void show_section(struct buffer *buffer, const struct conf *conf,
                         const struct schema_section *schema, const char *name, const void *object,
                         bool internal)
{
    ignore(buffer_printf(buffer, "\n%s%s%s {\n", schema->kind, name == NULL ? "" : " ",
                         name == NULL ? "" : name));
    schema_show(buffer, conf, schema, object, "    ", internal);
    ignore(buffer_append_text(buffer, "}\n"));
}

static bool in_force(const struct conf *conf, const struct kind *kind, size_t index)
{
    switch (kind->number) {
    case CONF_KIND_LISTENER:
        return conf_listener_in_force(&conf->listeners[index]);
    case CONF_KIND_UPSTREAM:
        return conf_upstream_in_force(&conf->upstreams[index]);
    case CONF_KIND_CERTIFICATE:
        return conf_certificate_in_force(&conf->certificates[index]);
    case CONF_KIND_GLOBAL:
    case CONF_KIND_SERVER:
    case CONF_KIND_WATCH:
    case CONF_KIND_CHANNEL:
    case CONF_KIND_ALERT_ROUTE:
    case CONF_KIND_MAINTENANCE:
    case CONF_KIND_ADMIN:
    case CONF_KIND_EXPORTER:
        break;
    }
    return true;
}

void conf_show_objects(struct buffer *buffer, const struct conf *conf, bool internal)
{
    for (const struct kind *kind = conf_kinds; kind < conf_kinds + KIND_COUNT; kind++) {
        for (size_t i = 0; i < kind_count(conf, kind); i++) {
            const char *name = kind_name(conf, kind, i);
            if (internal ? name != NULL : in_force(conf, kind, i))
                show_section(buffer, conf, kind->schema, name, kind_object(conf, kind, i),
                             internal);
        }
    }
    for (size_t i = 0; i < KIND_SINGLE_COUNT; i++) {
        if (single_present(conf, &conf_singles[i]))
            show_section(buffer, conf, conf_singles[i].schema, NULL,
                         single_object(conf, &conf_singles[i]), internal);
    }
}

static char *show(const struct conf *conf, bool internal)
{
    struct buffer buffer;

    buffer_init(&buffer, SHOW_MAX);
    schema_show(&buffer, conf, &schema_global, conf, "", internal);
    conf_show_objects(&buffer, conf, internal);
    char *text = buffer.failed ? NULL : strdup(buffer_text(&buffer));
    buffer_fini(&buffer);
    return text;
}

char *conf_show(const struct conf *conf)
{
    return show(conf, false);
}

char *conf_show_internal(const struct conf *conf)
{
    return show(conf, true);
}

uint32_t conf_find_listener(const struct conf *conf, const char *name)
{
    return kind_find_object(conf, kind_find(schema_listener.kind), name);
}

uint32_t conf_find_upstream(const struct conf *conf, const char *name)
{
    return kind_find_object(conf, kind_find(schema_upstream.kind), name);
}

uint32_t conf_find_certificate(const struct conf *conf, const char *name)
{
    return kind_find_object(conf, kind_find(schema_certificate.kind), name);
}

uint32_t conf_find_watch(const struct conf *conf, const char *name)
{
    return kind_find_object(conf, kind_find(schema_watch.kind), name);
}

uint32_t conf_find_channel(const struct conf *conf, const char *name)
{
    return kind_find_object(conf, kind_find(schema_channel.kind), name);
}

uint32_t conf_find_alert_route(const struct conf *conf, const char *name)
{
    return kind_find_object(conf, kind_find(schema_alert_route.kind), name);
}
