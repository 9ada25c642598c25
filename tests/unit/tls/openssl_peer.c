#include "openssl_peer.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <openssl/x509.h>

/* Traffic secrets of the connection that is being made, from the keylog callback. */
static struct {
    uint8_t client[SUITE_SECRET_MAX], server[SUITE_SECRET_MAX];
} secrets;

static uint8_t hex_digit(char c)
{
    return (uint8_t)(c <= '9' ? c - '0' : c - 'a' + 10);
}

static void keylog(const SSL *ssl, const char *line)
{
    uint8_t *secret = strncmp(line, "CLIENT_TRAFFIC_SECRET_0 ", 24) == 0   ? secrets.client
                      : strncmp(line, "SERVER_TRAFFIC_SECRET_0 ", 24) == 0 ? secrets.server
                                                                           : NULL;
    (void)ssl;
    if (secret == NULL) {
        return;
    }
    const char *hex = strrchr(line, ' ') + 1;
    for (size_t i = 0; hex[2 * i] != '\0' && i < SUITE_SECRET_MAX; i++) {
        secret[i] = (uint8_t)(hex_digit(hex[2 * i]) << 4 | hex_digit(hex[2 * i + 1]));
    }
}

static bool wants_rsa(const struct suite *suite)
{
    return strstr(suite->name, "_RSA_") != NULL;
}

static EVP_PKEY *make_key(bool rsa)
{
    static EVP_PKEY *keys[2];
    if (keys[rsa] == NULL) {
        keys[rsa] = rsa ? EVP_RSA_gen(2048) : EVP_EC_gen("P-256");
        assert_non_null(keys[rsa]);
    }
    return keys[rsa];
}

static X509 *make_certificate(EVP_PKEY *key)
{
    X509 *certificate = X509_new();
    assert_non_null(certificate);
    ASN1_INTEGER_set(X509_get_serialNumber(certificate), 1);
    X509_gmtime_adj(X509_getm_notBefore(certificate), -60);
    X509_gmtime_adj(X509_getm_notAfter(certificate), 3600);
    X509_NAME_add_entry_by_txt(X509_get_subject_name(certificate), "CN", MBSTRING_ASC,
                               (const unsigned char *)"peer", -1, -1, 0);
    X509_set_issuer_name(certificate, X509_get_subject_name(certificate));
    X509_set_pubkey(certificate, key);
    assert_true(X509_sign(certificate, key, EVP_sha256()) > 0);
    return certificate;
}

static SSL *make_ssl(const struct openssl_peer_options *options, bool server)
{
    const struct suite *suite = options->suite;
    SSL_CTX *context = SSL_CTX_new(server ? TLS_server_method() : TLS_client_method());
    assert_non_null(context);
    SSL_CTX_set_min_proto_version(context, suite->version);
    SSL_CTX_set_max_proto_version(context, suite->version);
    SSL_CTX_set_keylog_callback(context, keylog);
    /* A server leg could not know how many tickets its forgotten SSL has sent. */
    SSL_CTX_set_num_tickets(context, options->leg_is_client ? 2 : 0);
    if (suite->version == TLS_VERSION_1_3) {
        assert_int_equal(SSL_CTX_set_ciphersuites(context, suite->name), 1);
    }
    if (server) {
        EVP_PKEY *key = make_key(wants_rsa(suite));
        X509 *certificate = make_certificate(key);
        assert_int_equal(SSL_CTX_use_certificate(context, certificate), 1);
        assert_int_equal(SSL_CTX_use_PrivateKey(context, key), 1);
        X509_free(certificate);
    }
    SSL *ssl = SSL_new(context);
    assert_non_null(ssl);
    SSL_CTX_free(context);
    SSL_set_bio(ssl, BIO_new(BIO_s_mem()), BIO_new(BIO_s_mem()));
    if (suite->version == TLS_VERSION_1_2) {
        uint8_t id[2] = {(uint8_t)(suite->id >> 8), (uint8_t)suite->id};
        assert_int_equal(SSL_set_cipher_list(ssl, SSL_CIPHER_get_name(SSL_CIPHER_find(ssl, id))),
                         1);
    }
    if (server) {
        SSL_set_accept_state(ssl);
    } else {
        SSL_set_connect_state(ssl);
        if (options->fragment_code != 0) {
            SSL_set_tlsext_max_fragment_length(ssl, options->fragment_code);
        }
    }
    return ssl;
}

/* Moves what `from` has written to `to`; returns the explicit nonce of the last record in it. */
static uint64_t move_flight(SSL *from, SSL *to)
{
    uint8_t flight[65536];
    uint64_t nonce = 0;
    int n = BIO_read(SSL_get_wbio(from), flight, sizeof(flight));

    for (int at = 0; at + 13 <= n; at += 5 + (flight[at + 3] << 8 | flight[at + 4])) {
        memcpy(&nonce, flight + at + 5, sizeof(nonce));
    }
    if (n > 0) {
        assert_int_equal(BIO_write(SSL_get_rbio(to), flight, n), n);
    }
    return __builtin_bswap64(nonce);
}

static void take_keys(struct openssl_peer *peer, SSL *ours, const struct suite *suite,
                      uint64_t last_nonce)
{
    struct leg *leg = &peer->leg;
    struct record_key client = {0}, server = {0};

    if (suite->version == TLS_VERSION_1_3) {
        memcpy(client.secret, secrets.client, sizeof(client.secret));
        memcpy(server.secret, secrets.server, sizeof(server.secret));
        assert_true(record_key_derive(suite, &client) && record_key_derive(suite, &server));
    } else {
        uint8_t master[48], client_random[32], server_random[32];
        SSL_SESSION_get_master_key(SSL_get_session(ours), master, sizeof(master));
        SSL_get_client_random(ours, client_random, sizeof(client_random));
        SSL_get_server_random(ours, server_random, sizeof(server_random));
        assert_true(
            record_key_block(suite, master, client_random, server_random, &client, &server));
        leg->read_sequence = leg->write_sequence = 1; /* Finished was 0 */
        leg->write_nonce = last_nonce + 1;
    }
    peer->keys[0].write = leg->is_client ? client : server;
    peer->keys[0].read = leg->is_client ? server : client;
}

struct openssl_peer *openssl_peer_new(const struct openssl_peer_options *options)
{
    struct openssl_peer *peer = calloc(1, sizeof(*peer));
    assert_non_null(peer);
    peer->ssl = make_ssl(options, options->leg_is_client);
    SSL *ours = make_ssl(options, !options->leg_is_client);
    uint64_t nonce = 0;

    memset(&secrets, 0, sizeof(secrets));
    for (int round = 0;
         round < 5 && !(SSL_is_init_finished(ours) && SSL_is_init_finished(peer->ssl)); round++) {
        SSL_do_handshake(ours);
        nonce = move_flight(ours, peer->ssl);
        SSL_do_handshake(peer->ssl);
        if (!SSL_is_init_finished(ours)) {
            move_flight(peer->ssl, ours);
        }
    }
    assert_true(SSL_is_init_finished(ours) && SSL_is_init_finished(peer->ssl));
    assert_int_equal(SSL_CIPHER_get_protocol_id(SSL_get_current_cipher(ours)), options->suite->id);
    size_t fragment_max = SSL_SESSION_get_max_fragment_length(SSL_get_session(ours)) != 0
                              ? (size_t)256 << options->fragment_code
                              : RECORD_PLAINTEXT_MAX;
    leg_init(&peer->leg, options->suite, options->leg_is_client, fragment_max);
    take_keys(peer, ours, options->suite, nonce);
    SSL_free(ours);
    peer->pending_size = openssl_peer_output(peer, peer->pending, sizeof(peer->pending));
    return peer;
}

void openssl_peer_free(struct openssl_peer *peer)
{
    SSL_free(peer->ssl);
    free(peer);
}

size_t openssl_peer_output(struct openssl_peer *peer, uint8_t *output, size_t size)
{
    int n = BIO_read(SSL_get_wbio(peer->ssl), output, (int)size);
    return n > 0 ? (size_t)n : 0;
}

size_t openssl_peer_seal(struct openssl_peer *peer, const uint8_t *input, size_t size,
                         uint8_t *output, size_t output_size)
{
    assert_int_equal(SSL_write(peer->ssl, input, (int)size), (int)size);
    return openssl_peer_output(peer, output, output_size);
}

size_t openssl_peer_open(struct openssl_peer *peer, const uint8_t *input, size_t size,
                         uint8_t *output, size_t output_size, int *ret_error)
{
    size_t total = 0;
    int n;

    if (size > 0) {
        assert_int_equal(BIO_write(SSL_get_rbio(peer->ssl), input, (int)size), (int)size);
    }
    while ((n = SSL_read(peer->ssl, output + total, (int)(output_size - total))) > 0) {
        total += (size_t)n;
    }
    *ret_error = SSL_get_error(peer->ssl, n);
    return total;
}
