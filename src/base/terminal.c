#include "base/terminal.h"

#include <string.h>
#include <sys/ioctl.h>

#define READING_MIN 60
#define READING_MAX 100

size_t terminal_width(FILE *stream)
{
    struct winsize size;
    int fd = fileno(stream);

    return fd >= 0 && ioctl(fd, TIOCGWINSZ, &size) == 0 ? size.ws_col : 0;
}

size_t terminal_reading_width(FILE *stream, size_t otherwise)
{
    size_t width = terminal_width(stream);

    return width == 0            ? otherwise
           : width < READING_MIN ? READING_MIN
           : width > READING_MAX ? READING_MAX
                                 : width;
}

static size_t columns_of(const char *text, size_t size)
{
    size_t columns = 0;

    for (size_t i = 0; i < size; i++)
        columns += ((unsigned char)text[i] & 0xc0) != 0x80; /* all but continuation bytes */
    return columns;
}

size_t terminal_columns(const char *text)
{
    return columns_of(text, strlen(text));
}

void terminal_wrap(FILE *stream, const char *text, size_t indent, size_t width)
{
    size_t column = indent;

    while (*text != '\0') {
        size_t size = strcspn(text, " "), columns = columns_of(text, size);
        if (column > indent && width > 0 && column + 1 + columns > width) {
            fprintf(stream, "\n%*s", (int)indent, "");
            column = indent;
        } else if (column > indent) {
            fputc(' ', stream);
            column++;
        }
        fwrite(text, 1, size, stream);
        column += columns;
        text += size + (text[size] == ' ');
    }
}
