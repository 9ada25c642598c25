/* The ticket keys as they are shown: never their secrets. */
#pragma once

#include "admin/view.h"
#include "base/buffer.h"
#include <jansson.h>

#include "tls/ticket_ring.h"

enum ticket_storage {
    TICKETS_IN_MEMORY, /* no key-encryption-key is configured */
    TICKETS_STORED,
    TICKETS_STORAGE_FAILED
};

struct ticket_view {
    const struct ticket_keys *keys;
    enum ticket_storage storage;
    uint64_t failed_since_s; /* Unix seconds */
    char trouble[512];       /* why storage failed */
};

/* Storage and times in force: the first line of `tickets`, and "ticket_keys" in `status`. */
json_t *tickets_to_json(const struct admin_view *view, int64_t wall_s);
/* One key. */
json_t *ticket_key_to_json(const struct ticket_keys *keys, uint32_t index, int64_t wall_s);
void tickets_metrics(const struct admin_view *view, int64_t wall_s, struct buffer *output);
