/* A webhook in the shape of Alertmanager's, so that receivers made for it work. With a secret, the
 * body is signed: X-Holdfast-Signature: sha256=<HMAC-SHA-256 in hex>. */
#include <stdio.h>
#include <string.h>

#include "base/json.h"
#include "base/string.h"
#include "tls/digest.h"
#include "watch/alerts/message.h"
#include "watch/channels/channel_internal.h"

int alert_channel_webhook(struct http_order *order, const struct alert_channel_order *what,
                          struct buffer *body, char *signature, size_t signature_size,
                          struct error *error)
{
    static struct http_header headers[] = {{"Content-Type", "application/json"},
                                           {"X-Holdfast-Signature", NULL}};
    uint8_t digest[DIGEST_SHA256_SIZE];
    char hex[2 * sizeof digest + 1];

    if (!json_line(message_alertmanager(what->message, what->channel->name), body))
        return error_set(error, ERROR_MEMORY, "out of memory");
    order->headers = headers;
    order->header_count = 1;
    if (what->secret == NULL)
        return 0;
    if (!digest_hmac_sha256(digest, what->secret, strlen(what->secret), body->data, body->size))
        return error_set(error, ERROR_INTERNAL, "the body cannot be signed");
    string_hex(hex, digest, sizeof digest);
    ignore(snprintf(signature, signature_size, "sha256=%s", hex));
    headers[1].value = signature;
    order->header_count = 2;
    return 0;
}
