/* MTA-STS (RFC 8461): what a domain says about how mail to it must be protected. Bytes in, facts
 * out. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define MAIL_POLICY_SIZE_MAX     (64u * 1024)
#define MAIL_POLICY_PATTERNS_MAX 32 /* more are counted */

enum mail_policy_mode { MAIL_POLICY_NONE, MAIL_POLICY_TESTING, MAIL_POLICY_ENFORCE };
const char *mail_policy_mode_name(enum mail_policy_mode mode); /* "none", "testing", "enforce" */

struct mail_policy {
    enum mail_policy_mode mode;
    uint64_t max_age_s;
    char patterns[MAIL_POLICY_PATTERNS_MAX][256]; /* host names and "*.…", lower case */
    size_t pattern_count, patterns_dropped;
};

/* Is this TXT record of _mta-sts.<domain> one of MTA-STS at all ("v=STSv1;…")? */
bool mail_policy_is_record(const char *text);
/* Why such a record is wrong (§3.1), or NULL; static. */
const char *mail_policy_record_defect(const char *text);
/* Reads the policy's text (§3.2). Returns NULL, or why it is none; static. */
const char *mail_policy_parse(struct mail_policy *ret_policy, const uint8_t *text, size_t size);
/* Does one of the patterns name the host (§4.1: "*" is one label, the left-most)? */
bool mail_policy_covers(const struct mail_policy *policy, const char *host);
