/* holdfast policy lint: is the policy what others advise, and does a change take away too much? */
#include "cmd/policy.h"

#include <string.h>

#include "admin/policy_lint.h"
#include "base/attributes.h"
#include "base/string.h"

#define VERB         "policy"
#define EXIT_FINDING 6

static const char usage[] =
    "Usage: holdfast policy lint [-c FILE | --socket PATH] [--against BASELINE]\n"
    "                            [--changed-from FILE] [--force] [--json]\n"
    "\n"
    "Looks at a configuration file (-c), or at what the daemon at --socket runs with:\n"
    "  against published advice;\n"
    "  at what the change takes away from clients, compared with what the daemon runs\n"
    "  with, or\n"
    "  with the newest of the history when none runs; more than one thing at a time\n"
    "  is a warning;\n"
    "  at time-outs below what 99.9 % of handshakes, sessions and connects took so\n"
    "  far.\n"
    "\n"
    "Options:\n"
    "      --against BASELINE   mozilla-modern, mozilla-intermediate or rfc9325\n"
    "                           (default)\n"
    "      --changed-from FILE  compare with this configuration\n"
    "      --force              show the findings, but end with exit code 0\n" CLIENT_OPTIONS_HELP
    "\n"
    "Exit codes: 0 nothing but notes, 2 wrong usage or configuration, 3 a file cannot\n"
    "be read or the daemon at --socket cannot be reached, 6 a warning or an error was\n"
    "found.\n";

enum { OPTION_AGAINST = CLIENT_OPTION_LAST, OPTION_CHANGED_FROM, OPTION_FORCE };

struct request {
    struct client_options client;
    const struct baseline *baseline;
    const char *changed_from;
    bool force;
};

static int set_baseline(struct request *request, struct error *error)
{
    char shown[64];

    request->baseline = baseline_find(optarg);
    return request->baseline != NULL
               ? 0
               : error_set(error, ERROR_USAGE,
                           "--against: found \"%s\"; expected mozilla-modern, "
                           "mozilla-intermediate or rfc9325",
                           string_printable(shown, sizeof shown, optarg, strlen(optarg)));
}

/* -1: all taken; else the exit code. */
static int parse(struct request *request, int argc, char **argv)
{
    static const struct option long_options[] = {
        CLIENT_LONG_OPTIONS,
        {"against", required_argument, NULL, OPTION_AGAINST},
        {"changed-from", required_argument, NULL, OPTION_CHANGED_FROM},
        {"force", no_argument, NULL, OPTION_FORCE},
        {0}};
    struct error error = {0};
    int option;

    while ((option = getopt_long(argc, argv, CLIENT_SHORT_OPTIONS, long_options, NULL)) != -1) {
        int code = -1;
        if (option == OPTION_AGAINST && set_baseline(request, &error) < 0)
            return client_fail(VERB, &error);
        if (option == OPTION_CHANGED_FROM)
            request->changed_from = optarg;
        else if (option == OPTION_FORCE)
            request->force = true;
        else if (option != OPTION_AGAINST)
            code = client_option(&request->client, option, usage);
        if (code >= 0)
            return code;
    }
    if (client_no_words("policy lint", argc, argv) >= 0)
        return 2;
    return -1;
}

/* What is looked at, and what it is compared with (conf NULL: nothing). */
static int get_sources(const struct request *request, struct policy_source *subject,
                       struct policy_source *before, struct error *error)
{
    bool running = request->client.socket_path != NULL;
    int code = running ? policy_source_running(subject, &request->client, error)
                       : policy_source_file(subject, request->client.config_path, error);

    if (code == 0 && !running && policy_source_running(before, &request->client, NULL) < 0 &&
        request->changed_from == NULL && policy_source_history(before, subject->conf))
        fputs("holdfast policy lint: no daemon answers; compared with the newest configuration of "
              "the history\n",
              stderr);
    if (code == 0 && request->changed_from != NULL) {
        struct policy_source other = {0};
        code = policy_source_file(&other, request->changed_from, error);
        conf_free(before->conf);
        before->conf = other.conf;
    }
    return code;
}

static void print_finding(const json_t *finding)
{
    const char *listener = client_text(finding, "listener"),
               *upstream = client_text(finding, "upstream");
    bool named = listener[0] != '\0' || upstream[0] != '\0';

    printf("%s: %s%s%s%s\n  why: %s\n  do:  %s\n", client_text(finding, "severity"),
           listener[0] != '\0'   ? "listener "
           : upstream[0] != '\0' ? "upstream "
                                 : "",
           listener[0] != '\0' ? listener : upstream, named ? ": " : "",
           client_text(finding, "what"), client_text(finding, "why"), client_text(finding, "do"));
}

static void print_findings(const struct request *request, const json_t *findings)
{
    const struct baseline *baseline = request->baseline;

    if (!request->client.json)
        printf("Against %s %s of %s (%s): %zu findings\n\n", baseline->title, baseline->version,
               baseline->date, baseline->source, json_array_size(findings));
    for (size_t i = 0; i < json_array_size(findings); i++) {
        const json_t *finding = json_array_get(findings, i);
        if (request->client.json)
            client_print_json(stdout, finding);
        else
            print_finding(finding);
    }
}

int policy_lint(int argc, char **argv)
{
    struct request request = {.baseline = baseline_find("rfc9325")};
    struct policy_source subject = {0}, before = {0};
    struct error error = {0};
    json_t *findings = json_array();

    int code = parse(&request, argc, argv);
    if (code < 0 && get_sources(&request, &subject, &before, &error) < 0)
        code = client_fail(VERB, &error);
    if (code < 0) {
        const json_t *facts = subject.facts != NULL ? subject.facts : before.facts;
        policy_lint_baseline(findings, subject.conf, request.baseline);
        if (before.conf != NULL)
            policy_lint_change(findings, before.conf, subject.conf);
        policy_lint_history(findings, subject.conf, json_object_get(facts, "histograms"));
        print_findings(&request, findings);
        code = policy_lint_objects(findings) && !request.force ? EXIT_FINDING : 0;
    }
    policy_source_fini(&subject);
    policy_source_fini(&before);
    json_decref(findings);
    return code;
}
