/* Revocation lists that an operator gives in a file, PEM (several) or DER. They are asked before
 * any other, and like all others they count only with their issuer's signature. Certificates beside
 * them are those of keys that sign them, and are trusted no more than what a server sends. */
#pragma once

#include "tls/revocation.h"

#define CRL_FILE_LISTS_MAX   64
#define CRL_FILE_SIGNERS_MAX 16

struct crl_file {
    char *path;
    struct crl *lists[CRL_FILE_LISTS_MAX];
    size_t count;
    const struct certificate_facts *signers[CRL_FILE_SIGNERS_MAX];
    size_t signer_count;
};

MUST_CHECK int crl_file_read(struct crl_file **ret_file, const char *path, struct error *error);
/* Of the content of the file `path`. */
MUST_CHECK int crl_file_parse(struct crl_file **ret_file, const char *path, const void *data,
                              size_t size, struct error *error);
void crl_file_free(struct crl_file *file); /* accepts NULL */
