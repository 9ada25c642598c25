/* Which targets are configured alike, and what the others do differently: versions, suites, kinds
 * of keys, chains, findings; not names, dates and leaves, which differ anyway. */
#pragma once

#include <jansson.h>

/* Of endpoints (doc/check-json.md) an array of groups, the largest first, each
 * {"targets":[…],"configuration":{"ecdsa version":"TLS 1.3",…},"differences":[{"what","here",
 * "there"}]}: differences from the first group. Targets of which nothing was seen have a
 * configuration of their own, their outcome. NULL: out of memory. */
json_t *comparison_of(const json_t *endpoints);
