/* A first look at the text of a configuration, before libconfuse reads it.
 *
 * libconfuse miscounts lines behind comments, drops characters that it does not know, expands ${…}
 * from the environment, accepts a section without its closing brace, and forgets where a section
 * began. So the text is scanned once beforehand: comments are blanked out, what would be misread is
 * refused with its line, and an outline (which section and option stands on which line) is kept for
 * the messages of later checks. */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "base/error.h"

#define SCAN_NO_SECTION ((size_t)-1)

struct scan_section {
    char *kind;  /* "listener" */
    char *title; /* "shop"; "" for a section without title */
    unsigned line;
};

struct scan_option {
    char *name;
    size_t section; /* index, or SCAN_NO_SECTION for a global one */
    unsigned line;
};

struct scan {
    char *text; /* the same text, of the same length, with comments blanked out */
    struct scan_section *sections;
    size_t section_count;
    struct scan_option *options;
    size_t option_count;
};

/* Errors read "PATH:LINE: …". */
MUST_CHECK int scan_text(struct scan *ret_scan, const char *path, const char *text,
                         struct error *error);
void scan_fini(struct scan *scan); /* accepts NULL and zeroed */

/* Refuses a section or option that stands there twice (titles are compared without regard to case).
 */
MUST_CHECK int scan_check_duplicates(const struct scan *scan, const char *path,
                                     struct error *error);
