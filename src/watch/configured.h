/* What only the watch understands of a configuration: its targets. Asked before a configuration is
 * accepted. */
#pragma once

#include <stdio.h>

#include "conf/conf.h"

/* Prints "FILE:LINE: targets in watch 'NAME': …" for each text that is no target (without the line
 * unless `lines`) and for what no target of a section can fulfil, and returns how many there are.
 */
size_t configured_check(const struct conf *conf, bool lines, FILE *report);
