/* Plain use of a finished handshake: application data through OpenSSL itself. */
#include "tls/handshake_internal.h"

#include <limits.h>

#include <openssl/err.h>

size_t handshake_stream_feed(struct handshake *handshake, const uint8_t *input, size_t size)
{
    size_t room = handshake->later.maximum - handshake->later.size;

    if (handshake->ssl == NULL && handshake->alone.keys == NULL)
        return 0; /* detached: the bytes belong to the caller */
    if (size > room)
        size = room;
    return buffer_append(&handshake->later, input, size) ? size : 0;
}

/* OpenSSL's answer in this header's terms. */
static long stream_result(struct handshake *handshake, int result)
{
    int kind = result > 0 ? SSL_ERROR_NONE : SSL_get_error(handshake->ssl, result);
    bool good = kind == SSL_ERROR_NONE || (kind == SSL_ERROR_WANT_READ && !handshake->garbage);

    if (!good && handshake->carried.in_use)
        handshake_failure_collect(handshake);
    ERR_clear_error();
    return !good ? -1 : kind == SSL_ERROR_NONE ? result : 0;
}

static int clamp(size_t size)
{
    return size > INT_MAX ? INT_MAX : (int)size;
}

long handshake_read(struct handshake *handshake, uint8_t *output, size_t size)
{
    if (handshake->alone.keys != NULL)
        return handshake_alone_read(handshake, output, size);
    if (handshake->status != HANDSHAKE_DONE || handshake->ssl == NULL)
        return -1;
    handshake->streaming = true;
    handshake->input = handshake->later.data;
    handshake->input_size = handshake->later.size;
    ERR_clear_error();
    int result = SSL_read(handshake->ssl, output, clamp(size));
    buffer_consume(&handshake->later, handshake->later.size - handshake->input_size);
    handshake->input = NULL;
    handshake->input_size = 0;
    long status = stream_result(handshake, result);
    handshake_carry_settle(handshake);
    return status;
}

long handshake_write(struct handshake *handshake, const uint8_t *input, size_t size)
{
    if (handshake->alone.keys != NULL)
        return handshake_alone_write(handshake, input, size);
    if (handshake->status != HANDSHAKE_DONE || handshake->ssl == NULL)
        return -1;
    handshake->streaming = true;
    if (size == 0)
        return 0;
    ERR_clear_error();
    return stream_result(handshake, SSL_write(handshake->ssl, input, clamp(size)));
}

void handshake_shutdown(struct handshake *handshake)
{
    if (handshake->alone.keys != NULL)
        handshake_alert(handshake, ALERT_CLOSE_NOTIFY);
    if (handshake->status != HANDSHAKE_DONE || handshake->ssl == NULL)
        return;
    handshake->streaming = true;
    ignore(SSL_shutdown(handshake->ssl));
    ERR_clear_error();
}

/* OpenSSL marks a fatal alert as the peer's end, too. */
bool handshake_close_received(const struct handshake *handshake)
{
    if (handshake->alone.keys != NULL)
        return handshake->alone.leg.close_received;
    return handshake->ssl != NULL && handshake->failure.alert_received == ALERT_CLOSE_NOTIFY &&
           (SSL_get_shutdown(handshake->ssl) & SSL_RECEIVED_SHUTDOWN) != 0;
}
