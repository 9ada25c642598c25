/* The JSON form of an endpoint: doc/check-json.md. What is unknown is left out. */
#include "watch/report.h"

#include <math.h>
#include <string.h>

#include "base/clock.h"
#include "base/json.h"
#include "base/string.h"
#include "tls/leg.h"
#include "tls/record.h"

#define NAMES_MAX     1000       /* alternative names shown, of a certificate; all are counted */
#define NAMES_SIZE    (1u << 20) /* bytes of those of all certificates; the leaf's come first */
#define SECONDS_A_DAY 86400.0

/* ---- what was seen of TLS ---- */

static const char *version_name(uint16_t version)
{
    static const char *const names[] = {"SSL 3", "TLS 1.0", "TLS 1.1", "TLS 1.2", "TLS 1.3"};
    size_t index = (size_t)(version - 0x0300);

    return version >= 0x0300 && index < ARRAY_SIZE(names) ? names[index] : NULL;
}

static void set_object(json_t *object, const char *key, json_t *member)
{
    if (json_object_size(member) > 0)
        ignore(json_object_set_new(object, key, member));
    else
        json_decref(member);
}

static void set_array(json_t *object, const char *key, json_t *member)
{
    if (json_array_size(member) > 0)
        ignore(json_object_set_new(object, key, member));
    else
        json_decref(member);
}

static void set_alert(json_t *object, const char *key, uint8_t alert)
{
    if (alert != ALERT_NONE)
        json_set_text(object, key, probe_alert_text(alert));
}

static json_t *tls_to_json(const struct probe_seen *seen)
{
    json_t *tls = json_object();

    set_alert(tls, "alert_received", seen->alert_received);
    set_alert(tls, "alert_sent", seen->alert_sent);
    if (seen->version == 0)
        return tls;
    json_set_text(tls, "version", seen->version_name);
    json_set_text(tls, "suite", seen->suite);
    json_set_text(tls, "group", seen->group);
    json_set_text(tls, "alpn", seen->alpn);
    json_set_flag(tls, "forward_secrecy", seen->forward_secrecy);
    json_set_flag(tls, "secure_renegotiation", seen->secure_renegotiation);
    json_set_flag(tls, "extended_master_secret", seen->extended_master_secret);
    json_set_flag(tls, "client_certificate_asked", seen->client_certificate_asked);
    json_set_flag(tls, "client_certificate_required", seen->client_certificate_required);
    json_set_number(tls, "tickets", seen->tickets);
    if (seen->tickets > 0)
        json_set_number(tls, "ticket_lifetime_s", seen->ticket_lifetime_s);
    return tls;
}

static void set_seconds(json_t *object, const char *key, uint64_t ns)
{
    if (ns > 0)
        json_set_real(object, key, (double)ns / (double)NS_PER_S);
}

static json_t *times_to_json(const struct endpoint_times *times)
{
    json_t *object = json_object();

    set_seconds(object, "resolve_s", times->resolve);
    set_seconds(object, "connect_s", times->connect);
    set_seconds(object, "starttls_s", times->starttls);
    set_seconds(object, "handshake_s", times->handshake);
    set_seconds(object, "http_s", times->http);
    return object;
}

/* ---- certificates ---- */

static const char *alternative_name_prefix(enum alternative_name_kind kind)
{
    static const char *const prefixes[] = {
        [ALTERNATIVE_NAME_DNS] = "",          [ALTERNATIVE_NAME_IP] = "",
        [ALTERNATIVE_NAME_EMAIL] = "email:",  [ALTERNATIVE_NAME_URI] = "URI:",
        [ALTERNATIVE_NAME_DIRECTORY] = "DN:", [ALTERNATIVE_NAME_OTHER] = "other:",
    };

    return prefixes[kind];
}

static json_t *names_to_json(const struct certificate_facts *facts, size_t *room)
{
    json_t *names = json_array();

    for (size_t i = 0; i < facts->name_count && i < NAMES_MAX; i++) {
        const struct alternative_name *name = &facts->names[i];
        char text[1024];
        ignore(
            snprintf(text, sizeof text, "%s%s", alternative_name_prefix(name->kind), name->text));
        if (strlen(text) > *room)
            break;
        *room -= strlen(text);
        ignore(json_array_append_new(names, json_name(text)));
    }
    return names;
}

static double rounded(double number, double steps)
{
    return round(number * steps) / steps;
}

/* The rest of the validity, in days and as a share of the whole. */
static void set_left(json_t *object, const struct certificate_facts *facts, int64_t at)
{
    double left = (double)facts->not_after - (double)at;
    double life = (double)facts->not_after - (double)facts->not_before;

    if (facts->dates_malformed)
        return;
    json_set_real(object, "days_left", rounded(left / SECONDS_A_DAY, 1000));
    if (life > 0)
        json_set_real(object, "life_left", rounded(left / life, 10000));
}

static void set_digest(json_t *object, const char *key, const uint8_t digest[32])
{
    char text[65];

    string_hex(text, digest, 32);
    json_set_text(object, key, text);
}

static bool is_needed(const struct endpoint *endpoint, const struct certificate_facts *facts)
{
    for (size_t i = 0; i < endpoint->needed_count; i++) {
        if (certificate_facts_same(endpoint->needed[i], facts))
            return true;
    }
    return false;
}

/* Without a path that holds nobody can tell what is superfluous. */
static const char *role_of(const struct endpoint *endpoint, size_t position)
{
    const struct certificate_facts *facts = endpoint->seen.chain[position];

    if (position == 0)
        return "leaf";
    if (facts->self_signed)
        return "root";
    return endpoint->needed_count > 0 && !is_needed(endpoint, facts) ? "superfluous"
                                                                     : "intermediate";
}

static json_t *certificate_to_json(const struct endpoint *endpoint, size_t position, int64_t at,
                                   size_t *room)
{
    const struct certificate_facts *facts = endpoint->seen.chain[position];
    json_t *object = json_object();

    json_set_number(object, "position", position);
    json_set_text(object, "role", role_of(endpoint, position));
    if (endpoint->needed_count > 0)
        json_set_flag(object, "needed", is_needed(endpoint, facts));
    set_digest(object, "sha256", facts->sha256);
    set_digest(object, "spki_sha256", facts->public_key_sha256);
    json_set_text(object, "subject", facts->subject);
    json_set_text(object, "issuer", facts->issuer);
    json_set_text(object, "issuer_cn", facts->issuer_name);
    json_set_text(object, "common_name", facts->common_name);
    json_set_text(object, "serial", facts->serial);
    json_set_time(object, "not_before", facts->not_before);
    json_set_time(object, "not_after", facts->not_after);
    set_left(object, facts, at);
    json_set_text(object, "key", public_key_kind_name(facts->key_kind));
    json_set_number(object, "key_bits", facts->key_bits);
    json_set_text(object, "curve", facts->curve);
    json_set_text(object, "signature", facts->signature_algorithm);
    json_set_text(object, "signature_digest", facts->signature_digest);
    set_array(object, "subject_an", names_to_json(facts, room));
    json_set_number(object, "subject_an_count", facts->name_count + facts->names_dropped);
    json_set_flag(object, "is_ca", facts->is_ca);
    json_set_flag(object, "must_staple", facts->must_staple);
    json_set_text(object, "policies", facts->policies);
    json_set_text(object, "validation", facts->validation);
    return object;
}

static json_t *certificates_to_json(const struct endpoint *endpoint, int64_t at)
{
    json_t *list = json_array();
    size_t room = NAMES_SIZE;

    for (size_t i = 0; i < endpoint->seen.chain_count; i++)
        ignore(json_array_append_new(list, certificate_to_json(endpoint, i, at, &room)));
    return list;
}

/* ---- judgement ---- */

static json_t *path_to_json(const struct chain_path *path)
{
    json_t *list = json_array();
    char text[65];

    for (size_t i = 0; i < path->count; i++) {
        string_hex(text, path->certificates[i]->sha256, 32);
        ignore(json_array_append_new(list, json_string(text)));
    }
    return list;
}

static json_t *verdict_to_json(const struct endpoint_trust *trust)
{
    const struct chain_verdict *verdict = &trust->verdict;
    json_t *object = json_object();

    json_set_text(object, "store", chain_store_name(trust->store));
    json_set_text(object, "outcome", chain_outcome_name(verdict->outcome));
    json_set_text(object, "reason", verdict->reason);
    if (verdict->code != 0)
        json_set_number(object, "code", (uint64_t)verdict->code);
    if (verdict->at >= 0)
        json_set_number(object, "at", (uint64_t)verdict->at);
    json_set_time(object, "breaks_at", verdict->breaks_at);
    if (verdict->path_count > 0) {
        set_array(object, "path", path_to_json(&verdict->paths[0]));
        json_set_time(object, "not_after", verdict->paths[0].not_after);
    }
    return object;
}

static json_t *trust_to_json(const struct endpoint *endpoint)
{
    json_t *list = json_array();

    for (size_t i = 0; i < endpoint->trust_count; i++)
        ignore(json_array_append_new(list, verdict_to_json(&endpoint->trust[i])));
    return list;
}

/* ---- what comes from elsewhere ---- */

static json_t *renewal_to_json(const struct endpoint_renewal *renewal)
{
    json_t *object = json_object();

    json_set_text(object, "reason", renewal->reason);
    if (!renewal->known)
        return object;
    json_set_time(object, "window_start", renewal->start);
    json_set_time(object, "window_end", renewal->end);
    json_set_text(object, "explanation", renewal->explanation);
    return object;
}

static json_t *staple_to_json(const struct endpoint *endpoint)
{
    const struct ocsp_verdict *staple = &endpoint->revocation.staple;
    json_t *object = json_object();

    if (endpoint->seen.version == 0) /* nothing can be told of it */
        return object;
    json_set_flag(object, "present", endpoint->seen.staple_size > 0);
    if (endpoint->seen.staple_size == 0 || !endpoint->revocation.prepared)
        return object;
    json_set_text(object, "status", ocsp_outcome_name(staple->outcome));
    json_set_text(object, "reason", staple->reason);
    json_set_time(object, "produced_at", staple->produced_at);
    json_set_time(object, "this_update", staple->this_update);
    json_set_time(object, "next_update", staple->next_update);
    json_set_time(object, "revoked_at", staple->revoked_at);
    json_set_text(object, "revocation_reason", staple->revocation_reason);
    return object;
}

static json_t *timestamps_to_json(const struct endpoint *endpoint)
{
    const struct timestamps *timestamps = &endpoint->revocation.timestamps;
    struct timestamps_policy policy;
    json_t *object = json_object();

    if (!endpoint->revocation.prepared || endpoint->seen.chain_count == 0)
        return object;
    json_set_number(object, "count", timestamps->count + timestamps->dropped);
    timestamps_weigh(&policy, timestamps, endpoint->seen.chain[0]);
    if (policy.operators > 0)
        json_set_number(object, "operators", policy.operators);
    return object;
}

static json_t *crl_to_json(const struct endpoint_crl *crl)
{
    const struct crl_verdict *verdict = &crl->verdict;
    json_t *object = json_object();

    set_digest(object, "certificate", crl->certificate->sha256);
    json_set_text(object, "status", crl_outcome_name(verdict->outcome));
    json_set_text(object, "reason", verdict->reason);
    json_set_text(object, "source", crl->source);
    json_set_text(object, "changes", crl->changes);
    json_set_text(object, "changes_left_out", crl->left_out);
    json_set_time(object, "this_update", verdict->this_update);
    json_set_time(object, "next_update", verdict->next_update);
    json_set_time(object, "revoked_at", verdict->revoked_at);
    json_set_text(object, "revocation_reason", verdict->revocation_reason);
    return object;
}

static json_t *crls_to_json(const struct endpoint_revocation *revocation)
{
    json_t *list = json_array();

    for (size_t i = 0; i < revocation->crl_count; i++)
        ignore(json_array_append_new(list, crl_to_json(&revocation->crls[i])));
    return list;
}

static json_t *findings_to_json(const struct findings *findings)
{
    json_t *list = json_array();

    for (size_t i = 0; i < findings->count; i++)
        ignore(json_array_append_new(list, finding_to_json(&findings->items[i])));
    return list;
}

/* ---- what --deep and its kin have found ---- */

static void set_answer(json_t *object, const char *key, enum answer answer)
{
    if (answer != ANSWER_UNKNOWN)
        json_set_text(object, key, answer_name(answer));
}

static json_t *suites_to_json(const struct endpoint_inventory *inventory)
{
    json_t *list = json_array();

    for (size_t i = 0; i < inventory->suite_count; i++) {
        json_t *suite = json_object();
        json_set_text(suite, "suite", inventory->suites[i]);
        json_set_text(suite, "version", version_name(inventory->suite_versions[i]));
        ignore(json_array_append_new(list, suite));
    }
    return list;
}

static json_t *inventory_to_json(const struct endpoint_inventory *inventory)
{
    json_t *object = json_object(), *versions = json_object();

    for (size_t i = 0; i < ENDPOINT_VERSIONS; i++)
        set_answer(versions, version_name((uint16_t)(0x0300 + i)), inventory->versions[i]);
    set_object(object, "versions", versions);
    set_array(object, "suites", suites_to_json(inventory));
    set_answer(object, "server_preference", inventory->server_preference);
    set_answer(object, "resumes_ticket", inventory->resumes_ticket);
    set_answer(object, "resumes_id", inventory->resumes_id);
    set_answer(object, "client_renegotiation", inventory->client_renegotiation);
    set_answer(object, "fallback_protected", inventory->fallback_protected);
    set_answer(object, "post_quantum", inventory->post_quantum);
    set_answer(object, "compression", inventory->compression);
    set_answer(object, "downgrade_sentinel", inventory->downgrade_sentinel);
    if (inventory->cut)
        json_set_flag(object, "cut", true);
    return object;
}

static json_t *http_to_json(const struct endpoint_http *http)
{
    json_t *object = json_object();

    if (!http->asked)
        return object;
    json_set_number(object, "status", http->status);
    if (http->strict_transport_security[0] != '\0') {
        json_set_text(object, "strict_transport_security", http->strict_transport_security);
        json_set_number(object, "max_age_s", http->hsts_max_age_s);
        json_set_flag(object, "include_subdomains", http->hsts_subdomains);
        json_set_flag(object, "malformed", http->hsts_malformed);
    }
    return object;
}

/* ---- the messages of --trace ---- */

static const char *record_name(uint8_t content_type)
{
    static const char *const names[] = {
        [20] = "change_cipher_spec", [21] = "alert", [22] = "handshake", [23] = "application_data"};

    return content_type < ARRAY_SIZE(names) ? names[content_type] : NULL;
}

static json_t *message_to_json(const struct probe_message *message)
{
    json_t *object = json_object();

    json_set_real(object, "at_s", (double)message->at_ns / (double)NS_PER_S);
    json_set_text(object, "direction", message->sent ? "sent" : "received");
    json_set_text(object, "record", record_name(message->content_type));
    json_set_text(object, "message", probe_message_text(message->content_type, message->type));
    json_set_number(object, "size", message->size);
    if (message->content_type == RECORD_ALERT)
        set_alert(object, "alert", message->detail);
    return object;
}

static json_t *messages_to_json(const struct probe_seen *seen)
{
    json_t *list = json_array();

    for (size_t i = 0; i < seen->message_count; i++)
        ignore(json_array_append_new(list, message_to_json(&seen->messages[i])));
    return list;
}

/* ---- all of it ---- */

static const char *verdict_name(const struct endpoint *endpoint)
{
    enum severity worst = endpoint_severity(endpoint);

    return worst == SEVERITY_INFO ? "ok" : severity_name(worst);
}

static void set_place(json_t *object, const struct endpoint *endpoint)
{
    const struct target *target = &endpoint->target;
    bool file = target->kind == TARGET_FILE;

    json_set_text(object, "target", target->text);
    json_set_text(object, "kind", file ? "file" : "endpoint");
    json_set_text(object, "host", target->host);
    if (!file) {
        json_set_number(object, "port", target->port);
        json_set_text(object, "protocol", target_protocol_name(target->protocol));
        json_set_flag(object, "sni", endpoint->sni);
    }
    json_set_text(object, "name", endpoint->name);
    json_set_text(object, "address", endpoint->address_text);
    json_set_text(object, "key_type",
                  endpoint->key_type < 0 ? "any"
                                         : key_type_name((enum key_type)endpoint->key_type));
    json_set_text(object, "vantage", endpoint->vantage);
}

static void set_outcome(json_t *object, const struct endpoint *endpoint)
{
    json_set_time(object, "checked_at", endpoint->checked_at);
    json_set_time(object, "judged_at", endpoint->judged_at);
    json_set_text(object, "outcome", endpoint_outcome_name(endpoint->outcome));
    json_set_text(object, "stage", endpoint->stage);
    json_set_text(object, "reason", endpoint->reason);
    json_set_text(object, "verdict", verdict_name(endpoint));
}

json_t *report_json(const struct endpoint *endpoint)
{
    int64_t at = endpoint->judged_at != 0 ? endpoint->judged_at : endpoint->checked_at;
    const struct probe_seen *seen = &endpoint->seen;
    json_t *object = json_object();

    if (object == NULL)
        return NULL;
    set_place(object, endpoint);
    set_outcome(object, endpoint);
    set_object(object, "tls", tls_to_json(seen));
    set_object(object, "times", times_to_json(&endpoint->times));
    set_array(object, "certificates", certificates_to_json(endpoint, at));
    if (seen->chain_dropped > 0)
        json_set_number(object, "certificates_dropped", seen->chain_dropped);
    set_array(object, "trust", trust_to_json(endpoint));
    json_set_time(object, "breaks_at", endpoint->breaks_at);
    set_object(object, "renewal", renewal_to_json(&endpoint->revocation.renewal));
    set_object(object, "staple", staple_to_json(endpoint));
    set_array(object, "revocation_lists", crls_to_json(&endpoint->revocation));
    set_object(object, "timestamps", timestamps_to_json(endpoint));
    set_object(object, "inventory", inventory_to_json(&endpoint->inventory));
    set_object(object, "http", http_to_json(&endpoint->http));
    set_array(object, "messages", messages_to_json(seen));
    ignore(json_object_set_new(object, "findings", findings_to_json(&endpoint->findings)));
    if (endpoint->findings.dropped > 0)
        json_set_number(object, "findings_dropped", endpoint->findings.dropped);
    return object;
}
