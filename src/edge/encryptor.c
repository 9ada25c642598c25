/* TLS to upstream servers. A relay connects, sends its PROXY header, and lends the descriptor; the
 * client handshake runs here, where keys are, and the detached leg goes back. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/file.h"
#include "base/secret.h"
#include "base/string.h"
#include "edge/alpn.h"
#include "edge/handshaker.h"

#define INPUT_MAX RECORD_WIRE_MAX_TLS12
#define TRUST_MAX (4u << 20)

struct upstream_identity {
    struct tls_client *client; /* NULL: the upstream speaks no TLS, or it could not be set up */
    uint8_t *alpn;
    size_t alpn_size;
};

struct encryptor {
    struct handshaker *handshaker;
    struct upstream_identity *upstreams, *next; /* next: prepared; NULL: nothing is */
    size_t count, next_count;
    uint8_t handler;
    uint32_t under_way;
};

struct encryption {
    struct encryptor *encryptor;
    unsigned relay;
    struct message_encrypted reply;
    int fd;
    struct handshake *handshake;
    struct timer timer;
    size_t input_size;
    uint8_t input[INPUT_MAX];
};

/* ---- set-up ---- */

static int load_identity(int certificate_fd, int key_fd, struct keypair **ret_pair,
                         struct error *error)
{
    __attribute__((cleanup(buffer_auto))) struct buffer chain, key;

    buffer_init_secret(&chain, KEYPAIR_PEM_MAX);
    buffer_init_secret(&key, KEYPAIR_PEM_MAX);
    int result = file_read(&chain, certificate_fd, "tls-certificate", error);
    if (result == 0)
        result = file_read(&key, key_fd, "tls-key", error);
    if (result != 0)
        return result;
    return keypair_parse(ret_pair, buffer_text(&chain), chain.size, buffer_text(&key), key.size,
                         error);
}

int encryptor_configure(struct encryptor *encryptor, unsigned upstream, int trust_fd,
                        int certificate_fd, int key_fd, struct error *error)
{
    const struct worker *worker = &encryptor->handshaker->worker;
    bool coming = encryptor->next != NULL;
    const struct conf_upstream *conf =
        &(coming ? worker->next_conf : worker->conf)->upstreams[upstream];
    struct upstream_identity *identity =
        &(coming ? encryptor->next : encryptor->upstreams)[upstream];
    struct tls_client_policy policy = {
        .verify = conf->tls_verify, .only_key_type = -1, .detachable = true};
    struct buffer trust;
    int result = 0;

    identity->alpn = alpn_encode(&conf->tls_alpn, &identity->alpn_size);
    if (identity->alpn == NULL)
        return error_set(error, ERROR_MEMORY, "out of memory");
    policy.alpn = identity->alpn;
    policy.alpn_size = identity->alpn_size;
    buffer_init(&trust, TRUST_MAX);
    if (trust_fd >= 0) {
        result = file_read(&trust, trust_fd, "tls-trust", error);
        policy.trust_pem = buffer_text(&trust);
    }
    if (result == 0 && certificate_fd >= 0 && key_fd >= 0)
        result = load_identity(certificate_fd, key_fd, &policy.identity, error);
    if (result == 0)
        result = tls_client_new(&identity->client, &policy, error);
    keypair_unref(policy.identity);
    buffer_fini(&trust);
    return result;
}

/* ---- one handshake ---- */

static void finish(struct encryption *it, int result, const char *detail)
{
    struct handshaker *handshaker = it->encryptor->handshaker;
    struct {
        struct message_encrypted body;
        uint8_t surplus[INPUT_MAX];
    } *message = calloc(1, sizeof *message);
    size_t surplus = result == 0 ? it->input_size : 0;

    loop_unwatch(handshaker->worker.loop, it->fd);
    timer_cancel(handshaker->worker.loop, &it->timer);
    it->reply.result = result;
    it->reply.surplus_size = (uint32_t)surplus;
    ignore(string_copy(it->reply.detail, sizeof it->reply.detail, detail));
    if (message != NULL) {
        message->body = it->reply;
        memcpy(message->surplus, it->input, surplus);
        /* A lost answer ends the session by its connect time-out. */
        ignore((long)channel_send(handshaker->relays[it->relay].fd, MESSAGE_ENCRYPTED, message,
                                  sizeof message->body + surplus, NULL, 0));
        secret_wipe(message, sizeof *message);
        free(message);
    }
    ignore(close(it->fd));
    handshake_free(it->handshake);
    it->encryptor->under_way--;
    secret_wipe(it, sizeof *it);
    free(it);
}

/* False when the encryption is over. */
static bool send_output(struct encryption *it)
{
    const uint8_t *data;
    size_t size;

    while ((size = handshake_output(it->handshake, &data)) != 0) {
        ssize_t sent = send(it->fd, data, size, MSG_NOSIGNAL);
        if (sent < 0 && errno == EINTR)
            continue;
        if (sent < 0 && errno == EAGAIN)
            return true;
        if (sent < 0) {
            finish(it, -(int)ERROR_PEER, "the connection broke during the TLS handshake");
            return false;
        }
        handshake_sent(it->handshake, (size_t)sent);
    }
    return true;
}

static void complete(struct encryption *it)
{
    struct error error = {0};

    if (handshake_detach(it->handshake, it->encryptor->handshaker->crypto, &it->reply.leg,
                         &it->reply.keys, &error) < 0)
        finish(it, -(int)ERROR_TLS, error.message);
    else
        finish(it, 0, "");
}

/* False when the encryption is over. */
static bool feed(struct encryption *it)
{
    struct handshake_failure failure;
    size_t consumed = 0;

    enum handshake_status status =
        handshake_feed(it->handshake, it->input, it->input_size, &consumed);
    it->input_size -= consumed;
    memmove(it->input, it->input + consumed, it->input_size);
    if (!send_output(it))
        return false;
    switch (status) {
    case HANDSHAKE_WANT_READ:
        return true;
    case HANDSHAKE_DONE: {
        const uint8_t *data;
        if (handshake_output(it->handshake, &data) != 0)
            return true;
        complete(it);
        return false;
    }
    case HANDSHAKE_FAILED:
        handshake_failure(it->handshake, &failure);
        finish(it, -(int)ERROR_TLS, failure.reason);
        return false;
    }
    return false;
}

static void on_event(void *context, uint64_t tag, unsigned events)
{
    struct encryption *it = (struct encryption *)(uintptr_t)tag;
    (void)context, (void)events;

    for (;;) {
        if (it->input_size == sizeof it->input) {
            finish(it, -(int)ERROR_PROTOCOL, "the server sent an oversized record");
            return;
        }
        ssize_t got =
            recv(it->fd, it->input + it->input_size, sizeof it->input - it->input_size, 0);
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0 && errno == EAGAIN) {
            ignore(feed(it)); /* there may be room for output; the last of it completes */
            return;
        }
        if (got <= 0) {
            finish(it, -(int)ERROR_PEER,
                   "the server closed the connection during the TLS handshake");
            return;
        }
        it->input_size += (size_t)got;
        if (!feed(it))
            return;
    }
}

static void on_timeout(void *context)
{
    finish(context, -(int)ERROR_TIMEOUT, "time-out of the TLS handshake");
}

/* The upstream as its relay knows it: relays have another configuration earlier than we, but never
 * before it is prepared here. NULL: there is none, or it could not be set up. */
static struct tls_client *client_of(const struct encryptor *encryptor, unsigned upstream,
                                    const struct conf_upstream **ret_conf)
{
    const struct worker *worker = &encryptor->handshaker->worker;

    if (upstream < encryptor->next_count && encryptor->next[upstream].client != NULL) {
        *ret_conf = &worker->next_conf->upstreams[upstream];
        return encryptor->next[upstream].client;
    }
    if (upstream >= encryptor->count)
        return NULL;
    *ret_conf = &worker->conf->upstreams[upstream];
    return encryptor->upstreams[upstream].client;
}

static const char *server_name(const struct conf_upstream *upstream,
                               const struct message_encrypt *body)
{
    if (upstream->tls_name != NULL)
        return upstream->tls_name;
    return body->server < upstream->server_count ? upstream->servers[body->server].host : NULL;
}

void encryptor_begin(struct encryptor *encryptor, unsigned relay,
                     const struct message_encrypt *body, int fd)
{
    struct handshaker *handshaker = encryptor->handshaker;
    struct encryption *it = calloc(1, sizeof *it);
    const struct conf_upstream *upstream = NULL;
    struct tls_client *client = client_of(encryptor, body->upstream, &upstream);

    if (it == NULL) {
        ignore(close(fd));
        return;
    }
    encryptor->under_way++;
    it->encryptor = encryptor;
    it->relay = relay;
    it->fd = fd;
    it->reply.slot = body->slot;
    it->reply.serial = body->serial;
    it->reply.server = body->server;
    timer_init(&it->timer, on_timeout, it);
    it->handshake =
        client == NULL ? NULL : handshake_new_client(client, server_name(upstream, body));
    if (it->handshake == NULL) {
        finish(it, -(int)ERROR_TLS, "the upstream's TLS settings could not be loaded");
        return;
    }
    timer_set(handshaker->worker.loop, &it->timer,
              loop_now(handshaker->worker.loop) + upstream->connect_timeout * NS_PER_MS);
    if (!loop_watch(handshaker->worker.loop, fd, LOOP_READ | LOOP_WRITE | LOOP_EDGE,
                    encryptor->handler, (uint64_t)(uintptr_t)it)) {
        finish(it, -(int)ERROR_IO, "the connection could not be watched");
        return;
    }
    ignore(feed(it));
}

bool encryptor_idle(const struct encryptor *encryptor)
{
    return encryptor->under_way == 0;
}

struct encryptor *encryptor_new(struct handshaker *handshaker)
{
    struct encryptor *encryptor = calloc(1, sizeof *encryptor);

    if (encryptor == NULL)
        return NULL;
    encryptor->handshaker = handshaker;
    encryptor->count = handshaker->worker.conf->upstream_count;
    encryptor->upstreams = calloc(encryptor->count + 1, sizeof *encryptor->upstreams);
    encryptor->handler = loop_handler(handshaker->worker.loop, on_event, encryptor);
    if (encryptor->upstreams == NULL) {
        free(encryptor);
        return NULL;
    }
    return encryptor;
}

/* ---- another configuration ---- */

static void identities_free(struct upstream_identity *identities, size_t count)
{
    for (size_t i = 0; identities != NULL && i < count; i++) {
        tls_client_unref(identities[i].client);
        free(identities[i].alpn);
    }
    free(identities);
}

bool encryptor_prepare(struct encryptor *encryptor)
{
    identities_free(encryptor->next, encryptor->next_count);
    encryptor->next_count = encryptor->handshaker->worker.next_conf->upstream_count;
    encryptor->next = calloc(encryptor->next_count + 1, sizeof *encryptor->next);
    return encryptor->next != NULL;
}

/* Handshakes under way keep the client they began with. */
void encryptor_swap(struct encryptor *encryptor)
{
    identities_free(encryptor->upstreams, encryptor->count);
    encryptor->upstreams = encryptor->next;
    encryptor->count = encryptor->next_count;
    encryptor->next = NULL;
    encryptor->next_count = 0;
}
