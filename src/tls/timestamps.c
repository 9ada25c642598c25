/* Timestamps of logs, read with a cursor and verified over bytes put together as RFC 6962 §3.2
 * says. What a log signed for an embedded one is the certificate without the list (the
 * precertificate without its poison is the same). */
#include "tls/timestamps.h"

#include <stdlib.h>
#include <string.h>

#include <openssl/err.h>
#include <openssl/x509v3.h>

#include "base/buffer.h"
#include "tls/certificate_internal.h"
#include "tls/openssl_auto.h"

#define KEY_SIZE_MAX    2048
#define LOGS_MAX        1024
#define SKEW_MS         300000 /* of clocks */
#define TWO_ENOUGH_S    (180 * 86400)
#define SIGNED_MAX      (CERTIFICATE_FACTS_SIZE_MAX + (1u << 17))
#define HASH_SHA256     4 /* RFC 5246 §7.4.1.4.1 */
#define SIGNATURE_RSA   1
#define SIGNATURE_ECDSA 3

const char *log_state_name(enum log_state state)
{
    static const char *const names[LOG_STATE_COUNT] = {
        [LOG_PENDING] = "pending",    [LOG_QUALIFIED] = "qualified", [LOG_USABLE] = "usable",
        [LOG_READ_ONLY] = "readonly", [LOG_RETIRED] = "retired",     [LOG_REJECTED] = "rejected"};

    return names[state];
}

const char *timestamp_source_name(enum timestamp_source source)
{
    static const char *const names[] = {
        [TIMESTAMP_EMBEDDED] = "embedded", [TIMESTAMP_TLS] = "tls", [TIMESTAMP_STAPLE] = "staple"};

    return names[source];
}

const char *timestamp_outcome_name(enum timestamp_outcome outcome)
{
    static const char *const names[] = {[TIMESTAMP_VALID] = "valid",
                                        [TIMESTAMP_UNVERIFIED] = "unverified",
                                        [TIMESTAMP_UNKNOWN_LOG] = "unknown-log",
                                        [TIMESTAMP_BAD_SIGNATURE] = "bad-signature",
                                        [TIMESTAMP_FROM_THE_FUTURE] = "from-the-future",
                                        [TIMESTAMP_UNSUPPORTED] = "unsupported"};

    return names[outcome];
}

/* ---- logs ---- */

struct known_log {
    struct certificate_log log;
    EVP_PKEY *key;
};

struct certificate_logs {
    struct known_log *logs;
    size_t count;
};

struct certificate_logs *certificate_logs_new(void)
{
    struct certificate_logs *logs = calloc(1, sizeof *logs);

    if (logs != NULL && (logs->logs = calloc(LOGS_MAX, sizeof *logs->logs)) == NULL) {
        free(logs);
        return NULL;
    }
    return logs;
}

void certificate_logs_free(struct certificate_logs *logs)
{
    if (logs == NULL)
        return;
    for (size_t i = 0; i < logs->count; i++)
        EVP_PKEY_free(logs->logs[i].key);
    free(logs->logs);
    free(logs);
}

/* Returns the size; 0: it is no base64, or too long. */
static size_t decode_base64(uint8_t output[KEY_SIZE_MAX], const char *text)
{
    size_t length = strlen(text), padding = 0;

    if (length == 0 || length % 4 != 0 || length / 4 * 3 > KEY_SIZE_MAX)
        return 0;
    while (padding < 2 && text[length - 1 - padding] == '=')
        padding++;
    int size = EVP_DecodeBlock(output, (const unsigned char *)text, (int)length);
    return size > (int)padding ? (size_t)size - padding : 0;
}

int certificate_logs_add(struct certificate_logs *logs, const struct certificate_log *log,
                         const char *key, struct error *error)
{
    uint8_t der[KEY_SIZE_MAX];
    const unsigned char *place = der;
    size_t size = decode_base64(der, key);

    if (logs->count == LOGS_MAX)
        return error_set(error, ERROR_LIMIT, "found more than %d logs; expected fewer", LOGS_MAX);
    AUTO(EVP_PKEY) *parsed = d2i_PUBKEY(NULL, &place, (long)size);
    if (parsed == NULL || place != der + size)
        return error_set(error, ERROR_CERTIFICATE_KEY_UNPARSABLE, "the key of log %s: %s",
                         log->name, openssl_reason());
    struct known_log *known = &logs->logs[logs->count];
    *known = (struct known_log){.log = *log, .key = parsed};
    if (EVP_Digest(der, size, known->log.id, NULL, EVP_sha256(), NULL) != 1)
        return error_set(error, ERROR_MEMORY, "out of memory");
    EVP_PKEY_up_ref(parsed);
    logs->count++;
    return 0;
}

size_t certificate_logs_count(const struct certificate_logs *logs)
{
    return logs->count;
}

const struct certificate_log *certificate_logs_at(const struct certificate_logs *logs, size_t at)
{
    return &logs->logs[at].log;
}

static const struct known_log *find_log(const struct certificate_logs *logs, const uint8_t id[32])
{
    for (size_t i = 0; i < logs->count; i++) {
        if (memcmp(logs->logs[i].log.id, id, 32) == 0)
            return &logs->logs[i];
    }
    return NULL;
}

/* ---- reading ---- */

struct cursor {
    const uint8_t *at, *end;
    bool failed; /* sticky */
};

static const uint8_t *take(struct cursor *cursor, size_t size)
{
    if (cursor->failed || (size_t)(cursor->end - cursor->at) < size) {
        cursor->failed = true;
        return NULL;
    }
    cursor->at += size;
    return cursor->at - size;
}

static uint64_t take_number(struct cursor *cursor, size_t size)
{
    const uint8_t *bytes = take(cursor, size);
    uint64_t number = 0;

    for (size_t i = 0; bytes != NULL && i < size; i++)
        number = number << 8 | bytes[i];
    return number;
}

/* A vector with a length of two bytes; empty when there is none. */
static struct cursor take_vector(struct cursor *cursor)
{
    size_t size = (size_t)take_number(cursor, 2);
    const uint8_t *bytes = take(cursor, size);

    return bytes != NULL ? (struct cursor){bytes, bytes + size, false} : (struct cursor){0};
}

struct promise { /* SignedCertificateTimestamp, RFC 6962 §3.2 */
    uint8_t version;
    const uint8_t *log_id;
    uint64_t at_ms;
    struct cursor extensions, signature;
    uint8_t hash, algorithm;
};

static bool read_promise(struct promise *ret_promise, struct cursor input)
{
    *ret_promise = (struct promise){.version = (uint8_t)take_number(&input, 1)};
    if (ret_promise->version != 0) /* only the first byte of another version is known */
        return !input.failed;
    ret_promise->log_id = take(&input, 32);
    ret_promise->at_ms = take_number(&input, 8);
    ret_promise->extensions = take_vector(&input);
    ret_promise->hash = (uint8_t)take_number(&input, 1);
    ret_promise->algorithm = (uint8_t)take_number(&input, 1);
    ret_promise->signature = take_vector(&input);
    return !input.failed && input.at == input.end && ret_promise->at_ms <= INT64_MAX;
}

/* ---- verifying ---- */

static void put_number(struct buffer *output, uint64_t number, size_t size)
{
    uint8_t bytes[8];

    for (size_t i = 0; i < size; i++)
        bytes[i] = (uint8_t)(number >> (8 * (size - 1 - i)));
    ignore(buffer_append(output, bytes, size));
}

static void put_entry(struct buffer *output, const uint8_t *data, size_t size)
{
    put_number(output, size, 3);
    ignore(buffer_append(output, data, size));
}

/* The signed part without the list. */
static void put_bare_certificate(struct buffer *output, const X509 *certificate)
{
    AUTO(X509) *copy = X509_dup(certificate);
    unsigned char *der = NULL;
    int size = -1;

    if (copy != NULL) {
        int place = X509_get_ext_by_NID(copy, NID_ct_precert_scts, -1);
        X509_EXTENSION_free(place >= 0 ? X509_delete_ext(copy, place) : NULL);
        size = i2d_re_X509_tbs(copy, &der);
    }
    if (size > 0)
        put_entry(output, der, (size_t)size);
    else
        output->failed = true;
    OPENSSL_free(der);
}

static void put_signed(struct buffer *output, const struct promise *promise,
                       enum timestamp_source source, const struct certificate_facts *certificate,
                       const struct certificate_facts *issuer)
{
    put_number(output, 0, 1); /* v1 */
    put_number(output, 0, 1); /* certificate_timestamp */
    put_number(output, promise->at_ms, 8);
    if (source == TIMESTAMP_EMBEDDED) {
        put_number(output, 1, 2); /* precert_entry */
        ignore(buffer_append(output, issuer->public_key_sha256, 32));
        put_bare_certificate(output, certificate->x509);
    } else {
        put_number(output, 0, 2); /* x509_entry */
        put_entry(output, certificate->der, certificate->der_size);
    }
    size_t extensions = (size_t)(promise->extensions.end - promise->extensions.at);
    put_number(output, extensions, 2);
    ignore(buffer_append(output, promise->extensions.at, extensions));
}

static bool verify(const struct promise *promise, EVP_PKEY *key, struct buffer *text)
{
    EVP_MD_CTX *context = EVP_MD_CTX_new();
    size_t size = (size_t)(promise->signature.end - promise->signature.at);
    bool is_good =
        context != NULL && !text->failed &&
        EVP_DigestVerifyInit(context, NULL, EVP_sha256(), NULL, key) == 1 &&
        EVP_DigestVerify(context, promise->signature.at, size, text->data, text->size) == 1;

    EVP_MD_CTX_free(context);
    ERR_clear_error();
    return is_good;
}

static enum timestamp_outcome judge(const struct promise *promise, const struct known_log *log,
                                    enum timestamp_source source,
                                    const struct certificate_facts *certificate,
                                    const struct certificate_facts *issuer)
{
    __attribute__((cleanup(buffer_auto))) struct buffer text;
    uint8_t algorithm =
        EVP_PKEY_get_base_id(log->key) == EVP_PKEY_RSA ? SIGNATURE_RSA : SIGNATURE_ECDSA;

    buffer_init(&text, SIGNED_MAX);
    if (promise->hash != HASH_SHA256 || promise->algorithm != algorithm)
        return TIMESTAMP_UNSUPPORTED;
    if (source == TIMESTAMP_EMBEDDED && issuer == NULL)
        return TIMESTAMP_UNVERIFIED;
    put_signed(&text, promise, source, certificate, issuer);
    return verify(promise, log->key, &text) ? TIMESTAMP_VALID : TIMESTAMP_BAD_SIGNATURE;
}

/* ---- lists ---- */

struct context { /* of one list */
    enum timestamp_source source;
    const struct certificate_facts *certificate, *issuer;
    const struct certificate_logs *logs;
    int64_t at_ms;
};

static struct timestamp judge_promise(const struct promise *promise, const struct context *context)
{
    struct timestamp timestamp = {.source = context->source, .outcome = TIMESTAMP_UNSUPPORTED};

    if (promise->version != 0)
        return timestamp;
    const struct known_log *log =
        context->logs != NULL ? find_log(context->logs, promise->log_id) : NULL;
    memcpy(timestamp.log_id, promise->log_id, sizeof timestamp.log_id);
    timestamp.at_ms = (int64_t)promise->at_ms;
    timestamp.log = log != NULL ? &log->log : NULL;
    if (timestamp.at_ms > context->at_ms + SKEW_MS)
        timestamp.outcome = TIMESTAMP_FROM_THE_FUTURE;
    else if (log == NULL)
        timestamp.outcome = context->logs != NULL ? TIMESTAMP_UNKNOWN_LOG : TIMESTAMP_UNVERIFIED;
    else
        timestamp.outcome =
            judge(promise, log, context->source, context->certificate, context->issuer);
    return timestamp;
}

void timestamps_add(struct timestamps *timestamps, enum timestamp_source source,
                    const uint8_t *list, size_t size, const struct certificate_facts *certificate,
                    const struct certificate_facts *issuer, const struct certificate_logs *logs,
                    int64_t at)
{
    const struct context context = {source, certificate, issuer, logs, at * 1000};
    struct cursor whole = {list, list + size, false}, items = take_vector(&whole);

    timestamps->malformed |= whole.failed || whole.at != whole.end || items.at == items.end;
    while (!timestamps->malformed && items.at < items.end) {
        struct promise promise;
        struct cursor one = take_vector(&items);
        if (items.failed || !read_promise(&promise, one))
            timestamps->malformed = true;
        else if (timestamps->count == TIMESTAMPS_MAX)
            timestamps->dropped++;
        else
            timestamps->items[timestamps->count++] = judge_promise(&promise, &context);
    }
}

/* ---- what browsers ask for ---- */

/* May this one be counted: was its log good then (embedded), or is it now? */
static bool counts(const struct timestamp *timestamp)
{
    const struct certificate_log *log = timestamp->log;

    if (timestamp->outcome == TIMESTAMP_UNVERIFIED)
        return true;
    if (timestamp->outcome != TIMESTAMP_VALID)
        return false;
    if (log->state == LOG_RETIRED)
        return timestamp->source == TIMESTAMP_EMBEDDED &&
               timestamp->at_ms < log->state_since * 1000;
    return log->state == LOG_QUALIFIED || log->state == LOG_USABLE || log->state == LOG_READ_ONLY;
}

static bool seen_before(const struct timestamps *timestamps, size_t at, bool by_operator)
{
    const struct timestamp *one = &timestamps->items[at];

    for (size_t i = 0; i < at; i++) {
        const struct timestamp *other = &timestamps->items[i];
        if ((other->source == TIMESTAMP_EMBEDDED) != (one->source == TIMESTAMP_EMBEDDED) ||
            !counts(other))
            continue;
        if (!by_operator && memcmp(other->log_id, one->log_id, sizeof one->log_id) == 0)
            return true;
        if (by_operator && other->log != NULL &&
            strcmp(other->log->operator_name, one->log->operator_name) == 0)
            return true;
    }
    return false;
}

static void weigh(struct timestamps_policy *policy, const struct timestamps *timestamps,
                  bool embedded)
{
    bool known = true, alive = !embedded;

    for (size_t i = 0; i < timestamps->count; i++) {
        const struct timestamp *one = &timestamps->items[i];
        if ((one->source == TIMESTAMP_EMBEDDED) != embedded || !counts(one))
            continue;
        policy->counted += !seen_before(timestamps, i, false);
        known = known && one->log != NULL;
        if (one->log == NULL)
            continue;
        policy->operators += !seen_before(timestamps, i, true);
        alive = alive || one->log->state != LOG_RETIRED;
    }
    if (policy->counted < policy->needed)
        policy->missing = "there are too few of them";
    else if (known && policy->operators < 2)
        policy->missing = "all logs are of one operator";
    else if (known && !alive)
        policy->missing = "all logs are retired";
    policy->enough = policy->missing == NULL;
}

void timestamps_weigh(struct timestamps_policy *ret_policy, const struct timestamps *timestamps,
                      const struct certificate_facts *certificate)
{
    bool is_short = certificate->not_after - certificate->not_before < TWO_ENOUGH_S;
    struct timestamps_policy inside = {.needed = is_short ? 2 : 3}, beside = {.needed = 2};

    weigh(&inside, timestamps, true);
    weigh(&beside, timestamps, false);
    *ret_policy = beside.enough || beside.counted > inside.counted ? beside : inside;
    if (inside.enough)
        *ret_policy = inside;
}
