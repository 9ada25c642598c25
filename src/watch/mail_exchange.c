/* A lookup asks for the MX and the record of MTA-STS at once; the first leads to a question per
 * host, the second to one document. It is over when nothing is open any more. */
#include "watch/mail_exchange.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/string.h"

#define POLICY_TIMEOUT_MS 15000

struct host_question {
    struct mail_exchange_lookup *lookup;
    struct mail_exchange_host *host;
    struct names_question *question;
};

struct mail_exchange_lookup {
    struct names *names;
    struct http_client *http;
    mail_exchange_done_fn *done;
    void *context;
    struct mail_exchange *exchange;
    struct names_question *mx, *record, *policy_host;
    struct host_question hosts[MAIL_EXCHANGE_HOSTS_MAX];
    struct http_request *request;
    unsigned open;
};

void mail_exchange_free(struct mail_exchange *exchange)
{
    free(exchange);
}

static void closed(struct mail_exchange_lookup *lookup)
{
    if (--lookup->open > 0)
        return;
    mail_exchange_done_fn *done = lookup->done;
    void *context = lookup->context;
    struct mail_exchange *exchange = lookup->exchange;
    free(lookup);
    done(context, exchange);
}

/* ---- hosts ---- */

static void on_associations(void *context, const struct names_answer *answer)
{
    struct host_question *asked = context;
    struct mail_exchange_host *host = asked->host;

    asked->question = NULL;
    host->associations_outcome = answer->outcome;
    host->authenticated = answer->authenticated;
    while (host->association_count < answer->count &&
           host->association_count < MAIL_EXCHANGE_ASSOCIATIONS_MAX) {
        host->associations[host->association_count] = answer->tlsa[host->association_count];
        host->association_count++;
    }
    closed(asked->lookup);
}

static void ask_associations(struct mail_exchange_lookup *lookup, size_t at)
{
    struct host_question *asked = &lookup->hosts[at];
    char name[TARGET_HOST_MAX + 16];

    asked->lookup = lookup;
    asked->host = &lookup->exchange->hosts[at];
    asked->host->associations_outcome = NAMES_FAILED;
    snprintf(name, sizeof name, "_25._tcp.%s", asked->host->target.host);
    asked->question = names_tlsa(lookup->names, name, on_associations, asked);
    if (asked->question != NULL)
        lookup->open++;
}

static void add_host(struct mail_exchange *exchange, const char *name, uint16_t preference)
{
    struct mail_exchange_host *host = &exchange->hosts[exchange->host_count];
    char text[TARGET_TEXT_MAX];

    for (size_t i = 0; i < exchange->host_count; i++) {
        if (strcmp(exchange->hosts[i].target.host, name) == 0)
            return;
    }
    snprintf(text, sizeof text, "smtp+starttls://%s:25", name);
    if (exchange->host_count == MAIL_EXCHANGE_HOSTS_MAX ||
        target_parse(&host->target, text, NULL) != 0) {
        exchange->hosts_dropped++;
        return;
    }
    host->preference = preference;
    exchange->host_count++;
}

static void take_hosts(struct mail_exchange *exchange, const struct names_answer *answer)
{
    exchange->outcome = answer->outcome;
    exchange->reason = answer->reason;
    exchange->authenticated = answer->authenticated;
    exchange->null_mx = answer->count == 1 && answer->mx[0].host[0] == '\0';
    if (exchange->null_mx) {
        exchange->outcome = NAMES_NONE;
        exchange->reason = "the domain accepts no mail (null MX)";
        return;
    }
    for (size_t i = 0; i < answer->count; i++)
        add_host(exchange, answer->mx[i].host, answer->mx[i].preference);
    if (answer->outcome == NAMES_NONE) {
        exchange->fallback = true;
        add_host(exchange, exchange->domain, 0);
    }
    if (exchange->host_count > 0)
        exchange->outcome = NAMES_FOUND;
    else if (answer->outcome == NAMES_FOUND) {
        exchange->outcome = NAMES_NONE;
        exchange->reason = "none of its MX names a host";
    }
}

static void on_hosts(void *context, const struct names_answer *answer)
{
    struct mail_exchange_lookup *lookup = context;

    lookup->mx = NULL;
    take_hosts(lookup->exchange, answer);
    for (size_t i = 0; i < lookup->exchange->host_count; i++)
        ask_associations(lookup, i);
    closed(lookup);
}

/* ---- the policy ---- */

static void set_policy(struct mail_exchange *exchange, enum mail_policy_state state,
                       const char *reason)
{
    exchange->policy_state = state;
    ignore(string_copy(exchange->policy_reason, sizeof exchange->policy_reason,
                       reason != NULL ? reason : ""));
}

static void on_policy(void *context, const struct http_answer *answer)
{
    struct mail_exchange_lookup *lookup = context;
    struct mail_exchange *exchange = lookup->exchange;
    char status[40];

    lookup->request = NULL;
    snprintf(status, sizeof status, "HTTP status %u", answer->status);
    if (answer->failed || answer->status != 200) {
        set_policy(exchange, MAIL_POLICY_UNREACHABLE,
                   answer->failed ? answer->error.message : status);
    } else {
        const char *defect = mail_policy_parse(&exchange->policy, answer->body, answer->body_size);
        set_policy(exchange, defect != NULL ? MAIL_POLICY_MALFORMED : MAIL_POLICY_VALID, defect);
    }
    closed(lookup);
}

/* Without following redirects (RFC 8461 §3.3). */
static void ask_policy(struct mail_exchange_lookup *lookup, const struct names_answer *answer)
{
    char url[TARGET_HOST_MAX + 64];
    struct error error;

    snprintf(url, sizeof url, "https://mta-sts.%s/.well-known/mta-sts.txt",
             lookup->exchange->domain);
    const struct http_order order = {.url = url,
                                     .addresses = answer->addresses,
                                     .address_count = answer->count,
                                     .timeout_ms = POLICY_TIMEOUT_MS,
                                     .answer_max = MAIL_POLICY_SIZE_MAX};
    lookup->request = http_client_ask(lookup->http, &order, on_policy, lookup, &error);
    if (lookup->request == NULL)
        set_policy(lookup->exchange, MAIL_POLICY_UNKNOWN, error.message);
    else
        lookup->open++;
}

static void on_policy_host(void *context, const struct names_answer *answer)
{
    struct mail_exchange_lookup *lookup = context;

    lookup->policy_host = NULL;
    if (answer->outcome == NAMES_FOUND)
        ask_policy(lookup, answer);
    else
        set_policy(lookup->exchange,
                   answer->outcome == NAMES_FAILED ? MAIL_POLICY_UNKNOWN : MAIL_POLICY_UNREACHABLE,
                   answer->reason);
    closed(lookup);
}

/* Of the name servers that all else is asked of. */
static void fetch_policy(struct mail_exchange_lookup *lookup)
{
    char name[TARGET_HOST_MAX + 16];

    if (lookup->http == NULL) {
        set_policy(lookup->exchange, MAIL_POLICY_UNKNOWN, "it was not asked for");
        return;
    }
    snprintf(name, sizeof name, "mta-sts.%s", lookup->exchange->domain);
    lookup->policy_host = names_addresses(lookup->names, name, AF_UNSPEC, on_policy_host, lookup);
    if (lookup->policy_host == NULL)
        set_policy(lookup->exchange, MAIL_POLICY_UNKNOWN, "out of memory");
    else
        lookup->open++;
}

static void on_record(void *context, const struct names_answer *answer)
{
    struct mail_exchange_lookup *lookup = context;
    const char *record = NULL;
    size_t count = 0;

    lookup->record = NULL;
    for (size_t i = 0; i < answer->count; i++) {
        if (mail_policy_is_record(answer->texts[i])) {
            record = answer->texts[i];
            count++;
        }
    }
    const char *defect = count == 1 ? mail_policy_record_defect(record) : NULL;
    if (answer->outcome == NAMES_FAILED)
        set_policy(lookup->exchange, MAIL_POLICY_UNKNOWN, answer->reason);
    else if (count == 0)
        set_policy(lookup->exchange, MAIL_POLICY_ABSENT, NULL);
    else if (count > 1 || defect != NULL)
        set_policy(lookup->exchange, MAIL_POLICY_BAD_RECORD,
                   count > 1 ? "there are several, so none counts" : defect);
    else
        fetch_policy(lookup);
    closed(lookup);
}

/* ---- the lookup ---- */

struct mail_exchange_lookup *mail_exchange_expand(struct names *names, struct http_client *http,
                                                  const char *domain, mail_exchange_done_fn *done,
                                                  void *context)
{
    struct mail_exchange_lookup *lookup = calloc(1, sizeof *lookup);
    char name[TARGET_HOST_MAX + 16];

    if (lookup == NULL || (lookup->exchange = calloc(1, sizeof *lookup->exchange)) == NULL) {
        free(lookup);
        return NULL;
    }
    lookup->names = names;
    lookup->http = http;
    lookup->done = done;
    lookup->context = context;
    ignore(string_copy(lookup->exchange->domain, sizeof lookup->exchange->domain, domain));
    snprintf(name, sizeof name, "_mta-sts.%s", domain);
    lookup->mx = names_mx(names, domain, on_hosts, lookup);
    lookup->record = names_txt(names, name, on_record, lookup);
    lookup->open = 2;
    if (lookup->mx == NULL || lookup->record == NULL) {
        mail_exchange_cancel(lookup);
        return NULL;
    }
    return lookup;
}

void mail_exchange_cancel(struct mail_exchange_lookup *lookup)
{
    if (lookup == NULL)
        return;
    names_cancel(lookup->mx);
    names_cancel(lookup->record);
    names_cancel(lookup->policy_host);
    for (size_t i = 0; i < MAIL_EXCHANGE_HOSTS_MAX; i++)
        names_cancel(lookup->hosts[i].question);
    http_client_cancel(lookup->request);
    mail_exchange_free(lookup->exchange);
    free(lookup);
}
