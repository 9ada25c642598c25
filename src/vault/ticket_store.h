/* The ticket keys on disk, in a file of the state folder or one that several instances share.
 *
 * What stands there is ciphertext (tls/ticket_file.h), written whole or not at all. Nothing that is
 * wrong with it ever keeps the keys from being rotated: they go on in memory, and the file follows
 * when it can. A file that cannot be read is kept under another name; one that several share and
 * that this instance cannot read is left to the others. */
#pragma once

#include "base/error.h"
#include "tls/ticket_file.h"

#define TICKET_STORE_NAME "ticket-keys"

struct ticket_store;

/* `path` NULL: TICKET_STORE_NAME in the folder `state_folder` (which stays the caller's); else a
 * file that others may use as well. Wiped and freed with ticket_store_free(). NULL: out of
 * memory. */
struct ticket_store *ticket_store_new(int state_folder, const char *path,
                                      const uint8_t kek[KEY_ENCRYPTION_SIZE]);
/* The store for another configuration: the same one with another key where the place is the same,
 * so that what it holds is written anew; else a new one. Takes `store` (NULL: none); NULL: out of
 * memory. */
struct ticket_store *ticket_store_renew(struct ticket_store *store, int state_folder,
                                        const char *path, const uint8_t kek[KEY_ENCRYPTION_SIZE]);
void ticket_store_free(struct ticket_store *store); /* accepts NULL */

enum ticket_action { TICKET_ADVANCE, TICKET_ROTATE, TICKET_REPLACE };

/* Does the action with the keys alone. Returns TICKET_KEYS_* bits. */
unsigned ticket_store_act(struct ticket_keys *keys, enum ticket_action action,
                          const struct ticket_rules *rules, const struct ticket_clock *clock);

/* Takes up what others have written, does the action, and writes what has changed. *ret_done gets
 * TICKET_KEYS_* bits. ERROR_BUSY: another instance is at it; nothing was done, try again soon. On
 * any other error the action was done all the same. */
MUST_CHECK int ticket_store_sync(struct ticket_store *store, struct ticket_keys *keys,
                                 enum ticket_action action, const struct ticket_rules *rules,
                                 const struct ticket_clock *clock, unsigned *ret_done,
                                 struct error *error);
