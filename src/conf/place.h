/* Places: the indices that objects of a configuration keep from one reload to the next. */
#pragma once

#include "base/buffer.h"
#include "conf/conf.h"

/* A configuration that has none before it: everything stands where the file has it. */
void place_fresh(struct conf *conf);

/* Moves every object to the index that its `place` says, with holes in between, and follows the
 * references. Fails when two objects have one place, which only a fault of ours makes. */
MUST_CHECK int place_arrange(struct conf *conf, struct error *error);

/* Appends the sections of all objects: in a file's form those in force, in the internal form all
 * (conf.c). */
void conf_show_objects(struct buffer *buffer, const struct conf *conf, bool internal);
