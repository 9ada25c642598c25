#include "fake_host.h"

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/lsan_interface.h>
#endif

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <libgen.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "conf/merge.h"
#include "base/string.h"
#include "ipc/memory.h"

/* ---- the server that shows what handshaker 0 has ---- */

struct connection {
    int fd;
    struct handshake *handshake;
    bool counted, proxy_seen;
};

static struct tls_server *make_server(const struct fake_handshaker *handshaker)
{
    static const uint8_t alpn[1];
    struct tls_policy policy = {.min_version = TLS_VERSION_1_2,
                                .max_version = TLS_VERSION_1_3,
                                .groups = tls_default_groups(),
                                .alpn = alpn,
                                .tickets = 2,
                                .ticket_lifetime_s = 60};
    struct tls_server *server = NULL;
    struct error error = {0};

    if (handshaker->pairs[KEY_TYPE_ECDSA] != NULL || handshaker->pairs[KEY_TYPE_RSA] != NULL)
        assert_int_equal(tls_server_new(&server, &policy, handshaker->pairs, &error), 0);
    return server;
}

static void on_accept(void *context, uint64_t tag, unsigned events)
{
    struct fake *fake = context;
    (void)tag, (void)events;
    struct tls_server *server = make_server(&fake->handshakers[0]);
    int fd = accept4(fake->listening_fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);

    assert_true(fd >= 0);
    if (server == NULL) {
        close(fd);
        return;
    }
    struct connection *connection = calloc(1, sizeof *connection);
    *connection = (struct connection){.fd = fd, .handshake = handshake_new_server(server)};
    tls_server_unref(server);
    assert_true(loop_watch(fake->loop, fd, LOOP_READ, fake->serve_handler,
                           (uint64_t)(uintptr_t)connection));
}

static void connection_end(struct fake *fake, struct connection *connection)
{
    loop_unwatch(fake->loop, connection->fd);
    close(connection->fd);
    handshake_free(connection->handshake);
    free(connection);
}

static void send_output(struct connection *connection)
{
    const uint8_t *output;
    size_t size = handshake_output(connection->handshake, &output);

    ignore(send(connection->fd, output, size, MSG_NOSIGNAL)); /* the client may be gone */
    handshake_sent(connection->handshake, size);
}

static void on_serve(void *context, uint64_t tag, unsigned events)
{
    static const uint8_t local[16] = {0x0d, 0x0a, 0x0d, 0x0a, 0x00, 0x0d, 0x0a,
                                      0x51, 0x55, 0x49, 0x54, 0x0a, 0x20};
    struct fake *fake = context;
    struct connection *connection = (void *)(uintptr_t)tag;
    uint8_t input[65536], plain[64];
    size_t consumed, at = 0;
    (void)events;

    ssize_t got = read(connection->fd, input, sizeof input);
    if (got <= 0) {
        connection_end(fake, connection);
        return;
    }
    if (fake->expect_proxy && !connection->proxy_seen) {
        assert_true(got >= 16);
        assert_memory_equal(input, local, sizeof local);
        connection->proxy_seen = true;
        at = sizeof local;
    }
    while (at < (size_t)got) { /* messages of the test arrive in whole records */
        enum handshake_status status =
            handshake_feed(connection->handshake, input + at, (size_t)got - at, &consumed);
        send_output(connection);
        if (status == HANDSHAKE_DONE && !connection->counted) {
            connection->counted = true;
            fake->dialled++;
        }
        if (consumed == 0)
            break;
        at += consumed;
    }
    if (connection->counted && handshake_read(connection->handshake, plain, sizeof plain) < 0) {
        fake->clean_ends++;
        connection_end(fake, connection);
    }
}

static void open_server(struct fake *fake)
{
    struct error error = {0};
    struct address address;
    struct sockaddr_in bound;
    socklen_t size = sizeof bound;

    assert_int_equal(address_parse(&address, "127.0.0.1:0", &error), 0);
    assert_int_equal(socket_listen(&fake->listening_fd, &address, 64, &error), 0);
    assert_int_equal(getsockname(fake->listening_fd, (struct sockaddr *)&bound, &size), 0);
    fake->port = ntohs(bound.sin_port);
    fake->accept_handler = loop_handler(fake->loop, on_accept, fake);
    fake->serve_handler = loop_handler(fake->loop, on_serve, fake);
    assert_true(loop_watch(fake->loop, fake->listening_fd, LOOP_READ, fake->accept_handler, 0));
}

/* ---- the supervisor ---- */

static void queue_question(struct fake *fake, struct fake_question question)
{
    assert_true(fake->question_count < ARRAY_SIZE(fake->questions));
    fake->questions[fake->question_count++] = question;
    timer_set(fake->loop, &fake->pump, loop_now(fake->loop));
}

static bool host_open(void *context, uint32_t request, const char *path, bool folder)
{
    struct fake *fake = context;
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | (folder ? O_DIRECTORY : 0));

    fake->opens++;
    queue_question(
        fake, (struct fake_question){.request = request, .fd = fd, .result = fd < 0 ? -errno : 0});
    return true;
}

/* The directory of each link on the way, too. */
static void watch_links(struct fake *fake, const char *path, uint32_t mask)
{
    char partial[PATH_MAX], target[PATH_MAX], copy[PATH_MAX];

    for (const char *slash = strchr(path + 1, '/');; slash = strchr(slash + 1, '/')) {
        int size = slash != NULL ? (int)(slash - path) : (int)strlen(path);
        snprintf(partial, sizeof partial, "%.*s", size, path);
        ssize_t length = readlink(partial, target, sizeof target - 1);
        if (length > 0) {
            string_copy(copy, sizeof copy, partial);
            inotify_add_watch(fake->inotify_fd, dirname(copy), mask);
        }
        if (slash == NULL)
            break;
    }
    if (realpath(path, target) != NULL)
        inotify_add_watch(fake->inotify_fd, dirname(target), mask);
}

static bool host_watch(void *context, uint32_t request, const char *path, bool folder)
{
    const uint32_t mask = IN_CLOSE_WRITE | IN_MOVED_TO | IN_MOVED_FROM | IN_CREATE | IN_DELETE;
    struct fake *fake = context;
    char copy[PATH_MAX];

    string_copy(copy, sizeof copy, path);
    if (!folder)
        watch_links(fake, path, mask);
    int watch = inotify_add_watch(fake->inotify_fd, folder ? path : dirname(copy), mask);
    queue_question(fake, (struct fake_question){.request = request,
                                                .fd = -1,
                                                .result = watch < 0 ? -errno : watch,
                                                .watch = true});
    return true;
}

static void on_inotify(void *context, uint64_t tag, unsigned events)
{
    struct fake *fake = context;
    union {
        struct inotify_event event;
        char bytes[8192];
    } batch;
    (void)tag, (void)events;

    ssize_t size = read(fake->inotify_fd, &batch, sizeof batch);
    for (ssize_t at = 0; at < size;) {
        const struct inotify_event *event = (const void *)(batch.bytes + at);
        if (fake->vault != NULL)
            vault_inotify_event(fake->vault, event);
        at += (ssize_t)(sizeof *event + event->len);
    }
}

/* ---- handshakers ---- */

static void take_certificate(struct fake *fake, unsigned number,
                             const struct message_certificate *body, int document)
{
    struct fake_handshaker *handshaker = &fake->handshakers[number];
    struct keypair *pair = NULL;
    size_t size;

    if (document >= 0) {
        char *pem = memory_document_read(document, KEYPAIR_PEM_MAX, &size);
        assert_non_null(pem);
        assert_int_equal(keypair_parse(&pair, pem, size, NULL, 0, NULL), 0);
        assert_int_equal(keypair_type(pair), body->key_type);
        free(pem);
        handshaker->received++;
    } else {
        handshaker->withdrawn++;
    }
    string_copy(handshaker->last_name, sizeof handshaker->last_name, body->name);
    if (fake->stale && handshaker->pairs[body->key_type] != NULL) {
        keypair_unref(pair);
    } else {
        keypair_unref(handshaker->pairs[body->key_type]);
        handshaker->pairs[body->key_type] = pair;
        handshaker->versions[body->key_type] = body->version;
    }
    if (body->request == 0 || fake->silent)
        return;
    assert_true(fake->answer_count < ARRAY_SIZE(fake->answers));
    fake->answers[fake->answer_count++] =
        (struct fake_answer){number, {body->request, fake->live_result}};
    timer_set(fake->loop, &fake->pump, loop_now(fake->loop));
}

static bool host_send(void *context, unsigned number, uint32_t type, const void *body, size_t size,
                      int document)
{
    struct fake *fake = context;
    struct fake_handshaker *handshaker = &fake->handshakers[number];
    const struct message_certificate_wanted *unknown = body;

    assert_true(number < FAKE_HANDSHAKERS);
    if (type == MESSAGE_CERTIFICATE) {
        assert_int_equal(size, sizeof(struct message_certificate));
        take_certificate(fake, number, body, document);
    } else if (type == MESSAGE_CERTIFICATES_COMPLETE) {
        const struct message_complete *complete = body;
        assert_int_equal(size, sizeof *complete);
        assert_int_equal(complete->generation, fake->generation);
        handshaker->complete++;
    } else {
        assert_int_equal(type, MESSAGE_CERTIFICATE_UNKNOWN);
        handshaker->unknown++;
        string_copy(handshaker->last_unknown, sizeof handshaker->last_unknown, unknown->name);
    }
    return true;
}

static void host_event(void *context, enum event_type type, uint32_t certificate, uint32_t version,
                       const char *host, const char *detail)
{
    struct fake *fake = context;

    assert_true(fake->event_count < FAKE_EVENTS_MAX);
    struct fake_event *event = &fake->events[fake->event_count++];
    *event = (struct fake_event){.type = type, .certificate = certificate, .version = version};
    string_copy(event->host, sizeof event->host, host);
    string_copy(event->detail, sizeof event->detail, detail);
}

static void host_complete(void *context)
{
    struct fake *fake = context;
    fake->completed++;
}

/* ---- the loop ---- */

/* Answers come later, as from another process. */
static void pump(void *context)
{
    struct fake *fake = context;
    struct fake_question questions[ARRAY_SIZE(fake->questions)];
    struct fake_answer answers[ARRAY_SIZE(fake->answers)];
    size_t question_count = fake->question_count, answer_count = fake->answer_count;

    memcpy(questions, fake->questions, sizeof questions);
    memcpy(answers, fake->answers, sizeof answers);
    fake->question_count = fake->answer_count = 0;
    for (size_t i = 0; i < question_count; i++) {
        if (questions[i].watch)
            vault_watched(fake->vault, questions[i].request, questions[i].result);
        else
            vault_opened(fake->vault, questions[i].request, questions[i].fd, questions[i].result);
    }
    for (size_t i = 0; i < answer_count; i++)
        vault_certificate_live(fake->vault, answers[i].handshaker, &answers[i].live);
}

static void deadline(void *context)
{
    struct fake *fake = context;
    fake->late = true;
    loop_stop(fake->loop, 0);
}

static void after_batch(void *context)
{
    struct fake *fake = context;
    if (fake->until != NULL && fake->until(fake))
        loop_stop(fake->loop, 0);
}

unsigned fake_until(struct fake *fake, bool (*condition)(struct fake *))
{
    uint64_t begin = clock_monotonic_ns();

    if (condition(fake))
        return 0;
    fake->until = condition;
    fake->late = false;
    timer_set(fake->loop, &fake->deadline, begin + 60 * NS_PER_S);
    loop_run(fake->loop);
    timer_cancel(fake->loop, &fake->deadline);
    fake->until = NULL;
    if (fake->late) {
        for (size_t i = 0; i < fake->event_count; i++)
            print_message("event %s: %s\n", event_name(fake->events[i].type),
                          fake->events[i].detail);
        fail_msg("waited in vain");
    }
    return (unsigned)((clock_monotonic_ns() - begin) / NS_PER_MS);
}

static void step(void *context)
{
    struct fake *fake = context;

    if (--fake->steps == 0)
        loop_stop(fake->loop, 0);
    else
        timer_set(fake->loop, &fake->step, loop_now(fake->loop) + NS_PER_MS);
}

void fake_run(struct fake *fake, unsigned milliseconds)
{
    fake->until = NULL;
    fake->steps = milliseconds;
    timer_set(fake->loop, &fake->step, clock_monotonic_ns() + NS_PER_MS);
    loop_run(fake->loop);
}

/* ---- life ---- */

static struct conf *make_conf(const struct fake *fake, const char *conf_format)
{
    char text[4096], head[4096];
    struct error error = {0};
    struct conf *conf = NULL;

    snprintf(head, sizeof head,
             "state-folder = \"%s/state\"\n"
             "upstream app { servers = {\"127.0.0.1:9\"} }\n"
             "listener shop { bind = {\"127.0.0.1:%u\"} certificates = {\"shop\"} upstream = "
             "\"app\" @ }\n",
             fake->folder, fake->port);
    /* "@" is where the configuration may add to the listener: "listener-option | rest". */
    const char *bar = strchr(conf_format, '|');
    char *at = strchr(head, '@');
    size_t used = (size_t)(at - head);
    size_t size = (size_t)snprintf(text, sizeof text, "%.*s%.*s%s", (int)used, head,
                                   bar != NULL ? (int)(bar - conf_format) : 0, conf_format, at + 1);
    const char *rest = bar != NULL ? bar + 1 : conf_format;
    for (; *rest != '\0' && size < sizeof text - 1; rest++) {
        if (*rest == '~')
            size += (size_t)snprintf(text + size, sizeof text - size, "%s/files", fake->folder);
        else
            text[size++] = *rest;
    }
    text[size] = '\0';
    if (conf_parse(&conf, "test.conf", text, NULL, NULL, &error) != 0)
        fail_msg("%s", error.message);
    return conf;
}

/* OpenSSL keeps what it makes here for the life of the process, where LeakSanitizer does not always
 * look. */
static void init_openssl(void)
{
#if defined(__SANITIZE_ADDRESS__)
    __lsan_disable();
    tls_process_init();
    __lsan_enable();
#else
    tls_process_init();
#endif
}

void fake_init(struct fake *fake, const char *conf_format)
{
    memset(fake, 0, sizeof *fake);
    init_openssl();
    strcpy(fake->folder, "/tmp/holdfast-vault-XXXXXX");
    assert_non_null(mkdtemp(fake->folder));
    assert_int_equal(mkdir(fake_path(fake, "state"), 0700), 0);
    assert_int_equal(mkdir(fake_path(fake, "files"), 0700), 0);
    fake->state_folder = open(fake_path(fake, "state"), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    assert_non_null(fake->loop = loop_new());
    timer_init(&fake->pump, pump, fake);
    timer_init(&fake->deadline, deadline, fake);
    timer_init(&fake->step, step, fake);
    loop_after_batch(fake->loop, after_batch, fake);
    open_server(fake);
    fake->inotify_fd = inotify_init1(IN_NONBLOCK | IN_CLOEXEC);
    fake->inotify_handler = loop_handler(fake->loop, on_inotify, fake);
    assert_true(loop_watch(fake->loop, fake->inotify_fd, LOOP_READ, fake->inotify_handler, 0));
    fake->conf = make_conf(fake, conf_format);
}

static bool nothing_lives(void *context, uint32_t index)
{
    (void)context, (void)index;
    return false;
}

void fake_reload(struct fake *fake, const char *conf_format)
{
    const struct conf_usage usage = {NULL, nothing_lives, nothing_lives};
    struct conf *next = make_conf(fake, conf_format), *merged = NULL;
    struct error error = {0};

    if (conf_merge(&merged, next, fake->conf, &usage, &error) != 0)
        fail_msg("%s", error.message);
    conf_free(next);
    assert_true(vault_reload(fake->vault, merged, ++fake->generation));
    conf_free(fake->conf);
    fake->conf = merged;
}

static bool complete(struct fake *fake)
{
    return fake->completed > 0;
}

void fake_start(struct fake *fake)
{
    struct vault_host host = {
        .context = fake,
        .loop = fake->loop,
        .state_folder = fake->state_folder,
        .open = host_open,
        .watch = host_watch,
        .send = host_send,
        .event = host_event,
        .complete = host_complete,
    };

    fake->completed = 0;
    fake->vault = vault_new(fake->conf, ++fake->generation, &host);
    assert_non_null(fake->vault);
    for (unsigned i = 0; i < FAKE_HANDSHAKERS; i++)
        vault_peer_started(fake->vault, i);
    vault_start(fake->vault);
    fake_until(fake, complete);
}

static void stop(struct fake *fake)
{
    for (size_t i = 0; i < fake->question_count; i++) {
        if (fake->questions[i].fd >= 0)
            close(fake->questions[i].fd);
    }
    fake->question_count = fake->answer_count = 0;
    vault_free(fake->vault);
    fake->vault = NULL;
}

void fake_restart(struct fake *fake)
{
    stop(fake);
    fake->event_count = 0;
    fake_start(fake);
}

static int remove_one(const char *path, const struct stat *status, int kind, struct FTW *place)
{
    (void)status, (void)kind, (void)place;
    return remove(path);
}

void fake_fini(struct fake *fake)
{
    stop(fake);
    fake_run(fake, 1); /* what is still on its way to the server */
    for (unsigned i = 0; i < FAKE_HANDSHAKERS; i++) {
        for (unsigned type = 0; type < KEY_TYPE_COUNT; type++)
            keypair_unref(fake->handshakers[i].pairs[type]);
    }
    close(fake->listening_fd);
    close(fake->inotify_fd);
    close(fake->state_folder);
    conf_free(fake->conf);
    loop_free(fake->loop);
    nftw(fake->folder, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

void fake_done(void *context, const struct vault_outcome *outcome)
{
    struct fake *fake = context;

    assert_false(fake->done);
    fake->done = true;
    fake->outcome = *outcome;
}

bool fake_is_done(struct fake *fake)
{
    return fake->done;
}

const struct fake_event *fake_event(const struct fake *fake, enum event_type type)
{
    for (size_t i = fake->event_count; i-- > 0;) {
        if (fake->events[i].type == type)
            return &fake->events[i];
    }
    return NULL;
}

size_t fake_event_count(const struct fake *fake, enum event_type type)
{
    size_t count = 0;

    for (size_t i = 0; i < fake->event_count; i++)
        count += fake->events[i].type == type;
    return count;
}

static int show(void *context, const struct vault_entry *entry)
{
    struct fake_shown *shown = context;
    size_t at = shown->count++;

    assert_true(at < ARRAY_SIZE(shown->entries));
    shown->entries[at] = *entry;
    string_copy(shown->last_error[at], sizeof shown->last_error[at], entry->last_error);
    for (size_t i = 0; i < entry->check_count && i < 4; i++)
        shown->checks[at][i] = entry->checks[i];
    return 0;
}

void fake_show(const struct fake *fake, struct fake_shown *ret_shown)
{
    memset(ret_shown, 0, sizeof *ret_shown);
    assert_int_equal(vault_each(fake->vault, show, ret_shown), 0);
}

/* ---- files and certificates ---- */

static struct internal_ca *test_ca(void)
{
    static struct internal_ca *ca;
    char *certificate, *key;

    if (ca == NULL) {
        assert_int_equal(internal_ca_create(&certificate, &key, NULL), 0);
        assert_int_equal(internal_ca_load(&ca, certificate, key, NULL), 0);
        free(certificate);
        free(key);
    }
    return ca;
}

struct keypair *make_pair(const char *names, enum key_type type, int64_t lifetime_s)
{
    char copy[512], *list[16], *rest = copy;
    struct error error = {0};
    struct keypair *pair;
    size_t count = 0;

    string_copy(copy, sizeof copy, names);
    for (char *name; (name = strsep(&rest, ",")) != NULL;)
        list[count++] = name;
    if (internal_ca_issue(test_ca(), (const char *const *)list, count, type, lifetime_s, &pair,
                          &error) != 0)
        fail_msg("%s", error.message);
    return pair;
}

const char *fake_path(const struct fake *fake, const char *name)
{
    static char paths[4][PATH_MAX];
    static unsigned turn;
    char *path = paths[turn++ % 4];

    snprintf(path, PATH_MAX, "%s/%s", fake->folder, name);
    return path;
}

void put_text(const struct fake *fake, const char *name, const char *text)
{
    FILE *file = fopen(fake_path(fake, name), "we");

    assert_non_null(file);
    assert_true(fputs(text, file) >= 0);
    assert_int_equal(fclose(file), 0);
}

void put_file(const struct fake *fake, const char *name, const struct keypair *pair,
              enum pem_part part)
{
    static const char end[] = "-----END CERTIFICATE-----\n";
    size_t size;
    char *pem = keypair_to_pem(pair, &size);

    assert_non_null(pem);
    char *key = strstr(pem, "-----BEGIN PRIVATE KEY-----");
    char *leaf_end = strstr(pem, end) + strlen(end);
    if (part == PEM_CHAIN)
        *key = '\0';
    else if (part == PEM_LEAF)
        *leaf_end = '\0';
    put_text(fake, name, part == PEM_KEY ? key : pem);
    free(pem);
}

bool same_leaf(const struct keypair *a, const struct keypair *b)
{
    return a != NULL && b != NULL &&
           memcmp(keypair_fingerprint(a), keypair_fingerprint(b), 32) == 0;
}
