/* OpenSSL as probes use it: a library context whose provider is OpenSSL's own, but for two things.
 *
 * Of its decoders only those are there that read the public key of a certificate, and no ciphers
 * and kinds of keys that TLS has no use for. libssl reads each key of a chain through decoders that
 * it picks anew, and goes for it through all algorithms that the context has: with all of OpenSSL's
 * that was a third of a whole check (3.0; later versions remember their choice).
 *
 * One X25519 key serves many handshakes. Making a key was a seventh of a check, and a fresh one
 * protects what is said under it from whoever learns the key later: a probe says nothing but what
 * any stranger may say and hear. What it finds does not lean on the key: the server proves its own
 * over randoms that are fresh each time, and X25519 is made for keys that stay (RFC 7748 §6.1). */
#include "tls/probe_internal.h"

#include <string.h>

#include <openssl/core_dispatch.h>
#include <openssl/core_names.h>
#include <openssl/err.h>
#include <openssl/provider.h>

#include "tls/key_schedule.h"

#define ALGORITHMS_MAX 64   /* of one operation */
#define FUNCTIONS_MAX  48   /* of one algorithm */
#define KEY_USES       1000 /* then another one is made */

static OSSL_PROVIDER *whole; /* OpenSSL's own */

/* ---- keys ---- */

static OSSL_DISPATCH x25519[FUNCTIONS_MAX];
static OSSL_FUNC_keymgmt_gen_fn *key_generate;
static OSSL_FUNC_keymgmt_dup_fn *key_duplicate;
static OSSL_FUNC_keymgmt_free_fn *key_free;

static void *generate_seldom(void *generation, OSSL_CALLBACK *progress, void *argument)
{
    static void *key;
    static unsigned uses;

    if (key == NULL || uses == KEY_USES) {
        key_free(key);
        key = key_generate(generation, progress, argument);
        uses = 0;
    }
    uses++;
    return key != NULL ? key_duplicate(key, OSSL_KEYMGMT_SELECT_ALL) : NULL;
}

typedef void (*dispatched)(void);

static dispatched function_of(const OSSL_DISPATCH *functions, int id)
{
    while (functions->function_id != 0 && functions->function_id != id)
        functions++;
    return functions->function;
}

/* Puts generate_seldom() in place of what the provider has; as it was where that cannot be. */
static void take_x25519(OSSL_ALGORITHM *algorithm)
{
    const OSSL_DISPATCH *functions = algorithm->implementation;
    size_t count = 0;

    while (functions[count].function_id != 0)
        count++;
    key_generate = (OSSL_FUNC_keymgmt_gen_fn *)function_of(functions, OSSL_FUNC_KEYMGMT_GEN);
    key_duplicate = (OSSL_FUNC_keymgmt_dup_fn *)function_of(functions, OSSL_FUNC_KEYMGMT_DUP);
    key_free = (OSSL_FUNC_keymgmt_free_fn *)function_of(functions, OSSL_FUNC_KEYMGMT_FREE);
    if (count >= FUNCTIONS_MAX || key_generate == NULL || key_duplicate == NULL || key_free == NULL)
        return;
    memcpy(x25519, functions, (count + 1) * sizeof *functions);
    for (size_t i = 0; i < count; i++) {
        if (x25519[i].function_id == OSSL_FUNC_KEYMGMT_GEN)
            x25519[i].function = (dispatched)generate_seldom;
    }
    algorithm->implementation = x25519;
}

/* ---- algorithms ---- */

static bool is_one_of(const char *name, size_t size, const char *const *list, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        if (strlen(list[i]) == size && strncmp(name, list[i], size) == 0)
            return true;
    }
    return false;
}

/* Is it none of those that no suite, group or signature of TLS needs? What a later OpenSSL has
 * besides is kept. */
static bool is_key_of_tls(const OSSL_ALGORITHM *kind)
{
    static const char *const others[] = {"CMAC",   "DHX", "HKDF",    "POLY1305",
                                         "SCRYPT", "SM2", "SIPHASH", "TLS1-PRF"};
    const char *names = kind->algorithm_names;

    return !is_one_of(names, strcspn(names, ":"), others, ARRAY_SIZE(others));
}

/* "DER" only finds out the kind, which a certificate says. */
static bool reads_certificate_keys(const OSSL_ALGORITHM *decoder)
{
    const char *what = decoder->property_definition;

    return strstr(what, "input=der") != NULL &&
           strstr(what, "structure=SubjectPublicKeyInfo") != NULL &&
           strcmp(decoder->algorithm_names, "DER") != 0 && is_key_of_tls(decoder);
}

/* By its mode, and those that have none. */
static bool is_cipher_of_tls(const OSSL_ALGORITHM *cipher)
{
    static const char *const alone[] = {"NULL", "ChaCha20-Poly1305", "RC4"};
    const char *names = cipher->algorithm_names;
    size_t size = strcspn(names, ":");
    char name[64];

    if (size >= sizeof name || is_one_of(names, size, alone, ARRAY_SIZE(alone)))
        return true;
    memcpy(name, names, size);
    name[size] = '\0';
    return strstr(name, "-GCM") != NULL || strstr(name, "-CCM") != NULL ||
           (strstr(name, "-CBC") != NULL && strstr(name, "-CTS") == NULL);
}

static struct narrowed {
    int operation;
    bool (*wanted)(const OSSL_ALGORITHM *algorithm);
    OSSL_ALGORITHM list[ALGORITHMS_MAX + 1];
} narrowed[] = {{.operation = OSSL_OP_DECODER, .wanted = reads_certificate_keys},
                {.operation = OSSL_OP_KEYMGMT, .wanted = is_key_of_tls},
                {.operation = OSSL_OP_CIPHER, .wanted = is_cipher_of_tls}};

/* False: there are more than expected, or none. */
static bool narrow(struct narrowed *to)
{
    int no_cache = 0;
    const OSSL_ALGORITHM *from = OSSL_PROVIDER_query_operation(whole, to->operation, &no_cache);
    size_t count = 0;

    for (; from != NULL && from->algorithm_names != NULL; from++) {
        if (!to->wanted(from))
            continue;
        if (count == ALGORITHMS_MAX)
            return false;
        to->list[count] = *from;
        if (strncmp(from->algorithm_names, "X25519:", strlen("X25519:")) == 0 &&
            to->operation == OSSL_OP_KEYMGMT)
            take_x25519(&to->list[count]);
        count++;
    }
    return count > 0 && no_cache == 0;
}

static bool narrow_all(void)
{
    bool good = true;

    for (size_t i = 0; i < ARRAY_SIZE(narrowed); i++)
        good = good && narrow(&narrowed[i]);
    return good;
}

/* ---- the provider ---- */

static const OSSL_ALGORITHM *query(void *context, int operation, int *ret_no_cache)
{
    (void)context;
    *ret_no_cache = 0;
    for (size_t i = 0; i < ARRAY_SIZE(narrowed); i++) {
        if (narrowed[i].operation == operation)
            return narrowed[i].list;
    }
    return OSSL_PROVIDER_query_operation(whole, operation, ret_no_cache);
}

static int capabilities(void *context, const char *capability, OSSL_CALLBACK *callback,
                        void *argument)
{
    (void)context;
    return OSSL_PROVIDER_get_capabilities(whole, capability, callback, argument);
}

static int provider_init(const OSSL_CORE_HANDLE *handle, const OSSL_DISPATCH *in,
                         const OSSL_DISPATCH **ret_out, void **ret_context)
{
    static const OSSL_DISPATCH functions[] = {
        {OSSL_FUNC_PROVIDER_QUERY_OPERATION, (dispatched)query},
        {OSSL_FUNC_PROVIDER_GET_CAPABILITIES, (dispatched)capabilities},
        {0, NULL},
    };

    (void)handle, (void)in;
    *ret_out = functions;
    *ret_context = OSSL_PROVIDER_get0_provider_ctx(whole); /* as its implementations expect */
    return 1;
}

static OSSL_LIB_CTX *library_new(void)
{
    OSSL_LIB_CTX *library = OSSL_LIB_CTX_new();

    whole = OSSL_PROVIDER_load(NULL, "default");
    if (library == NULL || whole == NULL || !narrow_all() ||
        OSSL_PROVIDER_add_builtin(library, "probe", provider_init) != 1 ||
        OSSL_PROVIDER_load(library, "probe") == NULL || !key_schedule_add(library)) {
        OSSL_LIB_CTX_free(library);
        ERR_clear_error();
        return NULL;
    }
    return library;
}

OSSL_LIB_CTX *probe_library(void)
{
    static OSSL_LIB_CTX *library;
    static bool tried;

    if (!tried)
        library = library_new();
    tried = true;
    return library;
}
