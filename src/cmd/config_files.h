/* The files that a configuration names, opened before anything in them is looked at: so that
 * whoever opens them may give up its privileges first. */
#pragma once

#include <stdio.h>

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

/* Malloc'ed, from the beginning, at most `maximum` bytes and a zero behind them; NULL when it was
 * not opened or is larger. May hold a key: wipe it. */
char *config_files_read(const struct config_files *files, const char *path, size_t maximum,
                        size_t *ret_size);
