/* A folder of many certificates, one combined PEM per host. Its names are known from the start; a
 * file is read when a client first asks for its host, and again when it changes. Pairs are passed
 * on to the handshakers and not kept here. */
#pragma once

#include "vault/folder_index.h"
#include "vault/lineage.h"

#define EVERYBODY (~0u)

/* A file that changed to something unfit; it may still be being written. */
struct settling {
    struct settling *next;
    uint64_t until;
    char host[HOST_MAX];
};

struct folder {
    struct lineage *lineage;
    struct folder_index index;
    int watch;           /* -1: none */
    bool started;        /* was listed, or failed to be, once */
    bool listed;         /* the index holds what is there */
    bool listing, again; /* being opened; open it once more afterwards */
    bool refreshing;     /* all in use are being read again, */
    size_t refresh;      /* this entry next */
    bool journal_failed; /* said once */
    char trouble[TROUBLE_MAX];
    struct settling *settling;
    struct timer settle_timer, list_timer;
};

/* Reads the file of an entry. `handshaker` gets the answer to `wanted`; EVERYBODY: the file
 * changed. With `refresh`, it is one of all in use, and folder_refresh_next() follows. False when
 * it could not even begin. */
bool folder_read(struct folder *folder, const struct folder_entry *entry, unsigned handshaker,
                 const char *wanted, bool refresh);
void folder_say_unknown(const struct folder *folder, unsigned handshaker, const char *name);
/* The host's file is gone or good: nothing is waited for. */
void folder_settled(struct folder *folder, const char *host);
void folder_settle_over(void *context); /* of settle_timer */
void folder_refresh_next(struct folder *folder);
