/* Text helpers. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/attributes.h"

/* Copies at most size-1 bytes and terminates; returns false when it had to cut. */
bool string_copy(char *destination, size_t size, const char *source);

/* Renders bytes a peer sent so that they can be shown: printable ASCII as it is (except '"' and
 * '\\'), all else as \xNN, cut with "…" when `size` is too small. Returns `destination`. */
char *string_printable(char *destination, size_t size, const void *source, size_t source_size);

/* Number of edits (insert, delete, replace, swap of neighbours) between two words, for "did you
 * mean …?". */
unsigned string_distance(const char *a, const char *b);

bool string_starts_with(const char *text, const char *prefix);
bool string_ends_with(const char *text, const char *suffix);

/* Lowercases ASCII in place. */
void string_lower(char *text);

/* Hex of `size` bytes into `destination` (2 * size + 1 bytes). */
void string_hex(char *destination, const uint8_t *source, size_t size);
/* The value of a hex digit of either case; -1: it is none. */
int string_hex_digit(char digit);
/* `size` bytes from the 2 * size hex digits that `text` begins with; false: there are fewer. */
bool string_unhex(uint8_t *ret_bytes, size_t size, const char *text);

/* 64-bit FNV-1a; for tables keyed by trusted or bounded text. */
uint64_t string_hash(const char *text);

/* "3 s", "12 min", "5 h", "8 d" / "17 B", "1.5 KiB", … for people. Returns `destination`. */
char *string_duration(char *destination, size_t size, uint64_t milliseconds);
char *string_bytes(char *destination, size_t size, uint64_t bytes);
