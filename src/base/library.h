/* Shared libraries that few processes need, loaded where they are first used: every process of ours
 * is started afresh, mapping what it never calls costs milliseconds at each start, and code that is
 * not mapped cannot be attacked.
 *
 * The functions stand in a struct of pointers, typed after the library's own headers:
 *
 *     struct curl_library {
 *         __typeof__(curl_easy_init) *easy_init; */
#pragma once

#include <stddef.h>

#include "base/error.h"

struct library_function {
    const char *name;
    size_t place; /* offsetof() its pointer in the struct */
};

struct library {
    const char *file;    /* "libcurl.so.4": the name that is in programs linked with it */
    const char *package; /* Debian's, named when the file cannot be loaded */
    const struct library_function *functions;
    size_t count;
};

/* Fills the struct at `ret_functions`; a library that lacks one of them is refused. It stays for
 * the life of the process. */
MUST_CHECK int library_load(void *ret_functions, const struct library *library,
                            struct error *error);
