/* holdfast: the table of verbs. */
#include <errno.h>
#include <limits.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "base/attributes.h"
#include "base/string.h"
#include "cmd/cmd.h"

#define WORD_MAX 32

static const struct verb {
    const char *name;
    int (*run)(int argc, char **argv);
    const char *help; /* NULL: not shown */
} verbs[] = {
    {"run", cmd_run, "run the edge with a configuration"},
    {"config", cmd_config, "test or show a configuration; history, rollback, confirm"},
    {"reload", cmd_reload, "put the changed configuration in force, or say what it would change"},
    {"demo", cmd_demo, "see sessions outlive certificates, processes and programs"},
    {"status", cmd_status, "what is going on in the running daemon"},
    {"sessions", cmd_sessions, "list or close sessions"},
    {"certs", cmd_certs, "the certificates in service"},
    {"cert", cmd_cert, "install or renew a certificate"},
    {"check", cmd_check, "look at servers and certificate files as the strictest client does"},
    {"explain", cmd_explain, "what an error of a client means, and what to do"},
    {"keys", cmd_keys, "ticket and traffic keys: list, renew, who knows them until when"},
    {"keylife", cmd_keylife, "how long may a key be used, by which formula"},
    {"policy", cmd_policy, "what is allowed here, as a document; lint it"},
    {"upstream", cmd_upstream, "list servers; drain, weight, ready"},
    {"upgrade", cmd_upgrade, "another binary in place; every session goes on"},
    {"drain", cmd_drain, "end the sessions of a listener or of all, spread over a time"},
    {"trace", cmd_trace, "follow one client live"},
    {"watch", cmd_watch, "what is watched: days left, history, check now, discover"},
    {"alerts", cmd_alerts, "what is wrong, who was told; acknowledge, silence, try a channel"},
    {"countdown", cmd_countdown, "how many days a host's certificate has left"},
    {"worker", cmd_worker, NULL},
};

static void usage(FILE *to)
{
    fputs("Holdfast: a TLS edge that keeps every session alive while everything under it\n"
          "changes.\n\n"
          "usage: holdfast VERB [options]      (holdfast VERB --help says more)\n\n",
          to);
    for (size_t i = 0; i < ARRAY_SIZE(verbs); i++) {
        if (verbs[i].help != NULL)
            fprintf(to, "  %-10s %s\n", verbs[i].name, verbs[i].help);
    }
}

/* The verb that was meant, if it is clear. */
static const char *nearest(const char *word)
{
    const char *best = NULL;
    unsigned least = 3;

    for (size_t i = 0; i < ARRAY_SIZE(verbs); i++) {
        unsigned distance = verbs[i].help != NULL ? string_distance(word, verbs[i].name) : UINT_MAX;
        if (distance < least && distance < strlen(word)) {
            least = distance;
            best = verbs[i].name;
        }
    }
    return best;
}

static int fail_verb(const char *word)
{
    const char *meant = strlen(word) < WORD_MAX ? nearest(word) : NULL;

    if (meant != NULL)
        fprintf(stderr, "holdfast: there is no verb '%s'; did you mean '%s'?\n", word, meant);
    else
        fprintf(stderr, "holdfast: there is no verb '%s'; holdfast --help lists them\n", word);
    return 2;
}

/* The verb's own first argument is what getopt calls it by in its complaints. */
static int run(const struct verb *verb, int argc, char **argv)
{
    char name[WORD_MAX + 16];

    ignore(snprintf(name, sizeof name, "holdfast %s", verb->name));
    argv[0] = name;
    return verb->run(argc, argv);
}

/* What could not be written was not done: the verb fails, whatever it was. The exit code of one
 * that has failed anyway, or has found something, says more. */
static int look_at_output(const char *name, int code)
{
    bool now = fflush(stdout) != 0;

    if (!now && !ferror(stdout))
        return code;
    if (!now) /* it was earlier, and the reason is forgotten: once more */
        now = putchar('\n') == EOF || fflush(stdout) != 0;
    fprintf(stderr, "holdfast%s%s: cannot write: %s\n", name[0] != '\0' ? " " : "", name,
            now ? strerror(errno) : "standard output has failed");
    return code == 0 ? 3 : code;
}

int main(int argc, char **argv)
{
    /* Ignored by a parent of ours it would stay so: nobody would learn how a child ended. */
    ignore(signal(SIGCHLD, SIG_DFL) == SIG_ERR);
    if (argc < 2) {
        usage(stderr);
        return 2;
    }
    if (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0 ||
        strcmp(argv[1], "help") == 0) {
        usage(stdout);
        return look_at_output("", 0);
    }
    if (strcmp(argv[1], "--version") == 0) {
        puts("holdfast " HOLDFAST_VERSION);
        return look_at_output("", 0);
    }
    for (size_t i = 0; i < ARRAY_SIZE(verbs); i++) {
        if (strcmp(argv[1], verbs[i].name) == 0) {
            int code = run(&verbs[i], argc - 1, argv + 1);
            return verbs[i].help != NULL ? look_at_output(verbs[i].name, code) : code;
        }
    }
    return fail_verb(argv[1]);
}
