#include "base/error.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

static const struct {
    const char *name;
    enum error_class class;
} codes[ERROR_CODE_COUNT] = {
    /* clang-format off: it takes the list for an initialiser */
    [ERROR_NONE] = {"none", ERROR_CLASS_INTERNAL},
#define X(symbol, text, kind) [symbol] = {text, kind},
    ERROR_LIST(X)
#undef X
    /* clang-format on */
};

int error_set(struct error *error, enum error_code code, const char *format, ...)
{
    if (error != NULL) {
        va_list arguments;
        error->code = code;
        va_start(arguments, format);
        ignore(vsnprintf(error->message, sizeof error->message, format, arguments));
        va_end(arguments);
    }
    return -(int)code;
}

int error_prepend(struct error *error, const char *format, ...)
{
    char tail[sizeof error->message];
    va_list arguments;

    if (error == NULL)
        return -(int)ERROR_INTERNAL;
    memcpy(tail, error->message, sizeof tail);
    va_start(arguments, format);
    int head = vsnprintf(error->message, sizeof error->message, format, arguments);
    va_end(arguments);
    if (head >= 0 && (size_t)head < sizeof error->message)
        ignore(snprintf(error->message + head, sizeof error->message - (size_t)head, ": %.*s",
                        (int)(sizeof error->message - (size_t)head), tail));
    return -(int)error->code;
}

const char *error_name(enum error_code code)
{
    return code < ERROR_CODE_COUNT ? codes[code].name : "unknown";
}

enum error_class error_class(enum error_code code)
{
    return code < ERROR_CODE_COUNT ? codes[code].class : ERROR_CLASS_INTERNAL;
}

enum error_code error_from_name(const char *name)
{
    for (int code = 1; code < ERROR_CODE_COUNT; code++) {
        if (strcmp(codes[code].name, name) == 0)
            return (enum error_code)code;
    }
    return ERROR_NONE;
}

int error_exit_code(const struct error *error)
{
    static const int exit_codes[] = {
        [ERROR_CLASS_USAGE] = 2,    [ERROR_CLASS_IO] = 3,      [ERROR_CLASS_PEER] = 4,
        [ERROR_CLASS_PROTOCOL] = 5, [ERROR_CLASS_FINDING] = 6, [ERROR_CLASS_INTERNAL] = 70,
    };
    return error->code == ERROR_NONE ? 0 : exit_codes[error_class(error->code)];
}
