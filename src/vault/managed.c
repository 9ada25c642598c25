/* Managed certificates: what `cert install` put in the state folder. */
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/file.h"
#include "base/string.h"
#include "vault/lineage.h"

void managed_start(struct lineage *lineage)
{
    struct stored_pair stored[KEY_TYPE_COUNT];

    lineage_stored(lineage, stored);
    lineage->track_count = KEY_TYPE_COUNT;
    for (enum key_type type = 0; type < KEY_TYPE_COUNT; type++) {
        struct track *track = &lineage->tracks[type];
        struct preflight_report report;
        struct error error = {0};
        if (stored[type].pair == NULL)
            continue;
        /* It passed when it was installed, perhaps by force; what has become of it since is only
         * said. */
        if (track_preflight(track, stored[type].pair, ~0ull, &report, &error) != 0)
            vault_warn(lineage->vault, lineage, "%s", error.message);
        else if (report.count > 0 && !lineage_noted(lineage, stored[type].pair))
            vault_warn(lineage->vault, lineage, "%s: %s", error_name(report.findings[0].code),
                       report.findings[0].text);
        track_adopt(track, stored[type].pair, stored[type].version);
    }
    lineage_loaded(lineage);
}

static int read_pair(struct keypair **ret_pair, int chain_fd, int key_fd, struct error *error)
{
    __attribute__((cleanup(buffer_auto))) struct buffer chain, key;

    buffer_init_secret(&chain, KEYPAIR_PEM_MAX);
    buffer_init_secret(&key, KEYPAIR_PEM_MAX);
    int result = file_read(&chain, chain_fd, "the chain", error);
    if (result == 0 && key_fd >= 0)
        result = file_read(&key, key_fd, "the key", error);
    if (result != 0)
        return result;
    return keypair_parse(ret_pair, buffer_text(&chain), chain.size,
                         key_fd >= 0 ? buffer_text(&key) : NULL, key.size, error);
}

/* What cannot be parsed never gets to the pre-flight, but is a finding like any other. */
static void report_unparsable(struct vault_outcome *outcome)
{
    if (error_class(outcome->error.code) != ERROR_CLASS_FINDING)
        return;
    outcome->report.count = 1;
    outcome->report.findings[0].code = outcome->error.code;
    ignore(string_copy(outcome->report.findings[0].text, sizeof outcome->report.findings[0].text,
                       outcome->error.message));
}

void managed_install(struct lineage *lineage, int chain_fd, int key_fd, uint64_t forced,
                     struct command *command)
{
    struct vault_outcome outcome = {0};
    struct keypair *pair;

    if (read_pair(&pair, chain_fd, key_fd, &outcome.error) != 0) {
        report_unparsable(&outcome);
        /* Nobody can tell of which type it is. */
        track_refuse(&lineage->tracks[KEY_TYPE_ECDSA], &outcome.error);
        command_report(lineage->vault, command, &outcome);
        return;
    }
    struct track *track = &lineage->tracks[keypair_type(pair)];
    if (track_preflight(track, pair, forced, &outcome.report, &outcome.error) != 0) {
        outcome.key_type = keypair_type(pair);
        track_refuse(track, &outcome.error);
        command_report(lineage->vault, command, &outcome);
        keypair_unref(pair);
        return;
    }
    track_offer(track, pair, &outcome.report, command);
}
