/* Trust anchors, loaded once per process. */
#pragma once

#include <openssl/x509.h>

#include "base/error.h"

/* Both give a reference of the caller's own (X509_STORE_free). */

/* The anchors of a PEM file, or the system's when `path` is NULL. Kept for the life of the process
 * and read again only when the file has changed; the system's folder of hashed names is searched
 * per issuer, not read as a whole. */
MUST_CHECK int trust_store_file(X509_STORE **ret_store, const char *path, struct error *error);

/* Exactly the certificates of this PEM text; any of them is an anchor, self-signed or not. */
MUST_CHECK int trust_store_text(X509_STORE **ret_store, const char *pem, struct error *error);
