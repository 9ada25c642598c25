#include "tls/dane.h"

#include <openssl/evp.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "issued.h"

static EVP_PKEY *keys[3];
static X509 *certificates[3]; /* leaf, intermediate, root */
static const struct certificate_facts *chain[3];
static uint8_t digest_512[64];

static int set_up(void **state)
{
    (void)state;
    static const char *const names[] = {"mx.test", "Intermediate", "Root"};

    issued_init();
    for (int i = 2; i >= 0; i--) {
        keys[i] = EVP_EC_gen("P-256");
        certificates[i] =
            crafted_new(&(struct crafted){.key = keys[i],
                                          .issuer = i < 2 ? certificates[i + 1] : NULL,
                                          .issuer_key = i < 2 ? keys[i + 1] : NULL,
                                          .common_name = names[i],
                                          .constraints = i > 0 ? "critical,CA:TRUE" : NULL,
                                          .usage = i > 0 ? "critical,keyCertSign" : NULL});
        chain[i] = facts_of(certificates[i]);
    }
    return EVP_Digest(chain[0]->der, chain[0]->der_size, digest_512, NULL, EVP_sha512(), NULL) != 1;
}

static int tear_down(void **state)
{
    (void)state;
    for (size_t i = 0; i < 3; i++) {
        certificate_facts_unref(chain[i]);
        X509_free(certificates[i]);
        EVP_PKEY_free(keys[i]);
    }
    issued_fini();
    return 0;
}

static void what_differs_does_not_match(void **state)
{
    (void)state;

    assert_false(dane_matches(chain[0], 1, 1, chain[1]->public_key_sha256, 32));
    assert_false(dane_matches(chain[0], 0, 1, chain[0]->public_key_sha256, 32));
    assert_false(dane_matches(chain[0], 1, 1, chain[0]->public_key_sha256, 31));
    assert_false(dane_matches(chain[0], 1, 2, chain[0]->public_key_sha256, 32));
    assert_false(dane_matches(chain[0], 0, 0, chain[0]->der, chain[0]->der_size - 1));
    assert_false(dane_matches(chain[0], 2, 1, chain[0]->sha256, 32)); /* unknown selector */
    assert_false(dane_matches(chain[0], 0, 3, chain[0]->sha256, 32)); /* unknown matching */
    assert_false(dane_matches(chain[0], 1, 1, chain[0]->public_key_sha256, 0));
}

static void certificate_and_key_match_by_digest_and_whole(void **state)
{
    (void)state;

    assert_true(dane_matches(chain[0], 1, 1, chain[0]->public_key_sha256, 32));
    assert_true(dane_matches(chain[0], 0, 1, chain[0]->sha256, 32));
    assert_true(dane_matches(chain[0], 0, 2, digest_512, 64));
    assert_true(dane_matches(chain[0], 0, 0, chain[0]->der, chain[0]->der_size));
}

static void usage_3_is_about_the_leaf_alone(void **state)
{
    (void)state;

    assert_false(dane_chain_matches(chain, 3, 3, 0, 1, chain[1]->sha256, 32));
    assert_false(dane_chain_matches(chain, 0, 3, 0, 1, chain[0]->sha256, 32));
    assert_true(dane_chain_matches(chain, 3, 3, 0, 1, chain[0]->sha256, 32));
}

static void usage_2_is_about_what_signatures_lead_to(void **state)
{
    (void)state;
    const struct certificate_facts *gap[] = {chain[0], chain[2]};

    assert_false(dane_chain_matches(chain, 3, 2, 0, 1, chain[0]->sha256, 32));
    assert_false(dane_chain_matches(gap, 2, 2, 0, 1, chain[2]->sha256, 32));
    assert_false(dane_chain_matches(chain, 3, 1, 0, 1, chain[1]->sha256, 32));
    assert_true(dane_chain_matches(chain, 3, 2, 0, 1, chain[1]->sha256, 32));
    assert_true(dane_chain_matches(chain, 3, 2, 1, 1, chain[2]->public_key_sha256, 32));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_differs_does_not_match),
        cmocka_unit_test(certificate_and_key_match_by_digest_and_whole),
        cmocka_unit_test(usage_3_is_about_the_leaf_alone),
        cmocka_unit_test(usage_2_is_about_what_signatures_lead_to),
    };

    return cmocka_run_group_tests(tests, set_up, tear_down);
}
