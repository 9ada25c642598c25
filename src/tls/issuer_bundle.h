/* What stands behind a certificate's "CA issuers" address (RFC 5280 §4.2.2.1): one certificate in
 * DER, several in a PKCS #7 without signature, or, against the rules, PEM. */
#pragma once

#include "tls/certificate_facts.h"

/* References of the caller's, at most `maximum`; further ones are left out. */
MUST_CHECK int issuer_bundle_read(const struct certificate_facts **ret_list, size_t maximum,
                                  size_t *ret_count, const uint8_t *data, size_t size,
                                  struct error *error);
