/* What a relay and the handshaker that carries the client of a session tell each other on the board
 * (edge/attached.h). For the sessions that have left OpenSSL there is nothing to tell. */
#include "edge/relay.h"

static void tell_attached(struct relay *relay, uint32_t index, enum attached_word word)
{
    const struct slot *slot = &relay->arena.slots[index];

    if ((slot->flags & SLOT_ATTACHED) != 0)
        board_attached_say(relay->worker.board, slot->attached, slot_attached_serial(slot), word);
}

void session_let_go(struct relay *relay, uint32_t index)
{
    tell_attached(relay, index, ATTACHED_LET_GO);
}

void session_end_client(struct relay *relay, uint32_t index)
{
    static const struct {
        enum session_end end;
        enum attached_word word;
    } reasons[] = {
        {SESSION_END_CLIENT_REVOKED, ATTACHED_CERTIFICATE_REVOKED},
        {SESSION_END_CLIENT_EXPIRED, ATTACHED_CERTIFICATE_EXPIRED},
        {SESSION_END_CLIENT_UNTRUSTED, ATTACHED_CERTIFICATE_UNTRUSTED},
    };

    for (size_t i = 0; i < ARRAY_SIZE(reasons); i++) {
        if (relay->arena.slots[index].end == reasons[i].end)
            tell_attached(relay, index, reasons[i].word);
    }
    tell_attached(relay, index, ATTACHED_SERVER_CLOSED);
}

void session_tell_home(struct relay *relay, uint32_t index)
{
    const struct slot *slot = &relay->arena.slots[index];
    const struct attached_home home = {
        .relay = relay->worker.setup.index, .slot = index, .session = session_id(relay, index)};

    if ((slot->flags & SLOT_ATTACHED) != 0)
        board_attached_set_home(relay->worker.board, slot->attached, slot_attached_serial(slot),
                                &home);
}

/* The generation comes first: by it slot_wipe() knows that there is a client to be wiped. */
void session_take_identity(struct relay *relay, const struct message_identity *body)
{
    struct slot *slot;

    if (body->slot >= relay->arena.header->capacity || !relay->sessions[body->slot].in_use ||
        body->identity.chain_count == 0 || body->identity.chain_count > CLIENT_CHAIN_MAX)
        return;
    slot = &relay->arena.slots[body->slot];
    if ((slot->flags & SLOT_ATTACHED) == 0 || slot_attached_serial(slot) != body->attached_serial)
        return;
    __atomic_store_n(&slot->generation.trust, body->trust, __ATOMIC_RELEASE);
    slot_set_client(&relay->arena, body->slot, &body->identity);
    tell_attached(relay, body->slot, ATTACHED_IDENTIFIED);
}

enum session_end session_attached_end(struct relay *relay, uint32_t index)
{
    static const struct {
        enum attached_word word;
        enum session_end end;
    } ends[] = {
        {ATTACHED_CLIENT_CLOSED, SESSION_END_NONE},
        {ATTACHED_RETIRED, SESSION_END_DRAINED},
        {ATTACHED_KEY_LIMIT, SESSION_END_KEY_LIMIT},
        {ATTACHED_CLIENT_TRUNCATED, SESSION_END_TRUNCATED},
        {ATTACHED_CLIENT_RESET, SESSION_END_CLIENT_RESET},
        {ATTACHED_CLIENT_FAULT, SESSION_END_CLIENT_PROTOCOL},
        {ATTACHED_RENEGOTIATION_FAILED, SESSION_END_RENEGOTIATION},
        {ATTACHED_AUTHENTICATION_FAILED, SESSION_END_AUTHENTICATION},
    };
    const struct slot *slot = &relay->arena.slots[index];
    unsigned said =
        board_attached_said(relay->worker.board, slot->attached, slot_attached_serial(slot));

    for (size_t i = 0; i < ARRAY_SIZE(ends); i++) {
        if ((said & ends[i].word) != 0)
            return ends[i].end;
    }
    return SESSION_END_LOST_HANDSHAKER;
}

enum session_end session_broken_end(struct relay *relay, uint32_t index)
{
    enum session_end end = (relay->arena.slots[index].flags & SLOT_ATTACHED) != 0
                               ? session_attached_end(relay, index)
                               : SESSION_END_NONE;

    return end == SESSION_END_NONE ? SESSION_END_CLIENT_RESET : end;
}

void session_renew_attached(struct relay *relay, uint32_t index)
{
    tell_attached(relay, index, ATTACHED_RENEWAL);
}
