/* The page /countdown: the days left of all that is watched, or of one host, for a wall or a phone.
 */
#pragma once

#include "base/buffer.h"
#include "watch/watcher.h"

#define COUNTDOWN_MAX (16u << 20)

/* `host` NULL: all, the nearest end first. `watcher` NULL: nothing is watched, and it says so.
 * False: this host is not watched. */
bool countdown_page(struct buffer *html, const struct watcher *watcher, const char *host,
                    int64_t now);
