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
    unsigned kills;
    bool guest; /* the listener that comes and goes is there */
};

/* Makes the change and puts it into words; false with `error` filled when it could not be made. */
typedef bool change_fn(struct changes *changes, char words[WORDS_MAX], struct error *error);

/* ---- by command ---- */

/* The first line of what a command printed. */
static void first_line(int fd, char *text, size_t size)
{
    ssize_t got = pread(fd, text, size - 1, 0);

    text[got > 0 ? got : 0] = '\0';
    text[strcspn(text, "\n")] = '\0';
}

/* `holdfast VERB …`: up to three words, then NULL. */
static bool command(const struct changes *changes, const char *const verb[3], struct error *error)
{
    char texts[4][24] = {"holdfast"}, option[] = "-c", said[400],
         config[sizeof changes->workspace->config];
    char *arguments[8] = {texts[0]};
    struct process process;
    size_t count = 1;

    for (; count < ARRAY_SIZE(texts) && verb[count - 1] != NULL; count++) {
        ignore(string_copy(texts[count], sizeof texts[count], verb[count - 1]));
        arguments[count] = texts[count];
    }
    ignore(string_copy(config, sizeof config, changes->workspace->config));
    arguments[count++] = option;
    arguments[count] = config;
    int output = memfd_create("output", MFD_CLOEXEC);
    if (output < 0)
        return error_set(error, ERROR_IO, "no memory for output: %s", strerror(errno)) == 0;
    bool done = process_execute(&process, verb[0], changes->workspace->program, arguments, output,
                                error) == 0;
    if (done && !process_wait(&process)) {
        first_line(output, said, sizeof said);
        ignore(error_set(error, ERROR_PEER, "%s", said[0] != '\0' ? said : "it said nothing"));
        done = false;
    }
    ignore(close(output));
    return done;
}

static bool replace_certificate(struct changes *changes, char words[WORDS_MAX], struct error *error)
{
    static const char *const verb[] = {"cert", "renew", "localhost"};

    ignore(string_copy(words, WORDS_MAX, "certificate replaced"));
    return command(changes, verb, error);
}

static bool reload(struct changes *changes, char words[WORDS_MAX], struct error *error)
{
    static const char *const verb[] = {"reload", NULL, NULL};

    if (workspace_configure(changes->workspace, !changes->guest, error) != 0 ||
        !command(changes, verb, error))
        return false;
    changes->guest = !changes->guest;
    ignore(snprintf(words, WORDS_MAX, "configuration reloaded: one listener %s",
                    changes->guest ? "more" : "fewer"));
    return true;
}

static bool upgrade(struct changes *changes, char words[WORDS_MAX], struct error *error)
{
    static const char *const verb[] = {"upgrade", NULL, NULL};

    ignore(string_copy(words, WORDS_MAX, "program upgraded: every process was replaced"));
    return command(changes, verb, error);
}

/* ---- by signal ---- */

struct relay {
    pid_t pid;
    uint64_t sessions;
    unsigned count; /* of all relays */
    bool alive;
};

/* What the daemon says of its relay number `index`, counted round. */
static bool ask_relay(const struct changes *changes, unsigned index, struct relay *ret_relay,
                      struct error *error)
{
    struct client_options options = {.config_path = changes->workspace->config};
    struct client client = {.fd = -1};
    const json_t *found[64] = {NULL};
    json_t *status = NULL, *process;
    unsigned count = 0;
    size_t i;

    int result =
        client_open(&client, &options, json_pack("{s:s}", "verb", "status"), NULL, 0, error);
    if (result == 0)
        result = client_next(&client, &status, error);
    client_close(&client);
    json_array_foreach(json_object_get(status, "processes"), i, process)
    {
        if (strcmp(client_text(process, "kind"), "relay") == 0 && count < ARRAY_SIZE(found))
            found[count++] = process;
    }
    if (count > 0) {
        const json_t *relay = found[index % count];
        *ret_relay = (struct relay){.pid = (pid_t)client_number(relay, "pid"),
                                    .sessions = client_number(relay, "sessions"),
                                    .count = count,
                                    .alive = client_flag(relay, "alive")};
    } else if (result >= 0) {
        ignore(error_set(error, ERROR_PROTOCOL, "the daemon shows no relay"));
    }
    json_decref(status);
    return count > 0;
}

static bool wait_successor(const struct changes *changes, const struct relay *killed,
                           struct relay *ret_relay, struct error *error)
{
    uint64_t deadline_ns = clock_monotonic_ns() + SUCCESSOR_NS;

    while (clock_monotonic_ns() < deadline_ns) {
        if (!ask_relay(changes, changes->kills, ret_relay, error))
            return false;
        if (ret_relay->pid != killed->pid && ret_relay->pid > 0 && ret_relay->alive)
            return true;
        ignore(poll(NULL, 0, SUCCESSOR_POLL_MS));
    }
    return error_set(error, ERROR_TIMEOUT, "no successor within %llu s",
                     (unsigned long long)(SUCCESSOR_NS / NS_PER_S)) == 0;
}

static bool kill_relay(struct changes *changes, char words[WORDS_MAX], struct error *error)
{
    struct relay killed, successor;

    if (!ask_relay(changes, changes->kills, &killed, error))
        return false;
    scoreboard_change_begins(changes->board, CHANGE_KILL); /* only now, to be exact */
    if (killed.pid <= 0 || kill(killed.pid, SIGKILL) != 0)
        return error_set(error, ERROR_IO, "cannot kill process %d: %s", (int)killed.pid,
                         strerror(errno)) == 0;
    if (!wait_successor(changes, &killed, &successor, error))
        return false;
    ignore(snprintf(words, WORDS_MAX, "relay %u killed: its %" PRIu64 " sessions went on",
                    changes->kills % killed.count, killed.sessions));
    changes->kills++;
    return true;
}

/* ---- the rotation ---- */

static const struct {
    const char *name;
    change_fn *fn;
} kinds[CHANGE_COUNT] = {[CHANGE_CERTIFICATE] = {"holdfast cert renew", replace_certificate},
                         [CHANGE_KILL] = {"killing a relay", kill_relay},
                         [CHANGE_RELOAD] = {"holdfast reload", reload},
                         [CHANGE_UPGRADE] = {"holdfast upgrade", upgrade}};

static const enum demo_change rotation[] = {CHANGE_CERTIFICATE, CHANGE_KILL, CHANGE_RELOAD,
                                            CHANGE_CERTIFICATE, CHANGE_KILL, CHANGE_UPGRADE};

static void make(struct changes *changes, enum demo_change change)
{
    char words[WORDS_MAX];
    struct error error = {0};

    scoreboard_change_begins(changes->board, change);
    if (kinds[change].fn(changes, words, &error)) {
        scoreboard_change_ends(changes->board, change, words);
    } else {
        ignore(error_prepend(&error, "%s", kinds[change].name));
        scoreboard_fault(changes->board, &changes->board->failed, error.message);
    }
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
