/* Version numbers of one certificate that outlive a restart: a journal versions/NAME in the state
 * folder, one line per version put in service: "VERSION KEY-TYPE SHA-256 HOST" (HOST "-" but for
 * folders).
 *
 * Lines are appended; the last one of a host and key type counts; the highest number ever written
 * decides the next. A line cut short by a full disk or a crash is passed over. What cannot be
 * written is remembered here all the same. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/buffer.h"
#include "base/error.h"
#include "tls/certificate.h"

struct versions {
    int fd;        /* of the journal; -1: cannot be written */
    uint32_t last; /* the highest number given */
    bool torn;     /* the journal may end within a line */
};

/* Called for each line in order when the journal is read. */
typedef void versions_line_fn(void *context, uint32_t version, enum key_type type,
                              const uint8_t fingerprint[32], const char *host);

/* Reads and keeps open. On failure numbers are still given, but do not outlive a restart. */
MUST_CHECK int versions_open(struct versions *versions, int state_folder, const char *name,
                             versions_line_fn *line, void *context, struct error *error);
void versions_fini(struct versions *versions); /* accepts zeroed with fd -1 */

/* Writes a line; `version` may be an earlier one that is live again. */
MUST_CHECK int versions_note(struct versions *versions, uint32_t version, enum key_type type,
                             const uint8_t fingerprint[32], const char *host, struct error *error);

/* Formats one line; the form in which versions_replace() takes them. */
bool versions_line(struct buffer *lines, uint32_t version, enum key_type type,
                   const uint8_t fingerprint[32], const char *host);
/* Puts these lines in place of the whole journal, at once; on failure the old one stays in use. */
MUST_CHECK int versions_replace(struct versions *versions, int state_folder, const char *name,
                                const struct buffer *lines, struct error *error);
