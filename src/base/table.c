#include "base/table.h"

#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define COLUMNS_MAX 24

void table_init(struct table *table, const char *const *headings)
{
    *table = (struct table){.headings = headings};
    while (headings[table->columns] != NULL && table->columns < COLUMNS_MAX)
        table->columns++;
}

void table_fini(struct table *table)
{
    for (size_t i = 0; i < table->count; i++)
        free(table->cells[i].text);
    free(table->cells);
    *table = (struct table){0};
}

void table_cell(struct table *table, int style, const char *format, ...)
{
    va_list arguments;
    char *text = NULL;

    if (table->count == table->capacity) {
        size_t capacity = table->capacity * 2 + 64;
        struct table_cell *cells = reallocarray(table->cells, capacity, sizeof *cells);
        if (cells == NULL) {
            table->failed = true;
            return;
        }
        table->cells = cells;
        table->capacity = capacity;
    }
    va_start(arguments, format);
    if (vasprintf(&text, format, arguments) < 0) {
        text = NULL;
        table->failed = true;
    }
    va_end(arguments);
    if (text != NULL)
        table->cells[table->count++] = (struct table_cell){.text = text, .style = style};
}

size_t table_rows(const struct table *table)
{
    return table->count / table->columns;
}

bool table_colour(FILE *stream)
{
    const char *no_colour = getenv("NO_COLOR"), *terminal = getenv("TERM");

    return isatty(fileno(stream)) && (no_colour == NULL || no_colour[0] == '\0') &&
           (terminal == NULL || strcmp(terminal, "dumb") != 0);
}

static const char *colour_code(int style)
{
    static const char *const codes[] = {[CELL_PLAIN] = "",
                                        [CELL_GOOD] = "\033[32m",
                                        [CELL_WARN] = "\033[33m",
                                        [CELL_BAD] = "\033[31m"};

    return codes[style & CELL_BAD];
}

static void print_cell(FILE *stream, const char *text, int style, size_t width, bool last,
                       bool colour)
{
    const char *code = colour && text[0] != '\0' ? colour_code(style) : "";
    size_t length = strlen(text), padding = width > length ? width - length : 0;

    if ((style & CELL_RIGHT) != 0)
        fprintf(stream, "%*s", (int)padding, "");
    fprintf(stream, "%s%s%s", code, text, code[0] != '\0' ? "\033[0m" : "");
    if ((style & CELL_RIGHT) == 0 && !last)
        fprintf(stream, "%*s", (int)padding, "");
    fputs(last ? "\n" : "  ", stream);
}

void table_print(const struct table *table, FILE *stream)
{
    size_t widths[COLUMNS_MAX] = {0}, rows = table_rows(table);
    bool colour = table_colour(stream);

    if (table->failed)
        fputs("out of memory: the table is incomplete\n", stderr);
    if (rows == 0)
        return;
    for (size_t column = 0; column < table->columns; column++) {
        widths[column] = strlen(table->headings[column]);
        for (size_t row = 0; row < rows; row++) {
            size_t length = strlen(table->cells[row * table->columns + column].text);
            widths[column] = length > widths[column] ? length : widths[column];
        }
    }
    for (size_t column = 0; column < table->columns; column++) {
        int style = table->cells[column].style & CELL_RIGHT;
        print_cell(stream, table->headings[column], style, widths[column],
                   column + 1 == table->columns, false);
    }
    for (size_t i = 0; i < rows * table->columns; i++)
        print_cell(stream, table->cells[i].text, table->cells[i].style, widths[i % table->columns],
                   (i + 1) % table->columns == 0, colour);
}
