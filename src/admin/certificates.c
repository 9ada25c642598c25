#include "admin/certificates.h"

#include <string.h>

#include "base/json.h"
#include "base/string.h"

#define DAY_S 86400

static const char *from_name(enum conf_certificate_from from)
{
    switch (from) {
    case CONF_FROM_INTERNAL:
        return "internal";
    case CONF_FROM_FILES:
        return "files";
    case CONF_FROM_MANAGED:
        return "managed";
    }
    return "unknown";
}

static json_t *checks_to_json(const struct conf *conf, const struct vault_entry *entry)
{
    json_t *list = json_array();
    char text[ADDRESS_TEXT_MAX];

    for (size_t i = 0; i < entry->check_count; i++) {
        const struct vault_check *check = &entry->checks[i];
        json_t *object = json_object();
        if (check->listener < conf->listener_count &&
            check->bind < conf->listeners[check->listener].bind.count) {
            const struct conf_listener *listener = &conf->listeners[check->listener];
            json_set_text(object, "listener", listener->name);
            json_set_text(object, "address",
                          address_format(text, sizeof text, &listener->bind.items[check->bind]));
        }
        json_set_text(object, "result", vault_check_name(check->result));
        json_set_field(object, "detail", check->text, sizeof check->text);
        json_set_time(object, "at", check->at);
        ignore(json_array_append_new(list, object));
    }
    return list;
}

static void set_short(json_t *object, const struct vault_entry *entry, int64_t now_s)
{
    json_set_text(object, "name", entry->name);
    json_set_text(object, "host", entry->host);
    json_set_text(object, "state", vault_state_name(entry->state));
    if (entry->present) {
        json_set_number(object, "version", entry->version);
        json_set_text(object, "key_type", key_type_name(entry->key_type));
        json_set_time(object, "not_after", entry->not_after);
        int64_t left = entry->not_after - now_s;
        ignore(
            json_object_set_new(object, "days_left",
                                json_integer(left >= 0 ? left / DAY_S : -1 - (-left - 1) / DAY_S)));
    }
    json_set_text(object, "last_error", entry->last_error);
}

json_t *certificate_to_json(const struct conf *conf, const struct vault_entry *entry, int64_t now_s)
{
    char fingerprint[2 * sizeof entry->fingerprint + 1];
    json_t *object = json_object(), *names = json_array();

    set_short(object, entry, now_s);
    json_set_text(object, "from", from_name(entry->from));
    if (entry->folder_files != 0 || entry->folder_used != 0) {
        json_set_number(object, "folder_files", entry->folder_files);
        json_set_number(object, "folder_used", entry->folder_used);
    }
    if (entry->present) {
        string_hex(fingerprint, entry->fingerprint, sizeof entry->fingerprint);
        json_set_number(object, "key_bits", entry->key_bits);
        json_set_time(object, "not_before", entry->not_before);
        json_set_text(object, "fingerprint", fingerprint);
        json_set_text(object, "subject", entry->subject);
        json_set_text(object, "issuer", entry->issuer);
        json_set_text(object, "serial", entry->serial);
        for (size_t i = 0; i < entry->name_count; i++)
            ignore(
                json_array_append_new(names, json_field(entry->names[i], strlen(entry->names[i]))));
        ignore(json_object_set(object, "names", names));
    }
    json_decref(names);
    ignore(json_object_set_new(object, "served", checks_to_json(conf, entry)));
    json_set_time(object, "next_attempt", entry->next_attempt);
    return object;
}

struct summary {
    json_t *list;
    int64_t now_s;
};

static int add_summary(void *context, const struct vault_entry *entry)
{
    struct summary *summary = context;
    json_t *object = json_object();

    set_short(object, entry, summary->now_s);
    ignore(json_array_append_new(summary->list, object));
    return json_array_size(summary->list) >= CERTIFICATES_SUMMARY_MAX;
}

json_t *certificates_summary(const struct admin_view *view, int64_t now_s)
{
    struct summary summary = {.list = json_array(), .now_s = now_s};

    if (view->vault != NULL)
        ignore(vault_each(view->vault, add_summary, &summary));
    return summary.list;
}

json_t *certificate_outcome_to_json(const struct vault_outcome *outcome)
{
    json_t *object = json_object(), *findings = json_array();

    if (outcome->version != 0) {
        json_set_number(object, "version", outcome->version);
        json_set_text(object, "key_type", key_type_name(outcome->key_type));
    }
    for (size_t i = 0; i < outcome->report.count && i < PREFLIGHT_FINDINGS_MAX; i++) {
        const struct preflight_finding *finding = &outcome->report.findings[i];
        json_t *item = json_object();
        json_set_text(item, "code", error_name(finding->code));
        json_set_flag(item, "forced", finding->forced);
        json_set_field(item, "text", finding->text, sizeof finding->text);
        ignore(json_array_append_new(findings, item));
    }
    ignore(json_object_set_new(object, "findings", findings));
    json_set_field(object, "check", outcome->check, sizeof outcome->check);
    return object;
}
