#include "admin/tickets.h"

#include <inttypes.h>
#include <string.h>

#include "base/json.h"

static const char *storage_name(enum ticket_storage storage)
{
    static const char *const names[] = {[TICKETS_IN_MEMORY] = "memory",
                                        [TICKETS_STORED] = "file",
                                        [TICKETS_STORAGE_FAILED] = "failed"};
    return names[storage];
}

static uint64_t age_of_current(const struct ticket_keys *keys, int64_t wall_s)
{
    const struct ticket_key *current = &keys->keys[keys->current];

    return (uint64_t)wall_s > current->since ? (uint64_t)wall_s - current->since : 0;
}

json_t *tickets_to_json(const struct admin_view *view, int64_t wall_s)
{
    const struct ticket_view *tickets = view->tickets;
    const struct conf *conf = view->conf;
    json_t *object = json_object();

    json_set_text(object, "storage", storage_name(tickets->storage));
    if (tickets->storage != TICKETS_IN_MEMORY)
        json_set_text(object, "file",
                      conf->ticket_keys_file != NULL ? conf->ticket_keys_file
                                                     : "ticket-keys in the state folder");
    if (tickets->storage == TICKETS_STORAGE_FAILED) {
        json_set_text(object, "storage_error", tickets->trouble);
        json_set_time(object, "storage_failed_since", (int64_t)tickets->failed_since_s);
    }
    json_set_number(object, "keys", tickets->keys->count);
    json_set_number(object, "current_age_s", age_of_current(tickets->keys, wall_s));
    json_set_number(object, "key_lifetime_s", conf->ticket_key_lifetime / 1000);
    json_set_number(object, "longest_ticket_s", conf_longest_ticket(conf) / 1000);
    return object;
}

json_t *ticket_key_to_json(const struct ticket_keys *keys, uint32_t index, int64_t wall_s)
{
    const struct ticket_key *key = &keys->keys[index];
    char id[TICKET_ID_MAX];
    json_t *object = json_object();

    json_set_text(object, "id", ticket_key_id(key, id));
    json_set_text(object, "role", ticket_key_role(keys, index));
    json_set_time(object, "not_before", (int64_t)key->not_before);
    json_set_time(object, "since", (int64_t)key->since);
    json_set_time(object, "not_after", (int64_t)key->not_after);
    if (key->not_after > (uint64_t)wall_s)
        json_set_number(object, "opens_for_s", key->not_after - (uint64_t)wall_s);
    json_set_text(object, "cause", ticket_cause_name(key->cause));
    json_set_field(object, "node", key->node, sizeof key->node);
    return object;
}

void tickets_metrics(const struct admin_view *view, int64_t wall_s, struct buffer *output)
{
    const struct ticket_view *tickets = view->tickets;

    if (tickets == NULL || tickets->keys->count == 0)
        return;
    const struct ticket_keys *keys = tickets->keys;
    buffer_printf(output,
                  "# HELP holdfast_ticket_keys Ticket keys by role\n"
                  "# TYPE holdfast_ticket_keys gauge\n"
                  "holdfast_ticket_keys{role=\"previous\"} %u\n"
                  "holdfast_ticket_keys{role=\"current\"} 1\n"
                  "holdfast_ticket_keys{role=\"next\"} %u\n",
                  keys->current, keys->count - keys->current - 1);
    buffer_printf(output,
                  "# HELP holdfast_ticket_key_age_seconds Age of the current ticket key\n"
                  "# TYPE holdfast_ticket_key_age_seconds gauge\n"
                  "holdfast_ticket_key_age_seconds %" PRIu64 "\n",
                  age_of_current(keys, wall_s));
    buffer_printf(output,
                  "# HELP holdfast_ticket_keys_storage_error Whether the ticket keys cannot be "
                  "stored just now\n"
                  "# TYPE holdfast_ticket_keys_storage_error gauge\n"
                  "holdfast_ticket_keys_storage_error %u\n",
                  tickets->storage == TICKETS_STORAGE_FAILED ? 1u : 0u);
}
