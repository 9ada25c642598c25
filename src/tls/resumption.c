#include "tls/resumption.h"

#include <string.h>

#include <openssl/sha.h>

#include "tls/suite.h"

const char *resumption_miss_name(enum resumption_miss miss)
{
    static const char *const names[RESUMPTION_MISS_COUNT] = {
#define X(symbol, name) [symbol] = (name),
        RESUMPTION_MISS_LIST(X)
#undef X
    };
    return (unsigned)miss < RESUMPTION_MISS_COUNT ? names[miss] : "unknown";
}

void resumption_context(const struct resumption_scope *scope, uint8_t ret_context[32])
{
    uint8_t text[512 + sizeof scope->client_certificates + RESUMPTION_TRUST_SIZE] = {0};
    size_t size = strlen(scope->listener);
    uint8_t *at = text;

    _Static_assert(SHA256_DIGEST_LENGTH == 32, "a digest fills the context");
    /* Parts of fixed size first, so that no two scopes read the same. */
    memcpy(at, scope->trust_digest, sizeof scope->trust_digest);
    at += sizeof scope->trust_digest;
    memcpy(at, &scope->client_certificates, sizeof scope->client_certificates);
    at += sizeof scope->client_certificates;
    *at++ = scope->strict_names;
    size_t room = (size_t)(text + sizeof text - at);
    size = size < room ? size : room; /* a listener's name is far shorter */
    memcpy(at, scope->listener, size);
    SHA256(text, (size_t)(at - text) + size, ret_context);
}

void resumption_name(const char *server_name, uint8_t ret_name[RESUMPTION_NAME_SIZE])
{
    uint8_t digest[SHA256_DIGEST_LENGTH];

    SHA256((const uint8_t *)server_name, strlen(server_name), digest);
    memcpy(ret_name, digest, RESUMPTION_NAME_SIZE);
}

/* ---- what is offered ---- */

void resumption_offer(const struct client_hello *hello, struct resumption_offer *ret_offer)
{
    *ret_offer = (struct resumption_offer){
        .pre_shared_key = hello->pre_shared_key,
        .ticket = hello->ticket_size != 0,
        .session_id = hello->session_id_size != 0 && hello->max_version < TLS_VERSION_1_3,
    };
    resumption_name(hello->server_name, ret_offer->name);
}

bool resumption_offered(const struct resumption_offer *offer, uint16_t version)
{
    return version == TLS_VERSION_1_3 ? offer->pre_shared_key : offer->ticket || offer->session_id;
}

/* ---- judging ---- */

int64_t resumption_cap(const struct resumption_record *record, int64_t lineage_s)
{
    int64_t cap = record->authenticated + lineage_s;

    if (record->server_end < cap)
        cap = record->server_end;
    if (record->client_end != 0 && record->client_end < cap)
        cap = record->client_end;
    return cap;
}

enum resumption_miss resumption_judge(const struct resumption_record *record,
                                      const struct resumption_moment *moment)
{
    if (record->version != RESUMPTION_RECORD_VERSION)
        return RESUMPTION_MISS_POLICY_CHANGED; /* made by another version of this program */
    if (memcmp(record->trust_digest, moment->trust_digest, RESUMPTION_TRUST_SIZE) != 0)
        return RESUMPTION_MISS_TRUST_CHANGED;
    if (!moment->same_context || record->epoch < moment->epoch)
        return RESUMPTION_MISS_POLICY_CHANGED;
    if (memcmp(record->name, moment->name, RESUMPTION_NAME_SIZE) != 0)
        return RESUMPTION_MISS_NAME_CHANGED;
    if (record->authenticated > moment->now + RESUMPTION_SKEW_S ||
        moment->now >= resumption_cap(record, moment->lineage_s))
        return RESUMPTION_MISS_CAPPED;
    return moment->now > moment->session_end ? RESUMPTION_MISS_EXPIRED : RESUMPTION_MISS_NONE;
}
