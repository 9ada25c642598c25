/* The road of a new pair: numbered and stored, sent to every handshaker, dialled from outside,
 * live; or back. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/secret.h"
#include "base/string.h"
#include "vault/lineage.h"

#define ANSWER_TIMEOUT_NS (5 * NS_PER_S)
#define QUEUE_MAX         8

static void rollout_next(struct lineage *lineage);
static void conclude(struct lineage *lineage);

/* ---- tracks ---- */

static struct track *track_of_type(struct lineage *lineage, enum key_type type)
{
    for (unsigned i = 0; i < lineage->track_count; i++) {
        struct track *track = &lineage->tracks[i];
        if (track->live != NULL && keypair_type(track->live) == type)
            return track;
    }
    return NULL;
}

int track_preflight(struct track *track, const struct keypair *pair, uint64_t forced,
                    struct preflight_report *ret_report, struct error *error)
{
    struct lineage *lineage = track->lineage;
    struct track *same = track_of_type(lineage, keypair_type(pair));

    *ret_report = (struct preflight_report){0};
    if (same != NULL && same != track)
        return error_set(error, ERROR_CONFIG,
                         "both pairs of certificate %s have %s keys: give one of each key type",
                         lineage->conf->name, key_type_name(keypair_type(pair)));
    struct preflight_policy policy = {
        .names = (const char *const *)lineage->conf->names.items,
        .name_count = lineage->conf->names.count,
        .live = same != NULL ? same->live : NULL,
        .require_chain = lineage->conf->from != CONF_FROM_INTERNAL,
        .now = vault_now(),
        .forced = forced,
    };
    bool accepted = !lineage->complete && lineage_noted(lineage, pair);
    if (accepted)
        policy.forced = ~(1ull << (ERROR_CERTIFICATE_KEY_MISMATCH - ERROR_CERTIFICATE_UNPARSABLE));
    int result = keypair_preflight(pair, &policy, ret_report, error);
    if (result == 0 && accepted && ret_report->count > 0)
        vault_warn(lineage->vault, lineage, "%s: %s (it was in service before)",
                   error_name(ret_report->findings[0].code), ret_report->findings[0].text);
    return result;
}

bool track_serves(const struct track *track, const struct keypair *pair)
{
    size_t live_size, size;

    if (track->live == NULL ||
        memcmp(keypair_fingerprint(track->live), keypair_fingerprint(pair), 32) != 0)
        return false;
    /* The leaf may be the same and the chain another. */
    char *live = keypair_to_pem(track->live, &live_size);
    char *other = keypair_to_pem(pair, &size);
    bool same =
        live != NULL && other != NULL && live_size == size && secret_equal(live, other, size);
    if (live != NULL)
        secret_wipe(live, live_size);
    if (other != NULL)
        secret_wipe(other, size);
    free(live);
    free(other);
    return same;
}

static void set_checks(struct track *track, struct vault_check *checks, size_t count)
{
    free(track->checks);
    track->checks = checks;
    track->check_count = count;
}

/* Takes the reference. */
static void track_promote(struct track *track, struct keypair *pair, uint32_t version,
                          const char *detail)
{
    struct lineage *lineage = track->lineage;

    keypair_unref(track->live);
    track->live = pair;
    track->version = version;
    track->state = VAULT_LIVE;
    track->trouble[0] = '\0';
    memset(track->rejected, 0, sizeof track->rejected);
    if (lineage->conf->from == CONF_FROM_INTERNAL)
        internal_schedule(track);
    vault_report(lineage->vault, EVENT_CERTIFICATE_LOADED, lineage->index, version, "", detail);
}

void track_adopt(struct track *track, struct keypair *pair, uint32_t version)
{
    struct vault_check *checks;
    size_t count;

    if (dial_checks(track->lineage->vault->conf, track->lineage->index, &checks, &count) == 0)
        set_checks(track, checks, count);
    if (version > track->lineage->versions.last)
        track->lineage->versions.last = version;
    track_promote(track, pair, version, keypair_subject(pair));
}

void track_refuse(struct track *track, const struct error *error)
{
    char text[TROUBLE_MAX];

    ignore(snprintf(text, sizeof text, "%s: %.*s", error_name(error->code), TROUBLE_MAX - 32,
                    error->message));
    if (track->state == VAULT_REFUSED && strcmp(text, track->trouble) == 0)
        return;
    track->state = VAULT_REFUSED;
    ignore(string_copy(track->trouble, sizeof track->trouble, text));
    vault_report(track->lineage->vault, EVENT_CERTIFICATE_REFUSED, track->lineage->index,
                 track->version, "", text);
}

static void candidate_free(struct candidate *candidate)
{
    keypair_unref(candidate->pair);
    free(candidate);
}

/* Answers the candidate's command, if any, with success or an error. */
static void candidate_report(struct candidate *candidate, uint32_t version,
                             const struct error *error, const char *check)
{
    struct vault_outcome outcome = {
        .version = version, .key_type = keypair_type(candidate->pair), .report = candidate->report};

    if (error != NULL)
        outcome.error = *error;
    ignore(string_copy(outcome.check, sizeof outcome.check, check));
    command_report(candidate->track->lineage->vault, candidate->command, &outcome);
}

static void adopt_candidate(struct candidate *candidate)
{
    struct error error = {0};
    uint32_t version;

    if (lineage_assign(candidate->track, candidate->pair, &version, &error) != 0) {
        track_refuse(candidate->track, &error);
        candidate_report(candidate, 0, &error, "");
    } else {
        track_adopt(candidate->track, keypair_ref(candidate->pair), version);
        candidate_report(candidate, version, NULL, "");
    }
    candidate_free(candidate);
}

void track_offer(struct track *track, struct keypair *pair, const struct preflight_report *report,
                 struct command *command)
{
    struct rollout *rollout = &track->lineage->rollout;
    struct candidate **place = &rollout->queue, *candidate = calloc(1, sizeof *candidate);
    size_t queued = 0;

    for (; *place != NULL; place = &(*place)->next)
        queued++;
    if (candidate == NULL || queued == QUEUE_MAX) {
        struct error error = {0};
        ignore(error_set(&error, candidate == NULL ? ERROR_MEMORY : ERROR_BUSY,
                         "certificate %s has %zu versions waiting already: try again later",
                         track->lineage->conf->name, queued));
        command_fail(track->lineage->vault, command, &error);
        keypair_unref(pair);
        free(candidate);
        return;
    }
    *candidate =
        (struct candidate){.track = track, .pair = pair, .command = command, .report = *report};
    if (!track->lineage->complete) {
        adopt_candidate(candidate);
        return;
    }
    *place = candidate;
    if (rollout->candidate == NULL)
        rollout_next(track->lineage);
}

/* ---- sending ---- */

static uint64_t send_track(struct lineage *lineage, uint64_t handshakers,
                           const struct keypair *pair, uint32_t version, uint32_t request)
{
    struct message_certificate body = {.certificate = lineage->index,
                                       .version = version,
                                       .key_type = keypair_type(pair),
                                       .request = request};

    return vault_send_pair(lineage->vault, handshakers, &body, pair);
}

static void withdraw(struct lineage *lineage, enum key_type type)
{
    struct message_certificate body = {.certificate = lineage->index, .key_type = type};

    ignore((long)vault_send_pair(lineage->vault, lineage->vault->connected, &body, NULL));
}

void rollout_greet(struct lineage *lineage, unsigned handshaker)
{
    const struct candidate *candidate = lineage->rollout.candidate;

    for (unsigned i = 0; i < lineage->track_count; i++) {
        const struct track *track = &lineage->tracks[i];
        if (candidate != NULL && candidate->track == track)
            ignore((long)send_track(lineage, 1ull << handshaker, candidate->pair,
                                    lineage->rollout.version, 0));
        else if (track->live != NULL)
            ignore((long)send_track(lineage, 1ull << handshaker, track->live, track->version, 0));
    }
}

void rollout_keep_previous(struct lineage *lineage)
{
    for (unsigned i = 0; i < lineage->track_count; i++) {
        if (lineage->tracks[i].live != NULL)
            return;
    }
    for (enum key_type type = 0; type < KEY_TYPE_COUNT; type++) {
        struct previous *previous = &lineage->previous[type];
        struct track *track = &lineage->tracks[lineage->track_count < KEY_TYPE_COUNT ? 0 : type];
        if (previous->pair == NULL || track->live != NULL || lineage->track_count == 0)
            continue;
        track->live = keypair_ref(previous->pair); /* the track's trouble stays told */
        track->version = previous->version;
        if (lineage->conf->from == CONF_FROM_INTERNAL)
            internal_schedule(track);
    }
}

void rollout_drop_previous(struct lineage *lineage)
{
    for (enum key_type type = 0; type < KEY_TYPE_COUNT; type++) {
        struct previous *previous = &lineage->previous[type];
        if (previous->pair != NULL && track_of_type(lineage, type) == NULL)
            withdraw(lineage, type);
        keypair_unref(previous->pair);
        previous->pair = NULL;
    }
}

void rollout_abandon(struct lineage *lineage)
{
    struct rollout *rollout = &lineage->rollout;
    struct error error = {0};

    ignore(error_set(&error, ERROR_BUSY,
                     "certificate %s was changed or removed by a reload; look at `holdfast certs`",
                     lineage->conf->name));
    for (struct candidate *it = rollout->candidate; it != NULL; it = NULL) {
        command_fail(lineage->vault, it->command, &error);
        it->command = NULL;
    }
    for (struct candidate *it = rollout->queue; it != NULL; it = it->next) {
        command_fail(lineage->vault, it->command, &error);
        it->command = NULL;
    }
    for (unsigned i = 0; i < KEY_TYPE_COUNT; i++)
        command_fail(lineage->vault, files_take_command(&lineage->tracks[i]), &error);
}

/* ---- dialling ---- */

static void checked(void *context, size_t number, const struct vault_check *check)
{
    struct track *track = context;

    if (number >= track->check_count)
        return;
    track->checks[number] = *check;
    if (check->result == VAULT_CHECK_MISMATCH)
        vault_warn(track->lineage->vault, track->lineage, "not-served: %s", check->text);
}

static bool order(struct track *track, const struct keypair *pair, const struct vault_check *check,
                  size_t number, dial_done_fn *done, void *context)
{
    struct dial_order order = {.certificate = track->lineage->index,
                               .check = *check,
                               .key_type = keypair_type(pair),
                               .number = number,
                               .done = done,
                               .context = context};

    memcpy(order.fingerprint, keypair_fingerprint(pair), sizeof order.fingerprint);
    return dialler_add(&track->lineage->vault->dialler, &order);
}

void track_check(struct track *track)
{
    for (size_t i = 0; track->live != NULL && i < track->check_count; i++)
        ignore(order(track, track->live, &track->checks[i], i, checked, track));
}

static void rollout_checked(void *context, size_t number, const struct vault_check *check)
{
    struct lineage *lineage = context;

    lineage->rollout.checks[number] = *check;
    if (--lineage->rollout.dials == 0)
        conclude(lineage);
}

static void dial_all(struct lineage *lineage)
{
    struct rollout *rollout = &lineage->rollout;

    timer_cancel(lineage->vault->host.loop, &rollout->timer);
    rollout->candidate->track->state = VAULT_CHECKING;
    if (dial_checks(lineage->vault->conf, lineage->index, &rollout->checks,
                    &rollout->check_count) != 0) {
        rollout->checks = NULL;
        rollout->check_count = 0;
    }
    for (size_t i = 0; i < rollout->check_count; i++) {
        if (order(rollout->candidate->track, rollout->candidate->pair, &rollout->checks[i], i,
                  rollout_checked, lineage))
            rollout->dials++;
    }
    if (rollout->dials == 0)
        conclude(lineage);
}

static const struct vault_check *seen_before(const struct track *track,
                                             const struct vault_check *check)
{
    for (size_t i = 0; i < track->check_count; i++) {
        const struct vault_check *seen = &track->checks[i];
        if (seen->listener == check->listener && seen->bind == check->bind)
            return seen;
    }
    return NULL;
}

/* What was seen at an address stays known, unless the certificate itself was begun anew. */
static void look_again(struct track *track, bool all)
{
    struct vault_check *checks;
    size_t count;

    if (track->live == NULL ||
        dial_checks(track->lineage->vault->conf, track->lineage->index, &checks, &count) != 0)
        return;
    for (size_t i = 0; i < count && !all; i++) {
        const struct vault_check *seen = seen_before(track, &checks[i]);
        if (seen != NULL)
            checks[i] = *seen;
    }
    set_checks(track, checks, count);
    for (size_t i = 0; i < count; i++) {
        if (checks[i].result == VAULT_CHECK_PENDING)
            ignore(order(track, track->live, &checks[i], i, checked, track));
    }
}

void rollout_dial_again(struct lineage *lineage)
{
    const struct candidate *candidate = lineage->rollout.candidate;

    for (unsigned i = 0; i < lineage->track_count; i++) {
        if (candidate == NULL || candidate->track != &lineage->tracks[i])
            look_again(&lineage->tracks[i], lineage->undialled);
    }
    lineage->undialled = false;
    if (!lineage->redial)
        return;
    lineage->redial = false;
    free(lineage->rollout.checks);
    lineage->rollout.checks = NULL;
    lineage->rollout.check_count = 0;
    lineage->rollout.dials = 0;
    dial_all(lineage);
}

/* ---- the road ---- */

bool rollout_active(const struct lineage *lineage)
{
    return lineage->rollout.candidate != NULL;
}

static void rollout_end(struct lineage *lineage)
{
    struct rollout *rollout = &lineage->rollout;

    candidate_free(rollout->candidate);
    free(rollout->checks);
    rollout->candidate = NULL;
    rollout->checks = NULL;
    rollout->check_count = 0;
    rollout_next(lineage);
    if (rollout->candidate == NULL && lineage->conf->from == CONF_FROM_FILES)
        files_resume(lineage);
}

static void roll_back(struct lineage *lineage, const struct error *error)
{
    struct rollout *rollout = &lineage->rollout;
    struct candidate *candidate = rollout->candidate;
    struct track *track = candidate->track;

    if (track->live == NULL || keypair_type(track->live) != keypair_type(candidate->pair))
        withdraw(lineage, keypair_type(candidate->pair));
    if (track->live != NULL)
        ignore(
            (long)send_track(lineage, lineage->vault->connected, track->live, track->version, 0));
    lineage_revert(track, rollout->version);
    track->state = VAULT_ROLLED_BACK;
    memcpy(track->rejected, keypair_fingerprint(candidate->pair), sizeof track->rejected);
    ignore(snprintf(track->trouble, sizeof track->trouble, "%s: %.*s", error_name(error->code),
                    TROUBLE_MAX - 32, error->message));
    vault_report(lineage->vault, EVENT_CERTIFICATE_ROLLED_BACK, lineage->index, track->version, "",
                 track->trouble);
    candidate_report(candidate, track->version, error, "");
}

/* Was this address seen to serve the pair that is replaced? */
static bool served_before(const struct track *track, const struct vault_check *check)
{
    for (size_t i = 0; i < track->check_count; i++) {
        if (track->checks[i].listener == check->listener && track->checks[i].bind == check->bind)
            return track->checks[i].result == VAULT_CHECK_SERVED;
    }
    return false;
}

/* A mismatch is the new pair's fault, and so is a handshake that failed where the one before
 * worked; a listener that cannot be reached, or whose policy refuses our client, is not. */
static bool blame(const struct lineage *lineage, struct error *error)
{
    const struct rollout *rollout = &lineage->rollout;
    char address[ADDRESS_TEXT_MAX];

    for (size_t i = 0; i < rollout->check_count; i++) {
        const struct vault_check *check = &rollout->checks[i];
        if (check->result != VAULT_CHECK_MISMATCH &&
            (check->result != VAULT_CHECK_FAILED ||
             !served_before(rollout->candidate->track, check)))
            continue;
        const struct conf_listener *listener = &lineage->vault->conf->listeners[check->listener];
        ignore(
            error_set(error, ERROR_CERTIFICATE_NOT_SERVED, "listener %s, %s: %s", listener->name,
                      address_format(address, sizeof address, &listener->bind.items[check->bind]),
                      check->text));
        return true;
    }
    return false;
}

static void summarise(const struct rollout *rollout, char text[256])
{
    size_t served = 0;

    if (rollout->check_count == 0) {
        ignore(snprintf(text, 256, "no listener uses it"));
        return;
    }
    for (size_t i = 0; i < rollout->check_count; i++)
        served += rollout->checks[i].result == VAULT_CHECK_SERVED;
    int size = snprintf(text, 256, "%zu of %zu addresses serve it", served, rollout->check_count);
    for (size_t i = 0; i < rollout->check_count && served < rollout->check_count; i++) {
        if (rollout->checks[i].result != VAULT_CHECK_SERVED) {
            ignore(snprintf(text + size, 256 - (size_t)size, "; %s", rollout->checks[i].text));
            return;
        }
    }
}

static void go_live(struct lineage *lineage, const struct error *error)
{
    struct rollout *rollout = &lineage->rollout;
    struct track *track = rollout->candidate->track;
    bool retyped =
        track->live != NULL && keypair_type(track->live) != keypair_type(rollout->candidate->pair);
    enum key_type old_type = retyped ? keypair_type(track->live) : KEY_TYPE_ECDSA;
    char text[256];

    summarise(rollout, text);
    set_checks(track, rollout->checks, rollout->check_count);
    track_promote(track, keypair_ref(rollout->candidate->pair), rollout->version, text);
    if (retyped)
        withdraw(lineage, old_type);
    if (error->code != ERROR_NONE) { /* nothing to go back to */
        ignore(snprintf(track->trouble, sizeof track->trouble, "%s: %.*s", error_name(error->code),
                        TROUBLE_MAX - 32, error->message));
        vault_warn(lineage->vault, lineage, "%s", track->trouble);
    }
    rollout->checks = NULL;
    lineage_prune(track);
    candidate_report(rollout->candidate, rollout->version, error->code != ERROR_NONE ? error : NULL,
                     text);
}

static void conclude(struct lineage *lineage)
{
    struct error error = {0};

    if (blame(lineage, &error) && lineage->rollout.candidate->track->live != NULL)
        roll_back(lineage, &error);
    else
        go_live(lineage, &error);
    rollout_end(lineage);
}

static void answered(struct lineage *lineage)
{
    struct rollout *rollout = &lineage->rollout;

    if (rollout->waiting != 0)
        return;
    if (rollout->refused.code == ERROR_NONE) {
        dial_all(lineage);
        return;
    }
    timer_cancel(lineage->vault->host.loop, &rollout->timer);
    roll_back(lineage, &rollout->refused);
    rollout_end(lineage);
}

static void answer_timeout(void *context)
{
    struct lineage *lineage = context;

    vault_warn(lineage->vault, lineage, "%d handshakers have not answered for version %u yet",
               __builtin_popcountll(lineage->rollout.waiting), lineage->rollout.version);
    lineage->rollout.waiting = 0;
    answered(lineage);
}

void rollout_answer(struct lineage *lineage, unsigned handshaker,
                    const struct message_certificate_live *live)
{
    struct rollout *rollout = &lineage->rollout;
    uint64_t bit = 1ull << handshaker;

    if (rollout->candidate == NULL || live->request != rollout->request ||
        (rollout->waiting & bit) == 0)
        return;
    rollout->waiting &= ~bit;
    if (live->result != 0 && rollout->refused.code == ERROR_NONE)
        ignore(error_set(&rollout->refused, ERROR_TLS, "handshaker %u cannot use it", handshaker));
    answered(lineage);
}

void rollout_peer_ended(struct lineage *lineage, unsigned handshaker)
{
    struct rollout *rollout = &lineage->rollout;
    uint64_t bit = 1ull << handshaker;

    if (rollout->candidate == NULL || (rollout->waiting & bit) == 0)
        return;
    rollout->waiting &= ~bit;
    answered(lineage);
}

static void start(struct lineage *lineage)
{
    struct rollout *rollout = &lineage->rollout;
    struct vault *vault = lineage->vault;

    rollout->request =
        ++vault->request_serial != 0 ? vault->request_serial : ++vault->request_serial;
    rollout->refused = (struct error){0};
    rollout->dials = 0;
    rollout->candidate->track->state = VAULT_ROLLING_OUT;
    dialler_cancel(&vault->dialler, rollout->candidate->track); /* they look for the old one */
    timer_init(&rollout->timer, answer_timeout, lineage);
    timer_set(vault->host.loop, &rollout->timer, loop_now(vault->host.loop) + ANSWER_TIMEOUT_NS);
    rollout->waiting = vault->connected; /* an answer may come before the last was sent */
    rollout->waiting = send_track(lineage, vault->connected, rollout->candidate->pair,
                                  rollout->version, rollout->request);
    answered(lineage);
}

static void rollout_next(struct lineage *lineage)
{
    struct rollout *rollout = &lineage->rollout;

    while (rollout->candidate == NULL && rollout->queue != NULL) {
        struct candidate *candidate = rollout->queue;
        struct error error = {0};
        rollout->queue = candidate->next;
        if (lineage_assign(candidate->track, candidate->pair, &rollout->version, &error) == 0) {
            rollout->candidate = candidate;
            start(lineage);
            return;
        }
        track_refuse(candidate->track, &error);
        candidate_report(candidate, 0, &error, "");
        candidate_free(candidate);
    }
}

void rollout_fini(struct lineage *lineage)
{
    struct rollout *rollout = &lineage->rollout;

    timer_cancel(lineage->vault->host.loop, &rollout->timer);
    if (rollout->candidate != NULL)
        candidate_free(rollout->candidate);
    free(rollout->checks);
    while (rollout->queue != NULL) {
        struct candidate *candidate = rollout->queue;
        rollout->queue = candidate->next;
        candidate_free(candidate);
    }
}
