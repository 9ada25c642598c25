/* What it takes to show text to people: how wide their terminal is, and lines broken between words.
 */
#pragma once

#include <stddef.h>
#include <stdio.h>

/* Columns of the terminal behind `stream`; 0: it is none, and lines may be of any length. */
size_t terminal_width(FILE *stream);

/* Columns for reading: those of the terminal, but neither fewer nor more than reads well;
 * `otherwise` where there is none. */
size_t terminal_reading_width(FILE *stream, size_t otherwise);

/* Columns that a text in UTF-8 takes, each character one. */
size_t terminal_columns(const char *text);

/* Writes `text` from column `indent` on, where the cursor stands. No line gets longer than `width`
 * (0: unbounded): it is broken between words, the next one begins at `indent` again. Words that are
 * too long for a line stay whole. The last line is not ended. */
void terminal_wrap(FILE *stream, const char *text, size_t indent, size_t width);
