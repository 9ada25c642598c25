/* The ticket keys as bytes for a disk: encrypted and authenticated under a key-encryption key, and
 * that key's own file.
 *
 *   offset  size  header, in clear, authenticated
 *        0     4  "HFTK"
 *        4     4  version (1)
 *        8     8  sequence: grows with every writing
 *       16     8  which key-encryption key: the beginning of HMAC-SHA-256(key, "holdfast ticket
 * keys") 24    12  nonce, random 36     …  AES-256-GCM: epochs, current, count, keys end-16   16
 * tag
 *
 * Numbers are little-endian. */
#pragma once

#include <sys/types.h>

#include "base/error.h"
#include "tls/ticket_ring.h"

#define TICKET_FILE_VERSION  1
#define TICKET_FILE_KEY_SIZE 136
#define TICKET_FILE_MAX      (36 + 20 + TICKET_KEYS_MAX * TICKET_FILE_KEY_SIZE + 16)
#define TICKET_FILE_EXPECTED "a file of ticket keys"
#define KEY_ENCRYPTION_SIZE  32

/* Reads a key-encryption key: a regular file of 32 bytes or 64 hexadecimal digits that belongs to
 * root, to us or to `user` and gives no rights to others. `path` is named in messages; a credential
 * (`credential`) may show a group's right to read, which is how systemd's access list for the
 * service's user looks. */
MUST_CHECK int key_encryption_read(uint8_t ret_key[KEY_ENCRYPTION_SIZE], int fd, const char *path,
                                   uid_t user, bool credential, struct error *error);

/* Encrypts; returns the size, 0 when OpenSSL fails. */
MUST_CHECK size_t ticket_file_seal(uint8_t ret_bytes[TICKET_FILE_MAX],
                                   const struct ticket_keys *keys, uint64_t sequence,
                                   const uint8_t kek[KEY_ENCRYPTION_SIZE]);

/* ERROR_PROTOCOL: damaged. ERROR_TLS: made with another key-encryption key, or by another version.
 * What only concerns this machine (generation, times of the monotonic clock) is zero in
 * *ret_keys. */
MUST_CHECK int ticket_file_open(struct ticket_keys *ret_keys, uint64_t *ret_sequence,
                                const uint8_t *bytes, size_t size,
                                const uint8_t kek[KEY_ENCRYPTION_SIZE], struct error *error);
