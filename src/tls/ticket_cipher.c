#include "tls/ticket_cipher.h"

#include <string.h>

#include <openssl/core_names.h>
#include <openssl/rand.h>

#include "base/secret.h"
#include "tls/handshake_internal.h"
#include "tls/ticket_ring.h"

/* What SSL_CTX_set_tlsext_ticket_key_evp_cb(3) lets us answer. */
enum answer { ANSWER_FAILED = -1, ANSWER_UNKNOWN = 0, ANSWER_GOOD = 1, ANSWER_GOOD_RENEW = 2 };

static bool set_keys(const struct ticket_key *key, const uint8_t *iv, EVP_CIPHER_CTX *cipher,
                     EVP_MAC_CTX *mac, bool sealing)
{
    uint8_t mac_key[TICKET_KEY_SECRET_SIZE];
    char digest[] = "SHA256";
    OSSL_PARAM parameters[] = {
        OSSL_PARAM_construct_octet_string(OSSL_MAC_PARAM_KEY, mac_key, sizeof mac_key),
        OSSL_PARAM_construct_utf8_string(OSSL_MAC_PARAM_DIGEST, digest, 0),
        OSSL_PARAM_construct_end()};

    memcpy(mac_key, key->mac_key, sizeof mac_key); /* OpenSSL wants it writable */
    bool good =
        EVP_CipherInit_ex(cipher, EVP_aes_256_cbc(), NULL, key->cipher_key, iv, sealing) == 1 &&
        EVP_MAC_CTX_set_params(mac, parameters) == 1;
    secret_wipe(mac_key, sizeof mac_key);
    return good;
}

static enum answer seal(const struct ticket_ring *ring, uint8_t *ret_name, uint8_t *ret_iv,
                        EVP_CIPHER_CTX *cipher, EVP_MAC_CTX *mac)
{
    struct ticket_key key;

    /* Without a key there is no ticket, but OpenSSL 3.0 would write a malformed one in TLS 1.3. */
    if (!ticket_ring_current(ring, &key))
        return ANSWER_FAILED;
    bool good = RAND_bytes(ret_iv, EVP_CIPHER_get_iv_length(EVP_aes_256_cbc())) == 1 &&
                set_keys(&key, ret_iv, cipher, mac, true);
    memcpy(ret_name, key.name, sizeof key.name);
    secret_wipe(&key, sizeof key);
    return good ? ANSWER_GOOD : ANSWER_FAILED;
}

static enum answer open_ticket(struct handshake *handshake, const struct ticket_ring *ring,
                               const uint8_t *name, const uint8_t *iv, EVP_CIPHER_CTX *cipher,
                               EVP_MAC_CTX *mac)
{
    struct ticket_key key;
    bool current;

    if (!ticket_ring_find(ring, name, &key, &current))
        return ANSWER_UNKNOWN;
    bool good = set_keys(&key, iv, cipher, mac, false);
    secret_wipe(&key, sizeof key);
    if (!good)
        return ANSWER_FAILED;
    /* A TLS 1.3 ticket is used once (RFC 9846 §C.4): there is a new one with every handshake. */
    return !current || SSL_version(handshake->ssl) == TLS1_3_VERSION ? ANSWER_GOOD_RENEW
                                                                     : ANSWER_GOOD;
}

static int on_ticket(SSL *ssl, unsigned char *name, unsigned char *iv, EVP_CIPHER_CTX *cipher,
                     EVP_MAC_CTX *mac, int sealing)
{
    struct handshake *handshake = SSL_get_app_data(ssl);
    const struct ticket_ring *ring = tls_server_ticket_ring(handshake->server);

    return sealing ? seal(ring, name, iv, cipher, mac)
                   : open_ticket(handshake, ring, name, iv, cipher, mac);
}

bool ticket_cipher_install(SSL_CTX *context)
{
    return SSL_CTX_set_tlsext_ticket_key_evp_cb(context, on_ticket) == 1;
}
