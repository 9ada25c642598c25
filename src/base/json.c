#include "base/json.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/clock.h"

#define FIELD_MAX      1024
#define REAL_PRECISION 12 /* 0.1 is shown as 0.1 */

json_t *json_field(const char *text, size_t size)
{
    char clean[FIELD_MAX];
    size_t length = strnlen(text, size < sizeof clean ? size : sizeof clean);

    for (size_t i = 0; i < length; i++)
        clean[i] = text[i] >= 0x20 && text[i] < 0x7f ? text[i] : '?';
    return json_stringn(clean, length);
}

json_t *json_name(const char *text)
{
    if (text == NULL)
        return json_null();
    json_t *name = json_string(text);
    return name != NULL ? name : json_field(text, strlen(text));
}

void json_set_text(json_t *object, const char *key, const char *text)
{
    if (text != NULL && text[0] != '\0')
        ignore(json_object_set_new(object, key, json_name(text)));
}

void json_set_field(json_t *object, const char *key, const char *text, size_t size)
{
    if (text[0] != '\0')
        ignore(json_object_set_new(object, key, json_field(text, size)));
}

void json_set_number(json_t *object, const char *key, uint64_t number)
{
    ignore(json_object_set_new(object, key, json_integer((json_int_t)number)));
}

void json_set_real(json_t *object, const char *key, double number)
{
    ignore(json_object_set_new(object, key, json_real(number)));
}

void json_set_flag(json_t *object, const char *key, bool flag)
{
    ignore(json_object_set_new(object, key, json_boolean(flag)));
}

void json_set_time(json_t *object, const char *key, int64_t unix_s)
{
    char text[32];

    if (unix_s != 0)
        json_set_text(object, key, clock_rfc3339_seconds(text, sizeof text, unix_s));
}

bool json_line(json_t *object, struct buffer *output)
{
    char *text = json_dumps(object, JSON_COMPACT | JSON_REAL_PRECISION(REAL_PRECISION));

    json_decref(object);
    if (text == NULL)
        return false;
    size_t size = strlen(text);
    text[size] = '\n'; /* in the place of the terminating zero, which is not needed any more */
    bool fits = output->size + size + 1 <= output->maximum && buffer_append(output, text, size + 1);
    free(text);
    return fits;
}

const char *json_get_text(const json_t *object, const char *key, bool *ret_wrong)
{
    const json_t *value = json_object_get(object, key);

    if (value != NULL && !json_is_string(value))
        *ret_wrong = true;
    return json_string_value(value);
}

uint64_t json_get_number(const json_t *object, const char *key, uint64_t otherwise, bool *ret_wrong)
{
    const json_t *value = json_object_get(object, key);

    if (value == NULL)
        return otherwise;
    if (!json_is_integer(value) || json_integer_value(value) < 0) {
        *ret_wrong = true;
        return otherwise;
    }
    return (uint64_t)json_integer_value(value);
}

bool json_get_flag(const json_t *object, const char *key, bool *ret_wrong)
{
    const json_t *value = json_object_get(object, key);

    if (value != NULL && !json_is_boolean(value))
        *ret_wrong = true;
    return json_is_true(value);
}

int64_t json_get_time(const json_t *object, const char *key)
{
    const char *text = json_string_value(json_object_get(object, key));
    const char *rest = NULL;
    struct tm parts = {0}, zone = {0};

    if (text != NULL)
        rest = strptime(text, "%Y-%m-%dT%H:%M:%S", &parts);
    if (rest == NULL)
        return 0;
    if (*rest == '.')
        rest += 1 + strspn(rest + 1, "0123456789");
    int64_t sign = *rest == '+' ? -1 : 1;
    if ((*rest == '+' || *rest == '-') && strptime(rest + 1, "%H:%M", &zone) == NULL)
        return 0;
    return timegm(&parts) + sign * (zone.tm_hour * 3600 + zone.tm_min * 60);
}
