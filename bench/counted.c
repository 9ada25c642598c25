/* Preloaded into Holdfast: its relays run under callgrind, everything else as it comes. What a
 * relay does in user mode can then be counted, whatever else the machine has to do.
 *
 * The filter of system calls is left out: callgrind writes a file at its end. COUNTED_FOLDER says
 * where; the file is callgrind.out.PID there. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define VALGRIND  "/usr/bin/valgrind"
#define WORDS_MAX 16
#define PATH_SIZE 4096

int seccomp_load(void *filter);
int fexecve(int fd, char *const arguments[], char *const environment[]);

int seccomp_load(void *filter)
{
    (void)filter;
    return 0;
}

/* argv[2] of `holdfast worker relay`. */
static int is_relay(char *const arguments[])
{
    return arguments[0] != NULL && arguments[1] != NULL && arguments[2] != NULL &&
           strcmp(arguments[1], "worker") == 0 && strcmp(arguments[2], "relay") == 0;
}

int fexecve(int fd, char *const arguments[], char *const environment[])
{
    char program[PATH_SIZE], link[64], out[PATH_SIZE];
    const char *folder = getenv("COUNTED_FOLDER");

    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    if (folder == NULL || !is_relay(arguments))
        return execve(link, arguments, environment);
    ssize_t size = readlink(link, program, sizeof program - 1);
    if (size < 0)
        return -1;
    program[size] = '\0';
    snprintf(out, sizeof out, "--callgrind-out-file=%s/callgrind.out.%%p", folder);
    char *words[WORDS_MAX] = {VALGRIND, "-q",    "--tool=callgrind", "--collect-systime=usec",
                              out,      program, "worker",           "relay",
                              NULL};
    return execve(VALGRIND, words, environment);
}
