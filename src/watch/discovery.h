/* Where endpoints may be that nobody watches: address ranges × ports, the names of a zone file, of
 * a list. Only says what to look at; looking, and how fast, is the caller's. */
#pragma once

#include "base/error.h"
#include "loop/socket.h"

#define DISCOVERY_ADDRESSES_MAX 4096 /* of one range */
#define DISCOVERY_PORTS_MAX     16
#define DISCOVERY_NAMES_MAX     100000 /* of one file */

struct discovery_range {
    struct network network;
    uint32_t address_count;
    uint16_t ports[DISCOVERY_PORTS_MAX];
    size_t port_count;
};

/* "192.0.2.0/28:443,8443", "192.0.2.7:443", "[2001:db8::/120]:443". */
MUST_CHECK int discovery_range_parse(struct discovery_range *ret_range, const char *text,
                                     struct error *error);
/* How many endpoints, and the text of each as a target ("192.0.2.1:443"). Returns `text`. */
size_t discovery_range_size(const struct discovery_range *range);
char *discovery_range_at(const struct discovery_range *range, size_t index,
                         char text[ADDRESS_TEXT_MAX]);

/* Called with each target's text, once. Returning false ends it. */
typedef bool discovery_fn(void *context, const char *target);

/* The hosts of a zone file (net/zone_file.h), and the words of a list: one a line, "#" begins a
 * comment. Returns how many were given, or fails before it gives any: there are too many, or it is
 * no zone file. */
MUST_CHECK int discovery_zone(const char *text, size_t size, discovery_fn *fn, void *context,
                              struct error *error);
MUST_CHECK int discovery_list(const char *text, size_t size, discovery_fn *fn, void *context,
                              struct error *error);
