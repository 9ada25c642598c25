#include "session/slot.h"

#include <stddef.h>
#include <string.h>

#include "base/attributes.h"
#include "base/hash.h"
#include "base/secret.h"

_Static_assert(sizeof(struct arena_header) == 4096, "slots begin on a page");
_Static_assert(sizeof(struct slot) <= 560,
               "an idle session must stay below 1 KiB with its secrets");
_Static_assert(sizeof(struct slot_secrets) <= 200,
               "an idle session must stay below 1 KiB with its slot");

size_t arena_metadata_size(uint32_t capacity)
{
    return sizeof(struct arena_header) +
           (size_t)capacity * (sizeof(struct slot) + sizeof(struct slot_client));
}

size_t arena_client_secrets_size(uint32_t capacity)
{
    size_t size = sizeof(struct slot_change) + (size_t)capacity * sizeof(struct slot_secrets);
    return (size + 4095) & ~(size_t)4095;
}

size_t arena_secrets_size(uint32_t capacity)
{
    return arena_client_secrets_size(capacity) +
           (size_t)capacity * sizeof(struct slot_upstream_secrets);
}

size_t arena_blocks_size(uint32_t block_count)
{
    return (size_t)block_count * BLOCK_SIZE;
}

bool arena_attach(struct arena *arena, void *metadata, size_t metadata_size, void *secrets,
                  void *blocks, uint32_t capacity, uint32_t block_count)
{
    struct arena_header *header = metadata;

    if (capacity != 0 && header->version == 0) {
        header->capacity = capacity;
        header->block_count = block_count;
        header->in_hand = SLOT_NONE;
        header->next_serial = 1;
        __atomic_store_n(&header->version, ARENA_VERSION, __ATOMIC_RELEASE);
    }
    if (header->version != ARENA_VERSION || arena_metadata_size(header->capacity) > metadata_size ||
        (capacity != 0 && (header->capacity != capacity || header->block_count != block_count)))
        return false;
    arena->header = header;
    arena->slots = (struct slot *)(void *)((uint8_t *)metadata + sizeof *header);
    arena->clients = arena_clients(metadata, header->capacity);
    arena->change = secrets;
    if (secrets != NULL) {
        uint8_t *upstream = (uint8_t *)secrets + arena_client_secrets_size(header->capacity);
        arena->secrets = (struct slot_secrets *)(arena->change + 1);
        arena->upstream_secrets = (struct slot_upstream_secrets *)(void *)upstream;
    }
    arena->blocks = blocks;
    return true;
}

/* Not against an adversary, who could compute it, too: against a worker that wrote where it should
 * not. Two lanes, because each step waits for the multiplication before. */
static uint64_t mix_words(uint64_t seed, const void *words, size_t size)
{
    const uint8_t *at = words;
    uint64_t lanes[2] = {seed, ~seed}, word;

    for (size_t i = 0; i < size / sizeof word; i++) {
        memcpy(&word, at + i * sizeof word, sizeof word);
        lanes[i & 1] = (lanes[i & 1] ^ word) * 0x9e3779b97f4a7c15ull;
        lanes[i & 1] ^= lanes[i & 1] >> 32;
    }
    return hash_mix(lanes[0] ^ (lanes[1] << 1 | lanes[1] >> 63));
}

_Static_assert(offsetof(struct slot_hot, checksum) % 4 == 0 && sizeof(struct slot_hot) % 8 == 0 &&
                   offsetof(struct slot_hot, checksum) == sizeof(struct slot_hot) - 4,
               "the checksum ends the hot part");
_Static_assert(sizeof(struct leg) % 8 == 0, "a leg is summed in words");

/* Over the bytes as they stand in memory, padding included. */
static uint32_t checksum(const struct slot *slot, const struct slot_hot *hot,
                         const struct leg *upstream)
{
    uint32_t tail; /* what is left of whole words */
    size_t words = offsetof(struct slot_hot, upstream_tls);

    memcpy(&tail, (const uint8_t *)hot + words, sizeof tail);
    uint64_t sum = mix_words(hash_mix(slot->serial ^ (uint64_t)tail << 32), hot, words);

    if (upstream != NULL)
        sum = mix_words(sum, upstream, sizeof *upstream);
    return (uint32_t)(sum >> 32);
}

/* The compiler may not move the copy behind the flip, nor a killed worker's half-written copy
 * become valid. */
static void commit(struct slot *slot, const struct slot_hot *next, struct leg *upstream_place,
                   const struct leg *upstream)
{
    uint8_t spare = (slot->current ^ 1) & 1;
    struct slot_hot *hot = &slot->hot[spare];

    *hot = *next;
    hot->upstream_tls = upstream != NULL;
    if (upstream != NULL)
        *upstream_place = *upstream;
    hot->checksum = checksum(slot, hot, upstream_place);
    __atomic_store_n(&slot->current, spare, __ATOMIC_RELEASE);
}

void slot_commit(struct slot *slot, const struct slot_hot *next)
{
    commit(slot, next, NULL, NULL);
}

void slot_commit_upstream(struct slot *slot, const struct slot_hot *next,
                          struct slot_upstream_secrets *secrets, const struct leg *upstream)
{
    commit(slot, next, &secrets->leg[(slot->current ^ 1) & 1], upstream);
}

bool slot_settled(const struct slot *slot, const struct slot_upstream_secrets *secrets)
{
    const struct slot_hot *hot = slot_hot(slot);

    return !leg_unsettled(&hot->client) &&
           (!hot->upstream_tls || !leg_unsettled(&secrets->leg[slot->current & 1]));
}

void slot_settle(struct arena *arena, uint32_t index)
{
    struct slot *slot = &arena->slots[index];
    struct slot_upstream_secrets *secrets = &arena->upstream_secrets[index];
    struct slot_hot next = *slot_hot(slot);

    /* The old keys are needed until the commit before is done, those in bank 1 until this one is.
     */
    __atomic_signal_fence(__ATOMIC_SEQ_CST);
    leg_settle(&next.client, slot_client_keys(arena, index));
    if (next.upstream_tls) {
        struct leg upstream = secrets->leg[slot->current & 1];
        leg_settle(&upstream, slot_upstream_keys(arena, index));
        slot_commit_upstream(slot, &next, secrets, &upstream);
    } else {
        slot_commit(slot, &next);
    }
    __atomic_signal_fence(__ATOMIC_SEQ_CST);
    secret_wipe(arena->change, sizeof *arena->change);
}

void slot_settle_left(struct arena *arena, uint32_t in_hand)
{
    if (in_hand < arena->header->capacity) {
        const struct slot *slot = &arena->slots[in_hand];
        const struct slot_upstream_secrets *secrets = &arena->upstream_secrets[in_hand];
        if (slot_intact(slot, secrets) && !slot_settled(slot, secrets))
            slot_settle(arena, in_hand);
    }
    secret_wipe(arena->change, sizeof *arena->change);
}

bool slot_intact(const struct slot *slot, const struct slot_upstream_secrets *secrets)
{
    const struct slot_hot *hot = slot_hot(slot);
    const struct leg *upstream = hot->upstream_tls == 1 ? &secrets->leg[slot->current & 1] : NULL;

    return hot->upstream_tls <= 1 && slot->current <= 1 &&
           hot->checksum == checksum(slot, hot, upstream);
}

/* ---- clients with a certificate ---- */

void slot_set_client(struct arena *arena, uint32_t index, const struct client_identity *identity)
{
    struct slot_client *client = &arena->clients[index];

    __atomic_store_n(&client->serial, 0, __ATOMIC_RELEASE);
    __atomic_thread_fence(__ATOMIC_RELEASE);
    client->identity = *identity;
    __atomic_store_n(&client->serial, arena->slots[index].serial, __ATOMIC_RELEASE);
}

bool slot_client(const struct arena *arena, uint32_t index, uint64_t serial,
                 struct client_identity *ret_identity)
{
    const struct slot_client *client = &arena->clients[index];

    if (__atomic_load_n(&client->serial, __ATOMIC_ACQUIRE) != serial)
        return false;
    memcpy(ret_identity, &client->identity, sizeof *ret_identity);
    __atomic_thread_fence(__ATOMIC_ACQUIRE);
    return __atomic_load_n(&client->serial, __ATOMIC_RELAXED) == serial &&
           ret_identity->chain_count > 0 && ret_identity->chain_count <= CLIENT_CHAIN_MAX;
}

/* ---- leaving in order ---- */

#define REST_MAGIC 0x7265737420686f6cull

_Static_assert(sizeof(struct slot_rest) <= sizeof(struct slot_hot), "it lies in a copy");

void slot_leave_rest(struct slot *slot, const struct slot_rest *rest)
{
    struct slot_rest left = *rest;

    left.magic = REST_MAGIC;
    left.serial = slot->serial;
    left.checksum = mix_words(REST_MAGIC, &left, offsetof(struct slot_rest, checksum));
    memcpy(&slot->hot[(slot->current ^ 1) & 1], &left, sizeof left);
}

bool slot_rest(const struct slot *slot, struct slot_rest *ret_rest)
{
    struct slot_rest left;

    memcpy(&left, &slot->hot[(slot->current ^ 1) & 1], sizeof left);
    if (left.magic != REST_MAGIC || left.serial != slot->serial ||
        left.checksum != mix_words(REST_MAGIC, &left, offsetof(struct slot_rest, checksum)))
        return false;
    *ret_rest = left;
    return true;
}

/* ---- what changes with the connections only ---- */

static uint32_t note_of(const struct slot *slot)
{
    uint64_t streams[2];

    for (unsigned side = 0; side < 2; side++) /* those of a Unix socket change with every call */
        streams[side] =
            (slot->by_hand >> side & 1) != 0
                ? 0
                : (uint64_t)slot->streams[side].received << 32 | slot->streams[side].sent;
    const uint64_t words[] = {slot->serial, slot->client_cookie, slot->upstream_cookie,
                              streams[0],   streams[1],          slot->by_hand};
    return (uint32_t)(mix_words(ARENA_VERSION, words, sizeof words) >> 32);
}

void slot_note(struct slot *slot)
{
    slot->noted = note_of(slot);
}

bool slot_noted(const struct slot *slot)
{
    return slot->noted == note_of(slot);
}

void slot_wipe(struct arena *arena, uint32_t index)
{
    if (arena->slots[index].generation.trust != 0) /* else it takes no memory, and shall not */
        memset(&arena->clients[index], 0, sizeof arena->clients[index]);
    memset(&arena->slots[index], 0, sizeof arena->slots[index]);
    secret_wipe(&arena->secrets[index], sizeof arena->secrets[index]);
    secret_wipe(&arena->upstream_secrets[index], sizeof arena->upstream_secrets[index]);
}
