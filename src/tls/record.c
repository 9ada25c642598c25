/* Sealing and opening of records. One EVP context per AEAD and direction serves every session of
 * the process: a context remembers which key it holds by the key's own bytes, never by its address,
 * so a slot that is used again for another session can never be sealed under the key of the one
 * before. */
#include "tls/record.h"

#include <stdlib.h>
#include <string.h>

#include <openssl/crypto.h>
#include <openssl/evp.h>

#include "base/secret.h"

#define TAG_SIZE            16
#define EXPLICIT_NONCE_SIZE 8
#define GCM_SALT_SIZE       4
#define AAD_SIZE_TLS12      13
#define WIRE_VERSION        0x0303 /* on the wire in both versions (RFC 9846 §5.1) */

enum direction { OPEN, SEAL };

/* Lies in secret memory: wiping it, as a fork does, makes the context load its key anew. */
struct held_key {
    bool valid;
    uint8_t key[SUITE_KEY_MAX];
};

struct held_keys {
    struct held_key of[AEAD_COUNT][2];
};

struct record_crypto {
    EVP_CIPHER_CTX *contexts[AEAD_COUNT][2];
    struct held_keys *held; /* what each context holds */
};

static const struct {
    const char *name;
    size_t key_size;
} ciphers[AEAD_COUNT] = {
    [AEAD_AES_128_GCM] = {"AES-128-GCM", 16},
    [AEAD_AES_256_GCM] = {"AES-256-GCM", 32},
    [AEAD_CHACHA20_POLY1305] = {"ChaCha20-Poly1305", 32},
};

static void put_uint16(uint8_t *at, size_t value)
{
    at[0] = (uint8_t)(value >> 8);
    at[1] = (uint8_t)value;
}

static void put_uint64(uint8_t *at, uint64_t value)
{
    uint64_t wire = __builtin_bswap64(value);
    memcpy(at, &wire, sizeof(wire));
}

static void put_header(uint8_t *at, unsigned type, size_t length)
{
    at[0] = (uint8_t)type;
    put_uint16(at + 1, WIRE_VERSION);
    put_uint16(at + 3, length);
}

/* Algorithms are fetched from the provider, which knows their names. What is left out are
 * OpenSSL's own tables of names and the texts of its errors, which are never shown here. */
void record_process_init(void)
{
    ignore(OPENSSL_init_crypto(
        OPENSSL_INIT_NO_LOAD_CONFIG | OPENSSL_INIT_NO_ATEXIT | OPENSSL_INIT_NO_ADD_ALL_CIPHERS |
            OPENSSL_INIT_NO_ADD_ALL_DIGESTS | OPENSSL_INIT_NO_LOAD_CRYPTO_STRINGS,
        NULL));
}

/* A context that has its cipher but no key yet. */
static EVP_CIPHER_CTX *aead_context_new(const char *name, int sealing)
{
    EVP_CIPHER *cipher = EVP_CIPHER_fetch(NULL, name, NULL);
    EVP_CIPHER_CTX *context = EVP_CIPHER_CTX_new();

    if (cipher == NULL || context == NULL ||
        EVP_CipherInit_ex2(context, cipher, NULL, NULL, sealing, NULL) != 1) {
        EVP_CIPHER_CTX_free(context);
        context = NULL;
    }
    EVP_CIPHER_free(cipher); /* the context keeps its own reference */
    return context;
}

struct record_crypto *record_crypto_new(void)
{
    struct record_crypto *crypto = calloc(1, sizeof(*crypto));
    if (crypto == NULL) {
        return NULL;
    }
    crypto->held = secret_alloc(sizeof(*crypto->held));
    bool done = crypto->held != NULL;
    for (size_t i = 0; i < AEAD_COUNT; i++) {
        for (int direction = OPEN; direction <= SEAL; direction++) {
            crypto->contexts[i][direction] = aead_context_new(ciphers[i].name, direction);
            done = done && crypto->contexts[i][direction] != NULL;
        }
    }
    if (!done) {
        record_crypto_free(crypto);
        return NULL;
    }
    return crypto;
}

void record_crypto_free(struct record_crypto *crypto)
{
    if (crypto == NULL) {
        return;
    }
    for (size_t i = 0; i < AEAD_COUNT; i++) {
        EVP_CIPHER_CTX_free(crypto->contexts[i][OPEN]);
        EVP_CIPHER_CTX_free(crypto->contexts[i][SEAL]);
    }
    secret_free(crypto->held, sizeof(*crypto->held));
    free(crypto);
}

/* A context has no way to drop its key but to be given another one. */
void record_crypto_forget(struct record_crypto *crypto)
{
    static const uint8_t nothing[SUITE_KEY_MAX];

    for (size_t i = 0; i < AEAD_COUNT; i++) {
        for (int direction = OPEN; direction <= SEAL; direction++) {
            if (crypto->held->of[i][direction].valid) {
                EVP_CipherInit_ex2(crypto->contexts[i][direction], NULL, nothing, NULL, -1, NULL);
            }
        }
    }
    record_key_forget();
    secret_wipe(crypto->held, sizeof(*crypto->held));
}

/* The context of `suite`, holding `key` and ready for the record with `nonce`; NULL when EVP
 * failed. */
static EVP_CIPHER_CTX *aead_begin(struct record_crypto *crypto, const struct suite *suite,
                                  enum direction direction, const struct record_key *key,
                                  const uint8_t nonce[SUITE_IV_SIZE])
{
    EVP_CIPHER_CTX *context = crypto->contexts[suite->aead][direction];
    struct held_key *held = &crypto->held->of[suite->aead][direction];
    size_t key_size = ciphers[suite->aead].key_size;

    if (held->valid && CRYPTO_memcmp(held->key, key->key, key_size) == 0) {
        return EVP_CipherInit_ex2(context, NULL, NULL, nonce, -1, NULL) == 1 ? context : NULL;
    }
    held->valid = false; /* stays so if EVP fails half-way */
    if (EVP_CipherInit_ex2(context, NULL, key->key, nonce, -1, NULL) != 1) {
        return NULL;
    }
    memcpy(held->key, key->key, key_size);
    held->valid = true;
    return context;
}

/* RFC 9846 §5.3, RFC 7905 §2: the padded sequence number XORed into the IV. */
static void nonce_from_sequence(uint8_t nonce[SUITE_IV_SIZE], const struct record_key *key,
                                uint64_t sequence)
{
    uint64_t tail;

    memcpy(nonce, key->iv, SUITE_IV_SIZE);
    memcpy(&tail, nonce + 4, sizeof(tail));
    tail ^= __builtin_bswap64(sequence);
    memcpy(nonce + 4, &tail, sizeof(tail));
}

/* RFC 5288 §3: salt of the key block, then the 8 bytes that travel in the record. */
static void nonce_from_wire(uint8_t nonce[SUITE_IV_SIZE], const struct record_key *key,
                            const uint8_t explicit_nonce[EXPLICIT_NONCE_SIZE])
{
    memcpy(nonce, key->iv, GCM_SALT_SIZE);
    memcpy(nonce + GCM_SALT_SIZE, explicit_nonce, EXPLICIT_NONCE_SIZE);
}

/* RFC 5246 §6.2.3.3. */
static void aad_tls12(uint8_t aad[AAD_SIZE_TLS12], uint64_t sequence, unsigned type, size_t size)
{
    put_uint64(aad, sequence);
    put_header(aad + 8, type, size);
}

static bool is_tls13(const struct suite *suite)
{
    return suite->version == TLS_VERSION_1_3;
}

static size_t overhead(const struct suite *suite)
{
    size_t nonce_or_type = is_tls13(suite) ? 1 : suite->explicit_nonce ? EXPLICIT_NONCE_SIZE : 0;
    return RECORD_HEADER_SIZE + nonce_or_type + TAG_SIZE;
}

static bool fragment_max_valid(size_t fragment_max)
{
    return fragment_max > 0 && fragment_max <= RECORD_PLAINTEXT_MAX;
}

size_t record_sealed_size(const struct suite *suite, size_t size, size_t fragment_max)
{
    size_t records = size == 0 ? 1 : (size - 1) / fragment_max + 1;
    return size + records * overhead(suite);
}

static bool finish_sealing(EVP_CIPHER_CTX *context, uint8_t tag[TAG_SIZE])
{
    int n;
    return EVP_EncryptFinal_ex(context, tag, &n) == 1 &&
           EVP_CIPHER_CTX_ctrl(context, EVP_CTRL_AEAD_GET_TAG, TAG_SIZE, tag) == 1;
}

static bool seal_tls13(struct record_crypto *crypto, const struct suite *suite,
                       const struct record_key *key, uint64_t sequence, unsigned type,
                       const uint8_t *input, size_t size, uint8_t *output)
{
    uint8_t nonce[SUITE_IV_SIZE];
    uint8_t inner_type = (uint8_t)type;
    uint8_t *body = output + RECORD_HEADER_SIZE;
    int n;

    put_header(output, RECORD_APPLICATION_DATA, size + 1 + TAG_SIZE);
    nonce_from_sequence(nonce, key, sequence);
    EVP_CIPHER_CTX *context = aead_begin(crypto, suite, SEAL, key, nonce);
    return context != NULL &&
           EVP_EncryptUpdate(context, NULL, &n, output, RECORD_HEADER_SIZE) == 1 &&
           (size == 0 || EVP_EncryptUpdate(context, body, &n, input, (int)size) == 1) &&
           EVP_EncryptUpdate(context, body + size, &n, &inner_type, 1) == 1 &&
           finish_sealing(context, body + size + 1);
}

static bool seal_tls12(struct record_crypto *crypto, const struct suite *suite,
                       const struct record_key *key, uint64_t sequence, uint64_t explicit_nonce,
                       unsigned type, const uint8_t *input, size_t size, uint8_t *output)
{
    uint8_t nonce[SUITE_IV_SIZE], aad[AAD_SIZE_TLS12];
    uint8_t *body = output + RECORD_HEADER_SIZE;
    int n;

    put_header(output, type, overhead(suite) - RECORD_HEADER_SIZE + size);
    if (suite->explicit_nonce) {
        put_uint64(body, explicit_nonce);
        nonce_from_wire(nonce, key, body);
        body += EXPLICIT_NONCE_SIZE;
    } else {
        nonce_from_sequence(nonce, key, sequence);
    }
    aad_tls12(aad, sequence, type, size);
    EVP_CIPHER_CTX *context = aead_begin(crypto, suite, SEAL, key, nonce);
    return context != NULL && EVP_EncryptUpdate(context, NULL, &n, aad, sizeof(aad)) == 1 &&
           (size == 0 || EVP_EncryptUpdate(context, body, &n, input, (int)size) == 1) &&
           finish_sealing(context, body + size);
}

size_t record_seal(struct record_crypto *crypto, const struct suite *suite,
                   const struct record_key *key, uint64_t *sequence, uint64_t *explicit_nonce,
                   enum record_type type, const uint8_t *input, size_t size, size_t fragment_max,
                   uint8_t *output)
{
    uint64_t next_sequence = *sequence;
    uint64_t next_nonce = *explicit_nonce;
    size_t written = 0;

    if (!fragment_max_valid(fragment_max)) {
        return 0;
    }
    do {
        size_t fragment = size < fragment_max ? size : fragment_max;

        /* The explicit nonce may wrap (it starts anywhere); the sequence number, which bounds how
         * many of them are used, may not. */
        if (next_sequence == UINT64_MAX ||
            !(is_tls13(suite) ? seal_tls13(crypto, suite, key, next_sequence, type, input, fragment,
                                           output + written)
                              : seal_tls12(crypto, suite, key, next_sequence, next_nonce, type,
                                           input, fragment, output + written))) {
            return 0;
        }
        next_sequence++;
        next_nonce += suite->explicit_nonce ? 1 : 0;
        written += fragment + overhead(suite);
        input += fragment;
        size -= fragment;
    } while (size > 0);
    *sequence = next_sequence;
    *explicit_nonce = next_nonce;
    return written;
}

/* Decrypts `size` bytes and the tag behind them. What a failed tag leaves behind is wiped: nobody
 * may see it. */
static bool open_aead(EVP_CIPHER_CTX *context, const uint8_t *aad, size_t aad_size,
                      const uint8_t *ciphertext, size_t size, uint8_t *output)
{
    uint8_t tag[TAG_SIZE], unused[TAG_SIZE];
    int n;

    memcpy(tag, ciphertext + size, TAG_SIZE);
    if (context != NULL &&
        EVP_CIPHER_CTX_ctrl(context, EVP_CTRL_AEAD_SET_TAG, TAG_SIZE, tag) == 1 &&
        EVP_DecryptUpdate(context, NULL, &n, aad, (int)aad_size) == 1 &&
        (size == 0 || EVP_DecryptUpdate(context, output, &n, ciphertext, (int)size) == 1) &&
        EVP_DecryptFinal_ex(context, unused, &n) == 1) {
        return true;
    }
    OPENSSL_cleanse(output, size);
    return false;
}

/* Strips the padding and the type behind the content (RFC 9846 §5.2); a type that may not be
 * protected counts as none. */
static enum record_open_result inner_plaintext(uint8_t *output, size_t size,
                                               struct record_opened *opened)
{
    size_t at = size;
    while (at > 0 && output[at - 1] == 0) {
        at--;
    }
    if (at == 0 || output[at - 1] < RECORD_ALERT || output[at - 1] > RECORD_APPLICATION_DATA) {
        OPENSSL_cleanse(output, size);
        return RECORD_NO_TYPE;
    }
    opened->type = (enum record_type)output[at - 1];
    opened->size = at - 1;
    return RECORD_OPENED;
}

static enum record_open_result open_tls13(struct record_crypto *crypto, const struct suite *suite,
                                          const struct record_key *key, uint64_t sequence,
                                          const uint8_t *input, size_t length, uint8_t *output,
                                          struct record_opened *opened)
{
    uint8_t nonce[SUITE_IV_SIZE];
    size_t size = length - TAG_SIZE;

    nonce_from_sequence(nonce, key, sequence);
    if (!open_aead(aead_begin(crypto, suite, OPEN, key, nonce), input, RECORD_HEADER_SIZE,
                   input + RECORD_HEADER_SIZE, size, output)) {
        return RECORD_BAD_TAG;
    }
    return inner_plaintext(output, size, opened);
}

static enum record_open_result open_tls12(struct record_crypto *crypto, const struct suite *suite,
                                          const struct record_key *key, uint64_t sequence,
                                          const uint8_t *input, size_t length, uint8_t *output,
                                          struct record_opened *opened)
{
    uint8_t nonce[SUITE_IV_SIZE], aad[AAD_SIZE_TLS12];
    const uint8_t *body = input + RECORD_HEADER_SIZE;
    size_t size = length + RECORD_HEADER_SIZE - overhead(suite);

    if (suite->explicit_nonce) {
        nonce_from_wire(nonce, key, body);
        body += EXPLICIT_NONCE_SIZE;
    } else {
        nonce_from_sequence(nonce, key, sequence);
    }
    aad_tls12(aad, sequence, input[0], size);
    if (!open_aead(aead_begin(crypto, suite, OPEN, key, nonce), aad, sizeof(aad), body, size,
                   output)) {
        return RECORD_BAD_TAG;
    }
    opened->type = (enum record_type)input[0];
    opened->size = size;
    return RECORD_OPENED;
}

/* What the five bytes of the header alone can tell. Lengths of which no record could be legal are
 * refused before their bytes are waited for. */
static enum record_open_result check_header(const struct suite *suite, const uint8_t *header,
                                            size_t length)
{
    unsigned type = header[0];
    bool is_ccs = type == RECORD_CHANGE_CIPHER_SPEC;
    size_t length_max = RECORD_PLAINTEXT_MAX + overhead(suite) - RECORD_HEADER_SIZE;

    if (type < RECORD_CHANGE_CIPHER_SPEC || type > RECORD_APPLICATION_DATA ||
        header[1] != WIRE_VERSION >> 8 || header[2] != (WIRE_VERSION & 0xff)) {
        return RECORD_BAD_HEADER;
    }
    if (is_tls13(suite) && type != RECORD_APPLICATION_DATA && !(is_ccs && length == 1)) {
        return RECORD_BAD_HEADER;
    }
    return length > length_max ? RECORD_TOO_LARGE : RECORD_OPENED;
}

enum record_open_result record_open(struct record_crypto *crypto, const struct suite *suite,
                                    const struct record_key *key, uint64_t *sequence,
                                    const uint8_t *input, size_t size, uint8_t *output,
                                    struct record_opened *ret_opened)
{
    struct record_opened opened = {0};
    enum record_open_result result;

    if (size < RECORD_HEADER_SIZE) {
        return RECORD_INCOMPLETE;
    }
    size_t length = (size_t)input[3] << 8 | input[4];
    result = check_header(suite, input, length);
    if (result != RECORD_OPENED) {
        return result;
    }
    opened.consumed = RECORD_HEADER_SIZE + length;
    if (size < opened.consumed) {
        return RECORD_INCOMPLETE;
    }
    if (is_tls13(suite) && input[0] == RECORD_CHANGE_CIPHER_SPEC) {
        if (input[RECORD_HEADER_SIZE] != 1) {
            return RECORD_BAD_HEADER;
        }
        opened.type = RECORD_CHANGE_CIPHER_SPEC;
        *ret_opened = opened;
        return RECORD_OPENED;
    }
    /* Too short for a tag is a failed tag; so is a record beyond the last sequence number, which
     * must not wrap. An empty TLS 1.3 inner plaintext is left to inner_plaintext(), after its tag.
     */
    size_t length_min = is_tls13(suite) ? TAG_SIZE : overhead(suite) - RECORD_HEADER_SIZE;
    if (length < length_min || *sequence == UINT64_MAX) {
        return RECORD_BAD_TAG;
    }
    result = is_tls13(suite)
                 ? open_tls13(crypto, suite, key, *sequence, input, length, output, &opened)
                 : open_tls12(crypto, suite, key, *sequence, input, length, output, &opened);
    if (result == RECORD_OPENED) {
        (*sequence)++;
        *ret_opened = opened;
    }
    return result;
}
