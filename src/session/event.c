#include "session/event.h"

static const struct {
    const char *name;
    bool rare;
} events[EVENT_TYPE_COUNT] = {
#define X(symbol, text, is_rare) [symbol] = {text, is_rare},
    EVENT_LIST(X)
#undef X
};

const char *event_name(enum event_type type)
{
    return (unsigned)type < EVENT_TYPE_COUNT ? events[type].name : "unknown";
}

bool event_is_rare(enum event_type type)
{
    return (unsigned)type < EVENT_TYPE_COUNT && events[type].rare;
}
