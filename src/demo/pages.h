/* What the demo's web application shows: a form of ten pages, a summary, a style sheet and a
 * script. */
#pragma once

#include "base/buffer.h"
#include "demo/visits.h"

#define PAGES_COUNT VISIT_ANSWERS

/* Page `number` (1 … PAGES_COUNT) with what was answered before; `complaint` says what is wrong
 * with the last answer (NULL: nothing). */
void pages_form(struct buffer *html, const struct visit *visit, unsigned number,
                const char *complaint);
void pages_summary(struct buffer *html, const struct visit *visit);
/* Is this an answer to that page? NULL, or what is wrong with it. */
const char *pages_check(unsigned number, const char *answer);

extern const char pages_style[], pages_script[];
