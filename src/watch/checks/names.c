/* Does the certificate stand for the name that was asked for, and are its names in order? */
#include "watch/checks/words.h"

#include <stdio.h>
#include <string.h>

#define NAMES_SHOWN 5
#define NAME_SHOWN  60 /* of each, in bytes */

/* "a.example, b.example and 7 more" */
static void list_names(char *text, size_t size, const struct certificate_facts *leaf)
{
    size_t used = 0, shown = 0;

    text[0] = '\0';
    for (size_t i = 0; i < leaf->name_count && shown < NAMES_SHOWN && used < size; i++) {
        if (leaf->names[i].kind != ALTERNATIVE_NAME_DNS &&
            leaf->names[i].kind != ALTERNATIVE_NAME_IP)
            continue;
        const char *name = leaf->names[i].text;
        used += (size_t)snprintf(text + used, size - used, "%s%.*s%s", shown++ > 0 ? ", " : "",
                                 NAME_SHOWN, name, strlen(name) > NAME_SHOWN ? "…" : "");
    }
    if (leaf->name_count > shown && shown > 0 && used < size)
        ignore(snprintf(text + used, size - used, " and %zu more",
                        leaf->name_count - shown + leaf->names_dropped));
}

/* Why so near and yet not: what people get wrong with wildcards and common names. */
static const char *near_miss(const struct certificate_facts *leaf, const char *name)
{
    const char *parent = strchr(name, '.');

    if (leaf->common_name != NULL && strcmp(leaf->common_name, name) == 0)
        return "it stands in the common name, which no client looks at any more";
    for (size_t i = 0; i < leaf->name_count; i++) {
        const char *text = leaf->names[i].text;
        if (leaf->names[i].kind != ALTERNATIVE_NAME_DNS || strncmp(text, "*.", 2) != 0)
            continue;
        if (strcmp(text + 2, name) == 0)
            return "a wildcard does not cover the domain itself";
        for (const char *rest = parent; rest != NULL; rest = strchr(rest + 1, '.')) {
            if (rest != parent && strcmp(text + 1, rest) == 0)
                return "a wildcard covers one label only";
        }
    }
    return "";
}

static void tell_mismatch(const struct endpoint *endpoint, struct findings *findings)
{
    const struct certificate_facts *leaf = endpoint->seen.chain[0];
    char names[200];

    if (endpoint->name[0] == '\0' || !leaf->has_alternative_names ||
        certificate_facts_cover(leaf, endpoint->name))
        return;
    list_names(names, sizeof names, leaf);
    struct finding *finding =
        findings_add(findings, "name-mismatch", SEVERITY_CRITICAL,
                     "have a certificate issued for this name, or make the server choose the right "
                     "one for it (SNI)",
                     "the certificate is not for %.100s but for %s", endpoint->name,
                     names[0] != '\0' ? names : "no host at all");
    ignore(snprintf(finding->evidence, sizeof finding->evidence, "%s",
                    near_miss(leaf, endpoint->name)));
    words_blame(finding, leaf);
}

static void tell_missing(const struct endpoint *endpoint, struct findings *findings)
{
    const struct certificate_facts *leaf = endpoint->seen.chain[0];

    if (leaf->has_alternative_names)
        return;
    struct finding *finding =
        findings_add(findings, "names-missing", SEVERITY_CRITICAL,
                     "have the certificate issued with subject alternative names",
                     "the certificate has no subject alternative names; no client looks at the "
                     "common name (%.100s) any more",
                     leaf->common_name != NULL ? leaf->common_name : "there is none, either");
    words_blame(finding, leaf);
}

/* Baseline Requirements §7.1.4.3: what is in the common name must be among the others. None is
 * fine. */
static void tell_common_name(const struct endpoint *endpoint, struct findings *findings)
{
    const struct certificate_facts *leaf = endpoint->seen.chain[0];

    if (leaf->common_name == NULL || !leaf->has_alternative_names)
        return;
    for (size_t i = 0; i < leaf->name_count; i++) {
        if (strcasecmp(leaf->names[i].text, leaf->common_name) == 0)
            return;
    }
    struct finding *finding = findings_add(
        findings, "common-name-not-covered",
        words_public(endpoint) ? SEVERITY_WARNING : SEVERITY_INFO,
        "have the certificate issued with the common name among its alternative "
        "names, or without a common name",
        "the common name %.100s is not among the alternative names", leaf->common_name);
    words_blame(finding, leaf);
}

/* A star that is not the whole left-most label, or stands before a single label. */
static bool odd_wildcard(const char *name)
{
    const char *star = strchr(name, '*');

    if (star == NULL)
        return false;
    return star != name || name[1] != '.' || strchr(name + 1, '*') != NULL ||
           strchr(name + 2, '.') == NULL;
}

/* Underscores and empty labels are in no host's name, though TLS libraries accept them. */
static bool odd_host(const char *name)
{
    size_t size = strlen(name);

    return strchr(name, '_') != NULL || name[0] == '.' || strstr(name, "..") != NULL ||
           (size > 0 && name[size - 1] == '.');
}

static void tell_odd_names(const struct endpoint *endpoint, struct findings *findings)
{
    const struct certificate_facts *leaf = endpoint->seen.chain[0];
    const char *id = NULL, *what = NULL;
    const struct alternative_name *name = NULL;

    for (size_t i = 0; i < leaf->name_count && id == NULL; i++) {
        name = &leaf->names[i];
        if (name->malformed) {
            id = "names-malformed";
            what = "is neither a host name nor an address";
        } else if (name->kind == ALTERNATIVE_NAME_DNS && odd_wildcard(name->text)) {
            id = "names-wildcard";
            what = "is a wildcard that no client accepts: the star must be the whole first label "
                   "and have two labels behind it";
        } else if (name->kind == ALTERNATIVE_NAME_DNS && odd_host(name->text)) {
            id = "names-malformed";
            what = "is no host name by the CA/Browser Forum's rules";
        }
    }
    if (id == NULL)
        return;
    struct finding *finding = findings_add(findings, id, SEVERITY_WARNING,
                                           "have the certificate issued without this name",
                                           "the alternative name %.80s %s", name->text, what);
    words_blame(finding, leaf);
}

void check_names(const struct endpoint *endpoint, const struct check_policy *policy,
                 struct findings *findings)
{
    (void)policy;
    if (endpoint->seen.chain_count == 0)
        return;
    tell_mismatch(endpoint, findings);
    tell_missing(endpoint, findings);
    tell_common_name(endpoint, findings);
    tell_odd_names(endpoint, findings);
}
