/* holdfast config test|show: is the configuration right, and what does it mean with all defaults?
 */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <grp.h>
#include <limits.h>
#include <inttypes.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "admin/control_client.h"
#include "base/string.h"
#include "cmd/cmd.h"
#include "cmd/config_history.h"
#include "cmd/config_pairs.h"
#include "conf/conf.h"
#include "tls/governor.h"
#include "edge/key_encryption.h"
#include "watch/configured.h"

static const char usage[] =
    "Usage: holdfast config test [-c FILE]\n"
    "       holdfast config show [-c FILE]\n"
    "       holdfast config history [-c FILE | --socket PATH] [--json]\n"
    "       holdfast config rollback [N] [-c FILE | --socket PATH] [--json]\n"
    "       holdfast config confirm [-c FILE | --socket PATH] [--json]\n"
    "\n"
    "  test  Checks the configuration whole, that the daemon could open every file\n"
    "        that it names, and that certificates from files would pass the\n"
    "        pre-flight.\n"
    "  show  Prints the effective configuration, with all defaults, in the syntax of\n"
    "        the file.\n"
    "  history   Lists the last ten configurations that the running daemon accepted.\n"
    "  rollback  Puts one of them in force again: number N, or the one before.\n"
    "  confirm   Keeps a configuration that was loaded with `holdfast reload\n"
    "            --confirm`.\n"
    "\n"
    "Options:\n"
    "  -c, --config FILE  the configuration (default " CONF_PATH_DEFAULT ")\n"
    "      --socket PATH  control socket of the daemon (history, rollback, confirm)\n"
    "      --json         machine-readable output (the same)\n"
    "  -h, --help         this text\n"
    "\n"
    "Errors and warnings go to standard error as FILE:LINE: text.\n"
    "Exit codes: 0 right, 2 wrong usage or configuration, 3 a file or the state\n"
    "folder cannot be used, 6 a certificate would be refused.\n";

static int fail(const struct error *error)
{
    fprintf(stderr, "%s\n", error->message);
    return error_exit_code(error);
}

/* ---- the state folder ---- */

/* Whether the user, with all its groups, may write into the folder; root asks in a child that
 * becomes this user. */
static bool writable_by(const struct passwd *user, const char *folder)
{
    int status;

    if (geteuid() != 0)
        return faccessat(AT_FDCWD, folder, W_OK | X_OK, AT_EACCESS) == 0;
    fflush(NULL);
    pid_t child = fork();
    if (child == 0) {
        bool allowed = initgroups(user->pw_name, user->pw_gid) == 0 && setgid(user->pw_gid) == 0 &&
                       setuid(user->pw_uid) == 0 &&
                       faccessat(AT_FDCWD, folder, W_OK | X_OK, AT_EACCESS) == 0;
        _exit(allowed ? 0 : 1);
    }
    return child > 0 && waitpid(child, &status, 0) == child && WIFEXITED(status) &&
           WEXITSTATUS(status) == 0;
}

/* A missing folder is made by the daemon, inside one that must be there. */
static int check_missing_folder(const struct conf *conf, struct error *error)
{
    const char *slash = strrchr(conf->state_folder, '/');
    char *parent = strndup(conf->state_folder,
                           slash == conf->state_folder ? 1 : (size_t)(slash - conf->state_folder));

    if (parent == NULL)
        return error_set(error, ERROR_MEMORY, "out of memory");
    int code = 0;
    if (faccessat(AT_FDCWD, parent, W_OK | X_OK, AT_EACCESS) != 0)
        code = error_set(error, ERROR_IO,
                         "%s: state-folder: %s does not exist and cannot be made: %s: %s; make it "
                         "for the daemon's user, or write state-folder = \"/a/folder/of/yours\"",
                         conf->path, conf->state_folder, parent, strerror(errno));
    free(parent);
    return code;
}

static int check_state_folder(const struct conf *conf, const struct passwd *user,
                              struct error *error)
{
    struct stat status;

    if (stat(conf->state_folder, &status) != 0) {
        if (errno == ENOENT)
            return check_missing_folder(conf, error);
        return error_set(error, ERROR_IO, "%s: state-folder: %s: %s", conf->path,
                         conf->state_folder, strerror(errno));
    }
    if (!S_ISDIR(status.st_mode))
        return error_set(error, ERROR_IO, "%s: state-folder: %s is no folder", conf->path,
                         conf->state_folder);
    if (!writable_by(user, conf->state_folder))
        return error_set(
            error, ERROR_IO,
            "%s: state-folder: user %s may not write into %s; give it to this user, or "
            "name another folder",
            conf->path, user->pw_name, conf->state_folder);
    return 0;
}

/* Each writing of a shared file of ticket keys replaces it. */
static int check_ticket_folder(const struct conf *conf, const struct passwd *user,
                               struct error *error)
{
    const char *path = conf->ticket_keys_file, *slash = path == NULL ? NULL : strrchr(path, '/');
    char folder[PATH_MAX];

    if (slash == NULL)
        return 0;
    ignore(snprintf(folder, sizeof folder, "%.*s", slash == path ? 1 : (int)(slash - path), path));
    return writable_by(user, folder)
               ? 0
               : error_set(
                     error, ERROR_IO,
                     "%s: ticket-keys-file: user %s may not write into %s, or it is not there",
                     conf->path, user->pw_name, folder);
}

/* Started as root, the daemon's workers run as the configured user; else everything runs as who
 * starts it, who need not have a name (in containers). */
static int check_user(const struct conf *conf, const struct passwd **ret_user, struct error *error)
{
    static char name[32];
    static struct passwd nameless = {.pw_name = name};
    uid_t uid = geteuid();
    const struct passwd *user = uid == 0 ? getpwnam(conf->user) : getpwuid(uid);

    if (user == NULL && uid == 0)
        return error_set(
            error, ERROR_CONFIG,
            "%s: user: there is no user '%s' on this machine; expected one that exists", conf->path,
            conf->user);
    if (user == NULL) {
        ignore(snprintf(name, sizeof name, "%u", (unsigned)uid));
        nameless.pw_uid = uid;
        user = &nameless;
    }
    *ret_user = user;
    return 0;
}

/* ---- the two verbs ---- */

static const char *plural(size_t count)
{
    return count == 1 ? "" : "s";
}

static void print_summary(const struct conf *conf, const struct passwd *user)
{
    size_t servers = 0, targets = 0;

    for (size_t i = 0; i < conf->upstream_count; i++)
        servers += conf->upstreams[i].server_count;
    for (size_t i = 0; i < conf->watch_count; i++)
        targets += conf->watches[i].targets.count;
    printf("%s: ok (", conf->path);
    if (conf->listener_count != 0)
        printf("%zu listener%s, %zu upstream%s with %zu server%s, %zu certificate%s",
               conf->listener_count, plural(conf->listener_count), conf->upstream_count,
               plural(conf->upstream_count), servers, plural(servers), conf->certificate_count,
               plural(conf->certificate_count));
    if (conf->watch_count != 0)
        printf("%s%zu watch%s with %zu target%s", conf->listener_count != 0 ? ", " : "",
               conf->watch_count, conf->watch_count == 1 ? "" : "es", targets, plural(targets));
    puts(")");
    if (geteuid() == 0)
        printf("Files were opened as root, as the supervisor does; the state folder was checked "
               "for user %s.\n",
               user->pw_name);
    else
        printf("Files and the state folder were checked for user %s: valid when the same user "
               "starts the daemon.\n",
               user->pw_name);
}

static int config_test(const struct conf *conf)
{
    const struct passwd *user = NULL;
    struct config_files files;
    struct error error = {0};

    if (check_user(conf, &user, &error) != 0)
        return fail(&error);
    if (configured_check(conf, true, stderr) != 0)
        return error_exit_code(&(struct error){.code = ERROR_CONFIG});
    config_files_open(&files, conf, NULL, stderr);
    int code = 0;
    if (check_state_folder(conf, user, &error) != 0 || check_ticket_folder(conf, user, &error) != 0)
        code = fail(&error);
    else if (files.failures != 0)
        code = error_exit_code(&(struct error){.code = ERROR_IO});
    else if (key_encryption_check(conf, user->pw_uid, &error) != 0)
        code = fail(&error);
    else if (config_check_pairs(conf, NULL, &files, stderr) != 0)
        code = error_exit_code(&(struct error){.code = ERROR_CERTIFICATE_UNPARSABLE});
    else
        print_summary(conf, user);
    config_files_close(&files);
    return code;
}

/* What `traffic-key-probability` comes to, as comments: the text stays a configuration. */
static void print_key_limits(const struct conf *conf)
{
    char soft_text[32], hard_text[32];

    for (size_t i = 0; i < conf->listener_count; i++) {
        const struct conf_listener *listener = &conf->listeners[i];
        struct key_limits limits;

        if (listener->mode == CONF_MODE_PASS_THROUGH)
            continue;
        governor_limits(conf, listener, suite_find(TLS_VERSION_1_3, 0x1301), &limits);
        printf("# listener %s: AES-GCM keys are renewed after %" PRIu64 " blocks (%s), hard limit "
               "%" PRIu64 " blocks (%s)\n",
               listener->name, limits.blocks_soft,
               string_bytes(soft_text, sizeof soft_text, limits.blocks_soft * 16),
               limits.blocks_hard,
               string_bytes(hard_text, sizeof hard_text, limits.blocks_hard * 16));
    }
}

static int config_show(const struct conf *conf)
{
    char *text = conf_show(conf);

    if (text == NULL)
        return fail(&(struct error){.code = ERROR_MEMORY, .message = "out of memory"});
    fputs(text, stdout);
    print_key_limits(conf);
    free(text);
    return 0;
}

static void print_warning(void *context, unsigned line, const char *text)
{
    const char *const *path = context;

    if (line == 0)
        fprintf(stderr, "%s: warning: %s\n", *path, text);
    else
        fprintf(stderr, "%s:%u: warning: %s\n", *path, line, text);
}

static int run(const char *path, bool test)
{
    struct conf *conf = NULL;
    struct error error = {0};
    char *text = NULL;

    int code = conf_read(&text, path, &error);
    if (code == 0)
        code = conf_parse(&conf, path, text, test ? print_warning : NULL, &path, &error);
    int exit_code = code != 0 ? fail(&error) : test ? config_test(conf) : config_show(conf);
    conf_free(conf);
    free(text);
    return exit_code;
}

static int fail_usage(const char *what)
{
    if (what != NULL)
        fprintf(stderr, "holdfast config: %s\n", what);
    fprintf(stderr, "Try: holdfast config --help\n");
    return error_exit_code(&(struct error){.code = ERROR_USAGE});
}

int cmd_config(int argc, char **argv)
{
    static const struct option long_options[] = {CLIENT_LONG_OPTIONS, {0}};
    struct client_options options = {.json = false};
    int option;

    optind = 1;
    while ((option = getopt_long(argc, argv, CLIENT_SHORT_OPTIONS, long_options, NULL)) != -1) {
        if (option == 'h') {
            fputs(usage, stdout);
            return 0;
        }
        if (option == '?')
            return fail_usage(NULL); /* getopt has said what is wrong */
        ignore(client_option(&options, option, usage));
    }
    if (optind < argc && config_history_knows(argv[optind]))
        return config_history(argc - optind, argv + optind, &options);
    if (options.json || options.socket_path != NULL)
        return fail_usage("--json and --socket go with history, rollback and confirm");
    const char *path = options.config_path;
    if (optind + 1 != argc)
        return fail_usage(optind == argc ? "expected test, show, history, rollback or confirm"
                                         : "expected one of test and show, and nothing behind it");
    bool test = strcmp(argv[optind], "test") == 0;
    if (!test && strcmp(argv[optind], "show") != 0)
        return fail_usage("expected test, show, history, rollback or confirm, found another word");
    return run(path != NULL ? path : CONF_PATH_DEFAULT, test);
}
