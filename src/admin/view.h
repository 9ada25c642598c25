/* What the admin modules look at: the configuration in force, the board, and the metadata of every
 * relay's arena. They read; the few fields of the board that belong to control (trace,
 * administrative state of servers, drains) are written by trace.c, verb_upstream.c and
 * control_drain.c alone. */
#pragma once

#include "conf/conf.h"
#include "session/board.h"
#include "session/slot.h"

struct vault;
struct ticket_view;

struct admin_view {
    const struct conf *conf;
    struct board *board;
    struct arena arenas[BOARD_WORKERS_MAX]; /* of relay i; header NULL: not mapped */
    uint32_t slot_capacity;                 /* of each arena */
    unsigned workers;                       /* handshakers and relays each */
    struct vault *vault;                    /* NULL: not running */
    const struct ticket_view *tickets;      /* the same */
};

/* A server by its indices; NULL when there is none (any more). */
const struct conf_server *view_server(const struct conf *conf, uint32_t upstream, uint32_t server);

/* Names by index; NULL when there is none. */
const char *view_listener_name(const struct conf *conf, uint32_t listener);
const char *view_upstream_name(const struct conf *conf, uint32_t upstream);
const char *view_server_name(const struct conf *conf, uint32_t upstream, uint32_t server);
const char *view_certificate_name(const struct conf *conf, uint32_t certificate);

/* The kind of process that has this worker number, and its index among its kind. */
enum process_kind view_process_kind(unsigned worker, unsigned *ret_index);

/* A process that beat within the last ten seconds. */
bool view_process_alive(const struct board *board, unsigned worker, uint64_t now_ns);
unsigned view_alive(const struct admin_view *view, enum process_kind kind, uint64_t now_ns);

/* "TLSv1.3", "X25519"; NULL for 0, "0x1234" in `text` for a number without a name. */
#define VIEW_NUMBER_MAX 16
const char *view_version_name(uint16_t version, char text[VIEW_NUMBER_MAX]);
const char *view_group_name(uint16_t group, char text[VIEW_NUMBER_MAX]);
const char *view_suite_name(uint16_t version, uint16_t suite, char text[VIEW_NUMBER_MAX]);
