/* The configuration as plain structs. Parsed and checked whole, then never changed: a reload makes
 * a new one.
 *
 * Every process parses the same text (the supervisor passes it in a sealed memfd), so that no
 * struct with pointers ever crosses a process border. Objects are referred to by their index in
 * these arrays. Defaults are filled in; names have been resolved to indices; lists are counted
 * arrays. Durations are milliseconds, sizes bytes.
 *
 * In a reloaded configuration (conf/merge.h) every object keeps the index it had, its *place*. So
 * an array may have holes (zeroed, `name` NULL) and *retired* objects: removed from the file, but
 * sessions still live on them; they are bound nowhere and given no new sessions. Loops skip holes
 * always, and retired objects (conf_*_in_force) unless they are about sessions. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"
#include "loop/socket.h"

#define CONF_PATH_DEFAULT "/etc/holdfast/holdfast.conf" /* where it is when nobody says */
#define CONF_TEXT_MAX     (4u << 20)
#define CONF_NAME_MAX     64 /* name of a listener, upstream or certificate, with its zero */
#define CONF_NONE         UINT32_MAX

/* What the shared memory of the processes has room for; conf_parse refuses more. */
#define CONF_WORKERS_MAX   64
#define CONF_LISTENERS_MAX 256
#define CONF_SERVERS_MAX   1024       /* of all upstreams together */
#define CONF_WEIGHT_MAX    1000       /* of a server */
#define CONF_PLACES_MAX    (1u << 24) /* of certificates; upstreams are as few as servers */
#define CONF_ADDRESSES_MAX                                                                         \
    256 /* to listen on, of all listeners and admin together; also of one upstream's sources */

/* The default of `groups`. tls/ puts X25519MLKEM768 in front of exactly this list where the library
 * has it. */
#define CONF_GROUPS_DEFAULT "X25519:P-256"

struct conf_text_list {
    char **items;
    size_t count;
};

struct conf_networks {
    struct network *items;
    size_t count;
};

struct conf_addresses {
    struct address *items;
    size_t count;
};

enum conf_mode { CONF_MODE_TCP, CONF_MODE_PASS_THROUGH };
enum conf_unknown_name {
    CONF_UNKNOWN_NAME_DEFAULT,
    CONF_UNKNOWN_NAME_REFUSE
}; /* strict-sni = true → REFUSE */
enum conf_proxy_out { CONF_PROXY_OUT_NONE, CONF_PROXY_OUT_V1, CONF_PROXY_OUT_V2 };
enum conf_overload { CONF_OVERLOAD_RESET, CONF_OVERLOAD_ALERT };
/* Whether sessions leave OpenSSL for a relay's record layer. */
enum conf_detach {
    CONF_DETACH_PREFER,  /* all that can; the others stay attached to OpenSSL */
    CONF_DETACH_REQUIRE, /* all; one that cannot ends */
    CONF_DETACH_NEVER    /* OpenSSL carries every session */
};
/* TLS 1.2 renegotiation that a client begins. */
enum conf_renegotiation {
    CONF_RENEGOTIATION_REFUSE,
    CONF_RENEGOTIATION_ALLOW,
    CONF_RENEGOTIATION_AUTHENTICATED /* of clients with a verified certificate */
};
enum conf_on_timeout { CONF_ON_TIMEOUT_KEEP, CONF_ON_TIMEOUT_CLOSE };
/* `count` times in each `period` (ms). */
struct conf_rate {
    uint32_t count;
    uint64_t period;
};
enum conf_tls_version { CONF_TLS_1_2, CONF_TLS_1_3 };
enum conf_on_removal { CONF_ON_REMOVAL_KEEP, CONF_ON_REMOVAL_DRAIN };

/* `route "name" = upstream` inside a listener: SNI → upstream (both modes). */
struct conf_route {
    char *name; /* exact, or "*.example.org" */
    uint32_t upstream;
};

/* Whether clients are asked for a certificate; one that is shown must always be good. */
enum conf_client_certificate {
    CONF_CLIENT_CERTIFICATE_NONE,
    CONF_CLIENT_CERTIFICATE_OPTIONAL,
    CONF_CLIENT_CERTIFICATE_REQUIRED,
    CONF_CLIENT_CERTIFICATE_LATER /* not in the handshake, but maybe after it */
};
/* What becomes of a session whose client was asked after the handshake and shows none. */
enum conf_unauthenticated { CONF_UNAUTHENTICATED_CLOSE, CONF_UNAUTHENTICATED_KEEP };
enum conf_client_ended { CONF_CLIENT_ENDED_CLOSE, CONF_CLIENT_ENDED_KEEP };
enum conf_crl_expired { CONF_CRL_EXPIRED_WARN, CONF_CRL_EXPIRED_REFUSE };

/* client-certificate for one server name */
struct conf_client_name {
    char *name; /* exact, or "*.example.org" */
    enum conf_client_certificate mode;
};

struct conf_listener {
    char *name; /* NULL: a hole */
    uint32_t place;
    bool retired;
    struct conf_addresses bind;
    enum conf_mode mode;
    uint32_t *certificates; /* indices; the first is the default certificate */
    size_t certificate_count;
    uint32_t upstream; /* CONF_NONE only with routes and unknown names refused */
    struct conf_route *routes;
    size_t route_count;
    enum conf_unknown_name unknown_name;
    struct conf_text_list alpn; /* in order of preference; empty: no ALPN */
    enum conf_tls_version min_version, max_version;
    char *groups;                     /* OpenSSL group list; CONF_GROUPS_DEFAULT */
    uint32_t tickets;                 /* TLS 1.3 tickets per handshake */
    uint64_t ticket_lifetime;         /* ms */
    uint32_t max_lineage;             /* seconds; how long a chain of resumed sessions lasts */
    bool tolerate_truncation;         /* client FIN without close_notify is an ordinary end */
    struct conf_networks proxy_from;  /* PROXY protocol is expected (required) from these networks,
                                         refused as garbage else */
    struct conf_networks allow, deny; /* source addresses; empty allow = everybody */
    uint64_t proxy_timeout, handshake_timeout;
    uint64_t idle_timeout;       /* 0: none (the default) */
    uint64_t max_session_age;    /* 0: none */
    uint64_t half_close_timeout; /* how long one closed direction may wait for the other */
    uint32_t keepalive;          /* seconds */
    uint32_t user_timeout;       /* ms, TCP_USER_TIMEOUT */
    uint32_t client_hello_max;   /* bytes */
    uint32_t max_connections;    /* of this listener; 0: none */
    uint32_t max_connections_per_source;
    int backlog;
    enum conf_on_removal on_removal; /* what becomes of sessions whose listener, upstream or server
                                        was removed by a reload */
    enum conf_detach detach;
    bool cbc_suites; /* TLS 1.2 CBC suites are offered, too; their sessions stay attached */
    enum conf_renegotiation renegotiation;
    struct conf_rate renegotiation_rate; /* of one session */
    uint64_t renegotiate_every;          /* ms; we ask for it on this schedule; 0: never */
    uint64_t renegotiation_timeout;      /* ms that a client has */
    enum conf_on_timeout renegotiation_on_timeout; /* what becomes of a session whose client does
                                                      not begin */
    uint64_t queue_timeout;             /* ms that a connection may wait to be accepted; 0: none */
    enum conf_overload overload_action; /* how one is refused that has waited longer */
    /* When a key that we seal with is renewed (tls/governor.h); 0: none of these. */
    uint32_t traffic_key_records;     /* records */
    uint32_t traffic_key_probability; /* N: blocks, as few as 2^-N allows */
    uint64_t traffic_key_bytes;
    uint64_t traffic_key_age;                        /* ms */
    enum conf_client_certificate client_certificate; /* for all names but those of client_names */
    struct conf_client_name *client_names;
    size_t client_name_count;
    char *client_ca;                  /* PEM file; NULL: nobody is asked */
    struct conf_text_list client_crl; /* files */
    uint32_t client_verify_depth;     /* intermediates between a client's certificate and a CA */
    enum conf_crl_expired crl_expired;
    enum conf_client_ended client_ended; /* what becomes of sessions whose client's certificate was
                                            revoked, is no longer trusted, or has ended */
    uint64_t client_end_spread;          /* ms over which they end; 0: at once */
    struct conf_text_list authenticate_names; /* of LATER: asked as soon as the handshake is over */
    enum conf_unauthenticated unauthenticated;
    uint64_t authenticate_timeout; /* ms that a client has to answer */
};

enum conf_balance {
    CONF_BALANCE_ROUND_ROBIN,
    CONF_BALANCE_LEAST_SESSIONS,
    CONF_BALANCE_SOURCE_HASH
};

struct conf_server {
    char *name;               /* NULL: a hole; as written: "10.0.0.5:8080", "app.internal:80",
                                 "unix:/run/app.sock" */
    char *host;               /* a name to be resolved, or NULL when `address` is final */
    struct address address;   /* final for literals; for names only the port is set */
    uint32_t weight;          /* "10.0.0.5:8080 weight=3", default 1 */
    uint32_t max_connections; /* "… max-connections=100"; 0: none */
    uint32_t place;
    uint32_t number; /* on the board, among the servers of all upstreams */
    bool retired;
};

struct conf_upstream {
    char *name; /* NULL: a hole */
    uint32_t place;
    bool retired;
    struct conf_server *servers;
    size_t server_count;
    uint32_t server_places; /* ever used */
    enum conf_balance balance;
    struct conf_addresses
        source_addresses; /* used in turn; 28,000 ports per server are not enough */
    uint64_t connect_timeout;
    uint32_t connect_tries;  /* servers tried in all before giving up */
    uint64_t check_interval; /* active TCP health check; 0: off */
    uint64_t check_timeout;
    uint32_t check_rise, check_fall;
    enum conf_proxy_out proxy_out;
    bool proxy_client_certificate; /* subject, names and fingerprint besides, in TLVs of our own */
    uint32_t keepalive;
    uint32_t user_timeout;
    bool tls; /* re-encrypt */
    bool tls_verify;
    char *tls_trust;       /* PEM file; NULL: the system's store */
    char *tls_name;        /* SNI and name to verify; NULL: the server's host name */
    char *tls_certificate; /* client certificate chain and key; both or neither */
    char *tls_key;
    struct conf_text_list tls_alpn;
};

enum conf_certificate_from { CONF_FROM_INTERNAL, CONF_FROM_FILES, CONF_FROM_MANAGED };

struct conf_certificate {
    char *name; /* NULL: a hole */
    uint32_t place;
    bool retired;
    enum conf_certificate_from from;
    struct conf_text_list names; /* DNS names (exact or wildcard) and IP addresses that it must
                                    cover; required but for folders */
    /* files: one pair per key type (chain[i] with key[i]; no keys, or an empty key[i]: combined
     * PEM), or a folder of many. */
    struct conf_text_list chain, key;
    char *folder; /* every *.pem in it is one combined certificate, named for the host it serves */
    struct conf_text_list key_types; /* internal: "ecdsa", "rsa"; default ecdsa */
};

enum conf_log_handshakes { CONF_LOG_FAILURES, CONF_LOG_SAMPLE, CONF_LOG_ALL };

/* ---- watch ---- */

struct conf_watch_target {
    char *text;
    unsigned line; /* in the file; meaningless in the text that the supervisor passes on */
};
struct conf_watch_targets {
    struct conf_watch_target *items;
    size_t count;
};

/* Whether somebody expects the certificate to be renewed without hands. */
enum conf_renewal { CONF_RENEWAL_AUTO, CONF_RENEWAL_MANUAL };

/* What must be left of a certificate; all 0: the default. */
struct conf_threshold {
    uint32_t percent; /* of its life; 0: `time` counts */
    uint64_t time;    /* ms */
};

/* Of one section; the checks know no more. */
#define CONF_WATCH_FILES_MAX  16 /* stores; files of revocation lists */
#define CONF_PINS_MAX         8
#define CONF_POLICIES_MAX     8
#define CONF_NAME_SERVERS_MAX 16

/* Nothing outside control refers to one, so it has no place: it is known by its name. */
struct conf_watch {
    char *name;
    struct conf_watch_targets targets;
    uint64_t interval;             /* ms between two checks of a target */
    uint32_t timeout;              /* ms of a connection, each of its stages */
    char *expected_name;           /* instead of the target's host; NULL */
    struct conf_text_list connect; /* addresses to dial instead of resolving */
    struct conf_text_list origin;  /* addresses behind the edge: compared with what it serves */
    char *file;                    /* PEM chain on disk that should be served; NULL */
    struct conf_text_list stores;  /* PEM files; instead of the system's trust store */
    struct conf_text_list
        stores_ignoring_ends;             /* the same; their anchors serve beyond their ends */
    struct conf_text_list crl;            /* files of revocation lists, asked before others */
    char *log_list;                       /* JSON file of transparency logs; NULL */
    struct conf_text_list pins;           /* pin_parse() understands each */
    struct conf_text_list require_policy; /* oid_valid() each; one must hold along the chain */
    struct conf_text_list name_servers;   /* addresses; none: the system's */
    char *acme_directory;                 /* URL of a CA that is asked when to renew; NULL */
    bool without_sni;                     /* also without a server name */
    bool deep; /* also what needs many handshakes: these three, and more */
    bool ciphers, resumption, renegotiation;
    bool browser;        /* also as a browser does, with missing intermediates fetched */
    bool no_fetch;       /* neither revocation lists nor what the CA says of renewal */
    bool require_staple; /* of OCSP */
    bool require_hsts;   /* of https:// targets */
    enum conf_renewal renewal;
    uint64_t renewal_grace; /* ms; 0: by the life of the certificate */
    struct conf_threshold warn_at, critical_at;
    char *owner, *service;              /* for the routes of alerts; NULL */
    bool critical;                      /* the target is: for the routes of alerts */
    struct conf_watch_targets discover; /* where to look for endpoints that nobody watches */
    uint64_t discover_interval;
};

/* ---- alerts ---- */

enum conf_channel_type {
    CONF_CHANNEL_MAIL,
    CONF_CHANNEL_TELEGRAM,
    CONF_CHANNEL_WEBHOOK,
    CONF_CHANNEL_EXEC
};

#define CONF_CHANNEL_COMMAND_MAX 32

/* A way to people. Known by its name. */
struct conf_channel {
    char *name;
    enum conf_channel_type type;
    char *url; /* mail: smtp:// or smtps:// server; webhook: where to; telegram: its API */
    char *from;
    struct conf_text_list to; /* mail addresses */
    char *user;               /* of the mail server */
    bool starttls;            /* required with smtp:// */
    char *chat;               /* telegram: chat id or @channel */
    char *secret_file;        /* password of the mail user, token of the bot, key of the webhook's
                                 signature */
    char *trust;              /* PEM file; NULL: the system's store */
    struct conf_text_list command; /* exec: absolute path and arguments */
    uint32_t timeout;              /* ms */
};

/* Which channels hear of which alerts; empty lists match everything. */
struct conf_alert_route {
    char *name;
    struct conf_text_list watches, owners, services;
    bool critical_only;   /* severity = critical */
    bool escalation_only; /* reached by `then` of another route only */
    struct conf_text_list channels;
    char *then; /* name of the route that joins when nobody has acknowledged; NULL */
};

/* Nobody is told meanwhile. */
struct conf_maintenance {
    char *name;
    struct conf_text_list when;    /* conf_window_parse() understands each */
    struct conf_text_list targets; /* as in a silence (watch/alerts/silence.h); none: all */
};

struct conf_alerts { /* global options */
    uint32_t open_after, close_after;
    uint64_t reminder;              /* ms; 0: none */
    uint64_t quiet;                 /* ms */
    struct conf_text_list channels; /* of alerts that no route matches */
    char *heartbeat_url;            /* NULL: none */
    uint64_t heartbeat_every;       /* ms */
};

struct conf_admin {
    bool present;
    struct conf_addresses bind; /* loopback or Unix sockets only: there is no authentication yet */
};

/* What others collect from: probes on demand, and the metrics of the watch. */
struct conf_exporter {
    bool present;
    struct conf_addresses bind;
    struct conf_text_list targets; /* that may be asked for: names, "*.example.org", with or
                                      without port; none: those that are watched */
    uint32_t timeout;              /* ms of a connection, each of its stages */
    uint32_t probes;               /* under way at once */
};

struct conf {
    char *path; /* of the file; for messages */
    char *state_folder;
    char *user; /* what workers run as when started as root; default "holdfast", else "nobody" */
    uint32_t workers;       /* handshakers and relays each; default: the cores, 0 without
                               listeners */
    uint64_t buffer_memory; /* blocks of all relays together; default 256 MiB */
    uint32_t session_cache; /* TLS 1.2 sessions resumed by id; 0: none */
    uint32_t max_sessions;  /* 0: what the descriptor limit allows */
    uint64_t drain_timeout; /* SIGTERM: how long sessions may finish; default 30 s */
    uint64_t drain_notice;  /* health says 503 this long before listening ends; default 0 */
    uint64_t protect_after; /* ms; sessions of this age survive the crash of their relay; 0: none */
    int handshaker_nice;    /* default 10 */
    uint64_t ticket_key_lifetime; /* ms that a ticket key encrypts; default 12 h */
    char *key_encryption_key;     /* path, or "credential:NAME"; NULL: ticket keys are not stored */
    char *ticket_keys_file;       /* shared by several instances; NULL: in the state folder */
    uint32_t renegotiation_budget; /* renegotiations per second of all handshakers; default 20 */
    enum conf_log_handshakes log_handshakes;
    uint32_t log_sample; /* one in N */
    bool log_sessions;   /* an event per closed session; default true */
    /* What all edges together send in the time that matters, and the 2^-N that an attacker who
     * watches them all may win with; 0: no limit comes of it. */
    uint64_t traffic_key_fleet_volume;
    uint32_t traffic_key_fleet_probability;
    char *key_update_unable; /* file of fingerprints (tls/fingerprints.h), or NULL */
    struct conf_admin admin;
    struct conf_listener *listeners;
    size_t listener_count;
    struct conf_upstream *upstreams;
    size_t upstream_count;
    struct conf_certificate *certificates;
    size_t certificate_count;
    struct conf_watch *watches;
    size_t watch_count;
    struct conf_channel *channels;
    size_t channel_count;
    struct conf_alert_route *alert_routes;
    size_t alert_route_count;
    struct conf_maintenance *maintenances;
    size_t maintenance_count;
    struct conf_alerts alerts;
    struct conf_exporter exporter;
    uint32_t watch_connections;                     /* under way at once; default 100 */
    uint32_t watch_per_host;                        /* of these to one address; default 4 */
    uint64_t watch_keep_checks, watch_keep_history; /* ms; default 14 and 800 days */
    /* Places ever used; the arrays are as long. */
    uint32_t listener_places, upstream_places, certificate_places, server_numbers;
};

/* Receives warnings (contradictory time-outs and the like); `line` is 0 when it belongs to no line.
 */
typedef void conf_warning_fn(void *context, unsigned line, const char *text);

/* Parses and checks `text` (of the file `path`, named in messages) whole. On failure *ret_conf is
 * untouched and the error reads "FILE:LINE: what was found; what was expected; what to do". Checks
 * nothing outside the text. */
MUST_CHECK int conf_parse(struct conf **ret_conf, const char *path, const char *text,
                          conf_warning_fn *warn, void *warn_context, struct error *error);
/* Reads a file into malloc'ed text. */
MUST_CHECK int conf_read(char **ret_text, const char *path, struct error *error);
void conf_free(struct conf *conf); /* accepts NULL */

/* What a complete configuration looks like: the given one with all defaults, in the same syntax.
 * Returns malloc'ed text. */
char *conf_show(const struct conf *conf);

/* The text by which the supervisor passes a configuration to its processes: places and retired
 * objects are in it. It was checked before; no process takes such text from anybody else. */
char *conf_show_internal(const struct conf *conf);
MUST_CHECK int conf_parse_internal(struct conf **ret_conf, const char *path, const char *text,
                                   struct error *error);

/* Every file and folder to be opened that the configuration names (not the state folder, which the
 * daemon makes; not Unix sockets); used to check that each can be opened, and by the supervisor to
 * decide whether a process may have a file opened. `role` says what it is for ("chain of
 * certificate shop.example"). Stops and returns the first non-zero result of `fn`. */
typedef int conf_path_fn(void *context, const char *path, const char *role, bool folder);
int conf_each_path(const struct conf *conf, conf_path_fn *fn, void *context);
/* Of these, those of sections `watch`. */
int conf_each_watch_path(const struct conf *conf, conf_path_fn *fn, void *context);

/* The file that a target of a watch is ("file:/path", "file:///path"); NULL: it is none. */
const char *conf_target_path(const char *target);

/* The file that a text of `discover` names ("zone:/path", "list:/path"); NULL: none. */
const char *conf_discover_path(const char *spec);

/* The file of the key-encryption key: a credential's stands in $CREDENTIALS_DIRECTORY, which the
 * service manager sets. Fails when that is missing, or when no key is configured
 * (ERROR_NOT_FOUND). */
#define CONF_CREDENTIAL "credential:"
MUST_CHECK int conf_key_encryption_path(char *path, size_t size, const struct conf *conf,
                                        struct error *error);
/* The longest life of a ticket that a listener in force gives, in ms; 0: none gives any. */
uint64_t conf_longest_ticket(const struct conf *conf);

/* Is there an object of the configured ones, neither a hole nor retired? */
static inline bool conf_listener_in_force(const struct conf_listener *listener)
{
    return listener->name != NULL && !listener->retired;
}
static inline bool conf_upstream_in_force(const struct conf_upstream *upstream)
{
    return upstream->name != NULL && !upstream->retired;
}
static inline bool conf_server_in_force(const struct conf_server *server)
{
    return server->name != NULL && !server->retired;
}
static inline bool conf_certificate_in_force(const struct conf_certificate *certificate)
{
    return certificate->name != NULL && !certificate->retired;
}

/* What holds for a client that asks for this name ("": none), in lower case. */
enum conf_client_certificate conf_client_certificate(const struct conf_listener *listener,
                                                     const char *server_name);
/* Is any client of the listener asked for a certificate? */
bool conf_asks_clients(const struct conf_listener *listener);
/* … in or after the handshake, whatever the name, in this way? */
bool conf_asks_clients_by(const struct conf_listener *listener, enum conf_client_certificate mode);
/* Is a client of this name asked as soon as its handshake is over? */
bool conf_authenticates_at_once(const struct conf_listener *listener, const char *server_name);

/* CONF_NONE when there is none of that name. Retired ones are found, too. */
uint32_t conf_find_listener(const struct conf *conf, const char *name);
uint32_t conf_find_upstream(const struct conf *conf, const char *name);
uint32_t conf_find_certificate(const struct conf *conf, const char *name);
/* Where HTTP is served: the addresses of admin, then those of the exporter. */
size_t conf_http_count(const struct conf *conf);
const struct address *conf_http_address(const struct conf *conf, size_t index);

uint32_t conf_find_watch(const struct conf *conf, const char *name);
uint32_t conf_find_channel(const struct conf *conf, const char *name);
uint32_t conf_find_alert_route(const struct conf *conf, const char *name);

/* Each target of each watch, and each text of `discover`; what they mean is for watch/ to say
 * (watch/configured.h). Stops at the first non-zero result, which is returned. */
typedef int conf_target_fn(void *context, const struct conf_watch *watch, const char *text,
                           unsigned line, bool discover);
int conf_each_target(const struct conf *conf, conf_target_fn *fn, void *context);
