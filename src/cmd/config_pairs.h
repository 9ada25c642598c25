/* The pre-flight of what a configuration's files hold: certificates from files, what TLS to
 * upstream servers needs, fingerprints, what watches judge by, and whether a fleet leaves keys
 * anything. */
#pragma once

#include "cmd/config_files.h"

/* Prints each finding to `report`, "CONFIG: certificate 'NAME': FILE: code: text", and returns how
 * many there are. With `before`, the configuration in force, findings in what both have alike are
 * printed as warnings and not counted: what is wrong there is so whatever is decided here. */
size_t config_check_pairs(const struct conf *conf, const struct conf *before,
                          const struct config_files *files, FILE *report);
