/* Errors of clients are recognised however they are written, and lead to findings and back. */
#include "watch/explain.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/attributes.h"

static void unknown(void **state)
{
    static const char *const texts[] = {"",          "nonsense", "999999", "alert",
                                        "alert 200", "curl",     "-1",     "certificate"};
    struct explain_answer answer;
    (void)state;

    for (size_t i = 0; i < ARRAY_SIZE(texts); i++) {
        if (explain(&answer, texts[i]))
            fail_msg("\"%s\" was recognised as %s", texts[i], answer.causes[0]->id);
    }
    assert_string_equal(explain_nearest("chain-incomplet"), "chain-incomplete");
    assert_string_equal(explain_nearest("NET::ERR_CERT_DATE_INVALDI"),
                        "NET::ERR_CERT_DATE_INVALID");
}

static void recognised(void **state)
{
    static const struct {
        const char *text, *cause;
    } cases[] = {
        {"NET::ERR_CERT_DATE_INVALID", "certificate-expired"},
        {"net::err_cert_common_name_invalid", "name-mismatch"},
        {"alert 45", "certificate-expired"},
        {"certificate expired", "certificate-expired"},
        {"SSL alert number 48", "chain-incomplete"},
        {"X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT_LOCALLY", "chain-incomplete"},
        {"verify error:num=20:unable to get local issuer certificate", "chain-incomplete"},
        {"verify error:num=19", "chain-untrusted"},
        {"curl: (60) SSL certificate problem: certificate has expired", "certificate-expired"},
        {"curl: (60)", "chain-incomplete"},
        {"curl 35", "handshake-failed"},
        {"self-signed certificate in certificate chain", "chain-untrusted"},
        {"self signed certificate", "chain-self-signed"},
        {"sun.security.validator.ValidatorException: PKIX path building failed: "
         "sun.security.provider.certpath.SunCertPathBuilderException: unable to find valid "
         "certification path to requested target",
         "chain-incomplete"},
        {"tls: failed to verify certificate: x509: certificate is valid for a.example, not "
         "b.example",
         "name-mismatch"},
        {"ssl.SSLCertVerificationError: [SSL: CERTIFICATE_VERIFY_FAILED] certificate verify "
         "failed: Hostname mismatch, certificate is not valid for 'b.example'",
         "name-mismatch"},
        {"SEC_ERROR_UNKNOWN_ISSUER", "chain-incomplete"},
        {"SSL_ERROR_RX_RECORD_TOO_LONG", "not-tls"},
        {"UNABLE_TO_VERIFY_LEAF_SIGNATURE", "chain-incomplete"},
        {"Chain-Superfluous", "chain-superfluous"},
        {"leaf-only", "chain-incomplete"},
        {"holdfast.conf: certificate 'shop': /etc/shop.pem: key-mismatch: the private key does not "
         "belong to the certificate of CN=shop",
         "key-mismatch"},
    };
    struct explain_answer answer;
    (void)state;

    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        if (!explain(&answer, cases[i].text))
            fail_msg("\"%s\" was not recognised", cases[i].text);
        if (strcmp(answer.causes[0]->id, cases[i].cause) != 0)
            fail_msg("\"%s\" is %s, not %s", cases[i].text, answer.causes[0]->id, cases[i].cause);
    }
}

/* A number alone may be a code of several. */
static void number(void **state)
{
    struct explain_answer answer;
    (void)state;

    assert_true(explain(&answer, "10"));
    assert_true(answer.error_count >= 2);
    assert_string_equal(answer.errors[0]->client, "OpenSSL");
}

/* Whatever an error leads to is explained, and no error leads to nothing. */
static void tables(void **state)
{
    (void)state;

    for (size_t i = 0; i < explain_error_count; i++) {
        const struct explain_error *error = &explain_errors[i];
        assert_non_null(error->causes[0]);
        for (size_t k = 0; k < EXPLAIN_CAUSES_MAX && error->causes[k] != NULL; k++) {
            if (explain_cause(error->causes[k]) == NULL)
                fail_msg("%s leads to %s, which is not explained", error->name, error->causes[k]);
        }
    }
    for (size_t i = 0; i < explain_cause_count; i++) {
        const struct explain_cause *cause = &explain_causes[i];
        assert_ptr_equal(explain_cause(cause->id), cause);
        assert_true(cause->what[0] != '\0' && cause->next[0] != '\0');
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(unknown),
        cmocka_unit_test(recognised),
        cmocka_unit_test(number),
        cmocka_unit_test(tables),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
