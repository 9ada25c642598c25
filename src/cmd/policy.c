/* holdfast policy: what holds here, as a document; and whether it is what others advise. */
#include "cmd/policy.h"

#include <string.h>

#include "admin/policy.h"
#include "base/attributes.h"
#include "cmd/cmd.h"

#define VERB         "policy"
#define DOCUMENT_MAX (32u << 20)

static const char usage[] =
    "Usage: holdfast policy [-c FILE | --socket PATH] [--offline] [--json]\n"
    "       holdfast policy lint --help\n"
    "\n"
    "Prints the policy document of the running daemon as Markdown: for each listener\n"
    "what is allowed and what a client gets that does not keep to it; then what is\n"
    "known of families of clients.\n"
    "\n"
    "Options:\n"
    "      --offline       of the file that -c names; no daemon is asked\n" CLIENT_OPTIONS_HELP
    "\n" CLIENT_EXIT_HELP;

enum { OPTION_OFFLINE = CLIENT_OPTION_LAST };

static int print(const struct policy_source *source, bool json)
{
    json_t *policy = policy_to_json(source->conf);
    struct buffer text;

    if (json) {
        client_print_json(stdout, policy);
    } else {
        buffer_init(&text, DOCUMENT_MAX);
        policy_to_markdown(policy, &text);
        fputs(buffer_text(&text), stdout);
        buffer_fini(&text);
    }
    json_decref(policy);
    return 0;
}

int cmd_policy(int argc, char **argv)
{
    static const struct option long_options[] = {
        CLIENT_LONG_OPTIONS, {"offline", no_argument, NULL, OPTION_OFFLINE}, {0}};
    struct client_options options = {.json = false};
    struct policy_source source = {0};
    struct error error = {0};
    bool offline = false;
    int option;

    if (argc >= 2 && strcmp(argv[1], "lint") == 0)
        return policy_lint(argc - 1, argv + 1);
    while ((option = getopt_long(argc, argv, CLIENT_SHORT_OPTIONS, long_options, NULL)) != -1) {
        if (option == OPTION_OFFLINE) {
            offline = true;
            continue;
        }
        int code = client_option(&options, option, usage);
        if (code >= 0)
            return code;
    }
    if (optind < argc) {
        fprintf(stderr, "holdfast policy: found \"%s\"; expected lint or options; see --help\n",
                argv[optind]);
        return 2;
    }
    int code = offline ? policy_source_file(&source, options.config_path, &error)
                       : policy_source_running(&source, &options, &error);
    if (code < 0)
        return client_fail(VERB, &error);
    code = print(&source, options.json);
    policy_source_fini(&source);
    return code;
}
