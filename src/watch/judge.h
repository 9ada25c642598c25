/* What is thought of an endpoint once everything about it has been seen. */
#pragma once

#include "watch/checker.h"

/* Asks every store, then runs the checks. Needs no network. */
void judge_endpoint(struct endpoint *endpoint, const struct checker_options *options);
