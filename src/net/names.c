/* A question waits until fewer than `questions_max` are under way, is asked, and its answer waits
 * for the loop's next turn: so nobody is called back out of his own call, or out of c-ares. c-ares
 * cannot forget a single question: one that was cancelled, or has taken too long, stays asked
 * without an asker. */
#include "net/names.h"

#include <ares.h>
#include <netdb.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "base/clock.h"
#include "base/string.h"
#include "net/names_message.h"

#define TIMEOUT_DEFAULT_MS    10000
#define QUESTIONS_DEFAULT_MAX 64
#define TRIES                 2

struct list {
    struct names_question *first, *last;
};

struct names_question {
    struct names *names;
    struct names_question *previous, *next;
    struct list *list;
    enum names_type type; /* 0: addresses */
    int family;
    char name[256];
    names_done_fn *done; /* NULL: nobody asks any more */
    void *context;
    struct timer deadline;
    struct names_answer *answer;
};

struct names {
    struct loop *loop;
    ares_channel channel;
    uint8_t handler;
    uint32_t timeout_ms;
    unsigned asked_max, asked_count;
    struct list waiting, asked, answered;
    struct timer tick; /* c-ares wants to try again */
    struct timer turn; /* there are answers to give or questions to ask */
};

static void list_add(struct list *list, struct names_question *question)
{
    question->list = list;
    question->previous = list->last;
    question->next = NULL;
    if (list->last != NULL)
        list->last->next = question;
    else
        list->first = question;
    list->last = question;
}

static void list_remove(struct names_question *question)
{
    struct list *list = question->list;

    if (question->previous != NULL)
        question->previous->next = question->next;
    else
        list->first = question->next;
    if (question->next != NULL)
        question->next->previous = question->previous;
    else
        list->last = question->previous;
}

static void question_free(struct names_question *question)
{
    timer_cancel(question->names->loop, &question->deadline);
    list_remove(question);
    free(question->answer);
    free(question);
}

/* ---- c-ares under our loop ---- */

static void wake(struct names *names)
{
    timer_set(names->loop, &names->turn, loop_now(names->loop));
}

static void set_tick(struct names *names)
{
    struct timeval wait;

    if (ares_timeout(names->channel, NULL, &wait) == NULL) {
        timer_cancel(names->loop, &names->tick);
        return;
    }
    timer_set(names->loop, &names->tick,
              clock_monotonic_ns() + (uint64_t)wait.tv_sec * NS_PER_S +
                  (uint64_t)wait.tv_usec * NS_PER_US);
}

static void on_tick(void *context)
{
    struct names *names = context;

    ares_process_fd(names->channel, ARES_SOCKET_BAD, ARES_SOCKET_BAD);
    set_tick(names);
}

static void on_socket(void *context, uint64_t tag, unsigned events)
{
    struct names *names = context;
    int fd = (int)tag;
    bool broken = (events & LOOP_ERROR) != 0;

    ares_process_fd(names->channel, broken || events & LOOP_READ ? fd : ARES_SOCKET_BAD,
                    broken || events & LOOP_WRITE ? fd : ARES_SOCKET_BAD);
    set_tick(names);
}

static void on_socket_state(void *context, int fd, int readable, int writable)
{
    struct names *names = context;
    unsigned events = (readable ? LOOP_READ : 0u) | (writable ? LOOP_WRITE : 0u);

    /* A socket that cannot be watched is one without answers: its question times out. */
    if (events != 0)
        ignore(loop_watch(names->loop, fd, events, names->handler, (uint64_t)fd));
    else
        loop_unwatch(names->loop, fd);
}

/* ---- answers ---- */

static const char *status_reason(int status)
{
    switch (status) {
    case ARES_ENODATA:
        return "the name has no address";
    case ARES_ENOTFOUND:
    case ARES_ENONAME:
        return "there is no such name in the DNS";
    case ARES_EBADNAME:
        return "the DNS cannot have such a name";
    case ARES_ESERVFAIL:
        return "the name server could not find out (SERVFAIL)";
    case ARES_EREFUSED:
        return "the name server refused to answer";
    case ARES_ECONNREFUSED:
        return "no name server can be reached";
    case ARES_ETIMEOUT:
        return "no name server answered in time";
    case ARES_ENOMEM:
        return "out of memory";
    default:
        return ares_strerror(status);
    }
}

static enum names_outcome status_outcome(int status)
{
    switch (status) {
    case ARES_ENODATA:
        return NAMES_NONE;
    case ARES_ENOTFOUND:
    case ARES_ENONAME:
    case ARES_EBADNAME:
        return NAMES_UNKNOWN;
    default:
        return NAMES_FAILED;
    }
}

static void conclude(struct names_answer *answer, int status)
{
    answer->outcome = status_outcome(status);
    answer->reason = status_reason(status);
}

static bool has_address(const struct names_answer *answer, const struct address *address)
{
    for (size_t i = 0; i < answer->count; i++) {
        if (address_equal(&answer->addresses[i], address))
            return true;
    }
    return false;
}

static void take_addresses(struct names_answer *answer, const struct ares_addrinfo *info)
{
    for (const struct ares_addrinfo_node *node = info->nodes;
         node != NULL && answer->count < NAMES_ANSWERS_MAX; node = node->ai_next) {
        struct address address = {.size = 0};
        if ((node->ai_family != AF_INET && node->ai_family != AF_INET6) ||
            node->ai_addrlen > sizeof address.in6)
            continue;
        memcpy(&address.any, node->ai_addr, node->ai_addrlen);
        address.size = node->ai_addrlen;
        address_set_port(&address, 0);
        if (!has_address(answer, &address))
            answer->addresses[answer->count++] = address;
    }
    if (answer->count == 0)
        conclude(answer, ARES_ENODATA);
}

/* c-ares is done with the question. Returns where the answer goes; NULL: nobody wants it. */
static struct names_answer *settle(struct names_question *question)
{
    struct names *names = question->names;

    names->asked_count--;
    wake(names);
    if (question->done == NULL) {
        question_free(question);
        return NULL;
    }
    timer_cancel(names->loop, &question->deadline);
    list_remove(question);
    list_add(&names->answered, question);
    return question->answer;
}

static void on_addresses(void *context, int status, int timeouts, struct ares_addrinfo *info)
{
    struct names_answer *answer = settle(context);
    (void)timeouts;

    if (answer != NULL && status == ARES_SUCCESS)
        take_addresses(answer, info);
    else if (answer != NULL)
        conclude(answer, status);
    if (info != NULL)
        ares_freeaddrinfo(info);
}

static void on_records(void *context, int status, int timeouts, unsigned char *data, int size)
{
    struct names_question *question = context;
    struct names_answer *answer = settle(question);
    (void)timeouts;

    if (answer == NULL)
        return;
    if (status == ARES_SUCCESS)
        names_message_parse(answer, question->type, question->name, data, (size_t)size);
    else
        conclude(answer, status);
}

/* ---- questions ---- */

static void on_deadline(void *context)
{
    struct names_question *question = context;
    names_done_fn *done = question->done;

    question->done = NULL;
    conclude(question->answer, ARES_ETIMEOUT);
    done(question->context, question->answer);
}

/* By hand, because the AD bit must be set for the resolver to say whether it vouches (RFC 6840
 * §5.7), and c-ares has no option for it. */
static void ask_records(struct names_question *question)
{
    unsigned char *query = NULL;
    uint16_t id = 0;
    int size = 0;

    ignore(getrandom(&id, sizeof id, 0));
    int status = ares_create_query(question->name, 1, (int)question->type, id, 1, &query, &size, 0);
    if (status != ARES_SUCCESS) {
        on_records(question, status, 0, NULL, 0);
        return;
    }
    query[3] |= 0x20;
    ares_send(question->names->channel, query, size, on_records, question);
    ares_free_string(query);
}

static void ask(struct names_question *question)
{
    struct names *names = question->names;
    struct ares_addrinfo_hints hints = {.ai_family = question->family, .ai_socktype = SOCK_STREAM};

    list_remove(question);
    list_add(&names->asked, question);
    names->asked_count++;
    timer_set(names->loop, &question->deadline,
              clock_monotonic_ns() + names->timeout_ms * NS_PER_MS);
    if (question->type == 0)
        ares_getaddrinfo(names->channel, question->name, NULL, &hints, on_addresses, question);
    else
        ask_records(question);
}

static void ask_waiting(struct names *names)
{
    if (names->waiting.first == NULL || names->asked_count >= names->asked_max)
        return;
    while (names->waiting.first != NULL && names->asked_count < names->asked_max)
        ask(names->waiting.first);
    set_tick(names);
}

static void on_turn(void *context)
{
    struct names *names = context;
    struct names_question *question;

    while ((question = names->answered.first) != NULL) {
        names_done_fn *done = question->done;
        struct names_answer *answer = question->answer;
        question->answer = NULL;
        void *asker = question->context;
        question_free(question);
        done(asker, answer);
        free(answer);
    }
    ask_waiting(names);
}

static struct names_question *question_new(struct names *names, enum names_type type,
                                           const char *name, names_done_fn *done, void *context)
{
    struct names_question *question = calloc(1, sizeof *question);

    if (question == NULL || (question->answer = calloc(1, sizeof *question->answer)) == NULL) {
        free(question);
        return NULL;
    }
    question->names = names;
    question->type = type;
    question->done = done;
    question->context = context;
    timer_init(&question->deadline, on_deadline, question);
    /* What is too long is no name: the empty one neither. */
    ignore(string_copy(question->name, sizeof question->name, strlen(name) < 256 ? name : ""));
    list_add(&names->waiting, question);
    wake(names);
    return question;
}

struct names_question *names_addresses(struct names *names, const char *host, int family,
                                       names_done_fn *done, void *context)
{
    struct names_question *question = question_new(names, 0, host, done, context);

    if (question != NULL)
        question->family = family;
    return question;
}

struct names_question *names_mx(struct names *names, const char *domain, names_done_fn *done,
                                void *context)
{
    return question_new(names, NAMES_TYPE_MX, domain, done, context);
}

struct names_question *names_txt(struct names *names, const char *name, names_done_fn *done,
                                 void *context)
{
    return question_new(names, NAMES_TYPE_TXT, name, done, context);
}

struct names_question *names_tlsa(struct names *names, const char *name, names_done_fn *done,
                                  void *context)
{
    return question_new(names, NAMES_TYPE_TLSA, name, done, context);
}

void names_cancel(struct names_question *question)
{
    if (question == NULL)
        return;
    if (question->list != &question->names->asked) {
        question_free(question);
        return;
    }
    question->done = NULL;
    timer_cancel(question->names->loop, &question->deadline);
}

/* ---- the resolver ---- */

static int open_channel(struct names *names, const struct names_options *options,
                        struct error *error)
{
    struct ares_options wanted = {
        .timeout = (int)(names->timeout_ms / (2 * TRIES)) + 1,
        .tries = TRIES,
        .sock_state_cb = on_socket_state,
        .sock_state_cb_data = names,
    };
    int status = ares_library_init(ARES_LIB_INIT_ALL);

    if (status == ARES_SUCCESS)
        status = ares_init_options(&names->channel, &wanted,
                                   ARES_OPT_TIMEOUTMS | ARES_OPT_TRIES | ARES_OPT_SOCK_STATE_CB);
    if (status != ARES_SUCCESS)
        return error_set(error, ERROR_IO, "the resolver cannot start: %s", ares_strerror(status));
    if (options->servers != NULL &&
        ares_set_servers_ports_csv(names->channel, options->servers) != ARES_SUCCESS)
        return error_set(
            error, ERROR_USAGE,
            "name servers \"%s\": expected addresses as 192.0.2.1:53,[2001:db8::1]:53",
            string_printable((char[160]){0}, 160, options->servers, strlen(options->servers)));
    return 0;
}

int names_new(struct names **ret_names, struct loop *loop, const struct names_options *options,
              struct error *error)
{
    struct names *names = calloc(1, sizeof *names);

    if (names == NULL)
        return error_set(error, ERROR_MEMORY, "out of memory");
    names->loop = loop;
    names->timeout_ms = options->timeout_ms != 0 ? options->timeout_ms : TIMEOUT_DEFAULT_MS;
    names->asked_max = options->questions_max != 0 ? options->questions_max : QUESTIONS_DEFAULT_MAX;
    names->handler = loop_handler(loop, on_socket, names);
    timer_init(&names->tick, on_tick, names);
    timer_init(&names->turn, on_turn, names);
    int code = open_channel(names, options, error);
    if (code != 0) {
        names_free(names);
        return code;
    }
    *ret_names = names;
    return 0;
}

void names_free(struct names *names)
{
    if (names == NULL)
        return;
    while (names->waiting.first != NULL)
        question_free(names->waiting.first);
    while (names->answered.first != NULL)
        question_free(names->answered.first);
    for (struct names_question *asked = names->asked.first; asked != NULL; asked = asked->next)
        names_cancel(asked);
    if (names->channel != NULL)
        ares_destroy(names->channel); /* gives up what is asked, which frees it */
    timer_cancel(names->loop, &names->tick);
    timer_cancel(names->loop, &names->turn);
    free(names);
}
