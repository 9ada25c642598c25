#include "cmd/worker_check.h"

#include <errno.h>
#include <grp.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "base/secret.h"
#include "cmd/config_pairs.h"
#include "edge/key_encryption.h"
#include "edge/worker.h"
#include "ipc/memory.h"
#include "tls/handshake.h"
#include "watch/configured.h"

#define DOCUMENT_MAX (64u << 20)

static int read_conf(struct conf **ret_conf, int fd, const char *path, struct error *error)
{
    size_t size;
    char *text = memory_document_read(fd, DOCUMENT_MAX, &size);

    if (text == NULL)
        return error_set(error, ERROR_IO, "cannot read the configuration passed on");
    int result = conf_parse_internal(ret_conf, path, text, error);
    free(text);
    return result;
}

/* Returns the step that failed, or NULL. */
static const char *drop_privileges(const char *user, const char *group)
{
    if (strcmp(user, "-") == 0)
        return NULL;
    uid_t uid = (uid_t)strtoul(user, NULL, 10);
    gid_t gid = (gid_t)strtoul(group, NULL, 10);
    return setgroups(0, NULL) != 0                     ? "setgroups"
           : setresgid(gid, gid, gid) != 0             ? "setresgid"
           : uid == 0 || setresuid(uid, uid, uid) != 0 ? "setresuid"
                                                       : NULL;
}

static int check(const struct conf *conf, const struct conf *before, char **argv, FILE *report)
{
    struct config_files files;
    struct error error = {0};

    config_files_open(&files, conf, before, report);
    if (files.failures == 0 &&
        key_encryption_check(conf, (uid_t)strtoul(argv[2], NULL, 10), &error) < 0) {
        fprintf(report, "%s: %s\n", conf->path, error.message);
        files.failures++;
    }
    const char *failed = drop_privileges(argv[2], argv[3]);
    if (failed != NULL) {
        fprintf(report, "cannot drop privileges (%s): %s\n", failed, strerror(errno));
        return 70;
    }
    size_t refused = configured_check(conf, false, report);
    int code = files.failures != 0                                     ? 3
               : refused != 0                                          ? 6
               : config_check_pairs(conf, before, &files, report) != 0 ? 6
                                                                       : 0;
    config_files_close(&files);
    return code;
}

int worker_check(int argc, char **argv)
{
    struct conf *conf = NULL, *before = NULL;
    struct error error = {0};

    if (argc != 5)
        return 2;
    ignore(prctl(PR_SET_PDEATHSIG, SIGKILL));
    secret_harden_process();
    tls_process_init();
    FILE *report = fdopen(WORKER_CHANNEL_FD, "w");
    if (report == NULL)
        return 70;
    int code = 70;
    if (read_conf(&conf, WORKER_CHECK_NEXT_FD, argv[4], &error) < 0 ||
        read_conf(&before, WORKER_CHECK_CURRENT_FD, argv[4], &error) < 0)
        fprintf(report, "%s\n", error.message);
    else
        code = check(conf, before, argv, report);
    if (fclose(report) != 0)
        code = 70;
    conf_free(conf);
    conf_free(before);
    return code;
}
