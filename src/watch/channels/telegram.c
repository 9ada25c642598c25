/* Telegram's bot API: POST /bot<token>/sendMessage. The token stands in the URL, as Telegram wants
 * it; error texts never show URLs. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "watch/channels/channel_internal.h"

#define TEXT_MAX 4096 /* Telegram's limit of a message, in characters */

static const struct http_header json_header[] = {{"Content-Type", "application/json"}};

int alert_channel_telegram(struct http_order *order, const struct alert_channel_order *what,
                           struct buffer *body, char *url, size_t url_size, struct error *error)
{
    const char *text = json_string_value(json_object_get(what->message, "text"));
    const char *subject = json_string_value(json_object_get(what->message, "subject"));
    char whole[TEXT_MAX];

    if (what->secret == NULL)
        return error_set(error, ERROR_CONFIG, "the bot's token is not known");
    int length = snprintf(url, url_size, "%s/bot%s/sendMessage", what->channel->url, what->secret);
    if (length < 0 || (size_t)length >= url_size)
        return error_set(error, ERROR_CONFIG, "the URL is too long");
    ignore(snprintf(whole, sizeof whole, "%s\n\n%s", subject != NULL ? subject : "",
                    text != NULL ? text : ""));
    json_t *object =
        json_pack("{s:s, s:b}", "chat_id", what->channel->chat, "disable_web_page_preview", 1);
    json_set_text(object, "text", whole);
    if (!json_line(object, body))
        return error_set(error, ERROR_MEMORY, "out of memory");
    order->url = url;
    order->headers = json_header;
    order->header_count = 1;
    return 0;
}
