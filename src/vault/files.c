/* Certificates in files of somebody else: opened by the supervisor, watched through it, and read
 * once they have settled.
 *
 * Settled means that both files parse and belong together. There is no waiting for silence: the
 * first event makes us look, and only what does not fit yet is waited for. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/file.h"
#include "vault/lineage.h"

#define GATHER_NS     (10 * NS_PER_MS) /* events come in clusters */
#define SETTLE_NS     (5 * NS_PER_S)   /* how long a pair may be unfit before it is refused */
#define LOOK_AGAIN_NS (60 * NS_PER_S)  /* network file systems tell nothing */

enum part { PART_CHAIN, PART_KEY, PART_COUNT };

struct files_pair {
    struct track *track;
    const char *paths[PART_COUNT]; /* PART_KEY NULL: combined */
    int watches[PART_COUNT];       /* -1: none */
    int fds[PART_COUNT];
    int failures[PART_COUNT];              /* errno of opening */
    unsigned waiting;                      /* answers to come in this reading */
    bool started;                          /* decided once */
    bool dirty;                            /* look again after this reading */
    bool postponed;                        /* look when the road is free */
    uint64_t settle_until;                 /* 0: not settling */
    struct file_identity seen[PART_COUNT]; /* read last: unchanged files are not parsed again */
    struct timer timer;                    /* the next look */
    struct command *command;
};

/* The supervisor's answers carry no more than one pointer: one of these per file. */
struct part_request {
    struct files_pair *pair;
    enum part part;
};

static void look(struct files_pair *pair);

static struct loop *loop_of(const struct files_pair *pair)
{
    return pair->track->lineage->vault->host.loop;
}

static uint64_t now(const struct files_pair *pair)
{
    return loop_now(loop_of(pair));
}

/* ---- the outcome of a reading ---- */

/* The reading is decided, one way or the other. */
static void decided(struct files_pair *pair)
{
    pair->settle_until = 0;
    timer_set(loop_of(pair), &pair->timer, now(pair) + LOOK_AGAIN_NS);
    if (!pair->started) {
        pair->started = true;
        lineage_loaded(pair->track->lineage);
    }
}

static struct command *take_command(struct files_pair *pair)
{
    struct command *command = pair->command;

    pair->command = NULL;
    return command;
}

static void refuse(struct files_pair *pair, const struct error *error,
                   const struct preflight_report *report)
{
    struct vault_outcome outcome = {.error = *error};

    if (report != NULL)
        outcome.report = *report;
    track_refuse(pair->track, error);
    command_report(pair->track->lineage->vault, take_command(pair), &outcome);
    decided(pair);
}

/* At the first reading, and when somebody waits for the answer, there is nothing to wait for. */
static void unsettled(struct files_pair *pair, const struct error *error)
{
    if (pair->settle_until == 0)
        pair->settle_until = now(pair) + SETTLE_NS;
    memset(pair->seen, 0, sizeof pair->seen);
    if (!pair->started || pair->command != NULL || now(pair) >= pair->settle_until)
        refuse(pair, error, NULL);
    else
        timer_set(loop_of(pair), &pair->timer, pair->settle_until);
}

static void unchanged(struct files_pair *pair)
{
    struct track *track = pair->track;
    struct vault_outcome outcome = {.version = track->version,
                                    .key_type = keypair_type(track->live)};

    if (track->state != VAULT_LIVE) { /* what was refused is gone again */
        track->state = VAULT_LIVE;
        track->trouble[0] = '\0';
    }
    ignore(snprintf(outcome.check, sizeof outcome.check, "the files hold the version in service"));
    command_report(track->lineage->vault, take_command(pair), &outcome);
    decided(pair);
}

static void judge(struct files_pair *pair, struct keypair *fresh)
{
    struct preflight_report report;
    struct error error = {0};

    if (track_serves(pair->track, fresh)) {
        keypair_unref(fresh);
        unchanged(pair);
        return;
    }
    if (pair->command == NULL &&
        memcmp(pair->track->rejected, keypair_fingerprint(fresh), 32) == 0) {
        keypair_unref(fresh); /* it was taken back once; only a command tries it again */
        decided(pair);
        return;
    }
    int result = track_preflight(pair->track, fresh, 0, &report, &error);
    if (result == 0) {
        track_offer(pair->track, fresh, &report, take_command(pair));
        decided(pair);
        return;
    }
    keypair_unref(fresh);
    if (result == -ERROR_CERTIFICATE_KEY_MISMATCH || result == -ERROR_CERTIFICATE_LEAF_NOT_FIRST)
        unsettled(pair, &error);
    else
        refuse(pair, &error, &report);
}

/* ---- reading ---- */

static int read_part(const struct files_pair *pair, enum part part, struct buffer *content,
                     struct error *error)
{
    if (pair->fds[part] < 0)
        return error_set(error, ERROR_IO, "cannot open %s: %s", pair->paths[part],
                         strerror(pair->failures[part]));
    return file_read(content, pair->fds[part], pair->paths[part], error);
}

static int read_pair(const struct files_pair *pair, struct keypair **ret_pair, struct error *error)
{
    __attribute__((cleanup(buffer_auto))) struct buffer chain, key;
    bool combined = pair->paths[PART_KEY] == NULL;

    buffer_init_secret(&chain, KEYPAIR_PEM_MAX);
    buffer_init_secret(&key, KEYPAIR_PEM_MAX);
    int result = read_part(pair, PART_CHAIN, &chain, error);
    if (result == 0 && !combined)
        result = read_part(pair, PART_KEY, &key, error);
    if (result != 0)
        return result;
    result = keypair_parse(ret_pair, buffer_text(&chain), chain.size,
                           combined ? NULL : buffer_text(&key), key.size, error);
    bool in_key = result == -ERROR_CERTIFICATE_KEY_UNPARSABLE && !combined;
    return result != 0 ? error_prepend(error, "%s", pair->paths[in_key ? PART_KEY : PART_CHAIN])
                       : 0;
}

/* Are both the very files that were judged last? Remembers what they are. */
static bool same_files(struct files_pair *pair)
{
    bool same = true;

    for (enum part part = 0; part < PART_COUNT; part++) {
        struct stat status;
        if (pair->paths[part] == NULL)
            continue;
        if (pair->fds[part] < 0 || fstat(pair->fds[part], &status) != 0) {
            same = false;
            continue;
        }
        struct file_identity identity = file_identity(&status);
        same = same && file_identity_same(&identity, &pair->seen[part]);
        pair->seen[part] = identity;
    }
    return same;
}

static void close_parts(struct files_pair *pair)
{
    for (enum part part = 0; part < PART_COUNT; part++) {
        if (pair->fds[part] >= 0)
            close(pair->fds[part]);
        pair->fds[part] = -1;
    }
}

static void evaluate(struct files_pair *pair)
{
    struct error error = {0};
    struct keypair *fresh;

    if (pair->dirty) { /* it changed under our hands */
        pair->dirty = false;
        close_parts(pair);
        look(pair);
        return;
    }
    if (same_files(pair) && pair->command == NULL && pair->settle_until == 0) {
        close_parts(pair);
        decided(pair);
        return;
    }
    int result = read_pair(pair, &fresh, &error);
    close_parts(pair);
    if (result != 0)
        unsettled(pair, &error);
    else
        judge(pair, fresh);
}

static void opened(void *context, int fd, int result)
{
    struct part_request *request = context;
    struct files_pair *pair = request->pair;

    pair->fds[request->part] = fd;
    pair->failures[request->part] = fd >= 0 ? 0 : -result;
    free(request);
    if (--pair->waiting > 0)
        return;
    if (pair->track->lineage->vault->ending)
        close_parts(pair);
    else
        evaluate(pair);
}

static void watched(void *context, int fd, int result)
{
    struct part_request *request = context;

    if (fd >= 0)
        close(fd);
    request->pair->watches[request->part] = result >= 0 ? result : -1;
    free(request);
}

static struct part_request *request_new(struct files_pair *pair, enum part part)
{
    struct part_request *request = malloc(sizeof *request);

    if (request != NULL)
        *request = (struct part_request){pair, part};
    return request;
}

/* Watches first, then reads: what changes in between is seen. Watching is asked for each time,
 * because a link may lead elsewhere by now. */
static void look(struct files_pair *pair)
{
    struct lineage *lineage = pair->track->lineage;
    struct part_request *request;

    pair->waiting = 1; /* not decided before all was asked */
    for (enum part part = 0; part < PART_COUNT; part++) {
        if (pair->paths[part] != NULL && (request = request_new(pair, part)) != NULL)
            vault_ask_watch(lineage, pair->paths[part], false, watched, request);
    }
    for (enum part part = 0; part < PART_COUNT; part++) {
        pair->fds[part] = -1;
        pair->failures[part] = ENOMEM;
        if (pair->paths[part] == NULL || (request = request_new(pair, part)) == NULL)
            continue;
        pair->waiting++;
        vault_ask_open(lineage, pair->paths[part], false, opened, request);
    }
    if (--pair->waiting == 0)
        evaluate(pair);
}

static void look_or_later(struct files_pair *pair)
{
    if (pair->waiting > 0)
        pair->dirty = true;
    else if (rollout_active(pair->track->lineage))
        pair->postponed = true;
    else
        look(pair);
}

static void timer_fired(void *context)
{
    look_or_later(context);
}

/* ---- what the vault calls ---- */

static void set_paths(struct files_pair *pair)
{
    const struct conf_certificate *conf = pair->track->lineage->conf;
    unsigned i = pair->track->number;

    pair->paths[PART_CHAIN] = conf->chain.items[i];
    pair->paths[PART_KEY] =
        i < conf->key.count && conf->key.items[i][0] != '\0' ? conf->key.items[i] : NULL;
}

void files_follow(struct lineage *lineage)
{
    for (unsigned i = 0; i < lineage->track_count; i++) {
        if (lineage->tracks[i].files != NULL)
            set_paths(lineage->tracks[i].files);
    }
}

struct command *files_take_command(struct track *track)
{
    return track->files != NULL ? take_command(track->files) : NULL;
}

void files_start(struct lineage *lineage)
{
    const struct conf_certificate *conf = lineage->conf;

    lineage->track_count =
        (unsigned)(conf->chain.count < KEY_TYPE_COUNT ? conf->chain.count : KEY_TYPE_COUNT);
    for (unsigned i = 0; i < lineage->track_count; i++) {
        struct files_pair *pair = calloc(1, sizeof *pair);
        if (pair == NULL) {
            vault_warn(lineage->vault, lineage, "out of memory");
            lineage_loaded(lineage);
            continue;
        }
        pair->track = &lineage->tracks[i];
        pair->track->files = pair;
        set_paths(pair);
        for (enum part part = 0; part < PART_COUNT; part++)
            pair->watches[part] = pair->fds[part] = -1;
        timer_init(&pair->timer, timer_fired, pair);
        look(pair);
    }
}

void files_renew(struct lineage *lineage, struct command *command)
{
    command->pending = lineage->track_count;
    for (unsigned i = 0; i < lineage->track_count; i++) {
        struct files_pair *pair = lineage->tracks[i].files;
        struct error error = {0};
        if (pair == NULL || pair->command != NULL) {
            ignore(error_set(&error, ERROR_BUSY, "certificate %s is being read already",
                             lineage->conf->name));
            command_fail(lineage->vault, command, &error);
            continue;
        }
        pair->command = command;
        look_or_later(pair);
    }
}

void files_event(struct lineage *lineage, int watch)
{
    for (unsigned i = 0; i < lineage->track_count; i++) {
        struct files_pair *pair = lineage->tracks[i].files;
        if (pair == NULL ||
            (watch >= 0 && watch != pair->watches[PART_CHAIN] && watch != pair->watches[PART_KEY]))
            continue;
        pair->dirty |= pair->waiting > 0; /* the end of a reading sets the timer, too */
        if (pair->timer.deadline_ns > now(pair) + GATHER_NS || pair->timer.position == 0)
            timer_set(loop_of(pair), &pair->timer, now(pair) + GATHER_NS);
    }
}

bool files_watches(const struct lineage *lineage, int watch)
{
    for (unsigned i = 0; i < lineage->track_count; i++) {
        const struct files_pair *pair = lineage->tracks[i].files;
        if (pair != NULL &&
            (watch == pair->watches[PART_CHAIN] || watch == pair->watches[PART_KEY]))
            return true;
    }
    return false;
}

void files_resume(struct lineage *lineage)
{
    for (unsigned i = 0; i < lineage->track_count; i++) {
        struct files_pair *pair = lineage->tracks[i].files;
        if (pair == NULL || !pair->postponed)
            continue;
        pair->postponed = false;
        timer_set(loop_of(pair), &pair->timer, now(pair));
    }
}

bool files_settling(const struct track *track)
{
    return track->files != NULL && track->files->settle_until != 0;
}

void files_fini(struct lineage *lineage)
{
    for (unsigned i = 0; i < lineage->track_count; i++) {
        struct files_pair *pair = lineage->tracks[i].files;
        if (pair == NULL)
            continue;
        timer_cancel(loop_of(pair), &pair->timer);
        close_parts(pair);
        free(pair);
        lineage->tracks[i].files = NULL;
    }
}
