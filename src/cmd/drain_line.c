#include "cmd/drain_line.h"

#include <inttypes.h>
#include <string.h>

#include "admin/control_client.h"

void drain_print(const json_t *drain)
{
    const char *state = client_text(drain, "state"), *listener = client_text(drain, "listener");
    uint64_t sessions = client_number(drain, "sessions");

    printf("%s%s: ", listener[0] != '\0' ? "listener " : "all listeners", listener);
    if (strcmp(state, "none") == 0)
        printf("%s, %" PRIu64 " sessions",
               client_flag(drain, "accepting") ? "accepting" : "still drained with the house",
               sessions);
    else if (strcmp(state, "drained") == 0)
        fputs("drained, nobody is left", stdout);
    else
        printf("%s, %" PRIu64 " sessions and %" PRIu64 " handshakes left, until %s",
               strcmp(state, "notice") == 0 ? "still accepting" : "draining", sessions,
               client_number(drain, "handshakes"), client_text(drain, "deadline"));
}
