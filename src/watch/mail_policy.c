#include "watch/mail_policy.h"

#include <string.h>

#include "base/string.h"

#define ID_MAX      32
#define MAX_AGE_MAX 31557600u /* a year, as the RFC bounds it */

const char *mail_policy_mode_name(enum mail_policy_mode mode)
{
    static const char *const names[] = {[MAIL_POLICY_NONE] = "none",
                                        [MAIL_POLICY_TESTING] = "testing",
                                        [MAIL_POLICY_ENFORCE] = "enforce"};

    return names[mode];
}

bool mail_policy_is_record(const char *text)
{
    static const char version[] = "v=STSv1";

    if (!string_starts_with(text, version))
        return false;
    text += strlen(version);
    text += strspn(text, " \t");
    return *text == ';' || *text == '\0';
}

const char *mail_policy_record_defect(const char *text)
{
    size_t length;

    for (text = strchr(text, ';'); text != NULL; text = strchr(text, ';')) {
        text += 1 + strspn(text + 1, " \t");
        if (!string_starts_with(text, "id="))
            continue;
        text += strlen("id=");
        length = strspn(text, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789");
        if (length == 0 || length > ID_MAX || strchr(" \t;", text[length]) == NULL)
            return "its id is not 1 to 32 letters and digits";
        return NULL; /* strchr finds the end of the text, too */
    }
    return "it has no id";
}

struct field {
    const char *key, *value;
    size_t key_size, value_size;
};

static bool is_space(char byte)
{
    return byte == ' ' || byte == '\t';
}

/* "key: value", white space around the value left out. */
static bool read_field(struct field *ret_field, const char *line, size_t size)
{
    const char *colon = memchr(line, ':', size);

    if (colon == NULL)
        return false;
    const char *value = colon + 1, *end = line + size;
    while (value < end && is_space(*value))
        value++;
    while (end > value && is_space(end[-1]))
        end--;
    *ret_field = (struct field){.key = line,
                                .key_size = (size_t)(colon - line),
                                .value = value,
                                .value_size = (size_t)(end - value)};
    return true;
}

static bool key_is(const struct field *field, const char *key)
{
    return field->key_size == strlen(key) && memcmp(field->key, key, field->key_size) == 0;
}

static bool value_is(const struct field *field, const char *value)
{
    return field->value_size == strlen(value) &&
           memcmp(field->value, value, field->value_size) == 0;
}

static const char *read_mode(struct mail_policy *policy, const struct field *field)
{
    for (int mode = MAIL_POLICY_NONE; mode <= MAIL_POLICY_ENFORCE; mode++) {
        if (value_is(field, mail_policy_mode_name(mode))) {
            policy->mode = mode;
            return NULL;
        }
    }
    return "its mode is not enforce, testing or none";
}

static const char *read_max_age(struct mail_policy *policy, const struct field *field)
{
    policy->max_age_s = 0;
    for (size_t i = 0; i < field->value_size; i++) {
        char digit = field->value[i];
        if (digit < '0' || digit > '9' || policy->max_age_s > MAX_AGE_MAX)
            return "its max_age is not a number of seconds up to a year";
        policy->max_age_s = policy->max_age_s * 10 + (uint64_t)(digit - '0');
    }
    return field->value_size == 0 || policy->max_age_s > MAX_AGE_MAX
               ? "its max_age is not a number of seconds up to a year"
               : NULL;
}

static const char *read_pattern(struct mail_policy *policy, const struct field *field)
{
    char *pattern;

    if (policy->pattern_count == MAIL_POLICY_PATTERNS_MAX) {
        policy->patterns_dropped++;
        return NULL;
    }
    pattern = policy->patterns[policy->pattern_count];
    if (field->value_size == 0 || field->value_size >= sizeof policy->patterns[0])
        return "one of its mx is empty or too long";
    memcpy(pattern, field->value, field->value_size);
    pattern[field->value_size] = '\0';
    string_lower(pattern);
    if (pattern[strspn(pattern, "abcdefghijklmnopqrstuvwxyz0123456789-_.*")] != '\0' ||
        strchr(pattern + 1, '*') != NULL || (pattern[0] == '*' && pattern[1] != '.'))
        return "one of its mx is neither a host nor \"*.\" and a domain";
    policy->pattern_count++;
    return NULL;
}

enum { SEEN_VERSION = 1, SEEN_MODE = 2, SEEN_MAX_AGE = 4 };

/* The first field of a name counts (§3.2), unknown ones are for later versions. */
static const char *take_field(struct mail_policy *policy, unsigned *seen, const struct field *field)
{
    if (key_is(field, "mx"))
        return read_pattern(policy, field);
    if (key_is(field, "version") && (*seen & SEEN_VERSION) == 0) {
        *seen |= SEEN_VERSION;
        return value_is(field, "STSv1") ? NULL : "its version is not STSv1";
    }
    if (key_is(field, "mode") && (*seen & SEEN_MODE) == 0) {
        *seen |= SEEN_MODE;
        return read_mode(policy, field);
    }
    if (key_is(field, "max_age") && (*seen & SEEN_MAX_AGE) == 0) {
        *seen |= SEEN_MAX_AGE;
        return read_max_age(policy, field);
    }
    return NULL;
}

const char *mail_policy_parse(struct mail_policy *ret_policy, const uint8_t *bytes, size_t size)
{
    struct mail_policy policy = {.mode = MAIL_POLICY_NONE};
    const char *text = (const char *)bytes, *end = text + size;
    unsigned seen = 0;

    if (size > MAIL_POLICY_SIZE_MAX)
        return "it is longer than 64 KiB";
    while (text < end) {
        const char *stop = memchr(text, '\n', (size_t)(end - text));
        size_t length = (size_t)((stop != NULL ? stop : end) - text);
        struct field field;
        const char *next = text + length + (stop != NULL);
        if (length > 0 && text[length - 1] == '\r')
            length--;
        if (length > 0 && !read_field(&field, text, length))
            return "a line is not \"key: value\"";
        const char *defect = length > 0 ? take_field(&policy, &seen, &field) : NULL;
        if (defect != NULL)
            return defect;
        text = next;
    }
    if (seen != (SEEN_VERSION | SEEN_MODE | SEEN_MAX_AGE))
        return "it lacks version, mode or max_age";
    if (policy.mode != MAIL_POLICY_NONE && policy.pattern_count == 0)
        return "it names no mx";
    *ret_policy = policy;
    return NULL;
}

bool mail_policy_covers(const struct mail_policy *policy, const char *host)
{
    const char *parent = strchr(host, '.');

    for (size_t i = 0; i < policy->pattern_count; i++) {
        const char *pattern = policy->patterns[i];
        if (strcmp(pattern, host) == 0 || (pattern[0] == '*' && parent != NULL && parent != host &&
                                           strcmp(pattern + 1, parent) == 0))
            return true;
    }
    return false;
}
