/* What happened, as a fixed-size record: written by workers into their event rings, read by
 * control, which prints it as a JSON line, feeds it to `trace` and counts it. Text fields hold
 * printable text only (string_printable at the writer). */
#pragma once

#include <stdbool.h>
#include <stdint.h>

/* X(symbol, JSON name, rare: goes into the ring that a flood of bulk events cannot displace). */
#define EVENT_LIST(X)                                                                              \
    X(EVENT_PROCESS_STARTED, "process-started", true)                                              \
    X(EVENT_PROCESS_ENDED, "process-ended", true)                                                  \
    X(EVENT_SESSIONS_ADOPTED, "sessions-adopted", true)                                            \
    X(EVENT_UPGRADE_BEGUN, "upgrade-begun", true)                                                  \
    X(EVENT_UPGRADE_REHEARSED, "upgrade-rehearsed", true)                                          \
    X(EVENT_UPGRADED, "upgraded", true)                                                            \
    X(EVENT_UPGRADE_REFUSED, "upgrade-refused", true)                                              \
    X(EVENT_UPGRADE_ROLLED_BACK, "upgrade-rolled-back", true)                                      \
    X(EVENT_READY, "ready", true)                                                                  \
    X(EVENT_STOPPING, "stopping", true)                                                            \
    X(EVENT_HANDSHAKE_DONE, "handshake-done", false)                                               \
    X(EVENT_HANDSHAKE_FAILED, "handshake-failed", false)                                           \
    X(EVENT_SESSION_CLOSED, "session-closed", false)                                               \
    X(EVENT_DETACH_FAILED, "detach-failed", true)                                                  \
    X(EVENT_RENEGOTIATED, "renegotiated", false)                                                   \
    X(EVENT_RENEGOTIATION_FAILED, "renegotiation-failed", false)                                   \
    X(EVENT_CLIENT_AUTHENTICATED, "client-authenticated", false)                                   \
    X(EVENT_AUTHENTICATION_FAILED, "client-authentication-failed", false)                          \
    X(EVENT_CERTIFICATE_LOADED, "certificate-loaded", true)                                        \
    X(EVENT_CERTIFICATE_REFUSED, "certificate-refused", true)                                      \
    X(EVENT_CERTIFICATE_ROLLED_BACK, "certificate-rolled-back", true)                              \
    X(EVENT_CLIENT_TRUST_LOADED, "client-trust-loaded", true)                                      \
    X(EVENT_CLIENT_TRUST_REFUSED, "client-trust-refused", true)                                    \
    X(EVENT_CLIENT_TRUST_STALE, "client-trust-stale", true)                                        \
    X(EVENT_SESSIONS_JUDGED, "sessions-judged", true)                                              \
    X(EVENT_ACCEPT_PAUSED, "accept-paused", true)                                                  \
    X(EVENT_ACCEPT_RESUMED, "accept-resumed", true)                                                \
    X(EVENT_OVERLOAD_BEGAN, "overload-began", true)                                                \
    X(EVENT_OVERLOAD_ENDED, "overload-ended", true)                                                \
    X(EVENT_CONNECTION_REFUSED, "connection-refused", false)                                       \
    X(EVENT_UPSTREAM_DOWN, "upstream-down", true)                                                  \
    X(EVENT_UPSTREAM_UP, "upstream-up", true)                                                      \
    X(EVENT_UPSTREAM_FAILED, "upstream-failed", false)                                             \
    X(EVENT_UPSTREAM_CHANGED, "upstream-changed", true)                                            \
    X(EVENT_DRAIN_BEGUN, "drain-begun", true)                                                      \
    X(EVENT_DRAIN_ENDED, "drain-ended", true)                                                      \
    X(EVENT_DRAIN_CANCELLED, "drain-cancelled", true)                                              \
    X(EVENT_NAME_RESOLVED, "name-resolved", true)                                                  \
    X(EVENT_CONFIG_LOADED, "config-loaded", true)                                                  \
    X(EVENT_CONFIG_REFUSED, "config-refused", true)                                                \
    X(EVENT_CONFIG_RETURNED, "config-returned", true)                                              \
    X(EVENT_CONFIG_CONFIRMED, "config-confirmed", true)                                            \
    X(EVENT_RESUMPTION_FORGOTTEN, "resumption-forgotten", true)                                    \
    X(EVENT_TICKET_KEYS_READY, "ticket-keys-ready", true)                                          \
    X(EVENT_TICKET_KEYS_ROTATED, "ticket-keys-rotated", true)                                      \
    X(EVENT_TICKET_KEYS_STORAGE_FAILED, "ticket-keys-storage-failed", true)                        \
    X(EVENT_TICKET_KEYS_STORAGE_HEALED, "ticket-keys-storage-healed", true)                        \
    X(EVENT_WATCH_VERDICT, "watch-verdict", true)                                                  \
    X(EVENT_WATCH_CERTIFICATE, "watch-certificate", true)                                          \
    X(EVENT_WATCH_IN_TURN, "watch-in-turn", true)                                                  \
    X(EVENT_WATCH_DISCOVERED, "watch-discovered", true)                                            \
    X(EVENT_WATCH_STORE_FAILED, "watch-store-failed", true)                                        \
    X(EVENT_WATCH_STORE_HEALED, "watch-store-healed", true)                                        \
    X(EVENT_ALERT_OPENED, "alert-opened", true)                                                    \
    X(EVENT_ALERT_WORSE, "alert-worse", true)                                                      \
    X(EVENT_ALERT_REMINDER, "alert-reminder", true)                                                \
    X(EVENT_ALERT_RECOVERED, "alert-recovered", true)                                              \
    X(EVENT_DELIVERY_FAILING, "delivery-failing", true)                                            \
    X(EVENT_DELIVERY_WORKS, "delivery-works", true)                                                \
    X(EVENT_DELIVERY_GIVEN_UP, "delivery-given-up", true)                                          \
    X(EVENT_HEARTBEAT_FAILING, "heartbeat-failing", true)                                          \
    X(EVENT_HEARTBEAT_WORKS, "heartbeat-works", true)                                              \
    X(EVENT_WARNING, "warning", true)                                                              \
    X(EVENT_TRAFFIC_KEY_EXHAUSTING, "traffic-key-exhausting", false)                               \
    X(EVENT_TRACE, "trace", false)

enum event_type {
#define X(symbol, name, rare) symbol,
    EVENT_LIST(X)
#undef X
        EVENT_TYPE_COUNT
};

#define EVENT_NO_INDEX UINT16_MAX

/* A session towards people and in events: the relay that has it and its slot's serial; shown as
 * "RELAY-SERIAL". */
#define SESSION_ID(relay, serial) ((uint64_t)(relay) << 48 | (serial))
#define SESSION_ID_RELAY(id)      ((unsigned)((id) >> 48))
#define SESSION_ID_SERIAL(id)     ((id)&0xffffffffffffull)

struct event {
    uint64_t wall_ns;
    uint64_t session;             /* SESSION_ID, 0: none */
    uint64_t duration_us;         /* handshake-done/failed: since accept; session-closed: age */
    uint64_t bytes_in, bytes_out; /* session-closed: from and to the client, as on the wire */
    uint16_t type;
    uint16_t worker;                     /* worker number (board.h) */
    uint16_t listener, upstream, server; /* indices or EVENT_NO_INDEX */
    uint16_t version, suite;
    uint16_t client_port;
    uint8_t client[16];
    uint8_t alert_sent, alert_received; /* ALERT_NONE */
    uint8_t reason;                     /* session-closed: enum session_end */
    uint8_t flags;                      /* EVENT_* below */
    uint8_t resumption_miss;            /* handshake-done: enum resumption_miss */
    uint32_t config;                    /* generation that the indices belong to */
    uint32_t certificate;               /* index, CONF_NONE */
    uint32_t certificate_version;
    char server_name[96];
    char alpn[16];
    char group[24];
    char stage[24];       /* handshake-failed: where */
    char fingerprint[40]; /* JA4 of the ClientHello */
    char detail[136];     /* for people: what, why, what next */
};

enum { EVENT_RESUMED = 1, EVENT_HELLO_RETRY = 2, EVENT_KEY_RSA = 4, EVENT_TRACED = 8 };

const char *event_name(enum event_type type); /* "unknown" for a number that is none */
bool event_is_rare(enum event_type type);
