#include "watch/log_list.h"

#include <string.h>
#include <jansson.h>

#include "base/json.h"
#include "base/string.h"

static void printable(char *destination, size_t size, const json_t *object, const char *key)
{
    const char *text = json_string_value(json_object_get(object, key));

    string_printable(destination, size, text != NULL ? text : "", text != NULL ? strlen(text) : 0);
}

/* "state": {"usable": {"timestamp": "2024-01-01T00:00:00Z"}} */
static void read_state(struct certificate_log *log, const json_t *object)
{
    const json_t *states = json_object_get(object, "state");

    log->state = LOG_PENDING;
    for (int state = 0; state < LOG_STATE_COUNT; state++) {
        const json_t *facts = json_object_get(states, log_state_name((enum log_state)state));
        if (facts == NULL)
            continue;
        log->state = (enum log_state)state;
        log->state_since = json_get_time(facts, "timestamp");
    }
}

static void read_log(struct certificate_logs *logs, const json_t *object, const char *operator_name)
{
    struct certificate_log log = {0};
    const char *key = json_string_value(json_object_get(object, "key")),
               *type = json_string_value(json_object_get(object, "log_type"));

    if (key == NULL || (type != NULL && strcmp(type, "test") == 0))
        return;
    printable(log.name, sizeof log.name, object, "description");
    string_copy(log.operator_name, sizeof log.operator_name, operator_name);
    read_state(&log, object);
    ignore(certificate_logs_add(logs, &log, key, NULL));
}

static void read_operator(struct certificate_logs *logs, const json_t *object)
{
    static const char *const kinds[] = {"logs", "tiled_logs"};
    char name[64];

    printable(name, sizeof name, object, "name");
    for (size_t i = 0; i < ARRAY_SIZE(kinds); i++) {
        const json_t *list = json_object_get(object, kinds[i]);
        for (size_t at = 0; at < json_array_size(list); at++)
            read_log(logs, json_array_get(list, at), name);
    }
}

/* `list` may be NULL, with the reason. */
static int take_list(struct certificate_logs **ret_logs, const char *path, const json_t *list,
                     const json_error_t *reason, struct error *error)
{
    if (list == NULL)
        return error_set(error, ERROR_USAGE, "%s: %s (line %d); expected a list of logs in JSON",
                         path, reason->text, reason->line);
    struct certificate_logs *logs = certificate_logs_new();
    if (logs == NULL)
        return error_set(error, ERROR_MEMORY, "out of memory");
    const json_t *operators = json_object_get(list, "operators");
    for (size_t i = 0; i < json_array_size(operators); i++)
        read_operator(logs, json_array_get(operators, i));
    if (certificate_logs_count(logs) == 0) {
        certificate_logs_free(logs);
        return error_set(error, ERROR_USAGE,
                         "%s: there is no usable log in it; expected \"operators\" with \"logs\" "
                         "or \"tiled_logs\" (version 3 of the schema)",
                         path);
    }
    *ret_logs = logs;
    return 0;
}

int log_list_read(struct certificate_logs **ret_logs, const char *path, struct error *error)
{
    json_error_t reason;
    AUTO(json_t_pointer) list = json_load_file(path, JSON_REJECT_DUPLICATES, &reason);

    return take_list(ret_logs, path, list, &reason, error);
}

int log_list_parse(struct certificate_logs **ret_logs, const char *path, const void *data,
                   size_t size, struct error *error)
{
    json_error_t reason;
    AUTO(json_t_pointer) list = json_loadb(data, size, JSON_REJECT_DUPLICATES, &reason);

    return take_list(ret_logs, path, list, &reason, error);
}
