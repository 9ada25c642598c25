/* Owned OpenSSL objects as locals: `AUTO(X509) *leaf = …;` is freed at the end of the scope. */
#pragma once

#include <openssl/bio.h>
#include <openssl/evp.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>

#include "base/attributes.h"

#define OWNED_BY_SCOPE(type, free_function)                                                        \
    static inline void type##_auto(type **object)                                                  \
    {                                                                                              \
        free_function(*object);                                                                    \
    }

OWNED_BY_SCOPE(BIO, BIO_vfree)
OWNED_BY_SCOPE(X509, X509_free)
OWNED_BY_SCOPE(EVP_PKEY, EVP_PKEY_free)
OWNED_BY_SCOPE(X509_STORE_CTX, X509_STORE_CTX_free)
OWNED_BY_SCOPE(ASN1_OBJECT, ASN1_OBJECT_free)
OWNED_BY_SCOPE(GENERAL_NAMES, GENERAL_NAMES_free)

#undef OWNED_BY_SCOPE
