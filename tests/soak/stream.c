#include "stream.h"

#include <string.h>

/* A prime above all message sizes: the pattern repeats, but never by a round number of bytes. */
#define PERIOD 4194319u
#define SPREAD 7919u /* positions between the beginnings of neighbouring sessions */
#define MS     1000000u

static uint8_t pattern[PERIOD + STREAM_RUN];
static uint32_t dice;

static uint32_t next(uint32_t *state)
{
    *state ^= *state << 13;
    *state ^= *state >> 17;
    *state ^= *state << 5;
    return *state;
}

static uint64_t between(uint64_t low, uint64_t high)
{
    return low + next(&dice) % (high - low + 1);
}

void stream_begin(uint32_t seed)
{
    uint32_t state = 2463534242u;

    for (size_t i = 0; i < PERIOD; i++)
        pattern[i] = (uint8_t)(next(&state) >> 11);
    memcpy(pattern + PERIOD, pattern, STREAM_RUN);
    dice = seed * 2654435761u | 1;
}

const uint8_t *stream_at(unsigned session, uint64_t position)
{
    return pattern + (position + (uint64_t)session * SPREAD) % PERIOD;
}

size_t stream_message_size(enum habit habit)
{
    switch (habit) {
    case HABIT_SLEEPER:
        return between(1, 2000);
    case HABIT_STREAMER:
        return between(1 << 20, 2 << 20);
    case HABIT_TALKER:
    case HABIT_UPDATER:
        break;
    }
    /* As many between 1 and 2 bytes as between 128 and 256 KiB. */
    size_t ceiling = (size_t)1 << between(0, 18);
    return between(ceiling / 2 + 1, ceiling);
}

uint64_t stream_pause_ns(enum habit habit)
{
    switch (habit) {
    case HABIT_SLEEPER:
        return between(3000, 15000) * MS;
    case HABIT_STREAMER:
        return between(1000, 5000) * MS;
    case HABIT_TALKER:
    case HABIT_UPDATER:
        break;
    }
    return between(0, 4000) * MS;
}
