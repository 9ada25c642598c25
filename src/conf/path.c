/* The files that a configuration names. */
#include <stdio.h>

#include "conf/conf.h"

struct visit {
    conf_path_fn *fn;
    void *context;
    int result; /* the first non-zero one */
};

static void visit_path(struct visit *visit, const char *path, const char *option, const char *kind,
                       const char *name, bool folder)
{
    char role[CONF_NAME_MAX + 64];

    if (visit->result != 0 || path == NULL || path[0] == '\0')
        return;
    ignore(snprintf(role, sizeof role, "%s of %s %s", option, kind, name));
    visit->result = visit->fn(visit->context, path, role, folder);
}

int conf_each_path(const struct conf *conf, conf_path_fn *fn, void *context)
{
    struct visit visit = {.fn = fn, .context = context};

    for (size_t i = 0; i < conf->certificate_count; i++) {
        const struct conf_certificate *certificate = &conf->certificates[i];
        for (size_t j = 0; j < certificate->chain.count; j++)
            visit_path(&visit, certificate->chain.items[j], "chain", "certificate",
                       certificate->name, false);
        for (size_t j = 0; j < certificate->key.count; j++)
            visit_path(&visit, certificate->key.items[j], "key", "certificate", certificate->name,
                       false);
        visit_path(&visit, certificate->folder, "folder", "certificate", certificate->name, true);
    }
    for (size_t i = 0; i < conf->upstream_count; i++) {
        const struct conf_upstream *upstream = &conf->upstreams[i];
        visit_path(&visit, upstream->tls_trust, "tls-trust", "upstream", upstream->name, false);
        visit_path(&visit, upstream->tls_certificate, "tls-certificate", "upstream", upstream->name,
                   false);
        visit_path(&visit, upstream->tls_key, "tls-key", "upstream", upstream->name, false);
    }
    return visit.result;
}
