#include "watch/target.h"

#include <arpa/inet.h>
#include <idn2.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/string.h"
#include "conf/conf.h"

/* What the user wrote, fit to be shown in a message. */
#define SHOWN(text) string_printable((char[160]){0}, 160, text, strlen(text))

#define LABEL_MAX 63  /* RFC 1035 §2.3.4 */
#define NAME_MAX_ 253 /* without the final dot */

/* How a scheme is written; the first one of a protocol and port is the canonical one. */
static const struct scheme {
    const char *name;
    enum target_protocol protocol;
    uint16_t port;
    bool https;
} schemes[] = {
    {"https", TARGET_TLS, 443, true},
    {"tls", TARGET_TLS, 443, false},
    {"smtp+starttls", TARGET_SMTP, 25, false},
    {"lmtp+starttls", TARGET_LMTP, 24, false},
    {"imap+starttls", TARGET_IMAP, 143, false},
    {"pop3+starttls", TARGET_POP3, 110, false},
    {"ftp+starttls", TARGET_FTP, 21, false},
    {"ldap+starttls", TARGET_LDAP, 389, false},
    {"xmpp-client+starttls", TARGET_XMPP_CLIENT, 5222, false},
    {"xmpp-server+starttls", TARGET_XMPP_SERVER, 5269, false},
    {"postgres+starttls", TARGET_POSTGRES, 5432, false},
    {"mysql+starttls", TARGET_MYSQL, 3306, false},
    {"sieve+starttls", TARGET_SIEVE, 4190, false},
    {"nntp+starttls", TARGET_NNTP, 119, false},
    /* Without TLS there is nothing to check: the bare name means the same. */
    {"smtp", TARGET_SMTP, 25, false},
    {"submission", TARGET_SMTP, 587, false},
    {"lmtp", TARGET_LMTP, 24, false},
    {"imap", TARGET_IMAP, 143, false},
    {"pop3", TARGET_POP3, 110, false},
    {"ftp", TARGET_FTP, 21, false},
    {"ldap", TARGET_LDAP, 389, false},
    {"xmpp-client", TARGET_XMPP_CLIENT, 5222, false},
    {"xmpp-server", TARGET_XMPP_SERVER, 5269, false},
    {"postgres", TARGET_POSTGRES, 5432, false},
    {"postgresql", TARGET_POSTGRES, 5432, false},
    {"mysql", TARGET_MYSQL, 3306, false},
    {"sieve", TARGET_SIEVE, 4190, false},
    {"nntp", TARGET_NNTP, 119, false},
    /* TLS from the first byte. */
    {"smtps", TARGET_TLS, 465, false},
    {"submissions", TARGET_TLS, 465, false},
    {"imaps", TARGET_TLS, 993, false},
    {"pop3s", TARGET_TLS, 995, false},
    {"ftps", TARGET_TLS, 990, false},
    {"ldaps", TARGET_TLS, 636, false},
    {"nntps", TARGET_TLS, 563, false},
    {"xmpps-client", TARGET_TLS, 5223, false},
    {"xmpps-server", TARGET_TLS, 5270, false},
    {"mqtts", TARGET_TLS, 8883, false},
    {"amqps", TARGET_TLS, 5671, false},
    {"sips", TARGET_TLS, 5061, false},
    {"ircs", TARGET_TLS, 6697, false},
    {"rediss", TARGET_TLS, 6379, false},
};

const char *target_protocol_name(enum target_protocol protocol)
{
    static const char *const names[TARGET_PROTOCOL_COUNT] = {
        [TARGET_TLS] = "tls",
        [TARGET_SMTP] = "smtp",
        [TARGET_LMTP] = "lmtp",
        [TARGET_IMAP] = "imap",
        [TARGET_POP3] = "pop3",
        [TARGET_FTP] = "ftp",
        [TARGET_LDAP] = "ldap",
        [TARGET_XMPP_CLIENT] = "xmpp-client",
        [TARGET_XMPP_SERVER] = "xmpp-server",
        [TARGET_POSTGRES] = "postgres",
        [TARGET_MYSQL] = "mysql",
        [TARGET_SIEVE] = "sieve",
        [TARGET_NNTP] = "nntp",
    };

    return names[protocol];
}

static bool is_ascii(const char *text)
{
    for (; *text != '\0'; text++) {
        if ((unsigned char)*text >= 0x80)
            return false;
    }
    return true;
}

/* No spaces, no control characters: nothing that could not stand in a line of a list. */
static bool is_graphic(const char *text)
{
    for (; *text != '\0'; text++) {
        if ((unsigned char)*text <= 0x20 || *text == 0x7f)
            return false;
    }
    return true;
}

/* Why an ASCII name cannot be one, or NULL. Underscores are let through: names of machines have
 * them. */
static const char *name_defect(const char *name)
{
    size_t label = 0, length = strlen(name);
    bool numeric = true;

    if (length > NAME_MAX_)
        return "a name has at most 253 characters";
    for (const char *at = name;; at++) {
        if (*at == '.' || *at == '\0') {
            if (label == 0)
                return "a part of the name is empty";
            if (label > LABEL_MAX)
                return "a part of a name has at most 63 characters";
            if (at[-1] == '-' || at[-(ptrdiff_t)label] == '-')
                return "a part of a name neither begins nor ends with \"-\"";
            if (*at == '\0')
                return numeric ? "expected four numbers from 0 to 255, or a name" : NULL;
            label = 0;
            numeric = true;
            continue;
        }
        bool digit = *at >= '0' && *at <= '9';
        if (!digit && !(*at >= 'a' && *at <= 'z') && *at != '-' && *at != '_')
            return "a name has letters, digits, \"-\" and \".\"";
        numeric = numeric && digit;
        label++;
    }
}

/* Lower case, A-labels, no final dot. */
static int canonical_name(char ret_host[TARGET_HOST_MAX], const char *host, struct error *error)
{
    char *converted = NULL;
    const char *name = host;

    if (!is_ascii(host)) {
        int code = idn2_lookup_u8((const uint8_t *)host, (uint8_t **)&converted,
                                  IDN2_NFC_INPUT | IDN2_NONTRANSITIONAL);
        if (code != IDN2_OK)
            return error_set(error, ERROR_USAGE, "\"%s\" is not an international name: %s",
                             SHOWN(host), idn2_strerror(code));
        name = converted;
    }
    bool whole = string_copy(ret_host, TARGET_HOST_MAX, name);
    idn2_free(converted);
    if (!whole)
        return error_set(error, ERROR_USAGE, "\"%s\": a name has at most 253 characters",
                         SHOWN(host));
    string_lower(ret_host);
    size_t length = strlen(ret_host);
    if (length > 1 && ret_host[length - 1] == '.')
        ret_host[length - 1] = '\0';
    const char *defect = name_defect(ret_host);
    if (defect != NULL)
        return error_set(error, ERROR_USAGE, "\"%s\": %s", SHOWN(host), defect);
    return 0;
}

/* True with the address in its shortest form when `host` is one. */
static bool canonical_address(char ret_host[TARGET_HOST_MAX], const char *host, int family)
{
    uint8_t bytes[16];

    return inet_pton(family, host, bytes) == 1 &&
           inet_ntop(family, bytes, ret_host, TARGET_HOST_MAX) != NULL;
}

static int parse_host(struct target *target, const char *host, bool bracketed, struct error *error)
{
    if (host[0] == '\0')
        return error_set(error, ERROR_USAGE, "the host is missing");
    target->is_address = canonical_address(target->host, host, AF_INET6) ||
                         (!bracketed && canonical_address(target->host, host, AF_INET));
    if (target->is_address)
        return 0;
    if (bracketed || strchr(host, ':') != NULL)
        return error_set(error, ERROR_USAGE, "\"%s\" is not an IPv6 address", SHOWN(host));
    return canonical_name(target->host, host, error);
}

static int parse_port(uint16_t *ret_port, const char *text, struct error *error)
{
    unsigned long port = 0;
    const char *at = text;

    for (; *at >= '0' && *at <= '9' && port <= UINT16_MAX; at++)
        port = port * 10 + (unsigned long)(*at - '0');
    if (*at != '\0' || port == 0 || port > UINT16_MAX)
        return error_set(error, ERROR_USAGE,
                         "the port is \"%s\": expected a number from 1 to 65535", SHOWN(text));
    *ret_port = (uint16_t)port;
    return 0;
}

/* "host", "host:port", "[address]", "[address]:port", and an IPv6 address alone. */
static int parse_authority(struct target *target, const char *text, struct error *error)
{
    char host[TARGET_TEXT_MAX];
    const char *port = NULL;
    bool bracketed = text[0] == '[';

    if (strchr(text, '@') != NULL)
        return error_set(error, ERROR_USAGE,
                         "nobody logs in here: leave out what stands before \"@\"");
    ignore(string_copy(host, sizeof host, bracketed ? text + 1 : text));
    if (bracketed) {
        char *end = strchr(host, ']');
        if (end == NULL || (end[1] != '\0' && end[1] != ':'))
            return error_set(error, ERROR_USAGE, "expected [IPv6 address] or [IPv6 address]:port");
        port = end[1] == ':' ? end + 2 : NULL;
        *end = '\0';
    } else {
        char *colon = strchr(host, ':');
        if (colon != NULL && strchr(colon + 1, ':') == NULL) {
            *colon = '\0';
            port = colon + 1;
        }
    }
    int code = parse_host(target, host, bracketed, error);
    return code == 0 && port != NULL ? parse_port(&target->port, port, error) : code;
}

static int parse_path(struct target *target, const char *path, struct error *error)
{
    size_t length = strcspn(path, "#"); /* the fragment never reaches a server */

    if (length >= sizeof target->path)
        return error_set(error, ERROR_USAGE, "the path is longer than %zu characters",
                         sizeof target->path - 1);
    if (!is_ascii(path))
        return error_set(error, ERROR_USAGE, "write the path as the server sees it, with %%XX");
    snprintf(target->path, sizeof target->path, "%s%.*s", path[0] == '/' ? "" : "/", (int)length,
             path);
    return 0;
}

/* The text by which a target is known: what makes it this one, and nothing else. */
static void canonical_text(struct target *target, const struct scheme *scheme)
{
    const char *open = strchr(target->host, ':') != NULL ? "[" : "";
    const char *close = *open != '\0' ? "]" : "";
    bool starttls = target->protocol != TARGET_TLS;

    if (target->https && target->port == scheme->port)
        snprintf(target->text, sizeof target->text, "https://%s%s%s%s", open, target->host, close,
                 target->path);
    else
        snprintf(target->text, sizeof target->text, "%s%s%s%s%s%s:%u%s",
                 target->https ? "https"
                 : starttls    ? target_protocol_name(target->protocol)
                               : "",
                 starttls ? "+starttls" : "", starttls || target->https ? "://" : "", open,
                 target->host, close, target->port, target->https ? target->path : "");
}

static int parse_endpoint(struct target *target, const struct scheme *scheme, const char *text,
                          struct error *error)
{
    char authority[TARGET_TEXT_MAX];
    size_t length = strcspn(text, "/?#");

    snprintf(authority, sizeof authority, "%.*s", (int)length, text);
    target->kind = TARGET_ENDPOINT;
    target->protocol = scheme->protocol;
    target->https = scheme->https;
    target->port = scheme->port;
    int code = parse_authority(target, authority, error);
    if (code != 0)
        return code;
    if (scheme->https)
        code = parse_path(target, text + length, error);
    else if (text[length] != '\0' && strcmp(text + length, "/") != 0)
        code = error_set(error, ERROR_USAGE, "only https:// has a path");
    if (code == 0)
        canonical_text(target, scheme);
    return code;
}

static int parse_file(struct target *target, const char *path, struct error *error)
{
    if (path[0] == '\0')
        return error_set(error, ERROR_USAGE, "the path is missing: expected file:/path/chain.pem");
    for (const char *at = path; *at != '\0'; at++) {
        if ((unsigned char)*at < 0x20 || *at == 0x7f)
            return error_set(error, ERROR_USAGE, "a path with control characters is refused");
    }
    if (!string_copy(target->host, sizeof target->host, path))
        return error_set(error, ERROR_USAGE, "the path is longer than %zu bytes",
                         sizeof target->host - 1);
    target->kind = TARGET_FILE;
    snprintf(target->text, sizeof target->text, "file:%s", target->host);
    return 0;
}

static int parse_mx(struct target *target, const char *text, struct error *error)
{
    char domain[TARGET_TEXT_MAX];

    ignore(string_copy(domain, sizeof domain, text));
    if (strpbrk(domain, ":/[") != NULL)
        return error_set(error, ERROR_USAGE, "expected mx:// and a mail domain, nothing else");
    int code = parse_host(target, domain, false, error);
    if (code != 0)
        return code;
    if (target->is_address)
        return error_set(error, ERROR_USAGE, "expected a mail domain, not an address");
    target->kind = TARGET_MX;
    target->protocol = TARGET_SMTP;
    target->port = 25;
    snprintf(target->text, sizeof target->text, "mx://%s", target->host);
    return 0;
}

static int unknown_scheme(const char *name, struct error *error)
{
    const char *best = NULL;
    unsigned least = 3;

    if (strcmp(name, "http") == 0)
        return error_set(error, ERROR_USAGE,
                         "plain HTTP has no certificate: write https:// instead of http://");
    for (size_t i = 0; i < ARRAY_SIZE(schemes); i++) {
        unsigned distance = string_distance(name, schemes[i].name);
        if (distance < least) {
            least = distance;
            best = schemes[i].name;
        }
    }
    if (best != NULL)
        return error_set(error, ERROR_USAGE, "the scheme \"%s\" is not known: did you mean %s://?",
                         SHOWN(name), best);
    return error_set(error, ERROR_USAGE,
                     "the scheme \"%s\" is not known: expected https, smtps, imaps, …, "
                     "smtp+starttls, imap+starttls, postgres, …, file: or mx",
                     SHOWN(name));
}

static int parse_with_scheme(struct target *target, const char *text, size_t length,
                             struct error *error)
{
    char name[TARGET_TEXT_MAX];
    const char *rest = text + length + strlen("://");

    snprintf(name, sizeof name, "%.*s", (int)length, text);
    string_lower(name);
    if (strcmp(name, "mx") == 0)
        return parse_mx(target, rest, error);
    for (size_t i = 0; i < ARRAY_SIZE(schemes); i++) {
        if (strcmp(name, schemes[i].name) == 0)
            return parse_endpoint(target, &schemes[i], rest, error);
    }
    return unknown_scheme(name, error);
}

static int parse_word(struct target *target, const char *text, struct error *error)
{
    static const struct scheme bare = {"", TARGET_TLS, 443, false};

    if (text[0] == '/' || string_starts_with(text, "./"))
        return error_set(error, ERROR_USAGE, "a file is written file:%s", SHOWN(text));
    if (strstr(text, "//") != NULL)
        return error_set(error, ERROR_USAGE,
                         "expected HOST, HOST:PORT or SCHEME://HOST[:PORT], as "
                         "smtp+starttls://mail.example:587");
    if (strchr(text, '/') != NULL)
        return error_set(error, ERROR_USAGE, "did you mean https://%s?", SHOWN(text));
    return parse_endpoint(target, &bare, text, error);
}

int target_parse(struct target *ret_target, const char *text, struct error *error)
{
    struct target target = {0};
    const char *scheme = strstr(text, "://");
    int code;

    if (strlen(text) >= TARGET_TEXT_MAX - 32)
        code = error_set(error, ERROR_USAGE, "longer than %d characters", TARGET_TEXT_MAX - 33);
    else if (string_starts_with(text, "file:"))
        code = parse_file(&target, conf_target_path(text), error);
    else if (!is_graphic(text))
        code = error_set(error, ERROR_USAGE, "it has spaces or control characters");
    else if (scheme != NULL)
        code = parse_with_scheme(&target, text, (size_t)(scheme - text), error);
    else
        code = parse_word(&target, text, error);
    if (code != 0)
        return error_prepend(error, "target \"%s\"", SHOWN(text));
    *ret_target = target;
    return 0;
}

int target_name(char ret_name[TARGET_HOST_MAX], const char *text, struct error *error)
{
    struct target target = {0};
    int code = parse_host(&target, text, false, error);

    if (code == 0)
        ignore(string_copy(ret_name, TARGET_HOST_MAX, target.host));
    return code;
}

/* What runs where, usually; schemes with their usual ports, unless one follows. */
static const struct service {
    const char *name;
    const char *endpoints[9];
} services[] = {
    {"mail",
     {"smtp+starttls://%s:25", "smtp+starttls://%s:587", "smtps://%s", "imap+starttls://%s",
      "imaps://%s", "pop3+starttls://%s", "pop3s://%s", "sieve+starttls://%s", NULL}},
    {"web", {"https://%s", NULL}},
    {"xmpp", {"xmpp-client+starttls://%s", "xmpp-server+starttls://%s", NULL}},
    {"ldap", {"ldap+starttls://%s", "ldaps://%s", NULL}},
    {"ftp", {"ftp+starttls://%s", "ftps://%s", NULL}},
    {"database", {"postgres://%s", "mysql://%s", NULL}},
    {"news", {"nntp+starttls://%s", "nntps://%s", NULL}},
};

static int unknown_service(const char *name, struct error *error)
{
    const char *best = NULL;
    unsigned least = 3;

    for (size_t i = 0; i < ARRAY_SIZE(services); i++) {
        unsigned distance = string_distance(name, services[i].name);
        if (distance < least) {
            least = distance;
            best = services[i].name;
        }
    }
    return error_set(error, ERROR_USAGE,
                     "service \"%s\" is not known: %s%s%sexpected mail, web, xmpp, ldap, ftp, "
                     "database or news",
                     SHOWN(name), best != NULL ? "did you mean \"" : "", best != NULL ? best : "",
                     best != NULL ? "\"? " : "");
}

/* The host in a template of a service. */
static int fill_template(struct target *ret_target, const char *template, const char *host,
                         struct error *error)
{
    char text[TARGET_TEXT_MAX + 64];
    const char *hole = strstr(template, "%s");

    snprintf(text, sizeof text, "%.*s%s%s", (int)(hole - template), template, host, hole + 2);
    return target_parse(ret_target, text, error);
}

int target_service(struct target ret_targets[TARGET_SERVICE_MAX], size_t *ret_count,
                   const char *host, const char *service, struct error *error)
{
    const struct service *found = NULL;
    struct target alone;
    char text[TARGET_HOST_MAX + 2];
    size_t count = 0;

    for (size_t i = 0; i < ARRAY_SIZE(services); i++) {
        if (strcmp(service, services[i].name) == 0)
            found = &services[i];
    }
    if (found == NULL)
        return unknown_service(service, error);
    int code = target_parse(&alone, host, error);
    if (code != 0)
        return code;
    const char *tail = strrchr(host, ']') != NULL ? strrchr(host, ']') : host;
    if (alone.kind != TARGET_ENDPOINT || strstr(host, "://") != NULL ||
        (strchr(tail, ':') != NULL && strchr(alone.host, ':') == NULL) ||
        strstr(host, "]:") != NULL)
        return error_set(
            error, ERROR_USAGE,
            "target \"%s\": service \"%s\" brings its ports along: expected a host alone",
            SHOWN(host), service);
    bool bracket = strchr(alone.host, ':') != NULL;
    snprintf(text, sizeof text, "%s%s%s", bracket ? "[" : "", alone.host, bracket ? "]" : "");
    for (; code == 0 && found->endpoints[count] != NULL; count++)
        code = fill_template(&ret_targets[count], found->endpoints[count], text, error);
    if (code == 0)
        *ret_count = count;
    return code;
}

bool target_has_host(const char *text, const char *host)
{
    const char *begin = strstr(text, "://");
    size_t size = strlen(host);

    if (strcasecmp(text, host) == 0)
        return true;
    begin = begin == NULL ? text : begin + 3;
    return strncasecmp(begin, host, size) == 0 &&
           (begin[size] == '\0' || begin[size] == ':' || begin[size] == '/');
}
