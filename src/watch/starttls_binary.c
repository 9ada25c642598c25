/* Protocols of packets: LDAP (RFC 4511 §4.14), PostgreSQL (SSLRequest), MySQL (capability SSL). */
#include "watch/starttls_internal.h"

#include <stdio.h>
#include <string.h>

/* Bytes that are walked; a step beyond the end sticks. */
struct cursor {
    const uint8_t *at, *end;
    bool failed;
};

static const uint8_t *cursor_take(struct cursor *cursor, size_t size)
{
    static const uint8_t nothing[8];
    const uint8_t *at = cursor->at;

    if (cursor->failed || size > (size_t)(cursor->end - cursor->at)) {
        cursor->failed = true;
        return nothing;
    }
    cursor->at += size;
    return at;
}

/* ---- LDAP ---- */

#define LDAP_MESSAGE_MAX 4096

void starttls_open_ldap(struct starttls *starttls)
{
    static const uint8_t request[] = {0x30, 29,  0x02, 1,   1, /* message 1 */
                                      0x77, 24,  0x80, 22,     /* ExtendedRequest with this name */
                                      '1',  '.', '3',  '.', '6', '.', '1', '.', '4', '.', '1',
                                      '.',  '1', '4',  '6', '6', '.', '2', '0', '0', '3', '7'};

    starttls_say(starttls, 0, request, sizeof request);
}

/* Tag and definite length of at most two bytes; the content follows. False: not whole, or no BER
 * that such a message would use. */
static bool ber_header(struct cursor *cursor, uint8_t *ret_tag, size_t *ret_length)
{
    *ret_tag = *cursor_take(cursor, 1);
    size_t length = *cursor_take(cursor, 1);

    if (length == 0x81) {
        length = *cursor_take(cursor, 1);
    } else if (length == 0x82) {
        const uint8_t *bytes = cursor_take(cursor, 2);
        length = (size_t)bytes[0] << 8 | bytes[1];
    } else if (length >= 0x80) {
        /* Four bytes are what OpenLDAP and Active Directory write when they do not count first. */
        const uint8_t *bytes = cursor_take(cursor, length == 0x84 ? 4 : SIZE_MAX);
        if (bytes[0] != 0 || bytes[1] != 0)
            cursor->failed = true;
        length = (size_t)bytes[2] << 8 | bytes[3];
    }
    *ret_length = length;
    return !cursor->failed;
}

/* An element of this tag; its content as a cursor of its own. */
static struct cursor ber_element(struct cursor *cursor, uint8_t tag)
{
    uint8_t found;
    size_t length;

    if (!ber_header(cursor, &found, &length) || found != tag)
        cursor->failed = true;
    const uint8_t *content = cursor_take(cursor, length);
    if (cursor->failed)
        return (struct cursor){.failed = true};
    return (struct cursor){.at = content, .end = content + length};
}

/* A small number: message id, result code. */
static unsigned ber_number(struct cursor *cursor, uint8_t tag)
{
    struct cursor content = ber_element(cursor, tag);
    unsigned number = 0;

    if (content.failed || content.end - content.at > 3)
        cursor->failed = true;
    while (!cursor->failed && content.at < content.end)
        number = number << 8 | *content.at++;
    return number;
}

static const char *ldap_result_name(unsigned code)
{
    switch (code) {
    case 1:
        return "operations error";
    case 2:
        return "protocol error: it does not know StartTLS";
    case 8:
        return "stronger authentication required";
    case 10:
        return "referral";
    case 51:
        return "busy";
    case 52:
        return "unavailable: TLS is not set up";
    case 53:
        return "unwilling to perform";
    case 80:
        return "other";
    default:
        return "result code";
    }
}

static enum starttls_status ldap_judge(struct starttls *starttls, struct cursor message)
{
    char words[96];
    unsigned id = ber_number(&message, 0x02);
    struct cursor response = ber_element(&message, 0x78);
    unsigned code = ber_number(&response, 0x0a);
    ignore(ber_element(&response, 0x04).failed); /* matchedDN */
    struct cursor text = ber_element(&response, 0x04);

    if (message.failed || response.failed)
        return starttls_end(starttls, STARTTLS_PROTOCOL, "expected an ExtendedResponse, not",
                            starttls->input, starttls->input_size);
    size_t size = (size_t)(text.end - text.at);
    if (id == 0)
        return starttls_end(starttls, STARTTLS_REFUSED, "says good-bye", text.at, size);
    if (id != 1)
        return starttls_end(starttls, STARTTLS_PROTOCOL, "answers what was not asked", text.at,
                            size);
    if (code == 0)
        return STARTTLS_DONE;
    snprintf(words, sizeof words, "answers StartTLS with \"%s\" (%u)", ldap_result_name(code),
             code);
    return starttls_end(starttls, STARTTLS_REFUSED, words, text.at, size);
}

enum starttls_status starttls_step_ldap(struct starttls *starttls)
{
    struct cursor all = {.at = starttls->input, .end = starttls->input + starttls->input_size};
    struct cursor content;
    uint8_t tag;
    size_t length;

    if (starttls->input[0] != 0x30)
        return starttls_end(starttls, STARTTLS_PROTOCOL, "expected a message of LDAP, not",
                            starttls->input, starttls->input_size);
    if (!ber_header(&all, &tag, &length))
        return starttls->input_size < 6
                   ? STARTTLS_WANT_READ
                   : starttls_end(starttls, STARTTLS_PROTOCOL, "expected a message of LDAP, not",
                                  starttls->input, starttls->input_size);
    if (length > LDAP_MESSAGE_MAX)
        return starttls_end(starttls, STARTTLS_PROTOCOL, "announces an endless message of LDAP",
                            NULL, 0);
    if (length > (size_t)(all.end - all.at))
        return STARTTLS_WANT_READ;
    content = (struct cursor){.at = all.at, .end = all.at + length};
    enum starttls_status status = ldap_judge(starttls, content);
    starttls_take(starttls, (size_t)(content.end - starttls->input));
    return status;
}

/* ---- PostgreSQL ---- */

#define POSTGRES_ERROR_MAX 4096

void starttls_open_postgres(struct starttls *starttls)
{
    static const uint8_t request[] = {0, 0, 0, 8, 0x04, 0xd2, 0x16, 0x2f};

    starttls_say(starttls, 0, request, sizeof request);
}

/* "E", length, then fields, each a letter and a text that ends with 0; "M" is the message. A pooler
 * that is full answers so; servers older than that form send "E" and a text. */
static enum starttls_status postgres_error(struct starttls *starttls)
{
    const char *words = "answers SSLRequest with";
    struct cursor all = {.at = starttls->input + 1, .end = starttls->input + starttls->input_size};
    const uint8_t *size = cursor_take(&all, 4);

    if (all.failed)
        return STARTTLS_WANT_READ;
    size_t length = (size_t)size[0] << 24 | (size_t)size[1] << 16 | (size_t)size[2] << 8 | size[3];
    if (length < 4 || length > POSTGRES_ERROR_MAX)
        return starttls_end(starttls, STARTTLS_REFUSED, words, size, (size_t)(all.end - size));
    if (length - 4 > (size_t)(all.end - all.at))
        return STARTTLS_WANT_READ;
    while (all.at < all.end && *all.at != 0) {
        const uint8_t *text = all.at + 1;
        const uint8_t *end = memchr(text, 0, (size_t)(all.end - text));
        if (end == NULL)
            break;
        if (*all.at == 'M')
            return starttls_end(starttls, STARTTLS_REFUSED, words, text, (size_t)(end - text));
        all.at = end + 1;
    }
    return starttls_end(starttls, STARTTLS_REFUSED, "answers SSLRequest with an error", NULL, 0);
}

enum starttls_status starttls_step_postgres(struct starttls *starttls)
{
    switch (starttls->input[0]) {
    case 'S':
        starttls_take(starttls, 1);
        return STARTTLS_DONE;
    case 'N':
        return starttls_end(starttls, STARTTLS_REFUSED,
                            "answers SSLRequest with no (\"ssl\" is off, or no certificate is set)",
                            NULL, 0);
    case 'E':
        return postgres_error(starttls);
    default:
        return starttls_end(starttls, STARTTLS_PROTOCOL, "expected S or N, not", starttls->input,
                            starttls->input_size);
    }
}

/* ---- MySQL, MariaDB ---- */

#define MYSQL_PACKET_MAX        2048
#define MYSQL_PROTOCOL_41       0x0200u
#define MYSQL_SSL               0x0800u
#define MYSQL_SECURE_CONNECTION 0x8000u

static void mysql_request_tls(struct starttls *starttls)
{
    const uint32_t capabilities = MYSQL_PROTOCOL_41 | MYSQL_SSL | MYSQL_SECURE_CONNECTION;
    uint8_t packet[4 + 32] = {32, 0, 0, 1};

    packet[4] = (uint8_t)capabilities;
    packet[5] = (uint8_t)(capabilities >> 8);
    packet[11] = 1; /* packets of at most 16 MiB */
    packet[12] = 8; /* latin1 */
    starttls_say(starttls, 1, packet, sizeof packet);
}

static enum starttls_status mysql_greeting(struct starttls *starttls, struct cursor packet)
{
    const uint8_t *begin = packet.at;
    size_t size = (size_t)(packet.end - packet.at);
    uint8_t version = *cursor_take(&packet, 1);

    if (version == 0xff) {
        const uint8_t *text = cursor_take(&packet, 2) + 2; /* behind the error's number */
        if (packet.failed)
            text = packet.end;
        return starttls_end(starttls, STARTTLS_REFUSED, "greets with", text,
                            (size_t)(packet.end - text));
    }
    const uint8_t *name_end = memchr(packet.at, 0, (size_t)(packet.end - packet.at));
    if (version != 10 || name_end == NULL)
        return starttls_end(starttls, STARTTLS_PROTOCOL, "expected the greeting of MySQL, not",
                            begin, size);
    packet.at = name_end + 1;
    ignore(*cursor_take(&packet, 4 + 8 + 1)); /* thread, salt, filler */
    const uint8_t *capabilities = cursor_take(&packet, 2);
    if (packet.failed)
        return starttls_end(starttls, STARTTLS_PROTOCOL, "its greeting is cut short", begin, size);
    if (((unsigned)capabilities[0] | (unsigned)capabilities[1] << 8) & MYSQL_SSL) {
        mysql_request_tls(starttls);
        return STARTTLS_DONE;
    }
    return starttls_end(starttls, STARTTLS_REFUSED, "does not offer TLS (capability SSL)", NULL, 0);
}

enum starttls_status starttls_step_mysql(struct starttls *starttls)
{
    const uint8_t *input = starttls->input;

    if (starttls->input_size < 4)
        return STARTTLS_WANT_READ;
    size_t length = (size_t)input[0] | (size_t)input[1] << 8 | (size_t)input[2] << 16;
    if (length == 0 || length > MYSQL_PACKET_MAX || input[3] != 0)
        return starttls_end(starttls, STARTTLS_PROTOCOL, "expected the greeting of MySQL, not",
                            input, starttls->input_size);
    if (starttls->input_size < 4 + length)
        return STARTTLS_WANT_READ;
    enum starttls_status status =
        mysql_greeting(starttls, (struct cursor){.at = input + 4, .end = input + 4 + length});
    starttls_take(starttls, 4 + length);
    return status;
}
