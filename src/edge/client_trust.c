#include "edge/client_trust.h"

#include <string.h>

static void replace(struct trust_set **place, struct trust_set *set)
{
    trust_set_unref(*place);
    *place = set;
}

int client_trust_take(struct client_trust *trust, const struct worker *worker,
                      const struct message_client_trust *body, const char *document, size_t size,
                      bool *ret_changed, struct error *error)
{
    bool coming = worker->next_conf != NULL && body->config == worker->next_config.generation;
    struct trust_set *set = NULL;

    *ret_changed = false;
    if (body->listener >= CONF_LISTENERS_MAX ||
        (!coming && body->config != worker->setup.config_generation))
        return 0;
    if (document != NULL) {
        int result = trust_set_import(&set, (const uint8_t *)document, size, error);
        if (result != 0)
            return result;
    }
    *ret_changed = !coming;
    replace(coming ? &trust->next[body->listener] : &trust->sets[body->listener], set);
    return 0;
}

/* Sets of one number judge alike, but may differ in when their lists and CAs end. */
void client_trust_swap(struct client_trust *trust, bool ret_changed[CONF_LISTENERS_MAX])
{
    for (unsigned i = 0; i < CONF_LISTENERS_MAX; i++) {
        ret_changed[i] = trust->sets[i] != NULL || trust->next[i] != NULL;
        replace(&trust->sets[i], trust->next[i]);
        trust->next[i] = NULL;
    }
}

void client_trust_fini(struct client_trust *trust)
{
    for (unsigned i = 0; i < CONF_LISTENERS_MAX; i++) {
        replace(&trust->sets[i], NULL);
        replace(&trust->next[i], NULL);
    }
}
