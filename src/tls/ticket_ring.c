#include "tls/ticket_ring.h"

#include <stdio.h>
#include <string.h>
#include <sys/random.h>

#include "base/clock.h"
#include "base/hash.h"
#include "base/secret.h"
#include "base/string.h"

const char *ticket_cause_name(uint32_t cause)
{
    static const char *const names[TICKET_CAUSE_COUNT] = {[TICKET_CAUSE_START] = "start",
                                                          [TICKET_CAUSE_TIME] = "time",
                                                          [TICKET_CAUSE_OPERATOR] = "operator"};

    return cause < TICKET_CAUSE_COUNT ? names[cause] : "unknown";
}

/* ---- the order ---- */

static int compare(const struct ticket_key *a, const struct ticket_key *b)
{
    if (a->not_before != b->not_before)
        return a->not_before < b->not_before ? -1 : 1;
    return memcmp(a->name, b->name, sizeof a->name);
}

static uint32_t find(const struct ticket_keys *keys, const uint8_t name[TICKET_KEY_NAME_SIZE])
{
    uint32_t i = 0;

    while (i < keys->count && memcmp(keys->keys[i].name, name, TICKET_KEY_NAME_SIZE) != 0)
        i++;
    return i;
}

static void remove_key(struct ticket_keys *keys, uint32_t index)
{
    struct ticket_key *last = &keys->keys[keys->count - 1];

    memmove(&keys->keys[index], &keys->keys[index + 1],
            (keys->count - 1 - index) * sizeof keys->keys[0]);
    secret_wipe(last, sizeof *last);
    keys->count--;
    if (index < keys->current)
        keys->current--;
}

/* In a full ring the oldest makes room, else the one whose turn is farthest away. */
static void insert_key(struct ticket_keys *keys, const struct ticket_key *key)
{
    uint32_t at = 0;

    if (keys->count == TICKET_KEYS_MAX)
        remove_key(keys, keys->current > 0 ? 0 : keys->count - 1);
    while (at < keys->count && compare(&keys->keys[at], key) < 0)
        at++;
    memmove(&keys->keys[at + 1], &keys->keys[at], (keys->count - at) * sizeof keys->keys[0]);
    keys->keys[at] = *key;
    if (keys->count > 0 && at <= keys->current)
        keys->current++;
    keys->count++;
}

/* ---- one key ---- */

static bool make_key(struct ticket_keys *keys, uint64_t not_before, enum ticket_cause cause,
                     const struct ticket_rules *rules)
{
    struct ticket_key key = {.not_before = not_before, .cause = cause};
    uint8_t random[TICKET_KEY_NAME_SIZE + 2 * TICKET_KEY_SECRET_SIZE];
    bool good = getrandom(random, sizeof random, 0) == sizeof random;

    if (good) {
        memcpy(key.name, random, sizeof key.name);
        memcpy(key.cipher_key, random + sizeof key.name, sizeof key.cipher_key);
        memcpy(key.mac_key, random + sizeof key.name + sizeof key.cipher_key, sizeof key.mac_key);
        ignore(snprintf(key.node, sizeof key.node, "%s", rules->node));
        insert_key(keys, &key);
    }
    secret_wipe(random, sizeof random);
    secret_wipe(&key, sizeof key);
    return good;
}

/* A ticket's life may have been made longer or shorter, and differ between those who share the
 * ring: the longest while a key encrypts counts. */
static unsigned widen(struct ticket_key *key, uint64_t window_s)
{
    if (key->window_s >= window_s)
        return 0;
    key->window_s = (uint32_t)window_s;
    return TICKET_KEYS_CHANGED;
}

static void retire(struct ticket_key *key, const struct ticket_rules *rules,
                   const struct ticket_clock *clock)
{
    ignore((long)widen(key, rules->window_s));
    if (key->not_after == 0)
        key->not_after = clock->wall_s + key->window_s;
    key->retired_ns = clock->monotonic_ns != 0 ? clock->monotonic_ns : 1;
}

/* Only ever forwards. */
static void set_current(struct ticket_keys *keys, uint32_t index, const struct ticket_rules *rules,
                        const struct ticket_clock *clock)
{
    for (uint32_t i = keys->current; i < index; i++)
        retire(&keys->keys[i], rules, clock);
    keys->current = index;
    keys->keys[index].not_after = 0;
    ignore((long)widen(&keys->keys[index], rules->window_s));
    keys->keys[index].generation = ++keys->generation;
    if (keys->keys[index].since == 0)
        keys->keys[index].since = clock->wall_s;
    keys->promoted_ns = clock->monotonic_ns;
}

/* ---- what is due ---- */

/* A key to be next. Behind all others, also when the clock went back. */
static bool need_next(struct ticket_keys *keys, enum ticket_cause cause,
                      const struct ticket_rules *rules, const struct ticket_clock *clock)
{
    uint64_t last = keys->keys[keys->count - 1].not_before;
    uint64_t not_before = clock->wall_s + rules->lifetime_s;

    return keys->current + 1 == keys->count &&
           make_key(keys, not_before > last ? not_before : last + 1, cause, rules);
}

static unsigned promote_next(struct ticket_keys *keys, const struct ticket_rules *rules,
                             const struct ticket_clock *clock)
{
    if (keys->current + 1 == keys->count)
        return 0;
    set_current(keys, keys->current + 1, rules, clock);
    return TICKET_KEYS_CHANGED | TICKET_KEYS_PROMOTED;
}

static unsigned begin(struct ticket_keys *keys, uint64_t not_before, enum ticket_cause cause,
                      const struct ticket_rules *rules, const struct ticket_clock *clock)
{
    if (!make_key(keys, not_before, cause, rules))
        return 0;
    set_current(keys, 0, rules, clock);
    ignore(need_next(keys, cause, rules, clock)); /* else it is tried again */
    return TICKET_KEYS_CHANGED | TICKET_KEYS_PROMOTED;
}

static bool is_due(const struct ticket_keys *keys, const struct ticket_rules *rules,
                   const struct ticket_clock *clock)
{
    return keys->current + 1 < keys->count &&
           (clock->wall_s >= keys->keys[keys->current + 1].not_before ||
            clock->monotonic_ns >= keys->promoted_ns + rules->lifetime_s * NS_PER_S);
}

static bool is_over(const struct ticket_key *key, const struct ticket_clock *clock)
{
    return clock->wall_s >= key->not_after ||
           clock->monotonic_ns >= key->retired_ns + key->window_s * NS_PER_S;
}

static unsigned drop_old(struct ticket_keys *keys, const struct ticket_clock *clock)
{
    unsigned done = 0;

    for (uint32_t i = 0; i < keys->current;) {
        if (!is_over(&keys->keys[i], clock)) {
            i++;
            continue;
        }
        remove_key(keys, i);
        done = TICKET_KEYS_CHANGED;
    }
    return done;
}

unsigned ticket_keys_advance(struct ticket_keys *keys, const struct ticket_rules *rules,
                             const struct ticket_clock *clock)
{
    unsigned done = 0;

    if (keys->count == 0)
        return begin(keys, clock->wall_s, TICKET_CAUSE_START, rules, clock);
    while (is_due(keys, rules, clock))
        done |= promote_next(keys, rules, clock);
    if (need_next(keys, TICKET_CAUSE_TIME, rules, clock))
        done |= TICKET_KEYS_CHANGED;
    return done | widen(&keys->keys[keys->current], rules->window_s) | drop_old(keys, clock);
}

unsigned ticket_keys_rotate(struct ticket_keys *keys, const struct ticket_rules *rules,
                            const struct ticket_clock *clock)
{
    unsigned done = ticket_keys_advance(keys, rules, clock);

    done |= promote_next(keys, rules, clock);
    if (need_next(keys, TICKET_CAUSE_OPERATOR, rules, clock))
        done |= TICKET_KEYS_CHANGED;
    return done;
}

unsigned ticket_keys_replace(struct ticket_keys *keys, const struct ticket_rules *rules,
                             const struct ticket_clock *clock)
{
    uint32_t epoch = keys->epoch + 1, generation = keys->generation;
    uint64_t resumption_epoch = keys->resumption_epoch + 1;

    secret_wipe(keys, sizeof *keys);
    keys->resumption_epoch = resumption_epoch;
    keys->epoch = epoch;
    keys->generation = generation;
    return begin(keys, clock->wall_s, TICKET_CAUSE_OPERATOR, rules, clock);
}

/* ---- what others know ---- */

/* By the wall clock, as far as it can be believed: after a restart the key goes on ageing. */
static uint64_t promoted_since(const struct ticket_key *key, const struct ticket_rules *rules,
                               const struct ticket_clock *clock)
{
    uint64_t age_ns;

    if (clock->wall_s < key->since || clock->wall_s - key->since >= rules->lifetime_s)
        return clock->monotonic_ns;
    age_ns = (clock->wall_s - key->since) * NS_PER_S;
    return age_ns < clock->monotonic_ns ? clock->monotonic_ns - age_ns : 0;
}

static unsigned adopt(struct ticket_keys *keys, const struct ticket_keys *other,
                      const struct ticket_rules *rules, const struct ticket_clock *clock)
{
    uint32_t generation = keys->generation;
    uint64_t resumption_epoch = keys->resumption_epoch;

    *keys = *other;
    keys->resumption_epoch = resumption_epoch;
    keys->generation = generation;
    for (uint32_t i = 0; i < keys->count; i++) {
        keys->keys[i].generation = 0;
        if (i < keys->current)
            retire(&keys->keys[i], rules, clock);
    }
    set_current(keys, keys->current, rules, clock);
    keys->promoted_ns = promoted_since(&keys->keys[keys->current], rules, clock);
    return TICKET_KEYS_CHANGED | TICKET_KEYS_PROMOTED;
}

static unsigned merge_resumption_epoch(struct ticket_keys *keys, uint64_t resumption_epoch)
{
    if (resumption_epoch <= keys->resumption_epoch)
        return 0;
    keys->resumption_epoch = resumption_epoch;
    return TICKET_KEYS_CHANGED;
}

static unsigned merge_key(struct ticket_keys *keys, const struct ticket_key *key, bool old,
                          const struct ticket_rules *rules, const struct ticket_clock *clock)
{
    uint32_t index = find(keys, key->name);

    if (index < keys->count) {
        struct ticket_key *own = &keys->keys[index];
        unsigned done = widen(own, key->window_s);
        if (index >= keys->current || key->not_after <= own->not_after)
            return done;
        own->not_after = key->not_after;
        return TICKET_KEYS_CHANGED;
    }
    struct ticket_key fresh = *key;
    fresh.generation = 0;
    if (old || compare(key, &keys->keys[keys->current]) < 0)
        retire(&fresh, rules, clock);
    if (fresh.retired_ns == 0 || !is_over(&fresh, clock))
        insert_key(keys, &fresh);
    secret_wipe(&fresh, sizeof fresh);
    return TICKET_KEYS_CHANGED;
}

unsigned ticket_keys_merge(struct ticket_keys *keys, const struct ticket_keys *other,
                           const struct ticket_rules *rules, const struct ticket_clock *clock)
{
    unsigned done = merge_resumption_epoch(keys, other->resumption_epoch);

    if (other->count == 0 || (keys->count != 0 && other->epoch < keys->epoch))
        return done;
    if (keys->count == 0 || other->epoch > keys->epoch)
        return done | adopt(keys, other, rules, clock);
    for (uint32_t i = 0; i < other->count; i++)
        done |= merge_key(keys, &other->keys[i], i < other->current, rules, clock);
    uint32_t theirs = find(keys, other->keys[other->current].name);
    if (theirs < keys->count && theirs > keys->current) {
        set_current(keys, theirs, rules, clock);
        done |= TICKET_KEYS_CHANGED | TICKET_KEYS_PROMOTED;
    }
    return done;
}

bool ticket_keys_same(const struct ticket_keys *a, const struct ticket_keys *b)
{
    if (a->count != b->count || a->current != b->current || a->epoch != b->epoch ||
        a->resumption_epoch != b->resumption_epoch)
        return false;
    for (uint32_t i = 0; i < a->count; i++) {
        const struct ticket_key *x = &a->keys[i], *y = &b->keys[i];
        if (compare(x, y) != 0 || x->not_after != y->not_after || x->window_s != y->window_s)
            return false;
    }
    return true;
}

/* ---- showing ---- */

const char *ticket_key_role(const struct ticket_keys *keys, uint32_t index)
{
    return index < keys->current ? "previous" : index == keys->current ? "current" : "next";
}

char *ticket_key_id(const struct ticket_key *key, char text[TICKET_ID_MAX])
{
    uint64_t halves[2];

    memcpy(halves, key->name, sizeof halves);
    ignore(snprintf(text, TICKET_ID_MAX, "%08x",
                    (unsigned)(hash_mix(hash_mix(halves[0]) ^ halves[1]) >> 32)));
    return text;
}

/* ---- shared memory ---- */

static void publish(struct ticket_ring *ring, const struct ticket_keys *keys)
{
    uint32_t sequence = ring->sequence + 1;

    /* Who still reads the copy that is written now must find that the sequence went on. */
    __atomic_thread_fence(__ATOMIC_SEQ_CST);
    ring->copies[sequence & 1] = *keys;
    __atomic_store_n(&ring->sequence, sequence, __ATOMIC_RELEASE);
}

void ticket_ring_publish(struct ticket_ring *ring, const struct ticket_keys *keys)
{
    publish(ring, keys);
    publish(ring, keys); /* what was removed must not live on in the other copy */
    __atomic_store_n(&ring->version, TICKET_RING_VERSION, __ATOMIC_RELEASE);
}

/* Looks at a copy that nobody writes: `look` is called again when somebody did. */
typedef bool look_fn(const struct ticket_keys *keys, void *context);

static bool look_at(const struct ticket_ring *ring, look_fn *look, void *context)
{
    uint32_t before, after;
    bool found;

    if (__atomic_load_n(&ring->version, __ATOMIC_ACQUIRE) != TICKET_RING_VERSION)
        return false;
    do {
        before = __atomic_load_n(&ring->sequence, __ATOMIC_ACQUIRE);
        found = look(&ring->copies[before & 1], context);
        __atomic_thread_fence(__ATOMIC_ACQUIRE);
        after = __atomic_load_n(&ring->sequence, __ATOMIC_RELAXED);
    } while (before != after);
    return found;
}

static bool well_formed(const struct ticket_keys *keys)
{
    return keys->count > 0 && keys->count <= TICKET_KEYS_MAX && keys->current < keys->count;
}

static bool look_all(const struct ticket_keys *keys, void *context)
{
    memcpy(context, keys, sizeof *keys);
    return well_formed(context);
}

bool ticket_ring_read(const struct ticket_ring *ring, struct ticket_keys *ret_keys)
{
    return look_at(ring, look_all, ret_keys);
}

struct search {
    const uint8_t *name; /* NULL: the current one */
    struct ticket_key *key;
    bool current;
};

static bool look_for(const struct ticket_keys *keys, void *context)
{
    struct search *search = context;
    uint32_t index = keys->current;

    if (!well_formed(keys))
        return false;
    if (search->name != NULL)
        index = find(keys, search->name);
    if (index >= keys->count)
        return false;
    *search->key = keys->keys[index];
    search->current = index == keys->current;
    return true;
}

bool ticket_ring_current(const struct ticket_ring *ring, struct ticket_key *ret_key)
{
    struct search search = {.key = ret_key};

    return look_at(ring, look_for, &search);
}

bool ticket_ring_find(const struct ticket_ring *ring, const uint8_t name[TICKET_KEY_NAME_SIZE],
                      struct ticket_key *ret_key, bool *ret_current)
{
    struct search search = {.name = name, .key = ret_key};
    bool found = look_at(ring, look_for, &search);

    *ret_current = found && search.current;
    return found;
}
