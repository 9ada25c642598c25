/* holdfast demo: see sessions stay while everything under them changes. */
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cmd/cmd.h"
#include "demo/demo.h"

#define EXIT_BROKEN 6 /* the class "a check found a defect" */

static const char usage[] =
    "Usage: holdfast demo [--once SECONDS] [--sessions N] [--port P]\n"
    "\n"
    "Starts a complete edge on loopback with a certificate authority of its own: a\n"
    "web application and an echo server behind it, long-lived TLS sessions (half TLS\n"
    "1.3, half TLS 1.2) that exchange numbered messages. About every two seconds\n"
    "something changes under them: in turn the certificate is replaced, a relay\n"
    "killed with SIGKILL, the configuration reloaded, the program upgraded to\n"
    "itself. The scoreboard counts what is lost on the way. Nothing is configured,\n"
    "nothing is left behind.\n"
    "\n"
    "Options:\n"
    "      --once SECONDS  end after so many seconds of full operation; without it,\n"
    "                      Ctrl-C ends the demo\n"
    "      --sessions N    synthetic sessions (default 300)\n"
    "      --port P        port of the web page (default 8443, or another one when\n"
    "                      that is in use)\n"
    "  -h, --help          this text\n"
    "\n"
    "Exit codes: 0 nothing was lost, no change failed and, with --once, each kind of\n"
    "change was made (from 15 s on) and seen; 6 otherwise; 2 wrong usage, 3 the\n"
    "system refused, 70 internal error.\n";

static int read_number(const char *option, const char *text, unsigned long minimum,
                       unsigned long maximum, unsigned long *ret_number)
{
    char *end;

    *ret_number = strtoul(text, &end, 10);
    if (text[0] >= '0' && text[0] <= '9' && *end == '\0' && *ret_number >= minimum &&
        *ret_number <= maximum)
        return 0;
    fprintf(stderr, "holdfast demo: --%s: found \"%s\"; expected a number from %lu to %lu\n",
            option, text, minimum, maximum);
    return -1;
}

int cmd_demo(int argc, char **argv)
{
    static const struct option options[] = {{"once", required_argument, NULL, 'o'},
                                            {"sessions", required_argument, NULL, 's'},
                                            {"port", required_argument, NULL, 'p'},
                                            {"help", no_argument, NULL, 'h'},
                                            {NULL, 0, NULL, 0}};
    struct demo_options demo = {.sessions = DEMO_SESSIONS_DEFAULT};
    struct error error = {0};
    bool unbroken = false;
    unsigned long number;
    int option;

    while ((option = getopt_long(argc, argv, "h", options, NULL)) != -1) {
        switch (option) {
        case 'o':
            if (read_number("once", optarg, 1, 86400, &number) < 0)
                return 2;
            demo.once_s = (uint32_t)number;
            break;
        case 's':
            if (read_number("sessions", optarg, 1, DEMO_SESSIONS_MAX, &number) < 0)
                return 2;
            demo.sessions = (uint32_t)number;
            break;
        case 'p':
            if (read_number("port", optarg, 1, 65535, &number) < 0)
                return 2;
            demo.port = (uint16_t)number;
            break;
        default:
            fputs(option == 'h' ? usage : "Try: holdfast demo --help\n",
                  option == 'h' ? stdout : stderr);
            return option == 'h' ? 0 : 2;
        }
    }
    if (optind < argc) {
        fprintf(stderr, "holdfast demo: takes only options, found \"%s\"; see --help\n",
                argv[optind]);
        return 2;
    }
    if (demo_run(&demo, &unbroken, &error) < 0) {
        fprintf(stderr, "holdfast demo: %s\n", error.message);
        return error_exit_code(&error);
    }
    return unbroken ? 0 : EXIT_BROKEN;
}
