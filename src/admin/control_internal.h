/* The control process from inside: one struct, shared by
 *
 *   control.c           start, messages of supervisor and workers, stop
 *   control_vault.c     what the vault needs from its host
 *   control_drain.c     drains: begin, cancel, the end
 *   control_trust.c     client certificates: what is told and done when their CAs change
 *   control_reload.c    another configuration; what it changes
 *   control_tickets.c   the ticket keys: rotation, storage
 *   control_alerts.c    what alerting needs from its host
 *   control_http.c      what stands behind pages, metrics and probes
 *   control_watch.c     the watch and its store
 *   verb_*.c            the verbs of the control socket */
#pragma once

#include "admin/event_feed.h"
#include "admin/http.h"
#include "admin/log.h"
#include "admin/peers.h"
#include "admin/rejudge.h"
#include "admin/resolver.h"
#include "admin/server.h"
#include "admin/trace.h"
#include "admin/view.h"
#include "edge/worker.h"
#include "net/http_client.h"
#include "vault/ticket_store.h"
#include "vault/vault.h"
#include "watch/alerts/alerting.h"
#include "watch/watcher.h"

/* A socket of the admin HTTP server. */
struct admin_socket {
    struct address address; /* as configured */
    int number;             /* of http_listen() */
};

struct control_probe;
struct reload_request;
struct tickets;

struct control {
    struct worker worker;
    struct question *first_question, *last_question; /* that wait to be asked (control_vault.c) */
    unsigned questions;                              /* under way */
    struct admin_view view;
    struct log log;
    struct event_feed feed;
    struct trace trace;
    struct peers peers;
    struct resolver resolver;
    struct http *http;
    struct http_host http_host;
    struct control_probe *probes; /* of the exporter, under way (control_http.c) */
    unsigned probe_count;
    struct control_server *server;
    struct timer drain_watch; /* while somebody is left */
    struct rejudge rejudge;
    size_t arena_size;             /* of each relay's metadata mapping */
    bool serving;                  /* MESSAGE_GO came */
    bool events_left;              /* the rings may hold more */
    uint64_t authenticated_judged; /* as many of event_feed.authenticated_seen are being judged */
    struct admin_socket admin[HTTP_SOCKETS_MAX];
    size_t admin_count;
    int next_admin[HTTP_SOCKETS_MAX]; /* new ones of a configuration to come; -1: none */
    json_t *plan;                     /* what the last reload changed; NULL: there was none */
    struct reload_request *reloads;   /* waiting for the supervisor's answer */
    uint32_t reload_serial;
    struct tickets *tickets;
    int program;             /* our own binary, for the process that probes; -1 */
    struct store *store;     /* NULL: nothing is watched */
    struct watcher *watcher; /* the same */
    struct http_client *http_client;
    struct alerting *alerting; /* the same */
    uint32_t alerts_request;   /* the round of requests to the supervisor */
    unsigned alerts_asked;     /* of these that are not answered */
    struct timer alerts_files; /* then what is not known yet is asked for again */
};

/* The verbs of the control socket; requests carry the struct control as context. */
extern const struct control_verb verb_sessions, verb_session_close, verb_session_authenticate,
    verb_certs, verb_cert_install, verb_cert_renew, verb_upstream, verb_upgrade,
    verb_upgrade_status, verb_drain, verb_reload, verb_config_rollback, verb_keys_traffic,
    verb_keys_traffic_renew, verb_config_confirm, verb_config_history, verb_key_usage,
    verb_key_exposure, verb_policy_facts, verb_tickets, verb_tickets_rotate, verb_resumption,
    verb_resumption_forget, verb_watch, verb_watch_history, verb_watch_check, verb_watch_discover,
    verb_alerts, verb_alerts_acknowledge, verb_alerts_silences, verb_alerts_silence,
    verb_alerts_unsilence, verb_alerts_deliveries, verb_alerts_test;
extern const struct control_verb *const control_verbs[]; /* all of them */

/* ---- verbs.c ---- */

/* State of a verb whose begin makes all lines of its answer, an array; verb_lines_pump writes them
 * as there is room, verb_lines_end lets them go. */
struct verb_lines {
    json_t *lines;
    size_t given;
};
enum verb_progress verb_lines_pump(struct control_request *request, struct error *error);
void verb_lines_end(struct control_request *request);

/* An event of control's own; `listener` CONF_NONE: it is about none. */
void control_report(struct control *control, enum event_type type, uint32_t listener,
                    const char *text);

/* What the vault needs of its process. */
void control_vault_host(struct control *control, struct vault_host *ret_host);
/* The supervisor has answered a question of the vault: the next may be asked. */
void control_vault_answered(struct control *control);
/* Watches SETUP_INOTIFY for the vault. */
MUST_CHECK bool control_vault_watch(struct control *control);

/* Takes up the drains that stand on the board. */
void control_drain_init(struct control *control);
/* Begins the drain of a listener or of the house (CONF_NONE), or changes its time. */
MUST_CHECK int control_drain_begin(struct control *control, uint32_t listener, uint64_t over_ms,
                                   struct error *error);
/* Ends it; the house's with those of all listeners. */
MUST_CHECK int control_drain_cancel(struct control *control, uint32_t listener,
                                    struct error *error);
/* ---- control_trust.c ---- */

void control_trust_init(struct control *control);
/* After events were read: clients that have shown who they are are judged like all others. */
void control_trust_look(struct control *control);
/* For struct vault_host. */
void control_trust_event(void *context, enum event_type type, uint32_t listener,
                         const char *detail);

/* ---- control_reload.c ---- */

void control_reload_init(struct control *control);
void control_reload_fini(struct control *control);
/* DESCRIPTORS_ADMIN number `index`; takes the descriptor. */
void control_take_admin(struct control *control, unsigned index, int fd);
/* MESSAGE_CONFIG and what follows it; false: another message. */
bool control_reload_message(struct control *control, struct message *message);

/* ---- control_tickets.c ---- */

MUST_CHECK int control_tickets_init(struct control *control, struct error *error);
void control_tickets_fini(struct control *control);
/* Makes the keys ready, or finds them as an earlier control left them or as they are stored; then
 * calls control_serve(). */
void control_tickets_start(struct control *control);
/* MESSAGE_OPENED; false: an answer to somebody else. */
bool control_tickets_opened(struct control *control, struct message *message);
/* Another configuration is in force. */
void control_tickets_reload(struct control *control);
/* An operator's wish. ERROR_BUSY: another instance is at it, ask again soon. Storage that fails
 * does not make it fail. */
MUST_CHECK int control_tickets_act(struct control *control, enum ticket_action action,
                                   struct error *error);

/* ---- control_watch.c ---- */

/* The configuration to be in force from now on: watches, if there is anything to watch. False when
 * out of memory. */
MUST_CHECK bool control_watch_reload(struct control *control, const struct conf *conf);
void control_watch_fini(struct control *control);
/* For `status`; NULL: nothing is watched. */
json_t *control_watch_status(const struct control *control);
/* MESSAGE_OPENED; false: an answer to somebody else. */
bool control_watch_opened(struct control *control, struct message *message);

/* ---- control_alerts.c ---- */

MUST_CHECK int control_alerts_init(struct control *control, const struct conf *conf,
                                   struct error *error);
void control_alerts_fini(struct control *control);
void control_alerts_reload(struct control *control, const struct conf *conf);
/* MESSAGE_OPENED; false: an answer to somebody else. */
bool control_alerts_opened(struct control *control, struct message *message);
/* For struct watcher_host. */
void control_alerts_checked(void *context, const struct conf_watch *watch, const char *target,
                            const json_t *endpoints);
void control_alerts_forgotten(void *context, const char *target);
/* For status; NULL: there is no alerting. */
json_t *control_alerts_status(const struct control *control);

/* ---- control_http.c ---- */

void control_http_init(struct control *control);

/* ---- control.c ---- */

/* The ticket keys are there: certificates may go out to handshakers, which then accept. */
void control_serve(struct control *control);

/* ---- verb_reload.c ---- */

/* MESSAGE_RELOADED */
void control_reloaded(struct control *control, struct message *message);
