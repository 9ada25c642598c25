/* Text for pages. */
#pragma once

#include "base/buffer.h"

/* Appends text of anybody's so that it is shown as it is, also within quotes of attributes. */
void html_escape(struct buffer *html, const char *text);
