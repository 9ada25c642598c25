/* Aligned columns for people, with colour on a terminal only. */
#pragma once

#include <stdbool.h>
#include <stdio.h>

#include "base/attributes.h"

/* A colour, and with CELL_RIGHT flush right (numbers). */
enum { CELL_PLAIN, CELL_GOOD, CELL_WARN, CELL_BAD, CELL_RIGHT = 8 };

struct table_cell {
    char *text;
    int style;
};

struct table {
    const char *const *headings; /* NULL-terminated; "" for none */
    size_t columns;
    struct table_cell *cells; /* row by row */
    size_t count, capacity;
    bool failed; /* out of memory: table_print() says so */
};

void table_init(struct table *table, const char *const *headings);
void table_fini(struct table *table);
/* The next cell, from left to right and row by row. */
void table_cell(struct table *table, int style, const char *format, ...) PRINTF_LIKE(3, 4);
size_t table_rows(const struct table *table);
/* Prints headings and rows; nothing when there is no row. In a terminal that is too narrow for the
 * last column its texts are broken between words, or stand beneath their rows. */
void table_print(const struct table *table, FILE *stream);
/* The same for a terminal of `width` columns; 0: of any. */
void table_print_within(const struct table *table, FILE *stream, size_t width, bool colour);

/* `stream` is a terminal that wants colour (NO_COLOR is honoured). */
bool table_colour(FILE *stream);
