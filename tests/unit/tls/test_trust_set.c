/* tls/trust_set.h: what files are refused, who is judged how, and that handshakers get the same. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <openssl/ec.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>

#include "issued.h"
#include "tls/trust_set_internal.h"

#define HOUR 3600

static EVP_PKEY *ca_key, *other_key, *leaf_key;
static X509 *ca, *other_ca, *leaf, *second_leaf;
static char *ca_pem, *both_pem;

static X509 *authority(EVP_PKEY *key, const char *name)
{
    return crafted_new(&(struct crafted){.key = key,
                                         .common_name = name,
                                         .constraints = "critical,CA:TRUE",
                                         .usage = "critical,keyCertSign,cRLSign"});
}

static X509 *client(const char *name, long until_s)
{
    return crafted_new(&(struct crafted){.key = leaf_key,
                                         .issuer = ca,
                                         .issuer_key = ca_key,
                                         .common_name = name,
                                         .until_s = until_s,
                                         .extended_usage = "clientAuth"});
}

static int set_up(void **state)
{
    (void)state;
    issued_init();
    ca_key = EVP_EC_gen("P-256");
    other_key = EVP_EC_gen("P-256");
    leaf_key = EVP_EC_gen("P-256");
    ca = authority(ca_key, "Clients CA");
    other_ca = authority(other_key, "Other CA");
    leaf = client("first", HOUR / 2);
    second_leaf = client("second", HOUR / 2);
    ca_pem = pem_of_certificate(ca);
    char *other = pem_of_certificate(other_ca);
    assert_true(asprintf(&both_pem, "%s%s", ca_pem, other) > 0);
    free(other);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    free(ca_pem);
    free(both_pem);
    X509_free(ca);
    X509_free(other_ca);
    X509_free(leaf);
    X509_free(second_leaf);
    EVP_PKEY_free(ca_key);
    EVP_PKEY_free(other_key);
    EVP_PKEY_free(leaf_key);
    issued_fini();
    return 0;
}

/* ---- revocation lists ---- */

struct list {
    X509 *revoked; /* NULL: nobody */
    EVP_PKEY *key; /* NULL: the CA's */
    long number, next_s;
    int extension; /* NID of one more, critical; 0: none */
    const char *extension_text;
};

static void put_time(X509_CRL *crl, int (*set)(X509_CRL *, const ASN1_TIME *), long from_now)
{
    ASN1_TIME *moment = X509_gmtime_adj(NULL, from_now);
    assert_int_equal(set(crl, moment), 1);
    ASN1_TIME_free(moment);
}

static void revoke(X509_CRL *crl, X509 *certificate)
{
    X509_REVOKED *entry = X509_REVOKED_new();
    ASN1_TIME *moment = X509_gmtime_adj(NULL, -HOUR);

    assert_int_equal(X509_REVOKED_set_serialNumber(entry, X509_get_serialNumber(certificate)), 1);
    assert_int_equal(X509_REVOKED_set_revocationDate(entry, moment), 1);
    assert_int_equal(X509_CRL_add0_revoked(crl, entry), 1);
    ASN1_TIME_free(moment);
}

static char *list_pem(const struct list *list)
{
    X509_CRL *crl = X509_CRL_new();
    ASN1_INTEGER *number = ASN1_INTEGER_new();
    BIO *output = BIO_new(BIO_s_mem());
    char *data;

    assert_int_equal(X509_CRL_set_version(crl, 1), 1);
    assert_int_equal(X509_CRL_set_issuer_name(crl, X509_get_subject_name(ca)), 1);
    put_time(crl, X509_CRL_set1_lastUpdate, -HOUR);
    put_time(crl, X509_CRL_set1_nextUpdate, list->next_s != 0 ? list->next_s : HOUR);
    assert_int_equal(ASN1_INTEGER_set(number, list->number), 1);
    assert_int_equal(X509_CRL_add1_ext_i2d(crl, NID_crl_number, number, 0, 0), 1);
    if (list->extension != 0) {
        X509_EXTENSION *extension =
            X509V3_EXT_conf_nid(NULL, NULL, list->extension, list->extension_text);
        assert_non_null(extension);
        assert_int_equal(X509_CRL_add_ext(crl, extension, -1), 1);
        X509_EXTENSION_free(extension);
    }
    if (list->revoked != NULL)
        revoke(crl, list->revoked);
    assert_true(X509_CRL_sign(crl, list->key != NULL ? list->key : ca_key, EVP_sha256()) > 0);
    assert_int_equal(PEM_write_bio_X509_CRL(output, crl), 1);
    long size = BIO_get_mem_data(output, &data);
    char *text = strndup(data, (size_t)size);
    BIO_free(output);
    ASN1_INTEGER_free(number);
    X509_CRL_free(crl);
    return text;
}

static int make(struct trust_set **ret_set, const char *authorities, const char *list,
                struct error *error)
{
    const struct trust_file files[] = {{"ca.pem", authorities, strlen(authorities)},
                                       {"list.crl", list, list != NULL ? strlen(list) : 0}};

    return trust_set_new(ret_set, files, list != NULL ? 2 : 1, error);
}

static struct trust_set *made(const char *authorities, const struct list *list)
{
    char *text = list != NULL ? list_pem(list) : NULL;
    struct trust_set *set = NULL;
    struct error error = {0};

    if (make(&set, authorities, text, &error) != 0)
        fail_msg("%s", error.message);
    free(text);
    return set;
}

/* ---- clients ---- */

static struct client_identity identity_of(X509 *certificate, X509 *issuer)
{
    struct client_identity identity = {.chain_count = 2,
                                       .not_after = (int64_t)time(NULL) + HOUR / 2};

    trust_link(certificate, &identity.chain[0]);
    trust_link(issuer, &identity.chain[1]);
    return identity;
}

static enum trust_verdict judge(const struct trust_set *set, const struct client_identity *identity)
{
    return trust_set_judge(set, identity, (int64_t)time(NULL));
}

/* ---- tests ---- */

static void refused(const char *authorities, const char *list, enum error_code code,
                    const char *fragment)
{
    struct trust_set *set = NULL;
    struct error error = {0};

    assert_int_equal(make(&set, authorities, list, &error), -(int)code);
    assert_null(set);
    if (strstr(error.message, fragment) == NULL)
        fail_msg("got: %s\nwanted: %s", error.message, fragment);
}

static void bad_files(void **state)
{
    char *leaf_pem = pem_of_certificate(leaf);
    char *broken;
    (void)state;

    refused("", NULL, ERROR_CERTIFICATE_UNPARSABLE, "ca.pem: there is no certificate in it");
    refused("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", NULL,
            ERROR_CERTIFICATE_UNPARSABLE, "cannot be parsed");
    refused(leaf_pem, NULL, ERROR_CERTIFICATE_WRONG_USAGE, "no CA");
    assert_true(asprintf(&broken, "%s-----BEGIN CERTIFICATE-----\nAAAA\n", ca_pem) > 0);
    refused(broken, NULL, ERROR_CERTIFICATE_UNPARSABLE, "cannot be parsed");
    refused(ca_pem, "", ERROR_CERTIFICATE_UNPARSABLE, "list.crl: it is no revocation list");
    refused(ca_pem, ca_pem, ERROR_CERTIFICATE_UNPARSABLE, "there is none");
    free(broken);
    free(leaf_pem);
}

static void too_many_authorities(void **state)
{
    size_t size = strlen(ca_pem), count = TRUST_AUTHORITIES_MAX + 1;
    char *many = malloc(count * size + 1);
    struct trust_set *set;
    struct error error;
    (void)state;

    for (size_t i = 0; i < count; i++)
        memcpy(many + i * size, ca_pem, size + 1);
    refused(many, NULL, ERROR_CERTIFICATE_UNPARSABLE, "found more than 1000 certificates");
    assert_int_equal(make(&set, many + size, NULL, &error), 0);
    trust_set_unref(set);
    free(many);
}

static X509_NAME *name_of(int type, const char *organization, const char *common_name)
{
    X509_NAME *name = X509_NAME_new();

    assert_non_null(name);
    if (organization != NULL)
        assert_int_equal(X509_NAME_add_entry_by_NID(name, NID_organizationName, type,
                                                    (const unsigned char *)organization, -1, -1, 0),
                         1);
    assert_int_equal(X509_NAME_add_entry_by_NID(name, NID_commonName, type,
                                                (const unsigned char *)common_name, -1, -1, 0),
                     1);
    return name;
}

/* A list revokes by the name of its issuer: where OpenSSL takes two names for the same, so must we.
 */
static void names(void **state)
{
    X509_NAME *const all[] = {
        name_of(V_ASN1_UTF8STRING, "Org", "Clients CA"),
        name_of(V_ASN1_PRINTABLESTRING, "Org", "clients  ca"),
        name_of(V_ASN1_PRINTABLESTRING, " ORG", "Clients CA "),
        name_of(V_ASN1_UTF8STRING, "Org\t", "Clients\n CA"),
        name_of(V_ASN1_UTF8STRING, "Org", "ClientsCA"),
        name_of(V_ASN1_UTF8STRING, NULL, "Clients CA"),
        name_of(V_ASN1_UTF8STRING, NULL, "Clients CA,O=Org"),
        name_of(V_ASN1_UTF8STRING, "OrgClients", "CA"),
        name_of(V_ASN1_UTF8STRING, "", "Clients CA"),
    };
    uint8_t digests[ARRAY_SIZE(all)][CLIENT_DIGEST_SIZE];
    (void)state;

    for (size_t i = 0; i < ARRAY_SIZE(all); i++)
        trust_name_digest(all[i], digests[i]);
    assert_int_equal(X509_NAME_cmp(all[0], all[3]), 0);
    for (size_t i = 0; i < ARRAY_SIZE(all); i++) {
        for (size_t j = 0; j < ARRAY_SIZE(all); j++)
            assert_int_equal(memcmp(digests[i], digests[j], CLIENT_DIGEST_SIZE) == 0,
                             X509_NAME_cmp(all[i], all[j]) == 0);
    }
    for (size_t i = 0; i < ARRAY_SIZE(all); i++)
        X509_NAME_free(all[i]);
}

static void bad_lists(void **state)
{
    static const struct {
        int extension;
        const char *text;
        const char *fragment;
    } cases[] = {
        {NID_delta_crl, "critical,DER:020101", "delta list"},
        {NID_issuing_distribution_point, "critical,DER:30038401FF", "certificates of other CAs"},
        {NID_issuing_distribution_point, "critical,DER:04020000", "cannot be parsed"},
        {NID_ext_key_usage, "critical,clientAuth", "critical extension that is not known"},
    };
    char *list = list_pem(&(struct list){.key = other_key});
    (void)state;

    refused(ca_pem, list, ERROR_CERTIFICATE_CHAIN_BROKEN, "not signed by a CA of client-ca");
    free(list);
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        list = list_pem(
            &(struct list){.extension = cases[i].extension, .extension_text = cases[i].text});
        refused(ca_pem, list, ERROR_CERTIFICATE_UNPARSABLE, cases[i].fragment);
        free(list);
    }
}

static void verdicts(void **state)
{
    struct client_identity first = identity_of(leaf, ca), second = identity_of(second_leaf, ca);
    struct client_identity nobody = {.not_after = INT64_MAX};
    struct trust_set *set = made(ca_pem, &(struct list){.revoked = leaf, .number = 1});
    struct trust_set *other = made(both_pem + strlen(ca_pem), NULL);
    (void)state;

    assert_int_equal(judge(set, &first), TRUST_REVOKED);
    assert_int_equal(judge(set, &second), TRUST_ACCEPTED);
    assert_int_equal(judge(set, &nobody), TRUST_UNKNOWN);
    assert_int_equal(judge(other, &second), TRUST_UNKNOWN);
    assert_int_equal(trust_set_judge(set, &second, second.not_after), TRUST_ACCEPTED);
    assert_int_equal(trust_set_judge(set, &second, second.not_after + 1), TRUST_EXPIRED);
    second.not_after = INT64_MAX; /* then the anchor's own end counts */
    assert_int_equal(trust_set_judge(set, &second, (int64_t)time(NULL) + 2 * HOUR), TRUST_EXPIRED);
    trust_set_unref(set);
    trust_set_unref(other);
}

/* The serial number of another issuer's certificate is nobody's. */
static void same_serial_of_another_issuer(void **state)
{
    X509 *foreign = crafted_new(&(struct crafted){
        .key = leaf_key, .issuer = other_ca, .issuer_key = other_key, .common_name = "foreign"});
    (void)state;

    assert_int_equal(X509_set_serialNumber(foreign, X509_get_serialNumber(leaf)), 1);
    struct client_identity identity = identity_of(foreign, other_ca);
    struct trust_set *set = made(both_pem, &(struct list){.revoked = leaf, .number = 1});
    assert_int_equal(judge(set, &identity), TRUST_ACCEPTED);
    trust_set_unref(set);
    X509_free(foreign);
}

/* Another certificate of the same name and key is the same CA; another key is not. */
static void renewed_authority(void **state)
{
    X509 *renewed = authority(ca_key, "Clients CA"), *rekeyed = authority(other_key, "Clients CA");
    char *renewed_pem = pem_of_certificate(renewed), *rekeyed_pem = pem_of_certificate(rekeyed);
    struct client_identity identity = identity_of(leaf, ca);
    (void)state;

    struct trust_set *set = made(renewed_pem, NULL);
    assert_int_equal(judge(set, &identity), TRUST_ACCEPTED);
    trust_set_unref(set);
    set = made(rekeyed_pem, NULL);
    assert_int_equal(judge(set, &identity), TRUST_UNKNOWN);
    trust_set_unref(set);
    free(renewed_pem);
    free(rekeyed_pem);
    X509_free(renewed);
    X509_free(rekeyed);
}

static void digests(void **state)
{
    struct trust_set *one = made(ca_pem, &(struct list){.revoked = leaf, .number = 1}),
                     *again = made(ca_pem, &(struct list){.revoked = leaf, .number = 2}),
                     *empty = made(ca_pem, &(struct list){.number = 3}),
                     *both = made(both_pem, &(struct list){.number = 3});
    (void)state;

    assert_memory_equal(trust_set_digest(one), trust_set_digest(again), 32);
    assert_memory_not_equal(trust_set_digest(one), trust_set_digest(empty), 32);
    assert_memory_equal(trust_set_authorities_digest(one), trust_set_authorities_digest(empty), 32);
    assert_memory_not_equal(trust_set_authorities_digest(one), trust_set_authorities_digest(both),
                            32);
    trust_set_unref(one);
    trust_set_unref(again);
    trust_set_unref(empty);
    trust_set_unref(both);
}

static void what_may_follow(void **state)
{
    int64_t now = (int64_t)time(NULL);
    struct trust_set *set = made(ca_pem, &(struct list){.number = 5}),
                     *older = made(ca_pem, &(struct list){.number = 4}),
                     *newer = made(ca_pem, &(struct list){.number = 300}),
                     *over = made(ca_pem, &(struct list){.number = 6, .next_s = -60}),
                     *none = made(ca_pem, NULL);
    struct error error = {0};
    (void)state;

    assert_int_equal(trust_set_follows(set, older, now, &error),
                     -(int)ERROR_CERTIFICATE_OLDER_THAN_LIVE);
    assert_int_equal(trust_set_follows(set, over, now, &error), -(int)ERROR_CERTIFICATE_EXPIRED);
    assert_int_equal(trust_set_follows(over, over, now, &error), 0);
    assert_int_equal(trust_set_follows(set, newer, now, &error), 0);
    assert_int_equal(trust_set_follows(set, none, now, &error), 0);
    assert_true(trust_set_stale(over, now));
    assert_false(trust_set_stale(set, now));
    assert_true(trust_set_issuer_stale(over, X509_get_subject_name(ca), now));
    assert_false(trust_set_issuer_stale(over, X509_get_subject_name(other_ca), now));
    trust_set_unref(set);
    trust_set_unref(older);
    trust_set_unref(newer);
    trust_set_unref(over);
    trust_set_unref(none);
}

/* Handshakers judge as control does; a document that is cut or lies is refused. */
static void document(void **state)
{
    struct trust_set *set = made(both_pem, &(struct list){.revoked = leaf, .number = 7}), *copy;
    struct client_identity first = identity_of(leaf, ca), second = identity_of(second_leaf, ca);
    struct error error = {0};
    size_t size;
    (void)state;

    trust_set_number(set, 42);
    uint8_t *data = trust_set_export(set, &size);
    assert_non_null(data);
    assert_int_equal(trust_set_import(&copy, data, size, &error), 0);
    assert_int_equal(trust_set_generation(copy), 42);
    assert_memory_equal(trust_set_digest(copy), trust_set_digest(set), 32);
    assert_int_equal(judge(copy, &first), TRUST_REVOKED);
    assert_int_equal(judge(copy, &second), TRUST_ACCEPTED);
    trust_set_unref(copy);
    for (size_t cut = 0; cut < size; cut++) {
        uint8_t *part = malloc(cut + 1);
        memcpy(part, data, cut);
        assert_int_not_equal(trust_set_import(&copy, part, cut, &error), 0);
        free(part);
    }
    data[28] ^= 0xff; /* the first certificate is none */
    assert_int_not_equal(trust_set_import(&copy, data, size, &error), 0);
    assert_int_equal(ERR_peek_error(), 0); /* nothing that the next handshake could stumble over */
    data[28] ^= 0xff;
    memset(data + 12, 0xff, 12); /* the numbers of what follows */
    assert_int_not_equal(trust_set_import(&copy, data, size, &error), 0);
    free(data);
    trust_set_unref(set);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(bad_files),
        cmocka_unit_test(too_many_authorities),
        cmocka_unit_test(names),
        cmocka_unit_test(bad_lists),
        cmocka_unit_test(verdicts),
        cmocka_unit_test(same_serial_of_another_issuer),
        cmocka_unit_test(renewed_authority),
        cmocka_unit_test(digests),
        cmocka_unit_test(what_may_follow),
        cmocka_unit_test(document),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
