#define OPENSSL_SUPPRESS_DEPRECATED /* SHA256_CTX: copied by assignment, without allocations */
#include "quick.h"

#include <assert.h>
#include <openssl/evp.h>
#include <openssl/rand.h>
#include <openssl/sha.h>
#include <string.h>

#define RECORD_HEAD    5u
#define TAG            16u
#define HASH           32u
#define SERVER_HELLO   2
#define FINISHED       20
#define TYPE_CCS       20
#define TYPE_HANDSHAKE 22
#define TYPE_DATA      23

static_assert(sizeof(SHA256_CTX) <= sizeof(((struct quick *)0)->transcript),
              "room for the transcript's hash");

static EVP_PKEY *own_key;
static EVP_CIPHER_CTX *cipher_context;
static EVP_CIPHER *cipher;
static uint8_t hello[512];
static size_t hello_length, hello_random;
static uint8_t derived_early[HASH]; /* Derive-Secret(Early Secret, "derived", "") */
static uint8_t empty_hash[HASH];

/* ---- RFC 8446 §7.1 ---- */

static void hmac(const uint8_t key[HASH], const uint8_t *bytes, size_t length,
                 uint8_t ret_mac[HASH])
{
    uint8_t pad[64], inner[HASH];
    SHA256_CTX hash;

    memset(pad, 0x36, sizeof(pad));
    for (size_t i = 0; i < HASH; i++)
        pad[i] ^= key[i];
    SHA256_Init(&hash);
    SHA256_Update(&hash, pad, sizeof(pad));
    SHA256_Update(&hash, bytes, length);
    SHA256_Final(inner, &hash);
    for (size_t i = 0; i < sizeof(pad); i++)
        pad[i] ^= 0x36 ^ 0x5c;
    SHA256_Init(&hash);
    SHA256_Update(&hash, pad, sizeof(pad));
    SHA256_Update(&hash, inner, sizeof(inner));
    SHA256_Final(ret_mac, &hash);
}

/* HKDF-Expand-Label for outputs up to one hash; the context is a hash or nothing. */
static void expand(const uint8_t secret[HASH], const char *label, const uint8_t *hash,
                   size_t length, uint8_t *ret)
{
    uint8_t info[80], block[HASH];
    size_t label_length = strlen(label), used = 0;

    info[used++] = 0;
    info[used++] = (uint8_t)length;
    info[used++] = (uint8_t)(6 + label_length);
    memcpy(info + used, "tls13 ", 6);
    memcpy(info + used + 6, label, label_length);
    used += 6 + label_length;
    info[used++] = hash ? HASH : 0;
    if (hash) {
        memcpy(info + used, hash, HASH);
        used += HASH;
    }
    info[used++] = 1;
    hmac(secret, info, used, block);
    memcpy(ret, block, length);
}

static void key_from(const uint8_t secret[HASH], struct quick_key *ret_key)
{
    expand(secret, "key", NULL, sizeof(ret_key->key), ret_key->key);
    expand(secret, "iv", NULL, sizeof(ret_key->iv), ret_key->iv);
    ret_key->sequence_number = 0;
}

static SHA256_CTX *transcript_of(struct quick *quick)
{
    return (SHA256_CTX *)(void *)quick->transcript;
}

static void transcript_hash(struct quick *quick, uint8_t ret_hash[HASH])
{
    SHA256_CTX copy = *transcript_of(quick);

    SHA256_Final(ret_hash, &copy);
}

/* ---- records ---- */

static void nonce_next(struct quick_key *key, uint8_t ret_nonce[12])
{
    memcpy(ret_nonce, key->iv, 12);
    for (unsigned i = 0; i < 8; i++)
        ret_nonce[11 - i] ^= (uint8_t)(key->sequence_number >> (8 * i));
    key->sequence_number++;
}

static bool record_open(struct quick *quick, uint8_t *record, size_t length)
{
    uint8_t nonce[12];
    int out;
    size_t sealed = length - RECORD_HEAD - TAG;

    nonce_next(&quick->read, nonce);
    return EVP_DecryptInit_ex2(cipher_context, NULL, quick->read.key, nonce, NULL) == 1 &&
           EVP_DecryptUpdate(cipher_context, NULL, &out, record, RECORD_HEAD) == 1 &&
           EVP_DecryptUpdate(cipher_context, record + RECORD_HEAD, &out, record + RECORD_HEAD,
                             (int)sealed) == 1 &&
           EVP_CIPHER_CTX_ctrl(cipher_context, EVP_CTRL_AEAD_SET_TAG, TAG, record + length - TAG) ==
               1 &&
           EVP_DecryptFinal_ex(cipher_context, record, &out) == 1;
}

size_t quick_seal(struct quick *quick, uint8_t type, const void *bytes, size_t length,
                  uint8_t out[QUICK_OUT_MAX])
{
    uint8_t nonce[12];
    size_t sealed = length + 1 + TAG;
    int n;

    assert(RECORD_HEAD + sealed <= QUICK_OUT_MAX);
    memcpy(out, (const uint8_t[]){TYPE_DATA, 3, 3, (uint8_t)(sealed >> 8), (uint8_t)sealed},
           RECORD_HEAD);
    memcpy(out + RECORD_HEAD, bytes, length);
    out[RECORD_HEAD + length] = type;
    nonce_next(&quick->write, nonce);
    EVP_EncryptInit_ex2(cipher_context, NULL, quick->write.key, nonce, NULL);
    EVP_EncryptUpdate(cipher_context, NULL, &n, out, RECORD_HEAD);
    EVP_EncryptUpdate(cipher_context, out + RECORD_HEAD, &n, out + RECORD_HEAD, (int)length + 1);
    EVP_EncryptFinal_ex(cipher_context, out + RECORD_HEAD + n, &n);
    EVP_CIPHER_CTX_ctrl(cipher_context, EVP_CTRL_AEAD_GET_TAG, TAG, out + RECORD_HEAD + length + 1);
    return RECORD_HEAD + sealed;
}

/* ---- the handshake ---- */

static void put(const void *bytes, size_t length)
{
    memcpy(hello + hello_length, bytes, length);
    hello_length += length;
}

static void hello_build(const uint8_t public_key[32])
{
    static const uint8_t start[] = {
        TYPE_HANDSHAKE, 3, 1, 0, 0, 1, 0, 0, 0, 3, 3 /* lengths follow below */
    };
    static const uint8_t body[] = {
        0,                                    /* no session id */
        0,   2,   0x13, 0x01, 1,   0,  0,  0, /* one suite, no compression, length of extensions */
        0,   0,   0,    14,   0,   12, 0,  0,  9, 'l', 'o', 'c', 'a',
        'l', 'h', 'o',  's',  't', 0,  10, 0,  4, 0,   2,   0,   29, /* supported_groups: X25519 */
        0,   13,  0,    4,    0,   2,  4,  3, /* signature_algorithms: ecdsa_secp256r1_sha256 */
        0,   43,  0,    3,    2,   3,  4,     /* supported_versions: TLS 1.3 */
        0,   45,  0,    2,    1,   1,         /* psk_dhe_ke: tickets are sent, as to everybody */
        0,   51,  0,    38,   0,   36, 0,  29, 0, 32 /* key_share */
    };

    put(start, sizeof(start));
    hello_random = hello_length;
    hello_length += 32;
    size_t extensions = hello_length + 7;
    put(body, sizeof(body));
    put(public_key, 32);
    size_t extensions_length = hello_length - extensions - 2;
    hello[extensions] = (uint8_t)(extensions_length >> 8);
    hello[extensions + 1] = (uint8_t)extensions_length;
    hello[3] = (uint8_t)((hello_length - 5) >> 8);
    hello[4] = (uint8_t)(hello_length - 5);
    hello[7] = (uint8_t)((hello_length - 9) >> 8);
    hello[8] = (uint8_t)(hello_length - 9);
}

bool quick_setup(void)
{
    uint8_t public_key[32], early[HASH];
    static const uint8_t zeros[HASH];
    size_t length = sizeof(public_key);

    own_key = EVP_PKEY_Q_keygen(NULL, NULL, "X25519");
    cipher_context = EVP_CIPHER_CTX_new();
    cipher = EVP_CIPHER_fetch(NULL, "AES-128-GCM", NULL);
    if (!own_key || !cipher_context || !cipher ||
        EVP_PKEY_get_raw_public_key(own_key, public_key, &length) != 1 ||
        EVP_CipherInit_ex2(cipher_context, cipher, NULL, NULL, 1, NULL) != 1)
        return false;
    SHA256((const uint8_t *)"", 0, empty_hash);
    hmac(zeros, zeros, HASH, early);
    expand(early, "derived", empty_hash, HASH, derived_early);
    hello_build(public_key);
    return true;
}

size_t quick_hello(struct quick *quick, uint8_t out[QUICK_OUT_MAX])
{
    memset(quick, 0, sizeof(*quick));
    memcpy(out, hello, hello_length);
    RAND_bytes(out + hello_random, 32);
    SHA256_Init(transcript_of(quick));
    SHA256_Update(transcript_of(quick), out + RECORD_HEAD, hello_length - RECORD_HEAD);
    return hello_length;
}

/* The server's key share, or NULL. `message` starts with the handshake head. */
static const uint8_t *server_share(const uint8_t *message, size_t length)
{
    size_t at = 4 + 2 + 32; /* head, version, random; then the session id echoed */

    if (length < at + 1 || message[0] != SERVER_HELLO)
        return NULL;
    at += 1u + message[at] + 2 + 1 + 2; /* session id, suite, compression, length of extensions */
    while (at + 4 <= length) {
        size_t type = (size_t)message[at] << 8 | message[at + 1];
        size_t size = (size_t)message[at + 2] << 8 | message[at + 3];
        at += 4;
        if (type == 51 && size == 36 && at + size <= length && message[at + 1] == 29)
            return message + at + 4;
        at += size;
    }
    return NULL;
}

static bool agree(const uint8_t share[32], uint8_t ret_shared[HASH])
{
    EVP_PKEY *peer = EVP_PKEY_new_raw_public_key(EVP_PKEY_X25519, NULL, share, 32);
    EVP_PKEY_CTX *context = EVP_PKEY_CTX_new(own_key, NULL);
    size_t length = HASH;
    bool agreed = peer && context && EVP_PKEY_derive_init(context) == 1 &&
                  EVP_PKEY_derive_set_peer(context, peer) == 1 &&
                  EVP_PKEY_derive(context, ret_shared, &length) == 1;

    EVP_PKEY_CTX_free(context);
    EVP_PKEY_free(peer);
    return agreed;
}

static enum quick_event take_server_hello(struct quick *quick, const uint8_t *message,
                                          size_t length)
{
    static const uint8_t zeros[HASH];
    uint8_t shared[HASH], secret[HASH], hash[HASH], derived[HASH];
    const uint8_t *share = server_share(message, length);

    if (!share || !agree(share, shared))
        return QUICK_FAILED;
    SHA256_Update(transcript_of(quick), message, length);
    transcript_hash(quick, hash);
    hmac(derived_early, shared, HASH, secret);
    expand(secret, "c hs traffic", hash, HASH, quick->client_secret);
    expand(secret, "s hs traffic", hash, HASH, quick->server_secret);
    expand(secret, "derived", empty_hash, HASH, derived);
    hmac(derived, zeros, HASH, quick->master);
    key_from(quick->client_secret, &quick->write);
    key_from(quick->server_secret, &quick->read);
    quick->encrypted = true;
    return QUICK_MORE;
}

/* Decrypted handshake bytes: only whether the last message is the Finished matters. Servers end a
 * record with it. */
static enum quick_event take_flight(struct quick *quick, const uint8_t *bytes, size_t length)
{
    SHA256_Update(transcript_of(quick), bytes, length);
    bool finished = length >= 4 + HASH && bytes[length - HASH - 4] == FINISHED &&
                    bytes[length - HASH - 3] == 0 && bytes[length - HASH - 2] == 0 &&
                    bytes[length - HASH - 1] == HASH;
    return finished ? QUICK_HANDSHAKEN : QUICK_MORE;
}

size_t quick_finish(struct quick *quick, uint8_t out[QUICK_OUT_MAX])
{
    uint8_t hash[HASH], finished_key[HASH], secret[HASH];
    uint8_t message[4 + HASH] = {FINISHED, 0, 0, HASH};

    transcript_hash(quick, hash);
    expand(quick->client_secret, "finished", NULL, HASH, finished_key);
    hmac(finished_key, hash, HASH, message + 4);
    size_t length = quick_seal(quick, TYPE_HANDSHAKE, message, sizeof(message), out);
    expand(quick->master, "c ap traffic", hash, HASH, secret);
    key_from(secret, &quick->write);
    expand(quick->master, "s ap traffic", hash, HASH, secret);
    key_from(secret, &quick->read);
    quick->established = true;
    return length;
}

enum quick_event quick_feed(struct quick *quick, uint8_t *in, size_t length, size_t *ret_used,
                            const uint8_t **ret_data, size_t *ret_data_length)
{
    *ret_used = 0;
    if (length < RECORD_HEAD)
        return QUICK_MORE;
    size_t record = RECORD_HEAD + ((size_t)in[3] << 8 | in[4]);
    if (record > QUICK_IN_MAX)
        return QUICK_FAILED;
    if (length < record)
        return QUICK_MORE;
    *ret_used = record;
    if (in[0] == TYPE_CCS)
        return QUICK_MORE;
    if (in[0] == TYPE_HANDSHAKE && !quick->encrypted)
        return take_server_hello(quick, in + RECORD_HEAD, record - RECORD_HEAD);
    if (in[0] != TYPE_DATA || !quick->encrypted || record < RECORD_HEAD + TAG + 1 ||
        !record_open(quick, in, record))
        return QUICK_FAILED;
    size_t inner = record - RECORD_HEAD - TAG;
    while (inner > 0 && in[RECORD_HEAD + inner - 1] == 0)
        inner--;
    if (inner == 0)
        return QUICK_FAILED;
    uint8_t type = in[RECORD_HEAD + --inner];
    if (type == TYPE_HANDSHAKE) /* after the handshake these are tickets */
        return quick->established ? QUICK_MORE : take_flight(quick, in + RECORD_HEAD, inner);
    if (type != TYPE_DATA)
        return QUICK_FAILED;
    *ret_data = in + RECORD_HEAD;
    *ret_data_length = inner;
    return QUICK_DATA;
}
