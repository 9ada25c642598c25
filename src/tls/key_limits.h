/* How long may a key be used?
 *
 * Two halves. The *bounds* say what cryptography allows: pure functions over records of one size,
 * from draft-irtf-cfrg-aead-limits (-11, §5 one key, §6 many keys), RFC 9846 §5.5 and, for CBC, the
 * birthday bound. The *judge* is what a record layer asks after each record: plain integers only.
 *
 * A probability is given as its logarithm to base 2 (-60 is 2^-60). What grows without limit is
 * INFINITY. TLS runs over TCP, where the first bad record ends the connection: one forgery attempt
 * per key. */
#pragma once

#include <stddef.h>
#include <stdint.h>

/* ---- bounds ---- */

enum key_cipher {
    KEY_AES_GCM,
    KEY_CHACHA20_POLY1305,
    KEY_AES_CCM,
    KEY_AES_CCM_8,
    KEY_CBC /* a block cipher of `block_bits` in CBC mode: AES, and 3DES (Sweet32) */
};

struct key_question {
    enum key_cipher cipher;
    unsigned block_bits;     /* of the cipher: 128, or other worlds (GCM, CCM and CBC) */
    double record_size;      /* bytes of application data in each record */
    double log2_probability; /* that an attacker may win */
};

/* The same bound in three units. */
struct key_bound {
    double records, blocks, bytes;
};

/* Confidentiality under one key: how much may be sent with it. */
struct key_bound key_bound_confidentiality(const struct key_question *question);
/* Integrity: log2 of the chance that a single forged record is taken, with a key used as far as
 * its confidentiality allows. */
double key_log2_forgery(const struct key_question *question);
/* What one key may send when `fleet_bytes` are sent under all keys, keys before and after a
 * KeyUpdate counted apiece, so that an attacker who watches them all wins with the question's
 * probability. For CBC there is no such bound: INFINITY. */
struct key_bound key_bound_fleet(const struct key_question *question, double fleet_bytes);
/* Where a sequence number of `bits` would wrap. It must not (RFC 9846 §5.3, RFC 5246 §6.1). */
struct key_bound key_bound_sequence(const struct key_question *question, unsigned bits);
/* 2^(block_bits/2) blocks, where two equal ciphertext blocks become likely: for data alone. */
struct key_bound key_bound_birthday(const struct key_question *question);

/* ---- the judge ---- */

/* Blocks of 128 bits that a record of `size` bytes counts for: data and the byte of its type, one
 * for the additional data, one for the tag (the q of the formula). Right for AES-GCM in TLS 1.3, a
 * little on the safe side in TLS 1.2. */
static inline uint64_t key_blocks(size_t size)
{
    return ((uint64_t)size + 1 + 15) / 16 + 2;
}

/* Plain values; 0 is no limit. */
struct key_limits {
    uint64_t blocks_soft, blocks_hard;
    uint64_t records_soft, records_hard;
    uint64_t bytes;
    uint64_t age_ns;
};

/* One sending key since it came into use; `since` as `now`, CLOCK_MONOTONIC nanoseconds. */
struct key_usage {
    uint64_t blocks, records, bytes;
    uint64_t since;
};

enum key_action {
    KEY_KEEP,
    KEY_RENEW,       /* when it suits */
    KEY_RENEW_URGENT /* nothing may put it off any more */
};

/* Soft limits and limits of bytes and age call for KEY_RENEW, hard ones for KEY_RENEW_URGENT. */
enum key_action key_limits_judge(const struct key_limits *limits, const struct key_usage *usage,
                                 uint64_t now);

#define KEY_LOG2_PROBABILITY (-60)      /* what TLS asks for (RFC 9846 §5.5: 2^24.5 records) */
#define KEY_RECORDS_SOFT     (1u << 24) /* as GnuTLS and rustls */

/* The rule of this program: soft at half of the bound of AES-GCM or AES-CCM for
 * `log2_probability`, hard at 15/16 of it; ChaCha20 has none. Soft at KEY_RECORDS_SOFT records but
 * for ChaCha20, hard at 2^63, half-way to where the sequence number wraps. With `fleet_bytes` above
 * 0 and `log2_fleet_probability` the bound of many keys counts, too, where it is lower. Bytes and
 * age are the caller's. */
struct key_limits key_limits_for(enum key_cipher cipher, double log2_probability,
                                 double fleet_bytes, double log2_fleet_probability);
