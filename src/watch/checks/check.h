/* The checks: small functions, each with one subject, that look at an endpoint and say what they
 * found. They ask nobody and change nothing but the findings.
 *
 * A new check: a function in a file of this folder, a line in the list below. */
#pragma once

#include "watch/endpoint.h"

/* What is expected, besides what everybody expects. */
struct check_policy {
    int64_t at;        /* the moment that is judged, Unix seconds */
    struct threshold { /* how much must be left of a certificate that is needed */
        double share;  /* of its life; 0: `seconds` counts */
        int64_t seconds;
    } warning, critical; /* zero: the defaults of dates.c, by the life of the certificate */
    uint8_t pins[8][32]; /* SPKI SHA-256; one of them must be in the chain */
    size_t pin_count;
    struct chain_policies policies;      /* certificate policies that are asked for */
    const struct certificate_logs *logs; /* NULL: SCTs are counted, not verified */
    bool require_staple;
    bool require_hsts;
};

typedef void check_fn(const struct endpoint *endpoint, const struct check_policy *policy,
                      struct findings *findings);

/* X(function, title): in the order in which findings are shown. */
#define CHECK_LIST(X)                                                                              \
    X(check_connection, "connection")                   /* connection.c */                         \
    X(check_names, "names")                             /* names.c */                              \
    X(check_dates, "dates")                             /* dates.c */                              \
    X(check_chain_trust, "trust")                       /* chain.c */                              \
    X(check_chain_shape, "chain")                       /* chain.c */                              \
    X(check_certificates, "certificates")               /* certificate.c */                        \
    X(check_shared_keys, "shared keys")                 /* certificate.c */                        \
    X(check_pins, "pins")                               /* certificate.c */                        \
    X(check_staple, "OCSP staple")                      /* revocation.c */                         \
    X(check_revocation_lists, "revocation lists")       /* revocation.c */                         \
    X(check_revocation_source, "source of revocation")  /* revocation.c */                         \
    X(check_renewal_information, "renewal information") /* revocation.c */                         \
    X(check_timestamps, "certificate transparency")     /* timestamps.c */                         \
    X(check_versions, "versions of TLS")                /* protocol.c */                           \
    X(check_suites, "cipher suites")                    /* protocol.c */                           \
    X(check_key_exchange, "key exchange")               /* protocol.c */                           \
    X(check_renegotiation, "renegotiation")             /* protocol.c */                           \
    X(check_downgrade, "protection from downgrading")   /* protocol.c */                           \
    X(check_protocol_facts, "other facts of TLS")       /* protocol.c */                           \
    X(check_strict_transport, "HSTS")                   /* http.c */

#define X(function, title) check_fn function;
CHECK_LIST(X)
#undef X

/* Runs all of them. */
void check_endpoint(struct endpoint *endpoint, const struct check_policy *policy);

/* How bad is it that so little of a certificate's life is left? Info: it is not. By the policy's
 * limits, else by our own: late is who has missed the point of renewal. */
enum severity check_left(const struct check_policy *policy, const struct certificate_facts *facts,
                         int64_t left_s);

/* Differences between the endpoints of one target: other certificates, chains, versions, answers.
 * Findings go to the one that differs from most. */
void check_consistency(struct endpoint *const *endpoints, size_t count);
