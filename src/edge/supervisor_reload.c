#include "edge/supervisor_reload.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/string.h"
#include "conf/merge.h"
#include "edge/supervisor_reload_internal.h"
#include "ipc/memory.h"

#define NOTES_MAX   32768u
#define PATIENCE_NS (30 * NS_PER_S) /* for the answers of one step */

/* ---- telling ---- */

void reload_note(struct reload *reload, const char *format, ...)
{
    char text[1024];
    va_list arguments;

    va_start(arguments, format);
    ignore(vsnprintf(text, sizeof text, format, arguments));
    va_end(arguments);
    ignore(buffer_printf(&reload->notes, "%s\n", text));
}

static const struct house_life *control_life(const struct reload *reload)
{
    return life_of(supervisor_process(reload->supervisor, PROCESS_CONTROL, 0), LIFE_CURRENT);
}

/* The one who asked gets the notes, and after a look or a success the configuration. */
static void answer(struct reload *reload, const char *text, enum error_code code)
{
    struct message_reloaded body = {.request = reload->request.request,
                                    .result = -(int32_t)code,
                                    .fixed = reload->fixed,
                                    .generation = reload->supervisor->house->config_generation};
    int fds[2];
    size_t count = 0;

    if (reload->origin != ORIGIN_OPERATOR)
        return;
    int document = memory_document("holdfast-answer", text, strlen(text));
    if (document >= 0) {
        body.documents |= RELOADED_TEXT;
        fds[count++] = document;
    }
    if (code == ERROR_NONE && reload->document >= 0) {
        body.documents |= RELOADED_CONFIG;
        fds[count++] = reload->document;
    }
    const struct house_life *control = control_life(reload);
    if (control->channel >= 0) /* else it was started again, and nobody waits */
        ignore(spawn_tell(control, MESSAGE_RELOADED, &body, sizeof body, fds, count));
    if (document >= 0)
        ignore(close(document));
}

/* ---- end ---- */

static void clear(struct reload *reload)
{
    free(reload->text);
    reload->text = NULL;
    conf_free(reload->next);
    reload->next = NULL;
    if (reload->document >= 0)
        ignore(close(reload->document));
    reload->document = -1;
    reload->fixed = 0;
    reload->waiting_count = 0;
    timer_cancel(reload->supervisor->loop, &reload->patience);
    buffer_fini(&reload->notes);
    buffer_init(&reload->notes, NOTES_MAX);
    reload->stage = RELOAD_IDLE;
}

static void refuse(struct reload *reload, enum error_code code, const char *reason)
{
    const char *notes = buffer_text(&reload->notes);
    size_t size = strlen(reason) + strlen(notes) + 2;
    char *text = malloc(size);

    if (reload->request.dry_run == 0 || reload->origin != ORIGIN_OPERATOR)
        supervisor_event(reload->supervisor, EVENT_CONFIG_REFUSED, "%s%s",
                         reload->origin == ORIGIN_RETURN ? "cannot go back: " : "", reason);
    if (text != NULL) {
        ignore(snprintf(text, size, "%s\n%s", reason, notes));
        answer(reload, text, code);
    }
    free(text);
    clear(reload);
}

void reload_refuse(struct reload *reload, enum error_code code, const char *format, ...)
{
    char reason[1024];
    va_list arguments;

    va_start(arguments, format);
    ignore(vsnprintf(reason, sizeof reason, format, arguments));
    va_end(arguments);
    refuse(reload, code, reason);
}

static void finish(struct reload *reload)
{
    struct supervisor *supervisor = reload->supervisor;
    const struct message_config body = {.generation = supervisor->house->config_generation};
    const struct house_life *control = control_life(reload);
    char fixed[96];

    bind_close_leaving(reload);
    /* Sessions were moved before: what is older now hangs on a configuration that was superseded.
     */
    __atomic_store_n(&supervisor->board->config_generation, body.generation, __ATOMIC_RELAXED);
    if (control->channel >= 0)
        ignore(spawn_tell(control, MESSAGE_CONFIG_SETTLED, &body, sizeof body, NULL, 0));
    supervisor_event(supervisor,
                     reload->origin == ORIGIN_RETURN ? EVENT_CONFIG_RETURNED : EVENT_CONFIG_LOADED,
                     "%s%s%s", reload->origin == ORIGIN_RETURN ? reload->why : reload->source,
                     reload->origin == ORIGIN_RETURN ? "; " : ": ",
                     reload->origin == ORIGIN_RETURN ? reload->source : reload->summary);
    if (reload->fixed != 0)
        supervisor_event(supervisor, EVENT_WARNING,
                         "these settings take a restart and were left as they are: %s",
                         conf_fixed_text(reload->fixed, fixed, sizeof fixed));
    answer(reload, buffer_text(&reload->notes), ERROR_NONE);
    clear(reload);
}

/* ---- waiting for processes ---- */

static void advance(struct reload *reload);

static void await(struct reload *reload, const struct house_life *life, bool in_force)
{
    reload->waiting[reload->waiting_count++] = (struct waiting_for){life->pid, in_force};
}

/* In doubt a process is not waited for: it ended, and its successor begins with what is right. */
static void arrived(struct reload *reload, pid_t pid, bool ended, bool in_force)
{
    bool found = false;

    for (unsigned i = 0; i < reload->waiting_count;) {
        const struct waiting_for *waiting = &reload->waiting[i];
        if (waiting->pid == pid && (ended || in_force || !waiting->in_force)) {
            reload->waiting[i] = reload->waiting[--reload->waiting_count];
            found = true;
        } else {
            i++;
        }
    }
    if (found && reload->waiting_count == 0)
        advance(reload);
}

void reload_loaded(struct reload *reload, pid_t pid, const struct message_config_loaded *body)
{
    if (body->generation == reload->supervisor->house->config_generation)
        arrived(reload, pid, false, body->in_force != 0);
}

void reload_life_ended(struct reload *reload, pid_t pid)
{
    arrived(reload, pid, true, false);
}

static void on_patience(void *context)
{
    struct reload *reload = context;

    supervisor_event(reload->supervisor, EVENT_WARNING,
                     "%u processes have not taken configuration %u within %d s; going on",
                     reload->waiting_count, reload->supervisor->house->config_generation,
                     (int)(PATIENCE_NS / NS_PER_S));
    reload->waiting_count = 0;
    advance(reload);
}

/* ---- sending ---- */

static bool send_new(const struct house_life *life, enum descriptors_role role,
                     const struct reload_sockets *sockets)
{
    for (uint32_t i = 0; i < sockets->count; i++) {
        struct message_descriptors body = {.role = role, .first = i};
        int fd = sockets->items[i].fd;
        if (sockets->fresh[i] && !spawn_tell(life, MESSAGE_DESCRIPTORS, &body, sizeof body, &fd, 1))
            return false;
    }
    return true;
}

static bool send_config(struct reload *reload, struct process *process, enum life_role role)
{
    const struct house *house = reload->supervisor->house;
    const struct house_life *life = life_of(process, role);
    struct message_config body = {.generation = house->config_generation};
    int document = house->descriptors[HOUSE_CONFIG];

    ignore(string_copy(body.source, sizeof body.source, reload->source));
    if (!spawn_tell(life, MESSAGE_CONFIG, &body, sizeof body, &document, 1))
        return false;
    if (process->kind == PROCESS_HANDSHAKER &&
        (!spawn_upstream_material(process, life) || !spawn_unable_clients(process, life) ||
         !send_new(life, DESCRIPTORS_LISTENING, &reload->listening)))
        return false;
    if (process->kind == PROCESS_CONTROL && !send_new(life, DESCRIPTORS_ADMIN, &reload->admin))
        return false;
    return spawn_tell(life, MESSAGE_CONFIG_GO, NULL, 0, NULL, 0);
}

/* To all of a kind. A channel that is full or broken is that of a process in trouble: it is ended,
 * and its successor begins with the new configuration. */
static void send_kind(struct reload *reload, enum process_kind kind)
{
    struct supervisor *supervisor = reload->supervisor;

    for (unsigned i = 0; i < supervisor->process_count; i++) {
        struct process *process = &supervisor->processes[i];
        for (enum life_role role = LIFE_CURRENT; role <= LIFE_SUCCESSOR; role++) {
            const struct house_life *life = life_of(process, role);
            if (process->kind != kind || life->pid <= 0 || life->channel < 0)
                continue;
            if (!send_config(reload, process, role)) {
                process_event(process, EVENT_WARNING, "cannot be sent the new configuration");
                life_kill(life);
                continue;
            }
            if (life->stage != LIFE_HANDING_OVER && life->stage != LIFE_LOCKED)
                await(reload, life, kind != PROCESS_HANDSHAKER);
        }
    }
}

/* Those that answered that they are prepared answer once more when they have swapped. */
static void await_handshakers(struct reload *reload)
{
    struct supervisor *supervisor = reload->supervisor;

    for (unsigned i = 0; i < supervisor->process_count; i++) {
        struct process *process = &supervisor->processes[i];
        const struct house_life *life = life_of(process, LIFE_CURRENT);
        if (process->kind == PROCESS_HANDSHAKER && life->pid > 0 && life->stage == LIFE_RUNNING)
            await(reload, life, true);
    }
}

/* ---- the steps ---- */

static void enter(struct reload *reload, enum reload_stage stage)
{
    struct supervisor *supervisor = reload->supervisor;

    reload->stage = stage;
    timer_set(supervisor->loop, &reload->patience, loop_now(supervisor->loop) + PATIENCE_NS);
    switch (stage) {
    case RELOAD_PREPARING:
        send_kind(reload, PROCESS_HANDSHAKER);
        break;
    case RELOAD_RELAYS:
        send_kind(reload, PROCESS_RELAY);
        break;
    case RELOAD_SWAPPING:
        await_handshakers(reload);
        send_kind(reload, PROCESS_CONTROL);
        break;
    case RELOAD_IDLE:
    case RELOAD_CHECKING:
        break;
    }
    if (reload->waiting_count == 0)
        advance(reload);
}

/* Everybody of this step has answered. */
static void advance(struct reload *reload)
{
    switch (reload->stage) {
    case RELOAD_PREPARING:
        enter(reload, RELOAD_RELAYS);
        break;
    case RELOAD_RELAYS:
        enter(reload, RELOAD_SWAPPING);
        break;
    case RELOAD_SWAPPING:
        finish(reload);
        break;
    case RELOAD_IDLE:
    case RELOAD_CHECKING:
        break;
    }
}

/* ---- into force ---- */

struct counts {
    unsigned added, removed, changed;
};

static void count_difference(void *context, const struct conf_difference *difference)
{
    struct counts *counts = context;

    counts->added += difference->change == CONF_ADDED;
    counts->removed += difference->change == CONF_REMOVED;
    counts->changed += difference->change == CONF_CHANGED;
}

static void summarise(struct reload *reload)
{
    struct counts counts = {0};

    if (conf_compare(reload->supervisor->conf, reload->next, count_difference, &counts))
        ignore(snprintf(reload->summary, sizeof reload->summary,
                        "%u objects added, %u removed, %u changed", counts.added, counts.removed,
                        counts.changed));
}

static void note_history(struct reload *reload)
{
    struct error error = {0};

    if (!history_note(&reload->history, reload->text, (int64_t)time(NULL), &error) &&
        !reload->history_warned) {
        reload->history_warned = true;
        supervisor_event(reload->supervisor, EVENT_WARNING, "%s; it is kept in memory",
                         error.message);
    }
    reload->supervisor->house->history_current = reload->history.current;
    reload->supervisor->house->history_previous = reload->history.previous;
}

/* From here on there is no way back but another reload: whoever starts begins with this one. */
static void commit(struct reload *reload)
{
    struct supervisor *supervisor = reload->supervisor;
    struct house *house = supervisor->house;
    uint32_t before = reload->history.current;

    summarise(reload);
    bind_commit(reload);
    reload_reset_board(supervisor->board, supervisor->conf, reload->next);
    ignore(close(house->descriptors[HOUSE_CONFIG]));
    house->descriptors[HOUSE_CONFIG] = fcntl(reload->document, F_DUPFD_CLOEXEC, 0);
    house->config_generation++;
    __atomic_store_n(&supervisor->board->processes[0].config, house->config_generation,
                     __ATOMIC_RELAXED);
    supervisor->conf = reload->next;
    conf_free(reload->owned);
    reload->owned = reload->next;
    reload->next = NULL;
    memcpy(reload->source, reload->next_source, sizeof reload->source);
    if (reload->confirm.waiting)
        confirm_end(reload); /* this is how it went back */
    note_history(reload);
    if (reload->request.confirm_ms != 0 && reload->request.action == RELOAD_LOAD &&
        reload->history.current != before)
        confirm_begin(reload, reload->request.confirm_ms, before);
    else if (reload->request.confirm_ms != 0)
        reload_note(reload, "nothing has changed, so there is nothing to confirm");
    enter(reload, RELOAD_PREPARING);
}

/* The first finding is the reason, all of them follow when there are more. */
static void refuse_findings(struct reload *reload, enum error_code code)
{
    const char *notes = buffer_text(&reload->notes);
    size_t size = strcspn(notes, "\n");
    char first[900];

    ignore(snprintf(first, sizeof first, "%.*s", (int)size, notes));
    if (notes[size] == '\0' || notes[size + 1] == '\0')
        reload->notes.size = 0;
    reload_refuse(reload, code, "nothing was changed: %s", first);
}

void reload_checked(struct reload *reload, enum error_code code)
{
    struct error error = {0};

    if (code != ERROR_NONE) {
        refuse_findings(reload, code);
        return;
    }
    if (reload->supervisor->stop != STOP_NONE) {
        reload_refuse(reload, ERROR_BUSY, "nothing was changed: the daemon is stopping");
        return;
    }
    if (bind_next(reload, &error) < 0) {
        reload_refuse(reload, error.code, "nothing was changed: %s", error.message);
        return;
    }
    if (reload->request.dry_run == 0) {
        commit(reload);
        return;
    }
    bind_undo(reload);
    answer(reload, buffer_text(&reload->notes), ERROR_NONE);
    clear(reload);
}

/* ---- requests ---- */

static const char *obstacle(const struct reload *reload, const struct message_reload *request)
{
    const struct supervisor *supervisor = reload->supervisor;

    if (reload->stage != RELOAD_IDLE)
        return "a reload is under way already; try again when it is done";
    if (!supervisor->house->ready)
        return "the daemon is still starting; try again when it is ready";
    if (supervisor->stop != STOP_NONE)
        return "the daemon is stopping";
    if (supervisor->upgrade.stage == UPGRADE_REHEARSING ||
        supervisor->upgrade.stage == UPGRADE_SUCCEEDING)
        return "an upgrade is under way; try again when it is done";
    if (reload->confirm.waiting && request->action == RELOAD_LOAD && request->dry_run == 0)
        return "the configuration in force waits to be confirmed; run `holdfast config confirm` or "
               "`holdfast config rollback` first";
    return NULL;
}

void reload_begin(struct reload *reload, enum reload_origin origin,
                  const struct message_reload *request)
{
    const char *why = obstacle(reload, request);
    struct error error = {0};

    if (why != NULL) { /* what is under way must not be disturbed */
        struct reload stranger = {.supervisor = reload->supervisor,
                                  .origin = origin,
                                  .request = *request,
                                  .document = -1};
        supervisor_event(reload->supervisor, EVENT_CONFIG_REFUSED, "%s", why);
        answer(&stranger, why, ERROR_BUSY);
        return;
    }
    reload->origin = origin;
    reload->request = *request;
    ignore(string_copy(reload->why, sizeof reload->why, reload->confirm.why));
    reload->stage = RELOAD_CHECKING;
    int result = reload_read(reload, &error);
    if (result == 0)
        result = check_begin(reload, &error);
    if (result != 0)
        reload_refuse(reload, error.code, "nothing was changed: %s", error.message);
}

static void answer_history(struct reload *reload, const struct message_reload *request)
{
    struct reload asked = {.supervisor = reload->supervisor,
                           .origin = ORIGIN_OPERATOR,
                           .request = *request,
                           .document = -1};
    const struct history *history = &reload->history;
    char text[HISTORY_MAX * 96] = "";
    size_t used = 0;

    for (size_t i = 0; i < history->count; i++) {
        const struct history_entry *entry = &history->entries[i];
        used +=
            (size_t)snprintf(text + used, sizeof text - used, "%u\t%lld\t%zu\t%u\n", entry->number,
                             (long long)entry->at, entry->size, entry->number == history->current);
    }
    answer(&asked, text, ERROR_NONE);
}

static void confirm(struct reload *reload, const struct message_reload *request)
{
    struct reload asked = {.supervisor = reload->supervisor,
                           .origin = ORIGIN_OPERATOR,
                           .request = *request,
                           .document = -1};

    if (!reload->confirm.waiting) {
        answer(&asked, "no configuration waits to be confirmed", ERROR_USAGE);
        return;
    }
    if (reload->confirm.why[0] != '\0') {
        answer(&asked, "too late: the configuration goes back already", ERROR_BUSY);
        return;
    }
    confirm_end(reload);
    supervisor_event(reload->supervisor, EVENT_CONFIG_CONFIRMED, "confirmed by the operator: %s",
                     reload->source);
    answer(&asked, "", ERROR_NONE);
}

void reload_requested(struct reload *reload, const struct message_reload *body)
{
    switch ((enum reload_action)body->action) {
    case RELOAD_LOAD:
    case RELOAD_ROLLBACK:
        reload_begin(reload, ORIGIN_OPERATOR, body);
        break;
    case RELOAD_CONFIRM:
        confirm(reload, body);
        break;
    case RELOAD_HISTORY:
        answer_history(reload, body);
        break;
    }
}

void reload_signalled(void *context, int signal_number)
{
    struct reload *reload = context;
    (void)signal_number;

    reload_begin(reload, ORIGIN_SIGNAL, &(struct message_reload){.action = RELOAD_LOAD});
}

void reload_tick(struct reload *reload)
{
    confirm_tick(reload);
}

const char *reload_busy(const struct reload *reload)
{
    return reload->stage != RELOAD_IDLE ? "a reload is under way"
           : reload->confirm.waiting    ? "a configuration waits to be confirmed"
                                        : NULL;
}

const char *reload_source(const struct reload *reload)
{
    return reload->source;
}

/* ---- life ---- */

static void begin_history(struct reload *reload, const char *text)
{
    struct supervisor *supervisor = reload->supervisor;
    struct history *history = &reload->history;

    history_init(history, supervisor->house->descriptors[HOUSE_HISTORY]);
    if (text != NULL) {
        reload->text = strdup(text);
        if (reload->text != NULL)
            note_history(reload);
        free(reload->text);
        reload->text = NULL;
        return;
    }
    history->current = supervisor->house->history_current;
    history->previous = supervisor->house->history_previous;
}

struct reload *reload_new(struct supervisor *supervisor, const char *text)
{
    struct reload *reload = calloc(1, sizeof *reload);

    if (reload == NULL)
        return NULL;
    reload->supervisor = supervisor;
    reload->document = -1;
    buffer_init(&reload->notes, NOTES_MAX);
    timer_init(&reload->patience, on_patience, reload);
    check_init(reload);
    confirm_init(reload);
    begin_history(reload, text);
    if (text != NULL)
        ignore(snprintf(reload->source, sizeof reload->source, "the file, at start"));
    else
        ignore(snprintf(reload->source, sizeof reload->source, "entry %u of the history",
                        reload->history.current));
    return reload;
}

void reload_free(struct reload *reload)
{
    if (reload == NULL)
        return;
    clear(reload);
    buffer_fini(&reload->notes);
    history_fini(&reload->history);
    conf_free(reload->owned);
    free(reload);
}
