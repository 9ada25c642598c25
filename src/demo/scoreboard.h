/* The figures of the demo: one shared mapping. Each field has one writer (named), the first process
 * draws it. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#define LATENCY_BUCKETS 256 /* eight per power of two, in microseconds */
#define FAULT_MAX       160
#define WORDS_MAX       160

enum demo_version { DEMO_TLS_1_2, DEMO_TLS_1_3, DEMO_VERSION_COUNT };

/* What is done to the edge under its sessions. */
enum demo_change { CHANGE_CERTIFICATE, CHANGE_KILL, CHANGE_RELOAD, CHANGE_UPGRADE, CHANGE_COUNT };

struct scoreboard {
    /* clients */
    uint32_t sessions[DEMO_VERSION_COUNT]; /* open now */
    uint32_t complete;                     /* all wanted sessions stood at once */
    uint64_t messages;                     /* that came back unaltered */
    uint64_t lost; /* sessions that ended, messages that came back wrong or not at all, handshakes
                      that failed */
    uint64_t seen; /* certificates that new handshakes were shown after the first one */
    uint64_t seen_delay_ns; /* from the end of the command to the first handshake that showed the
                               last one */
    uint64_t latency[LATENCY_BUCKETS];
    uint64_t slowest_us[CHANGE_COUNT]; /* of the messages that came back between the beginning of
                                          such a change and that of the next one */
    /* changer */
    uint64_t changes[CHANGE_COUNT];  /* that were completed */
    uint64_t took_ns[CHANGE_COUNT];  /* the last of each kind */
    uint64_t begun_ns[CHANGE_COUNT]; /* when the last of each kind began; 0: none has */
    uint64_t change_now;             /* the kind that began last */
    uint64_t failed;                 /* changes that could not be made */
    uint64_t words_at;               /* which of `words` is the newer one */
    char words[2][WORDS_MAX];        /* the last change */
    /* whoever meets a fault first */
    uint32_t fault_taken;  /* somebody writes it */
    uint32_t fault_stands; /* it can be read */
    char fault[FAULT_MAX]; /* the first loss or failure, in words */
    /* web application */
    uint64_t visits;
};

struct scoreboard *scoreboard_new(void); /* NULL when the system refuses */
void scoreboard_free(struct scoreboard *board);

static inline void scoreboard_add(uint64_t *field, uint64_t value)
{
    __atomic_fetch_add(field, value, __ATOMIC_RELAXED);
}
static inline uint64_t scoreboard_get(const uint64_t *field)
{
    return __atomic_load_n(field, __ATOMIC_ACQUIRE);
}
static inline void scoreboard_set(uint64_t *field, uint64_t value)
{
    __atomic_store_n(field, value, __ATOMIC_RELEASE);
}

/* Counts in `field` (lost or failed) and keeps the words of the first fault of all. */
void scoreboard_fault(struct scoreboard *board, uint64_t *field, const char *why);
/* The first fault in words, "" without one. */
const char *scoreboard_first_fault(const struct scoreboard *board);

/* The changer's: a change begins, and is complete. `words` (printable, without quotes) tell it. */
void scoreboard_change_begins(struct scoreboard *board, enum demo_change change);
void scoreboard_change_ends(struct scoreboard *board, enum demo_change change, const char *words);
/* How often each kind of change was made. */
struct changes_count {
    uint64_t of[CHANGE_COUNT];
};
struct changes_count scoreboard_changes(const struct scoreboard *board);
/* Of all kinds together, since `before`. */
uint64_t scoreboard_changes_since(const struct scoreboard *board,
                                  const struct changes_count *before);
/* The last change in words; "" before the first one. */
const char *scoreboard_last_change(const struct scoreboard *board);

void scoreboard_latency(struct scoreboard *board, uint64_t latency_ns);
/* Microseconds that `share` (0.5, 0.99) of all messages did not exceed; 0 without messages. */
uint64_t scoreboard_percentile(const struct scoreboard *board, double share);

/* What is drawn besides the figures. */
struct scoreboard_frame {
    const char *url;
    const char *folder; /* of the temporary state, for the curious */
    uint32_t sessions_wanted;
    uint64_t elapsed_ns; /* since all sessions stood; 0: not yet */
    uint32_t once_s;
    bool terminal; /* redraw in place, else one line */
    bool first;
};
void scoreboard_draw(const struct scoreboard *board, const struct scoreboard_frame *frame);
