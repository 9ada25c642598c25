/* Key schedule of the record layer: HKDF-Expand-Label (RFC 9846 §7.1) and the TLS 1.2 PRF (RFC 5246
 * §5), both on the library's HMAC. Its contexts are made once per process and re-keyed: a
 * derivation then costs its few hash blocks and no fetch. */
#include "tls/record.h"

#include <string.h>

#include <openssl/core_names.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>

#define HASH_MAX           48
#define RANDOM_SIZE        32
#define MASTER_SIZE        48
#define GCM_SALT_SIZE      4
#define LABEL_PREFIX       "tls13 "
#define KEY_EXPANSION      "key expansion"
#define KEY_EXPANSION_SIZE (sizeof(KEY_EXPANSION) - 1)

static EVP_MAC_CTX *hmac_new(const char *digest)
{
    OSSL_PARAM params[] = {
        OSSL_PARAM_construct_utf8_string(OSSL_MAC_PARAM_DIGEST, (char *)(uintptr_t)digest, 0),
        OSSL_PARAM_construct_end(),
    };
    EVP_MAC *mac = EVP_MAC_fetch(NULL, "HMAC", NULL);
    EVP_MAC_CTX *context = EVP_MAC_CTX_new(mac);

    EVP_MAC_free(mac); /* the context keeps its own reference */
    if (context != NULL && EVP_MAC_CTX_set_params(context, params) != 1) {
        EVP_MAC_CTX_free(context);
        context = NULL;
    }
    return context;
}

/* One per digest, for the life of the process (which has one thread). */
static EVP_MAC_CTX *contexts[2];

static EVP_MAC_CTX *hmac_context(bool sha384)
{
    if (contexts[sha384] == NULL) {
        contexts[sha384] = hmac_new(sha384 ? "SHA384" : "SHA256");
    }
    return contexts[sha384];
}

static size_t hash_size(const struct suite *suite)
{
    return suite->sha384 ? 48 : 32;
}

/* HMAC of `data` under the key that `context` was last given, or under `key`. */
static bool hmac(EVP_MAC_CTX *context, const uint8_t *key, size_t key_size, const uint8_t *data,
                 size_t size, uint8_t ret_hash[HASH_MAX])
{
    size_t n;
    return context != NULL && EVP_MAC_init(context, key, key_size, NULL) == 1 &&
           EVP_MAC_update(context, data, size) == 1 &&
           EVP_MAC_final(context, ret_hash, &n, HASH_MAX) == 1;
}

/* HKDF-Expand-Label with an empty context for `size` ≤ one hash: a single HMAC. `secret` NULL goes
 * on with the one before. */
static bool expand_label(const struct suite *suite, const uint8_t *secret, const char *label,
                         uint8_t *output, size_t size)
{
    uint8_t info[2 + 1 + 32 + 1 + 1];
    uint8_t hash[HASH_MAX];
    size_t prefix_size = sizeof(LABEL_PREFIX) - 1, label_size = strlen(label);
    size_t at = 0;

    info[at++] = 0;
    info[at++] = (uint8_t)size;
    info[at++] = (uint8_t)(prefix_size + label_size);
    memcpy(info + at, LABEL_PREFIX, prefix_size);
    at += prefix_size;
    memcpy(info + at, label, label_size);
    at += label_size;
    info[at++] = 0; /* no context */
    info[at++] = 1; /* first and only block of HKDF-Expand */
    bool done = hmac(hmac_context(suite->sha384), secret, secret == NULL ? 0 : hash_size(suite),
                     info, at, hash);
    if (done) {
        memcpy(output, hash, size);
    }
    OPENSSL_cleanse(hash, sizeof(hash));
    return done;
}

/* HMAC contexts keep a copy of their key. */
void record_key_forget(void)
{
    static const uint8_t nothing[HASH_MAX];

    for (size_t i = 0; i < 2; i++) {
        if (contexts[i] != NULL) {
            EVP_MAC_init(contexts[i], nothing, sizeof(nothing), NULL);
        }
    }
}

bool record_key_derive(const struct suite *suite, struct record_key *key)
{
    memset(key->key, 0, sizeof(key->key));
    return expand_label(suite, key->secret, "key", key->key, suite->key_size) &&
           expand_label(suite, NULL, "iv", key->iv, SUITE_IV_SIZE);
}

bool record_key_next(const struct suite *suite, const struct record_key *key,
                     struct record_key *next)
{
    if (key->epoch == UINT32_MAX) {
        return false;
    }
    memset(next->secret, 0, sizeof(next->secret));
    next->epoch = key->epoch + 1;
    return expand_label(suite, key->secret, "traffic upd", next->secret, hash_size(suite)) &&
           record_key_derive(suite, next);
}

/* P_hash(master_secret, seed). */
static bool prf(const struct suite *suite, const uint8_t *master_secret, const uint8_t *seed,
                size_t seed_size, uint8_t *output, size_t size)
{
    EVP_MAC_CTX *context = hmac_context(suite->sha384);
    uint8_t block[HASH_MAX + KEY_EXPANSION_SIZE + 2 * RANDOM_SIZE]; /* A(i), seed */
    uint8_t hash[HASH_MAX];
    size_t n = hash_size(suite);
    bool done = hmac(context, master_secret, MASTER_SIZE, seed, seed_size, block);

    memcpy(block + n, seed, seed_size);
    for (size_t at = 0; done && at < size; at += n) {
        done = hmac(context, NULL, 0, block, n + seed_size, hash) &&
               hmac(context, NULL, 0, block, n, block);
        if (done) {
            memcpy(output + at, hash, size - at < n ? size - at : n);
        }
    }
    OPENSSL_cleanse(block, sizeof(block));
    OPENSSL_cleanse(hash, sizeof(hash));
    return done;
}

bool record_key_block(const struct suite *suite, const uint8_t master_secret[48],
                      const uint8_t client_random[32], const uint8_t server_random[32],
                      struct record_key *ret_client, struct record_key *ret_server)
{
    uint8_t seed[KEY_EXPANSION_SIZE + 2 * RANDOM_SIZE];
    uint8_t block[2 * SUITE_KEY_MAX + 2 * SUITE_IV_SIZE];
    size_t key_size = suite->key_size;
    size_t iv_size = suite->explicit_nonce ? GCM_SALT_SIZE : SUITE_IV_SIZE;

    memcpy(seed, KEY_EXPANSION, KEY_EXPANSION_SIZE);
    memcpy(seed + KEY_EXPANSION_SIZE, server_random, RANDOM_SIZE);
    memcpy(seed + KEY_EXPANSION_SIZE + RANDOM_SIZE, client_random, RANDOM_SIZE);
    bool done = prf(suite, master_secret, seed, sizeof(seed), block, 2 * key_size + 2 * iv_size);
    if (done) {
        memset(ret_client, 0, sizeof(*ret_client));
        memset(ret_server, 0, sizeof(*ret_server));
        memcpy(ret_client->key, block, key_size);
        memcpy(ret_server->key, block + key_size, key_size);
        memcpy(ret_client->iv, block + 2 * key_size, iv_size);
        memcpy(ret_server->iv, block + 2 * key_size + iv_size, iv_size);
    }
    OPENSSL_cleanse(block, sizeof(block));
    return done;
}
