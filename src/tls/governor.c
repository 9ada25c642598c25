/* Everything is judged from two structs of numbers, limits and usage. Positions between a soft and
 * a hard limit are in thousandths of the way. */
#include "tls/governor.h"

#define WHOLE     1000u
#define END_FIRST 250u /* of the way: the first sessions may end */
#define END_SPAN  500u
#define END_LAST  875u /* nobody is waited for any more */
#define NS_PER_MS 1000000ull

const char *key_cause_name(enum key_cause cause)
{
    static const char *const names[] = {
#define X(symbol, name) [symbol] = (name),
        KEY_CAUSE_LIST(X)
#undef X
    };
    return (unsigned)cause < KEY_CAUSE_COUNT ? names[cause] : "unknown";
}

void governor_limits(const struct conf *conf, const struct conf_listener *listener,
                     const struct suite *suite, struct key_limits *ret_limits)
{
    enum key_cipher cipher =
        suite->aead == AEAD_CHACHA20_POLY1305 ? KEY_CHACHA20_POLY1305 : KEY_AES_GCM;
    struct key_limits limits = key_limits_for(cipher, -(double)listener->traffic_key_probability,
                                              (double)conf->traffic_key_fleet_volume,
                                              -(double)conf->traffic_key_fleet_probability);

    limits.records_soft = listener->traffic_key_records;
    if (limits.records_soft != 0)
        limits.records_hard = 2 * limits.records_soft;
    limits.bytes = listener->traffic_key_bytes;
    limits.age_ns = listener->traffic_key_age * NS_PER_MS;
    *ret_limits = limits;
}

/* ---- how far ---- */

struct reach {
    uint64_t used, soft, hard; /* soft 0: no limit */
};

static uint64_t age_of(const struct key_usage *usage, uint64_t now_ns)
{
    return now_ns > usage->since ? now_ns - usage->since : 0;
}

/* In the order of enum key_cause. */
static void reaches(const struct key_limits *limits, const struct key_usage *usage, uint64_t now_ns,
                    struct reach ret_reaches[KEY_CAUSE_OPERATOR])
{
    ret_reaches[KEY_CAUSE_RECORDS] =
        (struct reach){usage->records, limits->records_soft, limits->records_hard};
    ret_reaches[KEY_CAUSE_BLOCKS] =
        (struct reach){usage->blocks, limits->blocks_soft, limits->blocks_hard};
    ret_reaches[KEY_CAUSE_BYTES] = (struct reach){usage->bytes, limits->bytes, 2 * limits->bytes};
    ret_reaches[KEY_CAUSE_AGE] =
        (struct reach){age_of(usage, now_ns), limits->age_ns, 2 * limits->age_ns};
}

static unsigned thousandths(uint64_t part, uint64_t whole)
{
    unsigned __int128 share = (unsigned __int128)part * WHOLE / whole;
    return share > 1000 * WHOLE ? 1000 * WHOLE : (unsigned)share;
}

unsigned governor_used(const struct key_limits *limits, const struct key_usage *usage,
                       uint64_t now_ns, enum key_cause *ret_cause)
{
    struct reach all[KEY_CAUSE_OPERATOR];
    unsigned most = 0;

    reaches(limits, usage, now_ns, all);
    *ret_cause = KEY_CAUSE_RECORDS;
    for (unsigned cause = 0; cause < KEY_CAUSE_OPERATOR; cause++) {
        unsigned used = all[cause].soft == 0 ? 0 : thousandths(all[cause].used, all[cause].hard);
        if (used > most) {
            most = used;
            *ret_cause = (enum key_cause)cause;
        }
    }
    return most;
}

double governor_share(const struct key_limits *limits, const struct key_usage *usage,
                      uint64_t now_ns, enum key_cause *ret_cause)
{
    struct reach all[KEY_CAUSE_OPERATOR];
    double most = -1;

    reaches(limits, usage, now_ns, all);
    *ret_cause = KEY_CAUSE_RECORDS;
    for (unsigned cause = 0; cause < KEY_CAUSE_OPERATOR; cause++) {
        if (all[cause].soft == 0)
            continue;
        double used = (double)all[cause].used / (double)all[cause].hard;
        if (used > most) {
            most = used;
            *ret_cause = (enum key_cause)cause;
        }
    }
    return most;
}

/* From soft (0) to hard (1000), in the unit that is farthest. Nothing may be below soft in all. */
static unsigned past_soft(const struct key_limits *limits, const struct key_usage *usage,
                          uint64_t now_ns)
{
    struct reach all[KEY_CAUSE_OPERATOR];
    unsigned most = 0;

    reaches(limits, usage, now_ns, all);
    for (unsigned cause = 0; cause < KEY_CAUSE_OPERATOR; cause++) {
        const struct reach *it = &all[cause];
        if (it->soft == 0 || it->used <= it->soft)
            continue;
        /* A budget too small for a fleet leaves nothing between the two. */
        unsigned past =
            it->hard <= it->soft ? WHOLE : thousandths(it->used - it->soft, it->hard - it->soft);
        most = past > most ? past : most;
    }
    return most;
}

/* ---- TLS 1.3 ---- */

bool governor_renew(struct leg *leg, const struct key_limits *limits, bool unable, uint64_t now_ns,
                    enum key_cause *ret_cause)
{
    struct key_usage usage = leg_write_usage(leg);
    enum key_action action = key_limits_judge(limits, &usage, now_ns);
    bool wanted = leg->renewal_wanted;

    if (leg->update_owed ||
        !(wanted || action == KEY_RENEW_URGENT || (action == KEY_RENEW && !unable)))
        return false;
    enum key_cause cause = KEY_CAUSE_OPERATOR;
    if (action != KEY_KEEP)
        (void)governor_used(limits, &usage, now_ns, &cause);
    if (!leg_update_keys(leg, wanted && leg->renewal_request, now_ns / NS_PER_MS))
        return false;
    *ret_cause = cause;
    return true;
}

bool governor_ask(struct leg *leg, const struct key_limits *limits, bool unable, uint64_t now_ns,
                  enum key_cause *ret_cause)
{
    struct key_usage peer = leg_read_usage(leg), own = leg_write_usage(leg);
    struct key_limits twice = {.blocks_soft = 2 * limits->blocks_soft,
                               .records_soft = 2 * limits->records_soft,
                               .bytes = 2 * limits->bytes};

    if (unable || leg->update_asked || leg->update_owed ||
        key_limits_judge(&twice, &peer, now_ns) == KEY_KEEP ||
        !leg_update_keys(leg, true, now_ns / NS_PER_MS))
        return false;
    *ret_cause = KEY_CAUSE_PEER;
    if (key_limits_judge(limits, &own, now_ns) != KEY_KEEP)
        (void)governor_used(limits, &own, now_ns, ret_cause);
    return true;
}

/* ---- TLS 1.2 ---- */

static unsigned end_at(uint64_t spread)
{
    return END_FIRST + (unsigned)(spread % (END_SPAN + 1));
}

enum governor_end governor_end(const struct leg *leg, const struct key_limits *limits,
                               uint64_t spread, uint64_t now_ns)
{
    struct key_usage usage = leg_write_usage(leg);

    if (leg->version != TLS_VERSION_1_2 || key_limits_judge(limits, &usage, now_ns) == KEY_KEEP)
        return GOVERNOR_GO_ON;
    unsigned past = past_soft(limits, &usage, now_ns);
    return past >= END_LAST         ? GOVERNOR_END_NOW
           : past >= end_at(spread) ? GOVERNOR_END_IDLE
                                    : GOVERNOR_ENDING;
}

uint64_t governor_age_end(const struct leg *leg, const struct key_limits *limits, uint64_t spread)
{
    if (leg->version != TLS_VERSION_1_2 || limits->age_ns == 0)
        return 0;
    return leg_write_usage(leg).since + limits->age_ns +
           (leg->limit_announced ? limits->age_ns / WHOLE * end_at(spread) : 0);
}
