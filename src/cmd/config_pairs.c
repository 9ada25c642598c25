#include "cmd/config_pairs.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/secret.h"
#include "tls/certificate.h"

/* The whole of a file that was found readable before; NULL when it changed since or is too large.
 */
static char *read_pem(const char *path, size_t *ret_size)
{
    char *text = malloc(KEYPAIR_PEM_MAX + 1);
    FILE *file = text == NULL ? NULL : fopen(path, "re");

    if (file == NULL) {
        free(text);
        return NULL;
    }
    setbuf(file, NULL); /* no second copy of a key */
    *ret_size = fread(text, 1, KEYPAIR_PEM_MAX + 1, file);
    ignore(fclose(file));
    if (*ret_size <= KEYPAIR_PEM_MAX)
        return text;
    free(text);
    return NULL;
}

static void wipe(char *text, size_t size)
{
    if (text != NULL)
        secret_wipe(text, size);
    free(text);
}

static int parse_pair(const char *chain_path, const char *key_path, struct keypair **ret_pair,
                      struct error *error)
{
    size_t chain_size = 0, key_size = 0;
    char *chain = read_pem(chain_path, &chain_size);
    char *key = key_path == NULL ? NULL : read_pem(key_path, &key_size);
    int result;

    if (chain == NULL || (key == NULL && key_path != NULL))
        result = error_set(error, ERROR_IO, "cannot read %s, or it is larger than %u KiB",
                           chain == NULL ? chain_path : key_path, KEYPAIR_PEM_MAX / 1024);
    else
        result = keypair_parse(ret_pair, chain, chain_size, key, key_size, error);
    wipe(chain, chain_size);
    wipe(key, key_size);
    return result;
}

static size_t check_pair(const struct conf *conf, const struct conf_certificate *certificate,
                         size_t at)
{
    const char *key = certificate->key.count > at && certificate->key.items[at][0] != 0
                          ? certificate->key.items[at]
                          : NULL;
    struct preflight_policy policy = {.names = (const char *const *)certificate->names.items,
                                      .name_count = certificate->names.count,
                                      .require_chain = true,
                                      .now = (int64_t)(clock_wall_ns() / NS_PER_S)};
    struct preflight_report report = {.count = 0};
    struct error error = {0};
    struct keypair *pair = NULL;

    if (parse_pair(certificate->chain.items[at], key, &pair, &error) < 0) {
        fprintf(stderr, "%s: certificate '%s': %s: %s: %s\n", conf->path, certificate->name,
                certificate->chain.items[at], error_name(error.code), error.message);
        return 1;
    }
    ignore(keypair_preflight(pair, &policy, &report, &error));
    for (size_t i = 0; i < report.count; i++)
        fprintf(stderr, "%s: certificate '%s': %s: %s: %s\n", conf->path, certificate->name,
                certificate->chain.items[at], error_name(report.findings[i].code),
                report.findings[i].text);
    keypair_unref(pair);
    return report.count;
}

size_t config_check_pairs(const struct conf *conf)
{
    size_t findings = 0;

    for (size_t i = 0; i < conf->certificate_count; i++) {
        const struct conf_certificate *certificate = &conf->certificates[i];
        for (size_t j = 0; certificate->from == CONF_FROM_FILES && j < certificate->chain.count;
             j++)
            findings += check_pair(conf, certificate, j);
    }
    return findings;
}
