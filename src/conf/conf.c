/* Reading a configuration whole: scan, libconfuse's tree, names, options, and then the checks
 * across sections. Names come before options, so that a section may refer to one further down. */
#include "conf/conf.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/string.h"
#include "conf/check.h"
#include "conf/list.h"
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

/* Makes an object of this kind; where its name goes comes back, or NULL when out of memory. */
static char **new_object(struct conf *conf, const char *kind)
{
    if (strcmp(kind, schema_listener.kind) == 0) {
        struct conf_listener *listener =
            list_append(&conf->listeners, &conf->listener_count, sizeof *listener);
        if (listener == NULL)
            return NULL;
        listener->upstream = CONF_NONE;
        return &listener->name;
    }
    if (strcmp(kind, schema_upstream.kind) == 0) {
        struct conf_upstream *upstream =
            list_append(&conf->upstreams, &conf->upstream_count, sizeof *upstream);
        return upstream == NULL ? NULL : &upstream->name;
    }
    if (strcmp(kind, schema_watch.kind) == 0) {
        struct conf_watch *watch = list_append(&conf->watches, &conf->watch_count, sizeof *watch);
        return watch == NULL ? NULL : &watch->name;
    }
    struct conf_certificate *certificate =
        list_append(&conf->certificates, &conf->certificate_count, sizeof *certificate);
    return certificate == NULL ? NULL : &certificate->name;
}

/* ---- sections in the order of the file ---- */

struct section_cursor {
    size_t admins, listeners, upstreams, certificates,
        watches; /* sections of each kind behind us */
};

/* The schema, tree and object of the next section of this kind. */
static const struct schema_section *next_section(struct section_cursor *cursor,
                                                 struct schema_reader *reader, cfg_t *root,
                                                 const char *kind, void **ret_object)
{
    struct conf *conf = reader->conf;
    const struct schema_section *schema;
    size_t index;

    if (strcmp(kind, schema_listener.kind) == 0) {
        schema = &schema_listener;
        index = cursor->listeners++;
        *ret_object = index < conf->listener_count ? &conf->listeners[index] : NULL;
    } else if (strcmp(kind, schema_upstream.kind) == 0) {
        schema = &schema_upstream;
        index = cursor->upstreams++;
        *ret_object = index < conf->upstream_count ? &conf->upstreams[index] : NULL;
    } else if (strcmp(kind, schema_certificate.kind) == 0) {
        schema = &schema_certificate;
        index = cursor->certificates++;
        *ret_object = index < conf->certificate_count ? &conf->certificates[index] : NULL;
    } else if (strcmp(kind, schema_watch.kind) == 0) {
        schema = &schema_watch;
        index = cursor->watches++;
        *ret_object = index < conf->watch_count ? &conf->watches[index] : NULL;
    } else {
        schema = &schema_admin;
        index = cursor->admins++;
        *ret_object = &conf->admin;
    }
    reader->schema = schema;
    reader->tree = cfg_getnsec(root, schema->kind, (unsigned)index);
    return schema;
}

static int begin_objects(struct schema_reader *reader, const struct scan *scan, cfg_t *root)
{
    struct section_cursor cursor = {0};
    void *object;

    for (size_t i = 0; i < scan->section_count; i++) {
        ignore(next_section(&cursor, reader, root, scan->sections[i].kind, &object) != NULL);
        if (reader->tree == NULL)
            return error_set(reader->error, ERROR_INTERNAL,
                             "%s:%u: section was scanned but not parsed", reader->path,
                             scan->sections[i].line);
        /* libconfuse leaves the line of the closing brace here; from now on it is that of the
         * opening. */
        reader->tree->line = (int)scan->sections[i].line;
        if (object == &reader->conf->admin)
            continue;
        char **name = new_object(reader->conf, reader->tree->name);
        int code =
            name == NULL ? schema_fail_memory(reader) : read_title(reader, reader->tree, name);
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
    char *text = malloc(CONF_TEXT_MAX + 2);
    size_t size = 0;
    ssize_t count = 1;

    while (text != NULL && count > 0 && size <= CONF_TEXT_MAX) {
        count = read(fd, text + size, CONF_TEXT_MAX + 1 - size);
        if (count > 0)
            size += (size_t)count;
        else if (count < 0 && errno == EINTR)
            count = 1;
    }
    int code = 0;
    if (text == NULL)
        code = error_set(error, ERROR_MEMORY, "%s: out of memory", path);
    else if (count < 0)
        code = error_set(error, ERROR_IO, "cannot read %s: %s", path, strerror(errno));
    else if (size > CONF_TEXT_MAX)
        code = error_set(error, ERROR_CONFIG, "%s: the configuration is larger than %u MiB", path,
                         CONF_TEXT_MAX >> 20);
    else if (memchr(text, '\0', size) != NULL)
        code = error_set(error, ERROR_CONFIG, "%s: found a zero byte; expected text", path);
    if (code != 0) {
        free(text);
        return code;
    }
    text[size] = '\0';
    char *shrunk = realloc(text, size + 1);
    *ret_text = shrunk == NULL ? text : shrunk;
    return 0;
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
    for (size_t i = 0; i < conf->listener_count; i++) {
        schema_free(&schema_listener, &conf->listeners[i]);
        free(conf->listeners[i].name);
    }
    for (size_t i = 0; i < conf->upstream_count; i++) {
        schema_free(&schema_upstream, &conf->upstreams[i]);
        free(conf->upstreams[i].name);
    }
    for (size_t i = 0; i < conf->certificate_count; i++) {
        schema_free(&schema_certificate, &conf->certificates[i]);
        free(conf->certificates[i].name);
    }
    for (size_t i = 0; i < conf->watch_count; i++) {
        schema_free(&schema_watch, &conf->watches[i]);
        free(conf->watches[i].name);
    }
    schema_free(&schema_admin, &conf->admin);
    schema_free(&schema_global, conf);
    free(conf->listeners);
    free(conf->upstreams);
    free(conf->certificates);
    free(conf->watches);
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

void conf_show_objects(struct buffer *buffer, const struct conf *conf, bool internal)
{
    for (size_t i = 0; i < conf->listener_count; i++) {
        const struct conf_listener *listener = &conf->listeners[i];
        if (internal ? listener->name != NULL : conf_listener_in_force(listener))
            show_section(buffer, conf, &schema_listener, listener->name, listener, internal);
    }
    for (size_t i = 0; i < conf->upstream_count; i++) {
        const struct conf_upstream *upstream = &conf->upstreams[i];
        if (internal ? upstream->name != NULL : conf_upstream_in_force(upstream))
            show_section(buffer, conf, &schema_upstream, upstream->name, upstream, internal);
    }
    for (size_t i = 0; i < conf->certificate_count; i++) {
        const struct conf_certificate *certificate = &conf->certificates[i];
        if (internal ? certificate->name != NULL : conf_certificate_in_force(certificate))
            show_section(buffer, conf, &schema_certificate, certificate->name, certificate,
                         internal);
    }
    for (size_t i = 0; i < conf->watch_count; i++)
        show_section(buffer, conf, &schema_watch, conf->watches[i].name, &conf->watches[i],
                     internal);
}

static char *show(const struct conf *conf, bool internal)
{
    struct buffer buffer;

    buffer_init(&buffer, SHOW_MAX);
    schema_show(&buffer, conf, &schema_global, conf, "", internal);
    conf_show_objects(&buffer, conf, internal);
    if (conf->admin.present)
        show_section(&buffer, conf, &schema_admin, NULL, &conf->admin, internal);
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
    for (size_t i = 0; i < conf->listener_count; i++) {
        const char *known = conf->listeners[i].name;
        if (known != NULL && strcmp(known, name) == 0)
            return (uint32_t)i;
    }
    return CONF_NONE;
}

uint32_t conf_find_upstream(const struct conf *conf, const char *name)
{
    for (size_t i = 0; i < conf->upstream_count; i++) {
        const char *known = conf->upstreams[i].name;
        if (known != NULL && strcmp(known, name) == 0)
            return (uint32_t)i;
    }
    return CONF_NONE;
}

uint32_t conf_find_certificate(const struct conf *conf, const char *name)
{
    for (size_t i = 0; i < conf->certificate_count; i++) {
        const char *known = conf->certificates[i].name;
        if (known != NULL && strcmp(known, name) == 0)
            return (uint32_t)i;
    }
    return CONF_NONE;
}
