/* Internal certificates: the embedded CA, made on first start, and its leaves, issued anew when two
 * thirds of their life are over. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/secret.h"
#include "vault/lineage.h"
#include "vault/store.h"

#define CA_CERTIFICATE  "internal-ca.pem"
#define CA_KEY          "internal-ca.key"
#define LEAF_LIFETIME_S (90ll * 24 * 3600)
#define LOOK_AGAIN_S    3600ll /* the wall clock may be set: never sleep longer */

/* ---- the CA ---- */

/* The key goes first: a certificate without its key would be a CA that cannot issue. What cannot be
 * written is only a warning; the CA then lasts until the restart. */
static void ca_store(struct vault *vault, const char *certificate_pem, const char *key_pem)
{
    struct error error = {0};
    int folder = vault->host.state_folder;

    if (store_write(folder, CA_KEY, key_pem, strlen(key_pem), &error) != 0 ||
        store_write(folder, CA_CERTIFICATE, certificate_pem, strlen(certificate_pem), &error) != 0)
        vault_warn(vault, NULL, "the internal CA will not survive a restart: %s", error.message);
}

static int ca_create(struct vault *vault, struct error *error)
{
    char *certificate_pem, *key_pem;
    int result = internal_ca_create(&certificate_pem, &key_pem, error);

    if (result != 0)
        return result;
    result = internal_ca_load(&vault->ca, certificate_pem, key_pem, error);
    if (result == 0)
        ca_store(vault, certificate_pem, key_pem);
    secret_wipe(key_pem, strlen(key_pem));
    free(key_pem);
    free(certificate_pem);
    return result;
}

static int ca_get(struct vault *vault, struct error *error)
{
    __attribute__((cleanup(buffer_auto))) struct buffer certificate, key;

    buffer_init(&certificate, KEYPAIR_PEM_MAX);
    buffer_init_secret(&key, KEYPAIR_PEM_MAX);
    if (vault->ca != NULL)
        return 0;
    int result = store_read(&certificate, vault->host.state_folder, CA_CERTIFICATE, error);
    if (result == -ERROR_NOT_FOUND) {
        vault->ca_made = true; /* leaves of an earlier one are worth nothing */
        return ca_create(vault, error);
    }
    if (result == 0)
        result = store_read(&key, vault->host.state_folder, CA_KEY, error);
    if (result == 0)
        result = internal_ca_load(&vault->ca, buffer_text(&certificate), buffer_text(&key), error);
    return result != 0 ? error_prepend(error, "the internal CA") : 0;
}

void internal_fini(struct vault *vault)
{
    internal_ca_free(vault->ca);
    vault->ca = NULL;
}

/* ---- leaves ---- */

static enum key_type wanted_type(const struct track *track)
{
    const char *name = track->lineage->conf->key_types.items[track->number];

    return strcmp(name, key_type_name(KEY_TYPE_RSA)) == 0 ? KEY_TYPE_RSA : KEY_TYPE_ECDSA;
}

static void issue(struct track *track, struct command *command)
{
    struct lineage *lineage = track->lineage;
    struct vault_outcome outcome = {0};
    struct keypair *pair;

    if (ca_get(lineage->vault, &outcome.error) != 0 ||
        internal_ca_issue(lineage->vault->ca, (const char *const *)lineage->conf->names.items,
                          lineage->conf->names.count, wanted_type(track), LEAF_LIFETIME_S, &pair,
                          &outcome.error) != 0) {
        track_refuse(track, &outcome.error);
        command_report(lineage->vault, command, &outcome);
        return;
    }
    if (track_preflight(track, pair, 0, &outcome.report, &outcome.error) != 0) {
        track_refuse(track, &outcome.error);
        command_report(lineage->vault, command, &outcome);
        keypair_unref(pair);
        return;
    }
    track_offer(track, pair, &outcome.report, command);
}

static int64_t renewal_time(const struct keypair *pair)
{
    return keypair_not_before(pair) + (keypair_not_after(pair) - keypair_not_before(pair)) / 3 * 2;
}

static void arm(struct track *track)
{
    int64_t remaining = track->renew_at - vault_now();
    struct loop *loop = track->lineage->vault->host.loop;

    if (remaining > LOOK_AGAIN_S)
        remaining = LOOK_AGAIN_S;
    if (remaining < 0)
        remaining = 0;
    timer_set(loop, &track->renewal, loop_now(loop) + (uint64_t)remaining * NS_PER_S);
}

static void renewal_due(void *context)
{
    struct track *track = context;

    if (vault_now() >= track->renew_at) {
        track->renew_at = vault_now() + LOOK_AGAIN_S; /* the next try, unless this one succeeds */
        issue(track, NULL);
    }
    arm(track);
}

void internal_schedule(struct track *track)
{
    track->renew_at = renewal_time(track->live);
    arm(track);
}

/* A stored leaf is still good when it covers what is configured now and is not due. */
static bool usable(const struct track *track, const struct keypair *pair)
{
    const struct conf_text_list *names = &track->lineage->conf->names;

    for (size_t i = 0; i < names->count; i++) {
        if (!keypair_covers(pair, names->items[i]))
            return false;
    }
    return vault_now() < renewal_time(pair);
}

void internal_start(struct lineage *lineage)
{
    struct stored_pair stored[KEY_TYPE_COUNT];
    struct error error = {0};

    lineage->track_count = (unsigned)lineage->conf->key_types.count;
    if (lineage->track_count > KEY_TYPE_COUNT)
        lineage->track_count = KEY_TYPE_COUNT;
    int result = ca_get(lineage->vault, &error);
    lineage_stored(lineage, stored);
    for (unsigned i = 0; i < lineage->track_count; i++) {
        struct track *track = &lineage->tracks[i];
        struct stored_pair *place = &stored[wanted_type(track)];
        timer_init(&track->renewal, renewal_due, track);
        if (place->pair != NULL &&
            (result != 0 || (!lineage->vault->ca_made && usable(track, place->pair)))) {
            track_adopt(track, place->pair, place->version);
            place->pair = NULL;
        } else if (result == 0) {
            issue(track, NULL);
        }
        if (result != 0)
            track_refuse(track, &error);
    }
    for (enum key_type type = 0; type < KEY_TYPE_COUNT; type++)
        keypair_unref(stored[type].pair);
    lineage_loaded(lineage);
}

void internal_renew(struct lineage *lineage, struct command *command)
{
    command->pending = lineage->track_count;
    for (unsigned i = 0; i < lineage->track_count; i++)
        issue(&lineage->tracks[i], command);
}
