/* Checks of a configuration that concern more than one section. */
#pragma once

#include "conf/schema.h"

/* The reader's conf is complete; `root` is libconfuse's tree, for the lines. Changes the reader's
 * place. */
MUST_CHECK int conf_check(struct schema_reader *reader, cfg_t *root);
