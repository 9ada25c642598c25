/* The schema: one table per kind of section says for each option its name, type, place in the
 * struct, default and range. Reading, showing and freeing walk the same tables, so that an option
 * cannot be known to one of them only.
 *
 * libconfuse builds the tree of sections; every value in it is a struct schema_value, which
 * remembers its line. */
#pragma once

#include <confuse.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buffer.h"
#include "conf/conf.h"
#include "conf/scan.h"

#define SCHEMA_VALUE_MAX 1000 /* bytes of one value */
#define SCHEMA_SHOWN_MAX 96   /* room for a value in a message */

struct schema_value {
    unsigned line; /* 0: a default */
    char text[];
};

/* A word and its number; two words with the same number are synonyms, and the first is shown. */
struct schema_word {
    const char *word; /* NULL ends the table */
    unsigned number;
};

struct schema_reader;
struct schema_option;

struct schema_type {
    bool list; /* takes any number of values: `read` is called for each and appends */
    /* Reads one value into the option's field. */
    int (*read)(struct schema_reader *reader, const struct schema_option *option,
                const struct schema_value *value, void *field);
    /* Writes what stands behind "name = "; nothing when the option is unset. */
    void (*show)(struct buffer *buffer, const struct conf *conf, const struct schema_option *option,
                 const void *field);
    void (*free)(void *field); /* NULL: holds no memory */
};

struct schema_option {
    const char *name;
    const struct schema_type *type;
    size_t offset;        /* of the field in the section's struct */
    const char *fallback; /* default as it would be written; NULL: none, or worked out by the
                             section's `complete` */
    uint64_t minimum, maximum;
    bool none; /* 0 is allowed besides, and written "none" */
    const struct schema_word *words;
    bool internal; /* only in the text that the supervisor passes on; unknown in a file */
    bool external; /* not in that text */
};

struct schema_section {
    const char *kind;
    bool titled;
    const struct schema_option *options; /* ended by one without name */
    /* Three hooks, each of which may be NULL, called in this order after all options were read. */
    /* Fills in defaults that depend on other options or on the machine. */
    int (*complete)(struct schema_reader *reader, void *object);
    /* Why this option means nothing in this object, or NULL when it does mean something. Such an
     * option is an error when it was written, and is not shown. */
    const char *(*refuses)(const void *object, const struct schema_option *option);
    /* Checks what one option alone does not show. */
    int (*check)(struct schema_reader *reader, void *object);
};

extern const struct schema_section schema_global, schema_admin, schema_listener, schema_upstream,
    schema_certificate, schema_watch, schema_channel, schema_alert_route, schema_maintenance,
    schema_exporter;

/* Where reading stands. */
struct schema_reader {
    struct conf *conf;
    const char *path;
    cfg_t *tree;                         /* of the section being read */
    const struct schema_section *schema; /* of it */
    unsigned line;                       /* where it began */
    bool internal;                       /* the text comes from the supervisor */
    conf_warning_fn *warn;
    void *warn_context;
    struct error *error;
};

/* libconfuse's table for all sections, to be freed with schema_options_free(). NULL: out of memory.
 */
cfg_opt_t *schema_options(bool internal);
void schema_options_free(cfg_opt_t *options);

/* Reads the reader's section into `object`, which is zeroed but for its name. */
MUST_CHECK int schema_read(struct schema_reader *reader, void *object);
void schema_show(struct buffer *buffer, const struct conf *conf,
                 const struct schema_section *schema, const void *object, const char *indent,
                 bool internal);
void schema_free(const struct schema_section *schema, void *object);

/* ---- for types and sections: where a value stands, and messages about it ---- */

/* Values of an option as written; 0 when it was left out. */
size_t schema_given(const struct schema_reader *reader, const char *option);
/* Line of the option's value number `index`, or of the section when there is none. */
unsigned schema_line(const struct schema_reader *reader, const char *option, size_t index);

/* "PATH:LINE: …" as ERROR_CONFIG. */
int schema_fail(struct schema_reader *reader, unsigned line, const char *format, ...)
    PRINTF_LIKE(3, 4);
/* "PATH:LINE: OPTION in SECTION: found 'VALUE'; expected …". */
int schema_fail_value(struct schema_reader *reader, const struct schema_option *option,
                      const struct schema_value *value, const char *expected_format, ...)
    PRINTF_LIKE(4, 5);
int schema_fail_memory(struct schema_reader *reader);
void schema_warn(struct schema_reader *reader, unsigned line, const char *format, ...)
    PRINTF_LIKE(3, 4);

/* "listener 'shop'", or "the global options". Returns `text`. */
char *schema_place(char *text, size_t size, const cfg_t *tree);
/* A value as it can be shown in a message: printable and cut. Returns `shown`. */
const char *schema_shown(char shown[SCHEMA_SHOWN_MAX], const char *text);

/* The known word nearest to a misspelt one. */
struct schema_nearest {
    const char *word;
    const char *best; /* NULL: nothing is near */
    unsigned distance;
};
void schema_nearest_try(struct schema_nearest *nearest, const char *candidate);
/* "; did you mean 'x'?" or "". Returns `text`. */
const char *schema_nearest_text(const struct schema_nearest *nearest, char text[SCHEMA_SHOWN_MAX]);

/* The message for a name that libconfuse does not know, found in the section `tree`. */
int schema_fail_unknown(struct schema_reader *reader, const cfg_t *tree, const char *name);

/* ---- types (types.c, type_address.c) ---- */

extern const struct schema_type schema_text;      /* char *; `words` NULL */
extern const struct schema_type schema_text_list; /* struct conf_text_list; of `words`, if given */
extern const struct schema_type schema_path;      /* char *: absolute path */
extern const struct schema_type
    schema_path_list;                            /* struct conf_text_list of absolute paths or "" */
extern const struct schema_type schema_duration; /* uint64_t, ms */
extern const struct schema_type schema_duration_32; /* uint32_t, ms */
extern const struct schema_type schema_seconds;     /* uint32_t, whole seconds; range in ms */
extern const struct schema_type schema_size;        /* uint64_t, bytes */
extern const struct schema_type schema_size_32;     /* uint32_t, bytes */
extern const struct schema_type schema_count;       /* uint32_t */
extern const struct schema_type schema_integer;     /* int, not negative */
extern const struct schema_type schema_boolean;     /* bool */
extern const struct schema_type schema_choice;      /* an enum; `words` */
extern const struct schema_type schema_alpn;        /* struct conf_text_list of protocol names */
extern const struct schema_type
    schema_addresses; /* struct conf_addresses with ports, or Unix sockets */
extern const struct schema_type schema_sources;  /* struct conf_addresses without ports */
extern const struct schema_type schema_networks; /* struct conf_networks */
extern const struct schema_type
    schema_names; /* struct conf_text_list of DNS names, wildcards, IP addresses */
extern const struct schema_type schema_rate;     /* struct conf_rate; range of its period */
extern const struct schema_type schema_host;     /* char *: DNS name or IP address */
extern const struct schema_type schema_url;      /* char *: http(s) or smtp(s) */
extern const struct schema_type schema_channels; /* struct conf_text_list of names of channels */

/* Pieces for the types of single sections. */
void schema_text_show(struct buffer *buffer, const struct conf *conf,
                      const struct schema_option *option, const void *field);
void schema_text_free(void *field);
void schema_list_show(struct buffer *buffer, const struct conf *conf,
                      const struct schema_option *option, const void *field);
void schema_list_free(void *field);
void schema_addresses_show(struct buffer *buffer, const struct conf *conf,
                           const struct schema_option *option, const void *field);
void schema_addresses_free(void *field);
int schema_read_duration(uint64_t *ret_ms, const char *text); /* 0, or -1: malformed or too long */
int schema_read_number(uint64_t *ret_number, const char *text);
/* Puts lower-case canonical form of a DNS name or IP address into `ret_name`; says what is wrong
 * with it, or NULL. */
#define SCHEMA_NAME_SIZE 256
const char *schema_read_name(char ret_name[SCHEMA_NAME_SIZE], const char *text, bool wildcard,
                             bool address);
void schema_show_quoted(struct buffer *buffer, const char *text);
