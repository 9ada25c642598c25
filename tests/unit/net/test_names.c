/* Against a name server of the test's own, on the same loop: it answers by the first letter of the
 * name that is asked for. */
#include "net/names.h"

#include <arpa/inet.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/clock.h"

struct server {
    struct loop *loop;
    int fd;
    unsigned most_at_once, unanswered;
    unsigned wanted;   /* so many held ones stop the loop */
    bool answers_late; /* keeps the questions until release() */
    struct held {
        uint8_t data[512];
        size_t size;
        struct sockaddr_in from;
    } held[64];
};

struct world {
    struct loop *loop;
    struct names *names;
    struct server server;
    struct names_answer last;
    struct names_question *question;
    unsigned answers, expected;
};

static struct error error;

/* The question with one address (A: 192.0.2.7, AAAA: 2001:db8::7) or text, or by its letter: "n"
 * unknown, "f" failed, "e" empty, "s" silent. */
static void reply(struct server *server, const struct held *held)
{
    static const uint8_t v4[] = {192, 0, 2, 7};
    static const uint8_t v6[16] = {0x20, 0x01, 0x0d, 0xb8, [15] = 7};
    uint8_t packet[600];
    size_t size = held->size;
    char letter = (char)held->data[13];
    uint8_t type = held->data[held->size - 3];

    memcpy(packet, held->data, size);
    packet[2] |= 0x80;
    packet[3] = (uint8_t)((packet[3] & 0x20) | 0x80 | (letter == 'n' ? 3 : letter == 'f' ? 2 : 0));
    if (letter == 'a') {
        const uint8_t *data = type == 28 ? v6 : type == 1 ? v4 : (const uint8_t *)"\x02hi";
        uint8_t length = type == 28 ? 16 : type == 1 ? 4 : 3;
        const uint8_t record[] = {0xc0, 12, 0, type, 0, 1, 0, 0, 0, 60, 0, length};
        packet[7] = 1;
        memcpy(packet + size, record, sizeof record);
        memcpy(packet + size + sizeof record, data, length);
        size += sizeof record + length;
    }
    ignore(sendto(server->fd, packet, size, 0, (const struct sockaddr *)&held->from,
                  sizeof held->from));
}

static void on_question(void *context, uint64_t tag, unsigned events)
{
    struct server *server = context;
    struct held *held = &server->held[server->unanswered];
    socklen_t from_size = sizeof held->from;
    (void)tag, (void)events;

    ssize_t size = recvfrom(server->fd, held->data, sizeof held->data, 0,
                            (struct sockaddr *)&held->from, &from_size);
    if (size < 17)
        return;
    held->size = (size_t)size;
    if (held->data[13] == 's')
        return;
    if (!server->answers_late) {
        reply(server, held);
        return;
    }
    if (++server->unanswered > server->most_at_once)
        server->most_at_once = server->unanswered;
    if (server->unanswered == server->wanted)
        loop_stop(server->loop, 0);
}

static void hold(struct server *server, unsigned wanted)
{
    server->answers_late = true;
    server->wanted = wanted;
    ignore(loop_run(server->loop));
}

static void release(struct server *server)
{
    while (server->unanswered > 0)
        reply(server, &server->held[--server->unanswered]);
}

static void set_up(struct world *world, uint32_t timeout_ms, unsigned questions_max)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof address;
    char servers[64];

    memset(world, 0, sizeof *world);
    world->loop = loop_new();
    world->server.loop = world->loop;
    world->server.fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    assert_int_equal(bind(world->server.fd, (struct sockaddr *)&address, sizeof address), 0);
    assert_int_equal(getsockname(world->server.fd, (struct sockaddr *)&address, &size), 0);
    assert_true(loop_watch(world->loop, world->server.fd, LOOP_READ,
                           loop_handler(world->loop, on_question, &world->server), 0));
    snprintf(servers, sizeof servers, "127.0.0.1:%u", ntohs(address.sin_port));
    const struct names_options options = {
        .servers = servers, .timeout_ms = timeout_ms, .questions_max = questions_max};
    if (names_new(&world->names, world->loop, &options, &error) != 0)
        fail_msg("%s", error.message);
}

static void tear_down(struct world *world)
{
    names_free(world->names);
    ignore(close(world->server.fd));
    loop_free(world->loop);
}

static void on_answer(void *context, const struct names_answer *answer)
{
    struct world *world = context;

    world->last = *answer;
    if (++world->answers == world->expected)
        loop_stop(world->loop, 0);
}

static const struct names_answer *run(struct world *world, unsigned expected)
{
    world->expected = world->answers + expected;
    ignore(loop_run(world->loop));
    return &world->last;
}

static const struct names_answer *addresses(struct world *world, const char *name, int family)
{
    unsigned before = world->answers;

    assert_non_null(names_addresses(world->names, name, family, on_answer, world));
    assert_int_equal(world->answers, before); /* never before its call has returned */
    return run(world, 1);
}

static void failures_are_told_apart(void **state)
{
    (void)state;
    static const struct {
        const char *name;
        enum names_outcome outcome;
        const char *words;
    } bad[] = {
        {"n.example.", NAMES_UNKNOWN, "no such name"},
        {"e.example.", NAMES_NONE, "no address"},
        {"f.example.", NAMES_FAILED, ""},
        {"a..example", NAMES_UNKNOWN, ""},
        {"..", NAMES_UNKNOWN, ""},
    };
    struct world world;

    set_up(&world, 4000, 0);
    for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
        const struct names_answer *answer = addresses(&world, bad[i].name, AF_UNSPEC);
        if (answer->outcome != bad[i].outcome || strstr(answer->reason, bad[i].words) == NULL)
            fail_msg("\"%s\": %d, %s", bad[i].name, (int)answer->outcome, answer->reason);
    }
    tear_down(&world);
}

static void silence_ends_in_time(void **state)
{
    (void)state;
    struct world world;

    set_up(&world, 300, 0);
    uint64_t begin = clock_monotonic_ns();
    const struct names_answer *answer = addresses(&world, "s.example.", AF_UNSPEC);
    assert_int_equal(answer->outcome, NAMES_FAILED);
    assert_non_null(strstr(answer->reason, "in time"));
    assert_true(clock_monotonic_ns() - begin >= 200 * NS_PER_MS);
    tear_down(&world); /* while c-ares may still be asking */
}

static void nonsense_of_servers_is_refused(void **state)
{
    (void)state;
    static const char *const bad[] = {"x", "127.0.0.1:x", "name.example:53"};
    struct loop *loop = loop_new();
    struct names *names = NULL;

    for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
        const struct names_options options = {.servers = bad[i]};
        assert_int_equal(names_new(&names, loop, &options, &error), -ERROR_USAGE);
        assert_non_null(strstr(error.message, bad[i]));
    }
    assert_null(names);
    loop_free(loop);
}

static void cancelled_questions_are_not_answered(void **state)
{
    (void)state;
    struct world world;
    struct names_question *questions[4];

    set_up(&world, 30000, 2);
    for (size_t i = 0; i < 4; i++)
        questions[i] = names_txt(world.names, "a.example", on_answer, &world);
    hold(&world.server, 2);
    names_cancel(questions[3]); /* not yet asked */
    names_cancel(questions[0]); /* under way */
    names_cancel(NULL);
    world.server.answers_late = false;
    release(&world.server);
    run(&world, 2);
    addresses(&world, "127.0.0.1", AF_INET);
    assert_int_equal(world.answers, 3);
    tear_down(&world);
}

static void cancel_other(void *context, const struct names_answer *answer)
{
    struct world *world = context;

    on_answer(context, answer);
    names_cancel(world->question); /* answered, but not told yet */
}

static void cancelling_from_a_call_back(void **state)
{
    (void)state;
    struct world world;

    set_up(&world, 4000, 0);
    assert_non_null(names_addresses(world.names, "127.0.0.1", AF_INET, cancel_other, &world));
    world.question = names_addresses(world.names, "127.0.0.2", AF_INET, on_answer, &world);
    run(&world, 1);
    addresses(&world, "127.0.0.3", AF_INET);
    assert_int_equal(world.answers, 2);
    tear_down(&world);
}

static void freed_with_questions_under_way(void **state)
{
    (void)state;
    struct world world;

    set_up(&world, 30000, 3);
    for (size_t i = 0; i < 4; i++)
        assert_non_null(names_txt(world.names, "a.example", on_answer, &world));
    hold(&world.server, 3);
    tear_down(&world);
    assert_int_equal(world.answers, 0);
}

static void no_more_than_allowed_at_once(void **state)
{
    (void)state;
    struct world world;

    set_up(&world, 30000, 3);
    for (size_t i = 0; i < 30; i++)
        assert_non_null(names_txt(world.names, "a.example", on_answer, &world));
    for (size_t i = 0; i < 10; i++) {
        hold(&world.server, 3);
        release(&world.server);
        run(&world, 3);
    }
    assert_int_equal(world.server.most_at_once, 3);
    tear_down(&world);
}

static void addresses_of_both_families(void **state)
{
    (void)state;
    struct world world;
    char text[ADDRESS_TEXT_MAX];
    bool v4 = false, v6 = false;

    set_up(&world, 4000, 0);
    const struct names_answer *answer = addresses(&world, "a.example.", AF_UNSPEC);
    assert_int_equal(answer->outcome, NAMES_FOUND);
    assert_int_equal(answer->count, 2);
    for (size_t i = 0; i < 2; i++) {
        address_format(text, sizeof text, &answer->addresses[i]);
        v4 |= strcmp(text, "192.0.2.7:0") == 0;
        v6 |= strcmp(text, "[2001:db8::7]:0") == 0;
    }
    assert_true(v4 && v6);
    assert_int_equal(addresses(&world, "a.example.", AF_INET6)->count, 1);
    assert_int_equal(world.last.addresses[0].any.sa_family, AF_INET6);
    assert_int_equal(addresses(&world, "localhost", AF_INET)->outcome, NAMES_FOUND);
    tear_down(&world);
}

static void records_ask_whether_they_are_vouched_for(void **state)
{
    (void)state;
    struct world world;

    set_up(&world, 4000, 0);
    assert_non_null(names_txt(world.names, "a.example", on_answer, &world));
    const struct names_answer *answer = run(&world, 1);
    assert_int_equal(answer->outcome, NAMES_FOUND);
    assert_string_equal(answer->texts[0], "hi");
    assert_true(answer->authenticated); /* the server gives AD back as it was asked for */
    assert_non_null(names_mx(world.names, "n.example", on_answer, &world));
    assert_int_equal(run(&world, 1)->outcome, NAMES_UNKNOWN);
    assert_non_null(names_tlsa(world.names, "_25._tcp.e.example", on_answer, &world));
    assert_int_equal(run(&world, 1)->outcome, NAMES_NONE);
    assert_non_null(names_tlsa(world.names, "f.example", on_answer, &world));
    assert_int_equal(run(&world, 1)->outcome, NAMES_FAILED);
    tear_down(&world);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(failures_are_told_apart),
        cmocka_unit_test(silence_ends_in_time),
        cmocka_unit_test(nonsense_of_servers_is_refused),
        cmocka_unit_test(cancelled_questions_are_not_answered),
        cmocka_unit_test(cancelling_from_a_call_back),
        cmocka_unit_test(freed_with_questions_under_way),
        cmocka_unit_test(no_more_than_allowed_at_once),
        cmocka_unit_test(addresses_of_both_families),
        cmocka_unit_test(records_ask_whether_they_are_vouched_for),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
