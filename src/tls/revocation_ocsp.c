/* OCSP responses, as servers staple them. OpenSSL verifies who signed: the issuer is the only trust
 * anchor that it is given. */
#include "tls/revocation.h"

#include <stdlib.h>
#include <string.h>

#include <openssl/err.h>
#include <openssl/ocsp.h>

#include "base/string.h"
#include "tls/certificate_internal.h"
#include "tls/openssl_auto.h"

#define SKEW_S    300          /* of clocks */
#define AGE_MAX_S (10 * 86400) /* of a response that does not say when the next one comes */

static void OCSP_RESPONSE_auto(OCSP_RESPONSE **response)
{
    OCSP_RESPONSE_free(*response);
}

static void OCSP_BASICRESP_auto(OCSP_BASICRESP **response)
{
    OCSP_BASICRESP_free(*response);
}

static void OCSP_CERTID_auto(OCSP_CERTID **id)
{
    OCSP_CERTID_free(*id);
}

static void X509_STORE_auto(X509_STORE **store)
{
    X509_STORE_free(*store);
}

static void say(struct ocsp_verdict *verdict, enum ocsp_outcome outcome, const char *reason)
{
    verdict->outcome = outcome;
    string_copy(verdict->reason, sizeof verdict->reason, reason);
}

/* NULL, and the verdict says why. */
static OCSP_BASICRESP *parse(struct ocsp_verdict *verdict, const uint8_t *der, size_t size)
{
    const unsigned char *place = der;

    if (size > OCSP_SIZE_MAX) {
        say(verdict, OCSP_MALFORMED, "it is larger than 64 KiB");
        return NULL;
    }
    AUTO(OCSP_RESPONSE) *response = d2i_OCSP_RESPONSE(NULL, &place, (long)size);
    if (response == NULL || place != der + size) {
        say(verdict, OCSP_MALFORMED,
            response == NULL ? openssl_reason() : "there are bytes behind it");
        return NULL;
    }
    int status = OCSP_response_status(response);
    if (status != OCSP_RESPONSE_STATUS_SUCCESSFUL) {
        say(verdict, OCSP_NOT_SUCCESSFUL, OCSP_response_status_str(status));
        return NULL;
    }
    OCSP_BASICRESP *basic = OCSP_response_get1_basic(response);
    if (basic == NULL)
        say(verdict, OCSP_MALFORMED, openssl_reason());
    return basic;
}

/* The answer about this certificate, by whichever digest its issuer is named. */
static OCSP_SINGLERESP *find_answer(OCSP_BASICRESP *basic, X509 *certificate, X509 *issuer,
                                    const char **ret_digest)
{
    static const char *const digests[] = {"sha1", "sha256", "sha384", "sha512"};

    for (size_t i = 0; i < ARRAY_SIZE(digests); i++) {
        AUTO(OCSP_CERTID) *id =
            OCSP_cert_to_id(EVP_get_digestbyname(digests[i]), certificate, issuer);
        for (int at = 0; id != NULL && at < OCSP_resp_count(basic); at++) {
            OCSP_SINGLERESP *answer = OCSP_resp_get0(basic, at);
            if (OCSP_id_cmp(OCSP_SINGLERESP_get0_id(answer), id) == 0) {
                *ret_digest = digests[i];
                return answer;
            }
        }
    }
    return NULL;
}

/* By the issuer alone, or by one whom it certified for that (RFC 6960 §4.2.2.2). */
static bool is_signed(OCSP_BASICRESP *basic, X509 *issuer, int64_t at)
{
    AUTO(X509_STORE) *store = X509_STORE_new();

    if (store == NULL || X509_STORE_add_cert(store, issuer) != 1)
        return false;
    X509_VERIFY_PARAM *parameters = X509_STORE_get0_param(store);
    X509_VERIFY_PARAM_set_time(parameters, (time_t)at);
    ignore(X509_VERIFY_PARAM_set_flags(parameters, X509_V_FLAG_PARTIAL_CHAIN));
    STACK_OF(X509) *helpers = sk_X509_new_null();
    bool is_good = helpers != NULL && sk_X509_push(helpers, issuer) > 0 &&
                   OCSP_basic_verify(basic, helpers, store, 0) == 1;
    sk_X509_free(helpers);
    return is_good;
}

static int64_t time_of(const ASN1_GENERALIZEDTIME *time)
{
    return time != NULL ? certificate_time(time) : 0;
}

static void read_answer(struct ocsp_verdict *verdict, OCSP_SINGLERESP *answer, int64_t at)
{
    ASN1_GENERALIZEDTIME *revoked = NULL, *this_update = NULL, *next_update = NULL;
    int reason = -1,
        status = OCSP_single_get0_status(answer, &reason, &revoked, &this_update, &next_update);

    verdict->this_update = time_of(this_update);
    verdict->next_update = time_of(next_update);
    int64_t end =
        verdict->next_update != 0 ? verdict->next_update : verdict->this_update + AGE_MAX_S;
    if (status == V_OCSP_CERTSTATUS_REVOKED) { /* for ever, however old this is */
        verdict->outcome = OCSP_REVOKED;
        verdict->revoked_at = time_of(revoked);
        verdict->revocation_reason = revocation_reason_name(reason);
    } else if (verdict->this_update > at + SKEW_S) {
        say(verdict, OCSP_NOT_YET_VALID, "its time is still to come");
    } else if (end < at) {
        say(verdict, OCSP_STALE,
            verdict->next_update != 0 ? "a newer one should have taken its place"
                                      : "it is more than 10 days old");
    } else {
        verdict->outcome = status == V_OCSP_CERTSTATUS_GOOD ? OCSP_GOOD : OCSP_UNKNOWN;
    }
}

static void judge(struct ocsp_verdict *verdict, OCSP_BASICRESP *basic, X509 *certificate,
                  X509 *issuer, int64_t at)
{
    X509 *signer = NULL;
    OCSP_SINGLERESP *answer = find_answer(basic, certificate, issuer, &verdict->digest);

    verdict->produced_at = time_of(OCSP_resp_get0_produced_at(basic));
    if (answer == NULL) {
        say(verdict, OCSP_OTHER, "it tells of other certificates only");
        return;
    }
    ERR_clear_error();
    if (!is_signed(basic, issuer, at)) {
        say(verdict, OCSP_UNTRUSTED, openssl_reason());
        return;
    }
    verdict->delegated =
        OCSP_resp_get0_signer(basic, &signer, NULL) == 1 && X509_cmp(signer, issuer) != 0;
    read_answer(verdict, answer, at);
}

void ocsp_judge(struct ocsp_verdict *ret_verdict, const uint8_t *der, size_t size,
                const struct certificate_facts *certificate, const struct certificate_facts *issuer,
                int64_t at)
{
    *ret_verdict = (struct ocsp_verdict){.outcome = OCSP_ABSENT};
    if (size == 0)
        return;
    ERR_clear_error();
    AUTO(OCSP_BASICRESP) *basic = parse(ret_verdict, der, size);
    if (basic == NULL)
        return;
    if (issuer == NULL)
        say(ret_verdict, OCSP_ISSUER_UNKNOWN, "the certificate's issuer is not known");
    else
        judge(ret_verdict, basic, certificate->x509, issuer->x509, at);
    ERR_clear_error();
}

/* The list is an OCTET STRING inside the extension's. */
static bool copy_timestamps(uint8_t **ret_list, size_t *ret_size, OCSP_SINGLERESP *answer)
{
    int place = OCSP_SINGLERESP_get_ext_by_NID(answer, NID_ct_cert_scts, -1);

    if (place < 0)
        return false;
    const ASN1_OCTET_STRING *value =
        X509_EXTENSION_get_data(OCSP_SINGLERESP_get_ext(answer, place));
    const unsigned char *data = ASN1_STRING_get0_data(value);
    ASN1_OCTET_STRING *list = d2i_ASN1_OCTET_STRING(NULL, &data, ASN1_STRING_length(value));
    size_t size = list != NULL ? (size_t)ASN1_STRING_length(list) : 0;
    uint8_t *copy = size > 0 ? malloc(size) : NULL;
    if (copy != NULL) {
        memcpy(copy, ASN1_STRING_get0_data(list), size);
        *ret_list = copy;
        *ret_size = size;
    }
    ASN1_OCTET_STRING_free(list);
    return copy != NULL;
}

bool ocsp_timestamps(uint8_t **ret_list, size_t *ret_size, const uint8_t *der, size_t size)
{
    struct ocsp_verdict verdict;
    bool found = false;

    AUTO(OCSP_BASICRESP) *basic = size > 0 ? parse(&verdict, der, size) : NULL;
    for (int i = 0; basic != NULL && !found && i < OCSP_resp_count(basic); i++)
        found = copy_timestamps(ret_list, ret_size, OCSP_resp_get0(basic, i));
    ERR_clear_error();
    return found;
}
