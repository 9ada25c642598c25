/* A session's slot: everything that must outlive the process serving it, as plain values without
 * pointers.
 *
 * A relay's arena is three shared mappings, created by the supervisor: *metadata* (struct slot;
 * control maps it read-only), *secrets* (keys of both legs; only relays map it) and *blocks* (data
 * in transit). An idle session owns its slot and two descriptors, nothing else.
 *
 * What changes with every record is the hot part. It exists twice; slot_commit() writes the spare
 * copy and flips one byte, so that a worker killed at any instant leaves one whole copy behind.
 * Order of a batch: seal or open → commit → write. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/attributes.h"
#include "session/state.h"
#include "tls/client_identity.h"
#include "tls/leg.h"

#define ARENA_VERSION   5
#define BLOCK_SIZE      16384u
#define BLOCK_NONE      UINT32_MAX
#define SLOT_NAME_MAX   64
#define SLOT_ALPN_MAX   12
#define SLOT_LOCAL_NONE UINT16_MAX
#define SLOT_NONE       UINT32_MAX

/* One direction of a session. Bytes read from the source stand in the input run; what is to be
 * written to the sink in the output run. Positions count bytes of the TCP streams since the session
 * was handed over. */
struct flow {
    uint64_t read_position; /* stream offset of the first unprocessed byte, at `input_offset` of the
                               input run */
    uint64_t write_position; /* stream offset of the first byte of the output run */
    uint32_t input;          /* first block of the run, or BLOCK_NONE */
    uint32_t output;
    uint32_t input_offset;
    uint32_t output_size; /* bytes in the output run */
    uint8_t input_order;  /* a run is 2^order blocks */
    uint8_t output_order;
    uint8_t source_ended; /* end of stream (close_notify or FIN) was taken from the source */
    uint8_t sink_ended;   /* … and passed on to the sink */
    uint8_t discard;      /* enum flow_discard */
    uint8_t reserved[3];
};

/* The sink takes nothing more: what still comes for it is thrown away. */
enum flow_discard {
    DISCARD_NOTHING,
    DISCARD_REST,
    DISCARD_BROKEN /* … because its connection broke: no orderly end can come from there either */
};

enum { FLOW_UP, FLOW_DOWN, FLOW_COUNT }; /* client → upstream, upstream → client */

struct slot_hot {
    struct leg client;
    struct flow flows[FLOW_COUNT];
    uint8_t upstream_tls; /* the upstream's leg was committed with it (slot_upstream_secrets) */
    uint8_t padding[3];
    uint32_t checksum; /* over all of the above, that leg and the serial */
};

/* What tells, together with the position in a stream, how far a dead relay had read or written it,
 * modulo 2^32. For TCP: what the kernel's counters (loop/socket_counters.h) stood at when the
 * position was 0. For a Unix socket, which has no counters: ours, raised around each call. */
struct slot_stream {
    uint32_t received, sent;
};

/* Generations of all that the session depends on: "which live sessions still hang on the old X?" */
struct slot_generations {
    uint32_t certificate_version; /* version of the lineage `certificate` */
    uint32_t trust;               /* CA and CRL set that its client was judged by; 0: the client
                                     has shown no certificate */
    uint32_t ticket_key;
    uint32_t config;
    uint32_t binary;
};

struct slot {
    struct slot_hot hot[2];
    uint8_t current; /* which copy of `hot` is valid: the one store that commits */
    uint8_t state;   /* enum session_state */
    uint8_t flags;   /* SLOT_* */
    uint8_t key_type;
    uint16_t listener, upstream,
        server;      /* indices in the configuration of generation.config; SLOT_LOCAL_NONE */
    uint64_t serial; /* unique in the arena's life; 0: never used */
    uint64_t client_cookie, upstream_cookie;
    uint64_t accepted_ns, open_ns; /* CLOCK_MONOTONIC */
    uint32_t active_s;             /* second of the last data, CLOCK_MONOTONIC */
    uint32_t certificate;          /* index in the configuration, CONF_NONE for pass-through */
    struct slot_generations generation;
    uint8_t client_address[16], upstream_address[16];
    uint16_t client_port, upstream_port;
    uint16_t group; /* IANA named group */
    uint8_t end;    /* closing: enum session_end */
    uint8_t killed; /* times in a row that a relay was killed with this session in hand */
    struct slot_stream streams[2]; /* by side: client, upstream */
    uint8_t by_hand;               /* bit per side: a Unix socket, whose streams we count */
    uint8_t busy;                  /* … and a call on it is under way: its counters are open */
    uint16_t attached;             /* SLOT_ATTACHED: place on the board */
    uint32_t noted;                /* checksum of what slot_note() covers */
    char server_name[SLOT_NAME_MAX];
    char alpn[SLOT_ALPN_MAX];
};

enum {
    SLOT_RESUMED = 1,
    SLOT_HELLO_RETRY = 2,
    SLOT_UPSTREAM_TLS = 4,
    SLOT_PASS_THROUGH = 8,
    SLOT_TRACED = 16,
    SLOT_SOURCE_COUNTED = 32,    /* also where the state is SESSION_FREE, between two steps */
    SLOT_KEY_UPDATE_UNABLE = 64, /* the client is known to end a session upon a KeyUpdate */
    SLOT_ATTACHED = 128          /* OpenSSL carries it: the client's socket is a handshaker's */
};

/* Secrets of slot i. The upstream part is touched by sessions with a TLS upstream only. */
struct slot_secrets {
    struct leg_keys client;
};
struct slot_upstream_secrets {
    struct leg leg[2]; /* two copies, committed by the slot's `current` */
    struct leg_keys keys;
};

/* Bank 1 of both legs (tls/leg.h) of the slot in hand: keys change one session at a time, so one
 * for all is enough. Otherwise empty. */
struct slot_change {
    struct leg_keys client, upstream;
};

/* Who the client of slot i is by his certificate. Touched by sessions with one only, so that those
 * of others take no memory for it. */
struct slot_client {
    uint64_t serial; /* of the session that it belongs to; written last */
    struct client_identity identity;
};

struct arena_header {
    uint32_t version;
    uint32_t capacity; /* slots */
    uint32_t block_count;
    uint32_t in_hand; /* the slot being worked on, or SLOT_NONE */
    uint64_t next_serial;
    uint32_t used;       /* slots in use */
    uint32_t high_water; /* slots 0 … high_water-1 may be in use */
    uint8_t padding[4096 - 32];
};

struct arena {
    struct arena_header *header;
    struct slot *slots;
    struct slot_client *clients;  /* behind the slots */
    struct slot_secrets *secrets; /* NULL where only metadata is mapped */
    struct slot_upstream_secrets *upstream_secrets;
    struct slot_change *change;
    uint8_t *blocks;
};

/* Where the clients of an arena of this capacity are. */
static inline struct slot_client *arena_clients(void *metadata, uint32_t capacity)
{
    return (struct slot_client *)(void *)((uint8_t *)metadata + sizeof(struct arena_header) +
                                          (size_t)capacity * sizeof(struct slot));
}

/* Where the keys of a slot's legs are. */
static inline struct leg_banks slot_client_keys(const struct arena *arena, uint32_t index)
{
    return (struct leg_banks){{&arena->secrets[index].client, &arena->change->client}};
}
static inline struct leg_banks slot_upstream_keys(const struct arena *arena, uint32_t index)
{
    return (struct leg_banks){{&arena->upstream_secrets[index].keys, &arena->change->upstream}};
}

void slot_set_client(struct arena *arena, uint32_t index, const struct client_identity *identity);
/* False when the session of this serial number has none. Also for observers. */
MUST_CHECK bool slot_client(const struct arena *arena, uint32_t index, uint64_t serial,
                            struct client_identity *ret_identity);

/* Sizes of the three memfds for a geometry. The clients' secrets (and the keys that change) come
 * first and end on a page, so that the upstream part, which only some configurations use, can be
 * left unlocked while it is not. */
size_t arena_client_secrets_size(uint32_t capacity);
size_t arena_metadata_size(uint32_t capacity);
size_t arena_secrets_size(uint32_t capacity);
size_t arena_blocks_size(uint32_t block_count);

/* Fills `arena` from mappings of those sizes; `secrets` and `blocks` NULL for observers.
 * Initialises a fresh (zeroed) header when `capacity` is not 0. Returns false when the header's
 * version or geometry does not fit. */
bool arena_attach(struct arena *arena, void *metadata, size_t metadata_size, void *secrets,
                  void *blocks, uint32_t capacity, uint32_t block_count);

/* The valid copy. */
static inline const struct slot_hot *slot_hot(const struct slot *slot)
{
    return &slot->hot[slot->current & 1];
}

/* The client's leg of an attached session is plain, so its nonce is free for the serial number of
 * the session's place on the board. */
static inline uint64_t slot_attached_serial(const struct slot *slot)
{
    return slot_hot(slot)->client.write_nonce;
}

/* Makes `next` valid with one store. */
void slot_commit(struct slot *slot, const struct slot_hot *next);
/* The same together with the upstream leg of a TLS upstream. */
void slot_commit_upstream(struct slot *slot, const struct slot_hot *next,
                          struct slot_upstream_secrets *secrets, const struct leg *upstream);
/* After a commit: keys that it changed move to the slot, and nothing is left of those before. */
void slot_settle(struct arena *arena, uint32_t index);
/* That was done: so it is for every slot but the one in hand. */
bool slot_settled(const struct slot *slot, const struct slot_upstream_secrets *secrets);
/* A worker has died: what it may have left undone of this for the slot that it had in hand, or
 * SLOT_NONE, is finished. */
void slot_settle_left(struct arena *arena, uint32_t in_hand);

/* What a worker that leaves in order tells its successor of a session besides: how far runs are
 * filled and written. It lies in the copy of the hot part that is not valid, until the next commit.
 */
struct slot_rest {
    uint64_t magic, serial;
    uint32_t input_size[FLOW_COUNT], written[FLOW_COUNT];
    uint64_t checksum;
};
void slot_leave_rest(struct slot *slot, const struct slot_rest *rest);
/* False when nothing of the kind was left. */
MUST_CHECK bool slot_rest(const struct slot *slot, struct slot_rest *ret_rest);

/* Sums up what a successor goes by besides the hot part and what does not change with the data: how
 * streams began and the cookies. Call when these were written. */
void slot_note(struct slot *slot);
/* They are what they were then. */
bool slot_noted(const struct slot *slot);

/* Everything about the session is gone. */
void slot_wipe(struct arena *arena, uint32_t index);

/* The valid copy is, with the upstream's leg if it has one, what was committed. Else nothing in it
 * may be believed: a sequence number is never guessed. */
bool slot_intact(const struct slot *slot, const struct slot_upstream_secrets *secrets);

/* ---- blocks: runs of 2^order blocks, handed out by a buddy allocator whose books are private to
 * the worker ---- */

#define BLOCK_ORDER_MAX 6 /* 1 MiB */

struct blocks;
struct blocks *blocks_new(uint8_t *memory, int fd,
                          uint32_t block_count); /* `fd`: to give idle pages back */
void blocks_free(struct blocks *blocks);
/* First block of a run of 2^order, or BLOCK_NONE when memory is used up (the global cap). */
uint32_t blocks_take(struct blocks *blocks, unsigned order);
void blocks_give(struct blocks *blocks, uint32_t first, unsigned order);
/* Takes this very run, which a predecessor held. False when it is no run or not free as a whole. */
MUST_CHECK bool blocks_claim(struct blocks *blocks, uint32_t first, unsigned order);
uint32_t blocks_used(const struct blocks *blocks);
uint32_t blocks_total(const struct blocks *blocks);
uint32_t blocks_available(const struct blocks *blocks);
/* More than half of the memory is in use: whoever can wait should. */
bool blocks_scarce(const struct blocks *blocks);
/* Gives pages of free runs back to the system; call when idle. */
void blocks_trim(struct blocks *blocks);
static inline uint8_t *block_memory(const struct arena *arena, uint32_t block)
{
    return arena->blocks + (size_t)block * BLOCK_SIZE;
}
