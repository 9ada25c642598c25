/* What is to be checked, as people write it:
 *
 *   shop.example   shop.example:8443   [2001:db8::1]:443   https://shop.example/path
 *   smtp+starttls://mail.example:587   imap+starttls://… (pop3, ftp, ldap, xmpp-client,
 * xmpp-server, postgres, mysql, sieve, nntp, lmtp, smtp)   smtps://…  imaps://… (TLS from the first
 * byte) file:/etc/ssl/shop.pem (PEM, DER, PKCS#12)   mx://example.org
 *
 * A word that is none of these is refused with what was expected. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"

#define TARGET_TEXT_MAX 512
#define TARGET_HOST_MAX 256

enum target_kind { TARGET_ENDPOINT, TARGET_FILE, TARGET_MX };

/* Spoken before TLS; TARGET_TLS: nothing. */
enum target_protocol {
    TARGET_TLS,
    TARGET_SMTP,
    TARGET_LMTP,
    TARGET_IMAP,
    TARGET_POP3,
    TARGET_FTP,
    TARGET_LDAP,
    TARGET_XMPP_CLIENT,
    TARGET_XMPP_SERVER,
    TARGET_POSTGRES,
    TARGET_MYSQL,
    TARGET_SIEVE,
    TARGET_NNTP,
    TARGET_PROTOCOL_COUNT
};
const char *target_protocol_name(enum target_protocol protocol); /* "smtp", …; "tls" */

struct target {
    enum target_kind kind;
    enum target_protocol protocol;
    bool https;                 /* HTTP is spoken inside: HSTS can be asked for */
    char text[TARGET_TEXT_MAX]; /* canonical form, by which it is known */
    char host[TARGET_HOST_MAX]; /* name (lower case, A-labels) or IP address; path of a file */
    bool is_address;            /* host is an IP address */
    uint16_t port;
    char path[128]; /* of https://, "/" */
};

/* IDNA names are converted (RFC 5891, libidn2). */
MUST_CHECK int target_parse(struct target *ret_target, const char *text, struct error *error);

/* A name that a certificate is expected to have, alone: as `host` of a target. */
MUST_CHECK int target_name(char ret_name[TARGET_HOST_MAX], const char *text, struct error *error);

/* Is this the canonical text of a target at this host (any port, any protocol), or of this very
 * target? Letters of either case. */
bool target_has_host(const char *text, const char *host);

/* The usual endpoints of a service on a host: "mail" gives smtp+starttls 25 and 587, smtps 465,
 * imap+starttls 143, imaps 993, pop3+starttls 110, pop3s 995, sieve+starttls 4190; "web" 443;
 * "xmpp", "ldap", "ftp", "database". Returns how many; error for an unknown service. */
#define TARGET_SERVICE_MAX 16
MUST_CHECK int target_service(struct target ret_targets[TARGET_SERVICE_MAX], size_t *ret_count,
                              const char *host, const char *service, struct error *error);
