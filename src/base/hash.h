/* Mixing of 64-bit values, for tables and for spreading by hash. */
#pragma once

#include <stdint.h>

/* Every input bit changes every output bit with even chances (the finalizer of MurmurHash3). */
static inline uint64_t hash_mix(uint64_t value)
{
    value ^= value >> 33;
    value *= 0xff51afd7ed558ccdull;
    value ^= value >> 33;
    value *= 0xc4ceb9fe1a85ec53ull;
    return value ^ value >> 33;
}
