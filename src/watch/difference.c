#include "watch/difference.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/attributes.h"
#include "base/json.h"

#define TEXT_MAX   400
#define NAMES_TOLD 5

static PRINTF_LIKE(4, 5) void add(json_t *list, const char *what, const char *severity,
                                  const char *format, ...)
{
    char text[TEXT_MAX];
    va_list arguments;
    json_t *object = json_object();

    va_start(arguments, format);
    ignore(vsnprintf(text, sizeof text, format, arguments));
    va_end(arguments);
    json_set_text(object, "what", what);
    json_set_text(object, "severity", severity);
    json_set_text(object, "text", text);
    /* Warnings stand first. */
    if (strcmp(severity, "warning") == 0)
        ignore(json_array_insert_new(list, 0, object));
    else
        ignore(json_array_append_new(list, object));
}

static bool has_name(const json_t *names, const char *name)
{
    for (size_t i = 0; i < json_array_size(names); i++) {
        const char *other = json_string_value(json_array_get(names, i));
        if (other != NULL && strcmp(other, name) == 0)
            return true;
    }
    return false;
}

/* Names of `these` that `those` have not. */
static size_t missing(const json_t *these, const json_t *those, char text[TEXT_MAX / 2])
{
    size_t count = 0, used = 0;

    text[0] = '\0';
    for (size_t i = 0; i < json_array_size(these); i++) {
        const char *name = json_string_value(json_array_get(these, i));
        if (name == NULL || has_name(those, name))
            continue;
        if (count++ < NAMES_TOLD && used < TEXT_MAX / 2)
            used += (size_t)snprintf(text + used, TEXT_MAX / 2 - used, "%s%.60s",
                                     used == 0 ? "" : ", ", name);
    }
    if (count > NAMES_TOLD && used < TEXT_MAX / 2)
        ignore(snprintf(text + used, TEXT_MAX / 2 - used, " and %zu more", count - NAMES_TOLD));
    return count;
}

static void compare_names(json_t *list, const json_t *before, const json_t *after)
{
    const json_t *old = json_object_get(before, "subject_an"),
                 *new = json_object_get(after, "subject_an");
    char text[TEXT_MAX / 2];
    /* Beyond a thousand the list is cut: what is missing there may only be out of sight. */
    bool whole = json_integer_value(json_object_get(after, "subject_an_count")) <=
                 (json_int_t)json_array_size(new);
    size_t lost = whole ? missing(old, new, text) : 0;

    if (lost != 0)
        add(list, "names-lost", "warning", "%zu name%s lost: %s", lost, lost == 1 ? "" : "s", text);
    size_t gained = missing(new, old, text);
    if (gained != 0)
        add(list, "names-gained", "info", "%zu name%s gained: %s", gained, gained == 1 ? "" : "s",
            text);
}

static void compare_key(json_t *list, const json_t *before, const json_t *after)
{
    const char *old = json_text(before, "key"), *new = json_text(after, "key");
    json_int_t old_bits = json_integer_value(json_object_get(before, "key_bits"));
    json_int_t new_bits = json_integer_value(json_object_get(after, "key_bits"));

    if (strcmp(old, new) != 0 || old_bits != new_bits)
        add(list, "key-type", strcmp(old, new) == 0 && new_bits < old_bits ? "warning" : "info",
            "the key was %s %lld and is %s %lld", old, (long long)old_bits, new,
            (long long)new_bits);
    if (json_text(before, "spki_sha256")[0] != '\0' &&
        strcmp(json_text(before, "spki_sha256"), json_text(after, "spki_sha256")) == 0)
        add(list, "key-reused", "info", "the same key as before");
}

static void compare_text(json_t *list, const char *what, const char *severity, const char *subject,
                         const char *old, const char *new)
{
    if (strcmp(old, new) != 0)
        add(list, what, severity, "%s was %.120s and is %.120s", subject,
            old[0] == '\0' ? "none" : old, new[0] == '\0' ? "none" : new);
}

static double lifetime_days(const json_t *certificate)
{
    return (double)(json_get_time(certificate, "not_after") -
                    json_get_time(certificate, "not_before")) /
           86400;
}

static void compare_life(json_t *list, const json_t *before, const json_t *after)
{
    double old = lifetime_days(before), new = lifetime_days(after);

    if (new < old * 0.9 || new > old * 1.1)
        add(list, "lifetime", "info", "it was issued for %.1f days and is for %.1f", old, new);
    if (json_get_time(after, "not_after") < json_get_time(before, "not_after"))
        add(list, "ends-earlier", "warning", "it ends on %.10s, the one before on %.10s",
            json_text(after, "not_after"), json_text(before, "not_after"));
}

static void compare_chain(json_t *list, const json_t *before, const json_t *after)
{
    size_t old = json_array_size(json_object_get(before, "certificates")),
           new = json_array_size(json_object_get(after, "certificates"));
    json_int_t old_scts =
        json_integer_value(json_object_get(json_object_get(before, "timestamps"), "count"));
    json_int_t new_scts =
        json_integer_value(json_object_get(json_object_get(after, "timestamps"), "count"));

    if (new < old)
        add(list, "chain-shorter", "warning", "%zu certificates were sent, now %zu", old, new);
    else if (new > old)
        add(list, "chain-longer", "info", "%zu certificates were sent, now %zu", old, new);
    if (new_scts < old_scts)
        add(list, "timestamps-fewer", "info", "it had %lld certificate timestamps and has %lld",
            (long long)old_scts, (long long)new_scts);
}

json_t *difference_of(const json_t *before, const json_t *after)
{
    const json_t *old = json_array_get(json_object_get(before, "certificates"), 0),
                 *new = json_array_get(json_object_get(after, "certificates"), 0);
    json_t *list = json_array();

    if (list == NULL || old == NULL || new == NULL)
        return list;
    compare_names(list, old, new);
    compare_key(list, old, new);
    compare_text(list, "issuer", "info", "the issuer", json_text(old, "issuer_cn"),
                 json_text(new, "issuer_cn"));
    compare_text(list, "validation", "info", "the validation", json_text(old, "validation"),
                 json_text(new, "validation"));
    compare_text(list, "signature", "info", "the signature", json_text(old, "signature"),
                 json_text(new, "signature"));
    compare_life(list, old, new);
    compare_chain(list, before, after);
    return list;
}
