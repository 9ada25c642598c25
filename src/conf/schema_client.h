/* The part of the section `listener` that is about client certificates. */
#pragma once

#include "conf/schema.h"

extern const struct schema_word schema_client_modes[]; /* by enum conf_client_certificate */
extern const struct schema_type schema_client_names;   /* takes the whole struct conf_listener */

/* Is it one of them? */
bool schema_client_owns(const struct schema_option *option);

/* The section's hooks. */
const char *schema_client_refuses(const struct conf_listener *listener,
                                  const struct schema_option *option);
MUST_CHECK int schema_client_check(struct schema_reader *reader,
                                   const struct conf_listener *listener);
