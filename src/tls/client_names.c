/* What a client's certificate says of him, as text for the upstream. The text comes from whoever
 * made the certificate: everything that is not printable ASCII is escaped, and so is what would let
 * one name look like two. */
#include "tls/handshake_internal.h"

#include <arpa/inet.h>
#include <string.h>

#include <openssl/err.h>
#include <openssl/x509v3.h>

#include "tls/openssl_auto.h"

size_t handshake_client_subject(const struct handshake *handshake, char *ret_text, size_t size)
{
    AUTO(BIO) *output = BIO_new(BIO_s_mem());
    char *text;

    if (handshake->peer == NULL || output == NULL ||
        X509_NAME_print_ex(output, X509_get_subject_name(handshake->peer), 0, XN_FLAG_RFC2253) < 0)
        return 0;
    long length = BIO_get_mem_data(output, &text);
    if (length <= 0 || (size_t)length >= size)
        return 0;
    memcpy(ret_text, text, (size_t)length);
    ret_text[length] = '\0';
    return (size_t)length;
}

/* ---- alternative names ---- */

struct text {
    char *at;
    size_t used, size;
    bool failed;
};

static void put(struct text *text, const char *piece, size_t length)
{
    if (length >= text->size - text->used) {
        text->failed = true;
        return;
    }
    memcpy(text->at + text->used, piece, length);
    text->used += length;
    text->at[text->used] = '\0';
}

static void put_escaped(struct text *text, const unsigned char *name, size_t length)
{
    static const char digits[] = "0123456789abcdef";

    for (size_t i = 0; i < length; i++) {
        const char escaped[] = {'\\', 'x', digits[name[i] >> 4], digits[name[i] & 15]};
        const char plain = (char)name[i];
        if (name[i] > ' ' && name[i] < 0x7f && strchr(",\\\"", name[i]) == NULL)
            put(text, &plain, 1);
        else
            put(text, escaped, sizeof escaped);
    }
}

static void put_address(struct text *text, const ASN1_STRING *address)
{
    char shown[INET6_ADDRSTRLEN];
    int size = ASN1_STRING_length(address);

    if ((size == 4 || size == 16) &&
        inet_ntop(size == 4 ? AF_INET : AF_INET6, ASN1_STRING_get0_data(address), shown,
                  sizeof shown) != NULL)
        put(text, shown, strlen(shown));
}

static void put_name(struct text *text, const GENERAL_NAME *name)
{
    static const struct {
        int kind;
        const char *prefix;
    } kinds[] = {{GEN_DNS, "DNS:"}, {GEN_EMAIL, "email:"}, {GEN_URI, "URI:"}, {GEN_IPADD, "IP:"}};
    int kind;
    const ASN1_STRING *value = GENERAL_NAME_get0_value(name, &kind);

    for (size_t i = 0; i < ARRAY_SIZE(kinds); i++) {
        if (kinds[i].kind != kind)
            continue;
        if (text->used > 0)
            put(text, ", ", 2);
        put(text, kinds[i].prefix, strlen(kinds[i].prefix));
        if (kind == GEN_IPADD)
            put_address(text, value);
        else
            put_escaped(text, ASN1_STRING_get0_data(value), (size_t)ASN1_STRING_length(value));
    }
}

size_t handshake_client_names(const struct handshake *handshake, char *ret_text, size_t size)
{
    struct text text = {.at = ret_text, .size = size};

    if (handshake->peer == NULL)
        return 0;
    AUTO(GENERAL_NAMES) *names =
        X509_get_ext_d2i(handshake->peer, NID_subject_alt_name, NULL, NULL);
    for (int i = 0; i < sk_GENERAL_NAME_num(names); i++)
        put_name(&text, sk_GENERAL_NAME_value(names, i));
    ERR_clear_error();
    return text.failed ? 0 : text.used;
}

/* ---- the common name ---- */

const char *handshake_client_common_name(const struct handshake *handshake)
{
    return handshake->client_common_name[0] != '\0' ? handshake->client_common_name : NULL;
}

/* As it is, in UTF-8 (PROXY protocol §2.2.5), but not when a program could read it differently than
 * a human: no control characters, and whole. */
static bool sensible(const unsigned char *text, size_t size, size_t room)
{
    for (size_t i = 0; i < size; i++) {
        if (text[i] < ' ' || text[i] == 0x7f)
            return false;
    }
    return size < room;
}

void handshake_common_name_collect(struct handshake *handshake, const X509 *peer)
{
    const X509_NAME *subject = X509_get_subject_name(peer);
    int place = X509_NAME_get_index_by_NID(subject, NID_commonName, -1);
    unsigned char *text = NULL;

    if (place < 0)
        return;
    int size =
        ASN1_STRING_to_UTF8(&text, X509_NAME_ENTRY_get_data(X509_NAME_get_entry(subject, place)));
    if (size > 0 && sensible(text, (size_t)size, sizeof handshake->client_common_name))
        memcpy(handshake->client_common_name, text, (size_t)size);
    OPENSSL_free(text);
}
