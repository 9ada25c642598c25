#include "tls/server_resumption.h"

#include <string.h>

#include "base/clock.h"
#include "base/secret.h"
#include "tls/certificate_internal.h"
#include "tls/client_verify.h"
#include "tls/handshake_internal.h"
#include "tls/ticket_cipher.h"
#include "tls/ticket_ring.h"

static int64_t wall_seconds(void)
{
    return (int64_t)(clock_wall_ns() / NS_PER_S);
}

static uint64_t current_epoch(const struct server_resumption *resumption)
{
    return resumption->epoch == NULL ? 0 : __atomic_load_n(resumption->epoch, __ATOMIC_RELAXED);
}

/* ---- the record ---- */

/* The client's part is there when he has shown a certificate. */
struct records {
    struct resumption_record session;
    struct client_record client;
};
#define RECORDS_SIZE_WITHOUT_CLIENT sizeof(struct resumption_record)

_Static_assert(sizeof(struct records) ==
                   sizeof(struct resumption_record) + sizeof(struct client_record),
               "one lies behind the other");

static bool records_read(SSL_SESSION *session, struct records *ret_records, bool *ret_client)
{
    void *data = NULL;
    size_t size = 0;

    if (SSL_SESSION_get0_ticket_appdata(session, &data, &size) != 1 || data == NULL ||
        (size != sizeof *ret_records && size != RECORDS_SIZE_WITHOUT_CLIENT))
        return false;
    memcpy(ret_records, data, size);
    *ret_client = size == sizeof *ret_records;
    return true;
}

static int64_t end_of(const X509 *certificate)
{
    return certificate == NULL ? 0 : certificate_time(X509_get0_notAfter(certificate));
}

/* Of a handshake with certificates. */
static struct resumption_record record_new(const struct server_resumption *resumption, SSL *ssl)
{
    const struct handshake *handshake = SSL_get_app_data(ssl);
    struct resumption_record record = {.version = RESUMPTION_RECORD_VERSION,
                                       .authenticated = wall_seconds(),
                                       .server_end = end_of(SSL_get_certificate(ssl)),
                                       .epoch = current_epoch(resumption)};

    memcpy(record.trust_digest, resumption->trust_digest, sizeof record.trust_digest);
    memcpy(record.name, handshake->offer.name, sizeof record.name);
    return record;
}

/* Writes the record into a session that is about to be given away, and shortens its life so that no
 * ticket promises more than the cap. A session that was resumed, and the second ticket of a
 * handshake, have a record already: it stays, but for the client's certificate, which may have come
 * after the handshake. */
static bool stamp(const struct server_resumption *resumption, SSL *ssl, SSL_SESSION *session)
{
    const struct client_identity *client =
        &((const struct handshake *)SSL_get_app_data(ssl))->client_identity;
    struct records records;
    bool known;

    if (!records_read(session, &records, &known))
        records.session = record_new(resumption, ssl);
    known = client->chain_count > 0;
    if (known)
        client_verify_remember(client, &records.client);
    records.session.client_end = known ? client->not_after : end_of(SSL_SESSION_get0_peer(session));
    int64_t left =
        resumption_cap(&records.session, resumption->lineage_s) - SSL_SESSION_get_time(session);
    if (left > resumption->lifetime_s)
        left = resumption->lifetime_s;
    return SSL_SESSION_set1_ticket_appdata(
               session, &records, known ? sizeof records : RECORDS_SIZE_WITHOUT_CLIENT) == 1 &&
           /* Not 0: OpenSSL would write a ticket that it reads back as another one, and fail. */
           SSL_SESSION_set_timeout(session, left < 1 ? 1 : (long)left) == 1;
}

static bool same_context(const struct server_resumption *resumption, const SSL_SESSION *session)
{
    unsigned size = 0;
    const unsigned char *context = SSL_SESSION_get0_id_context(session, &size);

    return size == sizeof resumption->context && memcmp(context, resumption->context, size) == 0;
}

static enum resumption_miss judge(const struct server_resumption *resumption,
                                  struct handshake *handshake, SSL_SESSION *session)
{
    struct records records;
    bool client;
    struct resumption_moment moment = {.now = wall_seconds(),
                                       .session_end = (int64_t)SSL_SESSION_get_time(session) +
                                                      (int64_t)SSL_SESSION_get_timeout(session),
                                       .lineage_s = resumption->lineage_s,
                                       .epoch = current_epoch(resumption),
                                       .same_context = same_context(resumption, session)};

    if (!records_read(session, &records, &client))
        return RESUMPTION_MISS_POLICY_CHANGED; /* made by another version of this program */
    memcpy(moment.trust_digest, resumption->trust_digest, sizeof moment.trust_digest);
    memcpy(moment.name, handshake->offer.name, sizeof moment.name);
    enum resumption_miss miss = resumption_judge(&records.session, &moment);
    if (miss == RESUMPTION_MISS_NONE &&
        !client_verify_resumes(resumption->clients, handshake, session,
                               client ? &records.client : NULL))
        miss = RESUMPTION_MISS_TRUST_CHANGED;
    return miss;
}

/* ---- tickets ---- */

static int on_ticket_made(SSL *ssl, void *argument)
{
    return stamp(argument, ssl, SSL_get_session(ssl));
}

static bool knows_key(const struct server_resumption *resumption, const uint8_t *name, size_t size)
{
    struct ticket_key key;
    bool current;

    bool found = resumption->ticket_ring != NULL && size == TICKET_KEY_NAME_SIZE &&
                 ticket_ring_find(resumption->ticket_ring, name, &key, &current);
    secret_wipe(&key, sizeof key);
    return found;
}

/* A resumption could bring another client's identity into the session. OpenSSL's option against it
 * gives no ticket either, which GnuTLS waits for when the handshake before gave one. */
static bool is_renegotiation(const struct handshake *handshake)
{
    return handshake->carried.in_use;
}

/* IGNORE_RENEW: a full handshake, and a new ticket at its end. */
static SSL_TICKET_RETURN on_ticket(SSL *ssl, SSL_SESSION *session, const unsigned char *key_name,
                                   size_t key_name_size, SSL_TICKET_STATUS status, void *argument)
{
    const struct server_resumption *resumption = argument;
    struct handshake *handshake = SSL_get_app_data(ssl);

    if (status == SSL_TICKET_EMPTY || is_renegotiation(handshake))
        return SSL_TICKET_RETURN_IGNORE_RENEW;
    if (status == SSL_TICKET_NO_DECRYPT)
        handshake->miss = knows_key(resumption, key_name, key_name_size)
                              ? RESUMPTION_MISS_CORRUPT
                              : RESUMPTION_MISS_UNKNOWN_KEY;
    else
        handshake->miss = judge(resumption, handshake, session);
    if (handshake->miss != RESUMPTION_MISS_NONE)
        return SSL_TICKET_RETURN_IGNORE_RENEW;
    return status == SSL_TICKET_SUCCESS ? SSL_TICKET_RETURN_USE : SSL_TICKET_RETURN_USE_RENEW;
}

/* ---- session ids: TLS 1.2 without tickets ---- */

static struct server_resumption *resumption_of(const SSL_CTX *context)
{
    return SSL_CTX_get_app_data(context);
}

/* Called at the end of a handshake that resumed nothing, and for the tickets of TLS 1.3, which need
 * no cache. Returns 0: we keep no reference. */
static int on_session(SSL *ssl, SSL_SESSION *session)
{
    const struct server_resumption *resumption = resumption_of(SSL_get_SSL_CTX(ssl));
    uint8_t data[SESSION_CACHE_DATA_MAX];
    unsigned id_size = 0;

    if (SSL_version(ssl) != TLS1_2_VERSION || !stamp(resumption, ssl, session))
        return 0;
    const uint8_t *id = SSL_SESSION_get_id(session, &id_size);
    int64_t end =
        (int64_t)SSL_SESSION_get_time(session) + (int64_t)SSL_SESSION_get_timeout(session) + 1;
    int size = i2d_SSL_SESSION(session, NULL);
    if (size > 0 && size <= (int)sizeof data)
        size = i2d_SSL_SESSION(session, &(unsigned char *){data});
    session_cache_put(resumption->cache, id, id_size, data, size > 0 ? (size_t)size : 0,
                      wall_seconds(), end);
    secret_wipe(data, sizeof data);
    return 0;
}

/* NULL: there is none, or its bytes are no session. */
static SSL_SESSION *cached(struct session_cache *cache, const uint8_t *id, size_t id_size)
{
    uint8_t data[SESSION_CACHE_DATA_MAX];
    const unsigned char *at = data;
    size_t size = session_cache_get(cache, id, id_size, wall_seconds(), data);
    SSL_SESSION *session = size == 0 ? NULL : d2i_SSL_SESSION(NULL, &at, (long)size);

    secret_wipe(data, size);
    return session;
}

static SSL_SESSION *on_id(SSL *ssl, const unsigned char *id, int id_size, int *ret_copy)
{
    const struct server_resumption *resumption = resumption_of(SSL_get_SSL_CTX(ssl));
    struct handshake *handshake = SSL_get_app_data(ssl);
    struct session_cache_counts *counts = session_cache_counts(resumption->cache);

    *ret_copy = 0; /* OpenSSL's from now on */
    if (is_renegotiation(handshake))
        return NULL;
    SSL_SESSION *session = cached(resumption->cache, id, (size_t)id_size);
    handshake->miss =
        session == NULL ? RESUMPTION_MISS_UNKNOWN_KEY : judge(resumption, handshake, session);
    if (handshake->miss == RESUMPTION_MISS_NONE) {
        counts->hits++;
        return session;
    }
    counts->misses += session == NULL && handshake->offer.session_id;
    if (handshake->miss == RESUMPTION_MISS_CAPPED)
        session_cache_remove(resumption->cache, id, (size_t)id_size, wall_seconds());
    SSL_SESSION_free(session);
    return NULL;
}

/* A fatal alert ends what it happened to for good (RFC 5246 §7.2.2). */
static void on_bad_session(SSL_CTX *context, SSL_SESSION *session)
{
    unsigned size = 0;
    const uint8_t *id = SSL_SESSION_get_id(session, &size);

    session_cache_remove(resumption_of(context)->cache, id, size, wall_seconds());
}

static bool install_cache(struct server_resumption *resumption, SSL_CTX *context)
{
    SSL_CTX_set_session_cache_mode(context, SSL_SESS_CACHE_SERVER | SSL_SESS_CACHE_NO_INTERNAL |
                                                SSL_SESS_CACHE_NO_AUTO_CLEAR);
    SSL_CTX_sess_set_new_cb(context, on_session);
    SSL_CTX_sess_set_get_cb(context, on_id);
    SSL_CTX_sess_set_remove_cb(context, on_bad_session);
    return SSL_CTX_set_app_data(context, resumption) == 1;
}

bool server_resumption_init(struct server_resumption *resumption, SSL_CTX *context,
                            const struct tls_policy *policy)
{
    *resumption = (struct server_resumption){
        .lineage_s = policy->lineage_s == 0 ? RESUMPTION_LINEAGE_MAX_S : policy->lineage_s,
        .lifetime_s = policy->ticket_lifetime_s,
        .epoch = policy->resumption_epoch,
        .ticket_ring = policy->ticket_ring,
        .cache = policy->tickets == 0 ? NULL : policy->session_cache};
    memcpy(resumption->trust_digest, policy->trust_digest, sizeof resumption->trust_digest);
    memcpy(resumption->context, policy->session_id_context, sizeof resumption->context);
    SSL_CTX_set_timeout(context, policy->ticket_lifetime_s);
    SSL_CTX_set_session_cache_mode(context, SSL_SESS_CACHE_OFF);
    if (resumption->cache != NULL && !install_cache(resumption, context))
        return false;
    return (policy->ticket_ring == NULL || ticket_cipher_install(context)) &&
           SSL_CTX_set_num_tickets(context, policy->tickets) == 1 &&
           SSL_CTX_set_session_id_context(context, policy->session_id_context,
                                          sizeof policy->session_id_context) == 1 &&
           SSL_CTX_set_session_ticket_cb(context, on_ticket_made, on_ticket, resumption) == 1;
}
