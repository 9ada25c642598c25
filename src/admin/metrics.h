/* The board as Prometheus text (exposition format 0.0.4). */
#pragma once

#include "admin/view.h"
#include "base/buffer.h"

#define METRICS_MAX (8u << 20)

/* Appends all metrics; `now_ns` is CLOCK_MONOTONIC. Check output->failed. */
void metrics_write(const struct admin_view *view, uint64_t now_ns, struct buffer *output);
