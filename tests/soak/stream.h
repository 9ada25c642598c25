/* What a soak session says: one endless stream in which every byte tells its position and its
 * session, cut into messages of mixed sizes. A byte that is lost, added, altered, moved or given to
 * another session shows at the first comparison. */
#pragma once

#include <stddef.h>
#include <stdint.h>

#define STREAM_RUN (256u << 10) /* bytes in one piece behind any position */

/* How a session behaves. */
enum habit {
    HABIT_TALKER,   /* messages of 1 byte to 256 KiB, short pauses */
    HABIT_SLEEPER,  /* small messages, long pauses */
    HABIT_STREAMER, /* 1 to 2 MiB at once, which come back while the rest still goes out */
    HABIT_UPDATER   /* a talker that changes its keys before every second message */
};

/* Before anything else. What differs from run to run comes from `seed`. */
void stream_begin(uint32_t seed);

/* STREAM_RUN bytes of the session's stream from `position` on. */
const uint8_t *stream_at(unsigned session, uint64_t position);

/* The size of the next message, and the pause before it. */
size_t stream_message_size(enum habit habit);
uint64_t stream_pause_ns(enum habit habit);
