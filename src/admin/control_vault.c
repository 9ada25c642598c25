/* What the vault needs of its process: files through the supervisor, messages to handshakers,
 * events. */
#include "admin/control_internal.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/string.h"

/* So many questions are under way at a time: neither they nor their answers can fill a channel, and
 * be lost. The others wait here. */
#define QUESTIONS_MAX 256

struct question {
    struct question *next;
    uint32_t type;
    struct message_open body;
};

static bool enqueue(struct control *control, const struct question *question)
{
    struct question *copy = malloc(sizeof *copy);

    if (copy == NULL)
        return false;
    *copy = *question;
    if (control->last_question != NULL)
        control->last_question->next = copy;
    else
        control->first_question = copy;
    control->last_question = copy;
    return true;
}

static bool tell(struct control *control, const struct question *question)
{
    if (!worker_tell(&control->worker, question->type, &question->body, sizeof question->body, NULL,
                     0))
        return false;
    control->questions++;
    return true;
}

static bool ask_supervisor(struct control *control, uint32_t type, uint32_t request,
                           const char *path, bool folder)
{
    struct question question = {.type = type, .body = {.request = request, .folder = folder}};

    if (!string_copy(question.body.path, sizeof question.body.path, path))
        return false;
    if (control->first_question == NULL && control->questions < QUESTIONS_MAX &&
        tell(control, &question))
        return true;
    return control->questions != 0 && enqueue(control, &question); /* an answer makes room */
}

void control_vault_answered(struct control *control)
{
    control->questions -= control->questions != 0;
    while (control->first_question != NULL && control->questions < QUESTIONS_MAX &&
           tell(control, control->first_question)) {
        struct question *told = control->first_question;
        control->first_question = told->next;
        if (told->next == NULL)
            control->last_question = NULL;
        free(told);
    }
}

static bool host_open(void *context, uint32_t request, const char *path, bool folder)
{
    return ask_supervisor(context, MESSAGE_OPEN, request, path, folder);
}

static bool host_watch(void *context, uint32_t request, const char *path, bool folder)
{
    return ask_supervisor(context, MESSAGE_WATCH, request, path, folder);
}

static bool host_send(void *context, unsigned handshaker, uint32_t type, const void *body,
                      size_t size, int document)
{
    struct control *control = context;
    struct peer *peer = peers_find(&control->peers, PROCESS_HANDSHAKER, handshaker);

    return peer != NULL && peer_send(peer, type, body, size, document);
}

static void host_event(void *context, enum event_type type, uint32_t certificate, uint32_t version,
                       const char *host, const char *detail)
{
    struct control *control = context;
    struct event *event = event_begin(&control->worker.events, type);

    if (type == EVENT_CERTIFICATE_LOADED)
        worker_count(&control->worker, COUNTER_CERTIFICATES_LOADED, 1);
    else if (type == EVENT_CERTIFICATE_REFUSED)
        worker_count(&control->worker, COUNTER_CERTIFICATES_REFUSED, 1);
    if (event == NULL)
        return;
    event->config = control->feed.config;
    event->certificate = certificate;
    event->certificate_version = version;
    ignore(string_copy(event->server_name, sizeof event->server_name, host));
    ignore(string_copy(event->detail, sizeof event->detail, detail));
    event_end(&control->worker.events, type);
}

void control_vault_host(struct control *control, struct vault_host *ret_host)
{
    *ret_host = (struct vault_host){
        .context = control,
        .loop = control->worker.loop,
        .state_folder = control->worker.descriptors[SETUP_STATE_FOLDER],
        .board = control->worker.board,
        .open = host_open,
        .watch = host_watch,
        .send = host_send,
        .event = host_event,
        .trust = control_trust_event,
    };
}

static void on_inotify(void *context, uint64_t tag, unsigned events)
{
    struct control *control = context;
    union {
        struct inotify_event event; /* for its alignment */
        char bytes[16384];
    } batch;
    (void)tag, (void)events;

    for (;;) {
        ssize_t size = read(control->worker.descriptors[SETUP_INOTIFY], &batch, sizeof batch);
        if (size < 0 && errno == EINTR)
            continue;
        if (size <= 0)
            return;
        for (size_t at = 0; at + sizeof(struct inotify_event) <= (size_t)size;) {
            const struct inotify_event *event = (const void *)(batch.bytes + at);
            if (control->view.vault != NULL)
                vault_inotify_event(control->view.vault, event);
            at += sizeof *event + event->len;
        }
    }
}

bool control_vault_watch(struct control *control)
{
    uint8_t handler = loop_handler(control->worker.loop, on_inotify, control);
    int fd = control->worker.descriptors[SETUP_INOTIFY];

    return fd < 0 || loop_watch(control->worker.loop, fd, LOOP_READ, handler, 0);
}
