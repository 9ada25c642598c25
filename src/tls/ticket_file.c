#include "tls/ticket_file.h"

#include <endian.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <openssl/rand.h>

#include "base/secret.h"
#include "base/string.h"

#define MAGIC       "HFTK"
#define SEQUENCE_AT 8
#define KEK_ID_AT   16
#define KEK_ID_SIZE 8
#define NONCE_AT    24
#define NONCE_SIZE  12
#define HEADER_SIZE 36
#define TAG_SIZE    16
#define PLAIN_HEAD  20
#define PLAIN_MAX   (PLAIN_HEAD + TICKET_KEYS_MAX * TICKET_FILE_KEY_SIZE)
#define HEX_SIZE    (2 * KEY_ENCRYPTION_SIZE)
#define KEY_MAKING  "make one with: (umask 077; openssl rand -hex 32 > %s)"

/* ---- the key-encryption key ---- */

static int check_owner(const struct stat *facts, const char *path, uid_t user, bool credential,
                       struct error *error)
{
    mode_t forbidden = credential ? 0037 : 0077;

    if (!S_ISREG(facts->st_mode))
        return error_set(error, ERROR_CONFIG,
                         "key-encryption-key %s: found something else than a regular file; "
                         "expected a file of %d bytes; " KEY_MAKING,
                         path, KEY_ENCRYPTION_SIZE, path);
    if ((facts->st_mode & forbidden) != 0)
        return error_set(error, ERROR_CONFIG,
                         "key-encryption-key %s: found mode %04o; expected no rights for group and "
                         "others; chmod 0600 %s, and make another key if somebody else may have "
                         "read it",
                         path, (unsigned)facts->st_mode & 07777, path);
    if (facts->st_uid != 0 && facts->st_uid != geteuid() && facts->st_uid != user)
        return error_set(error, ERROR_CONFIG,
                         "key-encryption-key %s: found owner %u; expected root or user %u; chown "
                         "root %s",
                         path, (unsigned)facts->st_uid, (unsigned)user, path);
    return 0;
}

int key_encryption_read(uint8_t ret_key[KEY_ENCRYPTION_SIZE], int fd, const char *path, uid_t user,
                        bool credential, struct error *error)
{
    uint8_t text[HEX_SIZE + 3], key[KEY_ENCRYPTION_SIZE];
    struct stat facts;
    int result;

    if (fstat(fd, &facts) != 0)
        return error_set(error, ERROR_IO, "key-encryption-key %s: cannot look at it: %s", path,
                         strerror(errno));
    if ((result = check_owner(&facts, path, user, credential, error)) < 0)
        return result;
    ssize_t size = pread(fd, text, sizeof text, 0);
    bool hex = size == HEX_SIZE || (size == HEX_SIZE + 1 && text[HEX_SIZE] == '\n');
    if (size == KEY_ENCRYPTION_SIZE)
        memcpy(key, text, sizeof key);
    if (size < 0)
        result = error_set(error, ERROR_IO, "key-encryption-key %s: cannot read it: %s", path,
                           strerror(errno));
    else if (size != KEY_ENCRYPTION_SIZE &&
             !(hex && string_unhex(key, sizeof key, (const char *)text)))
        result = error_set(error, ERROR_CONFIG,
                           "key-encryption-key %s: found %lld bytes that are no key; expected %d "
                           "bytes or %d hexadecimal digits; " KEY_MAKING,
                           path, (long long)facts.st_size, KEY_ENCRYPTION_SIZE, HEX_SIZE, path);
    else
        memcpy(ret_key, key, sizeof key);
    secret_wipe(text, sizeof text);
    secret_wipe(key, sizeof key);
    return result;
}

/* ---- numbers ---- */

static uint8_t *put(uint8_t *at, const void *bytes, size_t size)
{
    memcpy(at, bytes, size);
    return at + size;
}

static uint8_t *put_32(uint8_t *at, uint32_t number)
{
    number = htole32(number);
    return put(at, &number, sizeof number);
}

static uint8_t *put_64(uint8_t *at, uint64_t number)
{
    number = htole64(number);
    return put(at, &number, sizeof number);
}

static void take(const uint8_t **at, void *bytes, size_t size)
{
    memcpy(bytes, *at, size);
    *at += size;
}

static uint32_t take_32(const uint8_t **at)
{
    uint32_t number;

    take(at, &number, sizeof number);
    return le32toh(number);
}

static uint64_t take_64(const uint8_t **at)
{
    uint64_t number;

    take(at, &number, sizeof number);
    return le64toh(number);
}

/* ---- content ---- */

static size_t write_plain(uint8_t *plain, const struct ticket_keys *keys)
{
    uint8_t *at = put_64(plain, keys->resumption_epoch);

    at = put_32(put_32(put_32(at, keys->epoch), keys->current), keys->count);

    for (uint32_t i = 0; i < keys->count; i++) {
        const struct ticket_key *key = &keys->keys[i];
        at = put(at, key->name, sizeof key->name);
        at = put(at, key->cipher_key, sizeof key->cipher_key);
        at = put(at, key->mac_key, sizeof key->mac_key);
        at = put_64(put_64(at, key->not_before), key->not_after);
        at = put_32(put_32(at, key->window_s), key->cause);
        at = put(at, key->node, sizeof key->node);
        at = put_64(at, key->since);
    }
    return (size_t)(at - plain);
}

static void read_key(const uint8_t **at, struct ticket_key *key)
{
    *key = (struct ticket_key){.generation = 0};
    take(at, key->name, sizeof key->name);
    take(at, key->cipher_key, sizeof key->cipher_key);
    take(at, key->mac_key, sizeof key->mac_key);
    key->not_before = take_64(at);
    key->not_after = take_64(at);
    key->window_s = take_32(at);
    key->cause = take_32(at);
    take(at, key->node, sizeof key->node);
    key->node[sizeof key->node - 1] = '\0';
    key->since = take_64(at);
}

static bool read_plain(struct ticket_keys *keys, const uint8_t *plain, size_t size)
{
    const uint8_t *at = plain;

    keys->resumption_epoch = take_64(&at);
    keys->epoch = take_32(&at);
    keys->current = take_32(&at);
    keys->count = take_32(&at);
    if (keys->count == 0 || keys->count > TICKET_KEYS_MAX || keys->current >= keys->count ||
        size != PLAIN_HEAD + (size_t)keys->count * TICKET_FILE_KEY_SIZE)
        return false;
    for (uint32_t i = 0; i < keys->count; i++)
        read_key(&at, &keys->keys[i]);
    return true;
}

/* ---- encryption ---- */

static bool kek_id(uint8_t ret_id[KEK_ID_SIZE], const uint8_t *kek)
{
    static const uint8_t label[] = "holdfast ticket keys";
    uint8_t digest[EVP_MAX_MD_SIZE];

    if (HMAC(EVP_sha256(), kek, KEY_ENCRYPTION_SIZE, label, sizeof label - 1, digest, NULL) == NULL)
        return false;
    memcpy(ret_id, digest, KEK_ID_SIZE);
    return true;
}

static bool encrypt(EVP_CIPHER_CTX *context, uint8_t *bytes, const uint8_t *plain, size_t size,
                    const uint8_t *kek)
{
    int some;

    return EVP_EncryptInit_ex(context, EVP_aes_256_gcm(), NULL, kek, bytes + NONCE_AT) == 1 &&
           EVP_EncryptUpdate(context, NULL, &some, bytes, HEADER_SIZE) == 1 &&
           EVP_EncryptUpdate(context, bytes + HEADER_SIZE, &some, plain, (int)size) == 1 &&
           EVP_EncryptFinal_ex(context, bytes + HEADER_SIZE + some, &some) == 1 &&
           EVP_CIPHER_CTX_ctrl(context, EVP_CTRL_AEAD_GET_TAG, TAG_SIZE,
                               bytes + HEADER_SIZE + size) == 1;
}

static bool decrypt(EVP_CIPHER_CTX *context, uint8_t *plain, const uint8_t *bytes, size_t size,
                    const uint8_t *kek)
{
    uint8_t tag[TAG_SIZE];
    int some;

    memcpy(tag, bytes + HEADER_SIZE + size, sizeof tag);
    return EVP_DecryptInit_ex(context, EVP_aes_256_gcm(), NULL, kek, bytes + NONCE_AT) == 1 &&
           EVP_DecryptUpdate(context, NULL, &some, bytes, HEADER_SIZE) == 1 &&
           EVP_DecryptUpdate(context, plain, &some, bytes + HEADER_SIZE, (int)size) == 1 &&
           EVP_CIPHER_CTX_ctrl(context, EVP_CTRL_AEAD_SET_TAG, TAG_SIZE, tag) == 1 &&
           EVP_DecryptFinal_ex(context, plain + some, &some) == 1;
}

size_t ticket_file_seal(uint8_t ret_bytes[TICKET_FILE_MAX], const struct ticket_keys *keys,
                        uint64_t sequence, const uint8_t kek[KEY_ENCRYPTION_SIZE])
{
    EVP_CIPHER_CTX *context = EVP_CIPHER_CTX_new();
    uint8_t *plain = secret_alloc(PLAIN_MAX);
    size_t size = plain == NULL ? 0 : write_plain(plain, keys);

    memcpy(ret_bytes, MAGIC, 4);
    put_64(put_32(ret_bytes + 4, TICKET_FILE_VERSION), sequence);
    bool good = plain != NULL && context != NULL && kek_id(ret_bytes + KEK_ID_AT, kek) &&
                RAND_bytes(ret_bytes + NONCE_AT, NONCE_SIZE) == 1 &&
                encrypt(context, ret_bytes, plain, size, kek);
    EVP_CIPHER_CTX_free(context);
    secret_free(plain, PLAIN_MAX);
    return good ? HEADER_SIZE + size + TAG_SIZE : 0;
}

static int check_header(const uint8_t *bytes, size_t size, const uint8_t *kek, struct error *error)
{
    const uint8_t *at = bytes + 4;
    uint8_t id[KEK_ID_SIZE];

    if (size < HEADER_SIZE + PLAIN_HEAD + TAG_SIZE || size > TICKET_FILE_MAX)
        return error_set(error, ERROR_PROTOCOL, "found %zu bytes; expected " TICKET_FILE_EXPECTED,
                         size);
    if (memcmp(bytes, MAGIC, 4) != 0)
        return error_set(error, ERROR_PROTOCOL,
                         "found another kind of file; expected " TICKET_FILE_EXPECTED);
    uint32_t version = take_32(&at);
    if (version != TICKET_FILE_VERSION)
        return error_set(error, ERROR_TLS, "found version %u; expected %d", version,
                         TICKET_FILE_VERSION);
    if (!kek_id(id, kek) || memcmp(id, bytes + KEK_ID_AT, sizeof id) != 0)
        return error_set(error, ERROR_TLS,
                         "found keys under another key-encryption key; expected ours");
    return 0;
}

int ticket_file_open(struct ticket_keys *ret_keys, uint64_t *ret_sequence, const uint8_t *bytes,
                     size_t size, const uint8_t kek[KEY_ENCRYPTION_SIZE], struct error *error)
{
    int result = check_header(bytes, size, kek, error);

    if (result < 0)
        return result;
    size_t inner = size - HEADER_SIZE - TAG_SIZE;
    EVP_CIPHER_CTX *context = EVP_CIPHER_CTX_new();
    uint8_t *plain = secret_alloc(PLAIN_MAX);
    struct ticket_keys *keys = secret_alloc(sizeof *keys);
    if (context == NULL || plain == NULL || keys == NULL) {
        result = error_set(error, ERROR_MEMORY, "out of memory");
    } else if (!decrypt(context, plain, bytes, inner, kek) || !read_plain(keys, plain, inner)) {
        result = error_set(error, ERROR_PROTOCOL,
                           "found that it was changed since it was written; expected it whole");
    } else {
        const uint8_t *at = bytes + SEQUENCE_AT;
        *ret_sequence = take_64(&at);
        *ret_keys = *keys;
    }
    EVP_CIPHER_CTX_free(context);
    secret_free(plain, PLAIN_MAX);
    secret_free(keys, sizeof *keys);
    ERR_clear_error();
    return result;
}
