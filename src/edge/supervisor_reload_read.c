/* What a reload does before anything is looked at outside: reads the text, finds everything its
 * place, makes the document. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/clock.h"
#include "conf/merge.h"
#include "edge/supervisor_reload_internal.h"
#include "ipc/memory.h"

static bool listener_lives(void *context, uint32_t listener)
{
    const struct supervisor *supervisor = context;
    uint32_t handshakes = 0;

    if (listener >= BOARD_LISTENERS_MAX)
        return false;
    for (unsigned i = 0; i < BOARD_WORKERS_MAX; i++)
        handshakes += __atomic_load_n(&supervisor->board->listeners[listener].handshakes[i],
                                      __ATOMIC_RELAXED);
    return handshakes != 0 || board_listener_connections(supervisor->board, listener) != 0;
}

static bool server_lives(void *context, uint32_t number)
{
    const struct supervisor *supervisor = context;

    return board_server_sessions(supervisor->board, number) != 0;
}

static void note_warning(void *context, unsigned line, const char *text)
{
    struct reload *reload = context;

    if (line == 0)
        reload_note(reload, "%s", text);
    else
        reload_note(reload, "line %u: %s", line, text);
}

/* Only ever the path that we were started with. A pipe would have to be waited for. */
static int read_file(struct reload *reload, struct error *error)
{
    const char *path = reload->supervisor->house->config_path;
    struct stat facts;

    if (stat(path, &facts) == 0 && !S_ISREG(facts.st_mode))
        return error_set(error, ERROR_IO, "%s is no regular file and cannot be read again", path);
    ignore(snprintf(reload->next_source, sizeof reload->next_source, "the file"));
    return conf_read(&reload->text, path, error);
}

static int read_history(struct reload *reload, struct error *error)
{
    const struct history *history = &reload->history;
    uint32_t number = reload->request.entry != 0 ? reload->request.entry
                      : reload->confirm.waiting  ? reload->confirm.entry
                                                 : history->previous;
    const struct history_entry *entry = history_find(history, number);
    char when[40];

    if (entry == NULL)
        return number == 0
                   ? error_set(error, ERROR_NOT_FOUND, "there is no configuration before this one")
                   : error_set(error, ERROR_NOT_FOUND,
                               "the history has no entry %u; `holdfast config history` lists it",
                               number);
    if (number == history->current)
        return error_set(error, ERROR_USAGE, "entry %u is in force already", number);
    ignore(snprintf(reload->next_source, sizeof reload->next_source, "entry %u of the history (%s)",
                    number, clock_rfc3339(when, sizeof when, (uint64_t)entry->at * NS_PER_S)));
    reload->text = strdup(entry->text);
    return reload->text == NULL ? error_set(error, ERROR_MEMORY, "out of memory") : 0;
}

/* The whole of what can be done without looking outside: text, places, document. */
static int build(struct reload *reload, struct error *error)
{
    struct supervisor *supervisor = reload->supervisor;
    const struct conf_usage usage = {supervisor, listener_lives, server_lives};
    struct conf *parsed = NULL;
    int result = conf_parse(&parsed, supervisor->house->config_path, reload->text, note_warning,
                            reload, error);

    if (result == 0)
        result = conf_keep_fixed(parsed, supervisor->conf, &reload->fixed, error);
    if (result == 0)
        result = conf_merge(&reload->next, parsed, supervisor->conf, &usage, error);
    conf_free(parsed);
    if (result != 0)
        return result;
    char *text = conf_show_internal(reload->next);
    reload->document = text == NULL ? -1 : memory_document("holdfast-config", text, strlen(text));
    free(text);
    return reload->document < 0
               ? error_set(error, ERROR_IO, "cannot create the configuration's memory: %s",
                           strerror(errno))
               : 0;
}

int reload_read(struct reload *reload, struct error *error)
{
    int result = reload->request.action == RELOAD_ROLLBACK ? read_history(reload, error)
                                                           : read_file(reload, error);

    return result == 0 ? build(reload, error) : result;
}

/* ---- the board: places that are given to somebody else begin anew ---- */

static bool was_there(const struct conf *before, uint32_t number)
{
    for (size_t i = 0; i < before->upstream_count; i++) {
        const struct conf_upstream *upstream = &before->upstreams[i];
        for (size_t j = 0; j < upstream->server_count; j++) {
            if (upstream->servers[j].name != NULL && upstream->servers[j].number == number)
                return true;
        }
    }
    return false;
}

static void reset_server(struct board *board, uint32_t number)
{
    struct board_server *server = &board->servers[number];

    __atomic_store_n(&server->admin, (uint32_t)SERVER_READY, __ATOMIC_RELAXED);
    __atomic_store_n(&server->weight, 0, __ATOMIC_RELAXED);
    __atomic_store_n(&server->healthy, 1, __ATOMIC_RELAXED);
    __atomic_store_n(&server->failures, 0, __ATOMIC_RELAXED);
    __atomic_store_n(&server->connects, 0, __ATOMIC_RELAXED);
    __atomic_store_n(&server->connect_failures, 0, __ATOMIC_RELAXED);
    board_address_set(board, number, "", 0);
}

void reload_reset_board(struct board *board, const struct conf *before, const struct conf *after)
{
    for (size_t i = 0; i < after->listener_count; i++) {
        if (after->listeners[i].name == NULL ||
            (i < before->listener_count && before->listeners[i].name != NULL))
            continue;
        __atomic_store_n(&board->listeners[i].accepted, 0, __ATOMIC_RELAXED);
        __atomic_store_n(&board->listeners[i].refused, 0, __ATOMIC_RELAXED);
        board_drain_write(&board->listeners[i].drain, &(struct drain){.begin_ns = 0});
    }
    for (size_t i = 0; i < after->upstream_count; i++) {
        const struct conf_upstream *upstream = &after->upstreams[i];
        for (size_t j = 0; j < upstream->server_count; j++) {
            if (upstream->servers[j].name != NULL &&
                !was_there(before, upstream->servers[j].number))
                reset_server(board, upstream->servers[j].number);
        }
    }
}
