#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "admin/control_client.h"
#include "cmd/check.h"

#define SECONDS_A_DAY 86400

int check_threshold(struct threshold *ret_threshold, const char *text, struct error *error)
{
    char *end;
    uint64_t ms;
    double number = strtod(text, &end);

    if (end != text && strcmp(end, "%") == 0 && number > 0 && number <= 100) {
        *ret_threshold = (struct threshold){.share = number / 100};
        return 0;
    }
    if (end != text && *end == '\0' && number * SECONDS_A_DAY >= 1 && number < 100000) {
        *ret_threshold = (struct threshold){.seconds = (int64_t)(number * SECONDS_A_DAY)};
        return 0;
    }
    if (client_duration(&ms, text, NULL) == 0 && ms >= 1000) {
        *ret_threshold = (struct threshold){.seconds = (int64_t)(ms / 1000)};
        return 0;
    }
    return error_set(error, ERROR_USAGE,
                     "found \"%s\"; expected days (30), a share of the certificate's life (33%%) "
                     "or a time (12h)",
                     text);
}

/* The moment 0 means "now" to what judges. */
static int set_moment(int64_t *ret_unix_s, int64_t moment, const char *text, struct error *error)
{
    if (moment <= 0)
        return error_set(error, ERROR_USAGE, "found \"%s\"; expected a time after 1970-01-01",
                         text);
    *ret_unix_s = moment;
    return 0;
}

static int relative_moment(int64_t *ret_unix_s, const char *text, int64_t now, struct error *error)
{
    uint64_t ms;

    if (client_duration(&ms, text + 1, error) != 0)
        return error_prepend(error, "\"%s\"", text);
    int64_t seconds = (int64_t)(ms / 1000);
    return set_moment(ret_unix_s, text[0] == '-' ? now - seconds : now + seconds, text, error);
}

/* False for a day that its month does not have: timegm() takes the next month's for it. */
static bool moment_of(int64_t *ret_moment, struct tm utc)
{
    int day = utc.tm_mday;

    *ret_moment = timegm(&utc);
    return utc.tm_mday == day;
}

int check_moment(int64_t *ret_unix_s, const char *text, int64_t now, struct error *error)
{
    static const char *const formats[] = {"%Y-%m-%dT%H:%M:%SZ", "%Y-%m-%d %H:%M:%S",
                                          "%Y-%m-%dT%H:%M:%S", "%Y-%m-%d %H:%M", "%Y-%m-%d"};

    if (text[0] == '+' || text[0] == '-')
        return relative_moment(ret_unix_s, text, now, error);
    for (size_t i = 0; i < ARRAY_SIZE(formats); i++) {
        struct tm utc = {0};
        const char *end = strptime(text, formats[i], &utc);
        int64_t moment;
        if (end != NULL && *end == '\0' && moment_of(&moment, utc))
            return set_moment(ret_unix_s, moment, text, error);
    }
    return error_set(error, ERROR_USAGE,
                     "found \"%s\"; expected a time in UTC (2027-01-14T12:00:00Z), a date "
                     "(2027-01-14) or a distance from now (+30d)",
                     text);
}

int check_address(struct address *ret_address, const char *text, struct error *error)
{
    size_t colons = 0;
    char whole[ADDRESS_TEXT_MAX];
    struct error ignored;

    for (const char *at = text; *at != '\0'; at++)
        colons += *at == ':';
    if (text[0] == '[' ? strstr(text, "]:") != NULL : colons == 1)
        return address_parse(ret_address, text, error);
    if (text[0] == '[')
        ignore(snprintf(whole, sizeof whole, "%s:0", text));
    else
        ignore(snprintf(whole, sizeof whole, colons > 1 ? "[%s]:0" : "%s:0", text));
    if (address_parse(ret_address, whole, &ignored) == 0)
        return 0;
    return error_set(error, ERROR_USAGE,
                     "found \"%s\"; expected an IP address, with a port or without: 192.0.2.1, "
                     "[2001:db8::1]:8443",
                     text);
}
