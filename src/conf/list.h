/* Counted arrays of the configuration's structs. */
#pragma once

#include <stddef.h>

/* Makes room for one more zeroed element in the array at *items_pointer (`struct x **`) and returns
 * it, or NULL when out of memory. The array grows by doubling: its capacity is the next power of
 * two of `count`. */
void *list_append(void *items_pointer, size_t *count, size_t size);

/* "a b" in malloc'ed memory: a key made of two words; NULL when out of memory. */
char *list_key(const char *a, const char *b);
