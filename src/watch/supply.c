#include "watch/supply.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "watch/log_list.h"

#define LOG_LIST_SIZE_MAX (8u << 20)

static const struct {
    const char *option;
    size_t size_max;
} kinds[SUPPLY_KIND_COUNT] = {
    [SUPPLY_STORE] = {"stores", CERTIFICATE_FILE_SIZE_MAX},
    [SUPPLY_STORE_IGNORING_ENDS] = {"stores-ignoring-ends", CERTIFICATE_FILE_SIZE_MAX},
    [SUPPLY_CRL] = {"crl", CRL_SIZE_MAX},
    [SUPPLY_LOG_LIST] = {"log-list", LOG_LIST_SIZE_MAX},
    [SUPPLY_TARGET] = {"targets", CERTIFICATE_FILE_SIZE_MAX},
};

const char *supply_option(enum supply_kind kind)
{
    return kinds[kind].option;
}

size_t supply_size_max(enum supply_kind kind)
{
    return kinds[kind].size_max;
}

bool supply_at(const struct conf_watch *watch, size_t index, enum supply_kind *ret_kind,
               const char **ret_path)
{
    const struct {
        enum supply_kind kind;
        const struct conf_text_list *files;
    } lists[] = {
        {SUPPLY_STORE, &watch->stores},
        {SUPPLY_STORE_IGNORING_ENDS, &watch->stores_ignoring_ends},
        {SUPPLY_CRL, &watch->crl},
    };

    for (size_t i = 0; i < ARRAY_SIZE(lists); i++) {
        if (index < lists[i].files->count) {
            *ret_kind = lists[i].kind;
            *ret_path = lists[i].files->items[index];
            return true;
        }
        index -= lists[i].files->count;
    }
    *ret_kind = SUPPLY_LOG_LIST;
    *ret_path = watch->log_list;
    return index == 0 && watch->log_list != NULL;
}

char *supply_key(char key[SUPPLY_KEY_MAX], enum supply_kind kind, const char *path)
{
    ignore(snprintf(key, SUPPLY_KEY_MAX, "%s %s", kinds[kind].option, path));
    return key;
}

static int read_certificates(struct supply *supply, const void *data, size_t size,
                             struct error *error)
{
    supply->certificates = calloc(CHAIN_SERVED_MAX, sizeof(const struct certificate_facts *));
    if (supply->certificates == NULL)
        return error_set(error, ERROR_MEMORY, "out of memory");
    return certificate_facts_parse(supply->certificates, CHAIN_SERVED_MAX,
                                   &supply->certificate_count, data, size, error);
}

static int read_content(struct supply *supply, enum supply_kind kind, const char *path,
                        const void *data, size_t size, struct error *error)
{
    const char *slash = strrchr(path, '/');
    int result = 0;

    switch (kind) {
    case SUPPLY_STORE:
    case SUPPLY_STORE_IGNORING_ENDS:
        result =
            chain_store_parse(&supply->store, slash != NULL ? slash + 1 : path, data, size, error);
        if (result != 0)
            return error_prepend(error, "%s", path);
        if (kind == SUPPLY_STORE_IGNORING_ENDS)
            chain_store_ignore_ends(supply->store);
        return 0;
    case SUPPLY_CRL:
        return crl_file_parse(&supply->lists, path, data, size, error);
    case SUPPLY_LOG_LIST:
        return log_list_parse(&supply->logs, path, data, size, error);
    case SUPPLY_TARGET:
        result = read_certificates(supply, data, size, error);
        return result == 0 ? 0 : error_prepend(error, "%s", path);
    case SUPPLY_KIND_COUNT:
        break;
    }
    return error_set(error, ERROR_INTERNAL, "no such kind of file");
}

int supply_new(struct supply **ret_supply, enum supply_kind kind, const char *path,
               const void *data, size_t size, struct error *error)
{
    struct supply *supply = calloc(1, sizeof *supply);

    if (supply == NULL)
        return error_set(error, ERROR_MEMORY, "out of memory");
    supply->references = 1;
    int result = read_content(supply, kind, path, data, size, error);
    if (result != 0) {
        supply_unref(supply);
        return result;
    }
    *ret_supply = supply;
    return 0;
}

int supply_new_by_key(struct supply **ret_supply, const char *key, const void *data, size_t size,
                      struct error *error)
{
    for (int kind = 0; kind < SUPPLY_KIND_COUNT; kind++) {
        size_t length = strlen(kinds[kind].option);
        if (strncmp(key, kinds[kind].option, length) == 0 && key[length] == ' ')
            return supply_new(ret_supply, (enum supply_kind)kind, key + length + 1, data, size,
                              error);
    }
    return error_set(error, ERROR_USAGE, "no such kind of file");
}

struct supply *supply_ref(struct supply *supply)
{
    supply->references++;
    return supply;
}

void supply_unref(struct supply *supply)
{
    if (supply == NULL || --supply->references > 0)
        return;
    chain_store_unref(supply->store);
    crl_file_free(supply->lists);
    certificate_logs_free(supply->logs);
    while (supply->certificate_count > 0)
        certificate_facts_unref(supply->certificates[--supply->certificate_count]);
    free(supply->certificates);
    free(supply);
}
