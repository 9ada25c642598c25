/* The head of an HTTP/1 response, as far as the checks need it: the status, and
 * Strict-Transport-Security (RFC 6797). */
#pragma once

#include "watch/endpoint.h"

#define HTTP_HEAD_MAX 16384

enum http_head_status { HTTP_HEAD_MORE, HTTP_HEAD_DONE, HTTP_HEAD_BAD };

/* Interim responses (1xx) in front are passed over. Fills status and what the header says, for
 * HTTP_HEAD_DONE only. More than HTTP_HEAD_MAX bytes without an end are bad. */
MUST_CHECK enum http_head_status http_head_read(const uint8_t *data, size_t size,
                                                struct endpoint_http *http);
