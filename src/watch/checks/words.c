#include "watch/checks/words.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

#include "base/string.h"

#define DAY_S  86400
#define HOUR_S 3600

int words_position(const struct endpoint *endpoint, const struct certificate_facts *facts)
{
    for (size_t i = 0; i < endpoint->seen.chain_count; i++) {
        if (certificate_facts_same(endpoint->seen.chain[i], facts))
            return (int)i;
    }
    return -1;
}

const char *words_certificate(char text[WORDS_MAX], const struct endpoint *endpoint,
                              const struct certificate_facts *facts)
{
    int position = words_position(endpoint, facts);
    const char *name = facts->subject[0] != '\0' ? facts->subject
                       : facts->name_count > 0   ? facts->names[0].text
                                                 : "a certificate without a name";

    if (position < 0)
        ignore(snprintf(text, WORDS_MAX, "%.100s (of the trust store)", name));
    else if (position == 0)
        ignore(snprintf(text, WORDS_MAX, "%.100s (the leaf)", name));
    else
        ignore(
            snprintf(text, WORDS_MAX, "%.100s (certificate %d of those sent)", name, position + 1));
    return text;
}

const char *words_date(char text[WORDS_MAX], int64_t unix_s)
{
    time_t moment = (time_t)unix_s;
    struct tm parts;

    if (gmtime_r(&moment, &parts) == NULL ||
        strftime(text, WORDS_MAX, "%Y-%m-%d %H:%M UTC", &parts) == 0)
        ignore(snprintf(text, WORDS_MAX, "a date beyond all calendars"));
    return text;
}

const char *words_left(char text[WORDS_MAX], int64_t seconds)
{
    bool days = seconds >= 2 * DAY_S;
    bool hours = seconds >= 2 * HOUR_S;
    int64_t unit = days ? DAY_S : hours ? HOUR_S : 60;

    ignore(snprintf(text, WORDS_MAX, "%lld %s", (long long)(seconds / unit),
                    days    ? "days"
                    : hours ? "hours"
                            : "minutes"));
    return text;
}

void words_blame(struct finding *finding, const struct certificate_facts *facts)
{
    string_hex(finding->certificate, facts->sha256, sizeof facts->sha256);
    finding->hard = true;
}

bool words_judged(const struct endpoint *endpoint, const struct certificate_facts *facts)
{
    int position = words_position(endpoint, facts);

    if (position <= 0 || endpoint->needed_count == 0)
        return position >= 0;
    for (size_t i = 0; i < endpoint->needed_count; i++) {
        if (certificate_facts_same(endpoint->needed[i], facts))
            return true;
    }
    return false;
}

bool words_public(const struct endpoint *endpoint)
{
    return endpoint->needed_count > 0 &&
           chain_store_public(endpoint->trust[0].store,
                              endpoint->needed[endpoint->needed_count - 1]);
}
