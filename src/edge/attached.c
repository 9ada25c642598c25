/* One attached session, event driven: two sockets watched edge-triggered, OpenSSL between them.
 *
 *   carrying → parting (the client gets its last bytes) → waiting (for the relay to let go) → over
 *
 * Nothing is read that cannot be passed on: plaintext that the relay does not take yet stops the
 * reading from the client, records that the client does not take stop the reading from the relay.
 */
#include "edge/attached.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/hash.h"
#include "base/secret.h"
#include "base/string.h"
#include "edge/attached_internal.h"

#define TURN_BYTES   (64u << 10)     /* that a session may move before others have their turn */
#define READ_SIZE    16384           /* from either side at a time: one record's worth */
#define OWED_MAX     (4 * READ_SIZE) /* records that the client has not taken */
#define PARTING_NS   (2 * NS_PER_S)  /* for the client to take its last bytes */
#define WAITING_NS   (10 * NS_PER_S) /* for the relay to let go */
#define REFUSALS_MAX 8               /* renegotiations in a row, without data between them */

/* Plaintext and ciphertext in passing; wiped with the process. */
static uint8_t scratch[RECORD_WIRE_MAX_TLS12];

/* ---- its end ---- */

static void close_client(struct attached *it, bool reset)
{
    static const struct linger at_once = {.l_onoff = 1};

    if (it->client < 0)
        return;
    loop_unwatch(it->handshaker->worker.loop, it->client);
    if (reset)
        ignore(setsockopt(it->client, SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once));
    ignore(close(it->client));
    it->client = -1;
}

static void set_phase(struct attached *it, enum attached_phase phase, uint64_t timeout_ns)
{
    it->phase = phase;
    timer_set(it->handshaker->worker.loop, &it->timer, it->handshaker->now_ns + timeout_ns);
}

static void finish(struct attached *it)
{
    struct handshaker *handshaker = it->handshaker;

    if (it->phase == ATTACHED_OVER)
        return;
    it->phase = ATTACHED_OVER;
    close_client(it, true);
    loop_unwatch(handshaker->worker.loop, it->relay);
    ignore(close(it->relay));
    timer_cancel(handshaker->worker.loop, &it->timer);
    timer_cancel(handshaker->worker.loop, &it->retirement);
    board_attached_give(handshaker->worker.board, it->place, it->serial);
    if (it->previous != NULL)
        it->previous->next = it->next;
    else
        handshaker->attached = it->next;
    if (it->next != NULL)
        it->next->previous = it->previous;
    it->next = handshaker->attached_graveyard;
    handshaker->attached_graveyard = it;
    handshaker->attached_count--;
}

/* Nothing more is to be had from the client's side; the relay looks at the board and ends. */
static void wait_for_relay(struct attached *it)
{
    set_phase(it, ATTACHED_WAITING, WAITING_NS);
    if ((board_attached_said(it->handshaker->worker.board, it->place, it->serial) &
         ATTACHED_LET_GO) != 0)
        finish(it);
}

static void say(struct attached *it, enum attached_word word)
{
    board_attached_say(it->handshaker->worker.board, it->place, it->serial, word);
}

static void end_up(struct attached *it, enum attached_word word)
{
    if (it->up_ended)
        return;
    it->up_ended = true;
    say(it, word);
    ignore(shutdown(it->relay, SHUT_WR));
}

/* Also after the client's orderly end: what the relay still has for it goes nowhere, so its next
 * write is to fail. */
void attached_break(struct attached *it, enum attached_word word)
{
    say(it, word);
    it->up_ended = true;
    ignore(shutdown(it->relay, SHUT_RDWR));
    close_client(it, true);
    wait_for_relay(it);
}

void attached_part(struct attached *it, enum attached_word word)
{
    if (it->phase != ATTACHED_CARRYING)
        return;
    end_up(it, word);
    it->down_ended = true;
    ignore(shutdown(it->relay, SHUT_RDWR)); /* a relay that is held up by the server sees it, too */
    set_phase(it, ATTACHED_PARTING, PARTING_NS);
    attached_queue(it);
}

/* In the middle of a handshake of TLS 1.2 there is no such thing. OpenSSL sends no alert but for
 * faults that it sees. */
void attached_alert(struct attached *it, enum alert alert)
{
    bool alone = alert != ALERT_CLOSE_NOTIFY && handshake_go_alone(it->handshake);

    if (alone)
        handshake_alert(it->handshake, alert);
    else if (!it->held || handshake_renegotiation(it->handshake) != RENEGOTIATION_RUNNING)
        handshake_shutdown(it->handshake);
}

/* ---- towards the client ---- */

/* False when the client takes nothing for now, or is gone. */
static bool flush_client(struct attached *it)
{
    const uint8_t *data;
    size_t size;

    while ((size = handshake_output(it->handshake, &data)) != 0) {
        if (!it->writable[ATTACHED_CLIENT])
            return false;
        ssize_t sent = send(it->client, data, size, MSG_NOSIGNAL);
        if (sent < 0 && errno == EINTR)
            continue;
        if (sent < 0 && errno != EAGAIN) {
            attached_break(it, ATTACHED_CLIENT_RESET);
            return false;
        }
        it->writable[ATTACHED_CLIENT] = sent == (ssize_t)size;
        handshake_sent(it->handshake, sent > 0 ? (size_t)sent : 0);
    }
    if (it->down_ended && !it->fin_sent) {
        it->fin_sent = true;
        ignore(shutdown(it->client, SHUT_WR));
    }
    return true;
}

static enum alert parting_alert(unsigned said)
{
    return (said & ATTACHED_CERTIFICATE_REVOKED) != 0     ? ALERT_CERTIFICATE_REVOKED
           : (said & ATTACHED_CERTIFICATE_EXPIRED) != 0   ? ALERT_CERTIFICATE_EXPIRED
           : (said & ATTACHED_CERTIFICATE_UNTRUSTED) != 0 ? ALERT_UNKNOWN_CA
                                                          : ALERT_CLOSE_NOTIFY;
}

/* The server's stream ended: in order, or the client is to see that it did not. */
static void end_down(struct attached *it)
{
    unsigned said = board_attached_said(it->handshaker->worker.board, it->place, it->serial);

    it->down_ended = true;
    if ((said & ATTACHED_SERVER_CLOSED) == 0) {
        attached_break(it, ATTACHED_CLIENT_RESET);
        return;
    }
    attached_alert(it, parting_alert(said));
    ignore(flush_client(it));
}

static bool pump_down(struct attached *it)
{
    if (!flush_client(it) || it->down_ended || it->held || !it->readable[ATTACHED_RELAY] ||
        !handshake_takes_data(it->handshake) || !attached_keys_allow(it, false))
        return false;
    ssize_t got = recv(it->relay, scratch, READ_SIZE, 0);
    if (got < 0 && errno == EINTR)
        return true;
    if (got < 0 && errno == EAGAIN) {
        it->readable[ATTACHED_RELAY] = false;
        ignore(attached_keys_allow(it, true));
        return false;
    }
    if (got <= 0) {
        end_down(it);
        return false;
    }
    it->moved += (size_t)got;
    if (handshake_write(it->handshake, scratch, (size_t)got) != got) {
        attached_break(it, ATTACHED_CLIENT_FAULT);
        return false;
    }
    attached_keys_wrote(it, (size_t)got);
    return flush_client(it) || it->phase == ATTACHED_CARRYING;
}

/* ---- from the client ---- */

/* Sends what it can; how much that was, or -1: the relay's end is gone. */
static ssize_t send_up(struct attached *it, const uint8_t *data, size_t size)
{
    size_t done = 0;

    while (done < size && it->writable[ATTACHED_RELAY]) {
        ssize_t sent = send(it->relay, data + done, size - done, MSG_NOSIGNAL);
        if (sent < 0 && errno == EINTR)
            continue;
        if (sent < 0 && errno != EAGAIN)
            return -1;
        it->writable[ATTACHED_RELAY] = sent > 0;
        done += sent > 0 ? (size_t)sent : 0;
    }
    return (ssize_t)done;
}

/* The relay takes no more from the client: what the server has said may still be on its way. */
static void drop_up(struct attached *it)
{
    it->up_dropped = true;
    buffer_consume(&it->up, it->up.size);
}

static bool flush_up(struct attached *it)
{
    ssize_t sent = it->up.size == 0 ? 0 : send_up(it, it->up.data, it->up.size);

    if (sent < 0)
        drop_up(it);
    else
        buffer_consume(&it->up, (size_t)sent);
    return it->up.size == 0;
}

static void pass_up(struct attached *it, size_t size)
{
    if (it->up_dropped)
        return;
    ssize_t sent = send_up(it, scratch, size);
    if (sent < 0)
        drop_up(it);
    else if ((size_t)sent < size && !buffer_append(&it->up, scratch + sent, size - (size_t)sent))
        attached_break(it, ATTACHED_CLIENT_RESET); /* out of memory */
}

/* OpenSSL says that the session is over: in order, or by a fault, of which the client is told. */
static void stream_over(struct attached *it)
{
    bool closed = handshake_close_received(it->handshake);

    if (renegotiation_cut(it, closed))
        attached_part(it, ATTACHED_RENEGOTIATION_FAILED);
    else if (closed)
        end_up(it, ATTACHED_CLIENT_CLOSED);
    else if (it->asking)
        authentication_broke(it);
    else
        attached_part(it, ATTACHED_CLIENT_FAULT);
}

static void client_finished(struct attached *it)
{
    const struct conf_listener *conf = &it->handshaker->worker.conf->listeners[it->listener];

    if (it->up_ended) { /* after its close_notify */
        it->readable[ATTACHED_CLIENT] = false;
        it->client_gone = true;
        return;
    }
    bool cut = renegotiation_cut(it, conf->tolerate_truncation);
    if (!conf->tolerate_truncation || cut) {
        attached_break(it, ATTACHED_CLIENT_TRUNCATED);
        return;
    }
    end_up(it, ATTACHED_CLIENT_CLOSED);
    it->client_gone = true;
}

/* Ciphertext for OpenSSL; false when there is none for now. */
static bool feed(struct attached *it)
{
    size_t consumed = 0;

    if (!it->readable[ATTACHED_CLIENT])
        return false;
    ssize_t got = recv(it->client, scratch, READ_SIZE, 0);
    if (got < 0 && errno == EINTR)
        return true;
    if (got < 0 && errno == EAGAIN) {
        it->readable[ATTACHED_CLIENT] = false;
        return false;
    }
    if (got < 0) {
        ignore(renegotiation_cut(it, false));
        attached_break(it, ATTACHED_CLIENT_RESET);
        return false;
    }
    if (got == 0) {
        client_finished(it);
        return false;
    }
    it->moved += (size_t)got;
    ignore((long)handshake_feed(it->handshake, scratch, (size_t)got, &consumed));
    if (consumed == (size_t)got)
        return true;
    attached_break(it, ATTACHED_CLIENT_FAULT); /* a record is never so large */
    return false;
}

/* What comes after close_notify is ignored (RFC 9846 §6.1). */
static bool drop_input(struct attached *it)
{
    while (it->readable[ATTACHED_CLIENT] && !it->client_gone && it->client >= 0) {
        ssize_t got = recv(it->client, scratch, READ_SIZE, 0);
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0 && errno == EAGAIN)
            it->readable[ATTACHED_CLIENT] = false;
        else if (got <= 0)
            it->client_gone = true;
        else
            it->moved += (size_t)got;
        if (it->moved >= TURN_BYTES)
            return true;
    }
    return false;
}

/* What the client is owed for what it sent (a warning for each renegotiation refused) must not pile
 * up here: one that does not read is not read from. */
static bool is_clogged(struct attached *it)
{
    const uint8_t *data;

    return handshake_output(it->handshake, &data) > OWED_MAX && !flush_client(it);
}

static bool pump_up(struct attached *it)
{
    if (!flush_up(it) || is_clogged(it))
        return false;
    if (it->up_ended)
        return drop_input(it);
    long got = handshake_read(it->handshake, scratch, sizeof scratch);
    renegotiation_look(it); /* first: data of another identity goes nowhere */
    if (got >= 0 || handshake_close_received(it->handshake)) /* else what OpenSSL says is a fault */
        authentication_look(it);
    attached_keys_look(it);
    if (it->phase == ATTACHED_CARRYING && it->refusals > REFUSALS_MAX)
        attached_part(it, ATTACHED_RENEGOTIATION_FAILED);
    if (it->phase != ATTACHED_CARRYING)
        return false;
    if (got > 0) {
        it->refusals = 0; /* they came before it */
        pass_up(it, (size_t)got);
    }
    if (got < 0) {
        stream_over(it);
        return false;
    }
    return got > 0 || feed(it);
}

/* ---- turns ---- */

void attached_queue(struct attached *it)
{
    struct handshaker *handshaker = it->handshaker;

    if (it->queued)
        return;
    it->queued = true;
    it->next_ready = handshaker->attached_ready;
    handshaker->attached_ready = it;
    loop_again(handshaker->worker.loop);
}

static void carry(struct attached *it)
{
    bool more = true;

    it->moved = 0;
    while (more && it->moved < TURN_BYTES) {
        more = pump_up(it);
        if (it->phase == ATTACHED_CARRYING && pump_down(it))
            more = true;
        if (it->phase != ATTACHED_CARRYING)
            return;
    }
    if (it->up_ended && it->up.size == 0 && it->fin_sent) {
        close_client(it, false);
        wait_for_relay(it);
    } else if (more) {
        attached_queue(it);
    }
}

/* Last bytes, then the client's end of stream, so that they are not lost to a reset. */
static void part(struct attached *it)
{
    it->moved = 0;
    if (!flush_client(it))
        return;
    if (drop_input(it)) {
        attached_queue(it);
    } else if (it->client_gone) {
        close_client(it, false);
        wait_for_relay(it);
    }
}

static void run(struct attached *it)
{
    switch (it->phase) {
    case ATTACHED_CARRYING:
        carry(it);
        break;
    case ATTACHED_PARTING:
        part(it);
        break;
    case ATTACHED_WAITING:
        wait_for_relay(it);
        break;
    case ATTACHED_OVER:
        break;
    }
}

void attached_event(struct handshaker *handshaker, struct attached *it, bool of_relay,
                    unsigned events)
{
    enum attached_side side = of_relay ? ATTACHED_RELAY : ATTACHED_CLIENT;

    handshaker->now_ns = loop_now(handshaker->worker.loop);
    if (it->phase == ATTACHED_OVER)
        return;
    if ((events & (LOOP_READ | LOOP_HANGUP | LOOP_ERROR)) != 0)
        it->readable[side] = true;
    if ((events & (LOOP_WRITE | LOOP_ERROR)) != 0)
        it->writable[side] = true;
    if (!it->queued)
        run(it);
}

void attached_run_all(struct handshaker *handshaker)
{
    struct attached *list = handshaker->attached_ready;

    handshaker->attached_ready = NULL;
    while (list != NULL) {
        struct attached *it = list;
        list = it->next_ready;
        it->queued = false;
        run(it);
    }
    /* Who is over and was queued again is in the new list. */
    for (struct attached **at = &handshaker->attached_graveyard; *at != NULL;) {
        struct attached *it = *at;
        if (it->queued) {
            at = &it->next;
            continue;
        }
        *at = it->next;
        handshake_free(it->handshake);
        if (it->up.data != NULL)
            secret_wipe(it->up.data, it->up.capacity);
        buffer_fini(&it->up);
        authentication_fini(it);
        free(it);
    }
    if (handshaker->attached == NULL)
        secret_wipe(scratch, sizeof scratch);
}

/* ---- time ---- */

static void on_timer(void *context)
{
    struct attached *it = context;

    it->handshaker->now_ns = loop_now(it->handshaker->worker.loop);
    switch (it->phase) {
    case ATTACHED_CARRYING:
        if (!authentication_timer(it))
            renegotiation_timer(it);
        break;
    case ATTACHED_PARTING:
        close_client(it, true);
        wait_for_relay(it);
        break;
    case ATTACHED_WAITING:
        finish(it);
        break;
    case ATTACHED_OVER:
        break;
    }
}

static void on_retirement(void *context)
{
    struct attached *it = context;

    it->handshaker->now_ns = loop_now(it->handshaker->worker.loop);
    if (it->phase != ATTACHED_CARRYING)
        return;
    if (!it->held) /* in the middle of a handshake there is no such thing */
        handshake_shutdown(it->handshake);
    attached_part(it, ATTACHED_RETIRED);
}

void attached_retire_all(struct handshaker *handshaker, uint64_t until_ns)
{
    uint64_t now_ns = loop_now(handshaker->worker.loop);
    uint64_t left = until_ns > now_ns ? until_ns - now_ns : 0;

    for (struct attached *it = handshaker->attached; it != NULL; it = it->next) {
        uint64_t early = hash_mix(it->serial) % (left / 4 + 1);
        timer_set(handshaker->worker.loop, &it->retirement, until_ns - early);
    }
}

/* Once a second: what relays and control have to say without an end of stream. */
static void look_at_words(void *context)
{
    struct handshaker *handshaker = context;
    struct board *board = handshaker->worker.board;

    handshaker->now_ns = loop_now(handshaker->worker.loop);
    for (struct attached *it = handshaker->attached; it != NULL; it = it->next) {
        if (it->phase != ATTACHED_CARRYING)
            continue;
        unsigned said = board_attached_said(board, it->place, it->serial);
        if ((said & ATTACHED_RENEWAL) != 0) {
            board_attached_unsay(board, it->place, it->serial, ATTACHED_RENEWAL);
            renegotiation_renew(it);
        }
        if ((said & ATTACHED_ASK) != 0 && authentication_ask(it))
            board_attached_unsay(board, it->place, it->serial, ATTACHED_ASK);
        authentication_tell(it);
    }
    if (handshaker->attached != NULL)
        timer_set(handshaker->worker.loop, &handshaker->attached_words,
                  handshaker->now_ns + NS_PER_S);
}

void attached_init(struct handshaker *handshaker)
{
    timer_init(&handshaker->attached_words, look_at_words, handshaker);
}

/* ---- its beginning ---- */

bool attached_wanted(const struct conf_listener *conf, const struct handshake *handshake,
                     const struct handshake_facts *facts, enum attached_reason *ret_reason)
{
    if (conf->detach == CONF_DETACH_NEVER)
        *ret_reason = ATTACHED_POLICY;
    else if (suite_find(facts->version, facts->suite) == NULL && conf->cbc_suites)
        *ret_reason = ATTACHED_SUITE;
    else if (renegotiation_possible(conf, handshake))
        *ret_reason = ATTACHED_RENEGOTIATION;
    else if (authentication_possible(handshake, facts))
        *ret_reason = ATTACHED_AUTHENTICATION;
    else
        return false;
    return conf->detach != CONF_DETACH_REQUIRE;
}

static bool watch(struct attached *it)
{
    struct handshaker *handshaker = it->handshaker;
    unsigned events = LOOP_READ | LOOP_WRITE | LOOP_HANGUP | LOOP_EDGE;
    uint64_t tag = (uint64_t)(uintptr_t)it;

    return loop_watch(handshaker->worker.loop, it->client, events, handshaker->attached_handler,
                      tag) &&
           loop_watch(handshaker->worker.loop, it->relay, events, handshaker->attached_handler,
                      tag | ATTACHED_TAG_RELAY);
}

static void fill_offer(const struct attached *it, const struct handshake_facts *facts,
                       struct session_offer *offer)
{
    offer->flags |= SLOT_ATTACHED;
    offer->attached = it->place;
    offer->leg = (struct leg){.version = facts->version, .write_nonce = it->serial};
}

/* A place on the board and a pair of sockets; false when there is none left. */
static bool take_resources(struct attached *it, const struct attached_new *what,
                           const struct handshake_facts *facts, int *ret_relay)
{
    struct board *board = what->handshaker->worker.board;
    struct board_attached entry = {.owner = (uint32_t)getpid(),
                                   .suite = facts->suite,
                                   .listener = (uint8_t)what->listener,
                                   .reason = (uint8_t)what->reason};
    int pair[2];

    if (!board_attached_take(board, &entry, &it->place, &it->serial))
        return false;
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, pair) == 0) {
        it->relay = pair[0];
        it->client = what->fd;
        if (watch(it)) {
            *ret_relay = pair[1];
            return true;
        }
        loop_unwatch(what->handshaker->worker.loop, what->fd);
        ignore(close(pair[0]));
        ignore(close(pair[1]));
    }
    board_attached_give(board, it->place, it->serial);
    return false;
}

int attached_begin(const struct attached_new *what, struct session_offer *offer)
{
    struct handshaker *handshaker = what->handshaker;
    struct attached *it = calloc(1, sizeof *it);
    struct handshake_facts facts;
    size_t consumed = 0;
    int relay = -1;

    handshake_facts(what->handshake, &facts);
    if (it == NULL)
        return -1;
    it->handshaker = handshaker;
    buffer_init(&it->up, ATTACHED_UP_MAX);
    if (!buffer_append(&it->up, what->early, what->early_size) ||
        !take_resources(it, what, &facts, &relay)) {
        buffer_fini(&it->up);
        free(it);
        return -1;
    }
    it->handshake = what->handshake;
    it->listener = what->listener;
    memcpy(it->client_address, what->client, sizeof it->client_address);
    it->client_port = what->client_port;
    it->writable[ATTACHED_CLIENT] = it->writable[ATTACHED_RELAY] = true;
    timer_init(&it->timer, on_timer, it);
    timer_init(&it->retirement, on_retirement, it);
    it->next = handshaker->attached;
    if (it->next != NULL)
        it->next->previous = it;
    else
        timer_set(handshaker->worker.loop, &handshaker->attached_words,
                  handshaker->now_ns + NS_PER_S);
    handshaker->attached = it;
    handshaker->attached_count++;
    worker_count(&handshaker->worker, COUNTER_ATTACHED, 1);
    it->update_unable = (offer->flags & SLOT_KEY_UPDATE_UNABLE) != 0;
    attached_keys_init(it, &facts);
    authentication_init(it);
    renegotiation_init(it);
    fill_offer(it, &facts, offer);
    ignore((long)handshake_feed(it->handshake, what->surplus, what->surplus_size, &consumed));
    it->readable[ATTACHED_CLIENT] = true;
    if (handshaker->retiring)
        attached_retire_all(handshaker, handshaker->carry_until_ns);
    attached_queue(it);
    return relay;
}
