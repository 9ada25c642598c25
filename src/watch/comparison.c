#include "watch/comparison.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/buffer.h"
#include "base/json.h"
#include "watch/report_words.h"

#define VALUE_MAX 4096

/* ---- the configuration of one target ---- */

/* Several endpoints may have an equal value; what differs within a target is joined. */
static void set(json_t *configuration, const char *group, const char *what, const char *value)
{
    char key[128], joined[VALUE_MAX];

    if (value[0] == '\0')
        return;
    ignore(snprintf(key, sizeof key, "%s%s%s", group, group[0] != '\0' ? " " : "", what));
    const char *before = json_text(configuration, key);
    if (before[0] == '\0') {
        json_set_text(configuration, key, value);
    } else if (strstr(before, value) == NULL) {
        ignore(snprintf(joined, sizeof joined, "%s | %s", before, value));
        json_set_text(configuration, key, joined);
    }
}

static void set_members(json_t *configuration, const char *group, const json_t *object,
                        const char *const (*members)[2])
{
    for (; (*members)[0] != NULL; members++) {
        const json_t *value = json_object_get(object, (*members)[1]);
        if (json_is_boolean(value))
            set(configuration, group, (*members)[0], json_is_true(value) ? "yes" : "no");
        else
            set(configuration, group, (*members)[0], json_text(object, (*members)[1]));
    }
}

static void set_key(json_t *configuration, const char *group, const json_t *leaf)
{
    char text[160];
    const char *curve = json_text(leaf, "curve");

    if (curve[0] != '\0')
        ignore(snprintf(text, sizeof text, "%s %s", json_text(leaf, "key"), curve));
    else
        ignore(snprintf(text, sizeof text, "%s %.0f", json_text(leaf, "key"),
                        json_real_or(leaf, "key_bits", 0)));
    set(configuration, group, "key", text);
}

/* What is sent behind the leaf, by name. */
static void set_chain(json_t *configuration, const char *group, const json_t *certificates)
{
    struct buffer chain;

    buffer_init(&chain, VALUE_MAX - 1);
    for (size_t i = 1; i < json_array_size(certificates); i++)
        buffer_printf(&chain, "%s%s", i > 1 ? ", " : "",
                      report_certificate_name(json_array_get(certificates, i)));
    set(configuration, group, "chain", chain.size > 0 ? buffer_text(&chain) : "leaf only");
    buffer_fini(&chain);
}

static void set_answers(json_t *configuration, const json_t *inventory)
{
    const char *key;
    json_t *value;
    char joined[VALUE_MAX] = "";
    size_t used = 0;

    json_object_foreach(json_object_get(inventory, "versions"), key, value)
    {
        ignore(snprintf(joined, sizeof joined, "accepts %s", key));
        set(configuration, "", joined, json_string_value(value));
    }
    joined[0] = '\0';
    for (size_t i = 0; i < json_array_size(json_object_get(inventory, "suites")); i++) {
        const char *suite =
            json_text(json_array_get(json_object_get(inventory, "suites"), i), "suite");
        if (used + strlen(suite) + 3 > sizeof joined)
            break;
        used += (size_t)snprintf(joined + used, sizeof joined - used, "%s%s", used > 0 ? ", " : "",
                                 suite);
    }
    set(configuration, "", "suites", joined);
}

static void set_findings(json_t *configuration, const char *group, const json_t *findings)
{
    for (size_t i = 0; i < json_array_size(findings); i++) {
        char what[96];
        const json_t *finding = json_array_get(findings, i);
        ignore(snprintf(what, sizeof what, "finding %s", json_text(finding, "id")));
        set(configuration, group, what, json_text(finding, "severity"));
    }
}

static void add_endpoint(json_t *configuration, const json_t *endpoint)
{
    static const char *const tls[][2] = {{"version", "version"},
                                         {"suite", "suite"},
                                         {"group", "group"},
                                         {"ALPN", "alpn"},
                                         {"forward secrecy", "forward_secrecy"},
                                         {"extended master secret", "extended_master_secret"},
                                         {NULL, NULL}};
    static const char *const leaf_members[][2] = {
        {"issuer", "issuer_cn"}, {"signature", "signature"}, {NULL, NULL}};
    static const char *const inventory[][2] = {{"server preference", "server_preference"},
                                               {"resumes by ticket", "resumes_ticket"},
                                               {"resumes by id", "resumes_id"},
                                               {"client renegotiation", "client_renegotiation"},
                                               {"fallback protected", "fallback_protected"},
                                               {"post-quantum", "post_quantum"},
                                               {NULL, NULL}};
    static const char *const http[][2] = {
        {"Strict-Transport-Security", "strict_transport_security"}, {NULL, NULL}};
    const json_t *certificates = json_object_get(endpoint, "certificates");
    const json_t *leaf = report_leaf(endpoint);
    const char *key_type = json_text(endpoint, "key_type");
    const char *group = strcmp(key_type, "any") == 0 ? "" : key_type;

    set(configuration, group, "outcome", json_text(endpoint, "outcome"));
    set_members(configuration, group, json_object_get(endpoint, "tls"), tls);
    if (leaf != NULL) {
        set_members(configuration, group, leaf, leaf_members);
        set_key(configuration, group, leaf);
        set_chain(configuration, group, certificates);
    }
    set_members(configuration, "", json_object_get(endpoint, "inventory"), inventory);
    set_answers(configuration, json_object_get(endpoint, "inventory"));
    set_members(configuration, "", json_object_get(endpoint, "http"), http);
    set_findings(configuration, group, json_object_get(endpoint, "findings"));
}

/* ---- groups ---- */

static json_t *group_like(json_t *groups, const json_t *configuration)
{
    for (size_t i = 0; i < json_array_size(groups); i++) {
        json_t *group = json_array_get(groups, i);
        if (json_equal(json_object_get(group, "configuration"), configuration))
            return group;
    }
    return NULL;
}

static void add_target(json_t *groups, const json_t *endpoints, size_t begin, size_t end)
{
    AUTO(json_t_pointer) configuration = json_object();

    for (size_t i = begin; i < end; i++)
        add_endpoint(configuration, json_array_get(endpoints, i));
    json_t *group = group_like(groups, configuration);
    if (group == NULL) {
        group = json_pack("{s:[],s:O}", "targets", "configuration", configuration);
        ignore(json_array_append_new(groups, group));
    }
    ignore(
        json_array_append_new(json_object_get(group, "targets"),
                              json_string(json_text(json_array_get(endpoints, begin), "target"))));
}

static int larger_first(const void *a, const void *b)
{
    size_t x = json_array_size(json_object_get(*(json_t *const *)a, "targets"));
    size_t y = json_array_size(json_object_get(*(json_t *const *)b, "targets"));

    return (x < y) - (x > y);
}

static json_t *sorted(const json_t *groups)
{
    size_t count = json_array_size(groups);
    json_t **list = calloc(count + 1, sizeof *list), *result = json_array();

    for (size_t i = 0; list != NULL && i < count; i++)
        list[i] = json_array_get(groups, i);
    if (list != NULL)
        qsort(list, count, sizeof *list, larger_first);
    for (size_t i = 0; list != NULL && i < count; i++)
        ignore(json_array_append(result, list[i]));
    free(list);
    return result;
}

/* ---- differences ---- */

static void differ(json_t *differences, const char *what, const char *here, const char *there)
{
    if (strcmp(here, there) != 0)
        ignore(json_array_append_new(
            differences, json_pack("{s:s,s:s,s:s}", "what", what, "here", here, "there", there)));
}

static json_t *differences_of(json_t *here, json_t *there)
{
    json_t *differences = json_array(), *value;
    const char *key;

    json_object_foreach(there, key, value)
        differ(differences, key, json_text(here, key), json_string_value(value));
    json_object_foreach(here, key, value)
    {
        if (json_object_get(there, key) == NULL)
            differ(differences, key, json_string_value(value), "");
    }
    return differences;
}

json_t *comparison_of(const json_t *endpoints)
{
    AUTO(json_t_pointer) groups = json_array();
    size_t end;

    for (size_t begin = 0; begin < json_array_size(endpoints); begin = end) {
        end = report_target_end(endpoints, begin);
        add_target(groups, endpoints, begin, end);
    }
    json_t *result = sorted(groups);
    json_t *first = json_object_get(json_array_get(result, 0), "configuration");
    for (size_t i = 1; i < json_array_size(result); i++) {
        json_t *group = json_array_get(result, i);
        ignore(json_object_set_new(group, "differences",
                                   differences_of(json_object_get(group, "configuration"), first)));
    }
    return result;
}
