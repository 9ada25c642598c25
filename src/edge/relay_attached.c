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
    tell_attached(relay, index, ATTACHED_SERVER_CLOSED);
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

void session_renew_attached(struct relay *relay, uint32_t index)
{
    tell_attached(relay, index, ATTACHED_RENEWAL);
}
