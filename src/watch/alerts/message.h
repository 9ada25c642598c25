/* An alert in words, for people and for machines that collect alerts. Everything in it is
 * printable; nothing in it is secret. */
#pragma once

#include "base/buffer.h"
#include "watch/alerts/alerts.h"

#define MESSAGE_PLACES_SHOWN 20

/* What is delivered: made when the notice is given, so that a late delivery says what was true
 * then. An object with "kind", "subject", "text", and the alert's own fields under "alert". */
json_t *message_new(const struct watch_alert *alert, enum notice notice, int64_t now);
/* A trial, for `alerts test`. */
json_t *message_trial(const char *channel, int64_t now);

/* Alertmanager's webhook body, version 4. `receiver`: the channel's name. */
json_t *message_alertmanager(const json_t *message, const char *receiver);

/* A mail by RFC 5322, plain text, with Message-ID and References: all mails of one alert are one
 * thread. */
void message_mail(struct buffer *output, const json_t *message, const char *from,
                  const char *const *to, size_t to_count, int64_t now);
