/* The files that a configuration names, opened before anything in them is looked at: so that
 * whoever opens them may give up its privileges first. */
#pragma once

#include <stdio.h>

#include "base/buffer.h"
#include "conf/conf.h"

struct config_file {
    char *path;
    int fd;
};

struct config_files {
    struct config_file *items;
    size_t count;
    unsigned failures; /* could not be opened; each was reported */
};

/* Opens all; what goes wrong is printed to `report`, "CONFIG: ROLE: cannot open PATH: why". What a
 * watch of `before` (NULL: none) has named as the same is no failure: that it is missing may be
 * just what the watch has found. */
void config_files_open(struct config_files *ret_files, const struct conf *conf,
                       const struct conf *before, FILE *report);
bool config_files_opened(const struct config_files *files, const char *path);
void config_files_close(struct config_files *files);

/* Reads it from the beginning; fails with ERROR_NOT_FOUND when it was not opened. What may hold a
 * key goes into a secret buffer. */
MUST_CHECK int config_files_read(struct buffer *content, const struct config_files *files,
                                 const char *path, struct error *error);
