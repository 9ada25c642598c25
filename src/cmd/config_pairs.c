#include "cmd/config_pairs.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "conf/merge.h"
#include "tls/certificate.h"
#include "tls/certificate_on_disk.h"
#include "tls/fingerprints.h"
#include "tls/governor.h"
#include "tls/handshake.h"
#include "tls/trust_set.h"
#include "watch/supply.h"

#define TRUST_MAX        (4u << 20)
#define KEY_BLOCKS_LEAST 65536u

struct check {
    const struct conf *conf, *before;
    const struct config_files *files;
    FILE *report;
    size_t findings;
};

static PRINTF_LIKE(3, 4) void find(struct check *check, bool known, const char *format, ...)
{
    va_list arguments;

    va_start(arguments, format);
    fprintf(check->report, "%s: %s", check->conf->path, known ? "warning: " : "");
    vfprintf(check->report, format, arguments);
    fputc('\n', check->report);
    va_end(arguments);
    check->findings += known ? 0 : 1;
}

static int parse_pair(const struct check *check, const char *chain_path, const char *key_path,
                      struct keypair **ret_pair, struct error *error)
{
    __attribute__((cleanup(buffer_auto))) struct buffer chain, key;

    buffer_init_secret(&chain, KEYPAIR_PEM_MAX);
    buffer_init_secret(&key, KEYPAIR_PEM_MAX);
    int result = config_files_read(&chain, check->files, chain_path, error);
    if (result == 0 && key_path != NULL)
        result = config_files_read(&key, check->files, key_path, error);
    if (result != 0)
        return result;
    return keypair_parse(ret_pair, buffer_text(&chain), chain.size,
                         key_path != NULL ? buffer_text(&key) : NULL, key.size, error);
}

/* Would the listener's settings (groups, versions) make a TLS context with this pair? */
static void check_listener(struct check *check, const struct conf_listener *listener,
                           const struct conf_certificate *certificate, struct keypair *pair)
{
    static const uint16_t versions[] = {
        [CONF_TLS_1_2] = TLS_VERSION_1_2, [CONF_TLS_1_3] = TLS_VERSION_1_3};
    struct tls_policy policy = {.min_version = versions[listener->min_version],
                                .max_version = versions[listener->max_version],
                                .groups = strcmp(listener->groups, CONF_GROUPS_DEFAULT) == 0
                                              ? tls_default_groups()
                                              : listener->groups};
    struct keypair *pairs[KEY_TYPE_COUNT] = {[0] = NULL};
    struct tls_server *server = NULL;
    struct error error = {0};

    pairs[keypair_type(pair)] = pair;
    if (tls_server_new(&server, &policy, pairs, &error) == 0) {
        tls_server_unref(server);
        return;
    }
    find(check,
         check->before != NULL && conf_same_listener(check->before, check->conf, listener->name),
         "listener '%s' cannot use certificate '%s': %s", listener->name, certificate->name,
         error.message);
}

static void check_listeners(struct check *check, const struct conf_certificate *certificate,
                            struct keypair *pair)
{
    for (size_t i = 0; i < check->conf->listener_count; i++) {
        const struct conf_listener *listener = &check->conf->listeners[i];
        for (size_t j = 0; listener->name != NULL && j < listener->certificate_count; j++) {
            if (&check->conf->certificates[listener->certificates[j]] == certificate)
                check_listener(check, listener, certificate, pair);
        }
    }
}

static bool reports(const struct preflight_report *report, enum error_code code)
{
    for (size_t i = 0; i < report->count; i++) {
        if (report->findings[i].code == code)
            return true;
    }
    return false;
}

static void check_pair(struct check *check, const struct conf_certificate *certificate, size_t at)
{
    const char *key = certificate->key.count > at && certificate->key.items[at][0] != 0
                          ? certificate->key.items[at]
                          : NULL;
    bool known = check->before != NULL &&
                 conf_same_certificate(check->before, check->conf, certificate->name);
    struct preflight_policy policy = {.names = (const char *const *)certificate->names.items,
                                      .name_count = certificate->names.count,
                                      .require_chain = true,
                                      .now = (int64_t)(clock_wall_ns() / NS_PER_S)};
    struct preflight_report report = {.count = 0};
    struct error error = {0};
    struct keypair *pair = NULL;

    if (parse_pair(check, certificate->chain.items[at], key, &pair, &error) < 0) {
        find(check, known, "certificate '%s': %s: %s: %s", certificate->name,
             certificate->chain.items[at], error_name(error.code), error.message);
        return;
    }
    ignore(keypair_preflight(pair, &policy, &report, &error));
    for (size_t i = 0; i < report.count; i++)
        find(check, known, "certificate '%s': %s: %s: %s (holdfast explain %s)", certificate->name,
             certificate->chain.items[at], error_name(report.findings[i].code),
             report.findings[i].text, error_name(report.findings[i].code));
    if (!reports(&report, ERROR_CERTIFICATE_KEY_MISMATCH)) /* OpenSSL would only say it again */
        check_listeners(check, certificate, pair);
    keypair_unref(pair);
}

/* ---- TLS to upstream servers ---- */

static bool same_path(const char *a, const char *b)
{
    return a == NULL || b == NULL ? a == b : strcmp(a, b) == 0;
}

static bool known_upstream(const struct check *check, const struct conf_upstream *upstream)
{
    uint32_t index =
        check->before == NULL ? CONF_NONE : conf_find_upstream(check->before, upstream->name);

    if (index == CONF_NONE)
        return false;
    const struct conf_upstream *before = &check->before->upstreams[index];
    return before->tls && same_path(before->tls_trust, upstream->tls_trust) &&
           same_path(before->tls_certificate, upstream->tls_certificate) &&
           same_path(before->tls_key, upstream->tls_key);
}

static void check_upstream(struct check *check, const struct conf_upstream *upstream)
{
    struct tls_client_policy policy = {
        .verify = upstream->tls_verify, .only_key_type = -1, .detachable = true};
    struct tls_client *client = NULL;
    struct error error = {0};
    struct buffer trust;
    int result = 0;

    buffer_init(&trust, TRUST_MAX);
    if (upstream->tls_trust != NULL) {
        result = config_files_read(&trust, check->files, upstream->tls_trust, &error);
        policy.trust_pem = buffer_text(&trust);
    }
    if (result == 0 && upstream->tls_certificate != NULL)
        result = parse_pair(check, upstream->tls_certificate, upstream->tls_key, &policy.identity,
                            &error);
    if (result == 0)
        result = tls_client_new(&client, &policy, &error);
    if (result != 0)
        find(check, known_upstream(check, upstream), "TLS of upstream '%s': %s: %s", upstream->name,
             error_name(error.code), error.message);
    tls_client_unref(client);
    keypair_unref(policy.identity);
    buffer_fini(&trust);
}

/* ---- traffic keys ---- */

/* With less, clients would renew keys all the time, and sessions of TLS 1.2 end at once. */
static void check_key_budget(struct check *check, const struct conf_listener *listener)
{
    struct key_limits limits;

    if (listener->name == NULL || listener->mode == CONF_MODE_PASS_THROUGH ||
        check->conf->traffic_key_fleet_volume == 0)
        return;
    governor_limits(check->conf, listener, suite_find(TLS_VERSION_1_3, 0x1301), &limits);
    if (limits.blocks_soft < KEY_BLOCKS_LEAST)
        find(check, false,
             "listener '%s': traffic-key-fleet-volume and traffic-key-fleet-probability leave a "
             "key %" PRIu64 " KiB; expected a budget that leaves it %u KiB or more",
             listener->name, limits.blocks_soft / 64, KEY_BLOCKS_LEAST / 64);
}

/* ---- fingerprints ---- */

static void check_fingerprints(struct check *check)
{
    const char *path = check->conf->key_update_unable;
    struct fingerprints *fingerprints = NULL;
    struct error error = {0};
    struct buffer text;

    buffer_init(&text, FINGERPRINTS_FILE_MAX);
    if (config_files_read(&text, check->files, path, &error) != 0 ||
        fingerprints_parse(&fingerprints, path, buffer_text(&text), &error) < 0)
        find(check, false, "key-update-unable: %s", error.message);
    fingerprints_free(fingerprints);
    buffer_fini(&text);
}

/* ---- client certificates ---- */

static bool known_trust(const struct check *check, const struct conf_listener *listener)
{
    uint32_t index =
        check->before == NULL ? CONF_NONE : conf_find_listener(check->before, listener->name);
    const struct conf_listener *before =
        index == CONF_NONE ? NULL : &check->before->listeners[index];
    bool same = before != NULL && same_path(before->client_ca, listener->client_ca) &&
                before->client_crl.count == listener->client_crl.count;

    for (size_t i = 0; same && i < listener->client_crl.count; i++)
        same = same_path(before->client_crl.items[i], listener->client_crl.items[i]);
    return same;
}

static int read_trust(const struct check *check, const struct conf_listener *listener,
                      struct trust_file *files, struct error *error)
{
    for (size_t i = 0; i <= listener->client_crl.count; i++) {
        __attribute__((cleanup(buffer_auto))) struct buffer content;
        const char *path = i == 0 ? listener->client_ca : listener->client_crl.items[i - 1];
        buffer_init(&content, TRUST_FILE_MAX);
        int result = config_files_read(&content, check->files, path, error);
        if (result != 0)
            return result;
        files[i].name = path;
        files[i].data = buffer_steal(&content, &files[i].size);
        if (files[i].data == NULL)
            return error_set(error, ERROR_MEMORY, "out of memory");
    }
    return 0;
}

static void warn_times(struct check *check, const struct conf_listener *listener,
                       const struct trust_set *set)
{
    int64_t now = (int64_t)(clock_wall_ns() / NS_PER_S);
    struct trust_facts facts;

    trust_set_facts(set, &facts);
    if (trust_set_stale(set, now))
        find(check, true, "listener '%s': the time of a revocation list of client-crl is over",
             listener->name);
    if (facts.authority_expiry < now)
        find(check, true, "listener '%s': a certificate of client-ca has expired", listener->name);
}

static void check_trust(struct check *check, const struct conf_listener *listener)
{
    size_t count = listener->client_crl.count + 1;
    struct trust_file *files = calloc(count, sizeof *files);
    struct trust_set *set = NULL;
    struct error error = {0};

    int result = files == NULL ? error_set(&error, ERROR_MEMORY, "out of memory")
                               : read_trust(check, listener, files, &error);
    if (result == 0)
        result = trust_set_new(&set, files, count, &error);
    if (result != 0)
        find(check, known_trust(check, listener), "listener '%s': %s: %s", listener->name,
             error_name(error.code), error.message);
    else
        warn_times(check, listener, set);
    for (size_t i = 0; files != NULL && i < count; i++)
        free((void *)(uintptr_t)files[i].data);
    free(files);
    trust_set_unref(set);
}

/* ---- files of watches ---- */

static const struct conf_watch *watch_before(const struct check *check,
                                             const struct conf_watch *watch)
{
    uint32_t index =
        check->before == NULL ? CONF_NONE : conf_find_watch(check->before, watch->name);

    return index == CONF_NONE ? NULL : &check->before->watches[index];
}

static bool names_target(const struct conf_watch *watch, const char *path)
{
    for (size_t i = 0; i < watch->targets.count; i++) {
        const char *other = conf_target_path(watch->targets.items[i].text);
        if (other != NULL && strcmp(other, path) == 0)
            return true;
    }
    return false;
}

/* A reload is not held up by what has gone bad under a section that stays. */
static bool known_supply(const struct check *check, const struct conf_watch *watch,
                         enum supply_kind kind, const char *path)
{
    const struct conf_watch *before = watch_before(check, watch);
    enum supply_kind other;
    const char *other_path;

    if (before != NULL && kind == SUPPLY_TARGET)
        return names_target(before, path);
    for (size_t i = 0; before != NULL && supply_at(before, i, &other, &other_path); i++) {
        if (other == kind && strcmp(other_path, path) == 0)
            return true;
    }
    return false;
}

/* One that could not be opened has been told of. */
static void check_supply(struct check *check, const struct conf_watch *watch, enum supply_kind kind,
                         const char *path)
{
    struct supply *supply = NULL;
    struct error error = {0};
    struct buffer content;

    if (!config_files_opened(check->files, path))
        return;
    buffer_init_secret(&content, supply_size_max(kind)); /* a key may stand in it */
    int result = config_files_read(&content, check->files, path, &error);
    if (result == 0)
        result = supply_new(&supply, kind, path, content.data, content.size, &error);
    if (result != 0)
        find(check, known_supply(check, watch, kind, path), "%s of watch '%s': %s",
             supply_option(kind), watch->name, error.message);
    supply_unref(supply);
    buffer_fini(&content);
}

/* What should be served. */
static void check_served(struct check *check, const struct conf_watch *watch)
{
    const struct conf_watch *before = watch_before(check, watch);
    struct certificate_on_disk disk;
    struct error error = {0};
    struct buffer content;

    if (watch->file == NULL || !config_files_opened(check->files, watch->file))
        return;
    buffer_init_secret(&content, KEYPAIR_PEM_MAX);
    int result = config_files_read(&content, check->files, watch->file, &error);
    if (result == 0 &&
        (result = certificate_on_disk(&disk, buffer_text(&content), content.size, &error)) != 0)
        result = error_prepend(&error, "%s", watch->file);
    if (result != 0)
        find(check,
             before != NULL && before->file != NULL && strcmp(before->file, watch->file) == 0,
             "file of watch '%s': %s", watch->name, error.message);
    buffer_fini(&content);
}

static void check_watch(struct check *check, const struct conf_watch *watch)
{
    enum supply_kind kind;
    const char *path;

    check_served(check, watch);
    for (size_t i = 0; supply_at(watch, i, &kind, &path); i++)
        check_supply(check, watch, kind, path);
    for (size_t i = 0; i < watch->targets.count; i++) {
        path = conf_target_path(watch->targets.items[i].text);
        if (path != NULL)
            check_supply(check, watch, SUPPLY_TARGET, path);
    }
}

size_t config_check_pairs(const struct conf *conf, const struct conf *before,
                          const struct config_files *files, FILE *report)
{
    struct check check = {.conf = conf, .before = before, .files = files, .report = report};

    if (conf->key_update_unable != NULL)
        check_fingerprints(&check);
    for (size_t i = 0; i < conf->listener_count; i++)
        check_key_budget(&check, &conf->listeners[i]);
    for (size_t i = 0; i < conf->certificate_count; i++) {
        const struct conf_certificate *certificate = &conf->certificates[i];
        for (size_t j = 0; certificate->from == CONF_FROM_FILES && j < certificate->chain.count;
             j++)
            check_pair(&check, certificate, j);
    }
    for (size_t i = 0; i < conf->upstream_count; i++) {
        if (conf->upstreams[i].tls)
            check_upstream(&check, &conf->upstreams[i]);
    }
    for (size_t i = 0; i < conf->listener_count; i++) {
        if (conf->listeners[i].name != NULL && conf->listeners[i].client_ca != NULL)
            check_trust(&check, &conf->listeners[i]);
    }
    for (size_t i = 0; i < conf->watch_count; i++)
        check_watch(&check, &conf->watches[i]);
    return check.findings;
}
