/* The cipher suites of the world, as far as a server may still accept them: more than OpenSSL can
 * speak, because who looks for weak ones must be able to offer them. Without those of pre-shared
 * keys, SRP, Kerberos and static Diffie-Hellman, which no certificate of ours would meet. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct suite_catalogue_entry {
    uint16_t id;
    const char *name; /* IANA's */
};

/* All of them, those of TLS 1.3 first, then what is best; weak ones last. */
const struct suite_catalogue_entry *suite_catalogue(size_t *ret_count);
const char *suite_catalogue_name(uint16_t id); /* NULL: not in it */
/* Is it one of TLS 1.3, which nothing below can use, and the other way round? */
bool suite_catalogue_tls13(uint16_t id);
