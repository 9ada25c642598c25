/* What is thought of an endpoint once everything about it has been seen. */
#pragma once

#include "watch/checker.h"

/* Asks every store. Neither needs the network: what the checks look at besides is fetched between
 * the two (watch/revocation.h). */
void judge_trust(struct endpoint *endpoint, const struct checker_options *options);
/* Runs the checks. */
void judge_findings(struct endpoint *endpoint, const struct checker_options *options);
