/* DANE (RFC 6698, RFC 7671): does a certificate match an association that the DNS gives? */
#pragma once

#include "tls/certificate_facts.h"

enum { DANE_USAGE_ANCHOR = 2, DANE_USAGE_LEAF = 3 };
enum { DANE_SELECTOR_CERTIFICATE = 0, DANE_SELECTOR_KEY = 1 };
enum { DANE_MATCHING_WHOLE = 0, DANE_MATCHING_SHA256 = 1, DANE_MATCHING_SHA512 = 2 };

/* What is compared: the certificate or its public key, by digest or whole. False for selectors and
 * matching types that nobody knows. */
bool dane_matches(const struct certificate_facts *facts, unsigned selector, unsigned matching,
                  const uint8_t *data, size_t size);

/* The same for usage 2 and 3 over what a server sent, leaf first: 3 looks at the leaf alone, 2 at
 * those that its signatures lead to (RFC 7672 §3.1.2: the anchor must be sent). */
bool dane_chain_matches(const struct certificate_facts *const *chain, size_t count, unsigned usage,
                        unsigned selector, unsigned matching, const uint8_t *data, size_t size);
