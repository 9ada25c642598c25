/* The traffic keys of an attached session. OpenSSL takes any number of KeyUpdates, and reads on
 * from one to the next: they are metered as in sessions that have left it (tls/leg.c). */
#include "edge/attached_internal.h"

#include "base/clock.h"

#define UPDATE_COST 512 /* bytes that could have been moved in the time that one takes */

void attached_keys_look(struct attached *it)
{
    uint32_t now = handshake_key_updates(it->handshake), more = now - it->updates;
    bool good = true;

    if (more == 0 || it->phase != ATTACHED_CARRYING)
        return;
    it->updates = now;
    it->moved += (size_t)more * UPDATE_COST;
    worker_count(&it->handshaker->worker, COUNTER_KEY_UPDATES_RECEIVED, more);
    for (; good && more != 0; more--)
        good = rate_take(&it->updates_ns, it->handshaker->now_ns, NS_PER_S / LEG_UPDATES_PER_S,
                         LEG_UPDATE_BURST);
    if (good)
        return;
    handshake_refuse(it->handshake);
    attached_part(it, ATTACHED_CLIENT_FAULT);
}
