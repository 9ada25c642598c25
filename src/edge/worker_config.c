/* A worker's side of a reload: the configuration that waits, and its swap. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/string.h"
#include "edge/worker.h"
#include "ipc/memory.h"

#define DOCUMENT_MAX (64u << 20)

bool worker_take_config(struct worker *worker, struct message *message)
{
    const struct message_config *body = (const void *)message->body;
    struct error error = {0};
    size_t size;

    if (message->size != sizeof *body || message->fd_count != 1)
        return false;
    char *text = memory_document_read(message->fds[0], DOCUMENT_MAX, &size);
    struct conf *conf = NULL;
    int result = text == NULL ? error_set(&error, ERROR_IO, "cannot read the document")
                              : conf_parse_internal(&conf, worker->setup.config_path, text, &error);
    free(text);
    if (result < 0) {
        worker_warn(worker, "configuration %u not taken: %s", body->generation, error.message);
        return false;
    }
    conf_free(worker->next_conf);
    worker->next_conf = conf;
    worker->next_config = *body;
    worker->next_config.source[sizeof body->source - 1] = '\0';
    return true;
}

struct conf *worker_swap_config(struct worker *worker)
{
    struct conf *before = worker->conf;

    worker->conf = worker->next_conf;
    worker->next_conf = NULL;
    worker->setup.config_generation = worker->next_config.generation;
    ignore(string_copy(worker->setup.config_source, sizeof worker->setup.config_source,
                       worker->next_config.source));
    __atomic_store_n(&worker->self->config, worker->setup.config_generation, __ATOMIC_RELAXED);
    return before;
}

void worker_config_loaded(struct worker *worker, uint32_t generation, bool in_force)
{
    struct message_config_loaded body = {.generation = generation, .in_force = in_force};

    if (!worker_tell(worker, MESSAGE_CONFIG_LOADED, &body, sizeof body, NULL, 0))
        worker_warn(worker, "cannot tell the supervisor that configuration %u is loaded",
                    generation);
}
