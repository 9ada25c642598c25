/* A rate: "1/10m" is once in ten minutes. */
#include <string.h>

#include "base/string.h"
#include "conf/schema.h"

static int rate_read(struct schema_reader *reader, const struct schema_option *option,
                     const struct schema_value *value, void *field)
{
    struct conf_rate *rate = field;
    char count_text[16];
    uint64_t count = 0, period = 0;
    size_t size = strcspn(value->text, "/");

    if (value->text[size] == '\0' || size >= sizeof count_text)
        return schema_fail_value(reader, option, value, "a rate such as \"1/10m\"");
    memcpy(count_text, value->text, size);
    count_text[size] = '\0';
    if (schema_read_number(&count, count_text) != 0 || count == 0 || count > UINT32_MAX ||
        schema_read_duration(&period, value->text + size + 1) != 0 || period < option->minimum ||
        period > option->maximum)
        return schema_fail_value(
            reader, option, value,
            "a rate such as \"1/10m\": a number of at least 1, and a time from %llu s to %llu h",
            (unsigned long long)(option->minimum / 1000),
            (unsigned long long)(option->maximum / 3600 / 1000));
    *rate = (struct conf_rate){.count = (uint32_t)count, .period = period};
    return 0;
}

static void rate_show(struct buffer *buffer, const struct conf *conf,
                      const struct schema_option *option, const void *field)
{
    const struct conf_rate *rate = field;

    ignore(buffer_printf(buffer, "\"%u/", rate->count));
    schema_duration.show(buffer, conf, option, &rate->period);
    ignore(buffer_append_text(buffer, "\""));
}

const struct schema_type schema_rate = {.read = rate_read, .show = rate_show};
