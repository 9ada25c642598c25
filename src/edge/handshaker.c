#include "edge/handshaker.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fault.h"
#include "base/file.h"
#include "edge/attached_internal.h"
#include "edge/sandbox.h"
#include "ipc/memory.h"

#define CARRY_NS (3 * NS_PER_S) /* for attached sessions to part when their time is over */

/* ---- events of the loop ---- */

static void on_socket(void *context, uint64_t tag, unsigned events)
{
    struct handshaker *handshaker = context;
    (void)events;

    acceptor_event(handshaker, (unsigned)tag);
}

static void on_connection(void *context, uint64_t tag, unsigned events)
{
    connection_event(context, (struct connection *)(uintptr_t)tag, events);
}

static void on_attached(void *context, uint64_t tag, unsigned events)
{
    uint64_t side = tag & ATTACHED_TAG_RELAY;

    attached_event(context, (struct attached *)(uintptr_t)(tag - side), side != 0, events);
}

/* False when there is none for now. One that cannot be taken, as when descriptors have run out,
 * must not make us deaf to those that follow. */
static bool next_message(struct handshaker *handshaker, int channel)
{
    for (;;) {
        switch (channel_receive(channel, handshaker->worker.message)) {
        case CHANNEL_DONE:
            return true;
        case CHANNEL_FULL:
            return false;
        case CHANNEL_BAD:
            worker_warn(&handshaker->worker, "a message came incomplete and was dropped");
            continue;
        case CHANNEL_CLOSED:
            loop_unwatch(handshaker->worker.loop, channel);
            return false;
        }
    }
}

static void on_relay(void *context, uint64_t tag, unsigned events)
{
    struct handshaker *handshaker = context;
    struct message *message = handshaker->worker.message;
    unsigned relay = (unsigned)tag;

    if ((events & LOOP_WRITE) != 0)
        dispatch_writable(handshaker, relay);
    while (!handshaker->retiring && next_message(handshaker, handshaker->relays[relay].fd)) {
        if (message->type == MESSAGE_ENCRYPT && message->size == sizeof(struct message_encrypt) &&
            message->fd_count == 1) {
            int fd = message->fds[0];
            message->fds[0] = -1;
            encryptor_begin(handshaker->encryptor, relay, (const void *)message->body, fd);
        }
        message_fini(message);
    }
}

/* ---- certificates from control ---- */

static void want_certificate(void *context, const struct message_certificate_wanted *wanted)
{
    struct handshaker *handshaker = context;

    if (handshaker->control_fd < 0 ||
        channel_send(handshaker->control_fd, MESSAGE_CERTIFICATE_WANTED, wanted, sizeof *wanted,
                     NULL, 0) != CHANNEL_DONE)
        certificates_refuse(handshaker->certificates, wanted);
}

static void take_certificate(struct handshaker *handshaker, struct message *message)
{
    const struct message_certificate *body = (const void *)message->body;
    struct message_certificate_live answer = {.request = body->request};
    struct error error = {0};
    struct buffer pem;

    if (message->size != sizeof *body || message->fd_count > 1 ||
        memchr(body->name, 0, sizeof body->name) == NULL)
        return;
    if (message->fd_count == 0) {
        certificates_withdraw(handshaker->certificates, body);
        return;
    }
    buffer_init_secret(&pem, KEYPAIR_PEM_MAX * 2);
    answer.result = file_read(&pem, message->fds[0], "what was passed on", &error);
    if (answer.result == 0)
        answer.result = certificates_install(handshaker->certificates, body, buffer_text(&pem),
                                             pem.size, &error);
    if (answer.result < 0) {
        worker_warn(&handshaker->worker, "certificate %u not taken: %s", body->certificate,
                    error.message);
        certificates_not_taken(handshaker->certificates, body);
    }
    buffer_fini(&pem);
    if (body->request != 0)
        ignore((long)channel_send(handshaker->control_fd, MESSAGE_CERTIFICATE_LIVE, &answer,
                                  sizeof answer, NULL, 0));
    if (body->name[0] != 0)
        connections_resume(handshaker, body->name);
}

static void take_client_trust(struct handshaker *handshaker, const struct message *message)
{
    const struct message_client_trust *body = (const void *)message->body;
    struct error error = {0};
    char *document = NULL;
    size_t size = 0;
    int result = 0;

    if (message->size != sizeof *body || message->fd_count > 1)
        return;
    if (message->fd_count == 1 &&
        (document = memory_document_read(message->fds[0], TRUST_DOCUMENT_MAX, &size)) == NULL)
        result = error_set(&error, ERROR_IO, "cannot read the document passed on");
    if (result == 0)
        result = certificates_trust(handshaker->certificates, body, document, size, &error);
    if (result < 0)
        worker_warn(&handshaker->worker, "what clients of listener %u are judged by not taken: %s",
                    body->listener, error.message);
    free(document);
}

/* Another configuration comes into force: its certificates are here, all relays have it. */
static void swap(struct handshaker *handshaker)
{
    struct conf *before = worker_swap_config(&handshaker->worker);

    certificates_swap(handshaker->certificates, before);
    encryptor_swap(handshaker->encryptor);
    acceptor_swap(handshaker);
    conf_free(before);
    connections_resume(handshaker, NULL);
    worker_config_loaded(&handshaker->worker, handshaker->worker.setup.config_generation, true);
}

static void certificates_are_complete(struct handshaker *handshaker,
                                      const struct message_complete *body)
{
    if (handshaker->prepared && body->generation == handshaker->worker.next_config.generation) {
        handshaker->prepared = false;
        swap(handshaker);
    }
    /* This may be another control than the one that was asked. */
    certificates_ask_again(handshaker->certificates);
    connections_resume(handshaker, NULL);
    if (handshaker->certificates_complete ||
        body->generation != handshaker->worker.setup.config_generation)
        return;
    handshaker->certificates_complete = true;
    acceptor_update(handshaker);
    worker_ready(&handshaker->worker);
}

static void on_control_message(struct handshaker *handshaker, struct message *message)
{
    if (message->type == MESSAGE_CERTIFICATE) {
        take_certificate(handshaker, message);
    } else if (message->type == MESSAGE_CLIENT_TRUST) {
        take_client_trust(handshaker, message);
    } else if (message->type == MESSAGE_CERTIFICATE_UNKNOWN &&
               message->size == sizeof(struct message_certificate_wanted)) {
        const struct message_certificate_wanted *body = (const void *)message->body;
        if (memchr(body->name, 0, sizeof body->name) == NULL)
            return;
        certificates_refuse(handshaker->certificates, body);
        connections_resume(handshaker, body->name);
    } else if (message->type == MESSAGE_CERTIFICATES_COMPLETE &&
               message->size == sizeof(struct message_complete)) {
        certificates_are_complete(handshaker, (const void *)message->body);
    } else if (message->type == MESSAGE_DRAIN) {
        acceptor_drain_look(handshaker);
    }
}

static void on_control(void *context, uint64_t tag, unsigned events)
{
    struct handshaker *handshaker = context;
    struct message *message = handshaker->worker.message;
    (void)tag, (void)events;

    while (next_message(handshaker, handshaker->control_fd)) {
        on_control_message(handshaker, message);
        message_fini(message);
    }
}

/* ---- the supervisor's messages ---- */

static void take_relay(struct handshaker *handshaker, unsigned number, int fd)
{
    struct relay_channel *channel = &handshaker->relays[number];

    channel->fd = fd;
    if (!loop_watch(handshaker->worker.loop, fd, LOOP_READ, handshaker->relay_handler, number))
        worker_warn(&handshaker->worker, "cannot watch the channel to relay %u", number);
}

static void take_upstream_material(struct handshaker *handshaker, unsigned upstream, int *fds,
                                   size_t count)
{
    const struct worker *worker = &handshaker->worker;
    const struct conf *whole = worker->next_conf != NULL ? worker->next_conf : worker->conf;
    const struct conf_upstream *conf = &whole->upstreams[upstream];
    struct error error = {0};
    size_t next = 0;
    int trust = conf->tls_trust != NULL && next < count ? fds[next++] : -1;
    int certificate = conf->tls_certificate != NULL && next < count ? fds[next++] : -1;
    int key = conf->tls_key != NULL && next < count ? fds[next++] : -1;

    if (encryptor_configure(handshaker->encryptor, upstream, trust, certificate, key, &error) < 0)
        worker_warn(&handshaker->worker, "TLS of upstream %s: %s", conf->name, error.message);
}

static void on_descriptors(void *context, const struct message_descriptors *body, int *fds,
                           size_t count)
{
    struct handshaker *handshaker = context;

    if (body->role == DESCRIPTORS_UPSTREAM_TLS) {
        const struct worker *worker = &handshaker->worker;
        const struct conf *conf = worker->next_conf != NULL ? worker->next_conf : worker->conf;
        if (body->first < conf->upstream_count)
            take_upstream_material(handshaker, body->first, fds, count);
        return;
    }
    if (body->role == DESCRIPTORS_KEY_UPDATE_UNABLE && count == 1) {
        unable_clients_take(handshaker, fds[0]);
        return;
    }
    for (size_t i = 0; i < count; i++) {
        unsigned number = body->first + (unsigned)i;
        if (body->role == DESCRIPTORS_LISTENING) {
            acceptor_take_socket(handshaker, number, fds[i]);
        } else if (body->role == DESCRIPTORS_RELAY && number < BOARD_WORKERS_MAX &&
                   handshaker->relays[number].fd < 0) {
            take_relay(handshaker, number, fds[i]);
        } else if (body->role == DESCRIPTORS_CONTROL && handshaker->control_fd < 0) {
            handshaker->control_fd = fds[i];
            if (!loop_watch(handshaker->worker.loop, fds[i], LOOP_READ, handshaker->control_handler,
                            0))
                worker_warn(&handshaker->worker, "cannot watch the channel to control");
        } else {
            continue;
        }
        fds[i] = -1;
    }
}

/* Everything is made ready beside what is in force; until the swap nothing changes. */
static void prepare(struct handshaker *handshaker, struct message *message)
{
    handshaker->prepared = false;
    if (!worker_take_config(&handshaker->worker, message))
        return;
    if (!certificates_prepare(handshaker->certificates) ||
        !encryptor_prepare(handshaker->encryptor) || !acceptor_prepare(handshaker)) {
        fprintf(stderr, "handshaker: out of memory in a reload\n");
        loop_stop(handshaker->worker.loop, 3); /* a successor begins with the new configuration */
    }
}

static void prepared(struct handshaker *handshaker)
{
    handshaker->prepared = true;
    worker_config_loaded(&handshaker->worker, handshaker->worker.next_config.generation, false);
}

static void on_go(void *context, enum predecessor predecessor)
{
    struct handshaker *handshaker = context;
    ignore(fault_point("handshaker-go"));
    (void)predecessor; /* its handshakes went with it, or it finishes them */

    for (unsigned i = 0; i < BOARD_LISTENERS_MAX; i++)
        handshaker->worker.board->listeners[i].handshakes[handshaker->worker.setup.index] = 0;
    handshaker->worker.self->sessions = 0;

    handshaker->go = true;
    session_memory_go(&handshaker->sessions);
    acceptor_drain_look(handshaker);
    if (handshaker->certificates_complete)
        worker_ready(&handshaker->worker);
}

/* Handshakes that are not done by now will not be; attached sessions may have longer. */
static void on_stop_deadline(void *context)
{
    struct handshaker *handshaker = context;
    uint64_t now_ns = loop_now(handshaker->worker.loop);

    if (handshaker->attached_count == 0 || now_ns >= handshaker->carry_until_ns) {
        loop_stop(handshaker->worker.loop, 0);
        return;
    }
    connections_give_up(handshaker);
    timer_set(handshaker->worker.loop, &handshaker->stop, handshaker->carry_until_ns + CARRY_NS);
}

static void on_stop(void *context, const struct message_stop *body)
{
    struct handshaker *handshaker = context;

    handshaker->stopping = true;
    handshaker->carry_until_ns = body->carry_ns;
    acceptor_update(handshaker);
    timer_set(handshaker->worker.loop, &handshaker->stop, body->deadline_ns);
}

/* A successor takes our place: what comes from now on is for it, what was begun here ends here. It
 * shares the channels to relays, and the count of sessions sent there, with us. */
static void retire(struct handshaker *handshaker, const struct message_stop *body)
{
    struct loop *loop = handshaker->worker.loop;

    on_stop(handshaker, body);
    attached_retire_all(handshaker, body->carry_ns);
    if (handshaker->retiring)
        return; /* told once more: there is less time */
    for (unsigned i = 0; i < handshaker->worker.setup.workers; i++) {
        if (handshaker->relays[i].fd >= 0)
            loop_unwatch(loop, handshaker->relays[i].fd);
    }
    loop_unwatch(loop, handshaker->control_fd);
    handshaker->retiring = true;
    ignore(close(handshaker->control_fd));
    handshaker->control_fd = -1;
    connections_retire(handshaker);
    event_flush(&handshaker->worker.events);
    worker_take_place(&handshaker->worker, PROCESS_RETIRING_HANDSHAKER);
    handshaker->worker.self->sessions = handshaker->under_way;
    ignore(worker_tell(&handshaker->worker, MESSAGE_RETIRED, NULL, 0, NULL, 0));
}

static void on_message(void *context, struct message *message)
{
    struct handshaker *handshaker = context;

    if (message->type == MESSAGE_RETIRE && message->size == sizeof(struct message_stop))
        retire(handshaker, (const void *)message->body);
    else if (message->type == MESSAGE_CONFIG)
        prepare(handshaker, message);
    else if (message->type == MESSAGE_CONFIG_GO && handshaker->worker.next_conf != NULL)
        prepared(handshaker);
}

static void on_orphaned(void *context)
{
    loop_stop(((struct handshaker *)context)->worker.loop, 0);
}

/* What is left, if anything, are attached sessions: relays can be stopped. */
static void nothing_under_way(struct handshaker *handshaker)
{
    if (handshaker->attached_count == 0)
        loop_stop(handshaker->worker.loop, 0);
    else if (!handshaker->retiring && !handshaker->carrying_told)
        handshaker->carrying_told =
            worker_tell(&handshaker->worker, MESSAGE_RETIRED, NULL, 0, NULL, 0);
}

static void after_batch(void *context)
{
    struct handshaker *handshaker = context;

    handshaker->now_ns = loop_now(handshaker->worker.loop);
    acceptor_run(handshaker);
    dispatch_flush(handshaker);
    session_memory_count(&handshaker->sessions);
    connections_bury(handshaker);
    attached_run_all(handshaker);
    if (handshaker->stopping && handshaker->under_way == 0 && dispatch_idle(handshaker) &&
        encryptor_idle(handshaker->encryptor))
        nothing_under_way(handshaker);
}

static bool handshaker_init(struct handshaker *handshaker)
{
    struct loop *loop = handshaker->worker.loop;

    handshaker->control_fd = -1;
    for (unsigned i = 0; i < BOARD_WORKERS_MAX; i++)
        handshaker->relays[i].fd = -1;
    handshaker->socket_handler = loop_handler(loop, on_socket, handshaker);
    handshaker->connection_handler = loop_handler(loop, on_connection, handshaker);
    handshaker->relay_handler = loop_handler(loop, on_relay, handshaker);
    handshaker->control_handler = loop_handler(loop, on_control, handshaker);
    handshaker->attached_handler = loop_handler(loop, on_attached, handshaker);
    timer_init(&handshaker->stop, on_stop_deadline, handshaker);
    attached_init(handshaker);
    acceptor_drain_init(handshaker);
    admission_init(handshaker);
    handshaker->crypto = record_crypto_new();
    session_memory_init(&handshaker->sessions, &handshaker->worker);
    handshaker->certificates = certificates_new(&handshaker->worker, handshaker->sessions.cache,
                                                want_certificate, handshaker);
    handshaker->encryptor = encryptor_new(handshaker);
    return handshaker->crypto != NULL && handshaker->certificates != NULL &&
           handshaker->encryptor != NULL && acceptor_init(handshaker);
}

int handshaker_main(int channel_fd)
{
    static const struct worker_role role = {
        .kind = PROCESS_HANDSHAKER,
        .descriptors = on_descriptors,
        .go = on_go,
        .stop = on_stop,
        .message = on_message,
        .orphaned = on_orphaned,
        .after_batch = after_batch,
    };
    static struct handshaker handshaker;
    struct error error = {0};

    ignore(prctl(PR_SET_PDEATHSIG, SIGKILL));
    tls_process_init();
    if (worker_init(&handshaker.worker, channel_fd, &role, &handshaker, &error) < 0) {
        ignore(fprintf(stderr, "handshaker: %s\n", error.message));
        return error_exit_code(&error);
    }
    if (!handshaker_init(&handshaker)) {
        ignore(
            fprintf(stderr, "handshaker: out of memory, or the ticket keys could not be mapped\n"));
        return 3;
    }
    if (sandbox_enter(SANDBOX_HANDSHAKER, &error) < 0) {
        ignore(fprintf(stderr, "handshaker: %s\n", error.message));
        return error_exit_code(&error);
    }
    int code = worker_run(&handshaker.worker);
    fingerprints_free(handshaker.unable_clients);
    certificates_free(handshaker.certificates); /* private keys are wiped */
    return code;
}
