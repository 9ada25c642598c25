/* holdfast run: the daemon, in the foreground. */
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cmd/cmd.h"
#include "conf/conf.h"
#include "edge/supervisor.h"
#include "watch/configured.h"

static void usage(FILE *to)
{
    fputs("Usage: holdfast run [-c FILE]\n\n"
          "Runs the edge in the foreground until SIGTERM or SIGINT. Events go to standard\n"
          "output as JSON lines.\n\n"
          "Options:\n"
          "  -c, --config FILE   the configuration (default " CONF_PATH_DEFAULT ")\n"
          "  -h, --help          this text\n\n"
          "Exit codes: 0 stopped as asked, 2 wrong usage or configuration, 3 the system\n"
          "refused, 70 internal error.\n",
          to);
}

static void print_warning(void *context, unsigned line, const char *text)
{
    const char *path = context;

    if (line != 0)
        fprintf(stderr, "%s:%u: warning: %s\n", path, line, text);
    else
        fprintf(stderr, "%s: warning: %s\n", path, text);
}

int cmd_run(int argc, char **argv)
{
    static const struct option options[] = {{"config", required_argument, NULL, 'c'},
                                            {"help", no_argument, NULL, 'h'},
                                            {NULL, 0, NULL, 0}};
    struct error error = {0};
    struct conf *conf = NULL;
    char path_default[] = CONF_PATH_DEFAULT, *path = path_default, *text = NULL;
    int option;

    /* As an upgrade executes it: run -c FILE --house DESCRIPTOR [WHY IT RETURNED] */
    if (argc >= 5 && strcmp(argv[3], "--house") == 0)
        return supervisor_resume((int)strtol(argv[4], NULL, 10), argc > 5 ? argv[5] : NULL);

    while ((option = getopt_long(argc, argv, "c:h", options, NULL)) != -1) {
        if (option == 'c') {
            path = optarg;
        } else {
            if (option == 'h')
                usage(stdout);
            else
                fputs("Try: holdfast run --help\n", stderr);
            return option == 'h' ? 0 : 2;
        }
    }
    if (optind < argc) {
        fprintf(stderr, "holdfast run: takes only options, found \"%s\"; see --help\n",
                argv[optind]);
        return 2;
    }
    if (conf_read(&text, path, &error) < 0 ||
        conf_parse(&conf, path, text, print_warning, path, &error) < 0) {
        fprintf(stderr, "holdfast: %s\n", error.message);
        free(text);
        return error_exit_code(&error);
    }
    int code = configured_check(conf, true, stderr) != 0
                   ? error_exit_code(&(struct error){.code = ERROR_CONFIG})
                   : supervisor_run(conf, text);
    free(text);
    conf_free(conf);
    return code;
}
