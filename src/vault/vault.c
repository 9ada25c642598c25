/* The vault as control sees it: it holds the lineages together and passes on what arrives. */
#include "vault/vault.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/secret.h"
#include "base/string.h"
#include "conf/merge.h"
#include "ipc/memory.h"
#include "vault/lineage.h"
#include "vault/trust_watch.h"

const char *vault_state_name(enum vault_state state)
{
    static const char *const names[VAULT_STATE_COUNT] = {
        [VAULT_EMPTY] = "empty",
        [VAULT_SETTLING] = "settling",
        [VAULT_ROLLING_OUT] = "rolling-out",
        [VAULT_CHECKING] = "checking",
        [VAULT_LIVE] = "live",
        [VAULT_REFUSED] = "refused",
        [VAULT_ROLLED_BACK] = "rolled-back",
    };
    return (unsigned)state < VAULT_STATE_COUNT ? names[state] : "unknown";
}

const char *vault_check_name(enum vault_check_result result)
{
    static const char *const names[VAULT_CHECK_RESULT_COUNT] = {
        [VAULT_CHECK_PENDING] = "pending",         [VAULT_CHECK_SERVED] = "served",
        [VAULT_CHECK_MISMATCH] = "mismatch",       [VAULT_CHECK_FAILED] = "failed",
        [VAULT_CHECK_UNREACHABLE] = "unreachable", [VAULT_CHECK_SKIPPED] = "skipped",
    };
    return (unsigned)result < VAULT_CHECK_RESULT_COUNT ? names[result] : "unknown";
}

/* ---- what the host does for us ---- */

int64_t vault_now(void)
{
    return (int64_t)time(NULL);
}

void vault_report(struct vault *vault, enum event_type type, uint32_t certificate, uint32_t version,
                  const char *host, const char *detail)
{
    char shown[TROUBLE_MAX];

    if (!vault->ending)
        vault->host.event(vault->host.context, type, certificate, version, host,
                          string_printable(shown, sizeof shown, detail, strlen(detail)));
}

void vault_warn(struct vault *vault, const struct lineage *lineage, const char *format, ...)
{
    char text[TROUBLE_MAX];
    va_list arguments;

    va_start(arguments, format);
    ignore(vsnprintf(text, sizeof text, format, arguments));
    va_end(arguments);
    vault_report(vault, EVENT_WARNING, lineage != NULL ? lineage->index : CONF_NONE, 0, "", text);
}

void vault_ask(struct vault *vault, const void *owner,
               bool (*question)(void *, uint32_t, const char *, bool), const char *path,
               bool folder, request_fn *fn, void *context)
{
    uint32_t number = requests_add(&vault->requests, fn, context, owner);

    if (number == 0) {
        fn(context, -1, -ENOMEM);
    } else if (!question(vault->host.context, number, path, folder)) {
        requests_drop(&vault->requests, number);
        fn(context, -1, -EPIPE);
    }
}

void vault_ask_open(struct lineage *lineage, const char *path, bool folder, request_fn *fn,
                    void *context)
{
    vault_ask(lineage->vault, lineage, lineage->vault->host.open, path, folder, fn, context);
}

void vault_ask_watch(struct lineage *lineage, const char *path, bool folder, request_fn *fn,
                     void *context)
{
    vault_ask(lineage->vault, lineage, lineage->vault->host.watch, path, folder, fn, context);
}

/* The pair as a sealed document; -1 when the system refuses. */
static int pair_document(const struct keypair *pair)
{
    size_t size;
    char *pem = keypair_to_pem(pair, &size);

    if (pem == NULL)
        return -1;
    int document = memory_document("certificate", pem, size);
    secret_wipe(pem, size);
    free(pem);
    return document;
}

uint64_t vault_send_pair(struct vault *vault, uint64_t handshakers,
                         const struct message_certificate *body, const struct keypair *pair)
{
    uint64_t reached = 0;

    if (vault->ending || (handshakers & vault->connected) == 0)
        return 0;
    int document = pair != NULL ? pair_document(pair) : -1;
    if (pair != NULL && document < 0) {
        vault_warn(vault, vault->lineages[body->certificate], "cannot pass it on: %s",
                   strerror(errno));
        return 0;
    }
    for (unsigned i = 0; i < BOARD_WORKERS_MAX; i++) {
        uint64_t bit = 1ull << i;
        if ((handshakers & vault->connected & bit) != 0 &&
            vault->host.send(vault->host.context, i, MESSAGE_CERTIFICATE, body, sizeof *body,
                             document))
            reached |= bit;
    }
    if (document >= 0)
        close(document);
    return reached;
}

/* ---- commands ---- */

struct command *command_new(struct vault *vault, vault_done_fn *done, void *context)
{
    struct command *command = calloc(1, sizeof *command);

    if (command == NULL)
        return NULL;
    command->done = done;
    command->context = context;
    command->pending = 1;
    command->next = vault->commands;
    vault->commands = command;
    return command;
}

static void command_free(struct vault *vault, struct command *command)
{
    struct command **place = &vault->commands;

    while (*place != command)
        place = &(*place)->next;
    *place = command->next;
    free(command);
}

void command_report(struct vault *vault, struct command *command, const struct vault_outcome *part)
{
    if (command == NULL)
        return;
    if (!command->answered ||
        (command->outcome.error.code == ERROR_NONE && part->error.code != ERROR_NONE))
        command->outcome = *part;
    command->answered = true;
    if (--command->pending > 0)
        return;
    if (command->done != NULL && !vault->ending)
        command->done(command->context, &command->outcome);
    command_free(vault, command);
}

void command_fail(struct vault *vault, struct command *command, const struct error *error)
{
    struct vault_outcome outcome = {.error = *error};

    command_report(vault, command, &outcome);
}

/* The certificate that a command is about; answers the command itself when there is none. */
static struct lineage *command_lineage(struct vault *vault, const char *name, vault_done_fn *done,
                                       void *context, struct command **ret_command)
{
    struct vault_outcome outcome = {0};
    uint32_t index = conf_find_certificate(vault->conf, name);
    char shown[CONF_NAME_MAX];

    string_printable(shown, sizeof shown, name, strlen(name));
    if (index == CONF_NONE || vault->conf->certificates[index].retired ||
        vault->lineages[index] == NULL)
        ignore(error_set(
            &outcome.error, ERROR_NOT_FOUND,
            "there is no certificate \"%s\" in the configuration; `holdfast certs` lists them",
            shown));
    else if ((*ret_command = command_new(vault, done, context)) == NULL)
        ignore(error_set(&outcome.error, ERROR_MEMORY, "out of memory"));
    else
        return vault->lineages[index];
    done(context, &outcome);
    return NULL;
}

void vault_install(struct vault *vault, const char *name, int chain_fd, int key_fd, uint64_t forced,
                   vault_done_fn *done, void *context)
{
    struct command *command;
    struct error error = {0};
    struct lineage *lineage = command_lineage(vault, name, done, context, &command);

    if (lineage != NULL && lineage->conf->from != CONF_FROM_MANAGED) {
        ignore(error_set(
            &error, ERROR_USAGE,
            "certificate %s comes from %s; only one with from = managed can be installed", name,
            lineage->conf->from == CONF_FROM_INTERNAL ? "the internal CA" : "files"));
        command_fail(vault, command, &error);
    } else if (lineage != NULL) {
        managed_install(lineage, chain_fd, key_fd, forced, command);
    }
    if (chain_fd >= 0)
        close(chain_fd);
    if (key_fd >= 0)
        close(key_fd);
}

void vault_renew(struct vault *vault, const char *name, vault_done_fn *done, void *context)
{
    struct command *command;
    struct error error = {0};
    struct lineage *lineage = command_lineage(vault, name, done, context, &command);

    if (lineage == NULL)
        return;
    switch (lineage->conf->from) {
    case CONF_FROM_INTERNAL:
        internal_renew(lineage, command);
        break;
    case CONF_FROM_FILES:
        if (lineage->conf->folder != NULL)
            folder_renew(lineage, command);
        else
            files_renew(lineage, command);
        break;
    case CONF_FROM_MANAGED:
        ignore(error_set(&error, ERROR_USAGE,
                         "certificate %s is managed: put a new one in with 'cert install'", name));
        command_fail(vault, command, &error);
        break;
    }
}

void vault_abandon(struct vault *vault, void *context)
{
    for (struct command *command = vault->commands; command != NULL; command = command->next) {
        if (command->context == context)
            command->done = NULL;
    }
}

/* ---- life ---- */

static size_t readings_of(const struct lineage *lineage)
{
    if (lineage->conf->from != CONF_FROM_FILES || lineage->conf->folder != NULL)
        return 1;
    return lineage->conf->chain.count < KEY_TYPE_COUNT ? lineage->conf->chain.count
                                                       : KEY_TYPE_COUNT;
}

struct lineage *lineage_new(struct vault *vault, const struct conf_certificate *conf,
                            uint32_t index)
{
    struct lineage *lineage = malloc(sizeof *lineage);

    if (lineage == NULL)
        return NULL;
    *lineage = (struct lineage){
        .vault = vault, .conf = conf, .index = index, .versions.fd = -1, .undialled = true};
    for (unsigned number = 0; number < KEY_TYPE_COUNT; number++) {
        lineage->tracks[number].lineage = lineage;
        lineage->tracks[number].number = number;
    }
    return lineage;
}

void lineage_free(struct lineage *lineage)
{
    if (lineage == NULL)
        return;
    rollout_fini(lineage);
    files_fini(lineage);
    folder_fini(lineage);
    versions_fini(&lineage->versions);
    for (unsigned number = 0; number < KEY_TYPE_COUNT; number++) {
        struct track *track = &lineage->tracks[number];
        timer_cancel(lineage->vault->host.loop, &track->renewal);
        keypair_unref(track->live);
        free(track->checks);
        keypair_unref(lineage->previous[number].pair);
    }
    free(lineage);
}

static void lineage_start(struct lineage *lineage)
{
    bool folder = lineage->conf->folder != NULL; /* reads its journal once it knows the names */

    if (!folder)
        lineage_journal(lineage);
    switch (lineage->conf->from) {
    case CONF_FROM_INTERNAL:
        internal_start(lineage);
        break;
    case CONF_FROM_MANAGED:
        managed_start(lineage);
        break;
    case CONF_FROM_FILES:
        if (folder)
            folder_start(lineage);
        else
            files_start(lineage);
        break;
    }
}

struct vault *vault_new(const struct conf *conf, uint32_t generation, const struct vault_host *host)
{
    struct vault *vault = calloc(1, sizeof *vault);

    if (vault == NULL)
        return NULL;
    vault->conf = conf;
    vault->host = *host;
    vault->generation = generation;
    dialler_init(&vault->dialler, conf, host->loop, host->board);
    vault->lineages = calloc(conf->certificate_count + 1, sizeof *vault->lineages);
    vault->lineage_count = conf->certificate_count;
    bool good = vault->lineages != NULL;
    for (uint32_t i = 0; good && i < conf->certificate_count; i++) {
        if (conf->certificates[i].name == NULL)
            continue;
        vault->lineages[i] = lineage_new(vault, &conf->certificates[i], i);
        good = vault->lineages[i] != NULL;
    }
    if (good)
        return vault;
    vault_free(vault);
    return NULL;
}

void vault_free(struct vault *vault)
{
    if (vault == NULL)
        return;
    vault->ending = true;
    dialler_fini(&vault->dialler);
    trust_watch_fini(vault);
    requests_fini(&vault->requests);
    for (size_t i = 0; vault->lineages != NULL && i < vault->lineage_count; i++)
        lineage_free(vault->lineages[i]);
    internal_fini(vault);
    while (vault->commands != NULL)
        command_free(vault, vault->commands);
    free(vault->lineages);
    free(vault);
}

void vault_start_new(struct vault *vault)
{
    vault->loading++; /* not complete before all have begun */
    for (size_t i = 0; i < vault->lineage_count; i++) {
        struct lineage *lineage = vault->lineages[i];
        if (lineage == NULL || lineage->complete || lineage->loading > 0)
            continue;
        lineage->loading = readings_of(lineage);
        vault->loading += lineage->loading;
    }
    for (size_t i = 0; i < vault->lineage_count; i++) {
        struct lineage *lineage = vault->lineages[i];
        if (lineage == NULL || lineage->complete || lineage->started)
            continue;
        lineage->started = true;
        lineage_start(lineage);
    }
    trust_watch_start(vault);
    vault_loaded(vault);
}

void vault_start(struct vault *vault)
{
    vault_start_new(vault);
}

/* ---- handshakers ---- */

/* Everything to one that knows nothing, else what is new. */
static void greet(struct vault *vault, unsigned handshaker)
{
    uint64_t bit = 1ull << handshaker;
    const struct message_complete complete = {.generation = vault->generation};

    for (size_t i = 0; i < vault->lineage_count; i++) {
        struct lineage *lineage = vault->lineages[i];
        if (lineage != NULL && ((vault->greeted & bit) == 0 || !lineage->complete))
            rollout_greet(lineage, handshaker);
    }
    trust_watch_greet(vault, handshaker);
    vault->greeted |= bit;
    ignore(vault->host.send(vault->host.context, handshaker, MESSAGE_CERTIFICATES_COMPLETE,
                            &complete, sizeof complete, -1));
}

/* Whichever handshaker accepts has been told everything. */
static void dial_first(struct vault *vault)
{
    if (vault->dialled || vault->greeted == 0)
        return;
    vault->dialled = true;
    for (size_t i = 0; i < vault->lineage_count; i++) {
        for (unsigned number = 0; vault->lineages[i] != NULL && number < KEY_TYPE_COUNT; number++)
            track_check(&vault->lineages[i]->tracks[number]);
        if (vault->lineages[i] != NULL)
            vault->lineages[i]->undialled = false;
    }
}

void vault_loaded(struct vault *vault)
{
    if (vault->ending || --vault->loading > 0)
        return;
    vault->complete = true;
    for (size_t i = 0; i < vault->lineage_count; i++) {
        if (vault->lineages[i] != NULL && !vault->lineages[i]->complete)
            rollout_keep_previous(vault->lineages[i]);
    }
    for (unsigned i = 0; i < BOARD_WORKERS_MAX; i++) {
        if ((vault->connected >> i & 1) != 0)
            greet(vault, i);
    }
    for (size_t i = 0; i < vault->lineage_count; i++) {
        struct lineage *lineage = vault->lineages[i];
        if (lineage == NULL || lineage->complete)
            continue;
        rollout_drop_previous(lineage);
        lineage->complete = true;
    }
    dial_first(vault);
    if (vault->host.complete != NULL)
        vault->host.complete(vault->host.context);
}

void lineage_loaded(struct lineage *lineage)
{
    if (lineage->vault->ending)
        return;
    lineage->loading--;
    vault_loaded(lineage->vault);
}

void vault_peer_started(struct vault *vault, unsigned handshaker)
{
    if (handshaker >= BOARD_WORKERS_MAX)
        return;
    vault_peer_ended(vault, handshaker); /* the one before owes nothing any more */
    vault->connected |= 1ull << handshaker;
    if (!vault->complete)
        return;
    greet(vault, handshaker);
    dial_first(vault);
}

void vault_peer_ended(struct vault *vault, unsigned handshaker)
{
    if (handshaker >= BOARD_WORKERS_MAX)
        return;
    vault->connected &= ~(1ull << handshaker);
    vault->greeted &= ~(1ull << handshaker);
    for (size_t i = 0; i < vault->lineage_count; i++) {
        if (vault->lineages[i] == NULL)
            continue;
        rollout_peer_ended(vault->lineages[i], handshaker);
        folder_peer_ended(vault->lineages[i], handshaker);
    }
}

void vault_certificate_live(struct vault *vault, unsigned handshaker,
                            const struct message_certificate_live *live)
{
    for (size_t i = 0; i < vault->lineage_count && handshaker < BOARD_WORKERS_MAX; i++) {
        if (vault->lineages[i] != NULL)
            rollout_answer(vault->lineages[i], handshaker, live);
    }
}

void vault_wanted(struct vault *vault, unsigned handshaker,
                  const struct message_certificate_wanted *wanted)
{
    if (handshaker >= BOARD_WORKERS_MAX || wanted->certificate >= vault->lineage_count ||
        memchr(wanted->name, '\0', sizeof wanted->name) == NULL ||
        vault->lineages[wanted->certificate] == NULL ||
        vault->lineages[wanted->certificate]->conf->folder == NULL)
        return;
    folder_wanted(vault->lineages[wanted->certificate], handshaker, wanted->name);
}

/* ---- files ---- */

void vault_opened(struct vault *vault, uint32_t request, int fd, int result)
{
    requests_answer(&vault->requests, request, fd, fd < 0 && result >= 0 ? -EIO : result);
}

void vault_watched(struct vault *vault, uint32_t request, int result)
{
    requests_answer(&vault->requests, request, -1, result);
}

/* A watch that is none of ours stands for a directory in which a link of some path is: any of them
 * may lead elsewhere now. */
static void event_anywhere(struct vault *vault)
{
    for (size_t i = 0; i < vault->lineage_count; i++) {
        if (vault->lineages[i] == NULL)
            continue;
        files_event(vault->lineages[i], -1);
        folder_event(vault->lineages[i], NULL);
    }
    ignore(trust_watch_event(vault, -1));
}

void vault_inotify_event(struct vault *vault, const struct inotify_event *event)
{
    bool lost = (event->mask & IN_Q_OVERFLOW) != 0;
    bool known = trust_watch_event(vault, event->wd);

    for (size_t i = 0; i < vault->lineage_count; i++) {
        struct lineage *lineage = vault->lineages[i];
        if (lineage == NULL)
            continue;
        if (lost || folder_watches(lineage, event->wd)) {
            folder_event(lineage, event);
            known = true;
        }
        if (files_watches(lineage, event->wd)) {
            files_event(lineage, event->wd);
            known = true;
        }
    }
    if (lost || !known)
        event_anywhere(vault);
}

/* ---- which sessions hang on what is no longer in service ---- */

bool vault_complete(const struct vault *vault)
{
    return vault->complete;
}

static bool lineage_serves(const struct lineage *lineage, enum key_type type, uint32_t version)
{
    if (rollout_active(lineage) && lineage->rollout.version == version)
        return true; /* some handshakers have it already */
    for (unsigned i = 0; i < lineage->track_count; i++) {
        const struct track *track = &lineage->tracks[i];
        if (track->live != NULL && keypair_type(track->live) == type && track->version == version)
            return true;
    }
    return false;
}

bool vault_serves(const struct vault *vault, uint32_t certificate, enum key_type type,
                  uint32_t version, const char *server_name)
{
    if (certificate >= vault->lineage_count || vault->lineages[certificate] == NULL)
        return false;
    const struct lineage *lineage = vault->lineages[certificate];
    return lineage->conf->folder != NULL ? folder_serves(lineage, version, server_name)
                                         : lineage_serves(lineage, type, version);
}

/* ---- what `certs` shows ---- */

static void describe_pair(const struct track *track, struct vault_entry *entry)
{
    const struct keypair *pair = track->live;

    entry->present = true;
    entry->version = track->version;
    entry->key_type = keypair_type(pair);
    entry->key_bits = keypair_key_bits(pair);
    entry->not_before = keypair_not_before(pair);
    entry->not_after = keypair_not_after(pair);
    memcpy(entry->fingerprint, keypair_fingerprint(pair), sizeof entry->fingerprint);
    entry->subject = keypair_subject(pair);
    entry->issuer = keypair_issuer(pair);
    entry->serial = keypair_serial(pair);
    entry->names = keypair_names(pair, &entry->name_count);
}

static int each_track(const struct track *track, vault_entry_fn *fn, void *context)
{
    const struct lineage *lineage = track->lineage;
    struct vault_entry entry = {
        .certificate = lineage->index,
        .name = lineage->conf->name,
        .host = "",
        .from = lineage->conf->from,
        .state = files_settling(track) ? VAULT_SETTLING : track->state,
        .last_error = track->trouble,
        .checks = track->checks,
        .check_count = track->check_count,
        .next_attempt = track->renew_at,
    };

    if (track->live != NULL)
        describe_pair(track, &entry);
    return fn(context, &entry);
}

static int each_lineage(const struct lineage *lineage, vault_entry_fn *fn, void *context)
{
    bool empty = true;
    int result = 0;

    if (lineage->conf->folder != NULL)
        return folder_each(lineage, fn, context);
    for (unsigned i = 0; i < lineage->track_count && result == 0; i++) {
        const struct track *track = &lineage->tracks[i];
        if (track->live == NULL && track->state == VAULT_EMPTY)
            continue;
        empty = false;
        result = each_track(track, fn, context);
    }
    return empty ? each_track(&lineage->tracks[0], fn, context) : result;
}

int vault_each(const struct vault *vault, vault_entry_fn *fn, void *context)
{
    int result = 0;

    for (size_t i = 0; i < vault->lineage_count && result == 0; i++) {
        if (vault->lineages[i] != NULL && !vault->lineages[i]->conf->retired)
            result = each_lineage(vault->lineages[i], fn, context);
    }
    return result;
}
