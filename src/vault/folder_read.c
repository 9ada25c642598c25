/* Reading one file of a folder, and what comes of it. */
#include "base/file.h"
#include "vault/folder.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/string.h"

#define SETTLE_NS (5 * NS_PER_S)
#define REFUSED_S                                                                                  \
    60 /* a file that was refused is not read again for so long, unless it changes                 \
        */

/* Why a file is being read. */
struct reading {
    struct folder *folder;
    unsigned handshaker; /* who asked; EVERYBODY: it changed */
    bool refresh;        /* part of reading all in use again */
    char host[HOST_MAX];
    char wanted[256]; /* the name that was asked for */
};

static struct vault *vault_of(const struct folder *folder)
{
    return folder->lineage->vault;
}

static void report(const struct folder *folder, enum event_type type, uint32_t version,
                   const char *host, const char *detail)
{
    vault_report(vault_of(folder), type, folder->lineage->index, version, host, detail);
}

void folder_say_unknown(const struct folder *folder, unsigned handshaker, const char *name)
{
    const struct vault *vault = vault_of(folder);
    struct message_certificate_wanted body = {.certificate = folder->lineage->index};

    ignore(string_copy(body.name, sizeof body.name, name));
    for (unsigned i = 0; i < BOARD_WORKERS_MAX; i++) {
        if ((vault->connected >> i & 1) != 0 && (handshaker == EVERYBODY || handshaker == i))
            ignore(vault->host.send(vault->host.context, i, MESSAGE_CERTIFICATE_UNKNOWN, &body,
                                    sizeof body, -1));
    }
}

/* ---- what a reading brings ---- */

static int judge(const struct reading *reading, const struct keypair *pair,
                 const struct folder_host *used, struct error *error)
{
    const char *names[] = {reading->host};
    struct preflight_report findings;
    struct preflight_policy policy = {
        .names = names, .name_count = 1, .require_chain = true, .now = vault_now()};

    int result = keypair_preflight(pair, &policy, &findings, error);
    if (result == 0 && used != NULL && keypair_not_after(pair) < used->not_after &&
        memcmp(used->fingerprint, keypair_fingerprint(pair), 32) != 0)
        return error_set(error, ERROR_CERTIFICATE_OLDER_THAN_LIVE,
                         "it ends before the one in service");
    return result;
}

static void note_version(struct folder *folder, const struct keypair *pair, uint32_t version,
                         const char *host)
{
    struct error error = {0};
    int result = versions_note(&folder->lineage->versions, version, keypair_type(pair),
                               keypair_fingerprint(pair), host, &error);

    if (result != 0 && !folder->journal_failed)
        vault_warn(vault_of(folder), folder->lineage, "%s", error.message);
    folder->journal_failed = result != 0;
}

static void remember(struct folder_host *used, const struct keypair *pair)
{
    free(used->trouble);
    used->trouble = NULL;
    used->refused_until = 0;
    used->key_type = (uint8_t)keypair_type(pair);
    used->key_bits = (uint16_t)keypair_key_bits(pair);
    used->not_before = keypair_not_before(pair);
    used->not_after = keypair_not_after(pair);
    memcpy(used->fingerprint, keypair_fingerprint(pair), sizeof used->fingerprint);
}

static void send_pair(const struct folder *folder, const struct reading *reading,
                      const struct keypair *pair, uint32_t version)
{
    struct vault *vault = vault_of(folder);
    struct message_certificate body = {
        .certificate = folder->lineage->index, .version = version, .key_type = keypair_type(pair)};
    uint64_t to = reading->handshaker == EVERYBODY ? vault->connected : 1ull << reading->handshaker;

    ignore(string_copy(body.name, sizeof body.name, reading->host));
    ignore((long)vault_send_pair(vault, to, &body, pair));
    /* Answered by the wildcard: there is no file of that very name. */
    if (reading->handshaker != EVERYBODY && strcmp(reading->wanted, reading->host) != 0)
        folder_say_unknown(folder, reading->handshaker, reading->wanted);
}

static void take(struct folder *folder, const struct reading *reading, const struct keypair *pair)
{
    struct folder_entry *entry = folder_index_find(&folder->index, reading->host);
    struct folder_host *used = entry != NULL ? folder_entry_use(&folder->index, entry) : NULL;

    if (used == NULL) { /* removed meanwhile */
        if (reading->handshaker != EVERYBODY)
            folder_say_unknown(folder, reading->handshaker, reading->wanted);
        return;
    }
    bool same = used->version != 0 && memcmp(used->fingerprint, keypair_fingerprint(pair), 32) == 0;
    if (!same) {
        used->version = folder->lineage->versions.last + 1;
        note_version(folder, pair, used->version, reading->host);
    }
    remember(used, pair);
    if (reading->handshaker != EVERYBODY || !same)
        send_pair(folder, reading, pair, used->version);
    if (reading->handshaker != EVERYBODY && reading->host[0] == '*')
        used->given |= 1ull << reading->handshaker;
    if (!same)
        report(folder, EVENT_CERTIFICATE_LOADED, used->version, reading->host,
               keypair_subject(pair));
}

static void refuse(struct folder *folder, const struct reading *reading, const struct error *error)
{
    struct folder_entry *entry = folder_index_find(&folder->index, reading->host);
    struct folder_host *used = entry != NULL ? folder_entry_use(&folder->index, entry) : NULL;
    char text[TROUBLE_MAX];

    ignore(snprintf(text, sizeof text, "%s: %.*s", error_name(error->code), TROUBLE_MAX - 32,
                    error->message));
    bool repeated = used != NULL && used->trouble != NULL && strcmp(used->trouble, text) == 0;
    if (used != NULL) {
        free(used->trouble);
        used->trouble = strdup(text);
        used->refused_until = vault_now() + REFUSED_S;
    }
    if (!repeated)
        report(folder, EVENT_CERTIFICATE_REFUSED, used != NULL ? used->version : 0, reading->host,
               text);
    if (reading->handshaker != EVERYBODY)
        folder_say_unknown(folder, reading->handshaker, reading->wanted);
}

/* ---- files that are being written ---- */

static void arm_settling(struct folder *folder)
{
    struct loop *loop = vault_of(folder)->host.loop;
    uint64_t first = UINT64_MAX, now = loop_now(loop);

    for (const struct settling *it = folder->settling; it != NULL; it = it->next)
        first = it->until > now && it->until < first ? it->until : first;
    if (first == UINT64_MAX)
        timer_cancel(loop, &folder->settle_timer);
    else
        timer_set(loop, &folder->settle_timer, first);
}

static struct settling **settling_of(struct folder *folder, const char *host)
{
    struct settling **place = &folder->settling;

    while (*place != NULL && strcmp((*place)->host, host) != 0)
        place = &(*place)->next;
    return place;
}

void folder_settled(struct folder *folder, const char *host)
{
    struct settling **place = settling_of(folder, host), *it = *place;

    if (it == NULL)
        return;
    *place = it->next;
    free(it);
    arm_settling(folder);
}

/* Is there still time for this file? Begins to count it with the first call. */
static bool may_settle(struct folder *folder, const char *host)
{
    struct settling **place = settling_of(folder, host);
    uint64_t now = loop_now(vault_of(folder)->host.loop);

    if (*place == NULL) {
        if ((*place = calloc(1, sizeof **place)) == NULL)
            return false;
        ignore(string_copy((*place)->host, HOST_MAX, host));
        (*place)->until = now + SETTLE_NS;
    }
    arm_settling(folder);
    return now < (*place)->until;
}

/* ---- reading one file ---- */

static int parse(struct keypair **ret_pair, int fd, int result, struct error *error)
{
    __attribute__((cleanup(buffer_auto))) struct buffer text;

    buffer_init_secret(&text, KEYPAIR_PEM_MAX);
    if (fd < 0)
        return error_set(error, ERROR_IO, "cannot open it: %s", strerror(-result));
    int code = file_read(&text, fd, "it", error);
    return code != 0 ? code
                     : keypair_parse(ret_pair, buffer_text(&text), text.size, NULL, 0, error);
}

static void failed(struct folder *folder, const struct reading *reading, const struct error *error)
{
    bool unfit = error->code == ERROR_IO || error->code == ERROR_CERTIFICATE_UNPARSABLE ||
                 error->code == ERROR_CERTIFICATE_KEY_UNPARSABLE ||
                 error->code == ERROR_CERTIFICATE_KEY_MISMATCH;

    if (reading->handshaker == EVERYBODY && unfit && may_settle(folder, reading->host))
        return;
    folder_settled(folder, reading->host);
    refuse(folder, reading, error);
}

static void file_opened(void *context, int fd, int result)
{
    struct reading *reading = context;
    struct folder *folder = reading->folder;
    struct error error = {0};
    struct keypair *pair = NULL;

    if (!vault_of(folder)->ending) {
        struct folder_entry *entry = folder_index_find(&folder->index, reading->host);
        struct folder_host *used = entry != NULL ? folder_entry_used(&folder->index, entry) : NULL;
        if (parse(&pair, fd, result, &error) != 0 || judge(reading, pair, used, &error) != 0) {
            failed(folder, reading, &error);
        } else {
            folder_settled(folder, reading->host);
            take(folder, reading, pair);
        }
        keypair_unref(pair);
        if (reading->refresh)
            folder_refresh_next(folder);
    }
    if (fd >= 0)
        close(fd);
    free(reading);
}

bool folder_read(struct folder *folder, const struct folder_entry *entry, unsigned handshaker,
                 const char *wanted, bool refresh)
{
    char path[MESSAGE_PATH_MAX], file[HOST_MAX + 16];
    struct reading *reading = calloc(1, sizeof *reading);

    folder_entry_file(&folder->index, entry, file);
    if (reading == NULL || snprintf(path, sizeof path, "%s/%s", folder->lineage->conf->folder,
                                    file) >= (int)sizeof path) {
        free(reading);
        return false;
    }
    *reading = (struct reading){.folder = folder, .handshaker = handshaker, .refresh = refresh};
    ignore(
        string_copy(reading->host, sizeof reading->host, folder_entry_host(&folder->index, entry)));
    ignore(string_copy(reading->wanted, sizeof reading->wanted, wanted));
    vault_ask_open(folder->lineage, path, false, file_opened, reading);
    return true;
}

void folder_settle_over(void *context)
{
    struct folder *folder = context;
    uint64_t now = loop_now(vault_of(folder)->host.loop);

    for (struct settling *it = folder->settling, *next; it != NULL; it = next) {
        next = it->next;
        if (it->until > now)
            continue;
        /* The last reading: it finds no time left. */
        const struct folder_entry *entry = folder_index_find(&folder->index, it->host);
        if (entry == NULL || !folder_read(folder, entry, EVERYBODY, "", false))
            folder_settled(folder, it->host);
    }
    arm_settling(folder);
}
