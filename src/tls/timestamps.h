/* Signed certificate timestamps (Certificate Transparency, RFC 6962): promises of logs that a
 * certificate will be public. Read from the certificate, the TLS extension and the OCSP staple;
 * verified against the keys of known logs.
 *
 * Report only: nobody is refused for what stands here. Logs of the static kind are equal to those
 * of RFC 6962; extensions of a timestamp are signed bytes that mean nothing here. */
#pragma once

#include "tls/certificate_facts.h"

/* ---- logs ---- */

enum log_state {
    LOG_PENDING,
    LOG_QUALIFIED,
    LOG_USABLE,
    LOG_READ_ONLY,
    LOG_RETIRED,
    LOG_REJECTED,
    LOG_STATE_COUNT
};
const char *log_state_name(enum log_state state); /* "usable", … as in log lists */

struct certificate_log {              /* plain value */
    uint8_t id[32];                   /* SHA-256 of its key */
    char name[96], operator_name[64]; /* printable */
    enum log_state state;
    int64_t state_since; /* Unix seconds; 0: not said */
};

struct certificate_logs;                                   /* a set of logs */
struct certificate_logs *certificate_logs_new(void);       /* NULL: out of memory */
void certificate_logs_free(struct certificate_logs *logs); /* accepts NULL */
/* `key`: SubjectPublicKeyInfo in base64, as log lists have it; the log's id is filled in here. */
MUST_CHECK int certificate_logs_add(struct certificate_logs *logs,
                                    const struct certificate_log *log, const char *key,
                                    struct error *error);
size_t certificate_logs_count(const struct certificate_logs *logs);
const struct certificate_log *certificate_logs_at(const struct certificate_logs *logs, size_t at);

/* ---- timestamps ---- */

#define TIMESTAMPS_MAX 32 /* of one certificate, from all three places; more are counted */

enum timestamp_source { TIMESTAMP_EMBEDDED, TIMESTAMP_TLS, TIMESTAMP_STAPLE };
const char *timestamp_source_name(enum timestamp_source source); /* "embedded", "tls", "staple" */

enum timestamp_outcome {
    TIMESTAMP_VALID,
    TIMESTAMP_UNVERIFIED,  /* no logs are known, or the issuer is not */
    TIMESTAMP_UNKNOWN_LOG, /* its log is not in the list */
    TIMESTAMP_BAD_SIGNATURE,
    TIMESTAMP_FROM_THE_FUTURE,
    TIMESTAMP_UNSUPPORTED /* another version or algorithm */
};
const char *timestamp_outcome_name(enum timestamp_outcome outcome); /* "valid", … stable */

struct timestamp {
    enum timestamp_source source;
    enum timestamp_outcome outcome;
    uint8_t log_id[32];
    const struct certificate_log *log; /* borrowed from the logs; NULL: unknown */
    int64_t at_ms;                     /* Unix milliseconds */
};

struct timestamps {
    struct timestamp items[TIMESTAMPS_MAX];
    size_t count, dropped;
    bool malformed; /* a list, or a timestamp in one, could not be read */
};

/* Adds those of one SignedCertificateTimestampList. `issuer` is needed for embedded ones; `logs`,
 * `issuer` may be NULL; `at` in Unix seconds. */
void timestamps_add(struct timestamps *timestamps, enum timestamp_source source,
                    const uint8_t *list, size_t size, const struct certificate_facts *certificate,
                    const struct certificate_facts *issuer, const struct certificate_logs *logs,
                    int64_t at);

/* What Chrome asks of certificates since 2022-04-15, and Firefox and Apple much the same: two
 * timestamps of distinct logs for lives up to 180 days, three for longer ones (two where they do
 * not come inside the certificate), from two operators; embedded ones of logs that were good when
 * they promised, one of them not retired today; others of logs that are good today. */
struct timestamps_policy {
    size_t needed, counted; /* distinct logs */
    size_t operators;
    bool enough;         /* false is no verdict where logs are not known */
    const char *missing; /* in words; static; NULL: nothing */
};
void timestamps_weigh(struct timestamps_policy *ret_policy, const struct timestamps *timestamps,
                      const struct certificate_facts *certificate);
