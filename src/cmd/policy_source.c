/* Where `holdfast policy` gets its configuration from. */
#include "cmd/policy.h"

#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/attributes.h"
#include "edge/supervisor_history.h"

void policy_source_fini(struct policy_source *source)
{
    conf_free(source->conf);
    json_decref(source->facts);
    *source = (struct policy_source){0};
}

/* ---- the daemon ---- */

static int take_lines(struct client *client, struct buffer *text, json_t **ret_facts,
                      struct error *error)
{
    json_t *line;
    int got;

    while ((got = client_next(client, &line, error)) > 0) {
        if (json_object_get(line, "text") != NULL) {
            ignore(buffer_append_text(text, client_text(line, "text")));
            json_decref(line);
        } else {
            json_decref(*ret_facts);
            *ret_facts = line;
        }
    }
    if (got < 0)
        return got;
    return text->failed || *ret_facts == NULL
               ? error_set(error, ERROR_PROTOCOL, "the daemon's configuration did not come whole")
               : 0;
}

int policy_source_running(struct policy_source *ret_source, const struct client_options *options,
                          struct error *error)
{
    struct client client = {.fd = -1};
    struct policy_source source = {0};
    struct buffer text;

    buffer_init(&text, CONF_TEXT_MAX * 2);
    int code =
        client_open(&client, options, json_pack("{s:s}", "verb", "policy-facts"), NULL, 0, error);
    if (code == 0)
        code = take_lines(&client, &text, &source.facts, error);
    if (code == 0)
        code = conf_parse(&source.conf, client_text(source.facts, "config"), buffer_text(&text),
                          NULL, NULL, error);
    client_close(&client);
    buffer_fini(&text);
    if (code < 0)
        policy_source_fini(&source);
    else
        *ret_source = source;
    return code;
}

/* ---- files ---- */

int policy_source_file(struct policy_source *ret_source, const char *path, struct error *error)
{
    struct policy_source source = {0};
    char *text = NULL;

    path = path != NULL ? path : CONF_PATH_DEFAULT;
    int code = conf_read(&text, path, error);
    if (code == 0)
        code = conf_parse(&source.conf, path, text, NULL, NULL, error);
    free(text);
    if (code == 0)
        *ret_source = source;
    return code;
}

bool policy_source_history(struct policy_source *ret_source, const struct conf *conf)
{
    struct policy_source source = {0};
    struct history history = {0};
    int state = open(conf->state_folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    int folder = state < 0 ? -1 : openat(state, "history", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    bool found = false;

    if (folder >= 0) {
        history_init(&history, folder);
        for (size_t i = history.count; i-- > 0 && !found;)
            found = conf_parse(&source.conf, conf->path, history.entries[i].text, NULL, NULL,
                               NULL) == 0;
        history_fini(&history);
        close(folder);
    }
    if (state >= 0)
        close(state);
    if (found)
        *ret_source = source;
    return found;
}
