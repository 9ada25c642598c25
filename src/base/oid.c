#include "base/oid.h"

#include <stdlib.h>
#include <string.h>

/* The place behind the number, NULL: there is none. */
static const char *number_end(const char *text)
{
    size_t length = strspn(text, "0123456789");

    return length == 0 || (length > 1 && text[0] == '0') ? NULL : text + length;
}

bool oid_valid(const char *text)
{
    const char *end = number_end(text);

    if (strlen(text) >= OID_SIZE_MAX || end != text + 1 || text[0] > '2' || *end != '.')
        return false;
    if (text[0] != '2' && strtoul(end + 1, NULL, 10) >= 40)
        return false;
    while (end != NULL && *end == '.')
        end = number_end(end + 1);
    return end != NULL && *end == '\0';
}
