/* Ways to people: mail, a Telegram bot, a webhook, a program. Each takes a message
 * (alerts/message.h) and says whether it was really delivered. */
#pragma once

#include <jansson.h>

#include "conf/conf.h"
#include "loop/loop.h"
#include "net/http_client.h"

struct alert_channel_order {
    const struct conf_channel *channel;
    const char *secret; /* what its secret-file holds, or NULL */
    const char *trust;  /* what its trust file holds, or NULL: the system's store */
    const json_t *message;
    int64_t now;
};

struct alert_channel_result {
    bool delivered;
    bool hopeless;         /* trying again cannot help: the order itself is refused */
    int64_t retry_after_s; /* the other side's wish; -1: none */
    char error[256];       /* printable, without secrets */
};
typedef void alert_channel_done_fn(void *context, const struct alert_channel_result *result);

struct alert_channel_sending;

/* What sending needs; stays where it is. */
struct alert_channel_host {
    struct loop *loop;
    struct http_client *http;
    uint8_t exec_handler;
    struct alert_channel_exec *execs; /* programs that run */
    uint64_t exec_serial;
};
void alert_channel_host_init(struct alert_channel_host *host, struct loop *loop,
                             struct http_client *http);

/* Called back once, never before it has returned; needs nothing of the order after that. NULL:
 * refused at once, and `error` says why. */
struct alert_channel_sending *alert_channel_send(struct alert_channel_host *host,
                                                 const struct alert_channel_order *order,
                                                 alert_channel_done_fn *done, void *context,
                                                 struct error *error);
void alert_channel_cancel(struct alert_channel_sending *sending); /* accepts NULL */
