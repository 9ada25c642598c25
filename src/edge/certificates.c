#include "edge/certificates.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/map.h"
#include "base/secret.h"
#include "base/string.h"
#include "conf/merge.h"
#include "edge/alpn.h"
#include "edge/client_trust.h"
#include "ipc/memory.h"
#include "tls/ticket_ring.h"

#define UNKNOWN_KEPT_NS  (5 * NS_PER_S) /* how long "no such name" is remembered */
#define FOLDER_NAMES_MAX 200000u        /* names of folders remembered, known or not */

/* One certificate name with its versions; what a folder holds is made of these, too. */
struct entry {
    struct keypair *pairs[KEY_TYPE_COUNT];
    uint32_t versions[KEY_TYPE_COUNT];
    struct tls_server **servers; /* by listener and tls_client_mode, `server_count` of them; made
                                    when first used */
    size_t server_count;
    uint64_t unknown_until_ns; /* folder: control said no */
    bool asked;
};

struct listener_names {
    struct map exact, wildcard; /* name → index of the certificate + 1 */
    uint8_t *alpn;
    size_t alpn_size;
};

struct certificates {
    struct worker *worker;
    certificates_want_fn *want;
    void *context;
    struct entry *entries; /* by certificate */
    struct map
        *folders; /* by certificate: name → struct entry; used where a folder is configured */
    size_t entry_count;
    struct listener_names *listeners, *next_listeners; /* next: prepared; NULL: nothing is */
    size_t listener_count, next_listener_count;
    struct session_cache *session_cache; /* NULL: none */
    struct ticket_ring *ticket_ring;     /* for reading only */
    struct client_trust trust;
};

/* ---- names ---- */

static bool add_name(struct listener_names *names, const char *name, uintptr_t certificate)
{
    bool wildcard = strncmp(name, "*.", 2) == 0;
    struct map *map = wildcard ? &names->wildcard : &names->exact;
    const char *key = wildcard ? name + 2 : name;

    /* The first certificate of the listener that has the name answers for it. */
    return map_get(map, key) != NULL || map_put(map, key, (void *)(certificate + 1));
}

static bool index_listener(const struct conf *conf, unsigned listener, struct listener_names *names)
{
    map_init(&names->exact);
    map_init(&names->wildcard);
    names->alpn = alpn_encode(&conf->listeners[listener].alpn, &names->alpn_size);
    if (names->alpn == NULL)
        return false;
    for (size_t i = 0; i < conf->listeners[listener].certificate_count; i++) {
        uint32_t certificate = conf->listeners[listener].certificates[i];
        const struct conf_text_list *list = &conf->certificates[certificate].names;
        for (size_t j = 0; j < list->count; j++) {
            if (!add_name(names, list->items[j], certificate))
                return false;
        }
    }
    return true;
}

static void listeners_free(struct listener_names *listeners, size_t count)
{
    for (size_t i = 0; listeners != NULL && i < count; i++) {
        map_fini(&listeners[i].exact);
        map_fini(&listeners[i].wildcard);
        free(listeners[i].alpn);
    }
    free(listeners);
}

/* NULL when out of memory. */
static struct listener_names *index_listeners(const struct conf *conf)
{
    struct listener_names *listeners = calloc(conf->listener_count + 1, sizeof *listeners);

    for (unsigned i = 0; listeners != NULL && i < conf->listener_count; i++) {
        if (!index_listener(conf, i, &listeners[i])) {
            listeners_free(listeners, i + 1);
            return NULL;
        }
    }
    return listeners;
}

/* ---- contexts ---- */

static uint16_t version_code(enum conf_tls_version version)
{
    return version == CONF_TLS_1_3 ? TLS_VERSION_1_3 : TLS_VERSION_1_2;
}

/* How clients are asked for a certificate, and what it is judged by. */
struct asking {
    enum tls_client_mode mode;
    struct trust_set *trust; /* NULL: nothing */
};

static enum tls_client_mode mode_of(enum conf_client_certificate asked)
{
    switch (asked) {
    case CONF_CLIENT_CERTIFICATE_NONE:
        break;
    case CONF_CLIENT_CERTIFICATE_OPTIONAL:
        return TLS_CLIENT_OPTIONAL;
    case CONF_CLIENT_CERTIFICATE_REQUIRED:
        return TLS_CLIENT_REQUIRED;
    case CONF_CLIENT_CERTIFICATE_LATER:
        return TLS_CLIENT_LATER;
    }
    return TLS_CLIENT_NONE;
}

/* From the listener's policy only: renewal of a certificate keeps resumption, another policy ends
 * it (reload_plan.c tells the operator). What the CAs are counts, and not what they have revoked:
 * that is judged when a session is resumed. */
static struct resumption_scope scope_of(const struct conf_listener *listener,
                                        const struct asking *asking)
{
    struct resumption_scope scope = {.listener = listener->name,
                                     .strict_names =
                                         listener->unknown_name == CONF_UNKNOWN_NAME_REFUSE,
                                     .client_certificates = (uint32_t)asking->mode};

    if (asking->mode != TLS_CLIENT_NONE && asking->trust != NULL)
        memcpy(scope.trust_digest, trust_set_authorities_digest(asking->trust),
               sizeof scope.trust_digest);
    return scope;
}

static int build_server(const struct certificates *certificates, const struct entry *entry,
                        const struct conf_listener *conf, const struct listener_names *names,
                        const struct asking *asking, struct tls_server **ret_server,
                        struct error *error)
{
    struct tls_policy policy = {
        .min_version = version_code(conf->min_version),
        .max_version = version_code(conf->max_version),
        .cbc = conf->cbc_suites,
        .groups =
            strcmp(conf->groups, CONF_GROUPS_DEFAULT) == 0 ? tls_default_groups() : conf->groups,
        .alpn = names->alpn,
        .alpn_size = names->alpn_size,
        .tickets = conf->tickets,
        .ticket_lifetime_s = (uint32_t)(conf->ticket_lifetime / 1000),
        .lineage_s = conf->max_lineage,
        .resumption_epoch = &certificates->worker->board->resumption_epoch,
        .ticket_ring = certificates->ticket_ring,
        .session_cache = certificates->session_cache,
        .client_trust = asking->trust,
        .client_mode = asking->mode,
        .client_verify_depth = conf->client_verify_depth,
        .refuse_stale_lists = conf->crl_expired == CONF_CRL_EXPIRED_REFUSE,
    };
    struct resumption_scope scope = scope_of(conf, asking);

    memcpy(policy.trust_digest, scope.trust_digest, sizeof policy.trust_digest);
    resumption_context(&scope, policy.session_id_context);
    return tls_server_new(ret_server, &policy, entry->pairs, error);
}

static bool make_room(struct entry *entry, size_t count)
{
    if (entry->server_count >= count)
        return true;
    struct tls_server **servers = reallocarray(entry->servers, count, sizeof *servers);
    if (servers == NULL)
        return false;
    memset(servers + entry->server_count, 0, (count - entry->server_count) * sizeof *servers);
    entry->servers = servers;
    entry->server_count = count;
    return true;
}

/* What a client is looking for. */
struct wanted {
    unsigned listener;
    struct asking asking; /* for the name that it asks for */
};

static enum certificate_answer answer(struct certificates *certificates, struct entry *entry,
                                      const struct wanted *wanted, uint32_t certificate,
                                      struct certificate_choice *ret_choice)
{
    const struct conf_listener *conf = &certificates->worker->conf->listeners[wanted->listener];
    size_t place = (size_t)wanted->listener * TLS_CLIENT_MODES + wanted->asking.mode;
    struct error error = {0};

    if ((wanted->asking.mode == TLS_CLIENT_OPTIONAL ||
         wanted->asking.mode == TLS_CLIENT_REQUIRED) &&
        wanted->asking.trust == NULL)
        return CERTIFICATE_UNTRUSTED;
    if (!make_room(entry, certificates->listener_count * TLS_CLIENT_MODES))
        return CERTIFICATE_MISSING;
    if (entry->servers[place] == NULL) {
        if (entry->pairs[KEY_TYPE_ECDSA] == NULL && entry->pairs[KEY_TYPE_RSA] == NULL)
            return CERTIFICATE_MISSING;
        if (build_server(certificates, entry, conf, &certificates->listeners[wanted->listener],
                         &wanted->asking, &entry->servers[place], &error) < 0) {
            worker_warn(certificates->worker, "listener %s cannot use certificate %s: %s",
                        conf->name, certificates->worker->conf->certificates[certificate].name,
                        error.message);
            return CERTIFICATE_MISSING;
        }
    }
    ret_choice->server = entry->servers[place];
    ret_choice->certificate = certificate;
    memcpy(ret_choice->versions, entry->versions, sizeof ret_choice->versions);
    return CERTIFICATE_FOUND;
}

static void drop_servers(struct entry *entry)
{
    for (size_t i = 0; i < entry->server_count; i++) {
        tls_server_unref(entry->servers[i]);
        entry->servers[i] = NULL;
    }
}

static void entry_fini(struct entry *entry)
{
    drop_servers(entry);
    free(entry->servers);
    for (unsigned type = 0; type < KEY_TYPE_COUNT; type++)
        keypair_unref(entry->pairs[type]);
}

/* ---- folders ---- */

static void forget_names(struct map *folder)
{
    const struct map_entry *it;

    for (size_t at = 0; (it = map_next(folder, &at)) != NULL;) {
        entry_fini(it->value);
        free(it->value);
    }
    map_fini(folder);
    map_init(folder);
}

static struct entry *folder_entry(struct certificates *certificates, uint32_t certificate,
                                  const char *name)
{
    struct map *folder = &certificates->folders[certificate];
    struct entry *entry = map_get(folder, name);

    if (entry != NULL)
        return entry;
    if (folder->count >= FOLDER_NAMES_MAX)
        forget_names(folder);
    entry = calloc(1, sizeof *entry);
    if (entry == NULL || !map_put(folder, name, entry)) {
        free(entry);
        return NULL;
    }
    return entry;
}

static bool loaded(const struct entry *entry)
{
    return entry != NULL &&
           (entry->pairs[KEY_TYPE_ECDSA] != NULL || entry->pairs[KEY_TYPE_RSA] != NULL);
}

/* The folder's "*.example.org" for a name below it, when it was sent before. */
static struct entry *folder_wildcard(struct certificates *certificates, uint32_t certificate,
                                     const char *name)
{
    char wildcard[sizeof((struct message_certificate_wanted *)NULL)->name];
    const char *dot = strchr(name, '.');

    if (dot == NULL || snprintf(wildcard, sizeof wildcard, "*%s", dot) >= (int)sizeof wildcard)
        return NULL;
    return map_get(&certificates->folders[certificate], wildcard);
}

static void ask(struct certificates *certificates, uint32_t certificate, const char *name)
{
    struct message_certificate_wanted wanted = {.certificate = certificate};

    if (string_copy(wanted.name, sizeof wanted.name, name))
        certificates->want(certificates->context, &wanted);
}

static enum certificate_answer choose_from_folder(struct certificates *certificates,
                                                  const struct wanted *wanted, uint32_t certificate,
                                                  const char *name,
                                                  struct certificate_choice *ret_choice)
{
    struct entry *entry = folder_entry(certificates, certificate, name);
    struct entry *wildcard = folder_wildcard(certificates, certificate, name);
    uint64_t now = loop_now(certificates->worker->loop);

    if (entry == NULL)
        return CERTIFICATE_MISSING;
    if (loaded(entry))
        return answer(certificates, entry, wanted, certificate, ret_choice);
    if (loaded(wildcard)) { /* it covers the name; a file of its own may have come: ask without
                               waiting */
        if (entry->unknown_until_ns <= now) {
            entry->unknown_until_ns = now + UNKNOWN_KEPT_NS;
            ask(certificates, certificate, name);
        }
        return answer(certificates, wildcard, wanted, certificate, ret_choice);
    }
    if (entry->unknown_until_ns > now)
        return CERTIFICATE_UNKNOWN;
    if (!entry->asked) {
        entry->asked = true;
        ask(certificates, certificate, name);
        if (!entry->asked) /* refused at once: control cannot be reached */
            return CERTIFICATE_UNKNOWN;
    }
    return CERTIFICATE_ASKED;
}

/* ---- choice ---- */

enum certificate_answer certificates_choose(struct certificates *certificates, unsigned listener,
                                            const char *server_name,
                                            struct certificate_choice *ret_choice)
{
    const struct conf *conf = certificates->worker->conf;
    const struct conf_listener *it = &conf->listeners[listener];
    const struct listener_names *names = &certificates->listeners[listener];
    const struct wanted wanted = {
        .listener = listener,
        .asking = {.mode = mode_of(conf_client_certificate(it, server_name)),
                   .trust = certificates->trust.sets[listener]}};
    uintptr_t found = server_name[0] == 0 ? 0 : (uintptr_t)map_get(&names->exact, server_name);

    if (found != 0)
        return answer(certificates, &certificates->entries[found - 1], &wanted,
                      (uint32_t)(found - 1), ret_choice);
    for (size_t i = 0; server_name[0] != 0 && i < it->certificate_count; i++) {
        if (conf->certificates[it->certificates[i]].folder == NULL)
            continue;
        enum certificate_answer result =
            choose_from_folder(certificates, &wanted, it->certificates[i], server_name, ret_choice);
        if (result != CERTIFICATE_UNKNOWN)
            return result;
    }
    const char *dot = strchr(server_name, '.');
    found = dot == NULL || dot == server_name ? 0 : (uintptr_t)map_get(&names->wildcard, dot + 1);
    if (found != 0)
        return answer(certificates, &certificates->entries[found - 1], &wanted,
                      (uint32_t)(found - 1), ret_choice);
    if (it->unknown_name == CONF_UNKNOWN_NAME_REFUSE ||
        conf->certificates[it->certificates[0]].folder != NULL)
        return CERTIFICATE_UNKNOWN;
    return answer(certificates, &certificates->entries[it->certificates[0]], &wanted,
                  it->certificates[0], ret_choice);
}

/* ---- versions ---- */

/* Can a listener that uses the certificate (the one to come, while another configuration is
 * prepared) work with it? */
static int try_pair(const struct certificates *certificates, const struct entry *entry,
                    uint32_t certificate, struct error *error)
{
    bool coming = certificates->next_listeners != NULL;
    const struct conf *conf = coming ? certificates->worker->next_conf : certificates->worker->conf;
    const struct listener_names *names =
        coming ? certificates->next_listeners : certificates->listeners;
    const struct asking asking = {.mode = TLS_CLIENT_NONE};
    struct tls_server *probe = NULL;

    for (size_t i = 0; i < conf->listener_count; i++) {
        const struct conf_listener *listener = &conf->listeners[i];
        for (size_t j = 0; j < listener->certificate_count; j++) {
            if (listener->certificates[j] != certificate)
                continue;
            int result =
                build_server(certificates, entry, listener, &names[i], &asking, &probe, error);
            if (result == 0)
                tls_server_unref(probe);
            return result;
        }
    }
    return 0;
}

int certificates_install(struct certificates *certificates, const struct message_certificate *body,
                         const char *pem, size_t pem_size, struct error *error)
{
    struct keypair *pair;

    if (body->certificate >= certificates->entry_count || body->key_type >= KEY_TYPE_COUNT)
        return error_set(error, ERROR_INTERNAL, "no such certificate: %u", body->certificate);
    struct entry *entry = body->name[0] == 0
                              ? &certificates->entries[body->certificate]
                              : folder_entry(certificates, body->certificate, body->name);
    if (entry == NULL)
        return error_set(error, ERROR_MEMORY, "out of memory");
    int result = keypair_parse(&pair, pem, pem_size, NULL, 0, error);
    if (result < 0)
        return result;
    struct entry next = *entry;
    next.pairs[body->key_type] = pair;
    if (body->name[0] == 0) /* folders are many, theirs are built when used */
        result = try_pair(certificates, &next, body->certificate, error);
    if (result < 0) {
        keypair_unref(pair);
        return result;
    }
    keypair_unref(entry->pairs[body->key_type]);
    entry->pairs[body->key_type] = pair;
    entry->versions[body->key_type] = body->version;
    entry->asked = false;
    entry->unknown_until_ns = 0;
    drop_servers(entry);
    return 0;
}

void certificates_not_taken(struct certificates *certificates,
                            const struct message_certificate *body)
{
    struct entry *entry = body->certificate >= certificates->entry_count
                              ? NULL
                              : map_get(&certificates->folders[body->certificate], body->name);

    if (entry == NULL || loaded(entry))
        return;
    entry->asked = false;
    entry->unknown_until_ns = loop_now(certificates->worker->loop) + UNKNOWN_KEPT_NS;
}

void certificates_withdraw(struct certificates *certificates,
                           const struct message_certificate *body)
{
    if (body->certificate >= certificates->entry_count || body->key_type >= KEY_TYPE_COUNT ||
        body->name[0] != 0)
        return;
    struct entry *entry = &certificates->entries[body->certificate];
    keypair_unref(entry->pairs[body->key_type]);
    entry->pairs[body->key_type] = NULL;
    entry->versions[body->key_type] = 0;
    drop_servers(entry);
}

void certificates_ask_again(struct certificates *certificates)
{
    const struct map_entry *place;

    for (size_t i = 0; i < certificates->entry_count; i++) {
        for (size_t at = 0; (place = map_next(&certificates->folders[i], &at)) != NULL;)
            ((struct entry *)place->value)->asked = false;
    }
}

void certificates_refuse(struct certificates *certificates,
                         const struct message_certificate_wanted *body)
{
    struct entry *entry;

    if (body->certificate >= certificates->entry_count ||
        (entry = map_get(&certificates->folders[body->certificate], body->name)) == NULL)
        return;
    entry->asked = false;
    entry->unknown_until_ns = loop_now(certificates->worker->loop) + UNKNOWN_KEPT_NS;
    drop_servers(entry);
    for (unsigned type = 0; type < KEY_TYPE_COUNT; type++) {
        keypair_unref(entry->pairs[type]);
        entry->pairs[type] = NULL;
    }
}

/* ---- what clients are judged by ---- */

/* Contexts of listeners that are not the same any more are made anew when next used. */
static void drop_changed(struct entry *entry, const bool *same, size_t count)
{
    for (size_t i = 0; i < entry->server_count; i++) {
        if (i / TLS_CLIENT_MODES < count && same[i / TLS_CLIENT_MODES])
            continue;
        tls_server_unref(entry->servers[i]);
        entry->servers[i] = NULL;
    }
}

static void drop_listener(struct certificates *certificates, unsigned listener)
{
    bool same[CONF_LISTENERS_MAX];
    const struct map_entry *it;

    memset(same, true, sizeof same);
    same[listener] = false;
    for (size_t i = 0; i < certificates->entry_count; i++) {
        drop_changed(&certificates->entries[i], same, CONF_LISTENERS_MAX);
        for (size_t at = 0; (it = map_next(&certificates->folders[i], &at)) != NULL;)
            drop_changed(it->value, same, CONF_LISTENERS_MAX);
    }
}

int certificates_trust(struct certificates *certificates, const struct message_client_trust *body,
                       const char *document, size_t size, struct error *error)
{
    bool changed;
    int result = client_trust_take(&certificates->trust, certificates->worker, body, document, size,
                                   &changed, error);

    if (result == 0 && changed)
        drop_listener(certificates, body->listener);
    return result;
}

struct trust_set *certificates_trust_of(const struct certificates *certificates, unsigned listener)
{
    return certificates->trust.sets[listener];
}

bool certificates_asking(const struct certificates *certificates, unsigned listener,
                         struct handshake_asking *ret_asking)
{
    const struct conf_listener *conf = &certificates->worker->conf->listeners[listener];

    *ret_asking = (struct handshake_asking){
        .trust = certificates_trust_of(certificates, listener),
        .verify_depth = conf->client_verify_depth,
        .refuse_stale_lists = conf->crl_expired == CONF_CRL_EXPIRED_REFUSE,
        .required = conf->unauthenticated == CONF_UNAUTHENTICATED_CLOSE};
    return ret_asking->trust != NULL;
}

/* ---- life ---- */

static bool map_ticket_ring(struct certificates *certificates)
{
    certificates->ticket_ring = memory_map(certificates->worker->descriptors[SETUP_TICKET_KEYS],
                                           sizeof *certificates->ticket_ring, false);
    if (certificates->ticket_ring == NULL)
        return false;
    ignore(secret_protect(certificates->ticket_ring, sizeof *certificates->ticket_ring));
    return true;
}

/* Room for `count` certificates; none is ever taken back. */
static bool grow(struct certificates *certificates, size_t count)
{
    if (certificates->entry_count >= count && certificates->entries != NULL)
        return true;
    struct entry *entries =
        reallocarray(certificates->entries, count + 1, sizeof *certificates->entries);
    if (entries == NULL)
        return false;
    certificates->entries = entries;
    struct map *folders =
        reallocarray(certificates->folders, count + 1, sizeof *certificates->folders);
    if (folders == NULL)
        return false;
    certificates->folders = folders;
    for (size_t i = certificates->entry_count; i <= count; i++) {
        entries[i] = (struct entry){.asked = false};
        map_init(&folders[i]);
    }
    certificates->entry_count = count;
    return true;
}

struct certificates *certificates_new(struct worker *worker, struct session_cache *cache,
                                      certificates_want_fn *want, void *context)
{
    struct certificates *certificates = secret_alloc(sizeof *certificates);

    if (certificates == NULL)
        return NULL;
    certificates->worker = worker;
    certificates->session_cache = cache;
    certificates->want = want;
    certificates->context = context;
    certificates->listener_count = worker->conf->listener_count;
    certificates->listeners = index_listeners(worker->conf);
    if (certificates->listeners == NULL || !grow(certificates, worker->conf->certificate_count) ||
        !map_ticket_ring(certificates)) {
        certificates_free(certificates);
        return NULL;
    }
    return certificates;
}

void certificates_free(struct certificates *certificates)
{
    if (certificates == NULL)
        return;
    for (size_t i = 0; i < certificates->entry_count; i++) {
        entry_fini(&certificates->entries[i]);
        forget_names(&certificates->folders[i]);
        map_fini(&certificates->folders[i]);
    }
    listeners_free(certificates->listeners, certificates->listener_count);
    listeners_free(certificates->next_listeners, certificates->next_listener_count);
    client_trust_fini(&certificates->trust);
    free(certificates->entries);
    free(certificates->folders);
    memory_unmap(certificates->ticket_ring, sizeof *certificates->ticket_ring);
    secret_free(certificates, sizeof *certificates);
}

/* ---- another configuration ---- */

bool certificates_prepare(struct certificates *certificates)
{
    const struct conf *next = certificates->worker->next_conf;

    listeners_free(certificates->next_listeners, certificates->next_listener_count);
    certificates->next_listeners = index_listeners(next);
    certificates->next_listener_count = next->listener_count;
    return certificates->next_listeners != NULL && grow(certificates, next->certificate_count);
}

/* Listeners whose contexts are still right, as far as the listener is concerned. */
static void compare_listeners(const struct conf *before, const struct conf *after, bool *ret_same)
{
    for (size_t i = 0; i < after->listener_count; i++) {
        const struct conf_listener *listener = &after->listeners[i];
        ret_same[i] = listener->name != NULL && i < before->listener_count &&
                      before->listeners[i].name != NULL &&
                      (listener->retired || conf_same_listener(before, after, listener->name));
    }
}

static void entry_clear(struct entry *entry)
{
    entry_fini(entry);
    *entry = (struct entry){.asked = false};
}

static void folder_follow(struct map *folder, bool same_section, const bool *same, size_t count)
{
    const struct map_entry *it;

    if (!same_section) /* another folder, or none any more: its names are asked for again */
        forget_names(folder);
    for (size_t at = 0; (it = map_next(folder, &at)) != NULL;)
        drop_changed(it->value, same, count);
}

void certificates_swap(struct certificates *certificates, const struct conf *before)
{
    const struct conf *conf = certificates->worker->conf;
    bool same[CONF_LISTENERS_MAX] = {false}, other_trust[CONF_LISTENERS_MAX];

    listeners_free(certificates->listeners, certificates->listener_count);
    certificates->listeners = certificates->next_listeners;
    certificates->listener_count = certificates->next_listener_count;
    certificates->next_listeners = NULL;
    certificates->next_listener_count = 0;
    compare_listeners(before, conf, same);
    client_trust_swap(&certificates->trust, other_trust);
    for (size_t i = 0; i < CONF_LISTENERS_MAX; i++)
        same[i] = same[i] && !other_trust[i];
    for (size_t i = 0; i < certificates->entry_count; i++) {
        const struct conf_certificate *certificate =
            i < conf->certificate_count ? &conf->certificates[i] : NULL;
        if (certificate == NULL || certificate->name == NULL)
            entry_clear(&certificates->entries[i]);
        else
            drop_changed(&certificates->entries[i], same, conf->listener_count);
        folder_follow(
            &certificates->folders[i],
            certificate != NULL && certificate->name != NULL &&
                (certificate->retired || conf_same_certificate(before, conf, certificate->name)),
            same, conf->listener_count);
    }
}
