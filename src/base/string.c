#include "base/string.h"

#include <stdio.h>
#include <string.h>

/* Longer words are never near each other in the sense of "did you mean …?". */
#define DISTANCE_WORD_MAX 63

bool string_copy(char *destination, size_t size, const char *source)
{
    size_t length = strlen(source);
    bool whole = length < size;

    if (size == 0)
        return false;
    if (!whole)
        length = size - 1;
    memcpy(destination, source, length);
    destination[length] = '\0';
    return whole;
}

static size_t render_byte(char text[5], uint8_t byte)
{
    if (byte >= 0x20 && byte < 0x7f && byte != '"' && byte != '\\') {
        text[0] = (char)byte;
        return 1;
    }
    return (size_t)snprintf(text, 5, "\\x%02x", byte);
}

char *string_printable(char *destination, size_t size, const void *source, size_t source_size)
{
    static const char ellipsis[] = "…";
    const uint8_t *bytes = source;
    size_t used = 0;
    size_t fitting = 0; /* how much may stay when the ellipsis has to follow */

    if (size == 0)
        return destination;
    for (size_t i = 0; i < source_size; i++) {
        char text[5];
        size_t length = render_byte(text, bytes[i]);
        if (used + length >= size) {
            used = fitting;
            if (used + sizeof ellipsis <= size) {
                memcpy(destination + used, ellipsis, sizeof ellipsis - 1);
                used += sizeof ellipsis - 1;
            }
            break;
        }
        memcpy(destination + used, text, length);
        used += length;
        if (used + sizeof ellipsis <= size)
            fitting = used;
    }
    destination[used] = '\0';
    return destination;
}

static unsigned smaller(unsigned a, unsigned b)
{
    return a < b ? a : b;
}

/* Optimal string alignment: three rows of the Damerau–Levenshtein table suffice. */
unsigned string_distance(const char *a, const char *b)
{
    unsigned rows[3][DISTANCE_WORD_MAX + 1];
    unsigned *before = rows[0], *previous = rows[1], *current = rows[2];
    size_t a_length = strlen(a), b_length = strlen(b);

    if (a_length > DISTANCE_WORD_MAX || b_length > DISTANCE_WORD_MAX)
        return strcmp(a, b) == 0 ? 0 : DISTANCE_WORD_MAX;
    for (unsigned j = 0; j <= b_length; j++)
        previous[j] = j;
    for (unsigned i = 1; i <= a_length; i++) {
        current[0] = i;
        for (unsigned j = 1; j <= b_length; j++) {
            unsigned replaced = previous[j - 1] + (a[i - 1] != b[j - 1]);
            current[j] = smaller(replaced, smaller(previous[j], current[j - 1]) + 1);
            if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1])
                current[j] = smaller(current[j], before[j - 2] + 1);
        }
        unsigned *oldest = before;
        before = previous;
        previous = current;
        current = oldest;
    }
    return previous[b_length];
}

bool string_starts_with(const char *text, const char *prefix)
{
    return strncmp(text, prefix, strlen(prefix)) == 0;
}

bool string_ends_with(const char *text, const char *suffix)
{
    size_t length = strlen(text), tail = strlen(suffix);

    return tail <= length && strcmp(text + length - tail, suffix) == 0;
}

void string_lower(char *text)
{
    for (; *text != '\0'; text++) {
        if (*text >= 'A' && *text <= 'Z')
            *text = (char)(*text - 'A' + 'a');
    }
}

void string_hex(char *destination, const uint8_t *source, size_t size)
{
    static const char digits[] = "0123456789abcdef";

    for (size_t i = 0; i < size; i++) {
        destination[2 * i] = digits[source[i] >> 4];
        destination[2 * i + 1] = digits[source[i] & 15];
    }
    destination[2 * size] = '\0';
}

int string_hex_digit(char digit)
{
    if (digit >= '0' && digit <= '9')
        return digit - '0';
    if (digit >= 'a' && digit <= 'f')
        return digit - 'a' + 10;
    return digit >= 'A' && digit <= 'F' ? digit - 'A' + 10 : -1;
}

bool string_unhex(uint8_t *ret_bytes, size_t size, const char *text)
{
    for (size_t i = 0; i < size; i++) {
        int high = string_hex_digit(text[2 * i]);
        int low = high < 0 ? -1 : string_hex_digit(text[2 * i + 1]);
        if (low < 0)
            return false;
        ret_bytes[i] = (uint8_t)(high << 4 | low);
    }
    return true;
}

uint64_t string_hash(const char *text)
{
    uint64_t hash = 0xcbf29ce484222325ull;

    for (; *text != '\0'; text++)
        hash = (hash ^ (uint8_t)*text) * 0x100000001b3ull;
    return hash;
}

char *string_duration(char *destination, size_t size, uint64_t milliseconds)
{
    static const struct {
        uint64_t milliseconds;
        const char *name;
    } units[] = {{86400000, "d"}, {3600000, "h"}, {60000, "min"}, {1000, "s"}};

    for (size_t i = 0; i < ARRAY_SIZE(units); i++) {
        /* "90 min" tells more than "1 h": a unit is used from two of it on, seconds from one. */
        uint64_t least = i + 1 == ARRAY_SIZE(units) ? 1 : 2;
        uint64_t count = milliseconds / units[i].milliseconds;
        if (count >= least) {
            ignore(
                snprintf(destination, size, "%llu %s", (unsigned long long)count, units[i].name));
            return destination;
        }
    }
    ignore(snprintf(destination, size, "%llu ms", (unsigned long long)milliseconds));
    return destination;
}

char *string_bytes(char *destination, size_t size, uint64_t bytes)
{
    static const char *const units[] = {"KiB", "MiB", "GiB", "TiB", "PiB", "EiB"};
    double value = (double)bytes / 1024;
    size_t unit = 0;

    if (bytes < 1024) {
        ignore(snprintf(destination, size, "%u B", (unsigned)bytes));
        return destination;
    }
    /* 1023.95 would be shown as 1024.0. */
    while (value >= 1023.95 && unit + 1 < ARRAY_SIZE(units)) {
        value /= 1024;
        unit++;
    }
    ignore(snprintf(destination, size, "%.1f %s", value, units[unit]));
    return destination;
}
