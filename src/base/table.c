#include "base/table.h"

#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/terminal.h"

#define COLUMNS_MAX 24
#define GAP         "  "
#define BREAK_MIN   28 /* columns: lines that are shorter are hard to read */
#define BENEATH     4  /* columns before what stands beneath its row */

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

/* ---- printing ---- */

struct layout {
    FILE *stream;
    size_t widths[COLUMNS_MAX], columns;
    size_t width;  /* lines are no longer; 0: they may be */
    size_t indent; /* where the last column begins */
    bool beneath;  /* it stands on lines of its own */
    bool colour;
};

static size_t larger(size_t a, size_t b)
{
    return a > b ? a : b;
}

static void lay_out(struct layout *layout, const struct table *table)
{
    size_t last = table->columns - 1, *widths = layout->widths;

    layout->columns = table->columns;
    for (size_t column = 0; column < table->columns; column++)
        widths[column] = terminal_columns(table->headings[column]);
    for (size_t i = 0; i < table_rows(table) * table->columns; i++)
        widths[i % table->columns] =
            larger(widths[i % table->columns], terminal_columns(table->cells[i].text));
    for (size_t column = 0; column < last; column++)
        layout->indent += widths[column] + strlen(GAP);
    /* Only a text can be broken, and only into lines that can still be read. */
    bool fits = layout->width == 0 || layout->indent + widths[last] <= layout->width;
    if (fits || widths[last] <= BREAK_MIN || layout->width < BENEATH + BREAK_MIN) {
        layout->width = 0;
    } else if (layout->indent + BREAK_MIN > layout->width) {
        layout->beneath = true;
        layout->indent = BENEATH;
    }
}

static void print_cell(const struct layout *layout, size_t column, const char *text, int style)
{
    size_t columns = terminal_columns(text), width = layout->widths[column];
    int padding = width > columns ? (int)(width - columns) : 0;
    bool last = column + 1 == layout->columns, right = (style & CELL_RIGHT) != 0;
    const char *code = layout->colour && text[0] != '\0' ? colour_code(style) : "";
    FILE *stream = layout->stream;

    if (last && layout->beneath) {
        if (text[0] != '\0')
            fprintf(stream, "\n%*s", BENEATH, "");
    } else if (right) {
        fprintf(stream, "%*s", padding, "");
    }
    fputs(code, stream);
    if (last)
        terminal_wrap(stream, text, layout->indent, layout->width);
    else
        fputs(text, stream);
    if (code[0] != '\0')
        fputs("\033[0m", stream);
    if (last)
        fputc('\n', stream);
    else if (column + 2 < layout->columns || !layout->beneath)
        fprintf(stream, "%*s%s", right ? 0 : padding, "", GAP);
}

void table_print_within(const struct table *table, FILE *stream, size_t width, bool colour)
{
    struct layout layout = {.stream = stream, .width = width, .colour = colour};

    if (table->failed)
        fputs("out of memory: the table is incomplete\n", stderr);
    if (table_rows(table) == 0)
        return;
    lay_out(&layout, table);
    for (size_t column = 0; column < table->columns; column++)
        print_cell(&layout, column, table->headings[column],
                   table->cells[column].style & CELL_RIGHT);
    for (size_t i = 0; i < table_rows(table) * table->columns; i++)
        print_cell(&layout, i % table->columns, table->cells[i].text, table->cells[i].style);
}

void table_print(const struct table *table, FILE *stream)
{
    table_print_within(table, stream, terminal_width(stream), table_colour(stream));
}
