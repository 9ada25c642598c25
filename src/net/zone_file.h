/* Names of a zone file as BIND writes it (RFC 1035 §5): relative owners, lines in brackets,
 * $ORIGIN (which must be absolute). */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "base/attributes.h"

#define ZONE_UNREADABLE_MAX 1000 /* lines; then it is no zone file, and reading ends */

/* `name` without its final dot. Returning false ends the reading. */
typedef bool zone_name_fn(void *context, const char *name);

/* Calls back with every owner of an A, AAAA or CNAME record, also more than once; neither wildcards
 * nor names that begin with "_" are hosts. `origin` (may be NULL) is what relative names belong to
 * before the file says it. What cannot be read is skipped; returns how many such lines. */
size_t zone_file_hosts(const char *text, size_t size, const char *origin, zone_name_fn *fn,
                       void *context);
