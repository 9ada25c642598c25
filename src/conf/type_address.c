/* Types of options: addresses, networks, host names. */
#include "conf/schema.h"

#include <arpa/inet.h>
#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#include "base/string.h"
#include "conf/list.h"

/* ---- addresses ---- */

void schema_addresses_free(void *field)
{
    struct conf_addresses *list = field;

    free(list->items);
    *list = (struct conf_addresses){0};
}

static int address_keep(struct schema_reader *reader, const struct schema_option *option,
                        const struct schema_value *value, const struct address *address,
                        struct conf_addresses *list)
{
    for (size_t i = 0; i < list->count; i++) {
        if (address_equal(&list->items[i], address))
            return schema_fail_value(reader, option, value, "each address once");
    }
    if (list->count == CONF_ADDRESSES_MAX)
        return schema_fail_value(reader, option, value, "at most %d addresses", CONF_ADDRESSES_MAX);
    struct address *item = list_append(&list->items, &list->count, sizeof *list->items);
    if (item == NULL)
        return schema_fail_memory(reader);
    *item = *address;
    return 0;
}

static int addresses_read(struct schema_reader *reader, const struct schema_option *option,
                          const struct schema_value *value, void *field)
{
    struct address address;
    struct error error = {0};

    if (address_parse(&address, value->text, &error) != 0)
        return schema_fail_value(
            reader, option, value,
            "an address with port, such as 0.0.0.0:443, [::]:443 or *:443, or unix:/path: %s",
            error.message);
    if (address.any.sa_family != AF_UNIX && address_port(&address) == 0)
        return schema_fail_value(reader, option, value, "a port from 1 to 65535");
    if (address.any.sa_family == AF_UNIX && !string_starts_with(value->text, "unix:/"))
        return schema_fail_value(reader, option, value, "an absolute path behind 'unix:'");
    return address_keep(reader, option, value, &address, field);
}

void schema_addresses_show(struct buffer *buffer, const struct conf *conf,
                           const struct schema_option *option, const void *field)
{
    const struct conf_addresses *list = field;
    char text[ADDRESS_TEXT_MAX];

    (void)conf;
    (void)option;
    for (size_t i = 0; i < list->count; i++) {
        ignore(buffer_append_text(buffer, i == 0 ? "{" : ", "));
        schema_show_quoted(buffer, address_format(text, sizeof text, &list->items[i]));
    }
    if (list->count > 0)
        ignore(buffer_append_text(buffer, "}"));
}

static const uint8_t mapped[12] = {[10] = 0xff, [11] = 0xff};

static bool is_mapped(const uint8_t bytes[16])
{
    return memcmp(bytes, mapped, sizeof mapped) == 0;
}

/* IPv4 as ::ffff:a.b.c.d. */
static bool read_ip(uint8_t ret_bytes[16], const char *text)
{
    uint8_t v4[4];

    if (inet_pton(AF_INET, text, v4) == 1) {
        memcpy(ret_bytes, mapped, sizeof mapped);
        memcpy(ret_bytes + sizeof mapped, v4, sizeof v4);
        return true;
    }
    return inet_pton(AF_INET6, text, ret_bytes) == 1;
}

static const char *format_ip(char text[INET6_ADDRSTRLEN], const uint8_t bytes[16])
{
    return is_mapped(bytes) ? inet_ntop(AF_INET, bytes + sizeof mapped, text, INET6_ADDRSTRLEN)
                            : inet_ntop(AF_INET6, bytes, text, INET6_ADDRSTRLEN);
}

static int sources_read(struct schema_reader *reader, const struct schema_option *option,
                        const struct schema_value *value, void *field)
{
    struct address address;
    uint8_t bytes[16];

    if (!read_ip(bytes, value->text))
        return schema_fail_value(reader, option, value,
                                 "an IPv4 or IPv6 address of this machine, without port");
    address_from_bytes(&address, bytes, 0);
    return address_keep(reader, option, value, &address, field);
}

static void sources_show(struct buffer *buffer, const struct conf *conf,
                         const struct schema_option *option, const void *field)
{
    const struct conf_addresses *list = field;

    (void)conf;
    (void)option;
    for (size_t i = 0; i < list->count; i++) {
        uint8_t bytes[16];
        char text[INET6_ADDRSTRLEN];
        address_bytes(bytes, &list->items[i]);
        ignore(buffer_append_text(buffer, i == 0 ? "{" : ", "));
        schema_show_quoted(buffer, format_ip(text, bytes));
    }
    if (list->count > 0)
        ignore(buffer_append_text(buffer, "}"));
}

const struct schema_type schema_addresses = {.list = true,
                                             .read = addresses_read,
                                             .show = schema_addresses_show,
                                             .free = schema_addresses_free};
const struct schema_type schema_sources = {
    .list = true, .read = sources_read, .show = sources_show, .free = schema_addresses_free};

/* ---- networks ---- */

static int networks_read(struct schema_reader *reader, const struct schema_option *option,
                         const struct schema_value *value, void *field)
{
    struct conf_networks *list = field;
    struct network network;
    struct error error = {0};

    if (network_parse(&network, value->text, &error) != 0)
        return schema_fail_value(reader, option, value,
                                 "a network such as 10.0.0.0/8, 2001:db8::/32 or 192.0.2.1: %s",
                                 error.message);
    struct network *item = list_append(&list->items, &list->count, sizeof *list->items);
    if (item == NULL)
        return schema_fail_memory(reader);
    *item = network;
    return 0;
}

static void networks_show(struct buffer *buffer, const struct conf *conf,
                          const struct schema_option *option, const void *field)
{
    const struct conf_networks *list = field;

    (void)conf;
    (void)option;
    for (size_t i = 0; i < list->count; i++) {
        const struct network *network = &list->items[i];
        char text[INET6_ADDRSTRLEN];
        bool v4 = is_mapped(network->bytes) && network->prefix >= 96;
        const char *address = v4 ? format_ip(text, network->bytes)
                                 : inet_ntop(AF_INET6, network->bytes, text, sizeof text);
        ignore(buffer_printf(buffer, "%s\"%s/%u\"", i == 0 ? "{" : ", ", address,
                             v4 ? network->prefix - 96u : network->prefix));
    }
    if (list->count > 0)
        ignore(buffer_append_text(buffer, "}"));
}

static void networks_free(void *field)
{
    struct conf_networks *list = field;

    free(list->items);
    *list = (struct conf_networks){0};
}

const struct schema_type schema_networks = {
    .list = true, .read = networks_read, .show = networks_show, .free = networks_free};

/* ---- names ---- */

/* One label of a DNS name; an underscore is tolerated, as resolvers do. */
static const char *label_fault(const char *label, size_t size)
{
    if (size == 0)
        return "empty label";
    if (size > 63)
        return "label longer than 63 bytes";
    if (label[0] == '-' || label[size - 1] == '-')
        return "label with a hyphen at its edge";
    for (size_t i = 0; i < size; i++) {
        unsigned char c = (unsigned char)label[i];
        if (c >= 0x80)
            return "international names are written in their xn-- form";
        if (!isalnum(c) && c != '-' && c != '_')
            return "character that names do not have";
    }
    return NULL;
}

static const char *name_fault(const char *name)
{
    const char *label = name, *fault = NULL;

    while (fault == NULL) {
        size_t size = strcspn(label, ".");
        fault = label_fault(label, size);
        if (fault == NULL && label[size] == '\0')
            return isdigit((unsigned char)label[size - 1]) && strspn(label, "0123456789") == size
                       ? "it ends with a number like an IP address, but is none"
                       : NULL;
        label += size + 1;
    }
    return fault;
}

const char *schema_read_name(char ret_name[SCHEMA_NAME_SIZE], const char *text, bool wildcard,
                             bool address)
{
    uint8_t bytes[16];
    char formatted[INET6_ADDRSTRLEN];

    if (strlen(text) > 253)
        return "longer than 253 bytes";
    if (read_ip(bytes, text)) {
        if (!address)
            return "an IP address does not belong here";
        ignore(string_copy(ret_name, SCHEMA_NAME_SIZE, format_ip(formatted, bytes)));
        return NULL;
    }
    const char *name = text;
    if (string_starts_with(text, "*.")) {
        if (!wildcard)
            return "a wildcard does not belong here";
        name = text + 2;
    }
    const char *fault = strchr(name, '*') != NULL
                            ? "a wildcard is the whole first label: *.shop.example"
                            : name_fault(name);
    if (fault == NULL) {
        ignore(string_copy(ret_name, SCHEMA_NAME_SIZE, text));
        string_lower(ret_name);
    }
    return fault;
}
