/* The formulas of draft-irtf-cfrg-aead-limits, with its names: L blocks of a record with additional
 * data, q records. */
#include "tls/key_limits.h"

#include <math.h>

#define SEQUENCE_BITS     64
#define FULL_RECORD       16384.0
#define HARD_OF_BOUND(it) ((it) / 16 * 15)

/* L: data and type byte, and one block for the additional data. */
static double blocks_of_record(const struct key_question *question)
{
    double block = question->block_bits / 8.0;

    return ceil((question->record_size + 1) / block) + 1;
}

static struct key_bound bound_of_records(const struct key_question *question, double records,
                                         double blocks)
{
    return (struct key_bound){records, blocks, records * question->record_size};
}

/* CA <= (qL + q + 1)^2 / 2^(n+1), so q <= (sqrt(p) 2^((n+1)/2) - 1) / (L + 1). */
static struct key_bound gcm(const struct key_question *question)
{
    double blocks = exp2((question->block_bits + 1 + question->log2_probability) / 2) - 1;

    blocks = fmax(blocks, 0);
    return bound_of_records(question, blocks / (blocks_of_record(question) + 1), blocks);
}

/* CA <= (2Lq)^2 / 2^n, so q <= sqrt(p) 2^(n/2-1) / L. */
static struct key_bound ccm(const struct key_question *question)
{
    double blocks = exp2((question->block_bits + question->log2_probability) / 2 - 1);

    return bound_of_records(question, blocks / blocks_of_record(question), blocks);
}

static struct key_bound bound_of_blocks(const struct key_question *question, double blocks)
{
    double bytes = blocks * question->block_bits / 8;

    return (struct key_bound){bytes / question->record_size, blocks, bytes};
}

/* Not in the draft: the birthday bound, blocks^2 / 2^(n+1). */
static struct key_bound cbc(const struct key_question *question)
{
    return bound_of_blocks(question,
                           exp2((question->block_bits + 1 + question->log2_probability) / 2));
}

struct key_bound key_bound_confidentiality(const struct key_question *question)
{
    switch (question->cipher) {
    case KEY_AES_GCM:
        return gcm(question);
    case KEY_AES_CCM:
    case KEY_AES_CCM_8:
        return ccm(question);
    case KEY_CBC:
        return cbc(question);
    case KEY_CHACHA20_POLY1305:
        break;
    }
    return (struct key_bound){INFINITY, INFINITY, INFINITY};
}

double key_log2_forgery(const struct key_question *question)
{
    double tag = question->cipher == KEY_AES_CCM_8 ? 64 : question->block_bits;
    double used = key_bound_confidentiality(question).blocks;

    switch (question->cipher) {
    case KEY_AES_GCM: /* IA <= 2 v (L + 1) / 2^n */
        return 1 + log2(blocks_of_record(question) + 1) - question->block_bits;
    case KEY_CHACHA20_POLY1305: /* IA <= v (L' + 1) / 2^103 */
        return log2(blocks_of_record(question) + 1) - 103;
    case KEY_AES_CCM:
    case KEY_AES_CCM_8: /* IA <= v / 2^t + (2 L (v + q))^2 / 2^n */
        return log2(exp2(-tag) + exp2(2 * (1 + log2(used)) - question->block_bits));
    case KEY_CBC: /* HMAC-SHA-1 is the weakest MAC that TLS 1.2 has in use */
        break;
    }
    return -160;
}

struct key_bound key_bound_fleet(const struct key_question *question, double fleet_bytes)
{
    double per_record = blocks_of_record(question);
    double fleet_blocks = fleet_bytes / question->record_size * per_record;

    /* AEA <= sigma B / 2^127; ChaCha20-Poly1305 has no use for it, CBC is not in the draft. */
    if (question->cipher == KEY_CHACHA20_POLY1305 || question->cipher == KEY_CBC)
        return (struct key_bound){INFINITY, INFINITY, INFINITY};
    double blocks =
        exp2(question->log2_probability + question->block_bits - 1 - log2(fleet_blocks));
    return bound_of_records(question, blocks / per_record, blocks);
}

struct key_bound key_bound_sequence(const struct key_question *question, unsigned bits)
{
    double records = exp2(bits);

    return bound_of_records(question, records, records * (blocks_of_record(question) + 1));
}

struct key_bound key_bound_birthday(const struct key_question *question)
{
    return bound_of_blocks(question, exp2(question->block_bits / 2.0));
}

static uint64_t whole(double blocks)
{
    return blocks >= exp2(SEQUENCE_BITS) ? UINT64_MAX : blocks < 1 ? 1 : (uint64_t)blocks;
}

struct key_limits key_limits_for(enum key_cipher cipher, double log2_probability,
                                 double fleet_bytes, double log2_fleet_probability)
{
    struct key_question question = {cipher, 128, FULL_RECORD, log2_probability};
    struct key_limits limits = {.records_hard = 1ull << (SEQUENCE_BITS - 1)};
    double blocks = key_bound_confidentiality(&question).blocks;

    question.log2_probability = log2_fleet_probability;
    if (fleet_bytes > 0)
        blocks = fmin(blocks, key_bound_fleet(&question, fleet_bytes).blocks);
    if (isinf(blocks))
        return limits;
    limits.blocks_soft = whole(blocks / 2);
    limits.blocks_hard = whole(HARD_OF_BOUND(blocks));
    limits.records_soft = KEY_RECORDS_SOFT;
    return limits;
}

static int reached(uint64_t limit, uint64_t used)
{
    return limit != 0 && used >= limit;
}

enum key_action key_limits_judge(const struct key_limits *limits, const struct key_usage *usage,
                                 uint64_t now)
{
    uint64_t age = now > usage->since ? now - usage->since : 0;

    if (reached(limits->blocks_hard, usage->blocks) ||
        reached(limits->records_hard, usage->records))
        return KEY_RENEW_URGENT;
    if (reached(limits->blocks_soft, usage->blocks) ||
        reached(limits->records_soft, usage->records) || reached(limits->bytes, usage->bytes) ||
        reached(limits->age_ns, age))
        return KEY_RENEW;
    return KEY_KEEP;
}
