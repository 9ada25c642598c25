/* Files of the state folder. Every write is whole or not at all: a temporary file, synchronised,
 * then renamed. */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "base/buffer.h"
#include "base/error.h"
#include "tls/certificate.h"

/* Replaces the file `name` in the directory (0600). */
MUST_CHECK int store_write(int directory, const char *name, const void *data, size_t size,
                           struct error *error);
/* Reads a file, from the beginning; ERROR_NOT_FOUND when there is none. */
MUST_CHECK int store_read(struct buffer *content, int directory, const char *name,
                          struct error *error);
/* Opens the folder "PARENT/NAME" (`name` NULL: "PARENT"), making what is missing (0700). */
MUST_CHECK int store_folder(int *ret_directory, int state_folder, const char *parent,
                            const char *name, struct error *error);

/* ---- one certificate's versions: VERSION.pem, combined PEM ---- */

#define STORE_KEPT 3 /* earlier versions of each key type kept for going back by hand */

MUST_CHECK int store_pair_write(int directory, uint32_t version, const struct keypair *pair,
                                struct error *error);
void store_pair_remove(int directory, uint32_t version);

struct stored_pair {
    struct keypair *pair; /* NULL: none */
    uint32_t version;
};
/* The newest readable version of each key type. Files that cannot be read are passed over; `bad` is
 * told of each. */
typedef void store_bad_fn(void *context, uint32_t version, const struct error *error);
MUST_CHECK int store_pairs_read(struct stored_pair ret_pairs[KEY_TYPE_COUNT], int directory,
                                store_bad_fn *bad, void *context, struct error *error);
/* Removes all but the newest and STORE_KEPT earlier versions of this key type. */
void store_pairs_prune(int directory, enum key_type type);
