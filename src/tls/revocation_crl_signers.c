/* Who may have signed the lists of a certificate's issuer, and who has. A CA that changes its key,
 * or has a key for lists alone, signs them with another certificate of its name; that name proves
 * nothing by itself. */
#include "tls/revocation_crl_internal.h"

#include <string.h>

#include "tls/certificate_facts_internal.h"
#include "tls/chain_internal.h"

/* ---- who may ---- */

static bool is_of_name(const struct certificate_facts *certificate,
                       const struct certificate_facts *issuer)
{
    return X509_NAME_cmp(X509_get_subject_name(facts_x509(certificate)),
                         X509_get_subject_name(facts_x509(issuer))) == 0;
}

/* By name, usage and time; a key that is already among them brings nothing. */
static bool is_candidate(const struct crl_signers *signers, const struct certificate_facts *other,
                         int64_t at)
{
    if ((other->key_usage & KEY_USAGE_CRL_SIGN) == 0 || other->not_before > at ||
        other->not_after <= at || !is_of_name(other, signers->list[0]))
        return false;
    for (size_t i = 0; i < signers->count; i++) {
        if (memcmp(signers->list[i]->public_key_sha256, other->public_key_sha256, 32) == 0)
            return false;
    }
    return true;
}

static void signers_add(struct crl_signers *signers, const struct certificate_facts *signer)
{
    if (signers->count < CRL_SIGNERS_MAX)
        signers->list[signers->count++] = signer;
}

/* The place among `issuers` of the one who has issued it, where all of the path from it to the
 * anchor holds; issuer_count: nobody. */
static size_t issuer_of(const struct crl_question *question, const struct certificate_facts *other)
{
    const struct certificate_facts *path[CHAIN_DEPTH_MAX] = {other};

    for (size_t i = 0; i < question->issuer_count; i++) {
        size_t above = question->issuer_count - i;
        if (above >= CHAIN_DEPTH_MAX || chain_issued(other, question->issuers[i]) != ISSUED_YES)
            continue;
        memcpy(path + 1, question->issuers + i, above * sizeof *path);
        if (chain_path_signs_lists(path, above + 1))
            return i;
    }
    return question->issuer_count;
}

/* Without the others, so that this ends. */
static bool is_revoked(const struct crl_question *question, const struct certificate_facts *other,
                       size_t issuer, struct crl *const *lists, size_t count)
{
    struct crl_answer answer;
    const struct crl_question about_other = {.certificate = other,
                                             .issuers = question->issuers + issuer,
                                             .issuer_count = question->issuer_count - issuer,
                                             .at = question->at};

    crl_judge_all(&answer, lists, count, &about_other);
    return answer.verdict.outcome == CRL_REVOKED;
}

void crl_signers_find(struct crl_signers *ret_signers, const struct crl_question *question,
                      struct crl *const *lists, size_t count)
{
    struct crl_signers signers = {.count = 0};

    if (question->issuer_count > 0)
        signers_add(&signers, question->issuers[0]);
    for (size_t i = 1; i < question->issuer_count; i++) {
        if (is_candidate(&signers, question->issuers[i], question->at))
            signers_add(&signers, question->issuers[i]);
    }
    for (size_t i = 0; question->issuer_count > 0 && i < question->other_count; i++) {
        const struct certificate_facts *other = question->others[i];
        if (!is_candidate(&signers, other, question->at))
            continue;
        size_t issuer = issuer_of(question, other);
        if (issuer < question->issuer_count && !is_revoked(question, other, issuer, lists, count))
            signers_add(&signers, other);
    }
    *ret_signers = signers;
}

/* ---- who has ---- */

const struct certificate_facts *crl_signer(struct crl *crl, const struct crl_signers *signers)
{
    for (size_t i = 0; i < signers->count; i++) {
        bool is_named =
            i == 0 || X509_check_akid(facts_x509(signers->list[i]), crl->authority) == X509_V_OK;
        if (is_named && crl_is_signed_by(crl, signers->list[i]))
            return signers->list[i];
    }
    return NULL;
}
