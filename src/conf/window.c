#include "conf/window.h"

#include <string.h>
#include <time.h>

#define DAY_S 86400u

static const char *const day_names[] = {"sun", "mon", "tue", "wed", "thu", "fri", "sat"};

static bool read_days(uint8_t *ret_days, const char *text, size_t size)
{
    if (size == strlen("daily") && strncmp(text, "daily", size) == 0) {
        *ret_days = 0x7f;
        return true;
    }
    for (unsigned i = 0; i < ARRAY_SIZE(day_names); i++) {
        if (size == 3 && strncmp(text, day_names[i], size) == 0) {
            *ret_days = (uint8_t)(1u << i);
            return true;
        }
    }
    return false;
}

static bool read_clock(uint32_t *ret_seconds, const char *text, const char **ret_end)
{
    struct tm parts = {0};
    const char *end = strptime(text, "%H:%M", &parts);

    if (end == NULL)
        return false;
    *ret_seconds = (uint32_t)(parts.tm_hour * 3600 + parts.tm_min * 60);
    *ret_end = end;
    return true;
}

static bool read_moment(int64_t *ret_moment, const char *text, const char **ret_end)
{
    struct tm parts = {0};
    const char *end = strptime(text, "%Y-%m-%dT%H:%MZ", &parts);

    if (end == NULL)
        return false;
    *ret_moment = timegm(&parts);
    *ret_end = end;
    return true;
}

bool conf_window_parse(struct conf_window *ret_window, const char *text)
{
    struct conf_window window = {.weekly = true};
    const char *space = strchr(text, ' '), *end;
    uint32_t until;

    if (read_moment(&window.from, text, &end)) {
        window.weekly = false;
        if (*end != '/' || !read_moment(&window.until, end + 1, &end) || *end != '\0' ||
            window.until <= window.from)
            return false;
    } else if (space == NULL || !read_days(&window.days, text, (size_t)(space - text)) ||
               !read_clock(&window.from_s, space + 1, &end) || *end != '-' ||
               !read_clock(&until, end + 1, &end) || *end != '\0' || until == window.from_s) {
        return false;
    } else {
        window.length_s = (until + DAY_S - window.from_s) % DAY_S;
    }
    *ret_window = window;
    return true;
}

static bool began_on(const struct conf_window *window, int64_t day, int64_t now)
{
    unsigned weekday = (unsigned)((day + 4) % 7); /* 1970-01-01 was a Thursday */
    int64_t from = day * DAY_S + window->from_s;

    return (window->days & 1u << weekday) != 0 && now >= from && now < from + window->length_s;
}

bool conf_window_covers(const struct conf_window *window, int64_t now)
{
    int64_t today = now / DAY_S;

    if (!window->weekly)
        return now >= window->from && now < window->until;
    return began_on(window, today, now) || began_on(window, today - 1, now);
}
