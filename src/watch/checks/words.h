/* How the checks speak of certificates, stores and dates. */
#pragma once

#include "watch/checks/check.h"

#define WORDS_MAX 160

/* "CN=Middle (certificate 2 of those sent)", "CN=Root (of the trust store)". Returns `text`. */
const char *words_certificate(char text[WORDS_MAX], const struct endpoint *endpoint,
                              const struct certificate_facts *facts);
/* "2026-12-01 12:00 UTC". Returns `text`. */
const char *words_date(char text[WORDS_MAX], int64_t unix_s);
/* "41 days", "3 hours". Returns `text`. */
const char *words_left(char text[WORDS_MAX], int64_t seconds);

/* The finding is about this certificate, and a fact. */
void words_blame(struct finding *finding, const struct certificate_facts *facts);

/* What the checks on certificates look at: those of the best path that were sent, or all of them
 * where there is no path. */
bool words_judged(const struct endpoint *endpoint, const struct certificate_facts *facts);
/* Does the first store's path end in the root of a public programme? */
bool words_public(const struct endpoint *endpoint);
/* Index among those sent, -1: none. */
int words_position(const struct endpoint *endpoint, const struct certificate_facts *facts);
