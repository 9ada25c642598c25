/* Shared by the files of the supervisor's reload:
 *
 *   supervisor_reload.c   requests, the steps, their end
 *   supervisor_reload_read.c  the text, merged with what is in force
 *   supervisor_check.c    the process that examines the files
 *   supervisor_bind.c     addresses that come and go
 *   supervisor_confirm.c  going back by itself
 */
#pragma once

#include "base/buffer.h"
#include "edge/supervisor_history.h"
#include "edge/supervisor_internal.h"
#include "edge/supervisor_reload.h"

enum reload_stage {
    RELOAD_IDLE,
    RELOAD_CHECKING,  /* the files */
    RELOAD_PREPARING, /* handshakers */
    RELOAD_RELAYS,
    RELOAD_SWAPPING /* control and handshakers */
};

/* Who wants it. */
enum reload_origin {
    ORIGIN_SIGNAL,
    ORIGIN_OPERATOR, /* an answer is waited for */
    ORIGIN_RETURN    /* nobody confirmed the last one */
};

/* The process that examines files. */
struct reload_check {
    pid_t pid;  /* 0: none */
    int output; /* -1: at its end */
    int status;
    bool ended, timed_out;
    struct timer timer;
};

/* Addresses of the configuration to come, as the house will have them. */
struct reload_sockets {
    struct house_socket items[CONF_ADDRESSES_MAX];
    bool fresh[CONF_ADDRESSES_MAX]; /* bound for it; else taken over */
    uint32_t count;
};

/* Counts of handshakes at some moment. */
struct handshake_sample {
    uint64_t at_ns, done, failed;
};
#define SAMPLES_MAX 31 /* five minutes and the moment itself */

struct reload_confirm {
    bool waiting;
    uint32_t entry; /* of the history: what is gone back to */
    uint64_t duration_ms;
    struct handshake_sample begun; /* when it came into force */
    double baseline;               /* share of failures before */
    struct timer timer;
    char why[128]; /* it goes back; "" while it does not */
};

struct reload {
    struct supervisor *supervisor;
    enum reload_stage stage;
    enum reload_origin origin;
    struct message_reload request;
    char why[128]; /* of a return */
    char source[CONFIG_SOURCE_MAX], next_source[CONFIG_SOURCE_MAX];
    char *text;          /* as written */
    struct conf *next;   /* merged */
    struct conf *owned;  /* the one in force, when a reload made it */
    int document;        /* of `next`; -1 */
    unsigned fixed;      /* CONF_FIXED_* */
    struct buffer notes; /* warnings and findings, one a line */
    struct reload_check check;
    uint8_t check_handler;
    struct reload_sockets listening, admin;
    struct house_socket leaving[2 * CONF_ADDRESSES_MAX];
    uint32_t leaving_count;
    struct waiting_for {
        pid_t pid;
        bool in_force;
    } waiting[LIFE_COUNT * BOARD_PROCESSES];
    unsigned waiting_count;
    struct timer patience;
    char summary[96];
    struct history history;
    bool history_warned;
    struct reload_confirm confirm;
    struct handshake_sample samples[SAMPLES_MAX];
    unsigned sample_count;
};

/* ---- supervisor_reload.c ---- */
void reload_note(struct reload *reload, const char *format, ...) PRINTF_LIKE(2, 3);
/* Nothing was changed. Ends the reload. */
void reload_refuse(struct reload *reload, enum error_code code, const char *format, ...)
    PRINTF_LIKE(3, 4);
void reload_begin(struct reload *reload, enum reload_origin origin,
                  const struct message_reload *request);
/* The files were examined: `code` ERROR_NONE, or what is wrong; the findings were noted. */
void reload_checked(struct reload *reload, enum error_code code);

/* ---- supervisor_reload_read.c ---- */
/* Fills text, source, next, fixed and document, as the request says. */
MUST_CHECK int reload_read(struct reload *reload, struct error *error);
/* Places on the board that are given to somebody else begin anew. */
void reload_reset_board(struct board *board, const struct conf *before, const struct conf *after);

/* ---- supervisor_check.c ---- */
void check_init(struct reload *reload);
MUST_CHECK int check_begin(struct reload *reload, struct error *error);

/* ---- supervisor_bind.c ---- */
/* Takes over what stays and binds what is new; on failure all is as before. */
MUST_CHECK int bind_next(struct reload *reload, struct error *error);
void bind_undo(struct reload *reload);
/* They are the house's; those that went are in reload->leaving. */
void bind_commit(struct reload *reload);
void bind_close_leaving(struct reload *reload);

/* ---- supervisor_confirm.c ---- */
void confirm_init(struct reload *reload);
void confirm_tick(struct reload *reload);
/* A configuration that must be confirmed came into force; `before` is the entry to go back to. */
void confirm_begin(struct reload *reload, uint64_t duration_ms, uint32_t before);
void confirm_end(struct reload *reload);
