/* The parser. A cursor steps over record headers by itself, and its error sticks: the message is
 * walked once to see that it is whole, then once more to read it. */
#include "tls/client_hello.h"

#include <string.h>

#include "tls/record.h"

#define MESSAGE_HEADER_SIZE 4
#define CLIENT_HELLO_TYPE   1
#define RANDOM_SIZE         32
#define SESSION_ID_MAX      32
#define LABEL_MAX           63
#define HOST_NAME_TYPE      0

enum {
    EXTENSION_SERVER_NAME = 0,
    EXTENSION_SUPPORTED_GROUPS = 10,
    EXTENSION_SIGNATURE_ALGORITHMS = 13,
    EXTENSION_ALPN = 16,
    EXTENSION_EXTENDED_MASTER_SECRET = 23,
    EXTENSION_SESSION_TICKET = 35,
    EXTENSION_PRE_SHARED_KEY = 41,
    EXTENSION_EARLY_DATA = 42,
    EXTENSION_SUPPORTED_VERSIONS = 43,
    EXTENSION_POST_HANDSHAKE_AUTH = 49,
    EXTENSION_KEY_SHARE = 51
};

/* ---- Cursor ---- */

struct cursor {
    const uint8_t *begin, *at, *end; /* input */
    size_t record_left;              /* bytes of the current record from `at` on */
    size_t left; /* bytes of the current scope: a list, an extension, the message */
    enum client_hello_result status; /* sticks */
};

static void fail(struct cursor *cursor, enum client_hello_result status)
{
    if (cursor->status == CLIENT_HELLO_OK) {
        cursor->status = status;
    }
}

/* The version may be that of any TLS: RFC 9846 §5.1 has it ignored. */
static void next_record(struct cursor *cursor)
{
    const uint8_t *header = cursor->at;

    if (cursor->end - header < RECORD_HEADER_SIZE) {
        fail(cursor, CLIENT_HELLO_INCOMPLETE);
        return;
    }
    size_t length = (size_t)header[3] << 8 | header[4];
    if (header[0] != RECORD_HANDSHAKE || header[1] != 3 || length == 0 ||
        length > RECORD_PLAINTEXT_MAX) {
        fail(cursor, CLIENT_HELLO_BAD);
        return;
    }
    cursor->at += RECORD_HEADER_SIZE;
    cursor->record_left = length;
}

/* Reads `size` bytes of the message; `output` NULL skips them. On failure `output` is zeroed. */
static void take(struct cursor *cursor, void *output, size_t size)
{
    uint8_t *to = output;
    size_t wanted = size;

    if (size > cursor->left) {
        fail(cursor, CLIENT_HELLO_BAD);
    }
    while (wanted > 0 && cursor->status == CLIENT_HELLO_OK) {
        size_t there = (size_t)(cursor->end - cursor->at);
        size_t n = wanted < cursor->record_left ? wanted : cursor->record_left;
        n = n < there ? n : there;
        if (cursor->record_left == 0) {
            next_record(cursor);
        } else if (n == 0) {
            fail(cursor, CLIENT_HELLO_INCOMPLETE);
        } else {
            if (to != NULL) {
                memcpy(to, cursor->at, n);
                to += n;
            }
            cursor->at += n;
            cursor->record_left -= n;
            cursor->left -= n;
            wanted -= n;
        }
    }
    if (cursor->status != CLIENT_HELLO_OK && output != NULL) {
        memset(output, 0, size);
    }
}

/* A big-endian number of `size` ≤ 3 bytes; 0 on failure. */
static size_t take_number(struct cursor *cursor, size_t size)
{
    uint8_t bytes[3] = {0};
    size_t number = 0;

    take(cursor, bytes, size);
    for (size_t i = 0; i < size; i++) {
        number = number << 8 | bytes[i];
    }
    return number;
}

/* Enters a vector whose length takes `length_size` bytes; returns what to give to leave(). */
static size_t enter(struct cursor *cursor, size_t length_size)
{
    size_t length = take_number(cursor, length_size);

    if (length > cursor->left) {
        fail(cursor, CLIENT_HELLO_BAD);
        length = 0;
    }
    size_t outer = cursor->left - length;
    cursor->left = length;
    return outer;
}

/* Every vector must have been read to its end. */
static void leave(struct cursor *cursor, size_t outer)
{
    if (cursor->left != 0) {
        fail(cursor, CLIENT_HELLO_BAD);
    }
    cursor->left = outer;
}

static bool more(const struct cursor *cursor)
{
    return cursor->status == CLIENT_HELLO_OK && cursor->left > 0;
}

/* ---- The message ---- */

/* RFC 8701. */
static bool is_grease(size_t value)
{
    return (value & 0x0f0f) == 0x0a0a && value >> 8 == (value & 0xff);
}

/* A list of 16-bit code points with a length of `length_size` bytes: not empty. Those beyond
 * `maximum` are dropped. */
static size_t take_list(struct cursor *cursor, size_t length_size, uint16_t *list, size_t maximum)
{
    size_t count = 0;
    size_t outer = enter(cursor, length_size);

    if (cursor->left == 0) {
        fail(cursor, CLIENT_HELLO_BAD);
    }
    while (more(cursor)) {
        size_t value = take_number(cursor, 2);
        if (!is_grease(value) && count < maximum) {
            list[count++] = (uint16_t)value;
        }
    }
    leave(cursor, outer);
    return count;
}

/* A DNS name in the form RFC 6066 §3 asks for (we forgive a final dot); lower-cases it in place. */
static bool normalise_name(char *name, size_t size)
{
    size_t label = 0;

    if (size > 0 && name[size - 1] == '.') {
        name[--size] = '\0';
    }
    for (size_t i = 0; i < size; i++) {
        char c = name[i];
        if (c >= 'A' && c <= 'Z') {
            name[i] = (char)(c - 'A' + 'a');
        } else if (c == '.' && label > 0) {
            label = 0;
            continue;
        } else if (!((c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-' || c == '_')) {
            return false;
        }
        if (++label > LABEL_MAX) {
            return false;
        }
    }
    return label > 0; /* neither empty nor ending in two dots */
}

static void take_server_name(struct cursor *cursor, struct client_hello *hello)
{
    size_t list = enter(cursor, 2);
    size_t type = take_number(cursor, 1);
    size_t name = enter(cursor, 2);
    size_t size = cursor->left;

    if (type != HOST_NAME_TYPE || size >= sizeof(hello->server_name)) {
        fail(cursor, CLIENT_HELLO_BAD);
    } else {
        take(cursor, hello->server_name, size);
        if (!normalise_name(hello->server_name, size)) {
            fail(cursor, CLIENT_HELLO_BAD);
        }
    }
    leave(cursor, name);
    leave(cursor, list); /* RFC 6066 allows one name of a type, and there is one type */
    hello->has_server_name = true;
}

/* RFC 7301 §3.1: names are not empty. */
static void take_alpn(struct cursor *cursor, struct client_hello *hello)
{
    uint8_t name[256];
    size_t list = enter(cursor, 2);

    if (cursor->left == 0) {
        fail(cursor, CLIENT_HELLO_BAD);
    }
    while (more(cursor)) {
        size_t size = take_number(cursor, 1);
        name[0] = (uint8_t)size;
        take(cursor, name + 1, size);
        if (size == 0) {
            fail(cursor, CLIENT_HELLO_BAD);
        }
        if (hello->alpn_size + 1 + size <= sizeof(hello->alpn)) {
            memcpy(hello->alpn + hello->alpn_size, name, 1 + size);
            hello->alpn_size += 1 + size;
        }
    }
    leave(cursor, list);
}

static void take_versions(struct cursor *cursor, struct client_hello *hello)
{
    uint16_t versions[127];
    size_t count = take_list(cursor, 1, versions, ARRAY_SIZE(versions));

    hello->min_version = hello->max_version = 0;
    for (size_t i = 0; i < count; i++) {
        if (versions[i] > hello->max_version) {
            hello->max_version = versions[i];
        }
        if (hello->min_version == 0 || versions[i] < hello->min_version) {
            hello->min_version = versions[i];
        }
    }
}

static void take_key_shares(struct cursor *cursor, struct client_hello *hello)
{
    size_t list = enter(cursor, 2);

    while (more(cursor)) {
        size_t group = take_number(cursor, 2);
        size_t share = enter(cursor, 2);
        if (cursor->left == 0) {
            fail(cursor, CLIENT_HELLO_BAD);
        }
        take(cursor, NULL, cursor->left);
        leave(cursor, share);
        if (!is_grease(group) && hello->key_share_count < CLIENT_HELLO_SHARES_MAX) {
            hello->key_shares[hello->key_share_count++] = (uint16_t)group;
        }
    }
    leave(cursor, list);
}

/* RFC 9846 §4.3.3; TLS 1.2's pairs of hash and signature read as the same numbers. */
static void take_signatures(struct cursor *cursor, struct client_hello *hello)
{
    hello->signature_count = take_list(cursor, 2, hello->signatures, CLIENT_HELLO_SIGNATURES_MAX);
    hello->offers_ecdsa = hello->offers_rsa = false;
    for (size_t i = 0; i < hello->signature_count; i++) {
        unsigned scheme = hello->signatures[i], low = scheme & 0xff;
        hello->offers_ecdsa |= low == 3 && scheme < 0x0700;
        hello->offers_rsa |=
            (low == 1 && scheme < 0x0700) || (scheme >= 0x0804 && scheme <= 0x0806);
    }
}

static void take_extension(struct cursor *cursor, struct client_hello *hello, size_t type)
{
    switch (type) {
    case EXTENSION_SERVER_NAME:
        take_server_name(cursor, hello);
        return;
    case EXTENSION_SUPPORTED_GROUPS:
        hello->group_count = take_list(cursor, 2, hello->groups, CLIENT_HELLO_GROUPS_MAX);
        return;
    case EXTENSION_SIGNATURE_ALGORITHMS:
        take_signatures(cursor, hello);
        return;
    case EXTENSION_ALPN:
        take_alpn(cursor, hello);
        return;
    case EXTENSION_SUPPORTED_VERSIONS:
        take_versions(cursor, hello);
        return;
    case EXTENSION_KEY_SHARE:
        take_key_shares(cursor, hello);
        return;
    case EXTENSION_EARLY_DATA:
        hello->early_data = true;
        return;
    case EXTENSION_SESSION_TICKET:
        hello->session_ticket = true;
        hello->ticket_size = cursor->left;
        break;
    case EXTENSION_PRE_SHARED_KEY:
        hello->pre_shared_key = true;
        break;
    case EXTENSION_POST_HANDSHAKE_AUTH:
        hello->post_handshake_auth = true;
        return;
    case EXTENSION_EXTENDED_MASTER_SECRET:
        hello->extended_master_secret = true;
        return;
    default:
        break;
    }
    take(cursor, NULL, cursor->left);
}

static bool has_extension(const struct client_hello *hello, size_t type)
{
    for (size_t i = 0; i < hello->extension_count; i++) {
        if (hello->extensions[i] == type) {
            return true;
        }
    }
    return false;
}

static void take_extensions(struct cursor *cursor, struct client_hello *hello)
{
    size_t list = enter(cursor, 2);

    while (more(cursor)) {
        size_t type = take_number(cursor, 2);
        size_t body = enter(cursor, 2);
        /* No duplicates, and nothing behind pre_shared_key (RFC 9846 §4.3). */
        if (has_extension(hello, type) || hello->pre_shared_key ||
            hello->extension_count == CLIENT_HELLO_EXTENSIONS_MAX) {
            fail(cursor, CLIENT_HELLO_BAD);
        } else if (!is_grease(type)) {
            hello->extensions[hello->extension_count++] = (uint16_t)type;
            take_extension(cursor, hello, type);
        } else {
            take(cursor, NULL, cursor->left);
        }
        leave(cursor, body);
    }
    leave(cursor, list);
}

static void take_message(struct cursor *cursor, struct client_hello *hello)
{
    uint8_t compressions[255];

    hello->legacy_version = (uint16_t)take_number(cursor, 2);
    hello->min_version = hello->max_version = hello->legacy_version;
    hello->offers_ecdsa = hello->offers_rsa = true; /* without the extension: RFC 5246 §7.4.1.4.1 */
    take(cursor, NULL, RANDOM_SIZE);

    size_t session_id = enter(cursor, 1);
    if (cursor->left > SESSION_ID_MAX) {
        fail(cursor, CLIENT_HELLO_BAD);
    }
    hello->session_id_size = (uint8_t)cursor->left;
    take(cursor, NULL, cursor->left);
    leave(cursor, session_id);

    hello->cipher_count = take_list(cursor, 2, hello->ciphers, CLIENT_HELLO_CIPHERS_MAX);

    size_t compression = enter(cursor, 1);
    size_t compression_count = cursor->left;
    take(cursor, compressions, compression_count);
    if (memchr(compressions, 0, compression_count) == NULL || hello->legacy_version >> 8 != 3) {
        fail(cursor, CLIENT_HELLO_BAD);
    }
    leave(cursor, compression);

    if (more(cursor)) {
        take_extensions(cursor, hello);
    }
    leave(cursor, 0);
}

/* As far as `input` goes, it begins like one of these. */
static bool is_http(const uint8_t *input, size_t size)
{
    static const char methods[][5] = {"GET ", "POST", "HEAD", "PUT ", "OPTI",
                                      "CONN", "DELE", "PATC", "TRAC", "PRI "};
    for (size_t i = 0; i < ARRAY_SIZE(methods); i++) {
        if (memcmp(input, methods[i], size < 4 ? size : 4) == 0) {
            return true;
        }
    }
    return false;
}

/* Positions `cursor` on the body of a ClientHello that is known to be there as a whole;
 * *ret_wire_size: where it ends. */
static enum client_hello_result find_message(struct cursor *cursor, size_t maximum,
                                             size_t *ret_wire_size)
{
    size_t type = take_number(cursor, 1);
    size_t length = take_number(cursor, MESSAGE_HEADER_SIZE - 1);
    struct cursor whole = *cursor;

    if (whole.status == CLIENT_HELLO_OK) {
        if (type != CLIENT_HELLO_TYPE) {
            return CLIENT_HELLO_BAD;
        }
        if (RECORD_HEADER_SIZE + MESSAGE_HEADER_SIZE + length > maximum) {
            return CLIENT_HELLO_TOO_LARGE;
        }
        cursor->left = whole.left = length;
        take(&whole, NULL, length);
    }
    size_t used = (size_t)(whole.at - whole.begin);
    if (used > maximum ||
        (whole.status == CLIENT_HELLO_INCOMPLETE && (size_t)(whole.end - whole.begin) >= maximum)) {
        return CLIENT_HELLO_TOO_LARGE;
    }
    /* It must end its record: whatever follows is not to be read under the same keys. */
    if (whole.status == CLIENT_HELLO_OK && whole.record_left != 0) {
        return CLIENT_HELLO_BAD;
    }
    *ret_wire_size = used;
    return whole.status;
}

enum client_hello_result client_hello_parse(const uint8_t *input, size_t size, size_t maximum,
                                            struct client_hello *ret_hello)
{
    struct client_hello hello = {0};
    struct cursor cursor = {
        .begin = input, .at = input, .end = input + size, .left = MESSAGE_HEADER_SIZE};

    if (size == 0) {
        return CLIENT_HELLO_INCOMPLETE;
    }
    if (is_http(input, size)) {
        return size < 4 ? CLIENT_HELLO_INCOMPLETE : CLIENT_HELLO_HTTP;
    }
    if (input[0] != RECORD_HANDSHAKE || (size > 1 && input[1] != 3)) {
        return CLIENT_HELLO_NOT_TLS;
    }
    enum client_hello_result result = find_message(&cursor, maximum, &hello.wire_size);
    if (result != CLIENT_HELLO_OK) {
        return result;
    }
    take_message(&cursor, &hello);
    if (cursor.status == CLIENT_HELLO_OK) {
        *ret_hello = hello;
    }
    return cursor.status;
}
