/* A control process, supervisor and handshakers in miniature, all in one loop: real files, a real
 * inotify, and a real TLS server that shows what the fake handshakers were given. */
#pragma once

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "conf/conf.h"
#include "loop/loop.h"
#include "tls/handshake.h"
#include "vault/vault.h"

#define FAKE_HANDSHAKERS 2
#define FAKE_EVENTS_MAX  64

struct fake_event {
    enum event_type type;
    uint32_t certificate, version;
    char host[256], detail[320];
};

/* A question to the supervisor that waits to be answered. */
struct fake_question {
    uint32_t request;
    int fd, result;
    bool watch;
};

struct fake_answer {
    unsigned handshaker;
    struct message_certificate_live live;
};

/* What one handshaker has. */
struct fake_handshaker {
    struct keypair *pairs[KEY_TYPE_COUNT];
    uint32_t versions[KEY_TYPE_COUNT];
    unsigned received; /* MESSAGE_CERTIFICATE */
    unsigned complete; /* MESSAGE_CERTIFICATES_COMPLETE */
    unsigned unknown;  /* MESSAGE_CERTIFICATE_UNKNOWN */
    unsigned withdrawn;
    char last_name[256]; /* of the last certificate */
    char last_unknown[256];
};

struct fake {
    char folder[64]; /* a fresh one; state/ and files/ in it */
    int state_folder;
    struct loop *loop;
    struct conf *conf;
    struct vault *vault;
    uint32_t generation; /* of the configuration */
    int inotify_fd;
    struct fake_question questions[256];
    size_t question_count;
    struct fake_answer answers[64];
    size_t answer_count;
    struct fake_handshaker handshakers[FAKE_HANDSHAKERS];
    struct fake_event events[FAKE_EVENTS_MAX];
    size_t event_count;
    unsigned completed;
    unsigned opens;
    /* misbehaviour */
    int live_result;   /* what handshakers answer */
    bool silent;       /* they do not answer */
    bool stale;        /* the server goes on with what it had first */
    bool expect_proxy; /* the server wants a PROXY header of version 2, LOCAL */
    /* the server */
    int listening_fd;
    uint16_t port;
    unsigned dialled;    /* handshakes completed */
    unsigned clean_ends; /* connections that ended by close_notify */
    /* waiting */
    bool (*until)(struct fake *);
    struct timer deadline, step, pump;
    bool late;
    unsigned steps;
    uint8_t inotify_handler, accept_handler, serve_handler;
    /* the outcome of the last command */
    bool done;
    struct vault_outcome outcome;
};

/* Makes the folders and the server. `%u` in the configuration is the server's port, `%s` the folder
 * of the files. */
void fake_init(struct fake *fake, const char *conf_format);
/* The vault and its handshakers start; returns when everything was read. */
void fake_start(struct fake *fake);
/* The vault ends and a new one starts; the handshakers stay as they are but are greeted again. */
void fake_restart(struct fake *fake);
/* Another configuration; nothing is waited for. */
void fake_reload(struct fake *fake, const char *conf_format);
void fake_fini(struct fake *fake);

/* What may pass, in milliseconds, before something counts as put off: far more than it takes, for
 * the machine may have other work, and less than what is put off waits. */
enum { AT_ONCE = 4000, PUT_OFF = 3000, FOR_EVER = 60000 };

/* Runs the loop until `condition` holds; fails the test after a minute. Returns the milliseconds it
 * took. */
unsigned fake_until(struct fake *fake, bool (*condition)(struct fake *));
/* Runs it for so many rounds of a millisecond: whoever is held up meanwhile still sees all that
 * comes within a few of them. */
void fake_run(struct fake *fake, unsigned milliseconds);
void fake_done(void *context,
               const struct vault_outcome *outcome); /* a vault_done_fn; context: the fake */
bool fake_is_done(struct fake *fake);

/* The last event of this type, or NULL. */
const struct fake_event *fake_event(const struct fake *fake, enum event_type type);
size_t fake_event_count(const struct fake *fake, enum event_type type);

struct fake_shown {
    size_t count;
    struct vault_entry entries[8]; /* pointers are not valid any more */
    char last_error[8][320];
    struct vault_check checks[8][4];
};
void fake_show(const struct fake *fake, struct fake_shown *ret_shown);

/* ---- files and certificates ---- */

/* A pair for these names (comma between two) of a CA of the test. */
struct keypair *make_pair(const char *names, enum key_type type, int64_t lifetime_s);
/* Writes the chain, the key, the leaf only, or all, to a file below the fake's folder. */
enum pem_part { PEM_ALL, PEM_CHAIN, PEM_LEAF, PEM_KEY };
void put_file(const struct fake *fake, const char *name, const struct keypair *pair,
              enum pem_part part);
void put_text(const struct fake *fake, const char *name, const char *text);
/* The path of a file below the fake's folder; static. */
const char *fake_path(const struct fake *fake, const char *name);
bool same_leaf(const struct keypair *a, const struct keypair *b);
