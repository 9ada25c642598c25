#include "tls/key_schedule.h"

#include <string.h>

#include <openssl/core_dispatch.h>
#include <openssl/core_names.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/kdf.h>
#include <openssl/params.h>
#include <openssl/provider.h>

#define HASH_MAX  48
#define INFO_MAX  (2 + 1 + 255 + 1 + 255 + 1)
#define BLOCK_MAX 255 /* RFC 5869 §2.3 */

struct bytes {
    const uint8_t *data;
    size_t size;
};

/* What libssl passes to one derivation. */
struct request {
    int mode;
    const struct hash *hash;
    struct bytes key, salt, prefix, label, data;
};

static struct hash {
    const char *name;
    size_t size;
    EVP_MAC_CTX *hmac; /* kept for the life of the process */
    uint8_t of_nothing[HASH_MAX];
} hashes[] = {{.name = "SHA256", .size = 32}, {.name = "SHA384", .size = 48}};

static _Thread_local key_schedule_observer *observer;
static _Thread_local void *observer_context;

void key_schedule_observe(key_schedule_observer *new_observer, void *context)
{
    observer = new_observer;
    observer_context = context;
}

/* ---- HKDF ---- */

static bool hmac(const struct hash *hash, struct bytes key, const struct bytes *parts, size_t count,
                 uint8_t *output)
{
    size_t size;
    bool good = EVP_MAC_init(hash->hmac, key.data, key.size, NULL) == 1;

    for (size_t i = 0; good && i < count; i++)
        good = EVP_MAC_update(hash->hmac, parts[i].data, parts[i].size) == 1;
    return good && EVP_MAC_final(hash->hmac, output, &size, hash->size) == 1;
}

void key_schedule_forget(void)
{
    static const uint8_t nothing[HASH_MAX];

    for (size_t i = 0; i < ARRAY_SIZE(hashes); i++) {
        if (hashes[i].hmac != NULL)
            ignore(EVP_MAC_init(hashes[i].hmac, nothing, sizeof nothing, NULL));
    }
}

static bool hkdf_expand(const struct hash *hash, struct bytes secret, struct bytes info,
                        uint8_t *output, size_t size)
{
    uint8_t block[HASH_MAX], counter = 0;
    struct bytes before = {block, 0};
    bool good = size <= BLOCK_MAX * hash->size;

    while (good && size > 0) {
        counter++;
        const struct bytes parts[] = {before, info, {&counter, 1}};
        good = hmac(hash, secret, parts, ARRAY_SIZE(parts), block);
        before.size = hash->size;
        size_t taken = size < hash->size ? size : hash->size;
        memcpy(output, block, taken);
        output += taken;
        size -= taken;
    }
    OPENSSL_cleanse(block, sizeof block);
    return good;
}

/* HKDF-Expand-Label. */
static bool expand_label(const struct request *request, struct bytes secret, struct bytes data,
                         uint8_t *output, size_t size)
{
    uint8_t info[INFO_MAX];
    size_t at = 0, label_size = request->prefix.size + request->label.size;

    if (label_size > 255 || data.size > 255 || size > UINT16_MAX)
        return false;
    info[at++] = (uint8_t)(size >> 8);
    info[at++] = (uint8_t)size;
    info[at++] = (uint8_t)label_size;
    memcpy(info + at, request->prefix.data, request->prefix.size);
    at += request->prefix.size;
    memcpy(info + at, request->label.data, request->label.size);
    at += request->label.size;
    info[at++] = (uint8_t)data.size;
    if (data.size > 0)
        memcpy(info + at, data.data, data.size);
    at += data.size;
    return hkdf_expand(request->hash, secret, (struct bytes){info, at}, output, size);
}

/* HKDF-Extract; the salt is Derive-Secret(secret before, "derived", ""), or zeros at the start of
 * the schedule. */
static bool extract(const struct request *request, uint8_t *output, size_t size)
{
    static const uint8_t zeros[HASH_MAX];
    uint8_t derived[HASH_MAX];
    const struct hash *hash = request->hash;
    struct bytes salt = {zeros, hash->size}, key = request->key;

    if (size != hash->size)
        return false;
    if (request->salt.data != NULL) {
        if (!expand_label(request, request->salt, (struct bytes){hash->of_nothing, hash->size},
                          derived, hash->size))
            return false;
        salt.data = derived;
    }
    if (key.data == NULL)
        key = (struct bytes){zeros, hash->size};
    bool good = hmac(hash, salt, &key, 1, output);
    OPENSSL_cleanse(derived, sizeof derived);
    return good;
}

static bool expand(const struct request *request, uint8_t *output, size_t size)
{
    if (request->key.data == NULL ||
        !expand_label(request, request->key, request->data, output, size))
        return false;
    if (observer != NULL)
        observer(observer_context, (const char *)request->label.data, request->label.size, output,
                 size);
    return true;
}

/* ---- the algorithm as OpenSSL sees it ---- */

static const struct hash *hash_find(const char *name)
{
    for (size_t i = 0; i < ARRAY_SIZE(hashes); i++) {
        /* libssl names a digest by EVP_MD_get0_name(), which may be either of the usual spellings.
         */
        const char *other = i == 0 ? "SHA2-256" : "SHA2-384";
        if (hashes[i].hmac != NULL &&
            (strcmp(name, hashes[i].name) == 0 || strcmp(name, other) == 0))
            return &hashes[i];
    }
    return NULL;
}

static bool request_read(struct request *request, const OSSL_PARAM *params)
{
    for (; params != NULL && params->key != NULL; params++) {
        struct bytes value = {params->data, params->data_size};
        if (strcmp(params->key, OSSL_KDF_PARAM_KEY) == 0)
            request->key = value;
        else if (strcmp(params->key, OSSL_KDF_PARAM_SALT) == 0)
            request->salt = value;
        else if (strcmp(params->key, OSSL_KDF_PARAM_PREFIX) == 0)
            request->prefix = value;
        else if (strcmp(params->key, OSSL_KDF_PARAM_LABEL) == 0)
            request->label = value;
        else if (strcmp(params->key, OSSL_KDF_PARAM_DATA) == 0)
            request->data = value;
        else if (strcmp(params->key, OSSL_KDF_PARAM_DIGEST) == 0)
            request->hash = hash_find(params->data);
        else if (strcmp(params->key, OSSL_KDF_PARAM_MODE) == 0 &&
                 OSSL_PARAM_get_int(params, &request->mode) != 1)
            return false;
    }
    return request->hash != NULL && request->prefix.data != NULL && request->label.data != NULL;
}

static int kdf_derive(void *context, unsigned char *output, size_t size, const OSSL_PARAM params[])
{
    struct request request = {.mode = -1};

    (void)context;
    if (!request_read(&request, params))
        return 0;
    switch (request.mode) {
    case EVP_KDF_HKDF_MODE_EXTRACT_ONLY:
        return extract(&request, output, size);
    case EVP_KDF_HKDF_MODE_EXPAND_ONLY:
        return expand(&request, output, size);
    default:
        return 0;
    }
}

/* libssl gives all parameters with each derivation, so a context holds nothing. */
static void *kdf_new_context(void *provider)
{
    return provider;
}

static void kdf_free_context(void *context)
{
    (void)context;
}

typedef void (*dispatched)(void);

static const OSSL_DISPATCH kdf_functions[] = {
    {OSSL_FUNC_KDF_NEWCTX, (dispatched)kdf_new_context},
    {OSSL_FUNC_KDF_FREECTX, (dispatched)kdf_free_context},
    {OSSL_FUNC_KDF_DERIVE, (dispatched)kdf_derive},
    {0, NULL},
};

static const OSSL_ALGORITHM *provider_query(void *provider, int operation, int *ret_no_cache)
{
    static const OSSL_ALGORITHM algorithms[] = {
        {"TLS13-KDF", "provider=holdfast", kdf_functions, "RFC 9846 key schedule"},
        {NULL, NULL, NULL, NULL},
    };

    (void)provider;
    *ret_no_cache = 0;
    return operation == OSSL_OP_KDF ? algorithms : NULL;
}

static int provider_init(const OSSL_CORE_HANDLE *handle, const OSSL_DISPATCH *in,
                         const OSSL_DISPATCH **ret_out, void **ret_provider)
{
    static const OSSL_DISPATCH functions[] = {
        {OSSL_FUNC_PROVIDER_QUERY_OPERATION, (dispatched)provider_query},
        {0, NULL},
    };
    static char self; /* only its address is used */

    (void)handle, (void)in;
    *ret_out = functions;
    *ret_provider = &self;
    return 1;
}

/* ---- loading ---- */

static bool hash_prepare(struct hash *hash)
{
    char name[16];
    EVP_MAC *mac = EVP_MAC_fetch(NULL, "HMAC", NULL);
    EVP_MD *digest = EVP_MD_fetch(NULL, hash->name, NULL);

    strcpy(name, hash->name);
    const OSSL_PARAM params[] = {OSSL_PARAM_construct_utf8_string(OSSL_MAC_PARAM_DIGEST, name, 0),
                                 OSSL_PARAM_construct_end()};
    hash->hmac = mac != NULL ? EVP_MAC_CTX_new(mac) : NULL;
    bool good = hash->hmac != NULL && digest != NULL &&
                EVP_MAC_CTX_set_params(hash->hmac, params) == 1 &&
                EVP_Digest("", 0, hash->of_nothing, NULL, digest, NULL) == 1;
    EVP_MAC_free(mac);
    EVP_MD_free(digest);
    return good;
}

static bool add_provider(OSSL_LIB_CTX *library)
{
    return OSSL_PROVIDER_add_builtin(library, "holdfast", provider_init) == 1 &&
           OSSL_PROVIDER_load(library, "holdfast") != NULL;
}

bool key_schedule_load(void)
{
    static bool loaded;

    /* Naming any provider means that the default one must be named too; first, so that it answers
     * those who ask for no properties. */
    if (!loaded)
        loaded = OSSL_PROVIDER_load(NULL, "default") != NULL && add_provider(NULL) &&
                 hash_prepare(&hashes[0]) && hash_prepare(&hashes[1]);
    return loaded;
}

bool key_schedule_add(OSSL_LIB_CTX *library)
{
    return key_schedule_load() && add_provider(library);
}
