/* The key-encryption key, looked at before a configuration is accepted. */
#pragma once

#include <sys/types.h>

#include "conf/conf.h"

/* Opens and reads the file that the configuration names, if it names one. `user`: besides root and
 * us, who may own it. */
MUST_CHECK int key_encryption_check(const struct conf *conf, uid_t user, struct error *error);
