#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/file.h"
#include "base/map.h"
#include "base/string.h"
#include "cmd/check.h"
#include "watch/discovery.h"

#define TARGETS_MAX   1000000
#define ZONE_SIZE_MAX (64u << 20)

/* ---- the list ---- */

static int grow(struct check_order *order, struct error *error)
{
    size_t capacity = order->capacity * 2 + 16;
    struct target *targets;

    if (order->count == TARGETS_MAX)
        return error_set(error, ERROR_USAGE, "more than %d targets", TARGETS_MAX);
    targets = reallocarray(order->targets, capacity, sizeof *targets);
    if (targets == NULL)
        return error_set(error, ERROR_MEMORY, "out of memory");
    order->targets = targets;
    order->capacity = capacity;
    return 0;
}

static int add(struct check_order *order, struct map *known, const struct target *target,
               struct error *error)
{
    static char present;

    if (map_get(known, target->text) != NULL)
        return 0;
    if (order->count == order->capacity && grow(order, error) != 0)
        return -(int)error->code;
    if (!map_put(known, target->text, &present))
        return error_set(error, ERROR_MEMORY, "out of memory");
    order->targets[order->count++] = *target;
    return 0;
}

/* ---- one word ---- */

static int add_service(struct check_order *order, struct map *known, const char *host,
                       const char *service, struct error *error)
{
    struct target list[TARGET_SERVICE_MAX];
    size_t count;
    int result = target_service(list, &count, host, service, error);

    for (size_t i = 0; result == 0 && i < count; i++)
        result = add(order, known, &list[i], error);
    return result;
}

static int add_word(struct check_order *order, struct map *known, const struct check_words *words,
                    const char *word, struct error *error)
{
    struct target target;

    if (words->service != NULL)
        return add_service(order, known, word, words->service, error);
    int result = target_parse(&target, word, error);
    return result == 0 ? add(order, known, &target, error) : result;
}

/* ---- a file of them ---- */

/* The word of a line, without comment and the white space around it; NULL: there is none. */
static char *word_of(char *line)
{
    char *comment = strchr(line, '#');

    if (comment != NULL && (comment == line || comment[-1] == ' ' || comment[-1] == '\t'))
        *comment = '\0';
    line += strspn(line, " \t\r\n");
    for (size_t length = strlen(line); length > 0 && strchr(" \t\r\n", line[length - 1]) != NULL;)
        line[--length] = '\0';
    return *line != '\0' ? line : NULL;
}

static int add_lines(struct check_order *order, struct map *known, const struct check_words *words,
                     FILE *file, struct error *error)
{
    char line[TARGET_TEXT_MAX * 2];
    unsigned number = 0;
    int result = 0;

    while (result == 0 && fgets(line, sizeof line, file) != NULL) {
        number++;
        if (strchr(line, '\n') == NULL && !feof(file))
            result = error_set(error, ERROR_USAGE, "the line is too long");
        char *word = result == 0 ? word_of(line) : NULL;
        if (word != NULL)
            result = add_word(order, known, words, word, error);
        if (result != 0)
            result = error_prepend(error, "%s:%u", words->from, number);
    }
    if (result == 0 && ferror(file))
        result = error_set(error, ERROR_IO, "cannot read %s: %s", words->from, strerror(errno));
    return result;
}

static int add_file(struct check_order *order, struct map *known, const struct check_words *words,
                    struct error *error)
{
    bool input = strcmp(words->from, "-") == 0;
    FILE *file = input ? stdin : fopen(words->from, "re");

    if (file == NULL)
        return error_set(error, ERROR_IO, "cannot open %s: %s", words->from, strerror(errno));
    int result = add_lines(order, known, words, file, error);
    if (!input)
        ignore(fclose(file));
    return result;
}

/* ---- where endpoints may be ---- */

struct adding {
    struct check_order *order;
    struct map *known;
    struct error *error;
    bool failed;
};

static bool add_candidate(void *context, const char *text)
{
    struct adding *adding = context;
    struct target target;

    /* Names that are no hosts' stand in zones, too: they are passed over. */
    if (target_parse(&target, text, NULL) == 0)
        adding->failed = add(adding->order, adding->known, &target, adding->error) != 0;
    return !adding->failed;
}

static int read_file(struct buffer *text, const char *path, struct error *error)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);

    if (fd < 0)
        return error_set(error, ERROR_IO, "cannot open %s: %s", path, strerror(errno));
    int result = file_read_stream(text, fd, path, error);
    ignore(close(fd));
    return result;
}

static int add_zone(struct adding *adding, const char *path)
{
    struct buffer text;

    buffer_init(&text, ZONE_SIZE_MAX);
    int result = read_file(&text, path, adding->error);
    if (result == 0) {
        result =
            discovery_zone(buffer_text(&text), text.size, add_candidate, adding, adding->error);
        if (result < 0)
            result = error_prepend(adding->error, "%s", path);
        else if (adding->failed)
            result = -(int)adding->error->code;
        else if (result == 0)
            result = error_set(adding->error, ERROR_USAGE,
                               "%s gives no name an address: expected a zone file", path);
    }
    buffer_fini(&text);
    return result < 0 ? result : 0;
}

static int add_range(struct adding *adding, const char *text)
{
    struct discovery_range range;
    char target[ADDRESS_TEXT_MAX];

    if (discovery_range_parse(&range, text, adding->error) != 0)
        return -(int)adding->error->code;
    for (size_t i = 0; i < discovery_range_size(&range); i++) {
        if (!add_candidate(adding, discovery_range_at(&range, i, target)))
            return -(int)adding->error->code;
    }
    return 0;
}

static int add_discovered(struct check_order *order, struct map *known, const char *where,
                          struct error *error)
{
    struct adding adding = {.order = order, .known = known, .error = error};
    int result = string_starts_with(where, "zone:") ? add_zone(&adding, where + strlen("zone:"))
                                                    : add_range(&adding, where);

    order->discovering = true;
    return result == 0 ? 0 : error_prepend(error, "--discover");
}

/* ---- as plugins are told ---- */

static int plugin_word(char *word, size_t size, const struct check_words *words,
                       struct error *error)
{
    const char *host = words->host != NULL ? words->host : "";
    bool bracket = strchr(host, ':') != NULL && host[0] != '[';
    const char *protocol = words->protocol != NULL ? words->protocol : "";
    const char *port = words->port != NULL ? words->port : "";
    int length = words->file != NULL
                     ? snprintf(word, size, "file:%s", words->file)
                     : snprintf(word, size, "%s%s%s%s%s%s%s", protocol,
                                protocol[0] != '\0' ? "://" : "", bracket ? "[" : "", host,
                                bracket ? "]" : "", port[0] != '\0' ? ":" : "", port);

    if (length < 0 || (size_t)length >= size)
        return error_set(error, ERROR_USAGE, "the value of -H or -f is too long");
    return 0;
}

static int add_plugin(struct check_order *order, struct map *known, const struct check_words *words,
                      struct error *error)
{
    char word[TARGET_TEXT_MAX];
    struct target target;
    int result = plugin_word(word, sizeof word, words, error);

    if (result == 0)
        result = target_parse(&target, word, error);
    return result == 0 ? add(order, known, &target, error) : result;
}

int check_targets(struct check_order *order, const struct check_words *words, char **targets,
                  size_t count, struct error *error)
{
    struct map known;
    int result = 0;

    map_init(&known);
    if (words->host != NULL || words->file != NULL)
        result = add_plugin(order, &known, words, error);
    for (size_t i = 0; result == 0 && i < count; i++)
        result = add_word(order, &known, words, targets[i], error);
    if (result == 0 && words->from != NULL)
        result = add_file(order, &known, words, error);
    for (size_t i = 0; result == 0 && i < words->discover_count; i++)
        result = add_discovered(order, &known, words->discover[i], error);
    if (result == 0 && order->count == 0)
        result = error_set(error, ERROR_USAGE,
                           "nothing to check: expected TARGET, as shop.example:443 or "
                           "file:/etc/ssl/shop.pem; see --help");
    map_fini(&known);
    return result;
}
