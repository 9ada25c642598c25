/* What of a fleet still has a property, and who is configured differently. */
#include "watch/campaign.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#include "base/attributes.h"
#include "base/json.h"
#include "watch/comparison.h"

#define ENDPOINT                                                                                   \
    "{\"target\":\"a:443\",\"key_type\":\"rsa\",\"verdict\":\"warning\",\"outcome\":\"seen\","     \
    "\"tls\":{\"version\":\"TLS 1.2\",\"forward_secrecy\":true},\"inventory\":{\"versions\":{"     \
    "\"TLS 1.0\":\"yes\",\"TLS 1.1\":\"no\",\"TLS 1.2\":\"yes\"}},\"findings\":[{\"id\":\"x-y\"}," \
    "{\"id\":\"chain-order\"}],\"certificates\":[{\"role\":\"leaf\",\"sha256\":\"aa\","            \
    "\"key\":\"RSA\",\"key_bits\":2048,\"signature_digest\":\"sha256\",\"days_left\":20.5,"        \
    "\"life_left\":0.25,\"issuer\":\"CN=Small CA,O=Example\",\"subject_an\":[\"a.example\","       \
    "\"b.example\"]},{\"role\":\"intermediate\",\"sha256\":\"bb\",\"key\":\"RSA\","                \
    "\"key_bits\":4096,\"signature_digest\":\"sha256\",\"days_left\":900},{\"role\":\"root\","     \
    "\"sha256\":\"cc\",\"signature_digest\":\"sha1\",\"days_left\":-3}]}"

static void refused(void **state)
{
    static const struct {
        const char *text, *message;
    } cases[] = {
        {"", "expected a property"},
        {"sig", "expected PROPERTY"},
        {"=sha1", "expected PROPERTY"},
        {"sig=", "expected a value"},
        {"colour=red", "there is no property \"colour\"; expected one of sig, "},
        {"bits<many", "\"many\" is no number"},
        {"expires<soon", "write 30d or 12h"},
        {"bits<nan", "\"nan\" is no number"},
        {"expires<inf", "write 30d or 12h"},
        {"version<TLS 9", "write TLS 1.2"},
        {"sig<sha1", "sig has no order"},
        {"sig=a,sig=a,sig=a,sig=a,sig=a,sig=a,sig=a,sig=a,sig=a", "at most 8 terms"},
        {"si\033g=a", "\\x1b"},
    };
    (void)state;

    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        struct campaign campaign;
        struct error error = {0};
        assert_int_not_equal(campaign_parse(&campaign, cases[i].text, &error), 0);
        if (strstr(error.message, cases[i].message) == NULL)
            fail_msg("%s: %s", cases[i].text, error.message);
    }
}

/* Certificates and suites call it differently. */
static void keys_of_two_names(void **state)
{
    static const char *const texts[] = {"key=ecdsa", "key=EC", "key~ECDSA", "key!=rsa"};
    AUTO(json_t_pointer) endpoint = json_loads("{\"certificates\":[{\"key\":\"EC\"}]}", 0, NULL);
    (void)state;

    for (size_t i = 0; i < ARRAY_SIZE(texts); i++) {
        struct campaign campaign;
        struct error error = {0};
        const json_t *certificate;
        assert_int_equal(campaign_parse(&campaign, texts[i], &error), 0);
        assert_true(campaign_matches(&campaign, endpoint, &certificate));
    }
}

static void matching(void **state)
{
    static const struct {
        const char *text;
        bool matches;
        const char *certificate; /* NULL: none is about one */
    } cases[] = {
        {"sig=sha1", false, NULL}, /* only the root, whose signature nobody verifies */
        {"sig=sha256", true, "aa"},
        {"key=rsa,bits>=3072", true, "bb"},
        {"key=rsa, bits<3072", true, "aa"},
        {"key=ecdsa", false, NULL},
        {"bits<2048", false, NULL},
        {"bits!=2048", true, "bb"},
        {"expires<30d", true, "aa"},
        {"expires<24h,role=leaf", false, NULL},
        {"expires<3w,role!=root", true, "aa"},
        {"life<33%", true, "aa"},
        {"issuer~small ca", true, "aa"},
        {"names=b.example", true, "aa"},
        {"names~c.example", false, NULL},
        {"version=TLS 1.2", true, NULL},
        {"version<1.3", true, NULL},
        {"version<TLS 1.2", false, NULL},
        {"accepts<1.2", true, NULL},
        {"accepts=TLS 1.1", false, NULL},
        {"accepts!=TLS 1.0", false, NULL},
        {"finding=chain-order", true, NULL},
        {"finding!=chain-order", false, NULL},
        {"verdict=warning,sig=sha256", true, "aa"},
        {"verdict=critical,sig=sha256", false, NULL},
        {"forward-secrecy=yes", true, NULL},
        {"group=X25519", false, NULL},
        {"group!=X25519", false, NULL}, /* unknown is neither */
    };
    AUTO(json_t_pointer) endpoint = json_loads(ENDPOINT, 0, NULL);
    (void)state;

    assert_non_null(endpoint);
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        struct campaign campaign;
        struct error error = {0};
        const json_t *certificate;
        if (campaign_parse(&campaign, cases[i].text, &error) != 0)
            fail_msg("%s: %s", cases[i].text, error.message);
        if (campaign_matches(&campaign, endpoint, &certificate) != cases[i].matches)
            fail_msg("%s", cases[i].text);
        if (cases[i].certificate != NULL)
            assert_string_equal(json_text(certificate, "sha256"), cases[i].certificate);
        else
            assert_null(certificate);
    }
}

#define OF(target, version, name)                                                                  \
    "{\"target\":\"" target "\",\"key_type\":\"ecdsa\",\"outcome\":\"seen\",\"tls\":{"             \
    "\"version\":\"" version "\"},\"certificates\":[{\"key\":\"EC\",\"curve\":\"P-256\","          \
    "\"common_name\":\"" name "\"}]}"

static void comparison(void **state)
{
    AUTO(json_t_pointer)
    endpoints =
        json_loads("[" OF("odd:443", "TLS 1.2", "odd") "," OF("a:443", "TLS 1.3", "a") "," //
                   OF("b:443", "TLS 1.3", "b") ",{\"target\":\"c:443\",\"outcome\":\"refused\"}]",
                   0, NULL);
    AUTO(json_t_pointer) groups = comparison_of(endpoints);
    (void)state;

    assert_int_equal(json_array_size(groups), 3);
    const json_t *usual = json_array_get(groups, 0), *odd = NULL;
    assert_int_equal(json_array_size(json_object_get(usual, "targets")), 2);
    assert_string_equal(json_text(json_object_get(usual, "configuration"), "ecdsa version"),
                        "TLS 1.3");
    for (size_t i = 1; i < 3; i++) {
        const json_t *group = json_array_get(groups, i);
        const char *target =
            json_string_value(json_array_get(json_object_get(group, "targets"), 0));
        odd = strcmp(target, "odd:443") == 0 ? group : odd;
    }
    const json_t *differences = json_object_get(odd, "differences");
    assert_int_equal(json_array_size(differences), 1);
    assert_string_equal(json_text(json_array_get(differences, 0), "what"), "ecdsa version");
    assert_string_equal(json_text(json_array_get(differences, 0), "here"), "TLS 1.2");
    assert_string_equal(json_text(json_array_get(differences, 0), "there"), "TLS 1.3");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(refused),
        cmocka_unit_test(matching),
        cmocka_unit_test(keys_of_two_names),
        cmocka_unit_test(comparison),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
