/* Clients that are known not to implement KeyUpdate: the file of their fingerprints
 * (`key-update-unable`), as the supervisor has opened it. */
#include "base/file.h"
#include "edge/handshaker.h"

void unable_clients_take(struct handshaker *handshaker, int fd)
{
    const struct worker *worker = &handshaker->worker;
    const struct conf *conf = worker->next_conf != NULL ? worker->next_conf : worker->conf;
    struct fingerprints *made = NULL;
    struct error error = {0};
    struct buffer text;

    buffer_init(&text, FINGERPRINTS_FILE_MAX);
    if (conf->key_update_unable == NULL)
        error_set(&error, ERROR_INTERNAL, "fingerprints without key-update-unable");
    else if (file_read(&text, fd, conf->key_update_unable, &error) == 0)
        ignore(fingerprints_parse(&made, conf->key_update_unable, buffer_text(&text), &error));
    buffer_fini(&text);
    if (made == NULL) {
        worker_warn(&handshaker->worker, "key-update-unable: %s", error.message);
        return;
    }
    fingerprints_free(handshaker->unable_clients);
    handshaker->unable_clients = made;
}

bool unable_clients_have(struct handshaker *handshaker, const uint8_t *hello, size_t size)
{
    char fingerprint[CLIENT_HELLO_JA4_SIZE];

    return handshaker->worker.conf->key_update_unable != NULL &&
           handshaker->unable_clients != NULL && hello != NULL &&
           client_hello_parse(hello, size, size, &handshaker->hello) == CLIENT_HELLO_OK &&
           client_hello_ja4(&handshaker->hello, fingerprint) &&
           fingerprints_match(handshaker->unable_clients, fingerprint);
}
