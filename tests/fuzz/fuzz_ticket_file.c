/* Any bytes as a file of ticket keys, and under the tag of one. What is accepted is written and
 * read again unchanged, and a ring takes it in. */
#include <stdlib.h>
#include <string.h>

#include <openssl/evp.h>

#include "tls/ticket_file.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const uint8_t kek[KEY_ENCRYPTION_SIZE] = "the key of the kept corpus";
static const struct ticket_rules rules = {.lifetime_s = 3600, .window_s = 7200, .node = "fuzz"};

/* Puts a whole file around `size` bytes of content; the header is 36 bytes, its nonce at 24. */
static size_t enclose(uint8_t *file, const uint8_t *data, size_t size)
{
    static const struct ticket_keys one = {.count = 1};
    EVP_CIPHER_CTX *context = EVP_CIPHER_CTX_new();
    int some;

    if (ticket_file_seal(file, &one, 7, kek) == 0 ||
        EVP_EncryptInit_ex(context, EVP_aes_256_gcm(), NULL, kek, file + 24) != 1 ||
        EVP_EncryptUpdate(context, NULL, &some, file, 36) != 1 ||
        EVP_EncryptUpdate(context, file + 36, &some, data, (int)size) != 1 ||
        EVP_EncryptFinal_ex(context, file + 36 + size, &some) != 1 ||
        EVP_CIPHER_CTX_ctrl(context, EVP_CTRL_AEAD_GET_TAG, 16, file + 36 + size) != 1)
        abort();
    EVP_CIPHER_CTX_free(context);
    return 36 + size + 16;
}

static void try_file(const uint8_t *file, size_t size)
{
    static const struct ticket_clock clock = {.wall_s = 1000000000, .monotonic_ns = 1};
    struct ticket_keys keys, again, ring = {0};
    uint8_t copy[TICKET_FILE_MAX];
    struct error error;
    uint64_t sequence;

    if (ticket_file_open(&keys, &sequence, file, size, kek, &error) != 0)
        return;
    size_t written = ticket_file_seal(copy, &keys, sequence, kek);
    if (ticket_file_open(&again, &sequence, copy, written, kek, &error) != 0 ||
        memcmp(&keys, &again, sizeof keys) != 0)
        abort();
    ticket_keys_advance(&ring, &rules, &clock);
    ticket_keys_merge(&ring, &keys, &rules, &clock);
    ticket_keys_advance(&ring, &rules, &clock);
    if (ring.count == 0 || ring.count > TICKET_KEYS_MAX || ring.current >= ring.count)
        abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    uint8_t file[TICKET_FILE_MAX];

    try_file(data, size);
    if (size <= TICKET_FILE_MAX - 36 - 16)
        try_file(file, enclose(file, data, size));
    return 0;
}
