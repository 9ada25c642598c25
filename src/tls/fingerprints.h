/* A file of ClientHello fingerprints (JA4): clients that have something in common, such as a TLS
 * library that cannot do something. One per line: a whole fingerprint, or its beginning, followed
 * by whatever is to be said of it; empty lines and those that begin with # are passed over. */
#pragma once

#include <stdbool.h>

#include "base/error.h"

#define FINGERPRINTS_FILE_MAX (1u << 20)
/* The first part of a fingerprint, which says nothing yet of what a client offers. */
#define FINGERPRINT_MIN 10

struct fingerprints;

/* `path` is named in messages: "PATH:LINE: what was found; expected …". */
MUST_CHECK int fingerprints_parse(struct fingerprints **ret_fingerprints, const char *path,
                                  const char *text, struct error *error);
void fingerprints_free(struct fingerprints *fingerprints); /* accepts NULL */
/* Is this whole fingerprint among them? Nothing is in NULL. */
bool fingerprints_match(const struct fingerprints *fingerprints, const char *ja4);
