/* What differs between the certificate that was served and the one that is: names lost, another
 * issuer, a shorter chain. Of objects as report_json() makes them. */
#pragma once

#include <jansson.h>

/* An array of {"what": "names-lost", "severity": "warning", "text": "…"}, the gravest first; empty
 * when nothing but serial number, dates and key differ as they should. NULL: out of memory. */
json_t *difference_of(const json_t *before, const json_t *after);
