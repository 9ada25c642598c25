/* The names of a folder of certificates: up to hundreds of thousands, in few bytes each. Only those
 * in use have more than a name. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/attributes.h"
#include "tls/certificate.h"

#define HOST_MAX 254 /* a DNS name with its zero */

/* What is known of a host that was loaded at least once. */
struct folder_host {
    uint32_t version; /* 0: never in service */
    uint8_t key_type;
    uint16_t key_bits;
    uint32_t next_free; /* only while no entry has this place */
    uint8_t fingerprint[32];
    /* Wildcards: the handshakers that were given it since then (Unix seconds). */
    uint64_t given;
    int64_t given_since;
    int64_t not_before, not_after; /* 0: not read since the start */
    int64_t refused_until; /* Unix seconds: not to be read again before, unless the file changes */
    char *trouble;         /* NULL: none */
};

struct folder_entry {
    uint32_t name; /* place in the texts */
    uint32_t used; /* place among the hosts + 1; 0: not in use */
};

/* How the file of a host is spelt: "*.example.org" may be "_wildcard.example.org.pem" or
 * "*.example.org.pem". */
enum folder_spelling { SPELLING_PLAIN, SPELLING_UNDERSCORE };

struct folder_index {
    char *texts; /* per name: spelling, name, zero */
    size_t texts_size, texts_capacity;
    struct folder_entry *entries;
    size_t count, capacity; /* entries, removed ones too */
    size_t files;           /* entries not removed */
    uint32_t *table;        /* hash → entry + 1 */
    size_t table_size;
    uint64_t seed;
    struct folder_host *hosts;
    size_t host_count, host_capacity;
    uint32_t free_host; /* + 1; 0: none */
};

void folder_index_init(struct folder_index *index);
void folder_index_fini(struct folder_index *index); /* accepts zeroed */

/* The host name that a file is for; false when the file is none of ours. */
bool folder_host_of_file(const char *file, char ret_host[HOST_MAX],
                         enum folder_spelling *ret_spelling);
/* Lower-case letters, digits, '-', '_' and '.', perhaps "*." in front; not ".." or the like. */
bool folder_host_valid(const char *host);

/* NULL when there is none. Pointers last until the next add. */
struct folder_entry *folder_index_find(const struct folder_index *index, const char *host);
/* Finds or adds; NULL when out of memory. */
struct folder_entry *folder_index_add(struct folder_index *index, const char *host,
                                      enum folder_spelling spelling);
void folder_index_remove(struct folder_index *index, const char *host);

const char *folder_entry_host(const struct folder_index *index, const struct folder_entry *entry);
/* "_wildcard.example.org.pem" */
void folder_entry_file(const struct folder_index *index, const struct folder_entry *entry,
                       char ret_file[HOST_MAX + 16]);
/* NULL while the host is not in use. */
struct folder_host *folder_entry_used(const struct folder_index *index,
                                      const struct folder_entry *entry);
/* Makes it one in use; NULL when out of memory. */
struct folder_host *folder_entry_use(struct folder_index *index, struct folder_entry *entry);
bool folder_entry_removed(const struct folder_entry *entry);
