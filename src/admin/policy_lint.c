#include "admin/policy_lint.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "base/attributes.h"
#include "base/json.h"
#include "base/string.h"
#include "tls/handshake.h"
#include "tls/offered.h"
#include "tls/suite.h"

#define TEXT_MAX  1024
#define HYBRID    "x25519mlkem768"
#define FIRST_US  64.0
#define QUANTILE  0.999
#define US_PER_MS 1000.0

/* ---- findings ---- */

static json_t *add(json_t *findings, const char *id, const char *severity, const char *format, ...)
    PRINTF_LIKE(4, 5);

static json_t *add(json_t *findings, const char *id, const char *severity, const char *format, ...)
{
    json_t *finding = json_object();
    char what[TEXT_MAX];
    va_list arguments;

    va_start(arguments, format);
    ignore(vsnprintf(what, sizeof what, format, arguments));
    va_end(arguments);
    json_set_text(finding, "id", id);
    json_set_text(finding, "severity", severity);
    json_set_text(finding, "what", what);
    ignore(json_array_append_new(findings, finding));
    return finding;
}

static void explain(json_t *finding, const char *why, const char *what_to_do)
{
    json_set_text(finding, "why", why);
    json_set_text(finding, "do", what_to_do);
}

bool policy_lint_objects(const json_t *findings)
{
    for (size_t i = 0; i < json_array_size(findings); i++) {
        const char *severity =
            json_string_value(json_object_get(json_array_get(findings, i), "severity"));
        if (severity != NULL && strcmp(severity, "note") != 0)
            return true;
    }
    return false;
}

/* ---- lists of names joined by colons ---- */

/* The next name, or NULL at the end. */
static const char *next_name(const char **list, char *name, size_t size)
{
    if (**list == '\0')
        return NULL;
    size_t length = strcspn(*list, ":");
    ignore(snprintf(name, size, "%.*s", (int)length, *list));
    *list += length + ((*list)[length] == ':');
    return name;
}

static bool has_name(const char *list, const char *wanted)
{
    char name[64];

    while (next_name(&list, name, sizeof name) != NULL) {
        if (strcasecmp(name, wanted) == 0)
            return true;
    }
    return false;
}

/* OpenSSL knows groups by more than one name. */
static const char *group_name(const char *name)
{
    static const char *const same[][2] = {{"p-256", "secp256r1"},
                                          {"prime256v1", "secp256r1"},
                                          {"p-384", "secp384r1"},
                                          {"p-521", "secp521r1"}};

    for (size_t i = 0; i < ARRAY_SIZE(same); i++) {
        if (strcasecmp(name, same[i][0]) == 0)
            return same[i][1];
    }
    return name;
}

static bool has_group(const char *list, const char *wanted)
{
    char name[64];

    while (next_name(&list, name, sizeof name) != NULL) {
        if (strcasecmp(group_name(name), group_name(wanted)) == 0)
            return true;
    }
    return false;
}

static const char *groups_of(const struct conf_listener *listener)
{
    return strcmp(listener->groups, CONF_GROUPS_DEFAULT) == 0 ? tls_default_groups()
                                                              : listener->groups;
}

static bool allows(const struct conf_listener *listener, enum conf_tls_version version)
{
    return listener->min_version <= version && version <= listener->max_version;
}

/* ---- against a baseline ---- */

struct check {
    json_t *findings;
    const struct baseline *baseline;
    const struct conf *conf;
    const struct conf_listener *listener;
};

static void found(const struct check *check, json_t *finding, const char *why, const char *do_this)
{
    json_set_text(finding, "listener", check->listener->name);
    json_set_text(finding, "source", check->baseline->source);
    explain(finding, why, do_this);
}

static void check_versions(const struct check *check)
{
    const struct baseline *baseline = check->baseline;
    bool has_12 = allows(check->listener, CONF_TLS_1_2);

    if (has_12 && !baseline->tls12_allowed)
        found(check, add(check->findings, "tls12-allowed", "error", "TLS 1.2 is allowed"),
              "the baseline is for clients that all know TLS 1.3", "tls-min = 1.3");
    if (!has_12 && baseline->tls12_wanted)
        found(check, add(check->findings, "tls12-missing", "note", "TLS 1.2 is not allowed"),
              "clients without TLS 1.3 are refused; the baseline still serves them",
              "tls-min = 1.2, if such clients are to be served");
    if (!allows(check->listener, CONF_TLS_1_3) && baseline->tls13_wanted)
        found(check, add(check->findings, "tls13-missing", "error", "TLS 1.3 is not allowed"),
              "it is faster, encrypts more of the handshake and renews keys in a session",
              "tls-max = 1.3");
}

static void check_suites_of(const struct check *check, const char *list)
{
    char name[64];

    while (next_name(&list, name, sizeof name) != NULL) {
        if (has_name(check->baseline->suites, name))
            continue;
        bool aead = strstr(name, "GCM") != NULL || strstr(name, "POLY1305") != NULL;
        found(check,
              add(check->findings, "suite-extra", aead ? "note" : "warning",
                  "the suite %s is offered", name),
              aead ? "it is a good one, but not among those that the baseline names"
                   : "the baseline names suites with an AEAD cipher only",
              aead ? "nothing, unless an auditor insists on the list"
                   : "leave such suites to listeners for old clients");
    }
}

static void check_suites(const struct check *check)
{
    if (allows(check->listener, CONF_TLS_1_2) && check->baseline->tls12_allowed)
        check_suites_of(check, tls_offered_suites(TLS_VERSION_1_2));
    if (allows(check->listener, CONF_TLS_1_3))
        check_suites_of(check, tls_offered_suites(TLS_VERSION_1_3));
    if (check->listener->cbc_suites)
        check_suites_of(check, tls_offered_cbc_suites());
    if (check->baseline->client_order_wanted)
        found(check,
              add(check->findings, "server-order", "note", "the server's order of suites decides"),
              "the baseline leaves the order to the client, which knows what its machine does fast",
              "nothing: ChaCha20 is taken where the client puts it first, which is its reason");
}

static void check_groups(const struct check *check)
{
    const char *list = groups_of(check->listener), *wanted = check->baseline->groups_wanted;
    char name[64];

    while (wanted != NULL && next_name(&wanted, name, sizeof name) != NULL) {
        if (!has_group(groups_of(check->listener), name))
            found(check,
                  add(check->findings, "group-missing", "warning", "the group %s is missing", name),
                  "clients may have no other in common", "add it to groups");
    }
    while (check->baseline->groups != NULL && next_name(&list, name, sizeof name) != NULL) {
        if (has_group(check->baseline->groups, name))
            continue;
        bool hybrid = strcasecmp(name, HYBRID) == 0;
        found(check,
              add(check->findings, "group-extra", hybrid ? "note" : "warning",
                  "the group %s is offered", name),
              hybrid ? "it is newer than the baseline, and stands against quantum computers"
                     : "the baseline does not name it",
              hybrid ? "nothing" : "leave it out of groups");
    }
}

static void check_certificates(const struct check *check)
{
    for (size_t i = 0; i < check->listener->certificate_count; i++) {
        const struct conf_certificate *certificate =
            &check->conf->certificates[check->listener->certificates[i]];
        for (size_t k = 0; !check->baseline->rsa_allowed && k < certificate->key_types.count; k++) {
            if (strcmp(certificate->key_types.items[k], "rsa") == 0)
                found(check,
                      add(check->findings, "rsa-certificate", "warning",
                          "certificate %s has an RSA key", certificate->name),
                      "all clients of the baseline know ECDSA, which costs a third",
                      "key-types = {\"ecdsa\"}");
        }
    }
}

static void check_rest(const struct check *check)
{
    uint64_t most = check->baseline->ticket_lifetime_max;
    char life[32], limit[32];

    if (most != 0 && check->listener->tickets != 0 && check->listener->ticket_lifetime > most)
        found(check,
              add(check->findings, "ticket-lifetime", "warning",
                  "tickets live for %s, longer than %s",
                  string_duration(life, sizeof life, check->listener->ticket_lifetime),
                  string_duration(limit, sizeof limit, most)),
              "a ticket should live for half as long as a ticket key, and that for a week",
              "shorten ticket-lifetime");
    if (check->baseline->alpn_wanted && check->listener->alpn.count == 0)
        found(check,
              add(check->findings, "alpn-missing", "note", "no application protocol is agreed on"),
              "with ALPN a client cannot be led to a server of another protocol (ALPACA)",
              "alpn = {…}, if the protocol has a name");
}

void policy_lint_baseline(json_t *findings, const struct conf *conf,
                          const struct baseline *baseline)
{
    for (size_t i = 0; i < conf->listener_count; i++) {
        struct check check = {findings, baseline, conf, &conf->listeners[i]};
        if (!conf_listener_in_force(check.listener) ||
            check.listener->mode == CONF_MODE_PASS_THROUGH)
            continue;
        check_versions(&check);
        check_suites(&check);
        check_groups(&check);
        check_certificates(&check);
        check_rest(&check);
    }
}

/* ---- a change ---- */

/* Each thing once, wherever it was taken away. */
struct removals {
    char text[TEXT_MAX];
    size_t count;
};

static void removed(struct removals *removals, const char *format, ...) PRINTF_LIKE(2, 3);

static void removed(struct removals *removals, const char *format, ...)
{
    char thing[256], marked[260];
    size_t used = strlen(removals->text);
    va_list arguments;

    va_start(arguments, format);
    ignore(vsnprintf(thing, sizeof thing, format, arguments));
    va_end(arguments);
    ignore(snprintf(marked, sizeof marked, "%s;", thing));
    if (strstr(removals->text, marked) != NULL)
        return;
    ignore(snprintf(removals->text + used, sizeof removals->text - used, "%s%s",
                    used > 0 ? " " : "", marked));
    removals->count++;
}

static bool list_has(const struct conf_text_list *list, const char *text)
{
    for (size_t i = 0; i < list->count; i++) {
        if (strcmp(list->items[i], text) == 0)
            return true;
    }
    return false;
}

static void compare_handshake(struct removals *removals, const struct conf_listener *before,
                              const struct conf_listener *after)
{
    const char *groups = groups_of(before);
    char name[64];

    if (allows(before, CONF_TLS_1_2) && !allows(after, CONF_TLS_1_2))
        removed(removals, "TLS 1.2");
    if (allows(before, CONF_TLS_1_3) && !allows(after, CONF_TLS_1_3))
        removed(removals, "TLS 1.3");
    while (next_name(&groups, name, sizeof name) != NULL) {
        if (!has_group(groups_of(after), name))
            removed(removals, "group %s", name);
    }
    for (size_t i = 0; i < before->alpn.count && after->alpn.count > 0; i++) {
        if (!list_has(&after->alpn, before->alpn.items[i]))
            removed(removals, "protocol %s", before->alpn.items[i]);
    }
    if (before->alpn.count == 0 && after->alpn.count > 0)
        removed(removals, "clients of any protocol");
    if (before->cbc_suites && !after->cbc_suites)
        removed(removals, "CBC suites");
    if (before->renegotiation != CONF_RENEGOTIATION_REFUSE &&
        after->renegotiation == CONF_RENEGOTIATION_REFUSE)
        removed(removals, "renegotiation");
    if (before->client_certificate != CONF_CLIENT_CERTIFICATE_REQUIRED &&
        after->client_certificate == CONF_CLIENT_CERTIFICATE_REQUIRED)
        removed(removals, "clients without a certificate");
    if (before->tickets > 0 && after->tickets == 0)
        removed(removals, "tickets");
    if (before->unknown_name != after->unknown_name &&
        after->unknown_name == CONF_UNKNOWN_NAME_REFUSE)
        removed(removals, "clients that name an unknown server");
}

static bool has_certificate(const struct conf *conf, const struct conf_listener *listener,
                            const char *name)
{
    for (size_t i = 0; i < listener->certificate_count; i++) {
        if (strcmp(conf->certificates[listener->certificates[i]].name, name) == 0)
            return true;
    }
    return false;
}

static void compare_objects(struct removals *removals, const struct conf *before,
                            const struct conf_listener *listener, const struct conf *after,
                            const struct conf_listener *next)
{
    char old[ADDRESS_TEXT_MAX], new[ADDRESS_TEXT_MAX];

    for (size_t i = 0; i < listener->certificate_count; i++) {
        const char *name = before->certificates[listener->certificates[i]].name;
        if (!has_certificate(after, next, name))
            removed(removals, "certificate %s", name);
    }
    for (size_t i = 0; i < listener->bind.count; i++) {
        bool kept = false;
        address_format(old, sizeof old, &listener->bind.items[i]);
        for (size_t k = 0; k < next->bind.count; k++)
            kept |= strcmp(old, address_format(new, sizeof new, &next->bind.items[k])) == 0;
        if (!kept)
            removed(removals, "address %s", old);
    }
}

void policy_lint_change(json_t *findings, const struct conf *before, const struct conf *after)
{
    struct removals removals = {.text = ""};

    for (size_t i = 0; i < before->listener_count; i++) {
        const struct conf_listener *listener = &before->listeners[i];
        if (!conf_listener_in_force(listener))
            continue;
        uint32_t index = conf_find_listener(after, listener->name);
        if (index == CONF_NONE) {
            removed(&removals, "listener %s", listener->name);
            continue;
        }
        const struct conf_listener *next = &after->listeners[index];
        if (listener->mode == CONF_MODE_TCP && next->mode == CONF_MODE_TCP)
            compare_handshake(&removals, listener, next);
        compare_objects(&removals, before, listener, after, next);
    }
    if (removals.count == 0)
        return;
    removals.text[strlen(removals.text) - 1] = '\0';
    if (removals.count == 1)
        explain(add(findings, "removes-one", "note", "the change takes away: %s", removals.text),
                "clients that depend on it are refused from then on",
                "watch handshake-failed events after the reload; reload --confirm goes back by "
                "itself");
    else
        explain(add(findings, "removes-many", "warning",
                    "the change takes away %zu things at a time: %s", removals.count,
                    removals.text),
                "when clients fail afterwards, nobody can tell which of them did it",
                "take them away one by one, or use --force");
}

/* ---- history ---- */

/* The quantile in milliseconds, evenly within the bucket that it falls into; 0: too few cases. */
static double quantile_ms(const json_t *buckets)
{
    double total = 0, below = 0, upper = FIRST_US;

    for (size_t i = 0; i < json_array_size(buckets); i++)
        total += json_number_value(json_array_get(buckets, i));
    if (total < POLICY_HISTORY_MIN)
        return 0;
    for (size_t i = 0; i < json_array_size(buckets); i++, upper *= 2) {
        double here = json_number_value(json_array_get(buckets, i));
        double lower = i == 0 ? 0 : upper / 2;
        if (here > 0 && below + here >= total * QUANTILE)
            return (lower + (upper - lower) * (total * QUANTILE - below) / here) / US_PER_MS;
        below += here;
    }
    return 0;
}

static void check_timeout(json_t *findings, const char *kind, const char *name, const char *option,
                          uint64_t value, double history)
{
    char configured[32], seen[32];

    if (value == 0 || (double)value >= history)
        return;
    json_t *finding =
        add(findings, "timeout-below-history", "warning", "%s = %s, but 99.9 %% took up to %s",
            option, string_duration(configured, sizeof configured, value),
            string_duration(seen, sizeof seen, (uint64_t)history));
    json_set_text(finding, kind, name);
    explain(finding,
            "what was fine so far would be cut off (all listeners counted together, since "
            "the start of the daemon)",
            "choose a longer time, or use --force");
}

void policy_lint_history(json_t *findings, const struct conf *conf, const json_t *histograms)
{
    double handshake = quantile_ms(json_object_get(histograms, "handshake_duration_seconds"));
    double session = quantile_ms(json_object_get(histograms, "session_duration_seconds"));
    double dial = quantile_ms(json_object_get(histograms, "upstream_connect_duration_seconds"));

    for (size_t i = 0; i < conf->listener_count; i++) {
        const struct conf_listener *listener = &conf->listeners[i];
        if (!conf_listener_in_force(listener))
            continue;
        check_timeout(findings, "listener", listener->name, "handshake-timeout",
                      listener->handshake_timeout, handshake);
        check_timeout(findings, "listener", listener->name, "max-session-age",
                      listener->max_session_age, session);
    }
    for (size_t i = 0; i < conf->upstream_count; i++) {
        const struct conf_upstream *upstream = &conf->upstreams[i];
        if (conf_upstream_in_force(upstream))
            check_timeout(findings, "upstream", upstream->name, "connect-timeout",
                          upstream->connect_timeout, dial);
    }
}
