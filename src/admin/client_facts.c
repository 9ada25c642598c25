#include "admin/client_facts.h"

#include "base/attributes.h"
#include "base/json.h"

#define NOT_OFFERED "not offered by default"
#define UNKNOWN     "not looked at"

const struct client_facts client_facts[] = {
    {"OpenSSL", "3.0.22",
     "never; TLS 1.2 AES-GCM stops at 2^64 records, the sequence number of TLS 1.3 wraps unchecked",
     "any number; releases to come end a session for more than 10 in a second",
     "yes, writing goes on meanwhile", "curl offers it, by default nobody else", CLIENT_MEASURED,
     "source of 3.0.22; openssl pull request 32501"},
    {"Python, Node.js", "3.11, 20", "as OpenSSL", "as OpenSSL", "as OpenSSL", NOT_OFFERED,
     CLIENT_MEASURED, "they carry OpenSSL"},
    {"GnuTLS", "3.7.9", "after 2^24 records; not when the kernel carries the records",
     "ends the session at 9 in a second; older releases at 2",
     "declines with a warning unless the program performs it", NOT_OFFERED, CLIENT_MEASURED,
     "ktls-utils issue 161"},
    {"BoringSSL (Chrome, Android)", "Android 13", "never; there is a call for it",
     "ends the session after 32 without data between them",
     "refuses and ends the session unless set to renegotiate freely", NOT_OFFERED, CLIENT_MEASURED,
     "source: tls13_both.cc"},
    {"NSS (Firefox)", "3.87", "yes: the limit for sending is lower than that for receiving",
     "any number (300 tried)", "yes", NOT_OFFERED, CLIENT_MEASURED, "neqo issue 472"},
    {"Go crypto/tls", "1.19.8", "never; panics where the sequence number would wrap",
     "any number; newer releases count them (CVE-2026-56862)",
     "refuses and ends the session unless set to renegotiate freely", NOT_OFFERED, CLIENT_MEASURED,
     "source of 1.19.8: conn.go; go issue 80528"},
    {"Java", "17.0.15", "jdk.tls.keyLimits: after 2^37 bytes with AES-GCM and ChaCha20",
     "any number; past 2^37 bytes received it may send one per record until it is answered "
     "(JDK-8329548)",
     "yes, but a program that writes at that moment loses the session", NOT_OFFERED,
     CLIENT_MEASURED, "java.security of JDK 17; haproxy issue 3450"},
    {"rustls", "0.20.8", "since 0.23.11 after about 2^24 records; before that never",
     "0.23 before July 2026: 32 in the life of a session; since: 32 without data between them",
     "refuses and ends the session", NOT_OFFERED, CLIENT_MEASURED,
     "rustls issues 2003, 2037, 2709"},
    {"wolfSSL", "5.5.4", "after 2^24.5 records; in one old tree after 2^40",
     "any number, but not one that is cut into two records",
     "declines with a warning (Debian's build)", NOT_OFFERED, CLIENT_MEASURED,
     "source: internal.h of two releases"},
    {"mbedTLS", "2.28; 3.6", "never",
     "TLS 1.3 does not know KeyUpdate: the session ends without an alert",
     "declines with a warning unless switched on", UNKNOWN, CLIENT_REPORTED,
     "Mbed-TLS issues 10781, 10881"},
    {"s2n-tls", "", "after 2^24.5 records; with the kernel's records since September 2025", UNKNOWN,
     UNKNOWN, UNKNOWN, CLIENT_REPORTED, "s2n-tls issues 1966, 1920, 5484"},
    {"picotls, Botan", "", "yes; Botan since August 2026", UNKNOWN, UNKNOWN, UNKNOWN,
     CLIENT_REPORTED, "picotls issue 184; botan pull request 5877"},
    {"Zig standard library", "", UNKNOWN, "never answers a request for its own key", UNKNOWN,
     UNKNOWN, CLIENT_REPORTED, "zig issue 22508"},
    {"Schannel (Windows)", "", UNKNOWN,
     "shows messages after the handshake as renegotiation; some programs take it for one", UNKNOWN,
     UNKNOWN, CLIENT_REPORTED, "curl issue 18983"},
};
const size_t client_facts_count = ARRAY_SIZE(client_facts);

const char *client_evidence_name(enum client_evidence evidence)
{
    static const char *const names[] = {
        [CLIENT_MEASURED] = "measured", [CLIENT_REPORTED] = "reported"};
    return names[evidence];
}

json_t *client_facts_to_json(const struct client_facts *facts)
{
    json_t *object = json_object();

    json_set_text(object, "family", facts->family);
    json_set_text(object, "version", facts->version);
    json_set_text(object, "renews", facts->renews);
    json_set_text(object, "key_updates", facts->key_updates);
    json_set_text(object, "renegotiation", facts->renegotiation);
    json_set_text(object, "post_handshake_authentication", facts->post_handshake_authentication);
    json_set_text(object, "evidence", client_evidence_name(facts->evidence));
    json_set_text(object, "source", facts->source);
    json_set_text(object, "as_of", CLIENT_FACTS_AS_OF);
    return object;
}
