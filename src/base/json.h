/* Small helpers over jansson: text that may come from strangers, and objects as lines. */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <jansson.h>

#include "base/buffer.h"

static inline void json_t_pointer_auto(json_t **json)
{
    json_decref(*json);
}
typedef json_t *json_t_pointer;

/* A string of at most `size` bytes up to the first zero; whatever is not printable ASCII becomes
 * '?'. For fixed fields that another process wrote. */
json_t *json_field(const char *text, size_t size);

/* A string of ours (configuration); falls back to json_field's masking when it is not UTF-8. NULL
 * gives JSON null. */
json_t *json_name(const char *text);

/* object[key] = the text, unless it is NULL or empty. */
void json_set_text(json_t *object, const char *key, const char *text);
void json_set_field(json_t *object, const char *key, const char *text, size_t size);
void json_set_number(json_t *object, const char *key, uint64_t number);
/* Fractions; what is no number is left out. Lines show twelve digits of it. */
void json_set_real(json_t *object, const char *key, double number);
void json_set_flag(json_t *object, const char *key, bool flag);

/* RFC 3339 in UTC from Unix seconds, "2026-11-21T04:06:01Z"; left out for 0. */
void json_set_time(json_t *object, const char *key, int64_t unix_s);

/* Appends the object as one compact line and drops the caller's reference. False when it did not
 * fit: nothing is appended then. */
bool json_line(json_t *object, struct buffer *output);

/* Reading what came in: NULL or `otherwise` when the key is absent; *ret_wrong is set (never
 * cleared) on a wrong type. */
const char *json_get_text(const json_t *object, const char *key, bool *ret_wrong);
uint64_t json_get_number(const json_t *object, const char *key, uint64_t otherwise,
                         bool *ret_wrong);
bool json_get_flag(const json_t *object, const char *key, bool *ret_wrong);
/* Unix seconds of an RFC 3339 time, fractions left out; 0: absent, or none. */
int64_t json_get_time(const json_t *object, const char *key);

/* Reading what we wrote ourselves: "", `otherwise` or false when it is absent. */
static inline const char *json_text(const json_t *object, const char *key)
{
    const char *text = json_string_value(json_object_get(object, key));

    return text != NULL ? text : "";
}
static inline double json_real_or(const json_t *object, const char *key, double otherwise)
{
    const json_t *value = json_object_get(object, key);

    return json_is_number(value) ? json_number_value(value) : otherwise;
}
static inline bool json_flag(const json_t *object, const char *key)
{
    return json_is_true(json_object_get(object, key));
}
