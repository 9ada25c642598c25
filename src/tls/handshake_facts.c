/* What was negotiated. */
#include "tls/handshake_internal.h"

#include <string.h>

#include <openssl/err.h>

#include "tls/certificate_internal.h"
#include "tls/openssl_auto.h"

static const char *version_name(uint16_t version)
{
    return version == TLS_VERSION_1_3   ? "TLSv1.3"
           : version == TLS_VERSION_1_2 ? "TLSv1.2"
                                        : "unknown";
}

static const char *signature_name(int key_nid, int digest_nid)
{
    static const struct {
        int key, digest;
        const char *name;
    } names[] = {
        {EVP_PKEY_EC, NID_sha256, "ecdsa_sha256"},
        {EVP_PKEY_EC, NID_sha384, "ecdsa_sha384"},
        {EVP_PKEY_EC, NID_sha512, "ecdsa_sha512"},
        {EVP_PKEY_RSA_PSS, NID_sha256, "rsa_pss_sha256"},
        {EVP_PKEY_RSA_PSS, NID_sha384, "rsa_pss_sha384"},
        {EVP_PKEY_RSA_PSS, NID_sha512, "rsa_pss_sha512"},
        {EVP_PKEY_RSA, NID_sha256, "rsa_pkcs1_sha256"},
        {EVP_PKEY_RSA, NID_sha384, "rsa_pkcs1_sha384"},
        {EVP_PKEY_RSA, NID_sha512, "rsa_pkcs1_sha512"},
    };

    for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
        if (names[i].key == key_nid && names[i].digest == digest_nid)
            return names[i].name;
    }
    return "unknown";
}

/* The signature that proved the server's certificate: ours as server, the peer's as client. A
 * resumed session has none. */
static void signature_collect(struct handshake *handshake)
{
    struct handshake_facts *facts = &handshake->facts;
    SSL *ssl = handshake->ssl;
    bool client = handshake_is_client(handshake);
    int key = NID_undef, digest = NID_undef;

    facts->signature_algorithm = "none";
    facts->key_type = client ? KEY_TYPE_ECDSA : tls_server_key_type(handshake->server);
    if (facts->resumed || (client ? SSL_get_peer_signature_type_nid(ssl, &key)
                                  : SSL_get_signature_type_nid(ssl, &key)) != 1)
        return;
    if ((client ? SSL_get_peer_signature_nid(ssl, &digest) : SSL_get_signature_nid(ssl, &digest)) !=
        1)
        return;
    facts->key_type = key == EVP_PKEY_EC ? KEY_TYPE_ECDSA : KEY_TYPE_RSA;
    facts->signature_algorithm = signature_name(key, digest);
}

void handshake_facts_peer(struct handshake *handshake)
{
    struct handshake_facts *facts = &handshake->facts;
    X509 *peer = SSL_get0_peer_certificate(handshake->ssl);

    if (peer == NULL)
        return;
    facts->peer_subject = certificate_name_text(
        handshake->peer_subject, sizeof handshake->peer_subject, X509_get_subject_name(peer));
    if (handshake->server != NULL && handshake->peer == NULL && X509_up_ref(peer) == 1) {
        handshake->peer = peer;
        handshake_common_name_collect(handshake, peer);
    }
    if (handshake->server != NULL && handshake->client_identity.chain_count > 0)
        facts->client_identity = &handshake->client_identity;
    if (X509_digest(peer, EVP_sha256(), facts->peer_fingerprint, NULL) != 1)
        memset(facts->peer_fingerprint, 0, sizeof facts->peer_fingerprint);
}

static uint16_t fragment_max(const SSL_SESSION *session)
{
    uint8_t code = SSL_SESSION_get_max_fragment_length(session);

    /* RFC 6066 §4: 1 to 4 mean 2^9 to 2^12. */
    return (uint16_t)(code >= 1 && code <= 4 ? 256u << code : RECORD_PLAINTEXT_MAX);
}

/* What stands in the session, which a handshake that fails early has not yet. */
static void session_collect(struct handshake *handshake)
{
    const SSL_SESSION *session = SSL_get0_session(handshake->ssl);
    const char *group =
        session != NULL
            ? SSL_group_to_name(handshake->ssl, (int)SSL_get_negotiated_group(handshake->ssl))
            : NULL;

    handshake->facts.group = group != NULL ? group : "none";
    handshake->facts.fragment_max = session != NULL ? fragment_max(session) : RECORD_PLAINTEXT_MAX;
    if (session != NULL)
        handshake_facts_peer(handshake);
}

/* OpenSSL passes over a ticket without a word when version or suite do not fit. */
static void resumption_collect(struct handshake *handshake)
{
    struct handshake_facts *facts = &handshake->facts;

    facts->resumption_offered =
        facts->resumed || resumption_offered(&handshake->offer, facts->version);
    facts->miss = !facts->resumption_offered || facts->resumed ? RESUMPTION_MISS_NONE
                  : handshake->miss != RESUMPTION_MISS_NONE    ? handshake->miss
                  : SSL_get_options(handshake->ssl) & SSL_OP_NO_TICKET
                      ? RESUMPTION_MISS_POLICY_CHANGED
                      : RESUMPTION_MISS_UNSUITABLE;
}

void handshake_facts_collect(struct handshake *handshake)
{
    struct handshake_facts *facts = &handshake->facts;
    SSL *ssl = handshake->ssl;
    const unsigned char *alpn;
    unsigned alpn_size;
    const SSL_CIPHER *cipher = SSL_get_current_cipher(ssl);

    facts->version = (uint16_t)SSL_version(ssl);
    facts->version_name = version_name(facts->version);
    facts->suite = cipher != NULL ? SSL_CIPHER_get_protocol_id(cipher) : 0;
    facts->suite_name = cipher != NULL ? SSL_CIPHER_get_name(cipher) : "none";
    facts->resumed = SSL_session_reused(ssl) == 1;
    facts->hello_retry = handshake->hello_retry;
    SSL_get0_alpn_selected(ssl, &alpn, &alpn_size);
    facts->alpn_size = alpn_size <= sizeof handshake->alpn ? alpn_size : 0;
    if (facts->alpn_size > 0)
        memcpy(handshake->alpn, alpn, facts->alpn_size);
    facts->alpn = handshake->alpn;
    facts->records_read = (uint32_t)handshake->read.records;
    facts->records_written = (uint32_t)handshake->write.records;
    signature_collect(handshake);
    if (!handshake_is_client(handshake))
        resumption_collect(handshake);
    session_collect(handshake);
    ERR_clear_error();
}

void handshake_facts(const struct handshake *handshake, struct handshake_facts *ret_facts)
{
    *ret_facts = handshake->facts;
}

bool handshake_peer_fingerprint(const struct handshake *handshake, uint8_t ret_fingerprint[32])
{
    if (handshake->facts.peer_subject == NULL)
        return false;
    memcpy(ret_fingerprint, handshake->facts.peer_fingerprint, 32);
    return true;
}
