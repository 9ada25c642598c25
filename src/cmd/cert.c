/* holdfast cert: puts a certificate in service, or issues a new one. The files are opened here and
 * passed as descriptors: what they hold never stands in a request. */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "admin/control_client.h"
#include "cmd/cmd.h"

static const char usage[] =
    "Usage: holdfast cert install NAME --chain FILE [--key FILE] [--force CODE]...\n"
    "                [-c FILE | --socket PATH]\n"
    "       holdfast cert renew NAME [-c FILE | --socket PATH]\n"
    "\n"
    "install  puts a chain and its key into the managed certificate NAME: pre-flight,\n"
    "         all handshakers, a look from outside; answers when it is served.\n"
    "         Without --key the key stands in the chain file.\n"
    "renew    issues a new certificate (from = internal), or reads the files again\n"
    "         (from = files).\n"
    "\n"
    "Options:\n"
    "      --chain FILE    PEM: the certificate first, then its intermediates\n"
    "      --key FILE      PEM: the private key\n"
    "      --force CODE    accept this finding of the pre-flight, by the name it was\n"
    "                      refused with\n" CLIENT_OPTIONS_HELP "\n" CLIENT_EXIT_HELP;

struct arguments {
    struct client_options client;
    const char *chain, *key;
    json_t *forced;
};

enum { OPTION_CHAIN = CLIENT_OPTION_LAST, OPTION_KEY, OPTION_FORCE };

/* -1: go on; else the exit code. */
static int parse(struct arguments *arguments, int argc, char **argv)
{
    static const struct option long_options[] = {{"chain", required_argument, NULL, OPTION_CHAIN},
                                                 {"key", required_argument, NULL, OPTION_KEY},
                                                 {"force", required_argument, NULL, OPTION_FORCE},
                                                 CLIENT_LONG_OPTIONS,
                                                 {0}};
    int option, code = -1;

    while (code < 0 &&
           (option = getopt_long(argc, argv, CLIENT_SHORT_OPTIONS, long_options, NULL)) != -1) {
        if (option == OPTION_CHAIN)
            arguments->chain = optarg;
        else if (option == OPTION_KEY)
            arguments->key = optarg;
        else if (option == OPTION_FORCE)
            ignore(json_array_append_new(arguments->forced, json_string(optarg)));
        else
            code = client_option(&arguments->client, option, usage);
    }
    return code;
}

static void print_answer(const struct arguments *arguments, const json_t *line)
{
    const json_t *findings = json_object_get(line, "findings");

    if (arguments->client.json) {
        client_print_json(stdout, line);
        return;
    }
    for (size_t i = 0; i < json_array_size(findings); i++) {
        const json_t *finding = json_array_get(findings, i);
        const char *code = client_text(finding, "code");
        if (client_flag(finding, "forced"))
            printf("%s: %s (accepted by --force)\n", code, client_text(finding, "text"));
        else
            printf("%s: %s (holdfast explain %s)\n", code, client_text(finding, "text"), code);
    }
    if (client_number(line, "version") != 0 && client_text(line, "check")[0] != '\0')
        printf("version %llu (%s): %s\n", (unsigned long long)client_number(line, "version"),
               client_text(line, "key_type"), client_text(line, "check"));
}

static int request(const struct arguments *arguments, const char *verb, const char *name,
                   const int *fds, size_t fd_count)
{
    struct error error = {0};
    struct client client = {0};
    json_t *line;
    int result = client_open(
        &client, &arguments->client,
        json_pack("{s:s,s:s,s:O}", "verb", verb, "name", name, "force", arguments->forced), fds,
        fd_count, &error);

    while (result == 0 && (result = client_next(&client, &line, &error)) > 0) {
        print_answer(arguments, line);
        json_decref(line);
        result = 0;
    }
    client_close(&client);
    return result < 0 ? client_fail("cert", &error) : 0;
}

static int open_or_complain(const char *path)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        fprintf(stderr, "holdfast cert: cannot open %s: %s\n", path, strerror(errno));
    return fd;
}

static int install(const struct arguments *arguments, const char *name)
{
    int fds[2] = {-1, -1}, code = 3;

    if (arguments->chain == NULL) {
        fputs("holdfast cert install: --chain FILE is missing; see --help\n", stderr);
        return 2;
    }
    fds[0] = open_or_complain(arguments->chain);
    if (fds[0] >= 0 && arguments->key != NULL)
        fds[1] = open_or_complain(arguments->key);
    if (fds[0] >= 0 && (arguments->key == NULL || fds[1] >= 0))
        code = request(arguments, "cert-install", name, fds, arguments->key == NULL ? 1 : 2);
    for (size_t i = 0; i < ARRAY_SIZE(fds); i++) {
        if (fds[i] >= 0)
            ignore(close(fds[i]));
    }
    return code;
}

int cmd_cert(int argc, char **argv)
{
    struct arguments arguments = {.forced = json_array()};
    int code = parse(&arguments, argc, argv);

    if (code < 0 && argc - optind != 2) {
        fputs("holdfast cert: expected `install NAME --chain FILE` or `renew NAME`; see --help\n",
              stderr);
        code = 2;
    } else if (code < 0 && strcmp(argv[optind], "install") == 0) {
        code = install(&arguments, argv[optind + 1]);
    } else if (code < 0 && strcmp(argv[optind], "renew") == 0) {
        code = request(&arguments, "cert-renew", argv[optind + 1], NULL, 0);
    } else if (code < 0) {
        fprintf(stderr, "holdfast cert: expected install or renew, found \"%s\"; see --help\n",
                argv[optind]);
        code = 2;
    }
    json_decref(arguments.forced);
    return code;
}
