/* Findings that take more than one look: the file on disk, the origin behind the edge, certificates
 * that are served in turn. */
#include "watch/watcher_internal.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/json.h"

json_t *endpoint_add(json_t *endpoint, const char *id, enum severity severity, const char *next,
                     const char *format, ...)
{
    struct findings findings = {.count = 0};
    json_t *list = json_object_get(endpoint, "findings");
    char text[sizeof findings.items[0].text];
    va_list arguments;

    va_start(arguments, format);
    ignore(vsnprintf(text, sizeof text, format, arguments));
    va_end(arguments);
    json_t *finding = finding_to_json(findings_add(&findings, id, severity, next, "%s", text));
    if (!json_is_array(list)) {
        list = json_array();
        ignore(json_object_set_new(endpoint, "findings", list));
    }
    ignore(json_array_append_new(list, finding));
    if (severity_weight(severity) > severity_weight(severity_read(json_text(endpoint, "verdict"))))
        json_set_text(endpoint, "verdict", severity_name(severity));
    return finding;
}

json_t *endpoint_of_trouble(const struct watched *watched, int64_t now)
{
    json_t *endpoint = json_object();

    json_set_text(endpoint, "target", watched->text);
    json_set_text(endpoint, "kind", "endpoint");
    json_set_text(endpoint, "outcome", "local-failure");
    json_set_text(endpoint, "reason", watched->trouble);
    json_set_text(endpoint, "verdict", "unknown");
    json_set_time(endpoint, "checked_at", now);
    ignore(endpoint_add(endpoint, "not-checked", SEVERITY_UNKNOWN,
                        "See the daemon's log; correct the configuration if it names a target that "
                        "is none.",
                        "It could not be checked: %s", watched->trouble) != NULL);
    return endpoint;
}

/* ---- the file on disk ---- */

static bool same_kind(const json_t *leaf, enum key_type type)
{
    const char *key = json_text(leaf, "key");

    return type == KEY_TYPE_ECDSA ? strcmp(key, "EC") == 0
           : type == KEY_TYPE_RSA ? strncmp(key, "RSA", 3) == 0
                                  : true;
}

/* The finding is about the certificate that is served: one cause, however many places. */
static void about_leaf(json_t *finding, const json_t *leaf)
{
    json_set_text(finding, "certificate", json_text(leaf, "sha256"));
}

void compare_with_file(const struct watched *watched, json_t *endpoint)
{
    const json_t *leaf = endpoint_leaf(endpoint);
    const struct certificate_on_disk *disk = &watched->disk;
    const char *file = watched->conf->file;

    if (!watched->disk_known) {
        ignore(endpoint_add(endpoint, "file-unreadable", SEVERITY_UNKNOWN,
                            "Make the file readable, or take it out of the configuration.",
                            "%.120s, which should be served: %s", file,
                            watched->disk_trouble) != NULL);
        return;
    }
    if (leaf == NULL || !same_kind(leaf, disk->key_type) ||
        strcmp(json_text(leaf, "sha256"), disk->sha256) == 0)
        return;
    if (disk->not_before > json_get_time(leaf, "not_before"))
        about_leaf(
            endpoint_add(
                endpoint, "renewed-not-served", SEVERITY_WARNING,
                "Have the server read its files again (reload it); make the renewal do so.",
                "The certificate was renewed on disk (%.120s), but the one before is served.",
                file),
            leaf);
    else
        about_leaf(endpoint_add(
                       endpoint, "served-not-on-disk", SEVERITY_WARNING,
                       "Put the certificate that is served into the file, or correct the path: at "
                       "its next start the server may go back to the older one.",
                       "What is served is newer than what the file %.120s holds.", file),
                   leaf);
}

/* ---- edge and origin ---- */

static const json_t *newest_at_origin(const json_t *endpoints, const json_t *edge, bool *ret_same)
{
    const json_t *newest = NULL;

    *ret_same = false;
    for (size_t i = 0; i < json_array_size(endpoints); i++) {
        const json_t *endpoint = json_array_get(endpoints, i), *leaf = endpoint_leaf(endpoint);
        if (leaf == NULL || strcmp(json_text(endpoint, "vantage"), "origin") != 0 ||
            strcmp(json_text(endpoint, "key_type"), json_text(edge, "key_type")) != 0)
            continue;
        *ret_same |=
            strcmp(json_text(leaf, "sha256"), json_text(endpoint_leaf(edge), "sha256")) == 0;
        if (newest == NULL ||
            json_get_time(leaf, "not_before") > json_get_time(newest, "not_before"))
            newest = leaf;
    }
    return newest;
}

void compare_with_origin(json_t *endpoints)
{
    for (size_t i = 0; i < json_array_size(endpoints); i++) {
        json_t *edge = json_array_get(endpoints, i);
        const json_t *leaf = endpoint_leaf(edge);
        bool same;
        if (leaf == NULL || strcmp(json_text(edge, "vantage"), "edge") != 0)
            continue;
        const json_t *origin = newest_at_origin(endpoints, edge, &same);
        if (origin == NULL || same)
            continue;
        if (json_get_time(origin, "not_before") > json_get_time(leaf, "not_before"))
            about_leaf(endpoint_add(edge, "edge-behind-origin", SEVERITY_WARNING,
                                    "Bring the certificate to the edge, too, or wait until it has "
                                    "taken it.",
                                    "The edge serves a certificate until %.10s, its origin a newer "
                                    "one until %.10s.",
                                    json_text(leaf, "not_after"), json_text(origin, "not_after")),
                       leaf);
        else
            about_leaf(endpoint_add(edge, "edge-differs-from-origin", SEVERITY_INFO,
                                    "Nothing, if the edge has certificates of its own.",
                                    "The edge serves another certificate than its origin."),
                       leaf);
    }
}

/* ---- in turn ---- */

/* The verdict is that of the worst of them, whichever answered this time; the finding is about none
 * of them alone. */
void compare_in_turn(const struct place *place, json_t *endpoint)
{
    enum severity worst = SEVERITY_WARNING;
    char others[160] = "";
    size_t used = 0;

    for (size_t i = 0; i < place->leaf_count; i++) {
        const struct leaf *leaf = &place->leaves[i];
        if (severity_weight(leaf->severity) > severity_weight(worst))
            worst = leaf->severity;
        if (used < sizeof others)
            used += (size_t)snprintf(others + used, sizeof others - used, "%s%.16s",
                                     used == 0 ? "" : ", ", leaf->sha256);
    }
    ignore(endpoint_add(endpoint, "served-in-turn", worst,
                        "Find the nodes behind this address that differ (often one that was not "
                        "renewed or not reloaded) and give them the same certificate.",
                        "%zu certificates are served in turn at this address (%s).",
                        place->leaf_count, others) != NULL);
}
