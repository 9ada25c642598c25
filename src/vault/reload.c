/* Another configuration: which certificates go on, which begin anew, which go. */
#include <stdlib.h>

#include "conf/merge.h"
#include "vault/lineage.h"
#include "vault/trust_watch.h"

/* Its callbacks find the vault ending, and so only release what they hold. */
static void lineage_remove(struct lineage *lineage)
{
    struct vault *vault = lineage->vault;

    rollout_abandon(lineage);
    vault->ending = true;
    vault->loading -= lineage->loading;
    for (unsigned i = 0; i < KEY_TYPE_COUNT; i++)
        dialler_cancel(&vault->dialler, &lineage->tracks[i]);
    dialler_cancel(&vault->dialler, lineage);
    requests_cancel(&vault->requests, lineage);
    vault->lineages[lineage->index] = NULL;
    lineage_free(lineage);
    vault->ending = false;
}

static void keep_previous(const struct lineage *before, struct lineage *lineage)
{
    for (unsigned i = 0; i < before->track_count; i++) {
        const struct track *track = &before->tracks[i];
        if (track->live == NULL)
            continue;
        struct previous *previous = &lineage->previous[keypair_type(track->live)];
        keypair_unref(previous->pair);
        *previous = (struct previous){keypair_ref(track->live), track->version};
    }
}

/* Makes the lineages of sections that are new or changed, in `fresh`. */
static bool make_fresh(struct vault *vault, const struct conf *next, struct lineage **fresh)
{
    for (uint32_t i = 0; i < next->certificate_count; i++) {
        const struct conf_certificate *certificate = &next->certificates[i];
        const struct lineage *before = i < vault->lineage_count ? vault->lineages[i] : NULL;
        if (certificate->name == NULL ||
            (before != NULL && conf_same_certificate(vault->conf, next, certificate->name)))
            continue;
        fresh[i] = lineage_new(vault, certificate, i);
        if (fresh[i] == NULL)
            return false;
        if (before != NULL)
            keep_previous(before, fresh[i]);
    }
    return true;
}

static void follow(struct lineage *lineage, const struct conf_certificate *conf)
{
    lineage->conf = conf;
    lineage->redial |= lineage->rollout.candidate != NULL &&
                       lineage->rollout.candidate->track->state == VAULT_CHECKING;
    files_follow(lineage);
}

bool vault_reload(struct vault *vault, const struct conf *next, uint32_t generation)
{
    size_t count = next->certificate_count > vault->lineage_count ? next->certificate_count
                                                                  : vault->lineage_count;
    struct lineage **fresh = calloc(count + 1, sizeof *fresh);
    struct lineage **lineages =
        fresh == NULL ? NULL : reallocarray(vault->lineages, count + 1, sizeof *lineages);

    if (lineages != NULL) {
        vault->lineages = lineages;
        for (size_t i = vault->lineage_count; i < count; i++)
            lineages[i] = NULL;
        vault->lineage_count = count;
    }
    if (lineages == NULL || !make_fresh(vault, next, fresh)) {
        for (size_t i = 0; fresh != NULL && i < count; i++)
            lineage_free(fresh[i]);
        free(fresh);
        return false;
    }
    vault->complete = false;
    vault->generation = generation;
    dialler_reload(&vault->dialler, next);
    for (uint32_t i = 0; i < count; i++) {
        const struct conf_certificate *certificate =
            i < next->certificate_count ? &next->certificates[i] : NULL;
        if (lineages[i] != NULL &&
            (fresh[i] != NULL || certificate == NULL || certificate->name == NULL))
            lineage_remove(lineages[i]);
        if (fresh[i] != NULL)
            lineages[i] = fresh[i];
        else if (lineages[i] != NULL)
            follow(lineages[i], certificate);
    }
    trust_watch_reload(vault, next);
    vault->conf = next;
    free(fresh);
    vault_start_new(vault);
    return true;
}

void vault_settled(struct vault *vault)
{
    dialler_resume(&vault->dialler);
    for (size_t i = 0; i < vault->lineage_count; i++) {
        if (vault->lineages[i] != NULL)
            rollout_dial_again(vault->lineages[i]);
    }
}
