#include "admin/ledger.h"

#include <string.h>

#include "admin/rejudge.h"
#include "admin/sessions.h"
#include "vault/vault.h"

static const char *const names[SUPERSEDED_COUNT] = {
#define X(symbol, name) [symbol] = (name),
    SUPERSEDED_LIST(X)
#undef X
};

const char *superseded_name(enum superseded kind)
{
    return (unsigned)kind < SUPERSEDED_COUNT ? names[kind] : "unknown";
}

uint32_t superseded_bit(const char *name)
{
    for (unsigned i = 0; i < SUPERSEDED_COUNT; i++) {
        if (strcmp(names[i], name) == 0)
            return 1u << i;
    }
    return 0;
}

bool ledger_knows(const struct admin_view *view, enum superseded kind)
{
    return kind != SUPERSEDED_CERTIFICATE || (view->vault != NULL && vault_complete(view->vault));
}

static bool certificate_superseded(const struct admin_view *view, const struct slot *slot)
{
    char server_name[SLOT_NAME_MAX];

    if (slot->certificate == CONF_NONE || slot->key_type >= KEY_TYPE_COUNT ||
        !ledger_knows(view, SUPERSEDED_CERTIFICATE))
        return false;
    memcpy(server_name, slot->server_name, sizeof server_name);
    server_name[sizeof server_name - 1] = '\0';
    return !vault_serves(view->vault, slot->certificate, (enum key_type)slot->key_type,
                         slot->generation.certificate_version, server_name);
}

static bool older(uint32_t generation, const uint32_t *in_force)
{
    return generation < __atomic_load_n(in_force, __ATOMIC_RELAXED);
}

uint32_t ledger_judge(const struct admin_view *view, unsigned relay, uint32_t index,
                      const struct slot *slot)
{
    struct client_identity identity;
    const struct slot_generations *generation = &slot->generation;
    const struct leg *client = &slot_hot(slot)->client;
    const struct board *board = view->board;
    uint32_t kinds = 0;

    if (certificate_superseded(view, slot))
        kinds |= 1u << SUPERSEDED_CERTIFICATE;
    if (older(generation->config, &board->config_generation))
        kinds |= 1u << SUPERSEDED_CONFIG;
    if (older(generation->binary, &board->binary_generation))
        kinds |= 1u << SUPERSEDED_BINARY;
    if (generation->ticket_key != 0 && older(generation->ticket_key, &board->ticket_key_generation))
        kinds |= 1u << SUPERSEDED_TICKET_KEY;
    if (client->suite != 0 &&
        (client->update_asked || client->update_owed || client->renewal_wanted))
        kinds |= 1u << SUPERSEDED_TRAFFIC_KEY;
    if (rejudge_verdict(view, relay, index, slot, &identity) != TRUST_ACCEPTED)
        kinds |= 1u << SUPERSEDED_CA;
    return kinds;
}

static void add(struct ledger_entry *entry, uint64_t age_ns)
{
    entry->sessions++;
    if (age_ns > entry->oldest_ns)
        entry->oldest_ns = age_ns;
}

void ledger_take(const struct admin_view *view, uint64_t now_ns, struct ledger *ret_ledger)
{
    struct slot slot;

    memset(ret_ledger, 0, sizeof *ret_ledger);
    for (unsigned relay = 0; relay < view->workers; relay++) {
        for (uint32_t i = 0; i < session_slots(view, relay); i++) {
            if (!session_read(&view->arenas[relay], i, &slot))
                continue;
            uint32_t kinds = ledger_judge(view, relay, i, &slot);
            uint64_t age = now_ns > slot.accepted_ns ? now_ns - slot.accepted_ns : 0;
            for (unsigned kind = 0; kinds >> kind != 0; kind++) {
                if ((kinds >> kind & 1) == 0)
                    continue;
                add(&ret_ledger->sums[kind], age);
                if (slot.listener < BOARD_LISTENERS_MAX)
                    add(&ret_ledger->entries[kind][slot.listener], age);
            }
        }
    }
}
