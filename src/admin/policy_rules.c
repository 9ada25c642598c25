/* The rules of the policy document, each beside its statement. */
#include "admin/policy.h"

#include <string.h>

#include "base/attributes.h"
#include "base/string.h"
#include "conf/conf.h"
#include "tls/leg.h"
#include "tls/offered.h"

#define STATE(...)     ignore(buffer_printf(&text->statement, __VA_ARGS__))
#define OTHERWISE(...) ignore(buffer_printf(&text->otherwise, __VA_ARGS__))

/* One that says nothing of TLS, since it takes no part in it. */
static bool passes_through(const struct conf_listener *listener)
{
    return listener->mode == CONF_MODE_PASS_THROUGH;
}

static bool allows(const struct conf_listener *listener, enum conf_tls_version version)
{
    return listener->min_version <= version && version <= listener->max_version;
}

/* "a:b:c" as "a, b, c". */
static void state_list(struct buffer *buffer, const char *list)
{
    for (const char *c = list; *c != '\0'; c++)
        ignore(*c == ':' ? buffer_append_text(buffer, ", ") : buffer_append(buffer, c, 1));
}

static const char *duration(char text[32], uint64_t ms)
{
    return string_duration(text, 32, ms);
}

/* ---- the handshake ---- */

static void versions(struct policy_text *text, const struct conf *conf,
                     const struct conf_listener *listener)
{
    (void)conf;
    if (passes_through(listener))
        return;
    STATE("%s", !allows(listener, CONF_TLS_1_2)   ? "TLS 1.3 only."
                : !allows(listener, CONF_TLS_1_3) ? "TLS 1.2 only."
                                                  : "TLS 1.2 and TLS 1.3.");
    OTHERWISE("A client without %s is refused with the alert protocol_version; there is no "
              "fallback to older versions.",
              listener->min_version == listener->max_version ? "this version" : "either");
}

static void suites(struct policy_text *text, const struct conf *conf,
                   const struct conf_listener *listener)
{
    (void)conf;
    if (passes_through(listener))
        return;
    if (allows(listener, CONF_TLS_1_3)) {
        STATE("TLS 1.3: ");
        state_list(&text->statement, tls_offered_suites(TLS_VERSION_1_3));
        STATE(". ");
    }
    if (allows(listener, CONF_TLS_1_2)) {
        STATE("TLS 1.2: ");
        state_list(&text->statement, tls_offered_suites(TLS_VERSION_1_2));
        if (listener->cbc_suites) {
            STATE(", ");
            state_list(&text->statement, tls_offered_cbc_suites());
        }
        STATE(". ");
    }
    STATE("The server's order decides, except that ChaCha20 is taken where the client puts it "
          "first.");
    OTHERWISE("A client without one of them is refused with the alert handshake_failure.");
}

static void groups(struct policy_text *text, const struct conf *conf,
                   const struct conf_listener *listener)
{
    (void)conf;
    if (passes_through(listener))
        return;
    state_list(&text->statement, listener->groups);
    STATE(", in this order%s.", strcmp(listener->groups, CONF_GROUPS_DEFAULT) == 0
                                    ? "; before them X25519MLKEM768 where the library has it"
                                    : "");
    OTHERWISE("A client whose key share is of another group gets a HelloRetryRequest (TLS 1.3); "
              "one that has none of them is refused with the alert handshake_failure.");
}

static void signatures(struct policy_text *text, const struct conf *conf,
                       const struct conf_listener *listener)
{
    (void)conf;
    if (passes_through(listener))
        return;
    state_list(&text->statement, tls_offered_signatures());
    STATE("; SHA-1 and MD5 never.");
    OTHERWISE("A client without one that fits the certificate is refused with the alert "
              "handshake_failure.");
}

static void early_data(struct policy_text *text, const struct conf *conf,
                       const struct conf_listener *listener)
{
    (void)conf;
    if (passes_through(listener) || !allows(listener, CONF_TLS_1_3))
        return;
    STATE("Early data (0-RTT) is never accepted.");
    OTHERWISE("A client cannot send any: no ticket allows it.");
}

static void server_names(struct policy_text *text, const struct conf *conf,
                         const struct conf_listener *listener)
{
    (void)conf;
    if (listener->unknown_name == CONF_UNKNOWN_NAME_REFUSE) {
        STATE("The client must name a server that is served here.");
        OTHERWISE("A client that names another is refused with the alert unrecognized_name.");
    } else {
        STATE("A client may name any server, or none.");
        OTHERWISE("A name that is not served %s.", passes_through(listener)
                                                       ? "goes to the default upstream"
                                                       : "gets the default certificate");
    }
}

static void protocols(struct policy_text *text, const struct conf *conf,
                      const struct conf_listener *listener)
{
    (void)conf;
    if (passes_through(listener) || listener->alpn.count == 0)
        return;
    STATE("ALPN, in order of preference: ");
    for (size_t i = 0; i < listener->alpn.count; i++)
        STATE("%s%s", i == 0 ? "" : ", ", listener->alpn.items[i]);
    STATE(".");
    OTHERWISE("A client that offers others only is refused with the alert "
              "no_application_protocol; one that offers none is served.");
}

static void plaintext(struct policy_text *text, const struct conf *conf,
                      const struct conf_listener *listener)
{
    (void)conf;
    STATE("TLS from the first byte%s.",
          listener->proxy_from.count > 0 ? ", behind the PROXY header where one is expected" : "");
    OTHERWISE("%sWhat is no TLS is closed.",
              passes_through(listener) ? "" : "Plain HTTP gets the answer 400. ");
}

static void client_hello_size(struct policy_text *text, const struct conf *conf,
                              const struct conf_listener *listener)
{
    (void)conf;
    STATE("A ClientHello has at most %u bytes.", listener->client_hello_max);
    OTHERWISE("A longer one is refused.");
}

static void handshake_time(struct policy_text *text, const struct conf *conf,
                           const struct conf_listener *listener)
{
    char time[32];

    (void)conf;
    STATE("A handshake ends within %s.", duration(time, listener->handshake_timeout));
    OTHERWISE("A client that takes longer is closed.");
}

static void overload(struct policy_text *text, const struct conf *conf,
                     const struct conf_listener *listener)
{
    char time[32];

    (void)conf;
    if (listener->queue_timeout == 0)
        return;
    STATE("A connection is accepted within %s.", duration(time, listener->queue_timeout));
    OTHERWISE("One that has waited longer is refused, %s.",
              listener->overload_action == CONF_OVERLOAD_ALERT ? "with the alert internal_error"
                                                               : "by a reset");
}

/* ---- the session ---- */

static void detaching(struct policy_text *text, const struct conf *conf,
                      const struct conf_listener *listener)
{
    char time[32];

    if (passes_through(listener))
        return;
    switch (listener->detach) {
    case CONF_DETACH_REQUIRE:
        STATE("Every session leaves OpenSSL after its handshake and outlives all processes.");
        OTHERWISE("One that cannot is ended.");
        return;
    case CONF_DETACH_PREFER:
        STATE("A session leaves OpenSSL after its handshake and outlives all processes, but for a "
              "TLS 1.2 one that is to be renegotiated or has a CBC suite.");
        break;
    case CONF_DETACH_NEVER:
        STATE("Every session stays with OpenSSL.");
        break;
    }
    OTHERWISE("One that stays ends with its handshaker: with a crash at once, with an upgrade "
              "after %s at most.",
              duration(time, conf->drain_timeout));
}

static void renegotiation(struct policy_text *text, const struct conf *conf,
                          const struct conf_listener *listener)
{
    char period[32];

    (void)conf;
    if (passes_through(listener) || !allows(listener, CONF_TLS_1_2))
        return;
    switch (listener->renegotiation) {
    case CONF_RENEGOTIATION_REFUSE:
        STATE("A client does not begin a renegotiation in TLS 1.2.");
        break;
    case CONF_RENEGOTIATION_ALLOW:
    case CONF_RENEGOTIATION_AUTHENTICATED:
        STATE("A client%s may renegotiate in TLS 1.2 %u times in %s, with RFC 5746.",
              listener->renegotiation == CONF_RENEGOTIATION_AUTHENTICATED
                  ? " with a verified certificate"
                  : "",
              listener->renegotiation_rate.count,
              duration(period, listener->renegotiation_rate.period));
        break;
    }
    if (listener->renegotiate_every != 0)
        STATE(" We ask for a renegotiation every %s.",
              duration(period, listener->renegotiate_every));
    OTHERWISE(
        "A client that begins one against that gets the warning no_renegotiation; the session "
        "goes on if the client lets it.");
}

/* When a key that we send with has served its time. */
static void state_key_limits(struct policy_text *text, const struct conf_listener *listener)
{
    char amount[32];

    if (listener->traffic_key_records != 0)
        STATE("after %u records, ", listener->traffic_key_records);
    if (listener->traffic_key_bytes != 0)
        STATE("after %s, ", string_bytes(amount, sizeof amount, listener->traffic_key_bytes));
    if (listener->traffic_key_age != 0)
        STATE("after %s, ", duration(amount, listener->traffic_key_age));
    STATE("at the latest where an attacker wins with probability 2^-%u.",
          listener->traffic_key_probability);
}

static void key_renewal(struct policy_text *text, const struct conf *conf,
                        const struct conf_listener *listener)
{
    (void)conf;
    if (passes_through(listener))
        return;
    STATE("A key that we send with is renewed ");
    state_key_limits(text, listener);
    if (allows(listener, CONF_TLS_1_2))
        OTHERWISE("A TLS 1.2 session, whose keys stay, is closed in good time before that. ");
    if (!allows(listener, CONF_TLS_1_3))
        return;
    STATE(" A client may renew its own as often as it likes, in the long run ten times a second.");
    OTHERWISE("A flood of KeyUpdates ends the session with the alert unexpected_message.");
}

static void resumption(struct policy_text *text, const struct conf *conf,
                       const struct conf_listener *listener)
{
    char life[32], lineage[32], change[32];

    if (passes_through(listener))
        return;
    if (listener->tickets == 0) {
        STATE("No session is resumed: there are no tickets.");
        OTHERWISE("A client that asks for it gets a full handshake.");
        return;
    }
    STATE("Sessions are resumed by ticket for %s, a chain of them for %s after the certificates "
          "were last used, at no other listener, and with a fresh key exchange in TLS 1.3. The key "
          "of "
          "new tickets is changed every %s.",
          duration(life, listener->ticket_lifetime),
          duration(lineage, listener->max_lineage * 1000ull),
          duration(change, conf->ticket_key_lifetime));
    OTHERWISE("A ticket that is foreign, too old or damaged leads to a full handshake.");
}

/* Behind what is said of those who are asked in the handshake. */
static void asked_later(struct policy_text *text, const struct conf_listener *listener)
{
    char time[32];

    if (!conf_asks_clients_by(listener, CONF_CLIENT_CERTIFICATE_LATER))
        return;
    for (size_t i = 0; i < listener->authenticate_names.count; i++)
        STATE("%s%s", i == 0 ? " At once after the handshake clients are asked of " : ", ",
              listener->authenticate_names.items[i]);
    if (listener->authenticate_names.count > 0)
        STATE(".");
    OTHERWISE(" The session of a client that is asked after the handshake and shows none within %s "
              "is %s.",
              duration(time, listener->authenticate_timeout),
              listener->unauthenticated == CONF_UNAUTHENTICATED_KEEP ? "kept" : "closed");
}

static void client_certificates(struct policy_text *text, const struct conf *conf,
                                const struct conf_listener *listener)
{
    static const char *const asked[] = {
        [CONF_CLIENT_CERTIFICATE_NONE] = "No client is asked for a certificate",
        [CONF_CLIENT_CERTIFICATE_OPTIONAL] =
            "Clients are asked for a certificate, and may have none",
        [CONF_CLIENT_CERTIFICATE_REQUIRED] = "Clients must have a certificate",
        [CONF_CLIENT_CERTIFICATE_LATER] =
            "No client is asked for a certificate in the handshake, but any may be after it"};

    (void)conf;
    if (passes_through(listener))
        return;
    STATE("%s", asked[listener->client_certificate]);
    for (size_t i = 0; i < listener->client_name_count; i++)
        STATE("; for %s: %s", listener->client_names[i].name,
              asked[listener->client_names[i].mode]);
    STATE(".");
    if (!conf_asks_clients(listener)) {
        OTHERWISE("One that a client has is not sent.");
        return;
    }
    STATE(" It is of a CA in client-ca%s.",
          listener->client_crl.count > 0 ? " and in no revocation list" : "");
    OTHERWISE("A client with a bad one, or without one where it must have one, is refused. A live "
              "session whose client's certificate is no longer good is %s.",
              listener->client_ended == CONF_CLIENT_ENDED_KEEP ? "kept" : "closed");
    asked_later(text, listener);
}

static void truncation(struct policy_text *text, const struct conf *conf,
                       const struct conf_listener *listener)
{
    (void)conf;
    if (passes_through(listener) || listener->tolerate_truncation)
        return;
    STATE("A client ends its data with close_notify.");
    OTHERWISE("An end without it is taken for an attack: the upstream sees a reset.");
}

static void idle_time(struct policy_text *text, const struct conf *conf,
                      const struct conf_listener *listener)
{
    char time[32];

    (void)conf;
    if (listener->idle_timeout == 0)
        return;
    STATE("A session without data is kept for %s.", duration(time, listener->idle_timeout));
    OTHERWISE("It is closed then.");
}

static void session_age(struct policy_text *text, const struct conf *conf,
                        const struct conf_listener *listener)
{
    char time[32];

    (void)conf;
    if (listener->max_session_age == 0)
        return;
    STATE("A session lives for at most %s.", duration(time, listener->max_session_age));
    OTHERWISE("It is closed then, and the client comes back.");
}

/* ---- who ---- */

static void source_addresses(struct policy_text *text, const struct conf *conf,
                             const struct conf_listener *listener)
{
    (void)conf;
    if (listener->allow.count == 0 && listener->deny.count == 0)
        return;
    STATE("Clients come from %s%s.",
          listener->allow.count > 0 ? "the allowed networks" : "anywhere",
          listener->deny.count > 0 ? " but not from the denied ones" : "");
    OTHERWISE("Others are refused before the handshake.");
}

static void proxy_protocol(struct policy_text *text, const struct conf *conf,
                           const struct conf_listener *listener)
{
    char time[32];

    (void)conf;
    if (listener->proxy_from.count == 0)
        return;
    STATE("From the networks in proxy-from a PROXY header comes first, within %s.",
          duration(time, listener->proxy_timeout));
    OTHERWISE("A connection from there without one is closed.");
}

static void connections_per_source(struct policy_text *text, const struct conf *conf,
                                   const struct conf_listener *listener)
{
    (void)conf;
    if (listener->max_connections_per_source == 0)
        return;
    STATE("One address has at most %u sessions.", listener->max_connections_per_source);
    OTHERWISE("More are refused.");
}

static void connections(struct policy_text *text, const struct conf *conf,
                        const struct conf_listener *listener)
{
    (void)conf;
    if (listener->max_connections == 0)
        return;
    STATE("There are at most %u sessions.", listener->max_connections);
    OTHERWISE("More are refused.");
}

const struct policy_rule policy_rules[] = {
    {"tls-versions", "Versions", versions},
    {"cipher-suites", "Cipher suites", suites},
    {"groups", "Key exchange groups", groups},
    {"signature-algorithms", "Signature algorithms", signatures},
    {"early-data", "Early data", early_data},
    {"server-names", "Server names", server_names},
    {"protocols", "Application protocols", protocols},
    {"plaintext", "Plain text", plaintext},
    {"client-hello-size", "Size of the ClientHello", client_hello_size},
    {"handshake-time", "Time of the handshake", handshake_time},
    {"overload", "Overload", overload},
    {"detach", "OpenSSL", detaching},
    {"client-certificates", "Client certificates", client_certificates},
    {"resumption", "Resumption", resumption},
    {"renegotiation", "Renegotiation", renegotiation},
    {"key-renewal", "Renewal of keys", key_renewal},
    {"truncation", "End of a session", truncation},
    {"idle-time", "Idle sessions", idle_time},
    {"session-age", "Age of sessions", session_age},
    {"source-addresses", "Source addresses", source_addresses},
    {"proxy-protocol", "PROXY protocol", proxy_protocol},
    {"connections-per-source", "Sessions of one address", connections_per_source},
    {"connections", "Sessions", connections},
};
const size_t policy_rule_count = ARRAY_SIZE(policy_rules);
