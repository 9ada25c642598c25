#include "admin/resolver.h"

#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "admin/view.h"
#include "base/clock.h"

#define ROUND_NS   (30 * NS_PER_S)
#define TIMEOUT_NS (20 * NS_PER_S)

/* What the child writes; smaller than PIPE_BUF, so each arrives whole. */
struct answer {
    uint32_t entry;
    int32_t result; /* 0 or an EAI_ code */
    struct address address;
};

static const struct conf_server *entry_server(const struct resolver *resolver,
                                              const struct resolver_entry *entry)
{
    return &resolver->conf->upstreams[entry->upstream].servers[entry->index];
}

static void ask(const struct resolver *resolver, uint32_t at, struct answer *ret_answer)
{
    static const struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_ADDRCONFIG};
    const struct resolver_entry *entry = &resolver->entries[at];
    const struct conf_server *server = entry_server(resolver, entry);
    struct addrinfo *list = NULL;

    memset(ret_answer, 0, sizeof *ret_answer);
    ret_answer->entry = at;
    ret_answer->result = getaddrinfo(server->host, NULL, &hints, &list);
    for (const struct addrinfo *info = list; ret_answer->result == 0 && info != NULL;
         info = info->ai_next) {
        struct address found = {.size = 0};
        if ((info->ai_family != AF_INET && info->ai_family != AF_INET6) ||
            info->ai_addrlen > sizeof found.in6)
            continue;
        memcpy(&found.any, info->ai_addr, info->ai_addrlen);
        found.size = info->ai_addrlen;
        address_set_port(&found, address_port(&server->address));
        if (ret_answer->address.size == 0)
            ret_answer->address = found;
        if (address_equal(&found, &entry->address)) {
            ret_answer->address = found;
            break;
        }
    }
    if (list != NULL)
        freeaddrinfo(list);
    if (ret_answer->result == 0 && ret_answer->address.size == 0)
        ret_answer->result = EAI_NONAME;
}

NORETURN static void child_main(const struct resolver *resolver, int write_fd)
{
    ignore(prctl(PR_SET_PDEATHSIG, SIGKILL));
    /* It parses what strangers' name servers send: let it have nothing. */
    if (dup2(write_fd, STDIN_FILENO) < 0 || close_range(STDIN_FILENO + 1, ~0u, 0) != 0)
        _exit(1);
    for (uint32_t i = 0; i < resolver->count; i++) {
        struct answer answer;
        ask(resolver, i, &answer);
        if (write(STDIN_FILENO, &answer, sizeof answer) != (ssize_t)sizeof answer)
            _exit(1);
    }
    _exit(0);
}

static void end_round(struct resolver *resolver)
{
    if (resolver->pipe_fd >= 0) {
        loop_unwatch(resolver->loop, resolver->pipe_fd);
        close(resolver->pipe_fd);
        resolver->pipe_fd = -1;
    }
    if (resolver->child > 0) {
        ignore(kill(resolver->child, SIGKILL));
        while (waitpid(resolver->child, NULL, 0) < 0 && errno == EINTR)
            continue;
        resolver->child = 0;
    }
    timer_cancel(resolver->loop, &resolver->timeout);
}

static void take(struct resolver *resolver, const struct answer *answer)
{
    if (answer->entry >= resolver->count || answer->address.size > sizeof answer->address.in6)
        return;
    struct resolver_entry *entry = &resolver->entries[answer->entry];
    bool resolved = answer->result == 0 && answer->address.size != 0;
    bool changed = resolved ? !address_equal(&entry->address, &answer->address) || !entry->resolved
                            : entry->resolved || !entry->asked;

    entry->asked = true;
    entry->resolved = resolved;
    if (resolved)
        entry->address = answer->address;
    if (!changed)
        return;
    struct resolver_facts facts = {
        .upstream = resolver->conf->upstreams[entry->upstream].name,
        .name = entry_server(resolver, entry)->name,
        .address = &entry->address,
        .resolved = resolved,
        .reason = resolved ? NULL : gai_strerror(answer->result),
    };
    resolver->host.changed(resolver->host.context, entry->server, &facts);
}

static void on_answers(void *context, uint64_t tag, unsigned events)
{
    struct resolver *resolver = context;
    struct answer answer;
    (void)tag, (void)events;

    while (resolver->pipe_fd >= 0) {
        ssize_t size = read(resolver->pipe_fd, &answer, sizeof answer);
        if (size == (ssize_t)sizeof answer)
            take(resolver, &answer);
        else if (size < 0 && errno == EAGAIN)
            return;
        else if (size >= 0 || errno != EINTR)
            end_round(resolver);
    }
}

/* The child is stuck in a question: the names it did not get to keep their addresses. */
static void on_timeout(void *context)
{
    end_round(context);
}

static void begin_round(void *context)
{
    struct resolver *resolver = context;
    int fds[2];

    timer_set(resolver->loop, &resolver->next, loop_now(resolver->loop) + ROUND_NS);
    if (resolver->child > 0 || pipe2(fds, O_CLOEXEC) != 0)
        return;
    resolver->child = fork();
    if (resolver->child == 0)
        child_main(resolver, fds[1]);
    close(fds[1]);
    ignore(fcntl(fds[0], F_SETFL, O_NONBLOCK));
    resolver->pipe_fd = fds[0];
    if (resolver->child < 0 ||
        !loop_watch(resolver->loop, fds[0], LOOP_READ, resolver->handler, 0)) {
        end_round(resolver);
        resolver->child = 0;
        return;
    }
    timer_set(resolver->loop, &resolver->timeout, loop_now(resolver->loop) + TIMEOUT_NS);
}

/* One entry per server with a name; NULL when out of memory. */
static struct resolver_entry *list_names(const struct conf *conf, size_t *ret_count)
{
    struct resolver_entry *entries = calloc(CONF_SERVERS_MAX, sizeof *entries);
    size_t count = 0;

    for (uint32_t u = 0; entries != NULL && u < conf->upstream_count; u++) {
        const struct conf_upstream *upstream = &conf->upstreams[u];
        for (uint32_t s = 0; s < upstream->server_count && count < CONF_SERVERS_MAX; s++) {
            if (upstream->servers[s].host != NULL)
                entries[count++] = (struct resolver_entry){
                    .server = upstream->servers[s].number, .upstream = u, .index = s};
        }
    }
    *ret_count = count;
    return entries;
}

bool resolver_init(struct resolver *resolver, struct loop *loop, const struct conf *conf,
                   const struct resolver_host *host)
{
    *resolver = (struct resolver){.loop = loop, .conf = conf, .host = *host, .pipe_fd = -1};
    resolver->entries = list_names(conf, &resolver->count);
    if (resolver->entries == NULL)
        return false;
    resolver->handler = loop_handler(loop, on_answers, resolver);
    timer_init(&resolver->next, begin_round, resolver);
    timer_init(&resolver->timeout, on_timeout, resolver);
    return true;
}

void resolver_fini(struct resolver *resolver)
{
    if (resolver->loop == NULL)
        return;
    end_round(resolver);
    timer_cancel(resolver->loop, &resolver->next);
    free(resolver->entries);
}

void resolver_start(struct resolver *resolver)
{
    if (resolver->count > 0)
        begin_round(resolver);
}

/* What is known of the same server under the same name. */
static void carry_over(const struct resolver *resolver, const struct conf *next,
                       struct resolver_entry *entry)
{
    const struct conf_server *server = &next->upstreams[entry->upstream].servers[entry->index];

    for (size_t i = 0; i < resolver->count; i++) {
        const struct resolver_entry *known = &resolver->entries[i];
        if (known->server == entry->server &&
            strcmp(entry_server(resolver, known)->name, server->name) == 0) {
            entry->address = known->address;
            entry->asked = known->asked;
            entry->resolved = known->resolved;
            return;
        }
    }
}

bool resolver_reload(struct resolver *resolver, const struct conf *next)
{
    bool news = false;
    size_t count;
    struct resolver_entry *entries = list_names(next, &count);

    if (entries == NULL)
        return false;
    for (size_t i = 0; i < count; i++) {
        carry_over(resolver, next, &entries[i]);
        news |= !entries[i].asked;
    }
    end_round(resolver); /* its answers name the entries of before */
    free(resolver->entries);
    resolver->entries = entries;
    resolver->count = count;
    resolver->conf = next;
    if (news)
        begin_round(resolver);
    else if (count == 0)
        timer_cancel(resolver->loop, &resolver->next);
    else if (resolver->next.position == 0)
        begin_round(resolver);
    return true;
}

bool resolver_message(const struct resolver *resolver, size_t at,
                      struct message_address *ret_message)
{
    const struct resolver_entry *entry = &resolver->entries[at];

    if (entry->address.size == 0 || entry->address.size > sizeof ret_message->bytes)
        return false;
    memset(ret_message, 0, sizeof *ret_message);
    ret_message->server = entry->server;
    ret_message->size = entry->address.size;
    memcpy(ret_message->bytes, &entry->address.any, entry->address.size);
    return true;
}
