/* One endpoint = one address × key type × server name of a target: what was seen there, what is
 * thought of it. */
#pragma once

#include "loop/socket.h"
#include "tls/chain.h"
#include "tls/probe.h"
#include "tls/revocation.h"
#include "tls/timestamps.h"
#include "watch/finding.h"
#include "watch/target.h"

enum endpoint_outcome {
    ENDPOINT_SEEN,            /* the handshake was finished */
    ENDPOINT_NOT_RESOLVED,    /* no address */
    ENDPOINT_RESOLVER_FAILED, /* the DNS did not answer: unknown */
    ENDPOINT_REFUSED,         /* connection refused, reset, unreachable */
    ENDPOINT_CONNECT_TIMEOUT,
    ENDPOINT_STARTTLS_REFUSED,
    ENDPOINT_STARTTLS_INJECTED,
    ENDPOINT_STARTTLS_FAILED, /* speaks something else, or closed in the middle */
    ENDPOINT_NOT_TLS,
    ENDPOINT_HANDSHAKE_FAILED, /* an alert of either side, or closed in the middle */
    ENDPOINT_TIMEOUT,          /* hung; `stage` says where */
    ENDPOINT_NO_CERTIFICATE,   /* of this key type: only in the matrix, not a defect */
    ENDPOINT_UNREADABLE,       /* file: cannot be read or parsed */
    ENDPOINT_LOCAL_FAILURE     /* of ours: descriptors, memory */
};
const char *endpoint_outcome_name(enum endpoint_outcome outcome); /* "seen", "refused", … stable */

enum answer { ANSWER_UNKNOWN, ANSWER_NO, ANSWER_YES }; /* UNKNOWN: not asked, or not to be told */
const char *answer_name(enum answer answer);           /* "unknown", "no", "yes" */

#define ENDPOINT_VERSIONS   5 /* SSL 3, TLS 1.0 – 1.3 */
#define ENDPOINT_SUITES_MAX 160
#define ENDPOINT_STORES_MAX 16

/* What only --deep, --resumption, --ciphers and --renegotiation find out. */
struct endpoint_inventory {
    enum answer versions[ENDPOINT_VERSIONS]; /* SSL 3, TLS 1.0, 1.1, 1.2, 1.3 */
    const char *suites[ENDPOINT_SUITES_MAX]; /* IANA names, in the order of the server's preference;
                                                static */
    uint16_t suite_versions[ENDPOINT_SUITES_MAX];
    size_t suite_count;
    enum answer server_preference; /* the server's order counts, not the client's */
    enum answer resumes_ticket, resumes_id;
    enum answer client_renegotiation;
    enum answer fallback_protected; /* TLS_FALLBACK_SCSV is answered by inappropriate_fallback */
    enum answer post_quantum;       /* X25519MLKEM768; unknown where OpenSSL cannot tell */
    enum answer compression;
    enum answer downgrade_sentinel; /* TLS 1.2 answers of a server of TLS 1.3 are marked (RFC 8446
                                       §4.1.3) */
    unsigned connections;           /* that all of this took */
    bool cut;                       /* there was more to ask than the limits allow */
};

struct endpoint_http { /* of https targets */
    bool asked;
    unsigned status;                     /* 0: no answer */
    char strict_transport_security[160]; /* the header, printable; "" */
    uint64_t hsts_max_age_s;
    bool hsts_subdomains, hsts_malformed;
};

struct endpoint_times { /* ns; 0: did not come so far */
    uint64_t resolve, connect, starttls, handshake, http;
};

/* What one trust store says. */
struct endpoint_trust {
    const struct chain_store *store; /* borrowed from the options */
    struct chain_verdict verdict;
};

/* What a revocation list says about one certificate. */
struct endpoint_crl {
    const struct certificate_facts *certificate; /* borrowed: served, or of a path */
    struct crl_verdict verdict;
    char source[256];   /* URL or file, printable; "" : the certificate names no list */
    char changes[256];  /* the delta list that was counted with it; "" */
    char left_out[256]; /* a delta list that could not be, and why; "" */
    char left_out_reason[160];
};

struct endpoint_renewal { /* RFC 9773 */
    bool known;
    int64_t start, end;    /* Unix seconds */
    char explanation[160]; /* URL, printable; "" */
    char reason[160];      /* why it is not known though it was asked, printable; "" */
};

#define ENDPOINT_FETCHED_MAX 6

/* Filled by watch/revocation.h. */
struct endpoint_revocation {
    bool prepared;
    const struct certificate_facts *issuer; /* of the leaf; borrowed; NULL: not known */
    struct ocsp_verdict staple;
    struct endpoint_crl crls[CHAIN_DEPTH_MAX]; /* leaf first; only where a list was looked for */
    size_t crl_count;
    struct timestamps timestamps;
    struct endpoint_renewal renewal;
    const struct certificate_facts *fetched[ENDPOINT_FETCHED_MAX]; /* by AIA; references */
    size_t fetched_count;
    char fetch_reason[160]; /* why there are no more of them, printable; "" */
};

struct endpoint {
    struct target target;
    size_t *chain_room; /* of its target, while it is probed (struct probe_offer); NULL: no limit */
    char name[TARGET_HOST_MAX]; /* expected, and SNI when `sni`; "" : names are not judged */
    bool sni;
    struct address address;
    char address_text[ADDRESS_TEXT_MAX]; /* "192.0.2.1:443", or the file */
    int key_type;                        /* enum key_type asked for; -1: any */
    const char *vantage;                 /* "public", "edge", "origin", "file"; static */
    enum endpoint_outcome outcome;
    const char *stage; /* of a time-out or failure; static */
    char reason[320];  /* in words, printable */
    struct probe_seen seen;
    struct endpoint_inventory inventory;
    struct endpoint_http http;
    struct endpoint_times times;
    int64_t checked_at; /* Unix seconds */
    int64_t judged_at;  /* the moment that was judged, when it is another one (--at); else 0 */
    /* Judgement. */
    struct endpoint_trust trust[ENDPOINT_STORES_MAX];
    size_t trust_count;
    const struct certificate_facts *needed[CHAIN_DEPTH_MAX]; /* certificates of the best path of the
                                                                verdict's store; borrowed */
    size_t needed_count;
    int64_t breaks_at; /* when the strict verdict turns bad for certain: no path left in any store
                          asked for; 0: it is bad, or unknown */
    struct endpoint_revocation revocation;
    struct findings findings;
};

struct endpoint *endpoint_new(const struct target *target); /* NULL: out of memory */
void endpoint_free(struct endpoint *endpoint);              /* accepts NULL */
/* The worst finding; of an endpoint that was not seen never better than SEVERITY_UNKNOWN. */
enum severity endpoint_severity(const struct endpoint *endpoint);
/* The verdict as an exit code of the plugin API: 0 ok, 1 warning, 2 critical, 3 unknown. */
int endpoint_exit_code(const struct endpoint *endpoint);
