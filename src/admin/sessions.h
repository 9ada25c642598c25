/* Live sessions as the arenas' metadata shows them, read while relays change them.
 *
 * Each slot is copied and taken only when its serial number is the same before and after. Listing
 * goes by a cursor, so that ten thousand sessions are sent as the reader takes them. */
#pragma once

#include <jansson.h>

#include "admin/view.h"

struct session_filter {
    uint32_t listener;             /* CONF_NONE: any */
    uint32_t certificate;          /* CONF_NONE: any */
    uint32_t certificate_version;  /* 0: any */
    uint64_t older_ns, younger_ns; /* age at least, at most; 0: any */
    bool by_client;
    struct network client;
    char server_name[SLOT_NAME_MAX]; /* "": any; "*.example.org" takes one label */
    uint32_t superseded;             /* in one of these (ledger.h); 0: any session */
    uint64_t limit;                  /* 0: none */
};

struct session_cursor {
    unsigned relay;
    uint32_t slot;
    uint64_t given; /* sessions given so far */
};

/* Reads {"listener", "certificate", "certificate_version", "older_ms", "younger_ms", "client",
 * "sni", "superseded", "limit"} of a request. */
MUST_CHECK int session_filter_parse(struct session_filter *ret_filter, const json_t *request,
                                    const struct conf *conf, struct error *error);

/* Slots 0 … n-1 of this relay may hold sessions. */
uint32_t session_slots(const struct admin_view *view, unsigned relay);

/* Copies slot `index` when it holds a session. */
bool session_read(const struct arena *arena, uint32_t index, struct slot *ret_slot);

struct session_found {
    unsigned relay;
    uint32_t index, superseded; /* kinds, as in ledger.h */
    struct slot slot;           /* a copy */
};
/* The next session that passes the filter; looks at no more than `maximum` slots. False with
 * *ret_end set when there is none left, without it when the maximum was reached. */
MUST_CHECK bool session_seek(const struct admin_view *view, const struct session_filter *filter,
                             struct session_cursor *cursor, uint64_t now_ns, size_t maximum,
                             struct session_found *ret_found, bool *ret_end);
/* The same, as an object; NULL for false. */
json_t *session_next(const struct admin_view *view, const struct session_filter *filter,
                     struct session_cursor *cursor, uint64_t now_ns, size_t maximum, bool *ret_end);

/* Finds the session with this "RELAY-SERIAL". */
MUST_CHECK int session_find(const struct admin_view *view, const char *id, unsigned *ret_relay,
                            uint32_t *ret_slot, uint64_t *ret_serial, struct error *error);
