/* The watch over a process that answers from a script: rotation, certificates in turn, deaths, a
 * file on disk, reloads, what a restart remembers, what it must not believe. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <ftw.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/buffer.h"
#include "base/clock.h"
#include "base/json.h"
#include "base/string.h"
#include "watch/export.h"
#include "watch/prober_process.h"
#include "watch/schedule.h"
#include "watch/watcher.h"

#define PATIENCE_NS (60 * NS_PER_S)

/* ---- the other process: answers by the target's name ---- */

static char folder[64];

/* How often it was asked for this, over all its lives. */
static unsigned count_asked(const char *target)
{
    char path[400];
    unsigned number = 0;

    snprintf(path, sizeof path, "%s/asked-%s", folder, target);
    FILE *file = fopen(path, "a+");
    rewind(file);
    while (fgetc(file) != EOF)
        number++;
    fputc('x', file);
    fclose(file);
    return number;
}

static void answer_endpoint(FILE *out, uint64_t id, const char *target, const char *sha256,
                            const char *verdict, const char *not_before, const char *vantage)
{
    time_t now = time(NULL);
    char at[32];

    clock_rfc3339(at, sizeof at, (uint64_t)now * NS_PER_S);
    fprintf(out,
            "{\"id\":%llu,\"endpoint\":{\"target\":\"%s\",\"address\":\"192.0.2.1:443\",\"name\":"
            "\"x\",\"sni\":true,\"key_type\":\"ecdsa\",\"vantage\":\"%s\",\"outcome\":\"seen\","
            "\"verdict\":\"%s\",\"checked_at\":\"%s\",\"certificates\":[{\"sha256\":\"%s\",\"key\":"
            "\"EC\",\"not_before\":\"%s\",\"not_after\":\"2031-01-01T00:00:00Z\","
            "\"subject_an\":[\"x\"]}]}}\n",
            (unsigned long long)id, target, vantage, verdict, at, sha256, not_before);
}

/* What it was told of files, over all its lives: "content;", "!trouble;", "-key;". */
static void note_told(const json_t *line, const char *bytes)
{
    const char *key = json_string_value(json_object_get(line, "forget"));
    char path[96];

    if (key == NULL && json_object_get(line, "supply") == NULL)
        return;
    snprintf(path, sizeof path, "%s/told", folder);
    FILE *file = fopen(path, "a");
    if (key != NULL)
        fprintf(file, "-%s;", key);
    else if (bytes == NULL)
        fprintf(file, "!%s;", json_string_value(json_object_get(line, "error")));
    else
        fprintf(file, "%s;", bytes);
    fclose(file);
}

/* The bytes behind a line; NULL: none. */
static char *read_bytes(FILE *in, const json_t *line)
{
    json_t *size = json_object_get(line, "size");
    char *bytes = size == NULL ? NULL : calloc(1, (size_t)json_integer_value(size) + 1);

    if (bytes != NULL &&
        fread(bytes, 1, (size_t)json_integer_value(size), in) != (size_t)json_integer_value(size))
        _exit(1);
    return bytes;
}

static void take_line(FILE *in, FILE *out, const char *line);

/* Gives something to keep, or asks for it; how much comes back is in the leaf's name. */
static const char *talk_of_documents(FILE *in, FILE *out, const char *target)
{
    static char found[8];
    char line[8192];

    if (string_starts_with(target, "keeps-nothing"))
        fprintf(out, "{\"keep\":\"0ax\",\"until\":4000000000}\n");
    else if (string_starts_with(target, "keeps-control"))
        fprintf(out, "{\"keep\":\"0a\\u001b\",\"until\":4000000000,\"size\":1}\nx");
    else if (string_starts_with(target, "drops-bytes"))
        fprintf(out, "{\"drop\":\"0ax\",\"size\":1}\nx");
    else if (string_starts_with(target, "keeps"))
        fprintf(out, "{\"keep\":\"0ax\",\"until\":4000000000,\"size\":3}\n\n{}");
    else if (string_starts_with(target, "drops"))
        fprintf(out, "{\"drop\":\"0ax\"}\n");
    if (!string_starts_with(target, "recalls"))
        return "aa";
    fprintf(out, "{\"recall\":\"0ax\"}\n");
    fflush(out);
    while (fgets(line, sizeof line, in) != NULL && strstr(line, "\"recalled\"") == NULL)
        take_line(in, out, line); /* a question that was asked meanwhile */
    json_t *answered = json_loads(line, 0, NULL);
    char *bytes = read_bytes(in, answered);
    snprintf(found, sizeof found, "%s",
             bytes == NULL                ? "none"
             : strcmp(bytes, "\n{}") == 0 ? "kept"
                                          : "wrong");
    free(bytes);
    json_decref(answered);
    return found;
}

static void answer(FILE *in, FILE *out, uint64_t id, const char *target, const char *vantage)
{
    const char *leaf = talk_of_documents(in, out, target);
    const char *old = "2026-01-01T00:00:00Z", *new = "2026-09-01T00:00:00Z";
    unsigned asked = count_asked(target);

    fprintf(out, "{\"alive\":true}\n");
    if (string_starts_with(target, "kills"))
        abort();
    if (string_starts_with(target, "dies-once") && asked == 0)
        raise(SIGKILL);
    if (string_starts_with(target, "lies"))
        fprintf(out, "{\"id\":%llu,\"endpoint\":{\"verdict\":\"fine\"}}\n", (unsigned long long)id);
    if (string_starts_with(target, "escapes"))
        answer_endpoint(out, id, "escapes:443", "aa\\u001b[2J", "ok", old, "public");
    if (string_starts_with(target, "fails")) {
        fprintf(out, "{\"id\":%llu,\"error\":\"no such store\",\"done\":true}\n",
                (unsigned long long)id);
        return;
    }
    if (string_starts_with(target, "turns"))
        answer_endpoint(out, id, target, asked % 2 == 0 ? "aa" : "bb",
                        asked % 2 == 0 ? "ok" : "critical", old, vantage);
    else if (string_starts_with(target, "rotates"))
        answer_endpoint(out, id, target, asked < 2 ? "aa" : "bb", "ok", asked < 2 ? old : new,
                        vantage);
    else if (strcmp(vantage, "origin") == 0)
        answer_endpoint(out, id, target, "bb", "ok", new, vantage);
    else
        answer_endpoint(out, id, target, leaf, "ok", old, vantage);
    fprintf(out, "{\"id\":%llu,\"done\":true}\n", (unsigned long long)id);
}

static void take_line(FILE *in, FILE *out, const char *line)
{
    json_t *request = json_loads(line, 0, NULL);
    char *bytes = read_bytes(in, request);
    const char *target = json_string_value(json_object_get(request, "target"));
    const char *vantage =
        json_string_value(json_object_get(json_object_get(request, "options"), "vantage"));

    note_told(request, bytes);
    free(bytes);
    if (target != NULL)
        answer(in, out, (uint64_t)json_integer_value(json_object_get(request, "id")), target,
               vantage == NULL ? "public" : vantage);
    fflush(out);
    json_decref(request);
}

static pid_t start(void *context, int fd)
{
    pid_t pid = fork();
    char line[8192];
    (void)context;

    if (pid != 0)
        return pid;
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    fcntl(fd, F_SETFL, 0);
    FILE *in = fdopen(fd, "r"), *out = fdopen(dup(fd), "w");
    while (fgets(line, sizeof line, in) != NULL)
        take_line(in, out, line);
    _exit(0);
}

/* ---- the world ---- */

static struct {
    struct loop *loop;
    struct store *store;
    struct watcher *watcher;
    struct conf *conf;
    struct timer limit;
    char events[65536];
    char forgotten[400]; /* targets, a blank behind each */
    const char *file;    /* what the supervisor finds there */
    unsigned busy;       /* so often it cannot be asked */
    unsigned lost;       /* … and so often its answer is lost */
    unsigned wanted, done;
    char last_error[200];
    json_t *last;
} world;

static int set_up(void **state)
{
    (void)state;
    strcpy(folder, "/tmp/holdfast-watch-XXXXXX");
    return mkdtemp(folder) == NULL ? -1 : 0;
}

static int remove_one(const char *name, const struct stat *status, int kind, struct FTW *place)
{
    (void)status, (void)kind, (void)place;
    return remove(name);
}

static int tear_down(void **state)
{
    (void)state;
    return nftw(folder, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

static void on_event(void *context, enum event_type type, const char *text)
{
    size_t used = strlen(world.events);
    (void)context;

    snprintf(world.events + used, sizeof world.events - used, "%s %s\n", event_name(type), text);
}

static bool on_open(void *context, uint32_t request, const char *path)
{
    (void)context;
    if (world.busy > 0) {
        world.busy--;
        return false;
    }
    if (world.lost > 0) {
        world.lost--;
        return true;
    }
    /* The real answer comes through the loop; the watch must bear it at once, too. */
    int fd = world.file == NULL ? -1 : open(world.file, O_RDONLY);
    assert_string_equal(path, "/etc/x.pem");
    watcher_opened(world.watcher, request, fd, fd < 0 ? -2 : 0);
    return true;
}

static void on_forgotten(void *context, const char *target)
{
    size_t used = strlen(world.forgotten);
    (void)context;

    snprintf(world.forgotten + used, sizeof world.forgotten - used, "%s ", target);
}

static void on_limit(void *context)
{
    (void)context;
    fail_msg("nothing more happens; so far:\n%s", world.events);
}

static struct conf *parse(const char *text)
{
    struct conf *conf = NULL;
    struct error error = {0};

    if (conf_parse(&conf, "t.conf", text, NULL, NULL, &error) != 0)
        fail_msg("%s", error.message);
    return conf;
}

static void begin(const char *text)
{
    const struct watcher_host host = {.event = on_event,
                                      .open = on_open,
                                      .patience_ns = NS_PER_S / 1000,
                                      .forgotten = on_forgotten,
                                      .start = start};
    struct error error = {0};
    char path[96];

    memset(world.events, 0, sizeof world.events);
    world.forgotten[0] = '\0';
    snprintf(path, sizeof path, "%s/watch.db", folder);
    world.loop = loop_new();
    world.conf = parse(text);
    assert_int_equal(store_open(&world.store, path, &error), 0);
    assert_int_equal(
        watcher_new(&world.watcher, world.loop, world.conf, world.store, &host, &error), 0);
    timer_init(&world.limit, on_limit, NULL);
}

static void end(void)
{
    watcher_free(world.watcher);
    store_free(world.store);
    loop_free(world.loop);
    conf_free(world.conf);
    json_decref(world.last);
    world.last = NULL;
    world.file = NULL;
}

static void on_done(void *context, const char *target, const json_t *endpoints, const char *error)
{
    (void)context, (void)target;
    json_decref(world.last);
    world.last = json_deep_copy(endpoints);
    snprintf(world.last_error, sizeof world.last_error, "%s", error == NULL ? "" : error);
    if (++world.done == world.wanted)
        loop_stop(world.loop, 0);
}

static void check(const char *what)
{
    world.done = 0;
    world.wanted = (unsigned)watcher_check(world.watcher, what, on_done, &world);
    assert_true(world.wanted > 0);
    timer_set(world.loop, &world.limit, clock_monotonic_ns() + PATIENCE_NS);
    loop_run(world.loop);
    timer_cancel(world.loop, &world.limit);
}

static struct watcher_place place_of(const char *target)
{
    struct watcher_cursor cursor = {0};
    struct watcher_place place;

    while (watcher_next(world.watcher, &cursor, &place)) {
        if (strcmp(place.target, target) == 0)
            return place;
    }
    fail_msg("%s is not listed", target);
    return place;
}

static unsigned times(const char *text)
{
    unsigned count = 0;

    for (const char *at = world.events; (at = strstr(at, text)) != NULL; at++)
        count++;
    return count;
}

static bool found(const char *id)
{
    for (size_t i = 0; i < json_array_size(world.last); i++) {
        const json_t *findings = json_object_get(json_array_get(world.last, i), "findings");
        for (size_t j = 0; j < json_array_size(findings); j++) {
            if (strcmp(json_string_value(json_object_get(json_array_get(findings, j), "id")), id) ==
                0)
                return true;
        }
    }
    return false;
}

#define W(options, targets) "watch w { interval = 1h " options " targets = {" targets "} }\n"

/* ---- the tests ---- */

/* What the process says is not believed, and it is replaced; others' answers come all the same. */
static void test_lies(void **state)
{
    struct watcher_state facts;
    (void)state;

    begin(W("", "\"lies\", \"escapes\", \"a.example\""));
    check("");
    assert_string_equal(place_of("a.example:443").verdict, "ok");
    assert_string_equal(place_of("lies:443").verdict, "unknown");
    assert_string_equal(place_of("escapes:443").verdict, "unknown");
    assert_non_null(strstr(place_of("lies:443").text, "died each time"));
    assert_true(times("breaks the rules") >= 2);
    watcher_state(world.watcher, &facts);
    assert_int_equal(facts.ok, 1);
    assert_int_equal(facts.unknown, 2);
    assert_true(facts.prober.starts > 3);
    end();
}

/* One target kills the process each time: only that one is given up. */
static void test_deaths(void **state)
{
    (void)state;

    begin(W("", "\"kills\", \"dies-once\", \"a.example\", \"b.example\""));
    check("");
    assert_string_equal(place_of("a.example:443").verdict, "ok");
    assert_string_equal(place_of("b.example:443").verdict, "ok");
    assert_string_equal(place_of("dies-once:443").verdict, "ok");
    assert_string_equal(place_of("kills:443").verdict, "unknown");
    end();
}

static void test_refused(void **state)
{
    (void)state;

    begin(W("", "\"fails\", \"gopher+starttls://x\""));
    check("");
    assert_string_equal(place_of("fails:443").verdict, "unknown");
    assert_non_null(strstr(place_of("fails:443").text, "no such store"));
    assert_string_equal(place_of("gopher+starttls://x").verdict, "unknown");
    end();
}

static void test_rotation(void **state)
{
    (void)state;

    begin(W("", "rotates"));
    for (int i = 0; i < 4; i++)
        check("rotates:443");
    assert_int_equal(times("watch-certificate"), 1);
    assert_int_equal(times("watch-in-turn"), 0);
    assert_string_equal(place_of("rotates:443").sha256, "bb");
    assert_false(place_of("rotates:443").in_turn);
    end();
}

/* Two nodes in turn: two events, however often they change, and the verdict of the worse one. */
static void test_in_turn(void **state)
{
    (void)state;

    begin(W("", "turns"));
    for (int i = 0; i < 12; i++)
        check("w");
    assert_int_equal(times("watch-certificate"), 1);
    assert_int_equal(times("watch-in-turn"), 1);
    assert_true(times("watch-verdict") <= 3);
    assert_true(found("served-in-turn"));
    assert_string_equal(place_of("turns:443").verdict, "critical");
    assert_true(place_of("turns:443").in_turn);
    end();
    begin(W("", "turns")); /* a restart remembers */
    assert_true(place_of("turns:443").in_turn);
    for (int i = 0; i < 4; i++)
        check("w");
    assert_int_equal(times("watch-certificate") + times("watch-in-turn"), 0);
    assert_int_equal(times("watch-verdict"), 0);
    end();
}

static void write_certificate(char path[96])
{
    char *certificate, *key;
    struct error error = {0};

    snprintf(path, 96, "%s/x.pem", folder);
    assert_int_equal(internal_ca_create(&certificate, &key, &error), 0);
    FILE *file = fopen(path, "w");
    fputs(key, file); /* a combined file: the key comes first */
    fputs(certificate, file);
    fclose(file);
    free(certificate);
    free(key);
}

/* The one on disk is of now, the one that is served is not. */
static void test_file(void **state)
{
    char path[96];
    (void)state;

    begin(W("file = /etc/x.pem", "a.example"));
    check("w");
    assert_true(found("file-unreadable"));
    write_certificate(path);
    world.file = path;
    check("w");
    assert_true(found("renewed-not-served"));
    world.busy = 3;
    check("w");
    assert_true(found("renewed-not-served"));
    assert_string_equal(place_of("a.example:443").verdict, "warning");
    world.busy = UINT_MAX;
    check("w");
    assert_true(found("file-unreadable"));
    world.busy = 0;
    end();
}

static void test_origin(void **state)
{
    (void)state;

    begin(W("origin = 192.0.2.9", "a.example"));
    check("w");
    assert_int_equal(json_array_size(world.last), 2);
    assert_true(found("edge-behind-origin"));
    end();
}

static void reload(const char *text)
{
    struct conf *next = parse(text);

    world.forgotten[0] = '\0';
    assert_true(watcher_reload(world.watcher, next));
    conf_free(world.conf);
    world.conf = next;
}

/* A target is forgotten with the last section that names it, and told of once. */
static void test_twins(void **state)
{
    const struct conf_watch *conf;
    (void)state;

    begin("watch w { targets = {\"a.example\", \"b.example\"} }\n"
          "watch v { targets = {\"a.example\"} }\n"
          "watch u { targets = {\"a.example\", \"b.example\"} }\n");
    reload("watch v { targets = {\"a.example\"} }\nwatch u { targets = {\"a.example\"} }\n");
    assert_string_equal(world.forgotten, "b.example:443 ");
    assert_null(watcher_find(world.watcher, "b.example:443"));
    reload("watch u { targets = {\"a.example\"} }\n");
    assert_string_equal(world.forgotten, "");
    conf = watcher_find(world.watcher, "a.example:443");
    assert_non_null(conf);
    assert_string_equal(conf->name, "u");
    check("");
    assert_int_equal(world.done, 1);
    reload("watch v { targets = {\"a.example\"} }\n"); /* moved */
    assert_string_equal(world.forgotten, "");
    check("");
    assert_string_equal(place_of("a.example:443").watch, "v");
    reload("watch v { targets = {\"c.example\"} }\n");
    assert_string_equal(world.forgotten, "a.example:443 ");
    assert_null(watcher_find(world.watcher, "a.example:443"));
    end();
}

/* `context`: how many are to be asked for; 0 from then on. */
static void stop_when_asked(void *context)
{
    size_t *count = context;
    struct watcher_state facts;

    watcher_state(world.watcher, &facts);
    if (*count == 0 || facts.prober.pending != *count)
        return;
    *count = 0;
    loop_stop(world.loop, 0);
}

/* Whoever waits is told, and no answer comes to what is gone. */
static void test_removed_under_way(void **state)
{
    size_t asked = 3;
    (void)state;

    begin(W("", "\"a.example\", \"b.example\", \"c.example\""));
    world.done = 0;
    world.wanted = 0; /* nobody ends the loop */
    assert_int_equal(watcher_check(world.watcher, "", on_done, &world), 3);
    loop_after_batch(world.loop, stop_when_asked, &asked);
    loop_run(world.loop);
    assert_int_equal(world.done, 0);
    reload(W("", "\"c.example\""));
    assert_int_equal(world.done, 2);
    assert_string_equal(world.last_error, "it is no longer watched");
    check("c.example:443");
    assert_string_equal(place_of("c.example:443").verdict, "ok");
    end();
}

/* What both configurations have goes on; what went is forgotten, also by who waits for it. */
static void test_reload(void **state)
{
    struct watcher_cursor cursor = {0};
    struct watcher_place place;
    (void)state;

    begin(W("", "\"a.example\", \"b.example\""));
    check("");
    struct conf *next = parse(W("owner = me", "\"b.example\", \"c.example\""));
    int64_t before = place_of("b.example:443").checked_at;
    assert_int_equal(watcher_check(world.watcher, "a.example:443", on_done, &world), 1);
    world.wanted = 0;
    assert_true(watcher_reload(world.watcher, next));
    conf_free(world.conf);
    world.conf = next;
    assert_string_equal(world.last_error, "it is no longer watched");
    assert_string_equal(place_of("b.example:443").owner, "me");
    assert_int_equal(place_of("b.example:443").checked_at, before);
    assert_string_equal(place_of("c.example:443").verdict, "pending");
    while (watcher_next(world.watcher, &cursor, &place))
        assert_string_not_equal(place.target, "a.example:443");
    check("c.example:443");
    end();
}

/* Looking through a whole network holds up no check. */
static void test_discovery_is_patient(void **state)
{
    struct watcher_state facts;
    (void)state;

    begin("watch-connections = 1\n" W("discover = \"198.51.100.0/24:443\"", "a.example"));
    assert_int_equal(watcher_discover(world.watcher, "w"), 256);
    check("a.example:443");
    watcher_state(world.watcher, &facts);
    assert_true(facts.prober.pending > 200);
    assert_string_equal(place_of("a.example:443").verdict, "ok");
    /* a reload leaves it, whatever is under way */
    struct conf *next = parse(W("", "\"b.example\""));
    assert_true(watcher_reload(world.watcher, next));
    conf_free(world.conf);
    world.conf = next;
    check("b.example:443");
    end();
}

/* `context`: how many are to be found; 0 from then on. */
static void stop_when_found(void *context)
{
    size_t *count = context;
    struct watcher_state facts;

    watcher_state(world.watcher, &facts);
    if (*count == 0 || facts.discovered != *count || facts.prober.pending != 0)
        return;
    *count = 0;
    loop_stop(world.loop, 0);
}

static size_t discovered(void)
{
    struct watcher_state facts;

    watcher_state(world.watcher, &facts);
    return facts.discovered;
}

/* What is found is listed until its address is that of a watched target (all answer from one here),
 * and again when it is no more. */
static void test_discovered(void **state)
{
    static const char alone[] = "watch w { discover = \"198.51.100.0/30:443\" }\n";
    size_t found = 4;
    (void)state;

    begin(alone);
    loop_after_batch(world.loop, stop_when_found, &found);
    for (int round = 0; round < 2; round++) { /* found again they are the same */
        found = 4;
        assert_int_equal(watcher_discover(world.watcher, "w"), 4);
        timer_set(world.loop, &world.limit, clock_monotonic_ns() + PATIENCE_NS);
        loop_run(world.loop);
        timer_cancel(world.loop, &world.limit);
        assert_int_equal(times("nobody watches it"), 4);
    }
    reload(W("discover = \"198.51.100.0/30:443\"", "\"a.example\""));
    assert_int_equal(discovered(), 4);
    check("a.example:443");
    reload(alone);
    assert_int_equal(discovered(), 4);
    reload(W("discover = \"198.51.100.0/30:443\"", "\"a.example\", \"198.51.100.1:443\""));
    assert_int_equal(discovered(), 3);
    check("198.51.100.1:443");
    reload(W("discover = \"198.51.100.0/30:443\"", "\"a.example\", \"198.51.100.1:443\""));
    assert_int_equal(discovered(), 0);
    end();
}

#define MANY 10000

/* The metrics of ten thousand targets with two key types each are given whole. */
static void test_many_metrics(void **state)
{
    struct buffer text;
    struct error error = {0};
    char path[96], target[64], at[32];
    (void)state;

    clock_rfc3339(at, sizeof at, (uint64_t)time(NULL) * NS_PER_S);
    snprintf(path, sizeof path, "%s/watch.db", folder);
    assert_int_equal(store_open(&world.store, path, &error), 0);
    buffer_init(&text, 1 << 20);
    for (int i = 0; i < 2 * MANY; i++) {
        snprintf(target, sizeof target, "host-%05d.shop.example:443", i / 2);
        json_t *endpoint = json_pack(
            "{s:s, s:s, s:s, s:s, s:s, s:s, s:s, s:s, s:[{s:s, s:s}]}", "target", target, "address",
            "192.0.2.1:443", "name", "x", "key_type", i % 2 == 0 ? "ecdsa" : "rsa", "vantage",
            "public", "outcome", "seen", "verdict", "ok", "checked_at", at, "certificates",
            "sha256", "aa", "not_after", "2031-01-01T00:00:00Z");
        json_set_text(endpoint, "breaks_at", "2031-01-01T00:00:00Z");
        store_result(world.store, "w", target, endpoint);
        json_decref(endpoint);
        if (i % 2 == 0)
            buffer_printf(&text, "%s\"%s\"", i == 0 ? "watch w { targets = {" : ", ", target);
    }
    buffer_append_text(&text, "} }\n");
    store_free(world.store);
    begin(buffer_text(&text));
    buffer_fini(&text);
    buffer_init(&text, EXPORT_MAX);
    export_metrics(&text, world.watcher, NULL, world.conf);
    assert_false(text.failed);
    assert_true(text.size > (size_t)MANY * 2 * 6 * 80);
    buffer_fini(&text);
    end();
}

static void test_schedule(void **state)
{
    const struct schedule_result same = {0}, changed = {.changed = true}, failing = {.failures = 3};
    (void)state;

    assert_int_equal(schedule_first(60000, UINT64_MAX, 0, 1), 0);
    assert_int_equal(schedule_first(60000, 20000, 0, 1), 40000);
    assert_int_equal(schedule_first(60000, 70000, 0, 1), 0);
    assert_int_equal(schedule_first(900000, UINT64_MAX, 9999, 10000), 500000 * 9999ull / 10000);
    for (uint64_t chance = 0; chance < 100000; chance += 777) {
        uint64_t next = schedule_next(60000, &same, chance);
        assert_true(next >= 54000 && next <= 66000);
        next = schedule_next(60000, &changed, chance);
        assert_true(next >= 13500 && next <= 16500);
        next = schedule_next(60000, &failing, chance);
        assert_true(next >= 432000 && next <= 528000);
        next = schedule_next(1000, &changed, chance);
        assert_true(next >= 900 && next <= 1100);
    }
}

static void write_text(const char *path, const char *text)
{
    FILE *file = fopen(path, "w");

    fputs(text, file);
    fclose(file);
}

static void assert_told(const char *expected)
{
    char path[96], text[1024];

    snprintf(path, sizeof path, "%s/told", folder);
    FILE *file = fopen(path, "r");
    assert_non_null(file);
    text[fread(text, 1, sizeof text - 1, file)] = '\0';
    fclose(file);
    assert_string_equal(text, expected);
}

/* A file is told of before the first question, when it is another one, and to another process. */
static void test_supplies(void **state)
{
    char path[96];
    (void)state;

    snprintf(path, sizeof path, "%s/store.pem", folder);
    write_text(path, "one");
    begin(W("stores = /etc/x.pem", "a.example"));
    world.file = path;
    check("");
    check("");
    assert_told("one;");
    world.busy = 3; /* nobody to be asked says nothing about the file */
    check("");
    assert_told("one;");
    world.lost = 3; /* nor does an answer that never comes */
    check("");
    assert_told("one;");
    assert_int_equal(world.lost, 0);
    write_text(path, "other");
    check("");
    assert_told("one;other;");
    world.file = NULL;
    check("");
    check("");
    assert_told("one;other;!No such file or directory;");
    world.file = path;
    check("");
    assert_told("one;other;!No such file or directory;other;");
    end();
    begin(W("stores = /etc/x.pem", "dies-once"));
    world.file = path;
    check("");
    assert_told("one;other;!No such file or directory;other;other;other;");
    struct conf *without = parse(W("", "dies-once"));
    assert_true(watcher_reload(world.watcher, without));
    check("");
    assert_told("one;other;!No such file or directory;other;other;other;-stores /etc/x.pem;");
    conf_free(world.conf);
    world.conf = without;
    end();
}

static const char *leaf_after_checking(const char *targets, const char *target)
{
    static char leaf[65];

    begin(targets);
    check("");
    snprintf(leaf, sizeof leaf, "%s", place_of(target).sha256);
    end();
    return leaf;
}

/* What it fetched outlives it and the watch. */
static void test_documents(void **state)
{
    (void)state;

    assert_string_equal(leaf_after_checking(W("", "recalls-1"), "recalls-1:443"), "none");
    assert_string_equal(leaf_after_checking(W("", "keeps"), "keeps:443"), "aa");
    assert_string_equal(leaf_after_checking(W("", "recalls-2"), "recalls-2:443"), "kept");
    assert_string_equal(leaf_after_checking(W("", "drops"), "drops:443"), "aa");
    assert_string_equal(leaf_after_checking(W("", "recalls-3"), "recalls-3:443"), "none");
}

static void test_false_documents(void **state)
{
    (void)state;

    begin(W("", "\"keeps-nothing\", \"keeps-control\", \"drops-bytes\", \"a.example\""));
    check("");
    assert_string_equal(place_of("a.example:443").verdict, "ok");
    assert_string_equal(place_of("keeps-nothing:443").verdict, "unknown");
    assert_string_equal(place_of("keeps-control:443").verdict, "unknown");
    assert_string_equal(place_of("drops-bytes:443").verdict, "unknown");
    end();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_schedule),
        cmocka_unit_test_setup_teardown(test_lies, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_deaths, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_refused, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_rotation, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_in_turn, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_file, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_supplies, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_documents, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_false_documents, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_origin, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_reload, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_twins, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_removed_under_way, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_discovery_is_patient, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_discovered, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_many_metrics, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
