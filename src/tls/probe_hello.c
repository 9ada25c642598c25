#include "tls/probe_hello.h"

#include <string.h>
#include <sys/random.h>

#include "base/buffer.h"
#include "tls/suite_catalogue.h"

#define VERSION_TLS_1_3    0x0304
#define SCSV_RENEGOTIATION 0x00ff /* RFC 5746 §3.3 */
#define SCSV_FALLBACK      0x5600
#define SESSION_ID_MAX     32
#define RANDOM_SIZE        32

enum { RECORD_ALERT = 21, RECORD_HANDSHAKE = 22 };
enum {
    EXTENSION_GROUPS = 10,
    EXTENSION_POINTS = 11,
    EXTENSION_SIGNATURES = 13,
    EXTENSION_MASTER = 23
};
enum { EXTENSION_VERSIONS = 43, EXTENSION_KEY_SHARE = 51 };

/* ---- building ---- */

static void put8(struct buffer *output, unsigned number)
{
    const uint8_t byte = (uint8_t)number;

    buffer_append(output, &byte, 1);
}

static void put16(struct buffer *output, unsigned number)
{
    put8(output, number >> 8);
    put8(output, number & 0xff);
}

/* A length in front of what follows until its length_end(). */
static size_t length_begin(struct buffer *output)
{
    put16(output, 0);
    return output->size;
}

static void length_end(struct buffer *output, size_t begin)
{
    size_t size = output->size - begin;

    if (output->failed)
        return;
    output->data[begin - 2] = (uint8_t)(size >> 8);
    output->data[begin - 1] = (uint8_t)size;
}

static void put_list(struct buffer *output, const uint16_t *numbers, size_t count)
{
    size_t list = length_begin(output);

    for (size_t i = 0; i < count; i++)
        put16(output, numbers[i]);
    length_end(output, list);
}

static void put_list_extension(struct buffer *output, unsigned type, const uint16_t *numbers,
                               size_t count)
{
    put16(output, type);
    size_t extension = length_begin(output);
    put_list(output, numbers, count);
    length_end(output, extension);
}

static void put_server_name(struct buffer *output, const char *name)
{
    put16(output, 0);
    size_t extension = length_begin(output), list = length_begin(output);
    put8(output, 0); /* host_name */
    size_t text = length_begin(output);
    buffer_append_text(output, name);
    length_end(output, text);
    length_end(output, list);
    length_end(output, extension);
}

/* TLS 1.3 alone, and no key share: the server is to ask for one. */
static void put_tls13(struct buffer *output)
{
    static const uint8_t versions[] = {0, EXTENSION_VERSIONS, 0, 3, 2, 0x03, 0x04};
    static const uint8_t key_share[] = {0, EXTENSION_KEY_SHARE, 0, 2, 0, 0};

    buffer_append(output, versions, sizeof versions);
    buffer_append(output, key_share, sizeof key_share);
}

static void put_extensions(struct buffer *output, const struct probe_hello *hello)
{
    static const uint16_t all_groups[] = {
        0x001d, 0x0017, 0x0018, 0x0019, 0x001e,
        0x0016, 0x001a, 0x001b, 0x001c, 0x0100,
        0x0101, 0x0102, 0x0103, 0x0104, PROBE_GROUP_X25519MLKEM768};
    static const uint16_t signatures[] = {0x0403, 0x0503, 0x0603, 0x0804, 0x0805, 0x0806, 0x0401,
                                          0x0501, 0x0601, 0x0807, 0x0808, 0x0809, 0x080a, 0x080b,
                                          0x0203, 0x0201, 0x0202, 0x0402, 0x0101};
    /* ec_point_formats, and extended_master_secret, which some servers insist on. */
    static const uint8_t classic[] = {0, EXTENSION_POINTS, 0, 2, 1, 0, 0, EXTENSION_MASTER, 0, 0};
    size_t extensions = length_begin(output);

    if (hello->server_name != NULL)
        put_server_name(output, hello->server_name);
    if (hello->groups != NULL)
        put_list_extension(output, EXTENSION_GROUPS, hello->groups, hello->group_count);
    else
        put_list_extension(output, EXTENSION_GROUPS, all_groups, ARRAY_SIZE(all_groups));
    buffer_append(output, classic, sizeof classic);
    put_list_extension(output, EXTENSION_SIGNATURES, signatures, ARRAY_SIZE(signatures));
    if (hello->version == VERSION_TLS_1_3)
        put_tls13(output);
    length_end(output, extensions);
}

static void put_suites(struct buffer *output, const struct probe_hello *hello)
{
    size_t list = length_begin(output);

    for (size_t i = 0; i < hello->suite_count; i++)
        put16(output, hello->suites[i]);
    if (hello->version != VERSION_TLS_1_3)
        put16(output, SCSV_RENEGOTIATION);
    if (hello->fallback)
        put16(output, SCSV_FALLBACK);
    length_end(output, list);
}

static void put_body(struct buffer *output, const struct probe_hello *hello, const uint8_t *random)
{
    bool tls13 = hello->version == VERSION_TLS_1_3;

    put16(output, tls13 ? 0x0303 : hello->version);
    buffer_append(output, random, RANDOM_SIZE);
    /* As browsers do it, so that middleboxes see a resumption (RFC 8446 §D.4). */
    put8(output, tls13 ? SESSION_ID_MAX : 0);
    buffer_append(output, random + RANDOM_SIZE, tls13 ? SESSION_ID_MAX : 0);
    put_suites(output, hello);
    put8(output, hello->compression ? 2 : 1);
    if (hello->compression)
        put8(output, 1);
    put8(output, 0);
    if (hello->version >= 0x0301) /* servers of SSL 3 may choke on extensions */
        put_extensions(output, hello);
}

size_t probe_hello_build(uint8_t output[PROBE_HELLO_SIZE_MAX], const struct probe_hello *hello)
{
    uint8_t random[RANDOM_SIZE + SESSION_ID_MAX];
    struct buffer message;
    size_t size = 0;

    if (getrandom(random, sizeof random, 0) != (ssize_t)sizeof random)
        return 0;
    buffer_init(&message, PROBE_HELLO_SIZE_MAX);
    put8(&message, RECORD_HANDSHAKE);
    put16(&message, hello->version == 0x0300 ? 0x0300 : 0x0301);
    size_t record = length_begin(&message);
    put8(&message, 1); /* ClientHello */
    put8(&message, 0); /* the first byte of a 24-bit length */
    size_t body = length_begin(&message);
    put_body(&message, hello, random);
    length_end(&message, body);
    length_end(&message, record);
    if (!message.failed) {
        size = message.size;
        memcpy(output, message.data, size);
    }
    buffer_fini(&message);
    return size;
}

/* ---- reading ---- */

/* What is left; an attempt to take more than that sticks. */
struct cursor {
    const uint8_t *data;
    size_t size;
    bool failed;
};

static const uint8_t *take(struct cursor *cursor, size_t size)
{
    static const uint8_t nothing[RANDOM_SIZE];
    const uint8_t *data = cursor->data;

    if (cursor->failed || size > cursor->size) {
        cursor->failed = true;
        return nothing;
    }
    cursor->data += size;
    cursor->size -= size;
    return data;
}

static unsigned take8(struct cursor *cursor)
{
    return take(cursor, 1)[0];
}

static unsigned take16(struct cursor *cursor)
{
    const uint8_t *bytes = take(cursor, 2);

    return (unsigned)bytes[0] << 8 | bytes[1];
}

/* A part of `size` bytes as a cursor of its own. */
static struct cursor take_part(struct cursor *cursor, size_t size)
{
    const uint8_t *data = take(cursor, size);

    return (struct cursor){data, cursor->failed ? 0 : size, cursor->failed};
}

static bool read_extensions(struct cursor *all, struct probe_hello_answer *answer)
{
    while (all->size > 0 && !all->failed) {
        unsigned type = take16(all);
        struct cursor extension = take_part(all, take16(all));
        if (type == EXTENSION_VERSIONS)
            answer->version = (uint16_t)take16(&extension);
        if (type == EXTENSION_KEY_SHARE)
            answer->group = (uint16_t)take16(&extension);
        all->failed |= extension.failed;
    }
    return !all->failed;
}

static bool is_retry(const uint8_t random[RANDOM_SIZE])
{
    /* RFC 8446 §4.1.3: SHA-256 of "HelloRetryRequest". */
    static const uint8_t retry[RANDOM_SIZE] = {0xcf, 0x21, 0xad, 0x74, 0xe5, 0x9a, 0x61, 0x11,
                                               0xbe, 0x1d, 0x8c, 0x02, 0x1e, 0x65, 0xb8, 0x91,
                                               0xc2, 0xa2, 0x11, 0x16, 0x7a, 0xbb, 0x8c, 0x5e,
                                               0x07, 0x9e, 0x09, 0xe2, 0xc8, 0xa8, 0x33, 0x9c};

    return memcmp(random, retry, RANDOM_SIZE) == 0;
}

static uint8_t sentinel(const uint8_t random[RANDOM_SIZE])
{
    bool stands = memcmp(random + 24, "DOWNGRD", 7) == 0 && random[31] <= 1;

    return stands ? random[31] : PROBE_HELLO_NO_SENTINEL;
}

static bool read_hello(struct cursor *body, struct probe_hello_answer *answer)
{
    answer->version = (uint16_t)take16(body);
    const uint8_t *random = take(body, RANDOM_SIZE);
    answer->retry = is_retry(random);
    answer->sentinel = sentinel(random);
    unsigned id_size = take8(body);
    take(body, id_size);
    answer->suite = (uint16_t)take16(body);
    answer->compression = (uint8_t)take8(body);
    if (body->failed || id_size > SESSION_ID_MAX)
        return false;
    if (body->size == 0)
        return true;
    struct cursor extensions = take_part(body, take16(body));
    return read_extensions(&extensions, answer) && body->size == 0;
}

bool probe_hello_body(const uint8_t *body, size_t size, struct probe_hello_answer *ret_answer)
{
    struct cursor cursor = {body, size, false};
    struct probe_hello_answer answer = {0};
    bool well_formed = read_hello(&cursor, &answer);

    if (well_formed)
        *ret_answer = answer;
    return well_formed;
}

/* The handshake bytes of the answer so far, records peeled off. */
struct peeled {
    uint8_t data[4 + 1024]; /* a ServerHello is far smaller */
    size_t size;
};

static enum probe_hello_result read_message(const struct peeled *peeled,
                                            struct probe_hello_answer *ret_answer)
{
    struct cursor message = {peeled->data, peeled->size, false};

    if (peeled->size < 4)
        return PROBE_HELLO_MORE;
    unsigned type = take8(&message), high = take8(&message);
    size_t size = take16(&message);
    if (type != 2 || high != 0 || size > sizeof peeled->data - 4)
        return PROBE_HELLO_STRANGE;
    if (message.size < size)
        return PROBE_HELLO_MORE;
    bool well_formed = probe_hello_body(message.data, size, ret_answer);
    return well_formed ? PROBE_HELLO_ACCEPTED : PROBE_HELLO_STRANGE;
}

static void peel(struct peeled *peeled, const struct cursor *record)
{
    size_t room = sizeof peeled->data - peeled->size;
    size_t size = record->size < room ? record->size : room;

    memcpy(peeled->data + peeled->size, record->data, size);
    peeled->size += size;
}

enum probe_hello_result probe_hello_read(const uint8_t *input, size_t size,
                                         struct probe_hello_answer *ret_answer)
{
    struct cursor rest = {input, size, false};
    struct peeled peeled = {.size = 0};
    enum probe_hello_result result = PROBE_HELLO_MORE;

    while (result == PROBE_HELLO_MORE && rest.size > 0) {
        unsigned type = take8(&rest), major = take8(&rest);
        if ((type != RECORD_ALERT && type != RECORD_HANDSHAKE) || (!rest.failed && major != 3))
            return PROBE_HELLO_STRANGE;
        take8(&rest);
        struct cursor record = take_part(&rest, take16(&rest));
        if (record.failed)
            return PROBE_HELLO_MORE;
        if (type == RECORD_ALERT && record.size != 2)
            return PROBE_HELLO_STRANGE;
        if (type == RECORD_ALERT && record.data[0] == 2) {
            *ret_answer = (struct probe_hello_answer){.alert = record.data[1],
                                                      .sentinel = PROBE_HELLO_NO_SENTINEL};
            return PROBE_HELLO_REFUSED;
        }
        if (type == RECORD_HANDSHAKE)
            peel(&peeled, &record);
        result = read_message(&peeled, ret_answer);
    }
    return result;
}
