/* Errors of the cold path (configuration, files, certificates, commands).
 *
 * A fallible function returns 0 or a negative code and fills the caller's `struct error`. Setting
 * an error returns its negative code, so failing is one line:
 *
 *     return error_set(error, ERROR_IO, "cannot open %s: %s", path, strerror(errno));
 *
 * Each layer may put its context in front: `return error_prepend(error, "certificate %s", name);`
 * The hot path (connections) does not use this; see the result enums of session/ and tls/. */
#pragma once

#include "base/attributes.h"

/* Class decides the exit code of a command and who can mend it. */
enum error_class {
    ERROR_CLASS_USAGE,    /* the user wrote something wrong: exit 2 */
    ERROR_CLASS_IO,       /* the system refused: exit 3 */
    ERROR_CLASS_PEER,     /* the other side is down or misbehaves: exit 4 */
    ERROR_CLASS_PROTOCOL, /* what arrived breaks a rule: exit 5 */
    ERROR_CLASS_FINDING,  /* a check found a defect: exit 6 */
    ERROR_CLASS_INTERNAL, /* our bug: exit 70 */
};

/* X(symbol, name, class). `name` is stable: it appears in JSON, in events and after --force. */
#define ERROR_LIST(X)                                                                              \
    X(ERROR_USAGE, "usage", ERROR_CLASS_USAGE)                                                     \
    X(ERROR_CONFIG, "configuration", ERROR_CLASS_USAGE)                                            \
    X(ERROR_NOT_FOUND, "not-found", ERROR_CLASS_USAGE)                                             \
    X(ERROR_IO, "io", ERROR_CLASS_IO)                                                              \
    X(ERROR_MEMORY, "memory", ERROR_CLASS_IO)                                                      \
    X(ERROR_LIMIT, "limit", ERROR_CLASS_IO)                                                        \
    X(ERROR_BUSY, "busy", ERROR_CLASS_IO)                                                          \
    X(ERROR_PEER, "peer", ERROR_CLASS_PEER)                                                        \
    X(ERROR_TIMEOUT, "timeout", ERROR_CLASS_PEER)                                                  \
    X(ERROR_PROTOCOL, "protocol", ERROR_CLASS_PROTOCOL)                                            \
    X(ERROR_TLS, "tls", ERROR_CLASS_PROTOCOL)                                                      \
    X(ERROR_INTERNAL, "internal", ERROR_CLASS_INTERNAL)                                            \
    /* Findings of the certificate pre-flight (tls/preflight.h), one code each. */                 \
    X(ERROR_CERTIFICATE_UNPARSABLE, "certificate-unparsable", ERROR_CLASS_FINDING)                 \
    X(ERROR_CERTIFICATE_KEY_UNPARSABLE, "key-unparsable", ERROR_CLASS_FINDING)                     \
    X(ERROR_CERTIFICATE_LEAF_NOT_FIRST, "leaf-not-first", ERROR_CLASS_FINDING)                     \
    X(ERROR_CERTIFICATE_KEY_MISMATCH, "key-mismatch", ERROR_CLASS_FINDING)                         \
    X(ERROR_CERTIFICATE_NAME_MISSING, "name-missing", ERROR_CLASS_FINDING)                         \
    X(ERROR_CERTIFICATE_NOT_YET_VALID, "not-yet-valid", ERROR_CLASS_FINDING)                       \
    X(ERROR_CERTIFICATE_EXPIRED, "expired", ERROR_CLASS_FINDING)                                   \
    X(ERROR_CERTIFICATE_OLDER_THAN_LIVE, "older-than-live", ERROR_CLASS_FINDING)                   \
    X(ERROR_CERTIFICATE_CHAIN_BROKEN, "chain-broken", ERROR_CLASS_FINDING)                         \
    X(ERROR_CERTIFICATE_LEAF_ONLY, "leaf-only", ERROR_CLASS_FINDING)                               \
    X(ERROR_CERTIFICATE_WEAK_KEY, "weak-key", ERROR_CLASS_FINDING)                                 \
    X(ERROR_CERTIFICATE_WEAK_SIGNATURE, "weak-signature", ERROR_CLASS_FINDING)                     \
    X(ERROR_CERTIFICATE_WRONG_USAGE, "wrong-usage", ERROR_CLASS_FINDING)                           \
    X(ERROR_CERTIFICATE_NOT_SERVED, "not-served", ERROR_CLASS_FINDING)

enum error_code {
    ERROR_NONE,
#define X(symbol, name, class) symbol,
    ERROR_LIST(X)
#undef X
        ERROR_CODE_COUNT
};

struct error {
    enum error_code code;
    char message[1024]; /* for people; what a peer sent is in it only after str_printable() */
};

/* Fills `error` (which may be NULL) and returns -code. */
int error_set(struct error *error, enum error_code code, const char *format, ...) PRINTF_LIKE(3, 4);

/* Puts "<text>: " in front of the message; returns the error's negative code. */
int error_prepend(struct error *error, const char *format, ...) PRINTF_LIKE(2, 3);

const char *error_name(enum error_code code);
enum error_class error_class(enum error_code code);
/* ERROR_NONE when no code has this name. */
enum error_code error_from_name(const char *name);
/* The exit code that the class of `error` calls for; 0 for ERROR_NONE. */
int error_exit_code(const struct error *error);
