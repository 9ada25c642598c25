/* What of a fleet still has a property: "sig=sha1", "key=rsa,bits<3072", "expires<30d",
 * "version<1.2", "finding=chain-incomplete", "issuer~Example CA".
 *
 * Terms are joined by commas, and all must hold; those about certificates for the same certificate.
 * Operators: = != < <= > >= and ~ (contains); capitals do not matter. */
#pragma once

#include <stdbool.h>
#include <jansson.h>

#include "base/error.h"

#define CAMPAIGN_TERMS_MAX 8

enum campaign_comparison {
    CAMPAIGN_EQUAL,
    CAMPAIGN_UNEQUAL,
    CAMPAIGN_LESS,
    CAMPAIGN_AT_MOST,
    CAMPAIGN_MORE,
    CAMPAIGN_AT_LEAST,
    CAMPAIGN_CONTAINS
};

struct campaign_property;
struct campaign {
    struct {
        const struct campaign_property *property;
        enum campaign_comparison comparison;
        char value[128];
        double number; /* of properties that have an order */
    } terms[CAMPAIGN_TERMS_MAX];
    size_t count;
};

/* An error says what was found and what there is. */
MUST_CHECK int campaign_parse(struct campaign *ret_campaign, const char *text, struct error *error);

/* Does an endpoint (doc/check-json.md) have it? `ret_certificate`: the first certificate that all
 * terms about certificates hold for; NULL when there is no such term. Borrowed. */
bool campaign_matches(const struct campaign *campaign, const json_t *endpoint,
                      const json_t **ret_certificate);
