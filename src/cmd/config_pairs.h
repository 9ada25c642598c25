/* Part of `config test`: looks at the certificates that the configuration takes from files as the
 * daemon would before it serves them. */
#pragma once

#include "conf/conf.h"

/* Prints what is wrong with each pair on standard error. Returns the number of findings. */
size_t config_check_pairs(const struct conf *conf);
