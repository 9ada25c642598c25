/* Dialling our own listeners as a client would, to see which leaf is really shown for a name and
 * key type. */
#pragma once

#include "conf/conf.h"
#include "loop/loop.h"
#include "tls/handshake.h"
#include "vault/vault.h"

struct dial;

/* All dials of the vault; some wait for their turn. */
struct dialler {
    const struct conf *conf;
    struct loop *loop;
    struct board *board;
    uint8_t handler;
    struct tls_client *clients[KEY_TYPE_COUNT];
    struct dial *running;      /* also those that only say good-bye */
    struct dial *first, *last; /* waiting for their turn */
    unsigned running_count;    /* without a result yet */
    struct timer start;
    bool held;
    uint64_t serial;
};

void dialler_init(struct dialler *dialler, const struct conf *conf, struct loop *loop,
                  struct board *board);
void dialler_fini(struct dialler *dialler); /* drops all without calling back */

/* Called once with result, text and time filled in; never before dialler_add() returned. */
typedef void dial_done_fn(void *context, size_t number, const struct vault_check *check);

struct dial_order {
    uint32_t certificate;     /* index in the configuration */
    struct vault_check check; /* which listener and address */
    enum key_type key_type;
    uint8_t fingerprint[32]; /* expected */
    size_t number;           /* comes back */
    dial_done_fn *done;
    void *context;
};
/* False when out of memory. */
MUST_CHECK bool dialler_add(struct dialler *dialler, const struct dial_order *order);
/* Another configuration: dials that wait are dropped, those under way no longer call back, and new
 * ones wait until dialler_resume(). */
void dialler_reload(struct dialler *dialler, const struct conf *conf);
void dialler_resume(struct dialler *dialler);
/* The one who ordered is no longer interested. */
void dialler_cancel(struct dialler *dialler, const void *context);

/* The addresses under which a certificate can be seen; malloc'ed, in order of configuration. Fails
 * with -ERROR_MEMORY only. */
MUST_CHECK int dial_checks(const struct conf *conf, uint32_t certificate,
                           struct vault_check **ret_checks, size_t *ret_count);
