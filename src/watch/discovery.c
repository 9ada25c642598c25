#include "watch/discovery.h"

#include <stdlib.h>
#include <string.h>

#include "base/map.h"
#include "base/string.h"
#include "net/zone_file.h"

#define SHOWN(text) string_printable((char[160]){0}, 160, text, strlen(text))

/* ---- ranges ---- */

static bool parse_ports(struct discovery_range *range, const char *text)
{
    for (;;) {
        char *end;
        unsigned long port = strtoul(text, &end, 10);
        if (text[0] < '0' || text[0] > '9' || port == 0 || port > UINT16_MAX ||
            range->port_count == DISCOVERY_PORTS_MAX)
            return false;
        range->ports[range->port_count++] = (uint16_t)port;
        if (*end == '\0')
            return true;
        if (*end != ',')
            return false;
        text = end + 1;
    }
}

/* The network without brackets; NULL: they do not fit. */
static const char *without_brackets(char *text)
{
    size_t length = strlen(text);

    if (text[0] != '[')
        return strchr(text, ':') == NULL ? text : NULL;
    if (text[length - 1] != ']')
        return NULL;
    text[length - 1] = '\0';
    return text + 1;
}

int discovery_range_parse(struct discovery_range *ret_range, const char *text, struct error *error)
{
    struct discovery_range range = {.port_count = 0};
    char copy[160];
    const char *network = NULL;

    char *colon = string_copy(copy, sizeof copy, text) ? strrchr(copy, ':') : NULL;
    if (colon != NULL && colon > copy) {
        *colon = '\0';
        network = without_brackets(copy);
    }
    if (network == NULL || network_parse(&range.network, network, NULL) != 0)
        return error_set(error, ERROR_USAGE,
                         "found \"%s\"; expected a range with ports such as 192.0.2.0/28:443,8443 "
                         "or [2001:db8::/120]:443",
                         SHOWN(text));
    if (!parse_ports(&range, colon + 1))
        return error_set(error, ERROR_USAGE,
                         "found the ports \"%s\"; expected 1 to %d of them, such as 443,8443",
                         SHOWN(colon + 1), DISCOVERY_PORTS_MAX);
    if (range.network.prefix < 116)
        return error_set(error, ERROR_USAGE,
                         "found more than %d addresses in \"%s\"; expected smaller ranges",
                         DISCOVERY_ADDRESSES_MAX, SHOWN(network));
    range.address_count = 1u << (128 - range.network.prefix);
    *ret_range = range;
    return 0;
}

size_t discovery_range_size(const struct discovery_range *range)
{
    return range->address_count * range->port_count;
}

char *discovery_range_at(const struct discovery_range *range, size_t index,
                         char text[ADDRESS_TEXT_MAX])
{
    uint8_t bytes[16];
    struct address address;

    memcpy(bytes, range->network.bytes, sizeof bytes);
    uint32_t low = ((uint32_t)bytes[14] << 8 | bytes[15]) & ~(range->address_count - 1);
    low += (uint32_t)(index / range->port_count);
    bytes[14] = (uint8_t)(low >> 8);
    bytes[15] = (uint8_t)low;
    address_from_bytes(&address, bytes, range->ports[index % range->port_count]);
    return address_format(text, ADDRESS_TEXT_MAX, &address);
}

/* ---- names ---- */

/* Each once, in the order of the file. */
struct names {
    struct map known;
    char **items;
    size_t count, capacity;
    bool too_many, no_memory;
};

static bool grow(struct names *names)
{
    size_t capacity = names->capacity * 2 + 64;
    char **items = reallocarray(names->items, capacity, sizeof(char *));

    if (items == NULL)
        return false;
    names->items = items;
    names->capacity = capacity;
    return true;
}

static bool collect(void *context, const char *name)
{
    struct names *names = context;
    char *copy = NULL;

    if (map_get(&names->known, name) != NULL)
        return true;
    names->too_many = names->count == DISCOVERY_NAMES_MAX;
    if (names->too_many)
        return false;
    names->no_memory = (names->count == names->capacity && !grow(names)) ||
                       (copy = strdup(name)) == NULL || !map_put(&names->known, name, names);
    if (names->no_memory) {
        free(copy);
        return false;
    }
    names->items[names->count++] = copy;
    return true;
}

static int give(const struct names *names, discovery_fn *fn, void *context, struct error *error)
{
    int given = 0;
    bool more = true;

    if (names->too_many)
        return error_set(error, ERROR_LIMIT, "it has more than %d names; expected fewer",
                         DISCOVERY_NAMES_MAX);
    if (names->no_memory)
        return error_set(error, ERROR_MEMORY, "out of memory");
    for (size_t i = 0; more && i < names->count; i++, given++)
        more = fn(context, names->items[i]);
    return given;
}

static void names_fini(struct names *names)
{
    for (size_t i = 0; i < names->count; i++)
        free(names->items[i]);
    free(names->items);
    map_fini(&names->known);
}

int discovery_zone(const char *text, size_t size, discovery_fn *fn, void *context,
                   struct error *error)
{
    struct names names = {.count = 0};
    int result;

    map_init(&names.known);
    if (zone_file_hosts(text, size, NULL, collect, &names) >= ZONE_UNREADABLE_MAX)
        result = error_set(error, ERROR_CONFIG,
                           "found %d lines that are no records; expected a zone file",
                           ZONE_UNREADABLE_MAX);
    else
        result = give(&names, fn, context, error);
    names_fini(&names);
    return result;
}

int discovery_list(const char *text, size_t size, discovery_fn *fn, void *context,
                   struct error *error)
{
    struct names names = {.count = 0};
    const char *end = text + size;
    bool more = true;

    map_init(&names.known);
    while (more && text < end) {
        const char *stop = memchr(text, '\n', (size_t)(end - text));
        char line[300], *word = line;
        size_t length = (size_t)((stop != NULL ? stop : end) - text);
        bool fits = length < sizeof line;
        memcpy(line, text, fits ? length : 0);
        line[fits ? length : 0] = '\0';
        line[strcspn(line, "#\r")] = '\0';
        word += strspn(word, " \t");
        word[strcspn(word, " \t")] = '\0';
        if (*word != '\0')
            more = collect(&names, word);
        text += length + 1;
    }
    int result = give(&names, fn, context, error);
    names_fini(&names);
    return result;
}
