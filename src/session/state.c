#include "session/state.h"

const struct session_state_facts session_states[SESSION_STATE_COUNT] = {
    [SESSION_FREE] = {"free", "nothing", false},
    [SESSION_CONNECTING] = {"connecting", "the upstream server to accept", false},
    [SESSION_ENCRYPTING] = {"encrypting", "the TLS handshake with the upstream server", false},
    [SESSION_OPEN] = {"open", "data from either side", true},
    [SESSION_HALF_CLOSED] = {"half-closed", "data from the side that is still open", true},
    [SESSION_CLOSING] = {"closing", "the client to take the last bytes", false},
};

const char *session_end_name(enum session_end end)
{
    static const char *const names[] = {
#define X(symbol, name, failure) [symbol] = name,
        SESSION_END_LIST(X)
#undef X
    };
    return (unsigned)end < SESSION_END_COUNT ? names[end] : "unknown";
}
