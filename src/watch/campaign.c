#include "watch/campaign.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/attributes.h"
#include "base/json.h"
#include "base/string.h"

#define VALUE_MAX 128

/* How values are read and compared. */
enum kind {
    KIND_TEXT,
    KIND_NUMBER,
    KIND_DAYS,   /* "30d", "12h", "30" */
    KIND_VERSION /* "TLS 1.2", "1.2" */
};

/* Gives the property's values one by one, in a text; false: no more. */
typedef bool value_fn(const json_t *object, const char *key, size_t index, char text[VALUE_MAX]);

struct campaign_property {
    const char *name;
    bool of_certificate;
    enum kind kind;
    value_fn *value;
    const char *key;
};

/* ---- values ---- */

static bool member(const json_t *object, const char *key, size_t index, char text[VALUE_MAX])
{
    const json_t *value = json_object_get(object, key);

    if (index > 0 || value == NULL)
        return false;
    if (json_is_string(value))
        ignore(string_copy(text, VALUE_MAX, json_string_value(value)));
    else if (json_is_boolean(value))
        ignore(string_copy(text, VALUE_MAX, json_is_true(value) ? "yes" : "no"));
    else
        ignore(snprintf(text, VALUE_MAX, "%.15g", json_number_value(value)));
    return true;
}

static bool tls_member(const json_t *endpoint, const char *key, size_t index, char text[VALUE_MAX])
{
    return member(json_object_get(endpoint, "tls"), key, index, text);
}

static bool inventory_member(const json_t *endpoint, const char *key, size_t index,
                             char text[VALUE_MAX])
{
    return member(json_object_get(endpoint, "inventory"), key, index, text);
}

static bool list_member(const json_t *object, const char *key, size_t index, char text[VALUE_MAX])
{
    const json_t *value = json_array_get(json_object_get(object, key), index);

    if (value == NULL)
        return false;
    ignore(string_copy(text, VALUE_MAX, json_string_value(value)));
    return true;
}

static bool finding_id(const json_t *endpoint, const char *key, size_t index, char text[VALUE_MAX])
{
    return json_array_size(json_object_get(endpoint, "findings")) > index &&
           member(json_array_get(json_object_get(endpoint, "findings"), index), key, 0, text);
}

static bool accepted_suite(const json_t *endpoint, const char *key, size_t index,
                           char text[VALUE_MAX])
{
    const json_t *inventory = json_object_get(endpoint, "inventory");

    return member(json_array_get(json_object_get(inventory, "suites"), index), key, 0, text);
}

static bool accepted_version(const json_t *endpoint, const char *key, size_t index,
                             char text[VALUE_MAX])
{
    static const char *const versions[] = {"SSL 3", "TLS 1.0", "TLS 1.1", "TLS 1.2", "TLS 1.3"};
    const json_t *answers = json_object_get(json_object_get(endpoint, "inventory"), key);

    for (size_t i = 0; i < ARRAY_SIZE(versions); i++) {
        if (strcmp(json_text(answers, versions[i]), "yes") == 0 && index-- == 0) {
            ignore(string_copy(text, VALUE_MAX, versions[i]));
            return true;
        }
    }
    return false;
}

/* Signatures of roots are never verified. */
static bool signature_digest(const json_t *certificate, const char *key, size_t index,
                             char text[VALUE_MAX])
{
    return strcmp(json_text(certificate, "role"), "root") != 0 &&
           member(certificate, key, index, text);
}

static const struct campaign_property properties[] = {
    {"sig", true, KIND_TEXT, signature_digest, "signature_digest"},
    {"signature", true, KIND_TEXT, signature_digest, "signature"},
    {"key", true, KIND_TEXT, member, "key"},
    {"bits", true, KIND_NUMBER, member, "key_bits"},
    {"curve", true, KIND_TEXT, member, "curve"},
    {"issuer", true, KIND_TEXT, member, "issuer"},
    {"subject", true, KIND_TEXT, member, "subject"},
    {"serial", true, KIND_TEXT, member, "serial"},
    {"sha256", true, KIND_TEXT, member, "sha256"},
    {"spki", true, KIND_TEXT, member, "spki_sha256"},
    {"role", true, KIND_TEXT, member, "role"},
    {"names", true, KIND_TEXT, list_member, "subject_an"},
    {"expires", true, KIND_DAYS, member, "days_left"},
    {"life", true, KIND_NUMBER, member, "life_left"},
    {"must-staple", true, KIND_TEXT, member, "must_staple"},
    {"validation", true, KIND_TEXT, member, "validation"},
    {"version", false, KIND_VERSION, tls_member, "version"},
    {"suite", false, KIND_TEXT, tls_member, "suite"},
    {"group", false, KIND_TEXT, tls_member, "group"},
    {"alpn", false, KIND_TEXT, tls_member, "alpn"},
    {"forward-secrecy", false, KIND_TEXT, tls_member, "forward_secrecy"},
    {"accepts", false, KIND_VERSION, accepted_version, "versions"},
    {"accepts-suite", false, KIND_TEXT, accepted_suite, "suite"},
    {"resumes-ticket", false, KIND_TEXT, inventory_member, "resumes_ticket"},
    {"resumes-id", false, KIND_TEXT, inventory_member, "resumes_id"},
    {"post-quantum", false, KIND_TEXT, inventory_member, "post_quantum"},
    {"client-renegotiation", false, KIND_TEXT, inventory_member, "client_renegotiation"},
    {"finding", false, KIND_TEXT, finding_id, "id"},
    {"verdict", false, KIND_TEXT, member, "verdict"},
    {"outcome", false, KIND_TEXT, member, "outcome"},
    {"protocol", false, KIND_TEXT, member, "protocol"},
    {"key-type", false, KIND_TEXT, member, "key_type"},
};

/* ---- reading ---- */

static const struct {
    const char *text;
    enum campaign_comparison comparison;
} comparisons[] = {{"!=", CAMPAIGN_UNEQUAL}, {"<=", CAMPAIGN_AT_MOST}, {">=", CAMPAIGN_AT_LEAST},
                   {"=", CAMPAIGN_EQUAL},    {"<", CAMPAIGN_LESS},     {">", CAMPAIGN_MORE},
                   {"~", CAMPAIGN_CONTAINS}};

static bool version_number(double *ret_number, const char *text)
{
    static const struct {
        const char *name;
        double number;
    } versions[] = {{"ssl 3", 0}, {"ssl3", 0}, {"ssl 3.0", 0}};
    const char *digits = strncasecmp(text, "tls", 3) == 0 ? text + 3 : text;
    char *end;

    for (size_t i = 0; i < ARRAY_SIZE(versions); i++) {
        if (strcasecmp(text, versions[i].name) == 0) {
            *ret_number = versions[i].number;
            return true;
        }
    }
    digits += *digits == ' ' || *digits == 'v';
    *ret_number = strtod(digits, &end);
    return end != digits && *end == '\0' && *ret_number >= 1 && *ret_number < 2;
}

static bool days_number(double *ret_number, const char *text)
{
    static const struct {
        const char *unit;
        double days;
    } units[] = {{"", 1}, {"d", 1}, {"h", 1 / 24.0}, {"w", 7}, {"min", 1 / 1440.0}};
    char *end;
    double number = strtod(text, &end);

    for (size_t i = 0; end != text && isfinite(number) && i < ARRAY_SIZE(units); i++) {
        if (strcmp(end, units[i].unit) == 0) {
            *ret_number = number * units[i].days;
            return true;
        }
    }
    return false;
}

static bool number_of(double *ret_number, enum kind kind, const char *text)
{
    char *end;

    switch (kind) {
    case KIND_TEXT:
        return true;
    case KIND_NUMBER:
        *ret_number = strtod(text, &end);
        return end != text && isfinite(*ret_number) && (*end == '\0' || strcmp(end, "%") == 0);
    case KIND_DAYS:
        return days_number(ret_number, text);
    case KIND_VERSION:
        return version_number(ret_number, text);
    }
    return false;
}

static int no_such_property(const char *name, size_t length, struct error *error)
{
    char list[700] = "", shown[80];
    size_t used = 0;

    for (size_t i = 0; i < ARRAY_SIZE(properties); i++)
        used += (size_t)snprintf(list + used, sizeof list - used, "%s%s", i > 0 ? ", " : "",
                                 properties[i].name);
    return error_set(error, ERROR_USAGE, "there is no property \"%s\"; expected one of %s",
                     string_printable(shown, sizeof shown, name, length), list);
}

/* Keys have one name in certificates and another in suites, by which they are known, too. */
static const char *value_of(const struct campaign_property *property, const char *text)
{
    return strcmp(property->name, "key") == 0 && strcasecmp(text, "ecdsa") == 0 ? "EC" : text;
}

static int parse_term(struct campaign *campaign, const char *text, struct error *error)
{
    size_t length = strcspn(text, "=!<>~"), found = ARRAY_SIZE(comparisons);
    const struct campaign_property *property = NULL;

    for (size_t i = ARRAY_SIZE(comparisons); i-- > 0;) {
        if (strncmp(text + length, comparisons[i].text, strlen(comparisons[i].text)) == 0)
            found = i;
    }
    if (length == 0 || found == ARRAY_SIZE(comparisons))
        return error_set(
            error, ERROR_USAGE,
            "found \"%s\"; expected PROPERTY, one of = != < <= > >= ~, and VALUE, as in "
            "sig=sha1",
            string_printable((char[160]){0}, 160, text, strlen(text)));
    for (size_t i = 0; i < ARRAY_SIZE(properties); i++) {
        if (strncasecmp(text, properties[i].name, length) == 0 &&
            properties[i].name[length] == '\0')
            property = &properties[i];
    }
    if (property == NULL)
        return no_such_property(text, length, error);
    const char *value = value_of(property, text + length + strlen(comparisons[found].text));
    if (value[0] == '\0' || !string_copy(campaign->terms[campaign->count].value, VALUE_MAX, value))
        return error_set(error, ERROR_USAGE, "%s: expected a value of 1 to %d characters",
                         property->name, VALUE_MAX - 1);
    bool ordered = comparisons[found].comparison != CAMPAIGN_CONTAINS;
    double number = 0;
    if (ordered && !number_of(&number, property->kind, value))
        return error_set(error, ERROR_USAGE, "%s: \"%s\" is %s", property->name,
                         string_printable((char[160]){0}, 160, value, strlen(value)),
                         property->kind == KIND_DAYS      ? "no time; write 30d or 12h"
                         : property->kind == KIND_VERSION ? "no version; write TLS 1.2"
                                                          : "no number");
    if (property->kind == KIND_TEXT && comparisons[found].comparison > CAMPAIGN_UNEQUAL && ordered)
        return error_set(error, ERROR_USAGE, "%s has no order: use =, != or ~", property->name);
    if (value[strlen(value) - 1] == '%')
        number /= 100;
    campaign->terms[campaign->count].property = property;
    campaign->terms[campaign->count].comparison = comparisons[found].comparison;
    campaign->terms[campaign->count++].number = number;
    return 0;
}

int campaign_parse(struct campaign *ret_campaign, const char *text, struct error *error)
{
    struct campaign campaign = {.count = 0};
    int result = 0;

    while (result == 0 && *text != '\0') {
        char term[VALUE_MAX * 2];
        size_t length = strcspn(text, ",");
        if (campaign.count == CAMPAIGN_TERMS_MAX || length >= sizeof term)
            return error_set(error, ERROR_USAGE, "expected at most %d terms of less than %zu bytes",
                             CAMPAIGN_TERMS_MAX, sizeof term);
        const char *begin = text + strspn(text, " ");
        ignore(snprintf(term, sizeof term, "%.*s", (int)(text + length - begin), begin));
        result = parse_term(&campaign, term, error);
        text += length + (text[length] == ',');
    }
    if (result == 0 && campaign.count == 0)
        result = error_set(error, ERROR_USAGE, "expected a property and its value, as in sig=sha1");
    if (result == 0)
        *ret_campaign = campaign;
    return result;
}

/* ---- matching ---- */

static bool compare(enum campaign_comparison comparison, double a, double b)
{
    switch (comparison) {
    case CAMPAIGN_EQUAL:
        return fabs(a - b) < 1e-9;
    case CAMPAIGN_UNEQUAL:
        return fabs(a - b) >= 1e-9;
    case CAMPAIGN_LESS:
        return a < b;
    case CAMPAIGN_AT_MOST:
        return a <= b;
    case CAMPAIGN_MORE:
        return a > b;
    case CAMPAIGN_AT_LEAST:
        return a >= b;
    case CAMPAIGN_CONTAINS:
        break;
    }
    return false;
}

static bool value_holds(const struct campaign *campaign, size_t term, const char *text)
{
    const struct campaign_property *property = campaign->terms[term].property;
    enum campaign_comparison comparison = campaign->terms[term].comparison;
    double number = 0;

    if (comparison == CAMPAIGN_CONTAINS)
        return strcasestr(text, campaign->terms[term].value) != NULL;
    if (property->kind == KIND_TEXT)
        return (strcasecmp(text, campaign->terms[term].value) == 0) ==
               (comparison == CAMPAIGN_EQUAL);
    return number_of(&number, property->kind, text) &&
           compare(comparison, number, campaign->terms[term].number);
}

/* Of several values one must fit; "!=": none may be equal. */
static bool term_holds(const struct campaign *campaign, size_t term, const json_t *object)
{
    const struct campaign_property *property = campaign->terms[term].property;
    bool all = campaign->terms[term].comparison == CAMPAIGN_UNEQUAL, any = false;
    char text[VALUE_MAX];

    for (size_t i = 0; property->value(object, property->key, i, text); i++) {
        bool holds = value_holds(campaign, term, text);
        if (holds != all)
            return holds;
        any = true;
    }
    return all && any;
}

static bool terms_hold(const struct campaign *campaign, bool of_certificate, const json_t *object,
                       bool *ret_any)
{
    for (size_t i = 0; i < campaign->count; i++) {
        if (campaign->terms[i].property->of_certificate != of_certificate)
            continue;
        *ret_any = true;
        if (!term_holds(campaign, i, object))
            return false;
    }
    return true;
}

bool campaign_matches(const struct campaign *campaign, const json_t *endpoint,
                      const json_t **ret_certificate)
{
    const json_t *certificates = json_object_get(endpoint, "certificates");
    bool any = false, about_certificates = false;

    *ret_certificate = NULL;
    if (!terms_hold(campaign, false, endpoint, &any))
        return false;
    for (size_t i = 0; i < campaign->count; i++)
        about_certificates |= campaign->terms[i].property->of_certificate;
    if (!about_certificates)
        return true;
    for (size_t i = 0; i < json_array_size(certificates); i++) {
        const json_t *certificate = json_array_get(certificates, i);
        if (terms_hold(campaign, true, certificate, &any)) {
            *ret_certificate = certificate;
            return true;
        }
    }
    return false;
}
