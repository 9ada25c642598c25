/* What the kinds of channels share. */
#pragma once

#include "base/buffer.h"
#include "base/secret.h"
#include "watch/channels/channel.h"

#define CHANNEL_BODY_MAX   (1u << 20)
#define CHANNEL_ANSWER_MAX (64u << 10)
#define CHANNEL_SECRET_MAX 1024

struct alert_channel_exec; /* exec.c */

struct alert_channel_sending {
    struct alert_channel_host *host;
    alert_channel_done_fn *done;
    void *context;
    struct http_request *request; /* of those that speak HTTP or SMTP */
    struct alert_channel_exec *exec;
};

/* Each fills `order` beyond what is common; body and texts live in `body` and `url` until the
 * request has begun. */
void alert_channel_mail(struct http_order *order, const struct alert_channel_order *what,
                        struct buffer *body);
MUST_CHECK int alert_channel_telegram(struct http_order *order,
                                      const struct alert_channel_order *what, struct buffer *body,
                                      char *url, size_t url_size, struct error *error);
MUST_CHECK int alert_channel_webhook(struct http_order *order,
                                     const struct alert_channel_order *what, struct buffer *body,
                                     char *signature, size_t signature_size, struct error *error);

MUST_CHECK int alert_channel_exec_start(struct alert_channel_sending *sending,
                                        const struct alert_channel_order *order,
                                        struct error *error);
void alert_channel_exec_end(struct alert_channel_exec *exec); /* kills it; accepts NULL */
/* Reports and frees the sending. */
void alert_channel_finish(struct alert_channel_sending *sending,
                          const struct alert_channel_result *result);
void alert_channel_exec_handler(void *context, uint64_t tag, unsigned events);
