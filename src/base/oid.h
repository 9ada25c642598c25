/* Object identifiers as people write them: dotted numbers (X.660), such as 2.23.140.1.2.2. */
#pragma once

#include <stdbool.h>

#define OID_SIZE_MAX 64 /* of the text, with its end */

/* At least two numbers, none with a sign or a zero before it; the first is 0, 1 or 2, the second
 * below 40 unless the first is 2. */
bool oid_valid(const char *text);
