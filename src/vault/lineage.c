/* What a certificate keeps in the state folder: the journal of its versions, and the pairs
 * themselves unless they are files of somebody else. */
#include "vault/lineage.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "vault/store.h"

static bool is_stored(const struct lineage *lineage)
{
    return lineage->conf->from != CONF_FROM_FILES;
}

static int pairs_folder(const struct lineage *lineage, int *ret_directory, struct error *error)
{
    return store_folder(ret_directory, lineage->vault->host.state_folder,
                        lineage->conf->from == CONF_FROM_INTERNAL ? "internal" : "managed",
                        lineage->conf->name, error);
}

/* ---- journal ---- */

static void note(struct lineage *lineage, enum key_type type, uint32_t version,
                 const uint8_t fingerprint[32])
{
    lineage->noted[type].version = version;
    memcpy(lineage->noted[type].fingerprint, fingerprint, 32);
}

static void journal_line(void *context, uint32_t version, enum key_type type,
                         const uint8_t fingerprint[32], const char *host)
{
    if (host[0] == '\0')
        note(context, type, version, fingerprint);
}

void lineage_journal(struct lineage *lineage)
{
    struct error error = {0};

    if (versions_open(&lineage->versions, lineage->vault->host.state_folder, lineage->conf->name,
                      journal_line, lineage, &error) != 0)
        vault_warn(lineage->vault, lineage, "%s", error.message);
}

bool lineage_noted(const struct lineage *lineage, const struct keypair *pair)
{
    const struct noted *noted = &lineage->noted[keypair_type(pair)];

    return noted->version != 0 && memcmp(noted->fingerprint, keypair_fingerprint(pair), 32) == 0;
}

static void journal_append(struct lineage *lineage, const struct keypair *pair, uint32_t version)
{
    struct error error = {0};

    note(lineage, keypair_type(pair), version, keypair_fingerprint(pair));
    if (versions_note(&lineage->versions, version, keypair_type(pair), keypair_fingerprint(pair),
                      "", &error) != 0)
        vault_warn(lineage->vault, lineage, "%s", error.message);
}

/* ---- pairs ---- */

static int pair_store(struct lineage *lineage, const struct keypair *pair, uint32_t version,
                      struct error *error)
{
    int directory;
    int result = pairs_folder(lineage, &directory, error);

    if (result != 0)
        return result;
    result = store_pair_write(directory, version, pair, error);
    close(directory);
    return result;
}

int lineage_assign(struct track *track, const struct keypair *pair, uint32_t *ret_version,
                   struct error *error)
{
    struct lineage *lineage = track->lineage;

    if (!lineage->complete && lineage_noted(lineage, pair)) {
        *ret_version = lineage->noted[keypair_type(pair)].version;
        return 0;
    }
    uint32_t version = lineage->versions.last + 1;
    if (is_stored(lineage) && pair_store(lineage, pair, version, error) != 0) {
        if (lineage->conf->from == CONF_FROM_MANAGED)
            return error_prepend(error, "it would not survive a restart");
        vault_warn(lineage->vault, lineage, "%s", error->message);
        *error = (struct error){0};
    }
    lineage->versions.last = version;
    journal_append(lineage, pair, version);
    *ret_version = version;
    return 0;
}

void lineage_revert(struct track *track, uint32_t version)
{
    struct lineage *lineage = track->lineage;
    int directory;

    if (track->live != NULL)
        journal_append(lineage, track->live, track->version);
    if (!is_stored(lineage) || pairs_folder(lineage, &directory, NULL) != 0)
        return;
    store_pair_remove(directory, version);
    close(directory);
}

void lineage_prune(struct track *track)
{
    int directory;

    if (!is_stored(track->lineage) || pairs_folder(track->lineage, &directory, NULL) != 0)
        return;
    store_pairs_prune(directory, keypair_type(track->live));
    close(directory);
}

static void stored_bad(void *context, uint32_t version, const struct error *error)
{
    struct lineage *lineage = context;

    vault_warn(lineage->vault, lineage, "version %u in the state folder is passed over: %s",
               version, error->message);
}

void lineage_stored(struct lineage *lineage, struct stored_pair ret_pairs[KEY_TYPE_COUNT])
{
    struct error error = {0};
    int directory;
    int result = pairs_folder(lineage, &directory, &error);

    memset(ret_pairs, 0, KEY_TYPE_COUNT * sizeof *ret_pairs);
    if (result == 0) {
        result = store_pairs_read(ret_pairs, directory, stored_bad, lineage, &error);
        close(directory);
    }
    if (result != 0)
        vault_warn(lineage->vault, lineage, "%s", error.message);
}
