#include "base/quantity.h"

#include <ctype.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/string.h"

#define SHOWN_MAX 64
#define LOG2_MIN  (-1000.0)

struct unit {
    const char *name;
    double factor;
};

#define KIB 1024.0
#define MIB (KIB * 1024)
#define GIB (MIB * 1024)
#define TIB (GIB * 1024)
#define PIB (TIB * 1024)
#define EIB (PIB * 1024)

static const struct unit byte_units[] = {
    {"", 1},     {"B", 1},     {"k", KIB},   {"KiB", KIB}, {"kB", 1e3},  {"m", MIB},   {"MiB", MIB},
    {"MB", 1e6}, {"g", GIB},   {"GiB", GIB}, {"GB", 1e9},  {"t", TIB},   {"TiB", TIB}, {"TB", 1e12},
    {"p", PIB},  {"PiB", PIB}, {"PB", 1e15}, {"e", EIB},   {"EiB", EIB}, {"EB", 1e18},
};
static const struct unit bit_units[] = {
    {"bit", 1}, {"kbit", 1e3}, {"Mbit", 1e6}, {"Gbit", 1e9}, {"Tbit", 1e12},
    {"bps", 1}, {"kbps", 1e3}, {"Mbps", 1e6}, {"Gbps", 1e9}, {"Tbps", 1e12},
};
static const struct unit time_units[] = {
    {"s", 1},       {"sec", 1},   {"min", 60},    {"m", 60},        {"h", 3600},
    {"hour", 3600}, {"d", 86400}, {"day", 86400}, {"week", 604800}, {"year", 31557600},
};

static const struct unit *find_unit(const struct unit *units, size_t count, const char *name)
{
    for (size_t i = 0; i < count; i++) {
        if (strcasecmp(units[i].name, name) == 0)
            return &units[i];
    }
    return NULL;
}

/* A decimal number, or BASE^EXPONENT, at the front; what follows, without blanks, is the unit. */
static bool read_number(double *ret_number, const char **ret_unit, const char *text)
{
    char *end;

    if (!isdigit((unsigned char)text[0]) || strpbrk(text, "xX") != NULL)
        return false;
    double number = strtod(text, &end);
    if (*end == '^') {
        const char *exponent = end + 1;
        double power = strtod(exponent, &end);
        if (end == exponent)
            return false;
        number = pow(number, power);
    }
    *ret_unit = end + strspn(end, " ");
    *ret_number = number;
    return isfinite(number) && number > 0;
}

/* A small b is refused: some mean bits by it. */
static bool read_bytes(double *ret_bytes, const char *text)
{
    const char *name;
    double number;

    if (!read_number(&number, &name, text))
        return false;
    const struct unit *unit = find_unit(byte_units, ARRAY_SIZE(byte_units), name);
    if (unit == NULL || string_ends_with(name, "b"))
        return false;
    *ret_bytes = number * unit->factor;
    return isfinite(*ret_bytes);
}

static int refuse(struct error *error, const char *text, const char *expected)
{
    char shown[SHOWN_MAX];

    return error_set(error, ERROR_USAGE, "found \"%s\"; expected %s",
                     string_printable(shown, sizeof shown, text, strlen(text)), expected);
}

int quantity_bytes(double *ret_bytes, const char *text, struct error *error)
{
    double bytes;

    if (!read_bytes(&bytes, text))
        return refuse(error, text,
                      "an amount of data above 0 such as 16k, 1.5TB, 4GiB or 2^37 (k, m, g, t, p, "
                      "e and KiB… count by 1024, kB, MB… by 1000)");
    *ret_bytes = bytes;
    return 0;
}

/* Bits have units of their own, and "ps" means "/s". */
static bool read_amount(double *ret_bytes, const char *amount, bool *ret_per_second)
{
    const char *name;
    double number;

    if (!read_number(&number, &name, amount))
        return false;
    const struct unit *unit =
        strchr(name, 'B') != NULL ? NULL : find_unit(bit_units, ARRAY_SIZE(bit_units), name);
    *ret_per_second = unit != NULL && string_ends_with(unit->name, "ps");
    if (unit == NULL)
        return read_bytes(ret_bytes, amount);
    *ret_bytes = number * unit->factor / 8;
    return true;
}

static bool read_rate(double *ret_rate, const char *text)
{
    const char *slash = strchr(text, '/');
    char amount[SHOWN_MAX];
    bool per_second;
    double bytes;

    if (strlen(text) >= sizeof amount)
        return false;
    ignore(snprintf(amount, sizeof amount, "%.*s",
                    (int)(slash == NULL ? strlen(text) : (size_t)(slash - text)), text));
    if (!read_amount(&bytes, amount, &per_second) || per_second != (slash == NULL))
        return false;
    const struct unit *time =
        slash == NULL ? &time_units[0] : find_unit(time_units, ARRAY_SIZE(time_units), slash + 1);
    if (time == NULL)
        return false;
    *ret_rate = bytes / time->factor;
    return *ret_rate > 0 && isfinite(*ret_rate);
}

int quantity_rate(double *ret_bytes_per_s, const char *text, struct error *error)
{
    double rate;

    if (!read_rate(&rate, text))
        return refuse(error, text, "a rate above 0 such as 10Gbit/s, 100Mbps, 2MB/s or 1TB/day");
    *ret_bytes_per_s = rate;
    return 0;
}

/* The logarithm is taken of the parts: 2^-900 has no reciprocal worth a division. */
static bool read_probability(double *ret_log2, const char *text)
{
    char *end, *after;

    if (!isdigit((unsigned char)text[0]) || strpbrk(text, "xX") != NULL)
        return false;
    double first = strtod(text, &end), second = 1;
    if (*end == '^' || *end == '/') {
        second = strtod(end + 1, &after);
        if (after == end + 1 || *after != '\0')
            return false;
        *ret_log2 = *end == '^' ? second * log2(first) : log2(first) - log2(second);
    } else {
        if (*end != '\0')
            return false;
        *ret_log2 = log2(first);
    }
    return *ret_log2 <= 0 && *ret_log2 >= LOG2_MIN;
}

int quantity_probability(double *ret_log2, const char *text, struct error *error)
{
    double value;

    if (!read_probability(&value, text))
        return refuse(error, text,
                      "a probability from 2^-1000 to 1 such as 2^-60, 1e-18 or 1/1000000");
    *ret_log2 = value;
    return 0;
}

/* ---- showing ---- */

/* Three digits with the largest unit that leaves one before the point. */
static const char *show(char text[QUANTITY_TEXT_MAX], double value, const struct unit *units,
                        size_t count)
{
    size_t best = 0;

    for (size_t i = 1; i < count; i++) {
        if (value >= units[i].factor * 0.9995)
            best = i;
    }
    double shown = value / units[best].factor;
    ignore(snprintf(text, QUANTITY_TEXT_MAX,
                    shown >= 999.5 && shown < 9999.5 ? "%.0f %s" : "%.3g %s", shown,
                    units[best].name));
    return text;
}

const char *quantity_show_bytes(char text[QUANTITY_TEXT_MAX], double bytes)
{
    static const struct unit units[] = {{"B", 1},     {"kB", 1e3},  {"MB", 1e6}, {"GB", 1e9},
                                        {"TB", 1e12}, {"PB", 1e15}, {"EB", 1e18}};

    return isinf(bytes) ? strcpy(text, "no limit") : show(text, bytes, units, ARRAY_SIZE(units));
}

const char *quantity_show_binary(char text[QUANTITY_TEXT_MAX], double bytes)
{
    static const struct unit units[] = {{"B", 1},     {"KiB", KIB}, {"MiB", MIB}, {"GiB", GIB},
                                        {"TiB", TIB}, {"PiB", PIB}, {"EiB", EIB}};

    return isinf(bytes) ? strcpy(text, "no limit") : show(text, bytes, units, ARRAY_SIZE(units));
}

const char *quantity_show_time(char text[QUANTITY_TEXT_MAX], double seconds)
{
    static const struct unit units[] = {{"ms", 1e-3}, {"s", 1},        {"min", 60},
                                        {"h", 3600},  {"days", 86400}, {"years", 31557600}};

    return isinf(seconds) ? strcpy(text, "for ever")
                          : show(text, seconds, units, ARRAY_SIZE(units));
}

const char *quantity_show_count(char text[QUANTITY_TEXT_MAX], double count)
{
    if (isinf(count))
        return strcpy(text, "no limit");
    if (count > 0 && count < 1)
        return strcpy(text, "under 1");
    if (count < 9999.5)
        ignore(snprintf(text, QUANTITY_TEXT_MAX, "%.0f", count));
    else
        ignore(snprintf(text, QUANTITY_TEXT_MAX, "2^%.3g", log2(count)));
    return text;
}
