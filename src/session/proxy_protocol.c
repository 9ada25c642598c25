/* Reading and writing of PROXY headers. */
#include "session/proxy_protocol.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <string.h>

static const uint8_t v2_signature[12] = "\r\n\r\n\0\r\nQUIT\n";
static const char v1_prefix[] = "PROXY ";

#define V1_PREFIX_SIZE 6
#define V2_FIXED_SIZE  16
#define V2_LOCAL       0x20 /* version and command */
#define V2_PROXY       0x21
#define UNIX_PATH_SIZE 108
#define UNIQUE_ID_MAX  128
#define CHECKSUM_SIZE  4

#define MAPPED_PREFIX_SIZE 12 /* of an IPv4 address in IPv6 form */

enum { V2_UNSPEC = 0x00, V2_TCP4 = 0x11, V2_TCP6 = 0x21, V2_UNIX = 0x31 };

enum {
    TLV_ALPN = 0x01,
    TLV_AUTHORITY = 0x02,
    TLV_CRC32C = 0x03,
    TLV_UNIQUE_ID = 0x05,
    TLV_SSL = 0x20,
    TLV_SSL_VERSION = 0x21,
    TLV_SSL_CN = 0x22,
    TLV_SSL_CIPHER = 0x23,
    TLV_SSL_SIG_ALG = 0x24,
    TLV_SSL_KEY_ALG = 0x25,
    TLV_CLIENT_SUBJECT = 0xe0,
    TLV_CLIENT_NAMES = 0xe1,
    TLV_CLIENT_FINGERPRINT = 0xe2
};

enum { CLIENT_SSL = 1, CLIENT_CERTIFICATE_CONNECTION = 2, CLIENT_CERTIFICATE_SESSION = 4 };

/* CRC-32C (RFC 3720 §B.4), four bits at a time: headers are short. */
static uint32_t crc32c(uint32_t crc, const uint8_t *data, size_t size)
{
    static const uint32_t table[16] = {
        0x00000000, 0x105ec76f, 0x20bd8ede, 0x30e349b1, 0x417b1dbc, 0x5125dad3,
        0x61c69362, 0x7198540d, 0x82f63b78, 0x92a8fc17, 0xa24bb5a6, 0xb21572c9,
        0xc38d26c4, 0xd3d3e1ab, 0xe330a81a, 0xf36e6f75,
    };
    for (size_t i = 0; i < size; i++) {
        crc ^= data[i];
        crc = crc >> 4 ^ table[crc & 15];
        crc = crc >> 4 ^ table[crc & 15];
    }
    return crc;
}

static unsigned get_uint16(const uint8_t *at)
{
    return (unsigned)at[0] << 8 | at[1];
}

/* ---- Addresses ---- */

static void set_ipv4(struct address *address, const uint8_t bytes[4], unsigned port)
{
    memset(address, 0, sizeof(*address));
    address->in.sin_family = AF_INET;
    memcpy(&address->in.sin_addr, bytes, 4);
    address->in.sin_port = htons((uint16_t)port);
    address->size = sizeof(address->in);
}

static bool is_mapped_ipv4(const uint8_t bytes[16])
{
    static const uint8_t prefix[MAPPED_PREFIX_SIZE] = {[10] = 0xff, [11] = 0xff};
    return memcmp(bytes, prefix, sizeof(prefix)) == 0;
}

static void set_ipv6(struct address *address, const uint8_t bytes[16], unsigned port)
{
    if (is_mapped_ipv4(bytes)) {
        set_ipv4(address, bytes + MAPPED_PREFIX_SIZE, port);
        return;
    }
    memset(address, 0, sizeof(*address));
    address->in6.sin6_family = AF_INET6;
    memcpy(&address->in6.sin6_addr, bytes, 16);
    address->in6.sin6_port = htons((uint16_t)port);
    address->size = sizeof(address->in6);
}

static void set_unix(struct address *address, const uint8_t path[UNIX_PATH_SIZE])
{
    _Static_assert(sizeof(address->un.sun_path) == UNIX_PATH_SIZE, "as in the protocol");
    size_t length = strnlen((const char *)path, UNIX_PATH_SIZE - 1);

    memset(address, 0, sizeof(*address));
    address->un.sun_family = AF_UNIX;
    memcpy(address->un.sun_path, path, length);
    address->size = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + length + 1);
}

/* The family that both addresses can be told in; V2_UNSPEC: none. */
static unsigned common_family(const struct address *source, const struct address *destination)
{
    if (source->size == 0 || destination->size == 0) {
        return V2_UNSPEC;
    }
    bool source_unix = source->any.sa_family == AF_UNIX;
    bool destination_unix = destination->any.sa_family == AF_UNIX;
    if (source_unix || destination_unix) {
        return source_unix && destination_unix ? V2_UNIX : V2_UNSPEC;
    }
    uint8_t bytes[2][16];
    address_bytes(bytes[0], source);
    address_bytes(bytes[1], destination);
    return is_mapped_ipv4(bytes[0]) && is_mapped_ipv4(bytes[1]) ? V2_TCP4 : V2_TCP6;
}

/* ---- Reading, version 1 ---- */

/* Takes the word up to `end` and moves behind it; NULL when it is not there. The line lies in a
 * buffer of its own. */
static const char *take_word(char **at, char end)
{
    char *word = *at;
    char *stop = strchr(word, end);
    if (stop == NULL || stop == word) {
        return NULL;
    }
    *at = stop + 1;
    *stop = '\0';
    return word;
}

static bool parse_port(const char *word, unsigned *ret_port)
{
    unsigned port = 0;

    if (word == NULL || strlen(word) > 5 || (word[0] == '0' && word[1] != '\0')) {
        return false;
    }
    for (; *word != '\0'; word++) {
        if (*word < '0' || *word > '9') {
            return false;
        }
        port = port * 10 + (unsigned)(*word - '0');
    }
    *ret_port = port;
    return port <= 65535;
}

static bool parse_ip(int family, const char *word, uint8_t ret_bytes[16])
{
    return word != NULL && inet_pton(family, word, ret_bytes) == 1;
}

/* `line`: what stands behind "PROXY ", without the CR LF, but with a space in its place so that
 * every word ends in one. */
static bool parse_v1_line(char *line, struct proxy_protocol_header *header)
{
    uint8_t source[16], destination[16];
    unsigned source_port, destination_port;
    const char *protocol = take_word(&line, ' ');

    if (protocol != NULL && strcmp(protocol, "UNKNOWN") == 0) {
        header->local = true; /* whatever else stands there is to be ignored */
        return true;
    }
    bool is_ipv4 = protocol != NULL && strcmp(protocol, "TCP4") == 0;
    if (!is_ipv4 && (protocol == NULL || strcmp(protocol, "TCP6") != 0)) {
        return false;
    }
    int family = is_ipv4 ? AF_INET : AF_INET6;
    if (!parse_ip(family, take_word(&line, ' '), source) ||
        !parse_ip(family, take_word(&line, ' '), destination) ||
        !parse_port(take_word(&line, ' '), &source_port) ||
        !parse_port(take_word(&line, ' '), &destination_port) || *line != '\0') {
        return false;
    }
    void (*set)(struct address *, const uint8_t *, unsigned) = is_ipv4 ? set_ipv4 : set_ipv6;
    set(&header->source, source, source_port);
    set(&header->destination, destination, destination_port);
    return true;
}

static enum proxy_protocol_result parse_v1(const uint8_t *input, size_t size,
                                           struct proxy_protocol_header *header, size_t *consumed)
{
    char line[PROXY_PROTOCOL_V1_MAX + 1];
    size_t seen = size < PROXY_PROTOCOL_V1_MAX ? size : PROXY_PROTOCOL_V1_MAX;
    const uint8_t *end = memchr(input, '\n', seen);

    if (end == NULL) {
        return size < PROXY_PROTOCOL_V1_MAX ? PROXY_PROTOCOL_INCOMPLETE : PROXY_PROTOCOL_BAD;
    }
    size_t length = (size_t)(end - input);
    if (input[length - 1] != '\r' || memchr(input, '\0', length) != NULL) {
        return PROXY_PROTOCOL_BAD;
    }
    memcpy(line, input, length);
    line[length - 1] = ' ';
    line[length] = '\0';
    *consumed = length + 1;
    return parse_v1_line(line + V1_PREFIX_SIZE, header) ? PROXY_PROTOCOL_OK : PROXY_PROTOCOL_BAD;
}

/* ---- Reading, version 2 ---- */

static bool checksum_holds(const uint8_t *header, size_t size, size_t checksum_at)
{
    static const uint8_t zero[CHECKSUM_SIZE];
    size_t behind = checksum_at + CHECKSUM_SIZE;
    uint32_t crc = crc32c(UINT32_MAX, header, checksum_at);

    crc = crc32c(crc, zero, sizeof(zero));
    crc = ~crc32c(crc, header + behind, size - behind);
    return crc == ((uint32_t)get_uint16(header + checksum_at) << 16 |
                   get_uint16(header + checksum_at + 2));
}

static bool check_tlvs(const uint8_t *header, size_t size, size_t at)
{
    while (at < size) {
        if (size - at < 3) {
            return false;
        }
        size_t length = get_uint16(header + at + 1);
        size_t value = at + 3;
        if (length > size - value) {
            return false;
        }
        if (header[at] == TLV_CRC32C &&
            (length != CHECKSUM_SIZE || !checksum_holds(header, size, value))) {
            return false;
        }
        at = value + length;
    }
    return true;
}

/* Fills the addresses; returns where the TLVs begin, 0 when the block is too short or the family is
 * none of ours. */
static size_t parse_v2_addresses(const uint8_t *input, size_t size,
                                 struct proxy_protocol_header *header)
{
    const uint8_t *block = input + V2_FIXED_SIZE;
    size_t length = size - V2_FIXED_SIZE;

    switch (input[13]) {
    case V2_UNSPEC:
        header->local = true;
        return V2_FIXED_SIZE;
    case V2_TCP4:
        if (length < 12) {
            return 0;
        }
        set_ipv4(&header->source, block, get_uint16(block + 8));
        set_ipv4(&header->destination, block + 4, get_uint16(block + 10));
        return V2_FIXED_SIZE + 12;
    case V2_TCP6:
        if (length < 36) {
            return 0;
        }
        set_ipv6(&header->source, block, get_uint16(block + 32));
        set_ipv6(&header->destination, block + 16, get_uint16(block + 34));
        return V2_FIXED_SIZE + 36;
    case V2_UNIX:
        if (length < 2 * UNIX_PATH_SIZE) {
            return 0;
        }
        set_unix(&header->source, block);
        set_unix(&header->destination, block + UNIX_PATH_SIZE);
        return V2_FIXED_SIZE + 2 * UNIX_PATH_SIZE;
    default: /* datagrams, or not in the specification */
        return 0;
    }
}

static enum proxy_protocol_result parse_v2(const uint8_t *input, size_t size,
                                           struct proxy_protocol_header *header, size_t *consumed)
{
    if (size > 12 && input[12] != V2_LOCAL && input[12] != V2_PROXY) {
        return PROXY_PROTOCOL_BAD;
    }
    if (size < V2_FIXED_SIZE) {
        return PROXY_PROTOCOL_INCOMPLETE;
    }
    size_t total = V2_FIXED_SIZE + get_uint16(input + 14);
    if (total > PROXY_PROTOCOL_V2_MAX) {
        return PROXY_PROTOCOL_BAD;
    }
    if (size < total) {
        return PROXY_PROTOCOL_INCOMPLETE;
    }
    *consumed = total;
    if (input[12] == V2_LOCAL) { /* the rest, even its family, is to be discarded */
        header->local = true;
        return PROXY_PROTOCOL_OK;
    }
    size_t tlvs = parse_v2_addresses(input, total, header);
    return tlvs != 0 && check_tlvs(input, total, tlvs) ? PROXY_PROTOCOL_OK : PROXY_PROTOCOL_BAD;
}

/* `input` begins with `prefix`, as far as it goes. */
static bool begins(const uint8_t *input, size_t size, const void *prefix, size_t prefix_size)
{
    return memcmp(input, prefix, size < prefix_size ? size : prefix_size) == 0;
}

enum proxy_protocol_result proxy_protocol_parse(const uint8_t *input, size_t size,
                                                struct proxy_protocol_header *ret_header,
                                                size_t *ret_consumed)
{
    struct proxy_protocol_header header = {0};
    size_t consumed = 0;
    enum proxy_protocol_result result = PROXY_PROTOCOL_BAD;

    if (size == 0) {
        return PROXY_PROTOCOL_INCOMPLETE;
    }
    if (begins(input, size, v1_prefix, V1_PREFIX_SIZE)) {
        result = parse_v1(input, size, &header, &consumed);
    } else if (begins(input, size, v2_signature, sizeof(v2_signature))) {
        result = parse_v2(input, size, &header, &consumed);
    }
    if (result == PROXY_PROTOCOL_OK) {
        *ret_header = header;
        *ret_consumed = consumed;
    }
    return result;
}

/* ---- Writing ---- */

size_t proxy_protocol_build_v1(const struct address *source, const struct address *destination,
                               uint8_t *output)
{
    char line[PROXY_PROTOCOL_V1_MAX + 1], from[INET6_ADDRSTRLEN], to[INET6_ADDRSTRLEN];
    unsigned family = common_family(source, destination);
    uint8_t bytes[2][16];
    int n;

    if (family == V2_TCP4 || family == V2_TCP6) {
        int system_family = family == V2_TCP4 ? AF_INET : AF_INET6;
        size_t offset = family == V2_TCP4 ? MAPPED_PREFIX_SIZE : 0;
        address_bytes(bytes[0], source);
        address_bytes(bytes[1], destination);
        inet_ntop(system_family, bytes[0] + offset, from, sizeof(from));
        inet_ntop(system_family, bytes[1] + offset, to, sizeof(to));
        n = snprintf(line, sizeof(line), "PROXY %s %s %s %u %u\r\n",
                     family == V2_TCP4 ? "TCP4" : "TCP6", from, to, address_port(source),
                     address_port(destination));
    } else {
        n = snprintf(line, sizeof(line), "PROXY UNKNOWN\r\n");
    }
    memcpy(output, line, (size_t)n);
    return (size_t)n;
}

/* A place to write whose lack of room sticks. */
struct writer {
    uint8_t *data;
    size_t size;
    bool failed;
};

static void put(struct writer *writer, const void *data, size_t size)
{
    if (size > PROXY_PROTOCOL_V2_MAX - writer->size) {
        writer->failed = true;
        return;
    }
    if (size > 0) {
        memcpy(writer->data + writer->size, data, size);
        writer->size += size;
    }
}

static void put_uint16(struct writer *writer, unsigned value)
{
    const uint8_t bytes[2] = {(uint8_t)(value >> 8), (uint8_t)value};
    put(writer, bytes, sizeof(bytes));
}

/* Fills in a 16-bit length at `at` that counts what has been written behind it. */
static void put_length_at(struct writer *writer, size_t at)
{
    if (!writer->failed) {
        size_t length = writer->size - at - 2;
        writer->data[at] = (uint8_t)(length >> 8);
        writer->data[at + 1] = (uint8_t)length;
    }
}

static void put_tlv(struct writer *writer, uint8_t type, const void *value, size_t size)
{
    put(writer, &type, 1);
    size_t length_at = writer->size;
    put_uint16(writer, 0);
    put(writer, value, size);
    put_length_at(writer, length_at);
}

static void put_text_tlv(struct writer *writer, uint8_t type, const char *text)
{
    if (text != NULL && text[0] != '\0') {
        put_tlv(writer, type, text, strlen(text));
    }
}

static void put_tls(struct writer *writer, const struct proxy_protocol_tls *tls)
{
    const uint8_t type = TLV_SSL;
    const uint8_t client =
        (uint8_t)(CLIENT_SSL | (tls->certificate ? CLIENT_CERTIFICATE_SESSION : 0) |
                  (tls->certificate && !tls->resumed ? CLIENT_CERTIFICATE_CONNECTION : 0));
    const uint8_t verify[4] = {0, 0, 0, tls->certificate && tls->verified ? 0 : 1};

    put(writer, &type, 1);
    size_t length_at = writer->size;
    put_uint16(writer, 0);
    put(writer, &client, 1);
    put(writer, verify, sizeof(verify));
    put_text_tlv(writer, TLV_SSL_VERSION, tls->version);
    put_text_tlv(writer, TLV_SSL_CIPHER, tls->cipher);
    put_text_tlv(writer, TLV_SSL_SIG_ALG, tls->signature_algorithm);
    put_text_tlv(writer, TLV_SSL_KEY_ALG, tls->key_algorithm);
    put_text_tlv(writer, TLV_SSL_CN, tls->common_name);
    put_length_at(writer, length_at);
}

static void put_unix(struct writer *writer, const struct address *address)
{
    uint8_t path[UNIX_PATH_SIZE] = {0};
    size_t offset = offsetof(struct sockaddr_un, sun_path);

    if (address->size > offset) {
        size_t length = address->size - offset;
        memcpy(path, address->un.sun_path, length < sizeof(path) ? length : sizeof(path));
    }
    put(writer, path, sizeof(path));
}

static void put_addresses(struct writer *writer, unsigned family, const struct address *source,
                          const struct address *destination)
{
    uint8_t bytes[2][16];

    if (family == V2_UNIX) {
        put_unix(writer, source);
        put_unix(writer, destination);
    } else if (family != V2_UNSPEC) {
        size_t offset = family == V2_TCP4 ? MAPPED_PREFIX_SIZE : 0;
        address_bytes(bytes[0], source);
        address_bytes(bytes[1], destination);
        put(writer, bytes[0] + offset, 16 - offset);
        put(writer, bytes[1] + offset, 16 - offset);
        put_uint16(writer, address_port(source));
        put_uint16(writer, address_port(destination));
    }
}

static void put_fields(struct writer *writer, const struct proxy_protocol_fields *fields)
{
    if (fields->alpn_size > 0) {
        put_tlv(writer, TLV_ALPN, fields->alpn, fields->alpn_size);
    }
    put_text_tlv(writer, TLV_AUTHORITY, fields->authority);
    if (fields->unique_id_size > 0) {
        writer->failed |= fields->unique_id_size > UNIQUE_ID_MAX;
        put_tlv(writer, TLV_UNIQUE_ID, fields->unique_id, fields->unique_id_size);
    }
    if (fields->tls != NULL) {
        put_tls(writer, fields->tls);
    }
    put_text_tlv(writer, TLV_CLIENT_SUBJECT, fields->client_subject);
    put_text_tlv(writer, TLV_CLIENT_NAMES, fields->client_names);
    if (fields->client_fingerprint != NULL) {
        put_tlv(writer, TLV_CLIENT_FINGERPRINT, fields->client_fingerprint, 32);
    }
}

size_t proxy_protocol_build_v2(const struct address *source, const struct address *destination,
                               const struct proxy_protocol_fields *fields, uint8_t *output)
{
    static const uint8_t zero[CHECKSUM_SIZE];
    struct writer writer = {.data = output};
    unsigned family = common_family(source, destination);
    const uint8_t command[2] = {V2_PROXY, (uint8_t)family};

    put(&writer, v2_signature, sizeof(v2_signature));
    put(&writer, command, sizeof(command));
    size_t length_at = writer.size;
    put_uint16(&writer, 0);
    put_addresses(&writer, family, source, destination);
    if (fields != NULL) {
        put_fields(&writer, fields);
    }
    if (fields != NULL && fields->checksum) {
        put_tlv(&writer, TLV_CRC32C, zero, sizeof(zero));
    }
    put_length_at(&writer, length_at);
    if (writer.failed) {
        return 0;
    }
    if (fields != NULL && fields->checksum) {
        uint32_t crc = ~crc32c(UINT32_MAX, output, writer.size);
        uint8_t *at = output + writer.size - CHECKSUM_SIZE;
        for (int i = 0; i < CHECKSUM_SIZE; i++) {
            at[i] = (uint8_t)(crc >> (24 - 8 * i));
        }
    }
    return writer.size;
}
