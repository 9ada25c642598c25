/* The first certificate of a PEM file, as far as it takes to compare it with what is served. Keys
 * and whatever else stands in the file are passed over. */
#pragma once

#include "tls/certificate.h"

struct certificate_on_disk {
    char sha256[65]; /* hex */
    int64_t not_before, not_after;
    enum key_type key_type; /* KEY_TYPE_COUNT: another kind */
};

/* ERROR_CERTIFICATE_UNPARSABLE */
MUST_CHECK int certificate_on_disk(struct certificate_on_disk *ret_facts, const char *pem,
                                   size_t size, struct error *error);
