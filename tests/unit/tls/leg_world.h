/* What the tests of legs share: buffers, a clock, and a leg whose peer can send anything. */
#pragma once

#include "tls/leg.h"

extern struct record_crypto *crypto;
extern uint64_t clock_ms;
extern uint8_t plain[100000], wire[200000], output[200000]; /* `plain` holds a pattern */

/* Of the group of tests. */
int leg_world_set_up(void **state);
int leg_world_tear_down(void **state);

/* Late enough for another key. */
bool update_keys(struct leg *leg, bool request);

struct link {
    const struct suite *suite;
    struct leg leg;
    struct leg_keys keys[2];
    struct record_key peer_write, peer_read; /* the peer's view */
    uint64_t write_sequence, read_sequence;
    struct leg_opened opened;
    size_t size; /* bytes in `wire` for the leg */
};

void link_init(struct link *link, uint16_t version, uint16_t id, bool leg_is_client);
void link_tls13(struct link *link);
void link_tls12(struct link *link);

/* Appends a record to what the leg will read. */
void link_put(struct link *link, enum record_type type, const void *content, size_t size);
/* The peer writes with its next key from now on. */
void link_peer_renews(struct link *link);
/* Appends a KeyUpdate, and the peer renews. */
void link_put_key_update(struct link *link, uint8_t request);

/* The leg reads all that was put, into `opened` and `output`. */
enum leg_event link_take_at(struct link *link, uint64_t now_s);
enum leg_event link_take(struct link *link);
/* Reads with the peer's key what the leg has sealed; returns the type. */
enum record_type link_peer_reads(struct link *link, const uint8_t *records, size_t size,
                                 struct record_opened *ret_opened);

/* The leg takes what was put, and that is its end. */
void assert_fatal(struct link *link, enum leg_reason reason, enum alert alert);
/* One record that is fatal for a fresh leg. */
void assert_record_fatal(uint16_t version, bool leg_is_client, enum record_type type,
                         const void *content, size_t size, enum leg_reason reason,
                         enum alert alert);
/* The one record that the leg owes. */
void assert_owes(struct link *link, enum record_type type, const void *content, size_t size);
