#include "admin/reload_plan.h"

#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "conf/merge.h"

static json_t *add_line(json_t *plan, const char *kind)
{
    json_t *line = json_object();

    json_set_text(line, "kind", kind);
    ignore(json_array_append(plan, line));
    json_decref(line); /* the array has it */
    return line;
}

static void note_difference(void *context, const struct conf_difference *difference)
{
    json_t *line = add_line(context, conf_kind_name(difference->kind));

    json_set_text(line, "name", difference->name);
    json_set_text(line, "change", conf_change_name(difference->change));
    json_set_text(line, "options", difference->options);
}

/* ---- sessions ---- */

struct tally {
    uint64_t kept, moved, drained;
};

static bool server_stays(const struct conf *next, const struct slot *slot)
{
    return slot->upstream < next->upstream_count &&
           conf_upstream_in_force(&next->upstreams[slot->upstream]) &&
           (slot->server >= next->upstreams[slot->upstream].server_count ||
            conf_server_in_force(&next->upstreams[slot->upstream].servers[slot->server]));
}

static void count_session(const struct conf *next, const struct slot *slot, struct tally *tallies)
{
    uint16_t listener = slot->listener;

    if (listener >= next->listener_count || listener >= BOARD_LISTENERS_MAX ||
        next->listeners[listener].name == NULL)
        return;
    struct tally *tally = &tallies[listener];
    if (conf_listener_in_force(&next->listeners[listener]) && server_stays(next, slot))
        tally->moved++;
    else if (next->listeners[listener].on_removal == CONF_ON_REMOVAL_DRAIN)
        tally->drained++;
    else
        tally->kept++;
}

static void count_sessions(const struct admin_view *view, const struct conf *next,
                           struct tally *tallies)
{
    for (unsigned i = 0; i < view->workers; i++) {
        const struct arena *arena = &view->arenas[i];
        uint32_t end = arena->header == NULL
                           ? 0
                           : __atomic_load_n(&arena->header->high_water, __ATOMIC_RELAXED);
        for (uint32_t j = 0; j < end && j < view->slot_capacity; j++) {
            if (__atomic_load_n(&arena->slots[j].state, __ATOMIC_RELAXED) != SESSION_FREE)
                count_session(next, &arena->slots[j], tallies);
        }
    }
}

static bool add_sessions(const struct admin_view *view, const struct conf *next, json_t *plan)
{
    struct tally *tallies = calloc(BOARD_LISTENERS_MAX, sizeof *tallies);

    if (tallies == NULL)
        return false;
    count_sessions(view, next, tallies);
    for (size_t i = 0; i < next->listener_count && i < BOARD_LISTENERS_MAX; i++) {
        if (next->listeners[i].name == NULL ||
            tallies[i].kept + tallies[i].moved + tallies[i].drained == 0)
            continue;
        json_t *line = add_line(plan, "sessions");
        json_set_text(line, "listener", next->listeners[i].name);
        json_set_number(line, "kept", tallies[i].kept);
        json_set_number(line, "moved", tallies[i].moved);
        json_set_number(line, "drained", tallies[i].drained);
    }
    free(tallies);
    return true;
}

/* ---- resumption ---- */

/* The session-id context is made of these (edge/certificates.c: scope_of). */
static const char *context_change(const struct conf_listener *before,
                                  const struct conf_listener *after)
{
    return before->unknown_name != after->unknown_name ? "strict-sni" : NULL;
}

static void add_resumption(const struct conf *before, const struct conf *after, json_t *plan)
{
    for (size_t i = 0; i < before->listener_count && i < after->listener_count; i++) {
        const struct conf_listener *old = &before->listeners[i], *new = &after->listeners[i];
        if (!conf_listener_in_force(old) || !conf_listener_in_force(new) ||
            old->mode != CONF_MODE_TCP || new->mode != CONF_MODE_TCP)
            continue;
        const char *changed = context_change(old, new);
        if (changed == NULL)
            continue;
        json_t *line = add_line(plan, "resumption");
        json_set_text(line, "listener", new->name);
        json_set_text(line, "effect", "tickets given so far no longer resume");
        json_set_text(line, "because", changed);
    }
}

json_t *reload_plan(const struct admin_view *view, const struct conf *next)
{
    json_t *plan = json_array();

    if (plan == NULL)
        return NULL;
    if (!conf_compare(view->conf, next, note_difference, plan) || !add_sessions(view, next, plan)) {
        json_decref(plan);
        return NULL;
    }
    add_resumption(view->conf, next, plan);
    return plan;
}
