/* A configured certificate inside the vault: its pairs, their versions, and the one road on which a
 * new pair goes live.
 *
 * A *track* is what one source delivers: one pair of files, one key type of the internal CA, one
 * key type of a managed certificate. A lineage has at most KEY_TYPE_COUNT tracks, and no two live
 * pairs of one key type. */
#pragma once

#include "vault/dial.h"
#include "vault/requests.h"
#include "vault/store.h"
#include "vault/vault.h"
#include "vault/versions.h"

#define TROUBLE_MAX 320

struct lineage;

/* A command that waits for the pairs it put on the road. */
struct command {
    struct command *next;
    vault_done_fn *done; /* NULL: whoever asked is gone */
    void *context;
    unsigned pending;
    bool answered; /* the outcome holds something */
    struct vault_outcome outcome;
};

struct track {
    struct lineage *lineage;
    unsigned number;
    struct keypair *live; /* NULL: none */
    uint32_t version;     /* of the live one */
    enum vault_state state;
    char trouble[TROUBLE_MAX]; /* last error; "" */
    uint8_t rejected[32];      /* leaf that was rolled back last */
    struct vault_check *checks;
    size_t check_count;
    int64_t renew_at; /* internal: Unix seconds */
    struct timer renewal;
    struct files_pair *files; /* from = files */
};

/* A pair that passed the pre-flight and waits for the road, or is on it. */
struct candidate {
    struct candidate *next;
    struct track *track;
    struct keypair *pair;
    struct command *command; /* NULL: nobody waits */
    struct preflight_report report;
};

struct rollout {
    struct candidate *candidate; /* NULL: the road is free */
    uint32_t version;
    uint32_t request;
    uint64_t waiting;     /* bit per handshaker that has not answered */
    struct error refused; /* first refusal of a handshaker */
    struct timer timer;
    unsigned dials;             /* not finished */
    struct vault_check *checks; /* what they see; becomes the track's */
    size_t check_count;
    struct candidate *queue; /* next ones, in order */
};

/* The last line of the journal for a key type: what was in service before a restart. */
struct noted {
    uint32_t version; /* 0: none */
    uint8_t fingerprint[32];
};

/* What a lineage had in service when a reload began it anew. */
struct previous {
    struct keypair *pair; /* NULL: none */
    uint32_t version;
};

struct lineage {
    struct vault *vault;
    const struct conf_certificate *conf;
    uint32_t index;
    struct versions versions;
    struct noted noted[KEY_TYPE_COUNT];
    struct track tracks[KEY_TYPE_COUNT];
    unsigned track_count;
    struct rollout rollout;
    struct folder *folder; /* NULL: no folder */
    bool started;
    size_t loading; /* first readings not finished */
    bool complete;  /* they are, and handshakers were told */
    bool undialled; /* nothing of it was looked at from outside yet */
    bool redial;    /* its dials were dropped by a reload */
    struct previous previous[KEY_TYPE_COUNT];
};

struct vault {
    const struct conf *conf;
    struct vault_host host;
    struct lineage **lineages; /* by index in the configuration; NULL: a hole */
    size_t lineage_count;
    struct requests requests;
    struct dialler dialler;
    struct internal_ca *ca;                        /* NULL: not needed yet or broken */
    struct trust_watch *trust[CONF_LISTENERS_MAX]; /* by listener; NULL: none */
    struct command *commands;
    uint32_t request_serial; /* of MESSAGE_CERTIFICATE */
    uint64_t connected;      /* bit per handshaker */
    uint64_t greeted;        /* those of them that know everything */
    uint32_t generation;     /* of the configuration */
    size_t loading;          /* first readings not finished, of all lineages */
    bool complete, dialled, ca_made;
    bool ending; /* callbacks release what they hold and do nothing else */
};

/* ---- life (vault.c) ---- */

/* Counted as loading until it was started and read. NULL when out of memory. */
struct lineage *lineage_new(struct vault *vault, const struct conf_certificate *conf,
                            uint32_t index);
void lineage_free(struct lineage *lineage); /* accepts NULL */
/* Begins all lineages that were made and not begun. */
void vault_start_new(struct vault *vault);

/* One of what counts as loading was read. */
void vault_loaded(struct vault *vault);

/* ---- what the host does for us ---- */

/* Puts a question of the host's (open, watch) to the supervisor; `fn` is called in any case. */
void vault_ask(struct vault *vault, const void *owner,
               bool (*question)(void *, uint32_t, const char *, bool), const char *path,
               bool folder, request_fn *fn, void *context);

void vault_report(struct vault *vault, enum event_type type, uint32_t certificate, uint32_t version,
                  const char *host, const char *detail);
void vault_warn(struct vault *vault, const struct lineage *lineage, const char *format, ...)
    PRINTF_LIKE(3, 4);
/* Asks the supervisor; `fn` gets the answer, at once (-EPIPE) when it cannot be asked. */
void vault_ask_open(struct lineage *lineage, const char *path, bool folder, request_fn *fn,
                    void *context);
void vault_ask_watch(struct lineage *lineage, const char *path, bool folder, request_fn *fn,
                     void *context);
/* Sends a pair (NULL: there is none of this key type any more) to the handshakers of the mask;
 * returns the mask of those reached. */
uint64_t vault_send_pair(struct vault *vault, uint64_t handshakers,
                         const struct message_certificate *body, const struct keypair *pair);
int64_t vault_now(void); /* Unix seconds */

/* One first reading is decided; the last one of all lets the handshakers begin. */
void lineage_loaded(struct lineage *lineage);

/* ---- commands ---- */

struct command *command_new(struct vault *vault, vault_done_fn *done,
                            void *context); /* with one pending part; NULL: no memory */
/* One part is done; the first error wins. The last part answers and frees. Accepts NULL. */
void command_report(struct vault *vault, struct command *command, const struct vault_outcome *part);
void command_fail(struct vault *vault, struct command *command, const struct error *error);

/* ---- tracks (rollout.c) ---- */

/* Judges a pair for this track; the report is filled in any case. While the vault reads for the
 * first time, what was in service before the restart is not judged again (only warned about): a
 * machine that starts anew must not serve less than before. */
MUST_CHECK int track_preflight(struct track *track, const struct keypair *pair, uint64_t forced,
                               struct preflight_report *ret_report, struct error *error);
/* Is it, certificate for certificate, the one in service? */
bool track_serves(const struct track *track, const struct keypair *pair);
/* Puts a stored pair in service without ceremony, at start, before any handshaker has anything.
 * Takes the reference. */
void track_adopt(struct track *track, struct keypair *pair, uint32_t version);
/* Records and reports that something was refused; the live one stays. Says the same thing only
 * once. */
void track_refuse(struct track *track, const struct error *error);
/* Sends a judged pair on its way, behind those already there; while the vault still reads for the
 * first time, it is in service at once. Takes the reference to `pair` and the part of `command`
 * (may be NULL). */
void track_offer(struct track *track, struct keypair *pair, const struct preflight_report *report,
                 struct command *command);

/* ---- the road (rollout.c) ---- */

bool rollout_active(const struct lineage *lineage);
void rollout_answer(struct lineage *lineage, unsigned handshaker,
                    const struct message_certificate_live *live);
void rollout_peer_ended(struct lineage *lineage, unsigned handshaker);
/* Sends what is (about to be) in service to one handshaker. */
void rollout_greet(struct lineage *lineage, unsigned handshaker);
/* Dials every address of the pair in service; only for showing. */
void track_check(struct track *track);
/* After a lineage was begun anew: where it delivers nothing at all, what was in service stays. */
void rollout_keep_previous(struct lineage *lineage);
/* Handshakers have what it delivers: key types that it no longer has are taken back. */
void rollout_drop_previous(struct lineage *lineage);
/* The configuration is another one, in force everywhere: addresses not yet looked at are dialled.
 */
void rollout_dial_again(struct lineage *lineage);
/* Whoever waits for a pair of it is told that the certificate is no longer what it was. */
void rollout_abandon(struct lineage *lineage);
void rollout_fini(struct lineage *lineage);

/* ---- sources: begin reading; each calls lineage_loaded() as often as lineage->loading says
 * ---- */

void internal_start(struct lineage *lineage);
void internal_renew(struct lineage *lineage, struct command *command);
void internal_schedule(struct track *track); /* a new leaf is in service */
void internal_fini(struct vault *vault);

void managed_start(struct lineage *lineage);
void managed_install(struct lineage *lineage, int chain_fd, int key_fd, uint64_t forced,
                     struct command *command);

void files_start(struct lineage *lineage);
void files_renew(struct lineage *lineage, struct command *command);
bool files_watches(const struct lineage *lineage, int watch);
/* Something happened in the directory of this watch (-1: anywhere). */
void files_event(struct lineage *lineage, int watch);
/* The road is free again: what changed meanwhile is read now. */
void files_resume(struct lineage *lineage);
bool files_settling(const struct track *track);
/* lineage->conf is another struct that says the same. */
void files_follow(struct lineage *lineage);
/* The command that waits for this reading, if any: it is the caller's to answer now. */
struct command *files_take_command(struct track *track);
void files_fini(struct lineage *lineage);

/* A folder of many: one file per host (folder.c). */
void folder_start(struct lineage *lineage);
void folder_wanted(struct lineage *lineage, unsigned handshaker, const char *name);
void folder_peer_ended(struct lineage *lineage, unsigned handshaker);
void folder_renew(struct lineage *lineage, struct command *command);
/* `event` NULL: the folder itself may be another one now. */
void folder_event(struct lineage *lineage, const struct inotify_event *event);
bool folder_watches(const struct lineage *lineage, int watch);
bool folder_serves(const struct lineage *lineage, uint32_t version, const char *server_name);
int folder_each(const struct lineage *lineage, vault_entry_fn *fn, void *context);
void folder_fini(struct lineage *lineage);

/* ---- files of the state folder (lineage.c) ---- */

/* Gives the pair its number and writes down what must outlive a restart. Only a managed pair that
 * cannot be stored is a failure; all else that cannot be written is warned about. */
MUST_CHECK int lineage_assign(struct track *track, const struct keypair *pair,
                              uint32_t *ret_version, struct error *error);
/* The pair of this version never went live after all; `live` is. */
void lineage_revert(struct track *track, uint32_t version);
void lineage_prune(struct track *track);       /* after a pair went live */
void lineage_journal(struct lineage *lineage); /* reads it, at start */
bool lineage_noted(const struct lineage *lineage, const struct keypair *pair);
/* Stored pairs of internal and managed certificates. */
/* Reads them at start into ret_pairs, whose references go to the caller. */
void lineage_stored(struct lineage *lineage, struct stored_pair ret_pairs[KEY_TYPE_COUNT]);
