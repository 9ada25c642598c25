/* The files that a configuration names. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/string.h"
#include "conf/conf.h"

#define PATH_SIZE 4096

struct visit {
    conf_path_fn *fn;
    void *context;
    int result; /* the first non-zero one */
};

/* `name` NULL: a global option. */
static void visit_path(struct visit *visit, const char *path, const char *option, const char *kind,
                       const char *name, bool folder)
{
    char role[CONF_NAME_MAX + 64];

    if (visit->result != 0 || path == NULL || path[0] == '\0')
        return;
    if (name == NULL)
        ignore(snprintf(role, sizeof role, "%s", option));
    else
        ignore(snprintf(role, sizeof role, "%s of %s %s", option, kind, name));
    visit->result = visit->fn(visit->context, path, role, folder);
}

int conf_key_encryption_path(char *path, size_t size, const struct conf *conf, struct error *error)
{
    const char *value = conf->key_encryption_key, *folder = getenv("CREDENTIALS_DIRECTORY");
    int length;

    if (value == NULL)
        return error_set(error, ERROR_NOT_FOUND, "no key-encryption-key is configured");
    if (!string_starts_with(value, CONF_CREDENTIAL)) {
        length = snprintf(path, size, "%s", value);
    } else if (folder == NULL || folder[0] != '/') {
        return error_set(error, ERROR_IO,
                         "key-encryption-key: found \"%s\", but $CREDENTIALS_DIRECTORY is not set; "
                         "expected the service manager to set it; give the unit LoadCredential=%s:"
                         "PATH or LoadCredentialEncrypted=, and check with systemd-run -p "
                         "LoadCredential=…",
                         value, value + strlen(CONF_CREDENTIAL));
    } else {
        length = snprintf(path, size, "%s/%s", folder, value + strlen(CONF_CREDENTIAL));
    }
    return length >= 0 && (size_t)length < size
               ? 0
               : error_set(error, ERROR_CONFIG, "key-encryption-key: the path is too long");
}

/* A credential whose folder is unknown is left out: who needs it says why. */
static void visit_key_encryption_key(struct visit *visit, const struct conf *conf)
{
    char path[PATH_SIZE];

    if (conf->key_encryption_key != NULL &&
        conf_key_encryption_path(path, sizeof path, conf, NULL) == 0)
        visit->result = visit->fn(visit->context, path, "key-encryption-key", false);
}

const char *conf_discover_path(const char *spec)
{
    return string_starts_with(spec, "zone:") || string_starts_with(spec, "list:")
               ? spec + strlen("zone:")
               : NULL;
}

const char *conf_target_path(const char *target)
{
    if (!string_starts_with(target, "file:"))
        return NULL;
    const char *path = target + strlen("file:");
    while (path[0] == '/' && path[1] == '/') /* file:///etc/x.pem */
        path++;
    return path;
}

static void visit_texts(struct visit *visit, const struct conf_text_list *paths, const char *option,
                        const char *kind, const char *name)
{
    for (size_t i = 0; i < paths->count; i++)
        visit_path(visit, paths->items[i], option, kind, name, false);
}

static void visit_watches(struct visit *visit, const struct conf *conf)
{
    for (size_t i = 0; i < conf->watch_count; i++) {
        const struct conf_watch *watch = &conf->watches[i];
        for (size_t j = 0; j < watch->targets.count; j++)
            visit_path(visit, conf_target_path(watch->targets.items[j].text), "targets", "watch",
                       watch->name, false);
        visit_texts(visit, &watch->stores, "stores", "watch", watch->name);
        visit_texts(visit, &watch->stores_ignoring_ends, "stores-ignoring-ends", "watch",
                    watch->name);
        visit_texts(visit, &watch->crl, "crl", "watch", watch->name);
        visit_path(visit, watch->log_list, "log-list", "watch", watch->name, false);
        visit_path(visit, watch->file, "file", "watch", watch->name, false);
        for (size_t j = 0; j < watch->discover.count; j++)
            visit_path(visit, conf_discover_path(watch->discover.items[j].text), "discover",
                       "watch", watch->name, false);
    }
}

int conf_each_watch_path(const struct conf *conf, conf_path_fn *fn, void *context)
{
    struct visit visit = {.fn = fn, .context = context};

    visit_watches(&visit, conf);
    return visit.result;
}

int conf_each_path(const struct conf *conf, conf_path_fn *fn, void *context)
{
    struct visit visit = {.fn = fn, .context = context};

    visit_key_encryption_key(&visit, conf);
    visit_path(&visit, conf->key_update_unable, "key-update-unable", NULL, NULL, false);
    for (size_t i = 0; i < conf->certificate_count; i++) {
        const struct conf_certificate *certificate = &conf->certificates[i];
        visit_texts(&visit, &certificate->chain, "chain", "certificate", certificate->name);
        visit_texts(&visit, &certificate->key, "key", "certificate", certificate->name);
        visit_path(&visit, certificate->folder, "folder", "certificate", certificate->name, true);
    }
    for (size_t i = 0; i < conf->listener_count; i++) {
        const struct conf_listener *listener = &conf->listeners[i];
        visit_path(&visit, listener->client_ca, "client-ca", "listener", listener->name, false);
        visit_texts(&visit, &listener->client_crl, "client-crl", "listener", listener->name);
    }
    for (size_t i = 0; i < conf->channel_count; i++) {
        const struct conf_channel *channel = &conf->channels[i];
        visit_path(&visit, channel->secret_file, "secret-file", "channel", channel->name, false);
        visit_path(&visit, channel->trust, "trust", "channel", channel->name, false);
    }
    visit_watches(&visit, conf);
    for (size_t i = 0; i < conf->upstream_count; i++) {
        const struct conf_upstream *upstream = &conf->upstreams[i];
        visit_path(&visit, upstream->tls_trust, "tls-trust", "upstream", upstream->name, false);
        visit_path(&visit, upstream->tls_certificate, "tls-certificate", "upstream", upstream->name,
                   false);
        visit_path(&visit, upstream->tls_key, "tls-key", "upstream", upstream->name, false);
    }
    return visit.result;
}
