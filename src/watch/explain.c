#include "watch/explain.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/attributes.h"
#include "base/string.h"

#define NAME_LENGTH_MIN 6 /* shorter names are not looked for within a text */

const struct explain_cause *explain_cause(const char *id)
{
    for (size_t i = 0; i < explain_cause_count; i++) {
        if (strcasecmp(explain_causes[i].id, id) == 0)
            return &explain_causes[i];
    }
    return NULL;
}

/* ---- collecting ---- */

static void add_cause(struct explain_answer *answer, const struct explain_cause *cause)
{
    if (cause == NULL || answer->cause_count == EXPLAIN_MATCHES_MAX)
        return;
    for (size_t i = 0; i < answer->cause_count; i++) {
        if (answer->causes[i] == cause)
            return;
    }
    answer->causes[answer->cause_count++] = cause;
}

static void add_error(struct explain_answer *answer, const struct explain_error *error)
{
    if (answer->error_count == EXPLAIN_MATCHES_MAX)
        return;
    answer->errors[answer->error_count++] = error;
    for (size_t i = 0; i < EXPLAIN_CAUSES_MAX && error->causes[i] != NULL; i++)
        add_cause(answer, explain_cause(error->causes[i]));
}

/* ---- ways to recognise ---- */

/* "_", "-" and " " are the same, and so are capitals and small letters. */
static bool same_name(const char *a, const char *b)
{
    for (; *a != '\0' && *b != '\0'; a++, b++) {
        char x = (char)tolower((unsigned char)*a), y = (char)tolower((unsigned char)*b);
        x = x == '_' || x == '-' ? ' ' : x;
        y = y == '_' || y == '-' ? ' ' : y;
        if (x != y)
            return false;
    }
    return *a == *b;
}

static void by_name(struct explain_answer *answer, const char *text)
{
    add_cause(answer, explain_cause(text));
    for (size_t i = 0; i < explain_error_count; i++) {
        if (same_name(explain_errors[i].name, text))
            add_error(answer, &explain_errors[i]);
    }
}

static void by_code(struct explain_answer *answer, const char *client, long code)
{
    for (size_t i = 0; i < explain_error_count; i++) {
        const struct explain_error *error = &explain_errors[i];
        if (error->code == code && code >= 0 &&
            (client == NULL || strcasecmp(error->client, client) == 0))
            add_error(answer, error);
    }
}

/* "45", "alert 45", "alert number 40", "curl: (60)", "verify error:num=20", "X509 code 10" */
static void by_number(struct explain_answer *answer, const char *text)
{
    static const struct {
        const char *word, *client;
    } words[] = {{"alert number ", "TLS alert"},
                 {"alert ", "TLS alert"},
                 {"curl: (", "curl"},
                 {"curl error ", "curl"},
                 {"curl (", "curl"},
                 {"curl ", "curl"},
                 {"num=", "OpenSSL"},
                 {"error code: ", "OpenSSL"},
                 {"return code: ", "OpenSSL"},
                 {"x509 ", "OpenSSL"},
                 {"x509 code ", "OpenSSL"},
                 {"openssl ", "OpenSSL"}};
    char *end;
    long code = strtol(text, &end, 10);

    if (end != text && *end == '\0') {
        by_code(answer, NULL, code);
        return;
    }
    for (size_t i = 0; i < ARRAY_SIZE(words); i++) {
        const char *place = strcasestr(text, words[i].word);
        if (place == NULL)
            continue;
        place += strlen(words[i].word);
        code = strtol(place, &end, 10);
        if (end != place) {
            by_code(answer, words[i].client, code);
            return;
        }
    }
}

/* The longest name that stands in the text, and others of the same length. */
static void by_part(struct explain_answer *answer, const char *text)
{
    size_t longest = NAME_LENGTH_MIN;

    for (size_t i = 0; i < explain_error_count; i++) {
        size_t length = strlen(explain_errors[i].name);
        if (length > longest && strcasestr(text, explain_errors[i].name) != NULL)
            longest = length;
    }
    for (size_t i = 0; i < explain_error_count; i++) {
        if (strlen(explain_errors[i].name) == longest &&
            strcasestr(text, explain_errors[i].name) != NULL)
            add_error(answer, &explain_errors[i]);
    }
}

bool explain(struct explain_answer *ret_answer, const char *text)
{
    *ret_answer = (struct explain_answer){.error_count = 0};
    by_name(ret_answer, text);
    if (ret_answer->cause_count == 0)
        by_part(ret_answer, text);
    if (ret_answer->cause_count == 0)
        by_number(ret_answer, text);
    return ret_answer->cause_count > 0;
}

/* ---- guesses ---- */

static void nearer(const char **best, unsigned *distance, const char *name, const char *text)
{
    char lower[64];

    if (!string_copy(lower, sizeof lower, name))
        return;
    string_lower(lower);
    unsigned found = string_distance(lower, text);
    if (found < *distance) {
        *distance = found;
        *best = name;
    }
}

const char *explain_nearest(const char *text)
{
    const char *best = explain_causes[0].id;
    unsigned distance = 64;
    char lower[64];

    ignore(string_copy(lower, sizeof lower, text));
    string_lower(lower);
    for (size_t i = 0; i < explain_cause_count; i++)
        nearer(&best, &distance, explain_causes[i].id, lower);
    for (size_t i = 0; i < explain_error_count; i++)
        nearer(&best, &distance, explain_errors[i].name, lower);
    return best;
}
