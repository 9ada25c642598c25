#include "demo/changes.h"

#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "admin/control_client.h"
#include "base/clock.h"
#include "base/string.h"
#include "demo/process.h"

#define START_POLL_MS     50
#define SUCCESSOR_POLL_MS 5
#define SUCCESSOR_NS      (10 * NS_PER_S)

struct changes {
    const struct workspace *workspace;
    struct scoreboard *board;
    char config[WORKSPACE_PATH_MAX + 32];
    unsigned kills;
    bool guest; /* the listener that comes and goes is there */
};

/* Makes the change and puts it into words. */
typedef int change_fn(struct changes *changes, char words[WORDS_MAX], struct error *error);

/* ---- by command ---- */

/* The error is the first line of what the command printed. */
static int judge(struct process *process, int output, const char *verb, struct error *error)
{
    char said[400];

    if (process_wait(process))
        return 0;
    ssize_t size = pread(output, said, sizeof said - 1, 0);
    said[size > 0 ? size : 0] = '\0';
    said[strcspn(said, "\n")] = '\0';
    if (said[0] != '\0')
        return error_set(error, ERROR_PEER, "%s", said);
    return error_set(error, ERROR_PEER, "holdfast %s failed and said nothing", verb);
}

static int command(const struct changes *changes, char *const *arguments, struct error *error)
{
    struct process process;
    int output = memfd_create("output", MFD_CLOEXEC);

    if (output < 0)
        return error_set(error, ERROR_IO, "no memory for a command's output: %s", strerror(errno));
    int result =
        process_execute(&process, "command", changes->workspace->program, arguments, output, error);
    if (result == 0)
        result = judge(&process, output, arguments[1], error);
    ignore(close(output));
    return result;
}

/* `holdfast VERB -c CONFIG` */
static int plain_command(struct changes *changes, const char *name, struct error *error)
{
    char program[] = "holdfast", verb[16], option[] = "-c";
    char *const arguments[] = {program, verb, option, changes->config, NULL};

    ignore(string_copy(verb, sizeof verb, name));
    return command(changes, arguments, error);
}

static int replace_certificate(struct changes *changes, char words[WORDS_MAX], struct error *error)
{
    char program[] = "holdfast", verb[] = "cert", action[] = "renew", name[] = "localhost",
         option[] = "-c";
    char *const arguments[] = {program, verb, action, name, option, changes->config, NULL};

    ignore(string_copy(words, WORDS_MAX, "certificate replaced"));
    return command(changes, arguments, error);
}

static int reload(struct changes *changes, char words[WORDS_MAX], struct error *error)
{
    int result = workspace_configure(changes->workspace, !changes->guest, error);

    if (result == 0)
        result = plain_command(changes, "reload", error);
    if (result == 0)
        changes->guest = !changes->guest;
    ignore(snprintf(words, WORDS_MAX, "configuration reloaded: one listener %s",
                    changes->guest ? "more" : "fewer"));
    return result;
}

static int upgrade(struct changes *changes, char words[WORDS_MAX], struct error *error)
{
    ignore(string_copy(words, WORDS_MAX, "program upgraded: every process was replaced"));
    return plain_command(changes, "upgrade", error);
}

/* ---- by signal ---- */

struct relay {
    pid_t pid;
    unsigned index;
    uint64_t sessions;
    bool alive;
};

/* Out of the daemon's status: the relay number `number`, counted round. */
static int find_relay(const json_t *status, unsigned number, struct relay *ret_relay,
                      struct error *error)
{
    const json_t *relays[64] = {NULL}, *processes = json_object_get(status, "processes");
    unsigned count = 0;

    for (size_t i = 0; i < json_array_size(processes) && count < ARRAY_SIZE(relays); i++) {
        const json_t *process = json_array_get(processes, i);
        if (strcmp(client_text(process, "kind"), "relay") == 0)
            relays[count++] = process;
    }
    if (count == 0)
        return error_set(error, ERROR_PROTOCOL, "the daemon shows no relay");
    const json_t *relay = relays[number % count];
    *ret_relay = (struct relay){.pid = (pid_t)client_number(relay, "pid"),
                                .index = number % count,
                                .sessions = client_number(relay, "sessions"),
                                .alive = client_flag(relay, "alive")};
    return 0;
}

static int ask_relay(const struct changes *changes, struct relay *ret_relay, struct error *error)
{
    struct client_options options = {.config_path = changes->config};
    struct client client = {.fd = -1};
    json_t *status = NULL;

    int result =
        client_open(&client, &options, json_pack("{s:s}", "verb", "status"), NULL, 0, error);
    if (result == 0)
        result = client_next(&client, &status, error);
    client_close(&client);
    if (result >= 0)
        result = find_relay(status, changes->kills, ret_relay, error);
    json_decref(status);
    return result;
}

static int wait_successor(const struct changes *changes, const struct relay *killed,
                          struct error *error)
{
    uint64_t deadline_ns = clock_monotonic_ns() + SUCCESSOR_NS;
    struct relay successor;

    while (clock_monotonic_ns() < deadline_ns) {
        int result = ask_relay(changes, &successor, error);
        if (result != 0)
            return result;
        if (successor.pid != killed->pid && successor.pid > 0 && successor.alive)
            return 0;
        ignore(poll(NULL, 0, SUCCESSOR_POLL_MS));
    }
    return error_set(error, ERROR_TIMEOUT, "relay %u has no successor after %llu s", killed->index,
                     (unsigned long long)(SUCCESSOR_NS / NS_PER_S));
}

static int kill_relay(struct changes *changes, char words[WORDS_MAX], struct error *error)
{
    struct relay relay;
    int result = ask_relay(changes, &relay, error);

    if (result != 0)
        return result;
    scoreboard_change_begins(changes->board, CHANGE_KILL); /* only now, to be exact */
    if (relay.pid <= 0 || kill(relay.pid, SIGKILL) != 0)
        return error_set(error, ERROR_IO, "cannot kill relay %u, process %d: %s", relay.index,
                         (int)relay.pid, strerror(errno));
    result = wait_successor(changes, &relay, error);
    ignore(snprintf(words, WORDS_MAX, "relay %u killed: its %" PRIu64 " sessions went on",
                    relay.index, relay.sessions));
    changes->kills++;
    return result;
}

/* ---- the rotation ---- */

static change_fn *const makers[CHANGE_COUNT] = {[CHANGE_CERTIFICATE] = replace_certificate,
                                                [CHANGE_KILL] = kill_relay,
                                                [CHANGE_RELOAD] = reload,
                                                [CHANGE_UPGRADE] = upgrade};

static const enum demo_change rotation[] = {CHANGE_CERTIFICATE, CHANGE_KILL, CHANGE_RELOAD,
                                            CHANGE_CERTIFICATE, CHANGE_KILL, CHANGE_UPGRADE};

static void make(struct changes *changes, enum demo_change change)
{
    char words[WORDS_MAX];
    struct error error = {0};

    scoreboard_change_begins(changes->board, change);
    if (makers[change](changes, words, &error) == 0)
        scoreboard_change_ends(changes->board, change, words);
    else
        scoreboard_fault(changes->board, &changes->board->failed, error.message);
}

/* False when the demo ends. */
static bool rest(const sigset_t *ending, unsigned ms)
{
    struct timespec pause = {.tv_sec = ms / 1000, .tv_nsec = (long)(ms % 1000) * (long)NS_PER_MS};

    return sigtimedwait(ending, NULL, &pause) < 0;
}

int changes_run(const struct workspace *workspace, struct scoreboard *board)
{
    struct changes changes = {.workspace = workspace, .board = board};
    sigset_t ending;

    ignore(string_copy(changes.config, sizeof changes.config, workspace->config));
    sigemptyset(&ending);
    sigaddset(&ending, SIGTERM);
    if (sigprocmask(SIG_BLOCK, &ending, NULL) != 0)
        return 1;
    while (__atomic_load_n(&board->complete, __ATOMIC_ACQUIRE) == 0) {
        if (!rest(&ending, START_POLL_MS))
            return 0;
    }
    for (size_t i = 0; rest(&ending, CHANGES_PAUSE_MS); i = (i + 1) % ARRAY_SIZE(rotation))
        make(&changes, rotation[i]);
    return 0;
}
