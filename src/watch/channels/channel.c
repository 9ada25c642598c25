#include "watch/channels/channel_internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/string.h"

#define URL_MAX       2048
#define SIGNATURE_MAX 96

void alert_channel_host_init(struct alert_channel_host *host, struct loop *loop,
                             struct http_client *http)
{
    *host = (struct alert_channel_host){.loop = loop, .http = http};
    host->exec_handler = loop_handler(loop, alert_channel_exec_handler, host);
}

void alert_channel_finish(struct alert_channel_sending *sending,
                          const struct alert_channel_result *result)
{
    sending->done(sending->context, result);
    free(sending);
}

/* 2xx is a delivery; 4xx is hopeless but for those that ask for patience. */
static void judge_answer(const struct http_answer *answer, struct alert_channel_result *result)
{
    char shown[160];

    result->retry_after_s = answer->retry_after_s;
    if (answer->failed) {
        ignore(string_copy(result->error, sizeof result->error, answer->error.message));
        return;
    }
    result->delivered = answer->status >= 200 && answer->status < 300;
    if (result->delivered)
        return;
    result->hopeless = answer->status >= 400 && answer->status < 500 && answer->status != 408 &&
                       answer->status != 429;
    string_printable(shown, sizeof shown, answer->body,
                     answer->body_size < 150 ? answer->body_size : 150);
    ignore(snprintf(result->error, sizeof result->error, "it answered %u%s%s", answer->status,
                    shown[0] != '\0' ? ": " : "", shown));
}

static void answered(void *context, const struct http_answer *answer)
{
    struct alert_channel_sending *sending = context;
    struct alert_channel_result result = {.retry_after_s = -1};

    sending->request = NULL;
    judge_answer(answer, &result);
    alert_channel_finish(sending, &result);
}

static int start_request(struct alert_channel_sending *sending,
                         const struct alert_channel_order *what, struct error *error)
{
    const struct conf_channel *channel = what->channel;
    struct http_order order = {.url = channel->url,
                               .trust_pem = what->trust,
                               .timeout_ms = channel->timeout,
                               .answer_max = CHANNEL_ANSWER_MAX};
    struct buffer body;
    char url[URL_MAX], signature[SIGNATURE_MAX];
    int result = 0;

    buffer_init(&body, CHANNEL_BODY_MAX);
    switch (channel->type) {
    case CONF_CHANNEL_MAIL:
        alert_channel_mail(&order, what, &body);
        break;
    case CONF_CHANNEL_TELEGRAM:
        result = alert_channel_telegram(&order, what, &body, url, sizeof url, error);
        break;
    case CONF_CHANNEL_WEBHOOK:
        result = alert_channel_webhook(&order, what, &body, signature, sizeof signature, error);
        break;
    case CONF_CHANNEL_EXEC:
        break;
    }
    if (result == 0 && body.failed)
        result = error_set(error, ERROR_LIMIT, "the message is too long for the channel");
    if (result == 0) {
        order.body = body.data;
        order.body_size = body.size;
        sending->request = http_client_ask(sending->host->http, &order, answered, sending, error);
        result = sending->request != NULL ? 0 : -(int)error->code;
    }
    secret_wipe(url, sizeof url); /* Telegram's has the token in it */
    buffer_fini(&body);
    return result;
}

struct alert_channel_sending *alert_channel_send(struct alert_channel_host *host,
                                                 const struct alert_channel_order *order,
                                                 alert_channel_done_fn *done, void *context,
                                                 struct error *error)
{
    struct alert_channel_sending *sending = calloc(1, sizeof *sending);

    if (sending == NULL) {
        error_set(error, ERROR_MEMORY, "out of memory");
        return NULL;
    }
    *sending = (struct alert_channel_sending){.host = host, .done = done, .context = context};
    int result = order->channel->type == CONF_CHANNEL_EXEC
                     ? alert_channel_exec_start(sending, order, error)
                     : start_request(sending, order, error);
    if (result != 0) {
        free(sending);
        return NULL;
    }
    return sending;
}

void alert_channel_cancel(struct alert_channel_sending *sending)
{
    if (sending == NULL)
        return;
    http_client_cancel(sending->request);
    alert_channel_exec_end(sending->exec);
    free(sending);
}
