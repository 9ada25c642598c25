/* JA4 fingerprints (github.com/FoxIO-LLC/ja4, technical_details/JA4.md). */
#include "tls/client_hello.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <openssl/evp.h>

#include "base/string.h"

#define SERVER_NAME   0x0000
#define ALPN          0x0010
#define HASH_HEX_SIZE 12
#define LISTED_MAX    (CLIENT_HELLO_EXTENSIONS_MAX + CLIENT_HELLO_SIGNATURES_MAX)

static int compare(const void *a, const void *b)
{
    return *(const uint16_t *)a - *(const uint16_t *)b;
}

/* "1301,1302,…" behind `at`; returns the new end. */
static char *put_list(char *at, const uint16_t *list, size_t count)
{
    static const char digits[] = "0123456789abcdef";

    for (size_t i = 0; i < count; i++) {
        if (i > 0) {
            *at++ = ',';
        }
        for (int shift = 12; shift >= 0; shift -= 4) {
            *at++ = digits[list[i] >> shift & 15];
        }
    }
    return at;
}

/* The first 12 hex digits of SHA-256. The digest is fetched once per process. */
static bool put_hash(char ret_hex[HASH_HEX_SIZE + 1], const char *text, size_t size)
{
    static EVP_MD *sha256;
    uint8_t hash[EVP_MAX_MD_SIZE];

    if (sha256 == NULL) {
        sha256 = EVP_MD_fetch(NULL, "SHA256", NULL);
    }
    if (sha256 == NULL || EVP_Digest(text, size, hash, NULL, sha256, NULL) != 1) {
        return false;
    }
    string_hex(ret_hex, hash, HASH_HEX_SIZE / 2);
    return true;
}

static const char *version_code(uint16_t version)
{
    switch (version) {
    case 0x0304:
        return "13";
    case 0x0303:
        return "12";
    case 0x0302:
        return "11";
    case 0x0301:
        return "10";
    case 0x0300:
        return "s3";
    default:
        return "00";
    }
}

static bool is_alphanumeric(unsigned c)
{
    return (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z');
}

/* First and last character of the first protocol name, or of its hex form when either could not be
 * shown. */
static void alpn_code(char ret_code[3], const struct client_hello *hello)
{
    static const char digits[] = "0123456789abcdef";
    memcpy(ret_code, "00", 3);
    if (hello->alpn_size == 0) {
        return;
    }
    unsigned first = hello->alpn[1], last = hello->alpn[hello->alpn[0]];
    if (is_alphanumeric(first) && is_alphanumeric(last)) {
        ret_code[0] = (char)first;
        ret_code[1] = (char)last;
    } else {
        ret_code[0] = digits[first >> 4];
        ret_code[1] = digits[last & 15];
    }
}

static bool cipher_hash(char ret_hex[HASH_HEX_SIZE + 1], const struct client_hello *hello)
{
    uint16_t sorted[CLIENT_HELLO_CIPHERS_MAX];
    char text[CLIENT_HELLO_CIPHERS_MAX * 5];

    if (hello->cipher_count == 0) {
        memcpy(ret_hex, "000000000000", HASH_HEX_SIZE + 1);
        return true;
    }
    memcpy(sorted, hello->ciphers, hello->cipher_count * sizeof(sorted[0]));
    qsort(sorted, hello->cipher_count, sizeof(sorted[0]), compare);
    return put_hash(ret_hex, text, (size_t)(put_list(text, sorted, hello->cipher_count) - text));
}

/* Extensions sorted, without server name and ALPN, then the signature algorithms as they came. */
static bool extension_hash(char ret_hex[HASH_HEX_SIZE + 1], const struct client_hello *hello)
{
    uint16_t sorted[CLIENT_HELLO_EXTENSIONS_MAX];
    char text[LISTED_MAX * 5], *at;
    size_t count = 0;

    for (size_t i = 0; i < hello->extension_count; i++) {
        if (hello->extensions[i] != SERVER_NAME && hello->extensions[i] != ALPN) {
            sorted[count++] = hello->extensions[i];
        }
    }
    if (count == 0) {
        memcpy(ret_hex, "000000000000", HASH_HEX_SIZE + 1);
        return true;
    }
    qsort(sorted, count, sizeof(sorted[0]), compare);
    at = put_list(text, sorted, count);
    if (hello->signature_count > 0) {
        *at++ = '_';
        at = put_list(at, hello->signatures, hello->signature_count);
    }
    return put_hash(ret_hex, text, (size_t)(at - text));
}

static unsigned two_digits(size_t count)
{
    return count < 99 ? (unsigned)count : 99;
}

bool client_hello_ja4(const struct client_hello *hello, char ret_text[CLIENT_HELLO_JA4_SIZE])
{
    char ciphers[HASH_HEX_SIZE + 1], extensions[HASH_HEX_SIZE + 1], alpn[3];

    alpn_code(alpn, hello);
    if (!cipher_hash(ciphers, hello) || !extension_hash(extensions, hello)) {
        return false;
    }
    snprintf(ret_text, CLIENT_HELLO_JA4_SIZE, "t%s%c%02u%02u%s_%s_%s",
             version_code(hello->max_version), hello->has_server_name ? 'd' : 'i',
             two_digits(hello->cipher_count), two_digits(hello->extension_count), alpn, ciphers,
             extensions);
    return true;
}
