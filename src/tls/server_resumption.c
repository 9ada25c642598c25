#include "tls/server_resumption.h"

#include <string.h>

#include "base/clock.h"
#include "base/secret.h"
#include "tls/certificate_internal.h"
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

static bool record_read(SSL_SESSION *session, struct resumption_record *ret_record)
{
    void *data = NULL;
    size_t size = 0;

    if (SSL_SESSION_get0_ticket_appdata(session, &data, &size) != 1 || data == NULL ||
        size != sizeof *ret_record)
        return false;
    memcpy(ret_record, data, size);
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
    struct resumption_record record;

    if (!record_read(session, &record))
        record = record_new(resumption, ssl);
    record.client_end = end_of(SSL_SESSION_get0_peer(session));
    int64_t left = resumption_cap(&record, resumption->lineage_s) - SSL_SESSION_get_time(session);
    if (left > resumption->lifetime_s)
        left = resumption->lifetime_s;
    return SSL_SESSION_set1_ticket_appdata(session, &record, sizeof record) == 1 &&
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
                                  const struct handshake *handshake, SSL_SESSION *session)
{
    struct resumption_record record;
    struct resumption_moment moment = {.now = wall_seconds(),
                                       .session_end = (int64_t)SSL_SESSION_get_time(session) +
                                                      (int64_t)SSL_SESSION_get_timeout(session),
                                       .lineage_s = resumption->lineage_s,
                                       .epoch = current_epoch(resumption),
                                       .same_context = same_context(resumption, session)};

    if (!record_read(session, &record))
        return RESUMPTION_MISS_POLICY_CHANGED; /* made by another version of this program */
    memcpy(moment.trust_digest, resumption->trust_digest, sizeof moment.trust_digest);
    memcpy(moment.name, handshake->offer.name, sizeof moment.name);
    return resumption_judge(&record, &moment);
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

/* IGNORE_RENEW: a full handshake, and a new ticket at its end. */
static SSL_TICKET_RETURN on_ticket(SSL *ssl, SSL_SESSION *session, const unsigned char *key_name,
                                   size_t key_name_size, SSL_TICKET_STATUS status, void *argument)
{
    const struct server_resumption *resumption = argument;
    struct handshake *handshake = SSL_get_app_data(ssl);

    if (status == SSL_TICKET_EMPTY)
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

bool server_resumption_init(struct server_resumption *resumption, SSL_CTX *context,
                            const struct tls_policy *policy)
{
    *resumption = (struct server_resumption){
        .lineage_s = policy->lineage_s == 0 ? RESUMPTION_LINEAGE_MAX_S : policy->lineage_s,
        .lifetime_s = policy->ticket_lifetime_s,
        .epoch = policy->resumption_epoch,
        .ticket_ring = policy->ticket_ring};
    memcpy(resumption->trust_digest, policy->trust_digest, sizeof resumption->trust_digest);
    memcpy(resumption->context, policy->session_id_context, sizeof resumption->context);
    SSL_CTX_set_timeout(context, policy->ticket_lifetime_s);
    return (policy->ticket_ring == NULL || ticket_cipher_install(context)) &&
           SSL_CTX_set_num_tickets(context, policy->tickets) == 1 &&
           SSL_CTX_set_session_id_context(context, policy->session_id_context,
                                          sizeof policy->session_id_context) == 1 &&
           SSL_CTX_set_session_ticket_cb(context, on_ticket_made, on_ticket, resumption) == 1;
}
