/* Names in certificates: subjects, alternative names, URLs; and whether they cover a host. */
#include "tls/certificate_facts_internal.h"

#include <arpa/inet.h>
#include <ctype.h>
#include <string.h>

#include "base/string.h"
#include "tls/openssl_auto.h"

#define NAME_TEXT_MAX 1024
#define PART_TEXT_MAX 256
#define URL_TEXT_MAX  1024
#define DNS_NAME_MAX  253

/* ---- distinguished names ---- */

/* RFC 2253 escapes all but printable ASCII, so that the text can be shown as it is. */
const char *facts_name(struct facts_memory *memory, const X509_NAME *name)
{
    AUTO(BIO) *output = BIO_new(BIO_s_mem());
    char *data = NULL;

    if (output == NULL || X509_NAME_print_ex(output, name, 0, XN_FLAG_RFC2253) < 0)
        return "";
    long size = BIO_get_mem_data(output, &data);
    size_t shown = size > NAME_TEXT_MAX ? NAME_TEXT_MAX : (size_t)size;
    char *text = facts_allocate(memory, shown + sizeof "…");
    if (text == NULL)
        return "";
    if (shown > 0)
        memcpy(text, data, shown);
    memcpy(text + shown, shown < (size_t)size ? "…" : "", shown < (size_t)size ? sizeof "…" : 1);
    return text;
}

const char *facts_name_part(struct facts_memory *memory, const X509_NAME *name, int nid)
{
    unsigned char *utf8 = NULL;
    int place = -1, next;

    while ((next = X509_NAME_get_index_by_NID(name, nid, place)) >= 0)
        place = next;
    if (place < 0)
        return NULL;
    int size =
        ASN1_STRING_to_UTF8(&utf8, X509_NAME_ENTRY_get_data(X509_NAME_get_entry(name, place)));
    const char *text =
        size >= 0 ? facts_text(memory, utf8, (size_t)size, PART_TEXT_MAX) : "unreadable";
    OPENSSL_free(utf8);
    return text;
}

/* ---- alternative names ---- */

static bool is_dns_name(const uint8_t *data, size_t size)
{
    if (size == 0 || size > DNS_NAME_MAX)
        return false;
    for (size_t i = 0; i < size; i++) {
        if (!isalnum(data[i]) && (data[i] == '\0' || strchr("-._*", data[i]) == NULL))
            return false;
    }
    return true;
}

static void take_dns(struct facts_memory *memory, struct alternative_name *name,
                     const ASN1_STRING *value)
{
    const uint8_t *data = ASN1_STRING_get0_data(value);
    size_t size = (size_t)ASN1_STRING_length(value);
    char *text = facts_allocate(memory, DNS_NAME_MAX + 1);

    name->malformed = !is_dns_name(data, size);
    name->text = text != NULL ? text : "";
    if (text == NULL)
        return;
    if (name->malformed) {
        string_printable(text, DNS_NAME_MAX + 1, data, size);
        return;
    }
    memcpy(text, data, size);
    text[size] = '\0';
    string_lower(text);
}

static void take_address(struct facts_memory *memory, struct alternative_name *name,
                         const ASN1_STRING *value)
{
    int size = ASN1_STRING_length(value);
    char text[INET6_ADDRSTRLEN];

    name->malformed = size != 4 && size != 16;
    if (name->malformed) {
        name->text = facts_hex(memory, ASN1_STRING_get0_data(value), (size_t)size, 32);
        return;
    }
    ignore(inet_ntop(size == 4 ? AF_INET : AF_INET6, ASN1_STRING_get0_data(value), text,
                     sizeof text) != NULL);
    name->text = facts_text(memory, text, strlen(text), sizeof text);
}

static void take_name(struct facts_memory *memory, struct alternative_name *name,
                      const GENERAL_NAME *general)
{
    int kind;
    const void *value = GENERAL_NAME_get0_value(general, &kind);

    switch (kind) {
    case GEN_DNS:
        name->kind = ALTERNATIVE_NAME_DNS;
        take_dns(memory, name, value);
        break;
    case GEN_IPADD:
        name->kind = ALTERNATIVE_NAME_IP;
        take_address(memory, name, value);
        break;
    case GEN_EMAIL:
    case GEN_URI:
        name->kind = kind == GEN_EMAIL ? ALTERNATIVE_NAME_EMAIL : ALTERNATIVE_NAME_URI;
        name->text = facts_text(memory, ASN1_STRING_get0_data(value),
                                (size_t)ASN1_STRING_length(value), PART_TEXT_MAX);
        break;
    case GEN_DIRNAME:
        name->kind = ALTERNATIVE_NAME_DIRECTORY;
        name->text = facts_name(memory, value);
        break;
    default:
        name->kind = ALTERNATIVE_NAME_OTHER;
        name->text = "other name";
    }
}

void facts_read_names(struct certificate_object *object, X509 *certificate)
{
    struct certificate_facts *facts = &object->facts;
    int critical = -1;
    AUTO(GENERAL_NAMES) *list =
        X509_get_ext_d2i(certificate, NID_subject_alt_name, &critical, NULL);
    size_t count = list != NULL ? (size_t)sk_GENERAL_NAME_num(list) : 0;
    size_t kept = count < CERTIFICATE_FACTS_NAMES_MAX ? count : CERTIFICATE_FACTS_NAMES_MAX;

    facts->has_alternative_names = critical != -1;
    facts->alternative_names_critical = critical == 1;
    facts->names_dropped = count - kept;
    facts->names = kept > 0 ? facts_allocate(&object->memory, kept * sizeof *facts->names) : NULL;
    if (facts->names == NULL)
        return;
    facts->name_count = kept;
    for (size_t i = 0; i < kept; i++)
        take_name(&object->memory, &facts->names[i], sk_GENERAL_NAME_value(list, (int)i));
}

/* ---- URLs ---- */

/* One that could be used: printable, without spaces, of sane length. */
static bool is_usable_url(const char *text, size_t size)
{
    for (size_t i = 0; i < size; i++) {
        if (text[i] <= 0x20 || text[i] >= 0x7f || text[i] == '"' || text[i] == '\\')
            return false;
    }
    return size > 0 && size < URL_TEXT_MAX;
}

static void take_url(const GENERAL_NAME *name, facts_url_fn *take, void *context)
{
    int kind;
    const ASN1_STRING *value = GENERAL_NAME_get0_value(name, &kind);

    if (kind != GEN_URI)
        return;
    const char *text = (const char *)ASN1_STRING_get0_data(value);
    size_t size = (size_t)ASN1_STRING_length(value);
    if (is_usable_url(text, size))
        take(context, text, size);
}

void facts_each_url(const CRL_DIST_POINTS *points, facts_url_fn *take, void *context)
{
    for (int i = 0; i < sk_DIST_POINT_num(points); i++) {
        const DIST_POINT *point = sk_DIST_POINT_value(points, i);
        GENERAL_NAMES *names = point->distpoint != NULL && point->distpoint->type == 0
                                   ? point->distpoint->name.fullname
                                   : NULL;
        for (int j = 0; j < sk_GENERAL_NAME_num(names); j++)
            take_url(sk_GENERAL_NAME_value(names, j), take, context);
    }
}

struct url_list {
    struct facts_memory *memory;
    const char **urls;
    size_t *count;
};

static void add_url(void *context, const char *text, size_t size)
{
    const struct url_list *list = context;

    if (*list->count < CERTIFICATE_FACTS_URLS_MAX)
        list->urls[(*list->count)++] = facts_text(list->memory, text, size, URL_TEXT_MAX);
}

static void read_authority_access(struct certificate_object *object, const X509 *certificate)
{
    struct certificate_facts *facts = &object->facts;
    struct url_list responders = {&object->memory, facts->ocsp_urls, &facts->ocsp_url_count},
                    issuers = {&object->memory, facts->issuer_urls, &facts->issuer_url_count};
    AUTHORITY_INFO_ACCESS *access = X509_get_ext_d2i(certificate, NID_info_access, NULL, NULL);

    for (int i = 0; i < sk_ACCESS_DESCRIPTION_num(access); i++) {
        const ACCESS_DESCRIPTION *entry = sk_ACCESS_DESCRIPTION_value(access, i);
        int method = OBJ_obj2nid(entry->method);
        if (method == NID_ad_OCSP)
            take_url(entry->location, add_url, &responders);
        else if (method == NID_ad_ca_issuers)
            take_url(entry->location, add_url, &issuers);
    }
    AUTHORITY_INFO_ACCESS_free(access);
}

static void read_distribution_points(const X509 *certificate, int nid, struct url_list list)
{
    CRL_DIST_POINTS *points = X509_get_ext_d2i(certificate, nid, NULL, NULL);

    facts_each_url(points, add_url, &list);
    CRL_DIST_POINTS_free(points);
}

void facts_read_urls(struct certificate_object *object, X509 *certificate)
{
    struct certificate_facts *facts = &object->facts;

    read_authority_access(object, certificate);
    read_distribution_points(
        certificate, NID_crl_distribution_points,
        (struct url_list){&object->memory, facts->crl_urls, &facts->crl_url_count});
    read_distribution_points(
        certificate, NID_freshest_crl,
        (struct url_list){&object->memory, facts->delta_urls, &facts->delta_url_count});
}

/* ---- does it cover a host? ---- */

/* RFC 9525 §6.3: the star is the whole left-most label and stands for exactly one; what follows it
 * has two labels at least. */
static bool wildcard_covers(const char *pattern, const char *name)
{
    const char *rest = strchr(name, '.');

    return pattern[0] == '*' && pattern[1] == '.' && rest != NULL && rest != name &&
           strchr(pattern + 1, '*') == NULL && strchr(pattern + 2, '.') != NULL &&
           strcmp(pattern + 1, rest) == 0;
}

static bool covers_address(const struct certificate_facts *facts, const char *text)
{
    for (size_t i = 0; i < facts->name_count; i++) {
        if (facts->names[i].kind == ALTERNATIVE_NAME_IP && !facts->names[i].malformed &&
            strcmp(facts->names[i].text, text) == 0)
            return true;
    }
    return false;
}

static bool covers_dns(const struct certificate_facts *facts, const char *text)
{
    for (size_t i = 0; i < facts->name_count; i++) {
        const struct alternative_name *name = &facts->names[i];
        if (name->kind != ALTERNATIVE_NAME_DNS || name->malformed)
            continue;
        if (strchr(name->text, '*') != NULL ? wildcard_covers(name->text, text)
                                            : strcmp(name->text, text) == 0)
            return true;
    }
    return false;
}

bool certificate_facts_cover(const struct certificate_facts *facts, const char *name)
{
    unsigned char address[16];
    char text[DNS_NAME_MAX + 2];
    size_t size = strlen(name);

    for (int family = AF_INET;; family = AF_INET6) {
        if (inet_pton(family, name, address) == 1)
            return inet_ntop(family, address, text, sizeof text) != NULL &&
                   covers_address(facts, text);
        if (family == AF_INET6)
            break;
    }
    if (size > 1 && name[size - 1] == '.')
        size--;
    if (!is_dns_name((const uint8_t *)name, size) || memchr(name, '*', size) != NULL)
        return false;
    memcpy(text, name, size);
    text[size] = '\0';
    string_lower(text);
    return covers_dns(facts, text);
}
