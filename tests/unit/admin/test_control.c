/* admin/control.h as a whole process: this test is its supervisor and its workers. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/inotify.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "admin/control.h"
#include "conf/conf.h"
#include "admin/control_client.h"
#include "base/clock.h"
#include "conf/conf.h"
#include "ipc/channel.h"
#include "ipc/memory.h"
#include "loop/socket.h"
#include "session/messages.h"
#include "tls/certificate.h"
#include "tls/ticket_ring.h"

#define SLOTS 16

static char folder[] = "/tmp/test-control-XXXXXX";
static char socket_path[64], config[2048];
static struct message message;

static struct {
    pid_t pid;
    int channel, log, relay, notify;
    struct board *board;
    void *events;
    struct arena arena;
    struct event_writer writer; /* of relay 0 */
} control;

static void send_setup(int channel, const int descriptors[SETUP_DESCRIPTOR_COUNT])
{
    struct worker_setup setup = {.version = MESSAGES_VERSION,
                                 .kind = PROCESS_CONTROL,
                                 .workers = 1,
                                 .config_generation = 1,
                                 .slot_capacity = SLOTS,
                                 .block_count = 64};
    int fds[SETUP_DESCRIPTOR_COUNT];
    size_t count = 0;

    snprintf(setup.config_path, sizeof setup.config_path, "%s/holdfast.conf", folder);
    for (int i = 0; i < SETUP_DESCRIPTOR_COUNT; i++) {
        if (descriptors[i] < 0)
            continue;
        setup.present |= 1u << i;
        fds[count++] = descriptors[i];
    }
    assert_int_equal(channel_send(channel, MESSAGE_SETUP, &setup, sizeof setup, fds, count),
                     CHANNEL_DONE);
    for (size_t i = 0; i < count; i++)
        close(fds[i]);
}

static void send_descriptor(enum descriptors_role role, int fd)
{
    struct message_descriptors body = {.role = role};

    assert_int_equal(channel_send(control.channel, MESSAGE_DESCRIPTORS, &body, sizeof body, &fd, 1),
                     CHANNEL_DONE);
    close(fd);
}

/* Waits for a message of this type on a channel and leaves it in `message`; others are passed over.
 */
static void expect_message(int channel, uint32_t type)
{
    for (;;) {
        struct pollfd wait = {.fd = channel, .events = POLLIN};
        assert_int_equal(poll(&wait, 1, 20000), 1);
        enum channel_result result = channel_receive(channel, &message);
        assert_true(result == CHANNEL_DONE || result == CHANNEL_FULL);
        if (result == CHANNEL_DONE && message.type == type)
            return;
        if (result == CHANNEL_DONE)
            message_fini(&message);
    }
}

static void start_process(int channel, int log)
{
    control.pid = fork();
    if (control.pid != 0)
        return;
    dup2(log, STDOUT_FILENO);
    _exit(control_main(channel));
}

/* The configuration as a supervisor passes it on. */
static int config_document(void)
{
    struct error error = {0};
    struct conf *conf = NULL;

    assert_int_equal(conf_parse(&conf, "holdfast.conf", config, NULL, NULL, &error), 0);
    char *text = conf_show_internal(conf);
    assert_non_null(text);
    int document = memory_document("config", text, strlen(text));
    free(text);
    conf_free(conf);
    return document;
}

static int start(void **state)
{
    int descriptors[SETUP_DESCRIPTOR_COUNT], channel[2], log[2], relay[2];
    struct address address;
    struct error error;
    (void)state;

    signal(SIGPIPE, SIG_IGN);
    assert_non_null(mkdtemp(folder));
    snprintf(socket_path, sizeof socket_path, "%s/control.sock", folder);
    snprintf(
        config, sizeof config,
        "state-folder = \"%s\"\n"
        "listener shop { bind = \"127.0.0.1:1\" certificates = c upstream = app }\n"
        "upstream app { servers = {\"10.0.0.5:8080\", \"localhost:8081\"} check-interval = 0 }\n"
        "certificate c { from = internal names = localhost }\n",
        folder);
    for (int i = 0; i < SETUP_DESCRIPTOR_COUNT; i++)
        descriptors[i] = -1;
    assert_true(channel_pair(channel, 1 << 20));
    assert_true(channel_pair(relay, 1 << 20));
    assert_int_equal(pipe2(log, O_CLOEXEC), 0);
    snprintf((char *)message.body, sizeof message.body, "unix:%s", socket_path);
    assert_int_equal(address_parse(&address, (const char *)message.body, &error), 0);
    assert_int_equal(socket_listen(&descriptors[SETUP_CONTROL_SOCKET], &address, 8, &error), 0);
    size_t arena_size = arena_metadata_size(SLOTS);
    int arena = memory_create("arena", arena_size);
    descriptors[SETUP_CONFIG] = config_document();
    descriptors[SETUP_BOARD] = memory_create("board", sizeof *control.board);
    descriptors[SETUP_EVENTS] = memory_create("events", events_size());
    descriptors[SETUP_NOTIFY] = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    descriptors[SETUP_TICKET_KEYS] = memory_create("tickets", sizeof(struct ticket_ring));
    descriptors[SETUP_INOTIFY] = inotify_init1(IN_NONBLOCK | IN_CLOEXEC);
    descriptors[SETUP_STATE_FOLDER] = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    control.board = memory_map(descriptors[SETUP_BOARD], sizeof *control.board, true);
    control.events = memory_map(descriptors[SETUP_EVENTS], events_size(), true);
    control.notify = fcntl(descriptors[SETUP_NOTIFY], F_DUPFD_CLOEXEC, 3);
    void *metadata = memory_map(arena, arena_size, true);
    assert_true(arena_attach(&control.arena, metadata, arena_size, NULL, NULL, SLOTS, 64));
    control.board->started_wall_ns = clock_wall_ns();
    events_init(control.events);
    event_writer_init(&control.writer, control.events, board_worker_number(PROCESS_RELAY, 0),
                      control.notify, control.board);

    start_process(channel[1], log[1]);
    close(channel[1]);
    close(log[1]);
    control.channel = channel[0];
    control.log = log[0];
    control.relay = relay[0];
    send_setup(control.channel, descriptors);
    send_descriptor(DESCRIPTORS_ARENA, arena);
    send_descriptor(DESCRIPTORS_RELAY, relay[1]);
    assert_int_equal(channel_send(control.channel, MESSAGE_GO, NULL, 0, NULL, 0), CHANNEL_DONE);
    expect_message(control.channel, MESSAGE_READY);
    message_fini(&message);
    return 0;
}

static int finish(void **state)
{
    struct message_stop stop = {.deadline_ns = 0};
    char command[128];
    int status;
    (void)state;

    assert_int_equal(channel_send(control.channel, MESSAGE_STOP, &stop, sizeof stop, NULL, 0),
                     CHANNEL_DONE);
    assert_int_equal(waitpid(control.pid, &status, 0), control.pid);
    assert_int_equal(status, 0);
    snprintf(command, sizeof command, "rm -rf %s", folder);
    return system(command);
}

/* Asks and returns the lines of the answer as an array; `ret_error` gets the last line's error. */
static json_t *ask(json_t *request, struct error *ret_error)
{
    struct client_options options = {.socket_path = socket_path};
    json_t *lines = json_array(), *line;
    struct client client;
    int result;

    ret_error->code = ERROR_NONE;
    if (client_open(&client, &options, request, NULL, 0, ret_error) < 0)
        fail_msg("%s", ret_error->message);
    while ((result = client_next(&client, &line, ret_error)) > 0)
        json_array_append_new(lines, line);
    client_close(&client);
    return lines;
}

/* The next event of this name in the log. */
static json_t *next_logged(const char *name)
{
    static char text[65536];
    static size_t size;

    for (;;) {
        char *end = memchr(text, '\n', size);
        if (end == NULL) {
            struct pollfd wait = {.fd = control.log, .events = POLLIN};
            assert_int_equal(poll(&wait, 1, 20000), 1);
            ssize_t part = read(control.log, text + size, sizeof text - size);
            assert_true(part > 0);
            size += (size_t)part;
            continue;
        }
        json_t *event = json_loadb(text, (size_t)(end - text), 0, NULL);
        assert_non_null(event);
        size -= (size_t)(end + 1 - text);
        memmove(text, end + 1, size);
        if (strcmp(client_text(event, "event"), name) == 0)
            return event;
        json_decref(event);
    }
}

static void make_session(uint32_t index, uint64_t serial)
{
    struct slot *slot = &control.arena.slots[index];

    slot->state = SESSION_OPEN;
    slot->accepted_ns = clock_monotonic_ns();
    control.arena.header->high_water = index + 1;
    __atomic_store_n(&slot->serial, serial, __ATOMIC_RELEASE);
}

static void status_tells_what_the_board_says(void **state)
{
    struct error error;
    (void)state;

    control.board->processes[board_worker_number(PROCESS_RELAY, 0)].sessions = 5;
    json_t *lines = ask(json_pack("{s:s}", "verb", "status"), &error),
           *status = json_array_get(lines, 0);
    assert_int_equal(error.code, ERROR_NONE);
    assert_int_equal(client_number(status, "sessions"), 5);
    assert_int_equal(json_array_size(json_object_get(status, "processes")), 4);
    assert_int_equal(json_array_size(json_object_get(status, "servers")), 2);
    json_decref(lines);
}

static void names_reach_the_relay(void **state)
{
    (void)state;
    expect_message(control.relay, MESSAGE_ADDRESS);
    const struct message_address *body = (const void *)message.body;
    assert_int_equal(body->server, 1);
    message_fini(&message);
    json_decref(next_logged("name-resolved"));
}

static void a_session_is_listed_and_closed(void **state)
{
    struct client_options options = {.socket_path = socket_path};
    struct error error;
    struct client client;
    json_t *line;
    (void)state;

    make_session(3, 77);
    json_t *lines = ask(json_pack("{s:s}", "verb", "sessions"), &error);
    assert_int_equal(json_array_size(lines), 1);
    assert_string_equal(client_text(json_array_get(lines, 0), "id"), "0-77");
    json_decref(lines);
    lines = ask(json_pack("{s:s,s:s}", "verb", "session-close", "id", "0-78"), &error);
    assert_int_equal(error.code, ERROR_NOT_FOUND);
    json_decref(lines);

    assert_int_equal(client_open(&client, &options,
                                 json_pack("{s:s,s:s}", "verb", "session-close", "id", "0-77"),
                                 NULL, 0, &error),
                     0);
    expect_message(control.relay, MESSAGE_CLOSE_SESSION);
    const struct message_session *body = (const void *)message.body;
    assert_int_equal(body->slot, 3);
    assert_int_equal(body->serial, 77);
    assert_int_equal(body->reason, SESSION_END_ADMIN);
    message_fini(&message);
    __atomic_store_n(&control.arena.slots[3].state, SESSION_FREE, __ATOMIC_RELEASE);
    assert_int_equal(client_next(&client, &line, &error), 1);
    assert_string_equal(client_text(line, "closed"), "0-77");
    json_decref(line);
    assert_int_equal(client_next(&client, &line, &error), 0);
    client_close(&client);
}

static json_t *upstream_request(const char *action, const char *target)
{
    return json_pack("{s:s,s:s,s:s,s:i}", "verb", "upstream", "action", action, "target", target,
                     "weight", 7);
}

static void upstream_servers_change(void **state)
{
    static const char *const wrong[][2] = {{"drain", "app"},
                                           {"drain", "/10.0.0.5:8080"},
                                           {"drain", "nowhere/x"},
                                           {"drain", "app/10.0.0.9:1"},
                                           {"explode", "app/10.0.0.5:8080"}};
    struct error error;
    (void)state;

    for (size_t i = 0; i < ARRAY_SIZE(wrong); i++) {
        json_decref(ask(upstream_request(wrong[i][0], wrong[i][1]), &error));
        assert_int_not_equal(error.code, ERROR_NONE);
        assert_int_equal(error_exit_code(&error), 2);
    }
    json_decref(ask(upstream_request("drain", "app/localhost:8081"), &error));
    assert_int_equal(error.code, ERROR_NONE);
    assert_int_equal(control.board->servers[1].admin, SERVER_DRAIN);
    json_decref(ask(upstream_request("weight", "app/localhost:8081"), &error));
    assert_int_equal(control.board->servers[1].weight, 7);
    json_t *event = next_logged("upstream-changed");
    assert_string_equal(client_text(event, "server"), "localhost:8081");
    json_decref(event);
    json_t *lines = ask(upstream_request("list", ""), &error);
    assert_string_equal(client_text(json_array_get(lines, 1), "state"), "drain");
    json_decref(lines);
}

static void waiting_for_a_drain_ends_with_the_last_session(void **state)
{
    struct client_options options = {.socket_path = socket_path};
    struct error error;
    struct client client;
    json_t *line;
    (void)state;

    control.board->servers[0].sessions[0] = 2;
    json_t *request = upstream_request("drain", "app/10.0.0.5:8080");
    json_object_set_new(request, "wait", json_true());
    assert_int_equal(client_open(&client, &options, request, NULL, 0, &error), 0);
    for (uint32_t sessions = 2;; sessions--) {
        assert_int_equal(client_next(&client, &line, &error), 1);
        assert_int_equal(client_number(line, "sessions"), sessions);
        json_decref(line);
        if (sessions == 0)
            break;
        __atomic_store_n(&control.board->servers[0].sessions[0], sessions - 1, __ATOMIC_RELAXED);
    }
    assert_int_equal(client_next(&client, &line, &error), 0);
    client_close(&client);
}

static size_t count_superseded(const char *kind)
{
    struct error error;
    json_t *lines = ask(json_pack("{s:s,s:s}", "verb", "sessions", "superseded", kind), &error);
    size_t count = json_array_size(lines);

    assert_int_equal(error.code, ERROR_NONE);
    json_decref(lines);
    return count;
}

static bool certificates_are_known(void)
{
    struct error error;
    json_t *lines = ask(json_pack("{s:s}", "verb", "status"), &error);
    const json_t *superseded = json_object_get(json_array_get(lines, 0), "superseded");
    bool known = json_object_get(superseded, "certificate") != NULL;

    json_decref(lines);
    return known;
}

/* The vault has version 1 of certificate 0 in service. */
static void sessions_of_a_certificate_that_is_gone(void **state)
{
    struct slot *slot = &control.arena.slots[4];
    (void)state;

    slot->certificate = 0;
    slot->generation.certificate_version = 1;
    make_session(4, 78);
    while (!certificates_are_known())
        usleep(1000);
    assert_int_equal(count_superseded("certificate"), 0);
    slot->generation.certificate_version = 9;
    assert_int_equal(count_superseded("certificate"), 1);
    slot->generation.certificate_version = 1;
    slot->key_type = KEY_TYPE_RSA; /* of which there is none */
    assert_int_equal(count_superseded("certificate"), 1);
    slot->key_type = KEY_TYPE_ECDSA;
    slot->certificate = 7; /* no longer configured */
    assert_int_equal(count_superseded("certificate"), 1);
    slot->certificate = CONF_NONE; /* pass-through */
    assert_int_equal(count_superseded("certificate"), 0);
    slot->state = SESSION_FREE;
}

static void wrong_drains_are_refused(void **state)
{
    static const char *const requests[] = {
        "{\"verb\":\"drain\",\"listener\":\"nowhere\"}",
        "{\"verb\":\"drain\",\"listener\":5}",
        "{\"verb\":\"drain\",\"over_ms\":0}",
        "{\"verb\":\"drain\",\"over_ms\":-1}",
        "{\"verb\":\"drain\",\"over_ms\":\"10m\"}",
        "{\"verb\":\"drain\",\"over_ms\":604800001}",
        "{\"verb\":\"drain\",\"wait\":1}",
        "{\"verb\":\"drain\",\"cancel\":true}",
        "{\"verb\":\"drain\",\"cancel\":true,\"over_ms\":5}",
        "{\"verb\":\"drain\",\"cancel\":true,\"listener\":\"shop\"}",
    };
    struct error error;
    struct drain drain;
    (void)state;

    for (size_t i = 0; i < ARRAY_SIZE(requests); i++) {
        json_decref(ask(json_loads(requests[i], 0, NULL), &error));
        assert_int_equal(error_exit_code(&error), 2);
    }
    control.board->draining = 1;
    json_decref(ask(json_pack("{s:s}", "verb", "drain"), &error));
    assert_int_equal(error.code, ERROR_BUSY);
    control.board->draining = 0;
    assert_false(board_drain_read(&control.board->drain, &drain));
}

static void a_drain_stands_on_the_board_and_is_told(void **state)
{
    uint32_t *sessions = &control.board->listeners[0].connections[0];
    struct client_options options = {.socket_path = socket_path};
    struct error error;
    struct client client;
    struct drain drain;
    json_t *line;
    (void)state;

    *sessions = 2;
    assert_int_equal(client_open(&client, &options,
                                 json_pack("{s:s,s:s,s:i,s:b}", "verb", "drain", "listener", "shop",
                                           "over_ms", 60000, "wait", 1),
                                 NULL, 0, &error),
                     0);
    expect_message(control.relay, MESSAGE_DRAIN);
    message_fini(&message);
    assert_true(board_drain_read(&control.board->listeners[0].drain, &drain));
    assert_int_equal(drain.end_ns - drain.begin_ns, 60 * NS_PER_S);
    assert_false(board_drain_read(&control.board->drain, &drain));
    json_decref(next_logged("drain-begun"));
    for (uint32_t left = 2;; left--) {
        assert_int_equal(client_next(&client, &line, &error), 1);
        assert_int_equal(client_number(line, "sessions"), left);
        assert_string_equal(client_text(line, "state"), left != 0 ? "draining" : "drained");
        json_decref(line);
        if (left == 0)
            break;
        __atomic_store_n(sessions, left - 1, __ATOMIC_RELAXED);
    }
    assert_int_equal(client_next(&client, &line, &error), 0);
    client_close(&client);
    json_t *event = next_logged("drain-ended");
    assert_string_equal(client_text(event, "listener"), "shop");
    json_decref(event);

    json_decref(ask(json_pack("{s:s,s:b}", "verb", "drain", "cancel", 1), &error));
    assert_int_equal(error.code, ERROR_NONE);
    expect_message(control.relay, MESSAGE_DRAIN);
    message_fini(&message);
    assert_false(board_drain_read(&control.board->listeners[0].drain, &drain));
    json_decref(next_logged("drain-cancelled"));
}

static void happen(enum event_type type, uint8_t last)
{
    struct event *event = event_begin(&control.writer, type);

    assert_non_null(event);
    memcpy(event->client, (const uint8_t[16]){[10] = 0xff, [11] = 0xff, [12] = 10, [15] = last},
           16);
    event->client_port = 1;
    event_end(&control.writer, type);
    event_flush(&control.writer);
}

static void a_trace_follows_its_client_only(void **state)
{
    struct client_options options = {.socket_path = socket_path};
    struct error error;
    struct client client;
    json_t *line;
    (void)state;

    assert_int_equal(client_open(&client, &options,
                                 json_pack("{s:s,s:s}", "verb", "trace", "client", "10.0.0.5"),
                                 NULL, 0, &error),
                     0);
    while (__atomic_load_n(&control.board->trace.generation, __ATOMIC_ACQUIRE) == 0)
        usleep(1000);
    assert_int_equal(control.board->trace.by_client, 1);
    happen(EVENT_TRACE, 6);
    happen(EVENT_TRACE, 5);
    assert_int_equal(client_next(&client, &line, &error), 1);
    assert_string_equal(client_text(line, "client"), "10.0.0.5:1");
    assert_string_equal(client_text(line, "process"), "relay/0");
    json_decref(line);
    client_close(&client);
    while (__atomic_load_n(&control.board->trace.generation, __ATOMIC_ACQUIRE) != 0)
        usleep(1000);
}

static void events_are_logged(void **state)
{
    (void)state;
    happen(EVENT_HANDSHAKE_DONE, 1); /* left out by the default policy */
    happen(EVENT_SESSION_CLOSED, 2);
    json_t *event = next_logged("session-closed");
    assert_string_equal(client_text(event, "client"), "10.0.0.2:1");
    json_decref(event);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(status_tells_what_the_board_says),
        cmocka_unit_test(names_reach_the_relay),
        cmocka_unit_test(a_session_is_listed_and_closed),
        cmocka_unit_test(upstream_servers_change),
        cmocka_unit_test(waiting_for_a_drain_ends_with_the_last_session),
        cmocka_unit_test(sessions_of_a_certificate_that_is_gone),
        cmocka_unit_test(wrong_drains_are_refused),
        cmocka_unit_test(a_drain_stands_on_the_board_and_is_told),
        cmocka_unit_test(a_trace_follows_its_client_only),
        cmocka_unit_test(events_are_logged),
    };
    return cmocka_run_group_tests(tests, start, finish);
}
