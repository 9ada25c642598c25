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

/* Gives each name once. */
struct giving {
    discovery_fn *fn;
    void *context;
    struct map known;
    size_t count;
};

static bool give(void *context, const char *name)
{
    struct giving *giving = context;

    if (map_get(&giving->known, name) != NULL)
        return true;
    if (giving->count == DISCOVERY_NAMES_MAX || !map_put(&giving->known, name, giving))
        return false;
    giving->count++;
    return giving->fn(giving->context, name);
}

static size_t finish(struct giving *giving)
{
    map_fini(&giving->known);
    return giving->count;
}

size_t discovery_zone(const char *text, size_t size, discovery_fn *fn, void *context)
{
    struct giving giving = {.fn = fn, .context = context};

    map_init(&giving.known);
    ignore((long)zone_file_hosts(text, size, NULL, give, &giving));
    return finish(&giving);
}

size_t discovery_list(const char *text, size_t size, discovery_fn *fn, void *context)
{
    struct giving giving = {.fn = fn, .context = context};
    const char *end = text + size;
    bool more = true;

    map_init(&giving.known);
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
            more = give(&giving, word);
        text += length + 1;
    }
    return finish(&giving);
}
