/* Subject alternative names: extracting them and matching a host against them (RFC 6125, RFC 9525).
 */
#include "tls/certificate_internal.h"

#include <arpa/inet.h>
#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#include <openssl/x509v3.h>

#include "tls/openssl_auto.h"

#define NAME_SIZE_MAX 256 /* a DNS name has at most 253 characters */

/* Lower-cases a DNS name that a certificate carries; refuses what cannot be one (also an embedded
 * zero byte). */
static bool dns_name_text(char text[NAME_SIZE_MAX], const ASN1_STRING *name)
{
    const unsigned char *data = ASN1_STRING_get0_data(name);
    int size = ASN1_STRING_length(name);

    if (size <= 0 || size >= NAME_SIZE_MAX)
        return false;
    for (int i = 0; i < size; i++) {
        if (!isalnum(data[i]) && strchr("-._*", data[i]) == NULL)
            return false;
        text[i] = (char)tolower(data[i]);
    }
    text[size] = '\0';
    return strlen(text) == (size_t)size;
}

static bool ip_address_text(char text[NAME_SIZE_MAX], const ASN1_STRING *address)
{
    int size = ASN1_STRING_length(address);

    if (size != 4 && size != 16)
        return false;
    return inet_ntop(size == 4 ? AF_INET : AF_INET6, ASN1_STRING_get0_data(address), text,
                     NAME_SIZE_MAX) != NULL;
}

static bool general_name_text(char text[NAME_SIZE_MAX], const GENERAL_NAME *name)
{
    int kind;
    const void *value = GENERAL_NAME_get0_value(name, &kind);

    if (kind == GEN_DNS)
        return dns_name_text(text, value);
    return kind == GEN_IPADD && ip_address_text(text, value);
}

static bool common_name_text(char text[NAME_SIZE_MAX], const X509 *certificate)
{
    const X509_NAME *subject = X509_get_subject_name(certificate);
    int place = X509_NAME_get_index_by_NID(subject, NID_commonName, -1);

    if (place < 0)
        return false;
    return dns_name_text(text, X509_NAME_ENTRY_get_data(X509_NAME_get_entry(subject, place)));
}

/* One block: the pointers, then the texts. */
static char **names_allocate(size_t count, size_t text_size)
{
    return malloc((count + 1) * sizeof(char *) + text_size);
}

static int names_of_common_name(const X509 *certificate, char ***ret_names, size_t *ret_count,
                                struct error *error)
{
    char text[NAME_SIZE_MAX];
    bool found = common_name_text(text, certificate);
    char **names = names_allocate(1, sizeof text);

    if (names == NULL)
        return error_set(error, ERROR_MEMORY, "out of memory");
    names[0] = (char *)(names + 2);
    memcpy(names[0], found ? text : "", found ? strlen(text) + 1 : 1);
    *ret_names = names;
    *ret_count = found ? 1 : 0;
    return 0;
}

int certificate_names(const X509 *certificate, char ***ret_names, size_t *ret_count,
                      struct error *error)
{
    char text[NAME_SIZE_MAX];
    size_t count = 0, text_size = 0;
    AUTO(GENERAL_NAMES) *list = X509_get_ext_d2i(certificate, NID_subject_alt_name, NULL, NULL);

    if (list == NULL)
        return names_of_common_name(certificate, ret_names, ret_count, error);
    for (int i = 0; i < sk_GENERAL_NAME_num(list); i++) {
        if (general_name_text(text, sk_GENERAL_NAME_value(list, i))) {
            count++;
            text_size += strlen(text) + 1;
        }
    }
    if (count > KEYPAIR_NAMES_MAX)
        return error_set(error, ERROR_CERTIFICATE_UNPARSABLE,
                         "the certificate has %zu names, more than %d", count, KEYPAIR_NAMES_MAX);
    char **names = names_allocate(count, text_size);
    if (names == NULL)
        return error_set(error, ERROR_MEMORY, "out of memory");
    char *place = (char *)(names + count + 1);
    count = 0;
    for (int i = 0; i < sk_GENERAL_NAME_num(list); i++) {
        if (general_name_text(text, sk_GENERAL_NAME_value(list, i))) {
            names[count++] = memcpy(place, text, strlen(text) + 1);
            place += strlen(text) + 1;
        }
    }
    *ret_names = names;
    *ret_count = count;
    return 0;
}

/* "*.example.com" covers one label in place of the star; the rest must have two labels at least. */
static bool wildcard_covers(const char *pattern, const char *name)
{
    const char *rest = strchr(name, '.');

    return pattern[0] == '*' && pattern[1] == '.' && rest != NULL && rest != name &&
           strchr(pattern + 2, '.') != NULL && strcmp(pattern + 1, rest) == 0;
}

/* Brings a host as people write it into the form of keypair_names(). Returns false for what is no
 * name. */
static bool host_normalise(char text[NAME_SIZE_MAX], const char *host, bool *ret_address)
{
    unsigned char address[16];
    size_t size = strlen(host);

    *ret_address = true;
    for (int family = AF_INET;; family = AF_INET6) {
        if (inet_pton(family, host, address) == 1)
            return inet_ntop(family, address, text, NAME_SIZE_MAX) != NULL;
        if (family == AF_INET6)
            break;
    }
    *ret_address = false;
    if (size > 1 && host[size - 1] == '.')
        size--;
    if (size == 0 || size >= NAME_SIZE_MAX)
        return false;
    for (size_t i = 0; i < size; i++)
        text[i] = (char)tolower((unsigned char)host[i]);
    text[size] = '\0';
    return true;
}

bool keypair_covers(const struct keypair *pair, const char *name)
{
    char text[NAME_SIZE_MAX];
    bool address;
    size_t count;
    const char *const *names = keypair_names(pair, &count);

    if (!host_normalise(text, name, &address))
        return false;
    for (size_t i = 0; i < count; i++) {
        if (strcmp(names[i], text) == 0 || (!address && wildcard_covers(names[i], text)))
            return true;
    }
    return false;
}
