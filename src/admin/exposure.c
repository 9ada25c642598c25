#include "admin/exposure.h"

#include <stdio.h>
#include <string.h>

#include "admin/tickets.h"
#include "base/attributes.h"
#include "base/clock.h"
#include "base/json.h"
#include "tls/suite.h"

#define PATH_SIZE 4096
#define TEXT_SIZE 256

/* Kinds of process as bits. */
#define KIND(kind)  (1u << (kind))
#define HANDSHAKERS (KIND(PROCESS_HANDSHAKER) | KIND(PROCESS_RETIRING_HANDSHAKER))
#define VAULT       KIND(PROCESS_CONTROL)

#define NOTHING_RECORDED                                                                           \
    "nothing recorded: every key exchange is ephemeral; who has it can pretend to be us"

struct exposure {
    const struct admin_view *view;
    const struct key_usage_survey *sessions;
    json_t *lines;
};

/* ---- a line ---- */

static json_t *processes_of(const struct board *board, unsigned workers, enum process_kind kind)
{
    unsigned count = kind == PROCESS_CONTROL || kind == PROCESS_SUPERVISOR ? 1 : workers;
    json_t *pids = json_array(), *object = json_object();

    for (unsigned i = 0; i < count; i++) {
        const struct board_process *process = &board->processes[board_worker_number(kind, i)];
        uint32_t pid = __atomic_load_n(&process->pid, __ATOMIC_RELAXED);
        if (pid != 0)
            ignore(json_array_append_new(pids, json_integer(pid)));
    }
    json_set_text(object, "kind", process_kind_name(kind));
    ignore(json_object_set_new(object, "pids", pids));
    return object;
}

static json_t *begin(const struct exposure *exposure, const char *secret, const char *name,
                     unsigned kinds)
{
    const struct admin_view *view = exposure->view;
    json_t *object = json_object(), *processes = json_array();

    for (unsigned kind = 0; kind < PROCESS_KIND_COUNT; kind++) {
        if ((kinds & KIND(kind)) == 0)
            continue;
        json_t *entry = processes_of(view->board, view->workers, (enum process_kind)kind);
        if (json_array_size(json_object_get(entry, "pids")) > 0)
            ignore(json_array_append_new(processes, entry));
        else
            json_decref(entry);
    }
    json_set_text(object, "secret", secret);
    json_set_text(object, "name", name);
    ignore(json_object_set_new(object, "processes", processes));
    ignore(json_object_set_new(object, "disk", json_array()));
    ignore(json_array_append_new(exposure->lines, object));
    return object;
}

static void add_path(json_t *object, const char *path, bool encrypted)
{
    json_t *entry = json_object();

    json_set_text(entry, "path", path);
    json_set_flag(entry, "encrypted", encrypted);
    ignore(json_array_append_new(json_object_get(object, "disk"), entry));
}

static void add_state_path(const struct exposure *exposure, json_t *object, const char *folder,
                           const char *name, bool encrypted)
{
    char path[PATH_SIZE];

    if (snprintf(path, sizeof path, "%s/%s%s%s", exposure->view->conf->state_folder, folder,
                 name != NULL ? "/" : "", name != NULL ? name : "") < (int)sizeof path)
        add_path(object, path, encrypted);
}

static void conclude(json_t *object, const char *decrypts, int64_t until, const char *after_stop)
{
    json_set_text(object, "decrypts", decrypts);
    json_set_time(object, "until", until);
    json_set_text(object, "after_stop", after_stop);
}

/* ---- private keys ---- */

static void certificate_key(struct exposure *exposure, const struct conf_certificate *certificate)
{
    json_t *line = begin(exposure, "certificate-key", certificate->name, HANDSHAKERS | VAULT);

    /* A chain without a key of its own is a combined file. */
    for (size_t i = 0; i < certificate->chain.count; i++) {
        bool apart = i < certificate->key.count && certificate->key.items[i][0] != '\0';
        add_path(line, apart ? certificate->key.items[i] : certificate->chain.items[i], false);
    }
    if (certificate->folder != NULL)
        add_path(line, certificate->folder, false);
    if (certificate->from == CONF_FROM_INTERNAL)
        add_state_path(exposure, line, "internal", certificate->name, false);
    if (certificate->from == CONF_FROM_MANAGED)
        add_state_path(exposure, line, "managed", certificate->name, false);
    conclude(line, NOTHING_RECORDED, 0, "the files");
}

static void certificate_keys(struct exposure *exposure)
{
    const struct conf *conf = exposure->view->conf;

    for (size_t i = 0; i < conf->certificate_count; i++) {
        if (conf->certificates[i].name != NULL)
            certificate_key(exposure, &conf->certificates[i]);
    }
}

static void internal_ca_key(struct exposure *exposure)
{
    const struct conf *conf = exposure->view->conf;
    bool needed = false;

    for (size_t i = 0; i < conf->certificate_count; i++)
        needed |=
            conf->certificates[i].name != NULL && conf->certificates[i].from == CONF_FROM_INTERNAL;
    if (!needed)
        return;
    json_t *line = begin(exposure, "internal-ca-key", NULL, VAULT);
    add_state_path(exposure, line, "internal-ca.key", NULL, false);
    conclude(line, "nothing recorded; who has it can issue certificates that our clients trust", 0,
             "the file");
}

static void upstream_keys(struct exposure *exposure)
{
    const struct conf *conf = exposure->view->conf;

    for (size_t i = 0; i < conf->upstream_count; i++) {
        const struct conf_upstream *upstream = &conf->upstreams[i];
        if (upstream->name == NULL || upstream->tls_key == NULL)
            continue;
        json_t *line = begin(exposure, "upstream-client-key", upstream->name, HANDSHAKERS);
        add_path(line, upstream->tls_key, false);
        conclude(line, NOTHING_RECORDED, 0, "the file");
    }
}

static void ephemeral_keys(struct exposure *exposure)
{
    conclude(begin(exposure, "ephemeral-key", NULL, HANDSHAKERS),
             "the session of its handshake; it is wiped when that ends", 0, "nothing");
}

/* ---- tickets ---- */

/* The longest life of a TLS 1.2 session that can be resumed, in ms, by ticket or (`by_id`) from the
 * cache; 0: there are none. */
static uint64_t longest_tls12(const struct conf *conf, bool by_id)
{
    uint64_t longest = 0;

    for (size_t i = 0; i < conf->listener_count; i++) {
        const struct conf_listener *listener = &conf->listeners[i];
        if (listener->name != NULL && listener->mode == CONF_MODE_TCP &&
            (by_id || listener->tickets > 0) && listener->min_version == CONF_TLS_1_2 &&
            listener->ticket_lifetime > longest)
            longest = listener->ticket_lifetime;
    }
    return longest;
}

/* When the last of the keys that we have now goes: the next one will first be current for as long
 * as it may, and then open what was made with it. */
static int64_t last_ticket_key_goes(const struct exposure *exposure)
{
    const struct ticket_keys *keys = exposure->view->tickets->keys;
    const struct conf *conf = exposure->view->conf;
    uint64_t life = (conf->ticket_key_lifetime + conf_longest_ticket(conf)) / 1000, last = 0;

    for (uint32_t i = 0; i < keys->count && i < TICKET_KEYS_MAX; i++) {
        const struct ticket_key *key = &keys->keys[i];
        uint64_t until = key->not_after != 0 ? key->not_after : key->not_before + life;
        last = until > last ? until : last;
    }
    return (int64_t)last;
}

static void ticket_keys(struct exposure *exposure)
{
    const struct admin_view *view = exposure->view;
    bool stored = view->conf->key_encryption_key != NULL,
         older = longest_tls12(view->conf, false) != 0;
    json_t *line;

    if (view->tickets == NULL || conf_longest_ticket(view->conf) == 0)
        return;
    line = begin(exposure, "ticket-keys", NULL, HANDSHAKERS | VAULT);
    if (stored && view->conf->ticket_keys_file != NULL)
        add_path(line, view->conf->ticket_keys_file, true);
    else if (stored)
        add_state_path(exposure, line, "ticket-keys", NULL, true);
    conclude(line,
             older ? "TLS 1.2 sessions that were given or used a ticket; with TLS 1.3 nothing "
                     "recorded, since resumption makes a fresh key exchange"
                   : "nothing recorded: resumption makes a fresh key exchange (TLS 1.3)",
             older ? last_ticket_key_goes(exposure) : 0,
             stored ? "the file, and every copy of it for as long as the key-encryption key exists"
                    : "nothing");
}

static void key_encryption_key(struct exposure *exposure)
{
    const struct conf *conf = exposure->view->conf;
    char path[PATH_SIZE];

    if (conf->key_encryption_key == NULL)
        return;
    json_t *line = begin(exposure, "key-encryption-key", NULL, VAULT);
    bool found = conf_key_encryption_path(path, sizeof path, conf, NULL) == 0;
    add_path(line, found ? path : conf->key_encryption_key, false);
    conclude(line, "what the ticket keys decrypt, for who also has a copy of their file", 0,
             "the file, or the service manager's credential");
}

static void session_cache(struct exposure *exposure)
{
    const struct conf *conf = exposure->view->conf;
    uint64_t longest = longest_tls12(conf, true);

    if (conf->session_cache == 0 || longest == 0)
        return;
    conclude(begin(exposure, "session-cache", NULL, HANDSHAKERS),
             "TLS 1.2 sessions that are in it; each stays for as long as a ticket would",
             (int64_t)(clock_wall_ns() / NS_PER_S + longest / 1000), "nothing");
}

/* ---- sessions ---- */

static void traffic_keys(struct exposure *exposure)
{
    uint64_t old = 0, new = 0;
    uint32_t attached[ATTACHED_REASON_COUNT], by_openssl = 0;
    char decrypts[TEXT_SIZE];

    board_attached_count(exposure->view->board, attached);
    for (unsigned i = 0; i < ATTACHED_REASON_COUNT; i++)
        by_openssl += attached[i];
    for (size_t i = 0; i < exposure->sessions->count; i++) {
        const struct key_usage_entry *entry = &exposure->sessions->entries[i];
        *(entry->version == TLS_VERSION_1_3 ? &new : &old) += entry->sessions;
    }
    ignore(
        snprintf(decrypts, sizeof decrypts,
                 "its own session: of %llu in TLS 1.3 what came since its last KeyUpdate, of "
                 "%llu in TLS 1.2 all; of %u attached ones, which OpenSSL carries in handshakers, "
                 "all; it is wiped when the session ends",
                 (unsigned long long)new, (unsigned long long)old, by_openssl));
    conclude(begin(exposure, "traffic-keys", NULL,
                   KIND(PROCESS_RELAY) | (by_openssl > 0 ? HANDSHAKERS : 0u)),
             decrypts, 0, "nothing");
}

json_t *exposure_to_json(const struct admin_view *view, const struct key_usage_survey *sessions)
{
    struct exposure exposure = {view, sessions, json_array()};

    certificate_keys(&exposure);
    internal_ca_key(&exposure);
    upstream_keys(&exposure);
    ephemeral_keys(&exposure);
    ticket_keys(&exposure);
    key_encryption_key(&exposure);
    session_cache(&exposure);
    traffic_keys(&exposure);
    return exposure.lines;
}
