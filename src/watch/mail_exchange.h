/* Where a domain's mail goes (RFC 5321 §5.1), and what the domain promises about the way there:
 * MTA-STS (RFC 8461) and DANE (RFC 7672).
 *
 * Looked up once per mx:// target; then each endpoint of its hosts is judged by it. */
#pragma once

#include "net/http_client.h"
#include "net/names.h"
#include "watch/endpoint.h"
#include "watch/mail_policy.h"

#define MAIL_EXCHANGE_HOSTS_MAX        16
#define MAIL_EXCHANGE_ASSOCIATIONS_MAX 16

struct mail_exchange_host {
    struct target target; /* smtp+starttls://host:25 */
    uint16_t preference;
    enum names_outcome associations_outcome; /* of _25._tcp.<host> TLSA */
    bool authenticated;                      /* and the resolver vouches for them */
    struct names_tlsa associations[MAIL_EXCHANGE_ASSOCIATIONS_MAX];
    size_t association_count;
};

enum mail_policy_state {
    MAIL_POLICY_ABSENT,      /* no record */
    MAIL_POLICY_UNKNOWN,     /* the DNS did not say */
    MAIL_POLICY_BAD_RECORD,  /* malformed, or several */
    MAIL_POLICY_UNREACHABLE, /* not to be had at https://mta-sts.<domain>/ */
    MAIL_POLICY_MALFORMED,
    MAIL_POLICY_VALID
};

struct mail_exchange {
    char domain[TARGET_HOST_MAX];
    enum names_outcome outcome; /* NAMES_FOUND: there are hosts */
    const char *reason;         /* why there are none, in words; static */
    bool null_mx;               /* the domain accepts no mail (RFC 7505) */
    bool fallback;              /* no MX: the domain itself is the host */
    bool authenticated;         /* the resolver vouches for the MX records */
    struct mail_exchange_host hosts[MAIL_EXCHANGE_HOSTS_MAX]; /* by preference */
    size_t host_count, hosts_dropped;
    enum mail_policy_state policy_state;
    char policy_reason[200]; /* printable; "" */
    struct mail_policy policy;
};

struct mail_exchange_lookup;
/* The receiver frees the exchange. Called once, never before the call has returned. */
typedef void mail_exchange_done_fn(void *context, struct mail_exchange *exchange);

/* `http` NULL: the policy is not fetched. NULL: out of memory. */
struct mail_exchange_lookup *mail_exchange_expand(struct names *names, struct http_client *http,
                                                  const char *domain, mail_exchange_done_fn *done,
                                                  void *context);
void mail_exchange_cancel(struct mail_exchange_lookup *lookup); /* accepts NULL */
void mail_exchange_free(struct mail_exchange *exchange);        /* accepts NULL */

/* Findings about MTA-STS and DANE for an endpoint of one of the hosts; others are left alone. */
void mail_exchange_judge(const struct mail_exchange *exchange, struct endpoint *endpoint);
