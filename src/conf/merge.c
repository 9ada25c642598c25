#include "conf/merge.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "conf/list.h"
#include "conf/place.h"
#include "conf/schema.h"

#define TEXT_MAX            (64u << 20)
#define UPSTREAMS_MAX       CONF_SERVERS_MAX /* each has a server */
#define CERTIFICATES_SPARSE 4096u            /* beyond, holes are used before the array grows */

/* ---- a place for a new object ---- */

/* One of `taken[0 … count)` that is free: behind all used so far, up to `limit`, else the lowest
 * hole. CONF_NONE: there is none. */
static uint32_t free_place(bool *taken, uint32_t *count, uint32_t limit, uint32_t maximum)
{
    if (*count < limit) {
        taken[*count] = true;
        return (*count)++;
    }
    for (uint32_t i = 0; i < *count; i++) {
        if (!taken[i]) {
            taken[i] = true;
            return i;
        }
    }
    if (*count >= maximum)
        return CONF_NONE;
    taken[*count] = true;
    return (*count)++;
}

static int fail_places(struct error *error, const char *what, uint32_t maximum)
{
    return error_set(error, ERROR_LIMIT,
                     "there is room for %u %s, those removed but still in use included; try again "
                     "when their sessions have ended",
                     maximum, what);
}

struct merge {
    struct conf *next;
    const struct conf *current;
    const struct conf_usage *usage;
    bool *listener_kept, *upstream_kept, *certificate_kept; /* of current: becomes retired */
    bool *numbers;                                          /* taken */
    struct error *error;
};

/* ---- what is retired ---- */

static bool listener_used(const struct merge *merge, uint32_t index)
{
    const struct conf_listener *listener = &merge->current->listeners[index];

    return !listener->retired || merge->usage->listener(merge->usage->context, index);
}

static bool server_used(const struct merge *merge, const struct conf_server *server)
{
    return !server->retired || merge->usage->server(merge->usage->context, server->number);
}

static bool upstream_used(const struct merge *merge, const struct conf_upstream *upstream)
{
    for (size_t i = 0; i < upstream->server_count; i++) {
        const struct conf_server *server = &upstream->servers[i];
        if (server->name != NULL && merge->usage->server(merge->usage->context, server->number))
            return true;
    }
    return !upstream->retired;
}

/* A retired listener's last handshakes lead to its upstreams and need its certificates. */
static void keep_references(struct merge *merge, const struct conf_listener *listener)
{
    if (listener->upstream != CONF_NONE)
        merge->upstream_kept[listener->upstream] = true;
    for (size_t i = 0; i < listener->route_count; i++)
        merge->upstream_kept[listener->routes[i].upstream] = true;
    for (size_t i = 0; i < listener->certificate_count; i++)
        merge->certificate_kept[listener->certificates[i]] = true;
}

static void choose_retired(struct merge *merge)
{
    const struct conf *current = merge->current;

    for (uint32_t i = 0; i < current->listener_count; i++) {
        const struct conf_listener *listener = &current->listeners[i];
        merge->listener_kept[i] = listener->name != NULL &&
                                  conf_find_listener(merge->next, listener->name) == CONF_NONE &&
                                  listener_used(merge, i);
        if (merge->listener_kept[i])
            keep_references(merge, listener);
    }
    for (uint32_t i = 0; i < current->upstream_count; i++) {
        const struct conf_upstream *upstream = &current->upstreams[i];
        merge->upstream_kept[i] = upstream->name != NULL &&
                                  conf_find_upstream(merge->next, upstream->name) == CONF_NONE &&
                                  (merge->upstream_kept[i] || upstream_used(merge, upstream));
    }
    for (uint32_t i = 0; i < current->certificate_count; i++) {
        const struct conf_certificate *certificate = &current->certificates[i];
        merge->certificate_kept[i] =
            merge->certificate_kept[i] && certificate->name != NULL &&
            conf_find_certificate(merge->next, certificate->name) == CONF_NONE;
    }
}

/* ---- servers ---- */

static struct conf_server *find_server(const struct conf_upstream *upstream, const char *name)
{
    for (size_t i = 0; i < upstream->server_count; i++) {
        if (upstream->servers[i].name != NULL && strcmp(upstream->servers[i].name, name) == 0)
            return &upstream->servers[i];
    }
    return NULL;
}

static void take_numbers(struct merge *merge)
{
    for (size_t i = 0; i < merge->current->upstream_count; i++) {
        const struct conf_upstream *upstream = &merge->current->upstreams[i];
        for (size_t j = 0; j < upstream->server_count; j++) {
            if (upstream->servers[j].name != NULL)
                merge->numbers[upstream->servers[j].number] = true;
        }
    }
}

static int place_server(struct merge *merge, struct conf_upstream *upstream, bool *taken,
                        struct conf_server *server)
{
    server->place = free_place(taken, &upstream->server_places, CONF_SERVERS_MAX, CONF_SERVERS_MAX);
    server->number = free_place(merge->numbers, &merge->next->server_numbers, CONF_SERVERS_MAX,
                                CONF_SERVERS_MAX);
    return server->place == CONF_NONE || server->number == CONF_NONE
               ? fail_places(merge->error, "servers", CONF_SERVERS_MAX)
               : 0;
}

/* `before` NULL: the upstream is new. */
static int place_servers(struct merge *merge, struct conf_upstream *upstream,
                         const struct conf_upstream *before)
{
    bool taken[CONF_SERVERS_MAX + 1] = {false};
    int code = 0;

    upstream->server_places = before == NULL ? 0 : before->server_places;
    for (size_t i = 0; before != NULL && i < before->server_count; i++)
        taken[i] = before->servers[i].name != NULL;
    for (size_t i = 0; code == 0 && i < upstream->server_count; i++) {
        struct conf_server *server = &upstream->servers[i];
        const struct conf_server *same = before == NULL ? NULL : find_server(before, server->name);
        if (same == NULL) {
            code = place_server(merge, upstream, taken, server);
        } else {
            server->place = same->place;
            server->number = same->number;
        }
    }
    return code;
}

/* ---- objects ---- */

static int place_upstreams(struct merge *merge)
{
    const struct conf *current = merge->current;
    struct conf *next = merge->next;
    bool taken[UPSTREAMS_MAX + 1] = {false};
    int code = 0;

    next->upstream_places = current->upstream_places;
    for (size_t i = 0; i < current->upstream_count; i++)
        taken[i] = current->upstreams[i].name != NULL;
    for (size_t i = 0; code == 0 && i < next->upstream_count; i++) {
        struct conf_upstream *upstream = &next->upstreams[i];
        uint32_t same = conf_find_upstream(current, upstream->name);
        upstream->place = same != CONF_NONE ? same
                                            : free_place(taken, &next->upstream_places,
                                                         UPSTREAMS_MAX, UPSTREAMS_MAX);
        code = upstream->place == CONF_NONE
                   ? fail_places(merge->error, "upstreams", UPSTREAMS_MAX)
                   : place_servers(merge, upstream,
                                   same != CONF_NONE ? &current->upstreams[same] : NULL);
    }
    return code;
}

static int place_listeners(struct merge *merge)
{
    const struct conf *current = merge->current;
    struct conf *next = merge->next;
    bool taken[CONF_LISTENERS_MAX + 1] = {false};

    next->listener_places = current->listener_places;
    for (size_t i = 0; i < current->listener_count; i++)
        taken[i] = current->listeners[i].name != NULL;
    for (size_t i = 0; i < next->listener_count; i++) {
        struct conf_listener *listener = &next->listeners[i];
        listener->place = conf_find_listener(current, listener->name);
        if (listener->place == CONF_NONE)
            listener->place =
                free_place(taken, &next->listener_places, CONF_LISTENERS_MAX, CONF_LISTENERS_MAX);
        if (listener->place == CONF_NONE)
            return fail_places(merge->error, "listeners", CONF_LISTENERS_MAX);
    }
    return 0;
}

static int place_certificates(struct merge *merge)
{
    const struct conf *current = merge->current;
    struct conf *next = merge->next;
    bool *taken = calloc(current->certificate_count + next->certificate_count + 1, sizeof *taken);

    if (taken == NULL)
        return error_set(merge->error, ERROR_MEMORY, "out of memory");
    next->certificate_places = current->certificate_places;
    for (size_t i = 0; i < current->certificate_count; i++)
        taken[i] = current->certificates[i].name != NULL;
    for (size_t i = 0; i < next->certificate_count; i++) {
        struct conf_certificate *certificate = &next->certificates[i];
        certificate->place = conf_find_certificate(current, certificate->name);
        if (certificate->place == CONF_NONE)
            certificate->place =
                free_place(taken, &next->certificate_places, CERTIFICATES_SPARSE, CONF_PLACES_MAX);
    }
    free(taken);
    return 0;
}

/* ---- the merged text ---- */

static void show_retired_section(struct buffer *buffer, const struct conf *conf,
                                 const struct schema_section *schema, const char *name,
                                 const void *object)
{
    ignore(buffer_printf(buffer, "\n%s %s {\n", schema->kind, name));
    schema_show(buffer, conf, schema, object, "    ", true);
    ignore(buffer_append_text(buffer, "}\n"));
}

/* What `current` has and `next` has not; the structs are shallow copies, for the flag. */
static void show_retired(struct buffer *buffer, const struct merge *merge)
{
    const struct conf *current = merge->current;

    for (size_t i = 0; i < current->listener_count; i++) {
        struct conf_listener listener = current->listeners[i];
        listener.retired = true;
        if (merge->listener_kept[i])
            show_retired_section(buffer, current, &schema_listener, listener.name, &listener);
    }
    for (size_t i = 0; i < current->upstream_count; i++) {
        struct conf_upstream upstream = current->upstreams[i];
        upstream.retired = true;
        if (merge->upstream_kept[i])
            show_retired_section(buffer, current, &schema_upstream, upstream.name, &upstream);
    }
    for (size_t i = 0; i < current->certificate_count; i++) {
        struct conf_certificate certificate = current->certificates[i];
        certificate.retired = true;
        if (merge->certificate_kept[i])
            show_retired_section(buffer, current, &schema_certificate, certificate.name,
                                 &certificate);
    }
}

/* Servers that went from an upstream that stays. They are appended to it, retired. */
static int retire_servers(struct merge *merge)
{
    for (size_t i = 0; i < merge->next->upstream_count; i++) {
        struct conf_upstream *upstream = &merge->next->upstreams[i];
        uint32_t same = conf_find_upstream(merge->current, upstream->name);
        if (same == CONF_NONE)
            continue;
        const struct conf_upstream *before = &merge->current->upstreams[same];
        for (size_t j = 0; j < before->server_count; j++) {
            const struct conf_server *server = &before->servers[j];
            if (server->name == NULL || find_server(upstream, server->name) != NULL ||
                !server_used(merge, server))
                continue;
            struct conf_server *retired =
                list_append(&upstream->servers, &upstream->server_count, sizeof *retired);
            if (retired == NULL)
                return error_set(merge->error, ERROR_MEMORY, "out of memory");
            *retired = *server;
            retired->retired = true;
            retired->host = NULL; /* the text says it again */
            retired->name = strdup(server->name);
            if (retired->name == NULL)
                return error_set(merge->error, ERROR_MEMORY, "out of memory");
        }
    }
    return 0;
}

static int merged_text(const struct merge *merge, char **ret_text)
{
    struct buffer buffer;

    buffer_init(&buffer, TEXT_MAX);
    schema_show(&buffer, merge->next, &schema_global, merge->next, "", true);
    conf_show_objects(&buffer, merge->next, true);
    show_retired(&buffer, merge);
    *ret_text = buffer.failed ? NULL : strdup(buffer_text(&buffer));
    buffer_fini(&buffer);
    return *ret_text == NULL ? error_set(merge->error, ERROR_MEMORY, "out of memory") : 0;
}

static int merge_all(struct merge *merge, struct conf **ret_merged)
{
    char *text;
    int code;

    choose_retired(merge);
    take_numbers(merge);
    merge->next->server_numbers = merge->current->server_numbers;
    if ((code = place_upstreams(merge)) != 0 || (code = place_listeners(merge)) != 0 ||
        (code = place_certificates(merge)) != 0 || (code = retire_servers(merge)) != 0 ||
        (code = merged_text(merge, &text)) != 0)
        return code;
    code = conf_parse_internal(ret_merged, merge->next->path, text, merge->error);
    free(text);
    return code;
}

int conf_merge(struct conf **ret_merged, struct conf *next, const struct conf *current,
               const struct conf_usage *usage, struct error *error)
{
    struct merge merge = {.next = next, .current = current, .usage = usage, .error = error};

    merge.listener_kept = calloc(current->listener_count + 1, sizeof(bool));
    merge.upstream_kept = calloc(current->upstream_count + 1, sizeof(bool));
    merge.certificate_kept = calloc(current->certificate_count + 1, sizeof(bool));
    merge.numbers = calloc(CONF_SERVERS_MAX + 1, sizeof(bool));
    int code = merge.listener_kept == NULL || merge.upstream_kept == NULL ||
                       merge.certificate_kept == NULL || merge.numbers == NULL
                   ? error_set(error, ERROR_MEMORY, "out of memory")
                   : merge_all(&merge, ret_merged);
    free(merge.listener_kept);
    free(merge.upstream_kept);
    free(merge.certificate_kept);
    free(merge.numbers);
    return code;
}

/* ---- what a reload cannot change ---- */

int conf_keep_fixed(struct conf *next, const struct conf *current, unsigned *ret_changed,
                    struct error *error)
{
    struct {
        char **next;
        const char *current;
        unsigned bit;
    } texts[] = {{&next->state_folder, current->state_folder, CONF_FIXED_STATE_FOLDER},
                 {&next->user, current->user, CONF_FIXED_USER}};
    unsigned changed =
        (next->workers != current->workers ? CONF_FIXED_WORKERS : 0) |
        (next->buffer_memory != current->buffer_memory ? CONF_FIXED_BUFFER_MEMORY : 0) |
        (next->max_sessions != current->max_sessions ? CONF_FIXED_MAX_SESSIONS : 0) |
        (next->session_cache != current->session_cache ? CONF_FIXED_SESSION_CACHE : 0);

    if (current->workers == 0 && next->listener_count != 0)
        return error_set(error, ERROR_CONFIG,
                         "found a listener, but the daemon was started without listeners and has "
                         "no workers; restart it (workers = N makes it ready for listeners to "
                         "come)");
    for (size_t i = 0; i < ARRAY_SIZE(texts); i++) {
        if (strcmp(*texts[i].next, texts[i].current) == 0)
            continue;
        char *kept = strdup(texts[i].current);
        if (kept == NULL)
            return error_set(error, ERROR_MEMORY, "out of memory");
        free(*texts[i].next);
        *texts[i].next = kept;
        changed |= texts[i].bit;
    }
    next->workers = current->workers;
    next->buffer_memory = current->buffer_memory;
    next->max_sessions = current->max_sessions;
    next->session_cache = current->session_cache;
    *ret_changed = changed;
    return 0;
}

const char *conf_fixed_text(unsigned changed, char *text, size_t size)
{
    static const char *const names[] = {"state-folder",  "user",         "workers",
                                        "buffer-memory", "max-sessions", "session-cache"};
    size_t used = 0;

    text[0] = '\0';
    for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
        if ((changed >> i & 1) != 0 && used < size)
            used +=
                (size_t)snprintf(text + used, size - used, "%s%s", used == 0 ? "" : ", ", names[i]);
    }
    return text;
}
