/* The vault: every configured certificate, where its versions come from, and how a new one goes
 * live.
 *
 * Runs inside control's loop and never blocks on another process. A new pair takes one road,
 * whatever its source: pre-flight, stored (internal, managed), sent to every handshaker, all of
 * them answered, dialled from outside (each address and key type), live. A mismatch found by that
 * dial brings the last good pair back. Only one pair per certificate is on this road at a time.
 *
 * What stays in the state folder: internal-ca.pem and .key, internal/NAME/VERSION.pem,
 * managed/NAME/VERSION.pem (0600), and versions/NAME, which gives the same content the same number
 * after a restart. A write that fails stops nothing but `install`, whose promise it would break; it
 * is reported.
 *
 * Not here: the sockets and channels. Control provides them through struct vault_host and passes on
 * what arrives. */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <sys/inotify.h>

#include "base/error.h"
#include "conf/conf.h"
#include "loop/loop.h"
#include "session/messages.h"
#include "tls/certificate.h"
#include "tls/trust_set.h"

struct vault;

/* What the vault needs of its process. All callbacks get `context`; none may call back into the
 * vault before it returns. */
struct vault_host {
    void *context;
    struct loop *loop;
    int state_folder; /* directory; borrowed */
    struct board
        *board; /* where dials are announced, so that they do not count as clients; NULL: nowhere */

    /* Has the supervisor open a configured path, or a file in a configured folder (MESSAGE_OPEN).
     * The answer goes to vault_opened(). False when it cannot be asked; then no answer is expected.
     */
    bool (*open)(void *context, uint32_t request, const char *path, bool folder);
    /* Has the supervisor watch the directory of a path, or a folder itself, and every directory on
     * the way in which a symbolic link of the path stands (MESSAGE_WATCH). The answer (the watch
     * descriptor of the directory) goes to vault_watched(). */
    bool (*watch)(void *context, uint32_t request, const char *path, bool folder);
    /* Sends or queues a message to one handshaker, with a document unless it is -1 (it stays open
     * here). False when that handshaker is not connected. */
    bool (*send)(void *context, unsigned handshaker, uint32_t type, const void *body, size_t size,
                 int document);
    /* EVENT_CERTIFICATE_LOADED, _REFUSED, _ROLLED_BACK or EVENT_WARNING, to be printed and counted.
     * `certificate` may be CONF_NONE, `version` 0; `host` is a host name of a folder or "";
     * `detail` is printable ("expired: … has expired at …"). */
    void (*event)(void *context, enum event_type type, uint32_t certificate, uint32_t version,
                  const char *host, const char *detail);
    /* EVENT_CLIENT_TRUST_LOADED (another one is in force), _REFUSED, _STALE or EVENT_WARNING about
     * what clients of a listener are judged by. May be NULL. */
    void (*trust)(void *context, enum event_type type, uint32_t listener, const char *detail);
    /* Every certificate was read once, and each is live or refused. May be NULL. */
    void (*complete)(void *context);
};

/* `conf` (until a reload) and what `host` points to must outlive the vault; the struct itself is
 * copied. `generation` is that of the configuration. */
struct vault *vault_new(const struct conf *conf, uint32_t generation,
                        const struct vault_host *host);
void vault_free(
    struct vault *vault); /* accepts NULL; pending installations are dropped without an answer */
/* Reads everything for the first time. */
void vault_start(struct vault *vault);

/* Another configuration, whose objects keep their indices (conf/merge.h): certificates whose
 * section says the same go on untouched; new and changed ones are read as at the start, and what
 * was live of a changed one stays until then, or for good when nothing else can be had. When all
 * are read, handshakers are sent what is new and MESSAGE_CERTIFICATES_COMPLETE; until
 * vault_settled(), when all have the configuration, nothing is dialled. False when out of memory;
 * then all is as before. On success nothing of the configuration before is used any more. */
MUST_CHECK bool vault_reload(struct vault *vault, const struct conf *next, uint32_t generation);
void vault_settled(struct vault *vault);

/* ---- what control passes on ---- */

/* MESSAGE_OPENED. Takes the descriptor (-1: none); `result` is 0 or -errno. */
void vault_opened(struct vault *vault, uint32_t request, int fd, int result);
/* MESSAGE_WATCHED: `result` is the watch descriptor or -errno. */
void vault_watched(struct vault *vault, uint32_t request, int result);
/* One event read from SETUP_INOTIFY; also IN_Q_OVERFLOW, after which everything is looked at again.
 */
void vault_inotify_event(struct vault *vault, const struct inotify_event *event);
/* A handshaker was connected, for the first time or again: it is sent everything, then
 * MESSAGE_CERTIFICATES_COMPLETE. */
void vault_peer_started(struct vault *vault, unsigned handshaker);
/* Its channel is gone: nobody waits for it any longer. */
void vault_peer_ended(struct vault *vault, unsigned handshaker);
void vault_certificate_live(struct vault *vault, unsigned handshaker,
                            const struct message_certificate_live *live);
/* The body comes from another process: the name need not be terminated or sensible. The answer is
 * MESSAGE_CERTIFICATE whose name is the file's host name, so "*.example.org" when only the
 * wildcard's file is there, or MESSAGE_CERTIFICATE_UNKNOWN with the name that was wanted. The
 * latter is also sent unasked when a file went away. */
void vault_wanted(struct vault *vault, unsigned handshaker,
                  const struct message_certificate_wanted *wanted);

/* ---- commands ---- */

struct vault_outcome {
    struct error error; /* code ERROR_NONE: in service */
    uint32_t version;   /* 0: none was given */
    enum key_type key_type;
    struct preflight_report report; /* all findings, forced ones too */
    char check[256]; /* what the dial from outside saw: "3 of 3 addresses serve it" */
};
/* Called once per command, possibly before the command's function returns. */
typedef void vault_done_fn(void *context, const struct vault_outcome *outcome);

/* Puts a pair into a `managed` certificate. The descriptors (regular files, read from their
 * beginning) are taken; `key_fd` -1: combined PEM. `forced` as in struct preflight_policy. Answers
 * after the dial from outside. */
void vault_install(struct vault *vault, const char *name, int chain_fd, int key_fd, uint64_t forced,
                   vault_done_fn *done, void *context);
/* Internal: issues fresh leaves of all its key types. Files: reads them again now. */
void vault_renew(struct vault *vault, const char *name, vault_done_fn *done, void *context);
/* The one who asked is gone: `done` is no longer called for this context; the command itself goes
 * on. */
void vault_abandon(struct vault *vault, void *context);

/* ---- which sessions hang on what is no longer in service ---- */

/* Everything was read once; before that nothing can be said. */
bool vault_complete(const struct vault *vault);
/* Is this version, of this key type, in service or on its way there? For a folder it is the version
 * of the file that answers `server_name`, its own or the wildcard's; a name of `SLOT_NAME_MAX - 1`
 * bytes may be cut short, then any file counts. A certificate that is not there has none. */
bool vault_serves(const struct vault *vault, uint32_t certificate, enum key_type type,
                  uint32_t version, const char *server_name);

/* ---- what clients are judged by ---- */

/* What is in force for a listener; NULL: nothing, or it was not read yet. Borrowed until the next
 * event. */
const struct trust_set *vault_client_trust(const struct vault *vault, uint32_t listener);

struct vault_client_trust {
    bool present; /* something is in force: the facts hold */
    bool stale;   /* the time of a revocation list is over */
    uint32_t generation;
    struct trust_facts facts;
    const char *trouble; /* why what the files hold now is not in force; "": it is */
};
/* False: the listener has no client-ca. */
bool vault_client_trust_state(const struct vault *vault, uint32_t listener,
                              struct vault_client_trust *ret_state);

/* ---- what `certs` shows ---- */

enum vault_state {
    VAULT_EMPTY,       /* nothing was ever live */
    VAULT_SETTLING,    /* the files changed and do not match yet */
    VAULT_ROLLING_OUT, /* handshakers have not all answered */
    VAULT_CHECKING,    /* being dialled from outside */
    VAULT_LIVE,
    VAULT_REFUSED,     /* the newest was refused; an earlier one may be live */
    VAULT_ROLLED_BACK, /* the newest was not served as it should; an earlier one is live */
    VAULT_STATE_COUNT
};
const char *vault_state_name(enum vault_state state); /* "live", "rolled-back", … */

enum vault_check_result {
    VAULT_CHECK_PENDING,
    VAULT_CHECK_SERVED,
    VAULT_CHECK_MISMATCH,    /* another leaf was shown */
    VAULT_CHECK_FAILED,      /* the handshake failed */
    VAULT_CHECK_UNREACHABLE, /* no connection or no answer in time */
    VAULT_CHECK_SKIPPED,     /* cannot be dialled from here; the text says why */
    VAULT_CHECK_RESULT_COUNT
};
const char *vault_check_name(enum vault_check_result result); /* "served", "mismatch", … */

/* One bind address of one listener that uses the certificate. */
struct vault_check {
    uint32_t listener; /* index */
    size_t bind;       /* index of the address in its list */
    enum vault_check_result result;
    char text[128]; /* "" or why */
    int64_t at;     /* Unix seconds; 0: never */
};

/* One pair (or one empty place). A folder gives one entry for itself, then one per host in use. */
struct vault_entry {
    uint32_t certificate; /* index */
    const char *name;     /* as configured */
    const char *host;     /* host of a folder, else "" */
    enum conf_certificate_from from;
    enum vault_state state;
    bool present; /* the fields down to `names` hold a live pair */
    uint32_t version;
    enum key_type key_type;
    unsigned key_bits;
    int64_t not_before, not_after;
    uint8_t fingerprint[32];
    const char *subject, *issuer, *serial; /* NULL for hosts of a folder */
    const char *const *names;
    size_t name_count;
    const struct vault_check *checks;
    size_t check_count;
    const char *last_error; /* "" when the last attempt went well */
    int64_t next_attempt;   /* Unix seconds of the next renewal; 0: when the files change, or by
                               command */
    size_t folder_files, folder_used; /* the folder's own entry */
};
/* Everything in an entry is valid during the call only. Stops at and returns the first non-zero
 * result. */
typedef int vault_entry_fn(void *context, const struct vault_entry *entry);
int vault_each(const struct vault *vault, vault_entry_fn *fn, void *context);
