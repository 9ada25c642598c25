/* Mail through a server that takes it (smtp:// or smtps://); libcurl speaks SMTP. */
#include "watch/alerts/message.h"
#include "watch/channels/channel_internal.h"

void alert_channel_mail(struct http_order *order, const struct alert_channel_order *what,
                        struct buffer *body)
{
    const struct conf_channel *channel = what->channel;

    order->mail_from = channel->from;
    order->mail_to = (const char *const *)channel->to.items;
    order->mail_to_count = channel->to.count;
    order->mail_starttls = channel->starttls;
    order->user = channel->user;
    order->password = what->secret;
    message_mail(body, what->message, channel->from, order->mail_to, order->mail_to_count,
                 what->now);
}
