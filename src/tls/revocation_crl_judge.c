/* What revocation lists say about a certificate, alone and together. Whatever does not fit says
 * nothing; nothing that is left out is left out in silence. */
#include "tls/revocation_crl_internal.h"

#include <string.h>

#include <openssl/err.h>

#include "base/string.h"
#include "tls/certificate_facts_internal.h"

#define SKEW_S 300 /* of clocks */

struct lookup {
    struct crl *const *lists;
    size_t count;
    const struct certificate_facts *certificate;
    struct crl_signers signers; /* none: the issuer is not known */
    int64_t at;
};

static struct lookup lookup_of(struct crl *const *lists, size_t count,
                               const struct crl_question *question)
{
    struct lookup lookup = {
        .lists = lists, .count = count, .certificate = question->certificate, .at = question->at};

    crl_signers_find(&lookup.signers, question, lists, count);
    return lookup;
}

static void say(struct crl_verdict *verdict, enum crl_outcome outcome, const char *reason)
{
    verdict->outcome = outcome;
    string_copy(verdict->reason, sizeof verdict->reason, reason);
}

/* ---- is it about this certificate? ---- */

static bool has_name(const GENERAL_NAMES *names, const X509_NAME *wanted)
{
    for (int i = 0; i < sk_GENERAL_NAME_num(names); i++) {
        const GENERAL_NAME *name = sk_GENERAL_NAME_value(names, i);
        if (name->type == GEN_DIRNAME && X509_NAME_cmp(name->d.directoryName, wanted) == 0)
            return true;
    }
    return false;
}

static bool have_one_name(const GENERAL_NAMES *names, const GENERAL_NAMES *others)
{
    for (int i = 0; i < sk_GENERAL_NAME_num(names); i++) {
        for (int j = 0; j < sk_GENERAL_NAME_num(others); j++) {
            if (GENERAL_NAME_cmp(sk_GENERAL_NAME_value(names, i),
                                 sk_GENERAL_NAME_value(others, j)) == 0)
                return true;
        }
    }
    return false;
}

/* Names may stand in full or relative to the CA's; `dpname` is a relative one made whole. */
static bool meet(const DIST_POINT_NAME *a, const DIST_POINT_NAME *b)
{
    if (a->type == 0 && b->type == 0)
        return have_one_name(a->name.fullname, b->name.fullname);
    if ((a->type != 0 && a->dpname == NULL) || (b->type != 0 && b->dpname == NULL))
        return false;
    if (a->type != 0 && b->type != 0)
        return X509_NAME_cmp(a->dpname, b->dpname) == 0;
    return a->type == 0 ? has_name(a->name.fullname, b->dpname)
                        : has_name(b->name.fullname, a->dpname);
}

static unsigned reasons_of(const ASN1_BIT_STRING *reasons)
{
    int size = reasons != NULL ? ASN1_STRING_length(reasons) : 0;
    const uint8_t *bytes = size > 0 ? ASN1_STRING_get0_data(reasons) : NULL;

    if (reasons == NULL)
        return CRLDP_ALL_REASONS;
    return ((size > 0 ? bytes[0] : 0u) | (size > 1 ? (unsigned)bytes[1] << 8 : 0u)) &
           CRLDP_ALL_REASONS;
}

/* For which reasons the certificate names the list: one of its names must be one of the
 * certificate's (RFC 5280 §6.3.3 (b)(2)). 0: not at all; a CA's other shard does not list the
 * certificate, and says nothing by that. */
static unsigned reasons_at_points(const struct crl *crl,
                                  const struct certificate_facts *certificate)
{
    CRL_DIST_POINTS *points =
        X509_get_ext_d2i(facts_x509(certificate), NID_crl_distribution_points, NULL, NULL);
    unsigned reasons = 0;

    for (int i = 0; i < sk_DIST_POINT_num(points); i++) {
        const DIST_POINT *point = sk_DIST_POINT_value(points, i);
        DIST_POINT_NAME *name = point->distpoint;
        if (name != NULL &&
            DIST_POINT_set_dpname(name, X509_get_issuer_name(facts_x509(certificate))) == 1 &&
            meet(crl->scope->distpoint, name))
            reasons |= reasons_of(point->reasons);
    }
    CRL_DIST_POINTS_free(points);
    return reasons;
}

static bool is_in_scope(const struct crl *crl, const struct certificate_facts *certificate)
{
    const ISSUING_DIST_POINT *scope = crl->scope;

    if (scope == NULL)
        return true;
    if (scope->onlyattr > 0 || (scope->onlyuser > 0 && certificate->is_ca) ||
        (scope->onlyCA > 0 && !certificate->is_ca))
        return false;
    return scope->distpoint == NULL || reasons_at_points(crl, certificate) != 0;
}

/* Begins the verdict; false: the list says nothing, and why. */
static bool is_about(const struct lookup *lookup, struct crl *crl, struct crl_verdict *ret_verdict)
{
    *ret_verdict = (struct crl_verdict){.this_update = crl_this_update(crl),
                                        .next_update = crl_next_update(crl)};
    if (lookup->signers.count == 0) {
        say(ret_verdict, CRL_ISSUER_UNKNOWN, "the certificate's issuer is not known");
    } else if (X509_NAME_cmp(crl->whole->body->issuer,
                             X509_get_subject_name(facts_x509(lookup->signers.list[0]))) != 0) {
        say(ret_verdict, CRL_OTHER_ISSUER, "it is of another CA: ");
        size_t used = strlen(ret_verdict->reason);
        string_copy(ret_verdict->reason + used, sizeof ret_verdict->reason - used, crl->issuer);
    } else if (crl->unsupported != NULL) {
        say(ret_verdict, CRL_UNSUPPORTED, crl->unsupported);
    } else if (crl_signer(crl, &lookup->signers) == NULL) {
        say(ret_verdict, CRL_UNTRUSTED,
            "it is not signed by the issuer, nor by anybody else who may sign its lists");
    } else if (!is_in_scope(crl, lookup->certificate)) {
        say(ret_verdict, CRL_OTHER_SCOPE, "it is for other certificates of this CA");
    } else {
        return true;
    }
    return false;
}

/* May it say something about others? Not before its time. */
static bool is_usable(const struct lookup *lookup, struct crl *crl)
{
    struct crl_verdict verdict;

    return is_about(lookup, crl, &verdict) && verdict.this_update <= lookup->at + SKEW_S;
}

/* ---- a list by itself ---- */

static int64_t end_of(const struct crl_verdict *verdict)
{
    return verdict->next_update != 0 ? verdict->next_update : INT64_MAX;
}

static bool is_current(const struct crl_verdict *verdict, int64_t at)
{
    return verdict->this_update <= at + SKEW_S && end_of(verdict) >= at;
}

static bool is_partial(const struct crl *crl)
{
    return crl->scope != NULL && crl->scope->onlysomereasons != NULL;
}

/* A partial one's, as far as the certificate names it for them. */
static unsigned reasons_told(const struct crl *crl, const struct certificate_facts *certificate)
{
    unsigned reasons = reasons_of(crl->scope->onlysomereasons);

    return crl->scope->distpoint == NULL ? reasons : reasons & reasons_at_points(crl, certificate);
}

static void judge_freshness(struct crl_verdict *verdict, const struct crl *crl, int64_t at)
{
    if (verdict->this_update > at + SKEW_S)
        say(verdict, CRL_NOT_YET_VALID, "its time is still to come");
    else if (verdict->next_update != 0 && verdict->next_update < at)
        say(verdict, CRL_STALE, "a newer one should have taken its place");
    else if (is_partial(crl))
        say(verdict, CRL_UNSUPPORTED, "it tells of some reasons only");
    else
        verdict->outcome = CRL_GOOD;
}

static bool revokes(const struct crl *crl, const struct crl_mark *mark)
{
    return mark->listed && !(crl_is_delta(crl) && mark->reason == CRL_REASON_REMOVE_FROM_CRL);
}

static void tell_revoked(struct crl_verdict *verdict, const struct crl_mark *mark)
{
    verdict->outcome = CRL_REVOKED;
    verdict->revoked_at = mark->revoked_at;
    verdict->revocation_reason = revocation_reason_name(mark->reason);
}

static bool is_held(const struct crl_verdict *verdict)
{
    return verdict->outcome == CRL_REVOKED &&
           verdict->revocation_reason == revocation_reason_name(CRL_REASON_CERTIFICATE_HOLD);
}

/* False: it is not about the certificate. */
static bool judge_alone(const struct lookup *lookup, struct crl *crl,
                        struct crl_verdict *ret_verdict)
{
    if (!is_about(lookup, crl, ret_verdict))
        return false;
    const struct crl_mark mark = crl_find(crl, lookup->certificate);
    if (revokes(crl, &mark))
        tell_revoked(ret_verdict, &mark);
    else if (crl_is_delta(crl))
        say(ret_verdict, CRL_UNSUPPORTED,
            "it holds changes only (a delta list), and the list that it changes is not at hand");
    else
        judge_freshness(ret_verdict, crl, lookup->at);
    return true;
}

void crl_judge(struct crl_verdict *ret_verdict, struct crl *crl,
               const struct crl_question *question)
{
    const struct lookup lookup = lookup_of(NULL, 0, question);

    ignore(judge_alone(&lookup, crl, ret_verdict));
    ERR_clear_error();
}

/* ---- changes ---- */

enum fit {
    FIT_YES,
    FIT_SAME, /* of the same moment: nothing new in it */
    FIT_NO_NUMBER,
    FIT_OTHER_SCOPE,
    FIT_OTHER_KEY,
    FIT_TOO_NEW,
    FIT_TOO_OLD,
    FIT_NO_LIST,
    FIT_STALE,
    FIT_NOT_YET_VALID
};

static const char *fit_text(enum fit fit)
{
    static const char *const texts[] = {
        [FIT_YES] = NULL,
        [FIT_SAME] = NULL,
        [FIT_NO_NUMBER] = "it, or the complete list at hand, has no number",
        [FIT_OTHER_SCOPE] = "its scope is not that of the complete list at hand",
        [FIT_OTHER_KEY] = "it is signed by another key of the CA than the complete list at hand",
        [FIT_TOO_NEW] = "it changes a later complete list than the one at hand",
        [FIT_TOO_OLD] = "the complete list at hand is newer",
        [FIT_NO_LIST] = "the complete list that it changes is not at hand",
        [FIT_STALE] = "it has ended: newer changes should have taken its place",
        [FIT_NOT_YET_VALID] = "its time is still to come",
    };

    return texts[fit];
}

/* RFC 5280 §5.2.4 (a) to (d), §6.3.3 (c) and (g); both are usable, so of the same issuer. */
static enum fit fit_of(const struct lookup *lookup, struct crl *changes, struct crl *complete)
{
    if (changes->number == NULL || complete->number == NULL)
        return FIT_NO_NUMBER;
    if (!crl_extension_same(changes, complete, NID_issuing_distribution_point))
        return FIT_OTHER_SCOPE;
    if (!crl_extension_same(changes, complete, NID_authority_key_identifier) ||
        crl_signer(changes, &lookup->signers) != crl_signer(complete, &lookup->signers))
        return FIT_OTHER_KEY;
    if (ASN1_INTEGER_cmp(changes->base_number, complete->number) > 0)
        return FIT_TOO_NEW;
    int order = ASN1_INTEGER_cmp(complete->number, changes->number);
    return order < 0 ? FIT_YES : order == 0 ? FIT_SAME : FIT_TOO_OLD;
}

/* The newest changes that fit; lookup->count: there are none. */
static size_t find_changes(const struct lookup *lookup, struct crl *complete)
{
    size_t newest = lookup->count;

    for (size_t i = 0; i < lookup->count; i++) {
        struct crl *crl = lookup->lists[i];
        if (crl_is_delta(crl) && is_usable(lookup, crl) &&
            fit_of(lookup, crl, complete) == FIT_YES &&
            (newest == lookup->count ||
             ASN1_INTEGER_cmp(crl->number, lookup->lists[newest]->number) > 0))
            newest = i;
    }
    return newest;
}

/* What changes make of a complete list's verdict. */
enum effect { EFFECT_NONE, EFFECT_COUNTED, EFFECT_REVOKED };

static enum effect apply_changes(const struct lookup *lookup, const struct crl *changes,
                                 const struct crl *complete, struct crl_verdict *verdict)
{
    struct crl_verdict later = {.this_update = crl_this_update(changes),
                                .next_update = crl_next_update(changes)};
    const struct crl_mark mark = crl_find(changes, lookup->certificate);

    if (revokes(changes, &mark)) {
        tell_revoked(&later, &mark);
        *verdict = later;
        return EFFECT_REVOKED;
    }
    judge_freshness(&later, complete, lookup->at);
    bool lifted = is_held(verdict) && mark.listed;
    if (later.outcome != CRL_GOOD ||
        (!lifted && verdict->outcome != CRL_GOOD && verdict->outcome != CRL_STALE))
        return EFFECT_NONE;
    *verdict = later;
    return EFFECT_COUNTED;
}

/* All that the older one holds stands in the newer one, too, as far as it is still so. */
static bool replaces(const struct crl *newer, const struct crl *older)
{
    bool covers =
        !crl_is_delta(newer) ||
        (crl_is_delta(older) && ASN1_INTEGER_cmp(newer->base_number, older->base_number) <= 0);

    return covers && newer->number != NULL && older->number != NULL &&
           ASN1_INTEGER_cmp(newer->number, older->number) > 0 &&
           crl_extension_same(newer, older, NID_issuing_distribution_point);
}

/* A hold is over where a newer list does not have it any more. */
static bool is_held_no_more(const struct lookup *lookup, const struct crl *crl,
                            const struct crl_verdict *verdict)
{
    for (size_t i = 0; is_held(verdict) && i < lookup->count; i++) {
        if (replaces(lookup->lists[i], crl) && is_usable(lookup, lookup->lists[i]))
            return true;
    }
    return false;
}

/* ---- all of them ---- */

/* Which of two verdicts says more. */
static unsigned weight_of(enum crl_outcome outcome)
{
    static const unsigned weights[] = {
        [CRL_GOOD] = 5,      [CRL_REVOKED] = 6,     [CRL_OTHER_ISSUER] = 1,   [CRL_OTHER_SCOPE] = 2,
        [CRL_UNTRUSTED] = 3, [CRL_UNSUPPORTED] = 3, [CRL_NOT_YET_VALID] = 4,  [CRL_STALE] = 4,
        [CRL_MALFORMED] = 3, [CRL_UNREACHABLE] = 3, [CRL_ISSUER_UNKNOWN] = 1, [CRL_NOT_ASKED] = 0,
    };

    return weights[outcome];
}

static void consider(struct crl_answer *answer, const struct crl_verdict *verdict, size_t by,
                     size_t changes)
{
    if (weight_of(verdict->outcome) <= weight_of(answer->verdict.outcome))
        return;
    answer->verdict = *verdict;
    answer->by = by;
    answer->changes = changes;
}

static void consider_complete(const struct lookup *lookup, size_t place, struct crl_answer *answer)
{
    struct crl *crl = lookup->lists[place];
    struct crl_verdict verdict;
    enum effect effect = EFFECT_NONE;
    size_t changes = judge_alone(lookup, crl, &verdict) ? find_changes(lookup, crl) : lookup->count;

    if (changes < lookup->count)
        effect = apply_changes(lookup, lookup->lists[changes], crl, &verdict);
    size_t by = effect == EFFECT_REVOKED ? changes : place;
    if (!is_held_no_more(lookup, lookup->lists[by], &verdict))
        consider(answer, &verdict, by, effect == EFFECT_NONE ? lookup->count : changes);
}

/* Among the complete lists, the one that the changes come nearest to. */
static enum fit fit_of_all(const struct lookup *lookup, struct crl *changes)
{
    enum fit fit = FIT_NO_LIST;

    for (size_t i = 0; i < lookup->count; i++) {
        struct crl *crl = lookup->lists[i];
        if (crl_is_delta(crl) || !is_usable(lookup, crl))
            continue;
        enum fit one = fit_of(lookup, changes, crl);
        if (one < fit)
            fit = one;
    }
    if (fit != FIT_YES)
        return fit;
    struct crl_verdict verdict = {.this_update = crl_this_update(changes),
                                  .next_update = crl_next_update(changes)};
    judge_freshness(&verdict, changes, lookup->at);
    return verdict.outcome == CRL_STALE           ? FIT_STALE
           : verdict.outcome == CRL_NOT_YET_VALID ? FIT_NOT_YET_VALID
                                                  : FIT_YES;
}

/* NULL: it counts, or what it says is known. */
static const char *why_left_out(const struct lookup *lookup, struct crl *changes,
                                const struct crl_verdict *alone, const struct crl_answer *answer)
{
    switch (alone->outcome) {
    case CRL_UNTRUSTED:
        return alone->reason;
    case CRL_UNSUPPORTED:
        break;
    case CRL_GOOD:
    case CRL_REVOKED:
    case CRL_OTHER_ISSUER:
    case CRL_OTHER_SCOPE:
    case CRL_NOT_YET_VALID:
    case CRL_STALE:
    case CRL_MALFORMED:
    case CRL_UNREACHABLE:
    case CRL_ISSUER_UNKNOWN:
    case CRL_NOT_ASKED:
        return NULL;
    }
    if (changes->unsupported != NULL)
        return changes->unsupported;
    enum fit fit = fit_of_all(lookup, changes);
    /* Newer ones have been counted. */
    return fit == FIT_STALE && answer->changes < lookup->count ? NULL : fit_text(fit);
}

static void consider_changes(const struct lookup *lookup, size_t place, struct crl_answer *answer)
{
    struct crl *crl = lookup->lists[place];
    struct crl_verdict verdict;

    ignore(judge_alone(lookup, crl, &verdict));
    if (!is_held_no_more(lookup, crl, &verdict))
        consider(answer, &verdict, place, verdict.outcome == CRL_REVOKED ? place : lookup->count);
    const char *reason = why_left_out(lookup, crl, &verdict, answer);
    if (reason == NULL || answer->by == place || answer->left_out < lookup->count)
        return;
    answer->left_out = place;
    string_copy(answer->left_out_reason, sizeof answer->left_out_reason, reason);
}

/* Lists for some reasons only say together that a certificate is good, where they leave out no
 * reason (RFC 5280 §6.3.3 (d), (e)). Complete ones alone, each in its time. */
static void consider_partial(const struct lookup *lookup, struct crl_answer *answer)
{
    struct crl_verdict verdict, first = {.outcome = CRL_GOOD};
    unsigned reasons = 0;
    size_t by = lookup->count;

    for (size_t i = 0; i < lookup->count; i++) {
        struct crl *crl = lookup->lists[i];
        if (crl_is_delta(crl) || !is_partial(crl) || !is_about(lookup, crl, &verdict) ||
            !is_current(&verdict, lookup->at))
            continue;
        reasons |= reasons_told(crl, lookup->certificate);
        if (by < lookup->count && end_of(&verdict) >= end_of(&first))
            continue;
        by = i; /* the one that ends first */
        first.this_update = verdict.this_update;
        first.next_update = verdict.next_update;
    }
    if (reasons == CRLDP_ALL_REASONS)
        consider(answer, &first, by, lookup->count);
}

void crl_judge_all(struct crl_answer *ret_answer, struct crl *const *lists, size_t count,
                   const struct crl_question *question)
{
    const struct lookup lookup = lookup_of(lists, count, question);
    struct crl_answer answer = {
        .verdict = {.outcome = CRL_NOT_ASKED}, .by = count, .changes = count, .left_out = count};

    for (size_t i = 0; i < count; i++) {
        if (!crl_is_delta(lists[i]))
            consider_complete(&lookup, i, &answer);
    }
    consider_partial(&lookup, &answer);
    for (size_t i = 0; i < count; i++) {
        if (crl_is_delta(lists[i]))
            consider_changes(&lookup, i, &answer);
    }
    ERR_clear_error();
    *ret_answer = answer;
}
