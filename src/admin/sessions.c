#include "admin/sessions.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "admin/event_json.h"
#include "admin/ledger.h"
#include "base/clock.h"
#include "base/json.h"
#include "base/string.h"
#include "loop/socket_json.h"
#include "tls/certificate.h"

#define READ_TRIES 4

static int unknown(struct error *error, const char *what, const char *name)
{
    char shown[128];
    return error_set(error, ERROR_NOT_FOUND, "there is no %s \"%s\" in the configuration in force",
                     what, string_printable(shown, sizeof shown, name, strlen(name)));
}

static int parse_objects(struct session_filter *filter, const char *listener,
                         const char *certificate, const struct conf *conf, struct error *error)
{
    if (listener != NULL) {
        filter->listener = conf_find_listener(conf, listener);
        if (filter->listener == CONF_NONE)
            return unknown(error, "listener", listener);
    }
    if (certificate != NULL) {
        filter->certificate = conf_find_certificate(conf, certificate);
        if (filter->certificate == CONF_NONE)
            return unknown(error, "certificate", certificate);
    }
    return 0;
}

/* true: of any kind; a name: of this one. */
static int parse_superseded(uint32_t *ret_kinds, const json_t *value, struct error *error)
{
    const char *name = json_string_value(value);

    if (value == NULL || json_is_false(value)) {
        *ret_kinds = 0;
        return 0;
    }
    *ret_kinds = json_is_true(value) ? SUPERSEDED_ANY : name != NULL ? superseded_bit(name) : 0;
    return *ret_kinds != 0 ? 0
                           : error_set(error, ERROR_USAGE,
                                       "what sessions can be superseded in is certificate, config, "
                                       "binary, ticket-key, traffic-key or ca");
}

int session_filter_parse(struct session_filter *ret_filter, const json_t *request,
                         const struct conf *conf, struct error *error)
{
    struct session_filter filter = {.listener = CONF_NONE, .certificate = CONF_NONE};
    bool wrong = false;

    const char *listener = json_get_text(request, "listener", &wrong);
    const char *certificate = json_get_text(request, "certificate", &wrong);
    const char *client = json_get_text(request, "client", &wrong);
    const char *server_name = json_get_text(request, "sni", &wrong);
    uint64_t version = json_get_number(request, "certificate_version", 0, &wrong);
    uint64_t older = json_get_number(request, "older_ms", 0, &wrong);
    uint64_t younger = json_get_number(request, "younger_ms", 0, &wrong);
    filter.limit = json_get_number(request, "limit", 0, &wrong);
    if (wrong || version > UINT32_MAX || older > UINT64_MAX / NS_PER_MS ||
        younger > UINT64_MAX / NS_PER_MS)
        return error_set(error, ERROR_USAGE, "a filter has the wrong type or is out of range");
    filter.certificate_version = (uint32_t)version;
    filter.older_ns = older * NS_PER_MS;
    filter.younger_ns = younger * NS_PER_MS;
    if (server_name != NULL) {
        if (!string_copy(filter.server_name, sizeof filter.server_name, server_name))
            return error_set(error, ERROR_USAGE, "the server name is longer than %zu bytes",
                             sizeof filter.server_name - 1);
        string_lower(filter.server_name);
    }
    if (client != NULL) {
        int result = network_parse(&filter.client, client, error);
        if (result < 0)
            return result;
        filter.by_client = true;
    }
    int result = parse_objects(&filter, listener, certificate, conf, error);
    if (result == 0)
        result =
            parse_superseded(&filter.superseded, json_object_get(request, "superseded"), error);
    if (result == 0)
        *ret_filter = filter;
    return result;
}

bool session_read(const struct arena *arena, uint32_t index, struct slot *ret_slot)
{
    const struct slot *slot = &arena->slots[index];

    for (int attempt = 0; attempt < READ_TRIES; attempt++) {
        uint64_t before = __atomic_load_n(&slot->serial, __ATOMIC_ACQUIRE);
        if (before == 0 || __atomic_load_n(&slot->state, __ATOMIC_RELAXED) == SESSION_FREE)
            return false;
        memcpy(ret_slot, slot, sizeof *ret_slot);
        __atomic_thread_fence(__ATOMIC_ACQUIRE);
        if (__atomic_load_n(&slot->serial, __ATOMIC_RELAXED) == before &&
            ret_slot->serial == before &&
            __atomic_load_n(&slot->current, __ATOMIC_RELAXED) == ret_slot->current)
            return ret_slot->state != SESSION_FREE && ret_slot->state < SESSION_STATE_COUNT;
    }
    /* A session so busy that its hot part changes all the time: its identity is settled, its
     * counters are approximate. */
    return ret_slot->state != SESSION_FREE && ret_slot->state < SESSION_STATE_COUNT &&
           __atomic_load_n(&slot->serial, __ATOMIC_RELAXED) == ret_slot->serial;
}

static bool name_matches(const char *wanted, const char *name)
{
    const char *dot;

    if (strncmp(wanted, "*.", 2) != 0)
        return strcmp(wanted, name) == 0;
    dot = strchr(name, '.');
    return dot != NULL && dot != name && strcmp(dot, wanted + 1) == 0;
}

static bool passes(const struct session_filter *filter, const struct slot *slot, uint64_t now_ns)
{
    uint64_t age = now_ns > slot->accepted_ns ? now_ns - slot->accepted_ns : 0;
    char server_name[SLOT_NAME_MAX];

    if (filter->listener != CONF_NONE && slot->listener != filter->listener)
        return false;
    if (filter->certificate != CONF_NONE && slot->certificate != filter->certificate)
        return false;
    if (filter->certificate_version != 0 &&
        slot->generation.certificate_version != filter->certificate_version)
        return false;
    if (age < filter->older_ns || (filter->younger_ns != 0 && age > filter->younger_ns))
        return false;
    if (filter->by_client && !network_contains(&filter->client, slot->client_address))
        return false;
    if (filter->server_name[0] == '\0')
        return true;
    memcpy(server_name, slot->server_name, sizeof server_name);
    server_name[sizeof server_name - 1] = '\0';
    return name_matches(filter->server_name, server_name);
}

/* What the slot of an attached session does not say; nothing once it has ended. */
static uint16_t set_attached(json_t *object, const struct board *board, const struct slot *slot)
{
    struct board_attached attached;

    if (!board_attached_read(board, slot->attached, slot_attached_serial(slot), &attached))
        return 0;
    json_set_text(object, "attached", attached_reason_name((enum attached_reason)attached.reason));
    return attached.suite;
}

static void set_tls(json_t *object, const struct board *board, const struct slot *slot,
                    const struct leg *leg)
{
    char number[VIEW_NUMBER_MAX];
    uint16_t suite =
        (slot->flags & SLOT_ATTACHED) != 0 ? set_attached(object, board, slot) : leg->suite;

    json_set_field(object, "sni", slot->server_name, sizeof slot->server_name);
    if ((slot->flags & SLOT_PASS_THROUGH) != 0) {
        json_set_flag(object, "pass_through", true);
        return;
    }
    json_set_text(object, "version", view_version_name(leg->version, number));
    json_set_text(object, "suite", view_suite_name(leg->version, suite, number));
    json_set_text(object, "group", view_group_name(slot->group, number));
    json_set_field(object, "alpn", slot->alpn, sizeof slot->alpn);
    json_set_flag(object, "resumed", (slot->flags & SLOT_RESUMED) != 0);
}

static void set_generations(json_t *object, const struct slot *slot)
{
    const struct slot_generations *generation = &slot->generation;
    json_t *generations = json_object();

    if (generations == NULL)
        return;
    json_set_number(generations, "config", generation->config);
    json_set_number(generations, "binary", generation->binary);
    json_set_number(generations, "trust", generation->trust);
    json_set_number(generations, "ticket_key", generation->ticket_key);
    ignore(json_object_set_new(object, "generations", generations));
}

static void set_superseded(json_t *object, uint32_t kinds)
{
    json_t *list = json_array();

    for (unsigned kind = 0; kind < SUPERSEDED_COUNT; kind++) {
        if ((kinds >> kind & 1) != 0)
            ignore(json_array_append_new(list, json_name(superseded_name((enum superseded)kind))));
    }
    ignore(json_object_set_new(object, "superseded", list));
}

static void set_client(json_t *object, const struct arena *arena, uint32_t index,
                       const struct slot *slot)
{
    struct client_identity identity;
    char hex[2 * sizeof identity.fingerprint + 1];
    json_t *client = json_object();

    if (slot->generation.trust == 0 || !slot_client(arena, index, slot->serial, &identity)) {
        json_decref(client);
        return;
    }
    json_set_field(client, "subject", identity.subject, sizeof identity.subject);
    string_hex(hex, identity.fingerprint, sizeof identity.fingerprint);
    json_set_text(client, "fingerprint", hex);
    if (identity.serial_size <= sizeof identity.serial) {
        string_hex(hex, identity.serial, identity.serial_size);
        json_set_text(client, "serial", hex);
    }
    json_set_time(client, "not_after", identity.not_after);
    ignore(json_object_set_new(object, "client_certificate", client));
}

static json_t *to_json(const struct admin_view *view, unsigned relay, uint32_t index,
                       const struct slot *slot, uint32_t superseded, uint64_t now_ns)
{
    char id[SESSION_ID_TEXT_MAX];
    json_t *object = json_object();
    const struct slot_hot *hot = slot_hot(slot);
    uint64_t now_s = now_ns / NS_PER_S;

    if (object == NULL)
        return NULL;
    json_set_text(object, "id", session_id_text(id, relay, slot->serial));
    json_set_text(object, "state", session_states[slot->state].name);
    json_set_number(object, "age_ms",
                    now_ns > slot->accepted_ns ? (now_ns - slot->accepted_ns) / NS_PER_MS : 0);
    json_set_number(object, "idle_s", now_s > slot->active_s ? now_s - slot->active_s : 0);
    json_set_text(object, "listener", view_listener_name(view->conf, slot->listener));
    json_set_address(object, "client", slot->client_address, slot->client_port);
    set_tls(object, view->board, slot, &hot->client);
    json_set_text(object, "upstream", view_upstream_name(view->conf, slot->upstream));
    json_set_text(object, "server", view_server_name(view->conf, slot->upstream, slot->server));
    json_set_address(object, "upstream_address", slot->upstream_address, slot->upstream_port);
    json_set_flag(object, "upstream_tls", (slot->flags & SLOT_UPSTREAM_TLS) != 0);
    json_set_number(object, "bytes_in", hot->flows[FLOW_UP].read_position);
    json_set_number(object, "bytes_out", hot->flows[FLOW_DOWN].write_position);
    if (slot->certificate != CONF_NONE) {
        json_set_text(object, "certificate", view_certificate_name(view->conf, slot->certificate));
        json_set_number(object, "certificate_version", slot->generation.certificate_version);
        if (slot->key_type < KEY_TYPE_COUNT)
            json_set_text(object, "key_type", key_type_name((enum key_type)slot->key_type));
    }
    set_client(object, &view->arenas[relay], index, slot);
    set_generations(object, slot);
    set_superseded(object, superseded);
    return object;
}

/* The relay writes the header; the size of the mapping is what the supervisor said. */
uint32_t session_slots(const struct admin_view *view, unsigned relay)
{
    const struct arena *arena = &view->arenas[relay];

    if (arena->header == NULL ||
        __atomic_load_n(&arena->header->version, __ATOMIC_ACQUIRE) != ARENA_VERSION)
        return 0;
    uint32_t high_water = __atomic_load_n(&arena->header->high_water, __ATOMIC_RELAXED);
    return high_water < view->slot_capacity ? high_water : view->slot_capacity;
}

bool session_seek(const struct admin_view *view, const struct session_filter *filter,
                  struct session_cursor *cursor, uint64_t now_ns, size_t maximum,
                  struct session_found *ret_found, bool *ret_end)
{
    struct slot *slot = &ret_found->slot;

    *ret_end = false;
    while (cursor->relay < view->workers && (filter->limit == 0 || cursor->given < filter->limit)) {
        const struct arena *arena = &view->arenas[cursor->relay];
        if (cursor->slot >= session_slots(view, cursor->relay)) {
            cursor->relay++;
            cursor->slot = 0;
            continue;
        }
        if (maximum-- == 0)
            return false;
        ret_found->relay = cursor->relay;
        ret_found->index = cursor->slot++;
        if (!session_read(arena, ret_found->index, slot) || !passes(filter, slot, now_ns))
            continue;
        ret_found->superseded = ledger_judge(view, ret_found->relay, ret_found->index, slot);
        if (filter->superseded != 0 && (filter->superseded & ret_found->superseded) == 0)
            continue;
        cursor->given++;
        return true;
    }
    *ret_end = true;
    return false;
}

json_t *session_next(const struct admin_view *view, const struct session_filter *filter,
                     struct session_cursor *cursor, uint64_t now_ns, size_t maximum, bool *ret_end)
{
    struct session_found found;

    if (!session_seek(view, filter, cursor, now_ns, maximum, &found, ret_end))
        return NULL;
    return to_json(view, found.relay, found.index, &found.slot, found.superseded, now_ns);
}

int session_find(const struct admin_view *view, const char *id, unsigned *ret_relay,
                 uint32_t *ret_slot, uint64_t *ret_serial, struct error *error)
{
    char *end, again[SESSION_ID_TEXT_MAX];
    struct slot slot;

    unsigned long relay = strtoul(id, &end, 10);
    uint64_t serial = *end == '-' ? strtoull(end + 1, NULL, 10) : 0;
    if (relay >= BOARD_WORKERS_MAX || serial == 0 ||
        strcmp(session_id_text(again, (unsigned)relay, serial), id) != 0)
        return error_set(error, ERROR_USAGE,
                         "a session is named RELAY-SERIAL, as `holdfast sessions` shows it");
    for (uint32_t i = 0; relay < view->workers && i < session_slots(view, (unsigned)relay); i++) {
        if (session_read(&view->arenas[relay], i, &slot) && slot.serial == serial) {
            *ret_relay = (unsigned)relay;
            *ret_slot = i;
            *ret_serial = serial;
            return 0;
        }
    }
    return error_set(error, ERROR_NOT_FOUND, "there is no session %s; it may have ended", again);
}
