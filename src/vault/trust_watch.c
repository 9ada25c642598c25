#include "vault/trust_watch.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/file.h"
#include "ipc/memory.h"

#define GATHER_NS     (10 * NS_PER_MS) /* events come in clusters */
#define SETTLE_NS     (2 * NS_PER_S)   /* how long files that do not fit may be half-written */
#define LOOK_AGAIN_NS (60 * NS_PER_S)  /* network file systems tell nothing */

struct file {
    struct trust_watch *owner;
    const char *path; /* of the configuration */
    int watch;        /* -1: none */
    int fd;
    int failure;               /* errno of opening */
    struct file_identity seen; /* read last: unchanged files are not parsed again */
};

struct trust_watch {
    struct vault *vault;
    const struct conf_listener *conf;
    uint32_t listener;
    struct file *files; /* the CA certificates, then the revocation lists */
    size_t count;
    unsigned waiting;      /* answers to come in this reading */
    bool started;          /* decided once */
    bool dirty;            /* look again after this reading */
    uint64_t settle_until; /* 0: not settling */
    struct trust_set *set; /* in force; NULL: none */
    char trouble[TROUBLE_MAX];
    bool stale; /* it was told that the time of a list is over */
    struct timer timer;
};

static void look(struct trust_watch *watch);

static struct loop *loop_of(const struct trust_watch *watch)
{
    return watch->vault->host.loop;
}

static int64_t wall_now(void)
{
    return (int64_t)(clock_wall_ns() / NS_PER_S);
}

static PRINTF_LIKE(3, 4) void report(const struct trust_watch *watch, enum event_type type,
                                     const char *format, ...)
{
    const struct vault_host *host = &watch->vault->host;
    char text[TROUBLE_MAX + 128];
    va_list arguments;

    va_start(arguments, format);
    ignore(vsnprintf(text, sizeof text, format, arguments));
    va_end(arguments);
    if (host->trust != NULL)
        host->trust(host->context, type, watch->listener, text);
}

/* ---- handshakers ---- */

static void send_set(const struct trust_watch *watch, uint64_t handshakers)
{
    struct vault *vault = watch->vault;
    const struct message_client_trust body = {.listener = watch->listener,
                                              .config = vault->generation};
    size_t size;
    uint8_t *data = watch->set == NULL ? NULL : trust_set_export(watch->set, &size);
    int document = data == NULL ? -1 : memory_document("client-trust", data, size);

    free(data);
    if (document < 0) {
        if (watch->set != NULL)
            report(watch, EVENT_WARNING, "what clients are judged by cannot be passed on: %s",
                   strerror(errno));
        return;
    }
    for (unsigned i = 0; i < BOARD_WORKERS_MAX; i++) {
        if ((handshakers >> i & 1) != 0)
            ignore(vault->host.send(vault->host.context, i, MESSAGE_CLIENT_TRUST, &body,
                                    sizeof body, document));
    }
    ignore(close(document));
}

/* The same content keeps its number when control is started again: sessions that were let in by it
 * are not judged to be of an earlier one. */
static void number(struct trust_watch *watch, struct trust_set *set)
{
    struct board *board = watch->vault->host.board;

    if (board == NULL || watch->listener >= BOARD_LISTENERS_MAX)
        return;
    struct board_trust *place = &board->listeners[watch->listener].trust;
    if (watch->set != NULL || place->generation == 0 ||
        memcmp(place->digest, trust_set_digest(set), sizeof place->digest) != 0)
        place->generation = ++board->trust_generation;
    memcpy(place->digest, trust_set_digest(set), sizeof place->digest);
    trust_set_number(set, place->generation);
}

/* ---- the outcome of a reading ---- */

static void decided(struct trust_watch *watch)
{
    watch->settle_until = 0;
    timer_set(loop_of(watch), &watch->timer, loop_now(loop_of(watch)) + LOOK_AGAIN_NS);
    if (!watch->started) {
        watch->started = true;
        vault_loaded(watch->vault);
    }
}

static void refuse(struct trust_watch *watch, const struct error *error)
{
    char text[sizeof watch->trouble];

    ignore(snprintf(text, sizeof text, "%s: %.*s", error_name(error->code), TROUBLE_MAX - 64,
                    error->message));
    if (strcmp(text, watch->trouble) != 0) {
        memcpy(watch->trouble, text, sizeof text);
        report(watch, EVENT_CLIENT_TRUST_REFUSED, "%s: %s",
               watch->set != NULL ? "what was in force stays" : "nothing is in force", text);
    }
    decided(watch);
}

/* The first reading has nothing to wait for. */
static void unsettled(struct trust_watch *watch, const struct error *error)
{
    uint64_t now = loop_now(loop_of(watch));

    if (watch->settle_until == 0)
        watch->settle_until = now + SETTLE_NS;
    for (size_t i = 0; i < watch->count; i++)
        memset(&watch->files[i].seen, 0, sizeof watch->files[i].seen);
    if (!watch->started || now >= watch->settle_until)
        refuse(watch, error);
    else
        timer_set(loop_of(watch), &watch->timer, watch->settle_until);
}

/* Takes the reference. */
static void put_in_force(struct trust_watch *watch, struct trust_set *set)
{
    bool mended = watch->trouble[0] != '\0';
    struct trust_facts facts;

    number(watch, set);
    trust_set_unref(watch->set);
    watch->set = set;
    watch->trouble[0] = '\0';
    watch->stale = false;
    trust_set_facts(set, &facts);
    if (watch->started && watch->vault->complete)
        send_set(watch, watch->vault->greeted & watch->vault->connected);
    report(watch, EVENT_CLIENT_TRUST_LOADED, "%s%zu CA%s, %zu revocation list%s with %zu entr%s",
           mended ? "good again: " : "", facts.authorities, facts.authorities == 1 ? "" : "s",
           facts.lists, facts.lists == 1 ? "" : "s", facts.revoked,
           facts.revoked == 1 ? "y" : "ies");
}

/* Said once, until another list comes. */
static void check_time(struct trust_watch *watch)
{
    if (watch->set == NULL || watch->stale || !trust_set_stale(watch->set, wall_now()))
        return;
    watch->stale = true;
    report(watch, EVENT_CLIENT_TRUST_STALE, "the time of a revocation list is over; %s",
           watch->conf->crl_expired == CONF_CRL_EXPIRED_REFUSE
               ? "clients whose CA it is of are refused until a newer one comes"
               : "it stays in force until a newer one comes");
}

/* ---- reading ---- */

static int read_file(const struct file *file, struct trust_file *ret_file, struct error *error)
{
    __attribute__((cleanup(buffer_auto))) struct buffer content;

    buffer_init(&content, TRUST_FILE_MAX);
    if (file->fd < 0)
        return error_set(error, ERROR_IO, "cannot open %s: %s", file->path,
                         strerror(file->failure));
    int result = file_read(&content, file->fd, file->path, error);
    if (result != 0)
        return result;
    size_t size = 0;
    char *data = buffer_steal(&content, &size);
    if (data == NULL)
        return error_set(error, ERROR_MEMORY, "out of memory");
    *ret_file = (struct trust_file){.name = file->path, .data = data, .size = size};
    return 0;
}

static int read_set(const struct trust_watch *watch, struct trust_set **ret_set,
                    struct error *error)
{
    struct trust_file *files = calloc(watch->count, sizeof *files);
    size_t count = 0;
    int result = files != NULL ? 0 : error_set(error, ERROR_MEMORY, "out of memory");

    while (result == 0 && count < watch->count) {
        result = read_file(&watch->files[count], &files[count], error);
        count += result == 0;
    }
    if (result == 0)
        result = trust_set_new(ret_set, files, count, error);
    for (size_t i = 0; i < count; i++)
        free((void *)(uintptr_t)files[i].data);
    free(files);
    return result;
}

/* Are all the very files that were judged last? Remembers what they are. */
static bool same_files(struct trust_watch *watch)
{
    bool same = true;

    for (size_t i = 0; i < watch->count; i++) {
        struct file *file = &watch->files[i];
        struct stat facts;
        if (file->fd < 0 || fstat(file->fd, &facts) != 0) {
            same = false;
            continue;
        }
        struct file_identity identity = file_identity(&facts);
        same = same && file_identity_same(&identity, &file->seen);
        file->seen = identity;
    }
    return same;
}

static void close_files(struct trust_watch *watch)
{
    for (size_t i = 0; i < watch->count; i++) {
        if (watch->files[i].fd >= 0)
            ignore(close(watch->files[i].fd));
        watch->files[i].fd = -1;
    }
}

static void judge(struct trust_watch *watch)
{
    struct trust_set *set = NULL;
    struct error error = {0};

    int result = read_set(watch, &set, &error);
    if (result == 0 && watch->set != NULL)
        result = trust_set_follows(watch->set, set, wall_now(), &error);
    if (result != 0) {
        trust_set_unref(set);
        unsettled(watch, &error);
        return;
    }
    put_in_force(watch, set);
    decided(watch);
}

static void evaluate(struct trust_watch *watch)
{
    bool same = !watch->dirty && same_files(watch) && watch->settle_until == 0;

    if (watch->dirty) { /* it changed under our hands */
        watch->dirty = false;
        close_files(watch);
        look(watch);
        return;
    }
    if (same)
        decided(watch);
    else
        judge(watch);
    close_files(watch);
    check_time(watch);
}

static void opened(void *context, int fd, int result)
{
    struct file *file = context;
    struct trust_watch *watch = file->owner;

    file->fd = fd;
    file->failure = fd >= 0 ? 0 : -result;
    if (--watch->waiting > 0)
        return;
    if (watch->vault->ending)
        close_files(watch);
    else
        evaluate(watch);
}

static void watched(void *context, int fd, int result)
{
    struct file *file = context;

    if (fd >= 0)
        ignore(close(fd));
    file->watch = result >= 0 ? result : -1;
}

/* Watches first, then reads: what changes in between is seen. Watching is asked for each time,
 * because a link may lead elsewhere by now. */
static void look(struct trust_watch *watch)
{
    struct vault *vault = watch->vault;

    watch->waiting = 1; /* not decided before all was asked */
    for (size_t i = 0; i < watch->count; i++)
        vault_ask(vault, watch, vault->host.watch, watch->files[i].path, false, watched,
                  &watch->files[i]);
    for (size_t i = 0; i < watch->count; i++) {
        watch->waiting++;
        vault_ask(vault, watch, vault->host.open, watch->files[i].path, false, opened,
                  &watch->files[i]);
    }
    if (--watch->waiting == 0)
        evaluate(watch);
}

static void look_or_later(void *context)
{
    struct trust_watch *watch = context;

    if (watch->waiting > 0)
        watch->dirty = true;
    else
        look(watch);
}

/* ---- life ---- */

static void set_paths(struct trust_watch *watch, const struct conf_listener *conf)
{
    watch->conf = conf;
    watch->files[0].path = conf->client_ca;
    for (size_t i = 0; i < conf->client_crl.count; i++)
        watch->files[i + 1].path = conf->client_crl.items[i];
}

static struct trust_watch *watch_new(struct vault *vault, uint32_t listener)
{
    const struct conf_listener *conf = &vault->conf->listeners[listener];
    struct trust_watch *watch = calloc(1, sizeof *watch);

    if (watch == NULL)
        return NULL;
    watch->count = conf->client_crl.count + 1;
    watch->files = calloc(watch->count, sizeof *watch->files);
    if (watch->files == NULL) {
        free(watch);
        return NULL;
    }
    watch->vault = vault;
    watch->listener = listener;
    for (size_t i = 0; i < watch->count; i++) {
        watch->files[i].owner = watch;
        watch->files[i].watch = watch->files[i].fd = -1;
    }
    set_paths(watch, conf);
    timer_init(&watch->timer, look_or_later, watch);
    return watch;
}

static void watch_free(struct trust_watch *watch)
{
    struct vault *vault = watch->vault;
    bool ending = vault->ending;

    vault->ending = true; /* callbacks only release what they hold */
    requests_cancel(&vault->requests, watch);
    vault->ending = ending;
    timer_cancel(loop_of(watch), &watch->timer);
    close_files(watch);
    trust_set_unref(watch->set);
    free(watch->files);
    free(watch);
}

void trust_watch_start(struct vault *vault)
{
    for (uint32_t i = 0; i < vault->conf->listener_count && i < CONF_LISTENERS_MAX; i++) {
        if (vault->conf->listeners[i].client_ca == NULL || vault->trust[i] != NULL)
            continue;
        vault->trust[i] = watch_new(vault, i);
        if (vault->trust[i] == NULL) {
            vault_warn(vault, NULL, "out of memory");
            continue;
        }
        vault->loading++;
        look(vault->trust[i]);
    }
}

static bool same_conf(const struct conf_listener *a, const struct conf_listener *b)
{
    if (b->client_ca == NULL || strcmp(a->client_ca, b->client_ca) != 0 ||
        a->client_crl.count != b->client_crl.count)
        return false;
    for (size_t i = 0; i < a->client_crl.count; i++) {
        if (strcmp(a->client_crl.items[i], b->client_crl.items[i]) != 0)
            return false;
    }
    return true;
}

void trust_watch_reload(struct vault *vault, const struct conf *next)
{
    for (uint32_t i = 0; i < CONF_LISTENERS_MAX; i++) {
        struct trust_watch *watch = vault->trust[i];
        if (watch == NULL)
            continue;
        if (i < next->listener_count && next->listeners[i].name != NULL &&
            same_conf(watch->conf, &next->listeners[i])) {
            set_paths(watch, &next->listeners[i]);
            continue;
        }
        vault->loading -= !watch->started;
        vault->trust[i] = NULL;
        watch_free(watch);
    }
}

void trust_watch_greet(struct vault *vault, unsigned handshaker)
{
    for (unsigned i = 0; i < CONF_LISTENERS_MAX; i++) {
        if (vault->trust[i] != NULL && vault->trust[i]->set != NULL)
            send_set(vault->trust[i], 1ull << handshaker);
    }
}

bool trust_watch_event(struct vault *vault, int watch_number)
{
    bool ours = false;

    for (unsigned i = 0; i < CONF_LISTENERS_MAX; i++) {
        struct trust_watch *watch = vault->trust[i];
        bool meant = watch != NULL && watch_number < 0;
        for (size_t j = 0; watch != NULL && j < watch->count; j++)
            meant |= watch_number >= 0 && watch->files[j].watch == watch_number;
        if (!meant)
            continue;
        ours = true;
        watch->dirty |= watch->waiting > 0; /* the end of a reading sets the timer, too */
        uint64_t soon = loop_now(loop_of(watch)) + GATHER_NS;
        if (watch->timer.deadline_ns > soon || watch->timer.position == 0)
            timer_set(loop_of(watch), &watch->timer, soon);
    }
    return ours;
}

void trust_watch_fini(struct vault *vault)
{
    for (unsigned i = 0; i < CONF_LISTENERS_MAX; i++) {
        if (vault->trust[i] != NULL)
            watch_free(vault->trust[i]);
        vault->trust[i] = NULL;
    }
}

/* ---- what others ask for ---- */

const struct trust_set *vault_client_trust(const struct vault *vault, uint32_t listener)
{
    return listener < CONF_LISTENERS_MAX && vault->trust[listener] != NULL
               ? vault->trust[listener]->set
               : NULL;
}

bool vault_client_trust_state(const struct vault *vault, uint32_t listener,
                              struct vault_client_trust *ret_state)
{
    const struct trust_watch *watch = listener < CONF_LISTENERS_MAX ? vault->trust[listener] : NULL;

    if (watch == NULL)
        return false;
    *ret_state = (struct vault_client_trust){
        .present = watch->set != NULL, .stale = watch->stale, .trouble = watch->trouble};
    if (watch->set != NULL) {
        ret_state->generation = trust_set_generation(watch->set);
        trust_set_facts(watch->set, &ret_state->facts);
    }
    return true;
}
