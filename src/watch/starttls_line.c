/* Protocols of lines: SMTP (RFC 3207), LMTP, IMAP (RFC 9051 §6.2.1), POP3 (RFC 2595), FTP (RFC
 * 4217), NNTP (RFC 4642), ManageSieve (RFC 5804).
 *
 * Lines end with CRLF; a lone LF is taken as well, for a sloppy server's certificate is of
 * interest, too. Lists of capabilities are read whole before anything is decided. */
#include "watch/starttls_internal.h"

#include <string.h>
#include <strings.h>

#include "base/string.h"

#define LINE_MAX_ 2048

struct line {
    const char *text; /* without its end, not terminated */
    size_t length;
    size_t size; /* with it */
};

/* The line that begins at `at` of the input. False: not whole yet. */
static bool line_at(const struct starttls *starttls, size_t at, struct line *ret_line)
{
    const char *text = (const char *)starttls->input + at;
    const char *end = memchr(text, '\n', starttls->input_size - at);

    if (end == NULL)
        return false;
    size_t length = (size_t)(end - text);
    ret_line->text = text;
    ret_line->size = length + 1;
    ret_line->length = length > 0 && text[length - 1] == '\r' ? length - 1 : length;
    return true;
}

static bool line_begins(const struct line *line, const char *word)
{
    size_t length = strlen(word);

    return line->length >= length && strncasecmp(line->text, word, length) == 0;
}

/* Is `word` a word of the line, from `offset` on? */
static bool line_has_word(const struct line *line, size_t offset, const char *word)
{
    size_t length = strlen(word);

    for (size_t at = offset; at + length <= line->length; at++) {
        bool begins = at == offset || line->text[at - 1] == ' ';
        bool ends = at + length == line->length || line->text[at + length] == ' ';
        if (begins && ends && strncasecmp(line->text + at, word, length) == 0)
            return true;
    }
    return false;
}

static enum starttls_status end_line(struct starttls *starttls, enum starttls_status status,
                                     const char *words, const struct line *line)
{
    return starttls_end(starttls, status, words, line->text, line->length);
}

/* Nothing whole has come: wait, unless it can be no line of such a protocol. */
static enum starttls_status want_line(struct starttls *starttls)
{
    if (starttls->input_size >= LINE_MAX_ &&
        memchr(starttls->input, '\n', starttls->input_size) == NULL)
        return starttls_end(starttls, STARTTLS_PROTOCOL, "sends a line without an end",
                            starttls->input, starttls->input_size);
    return STARTTLS_WANT_READ;
}

/* ---- replies of three digits: SMTP, LMTP, FTP, NNTP ---- */

struct reply {
    unsigned code;
    struct line last;
    size_t size; /* of all its lines */
};

static bool line_code(const struct line *line, unsigned *ret_code)
{
    unsigned code = 0;

    if (line->length < 3)
        return false;
    for (size_t i = 0; i < 3; i++) {
        if (line->text[i] < '0' || line->text[i] > '9')
            return false;
        code = code * 10 + (unsigned)(line->text[i] - '0');
    }
    *ret_code = code;
    return line->length == 3 || line->text[3] == ' ' || line->text[3] == '-';
}

/* A reply with all its lines ("250-…" go on). In FTP a line between the first and the last may be
 * any text (RFC 959 §4.2). False: `ret_status` says what to return. */
static bool take_reply(struct starttls *starttls, struct reply *ret_reply,
                       enum starttls_status *ret_status)
{
    bool free_text = starttls->protocol == TARGET_FTP;
    struct line line;
    unsigned code = 0;

    *ret_status = want_line(starttls);
    if (*ret_status != STARTTLS_WANT_READ)
        return false;
    for (size_t at = 0; line_at(starttls, at, &line); at += line.size) {
        unsigned other;
        bool numbered = line_code(&line, &other);
        if (at == 0)
            code = other;
        if (numbered && other == code && (line.length == 3 || line.text[3] == ' ')) {
            *ret_reply = (struct reply){.code = code, .last = line, .size = at + line.size};
            return true;
        }
        if ((!numbered || other != code) && (at == 0 || !free_text)) {
            *ret_status = end_line(starttls, STARTTLS_PROTOCOL,
                                   "expected a reply that begins with three digits, not", &line);
            return false;
        }
    }
    return false;
}

static enum starttls_status refused_reply(struct starttls *starttls, const char *words,
                                          const struct reply *reply)
{
    /* 1xx to 3xx say yes to something, only not to what was asked. */
    return end_line(starttls, reply->code >= 400 ? STARTTLS_REFUSED : STARTTLS_PROTOCOL, words,
                    &reply->last);
}

/* Has EHLO's reply the keyword? The first line is the greeting. */
static bool reply_offers(const struct starttls *starttls, const struct reply *reply,
                         const char *keyword)
{
    struct line line;

    for (size_t at = 0; at < reply->size && line_at(starttls, at, &line); at += line.size) {
        if (at == 0 || line.length <= 4)
            continue;
        struct line rest = {.text = line.text + 4, .length = line.length - 4};
        if (line_begins(&rest, keyword) && line_has_word(&rest, 0, keyword))
            return true;
    }
    return false;
}

enum { SMTP_GREETING, SMTP_HELLO, SMTP_CONSENT };

enum starttls_status starttls_step_smtp(struct starttls *starttls)
{
    bool lmtp = starttls->protocol == TARGET_LMTP;
    enum starttls_status status;
    struct reply reply;

    if (!take_reply(starttls, &reply, &status))
        return status;
    switch (starttls->step) {
    case SMTP_GREETING:
        if (reply.code != 220)
            return refused_reply(starttls, "greets with", &reply);
        starttls_take(starttls, reply.size);
        starttls_say_text(starttls, SMTP_HELLO,
                          lmtp ? "LHLO holdfast.invalid\r\n" : "EHLO holdfast.invalid\r\n");
        return STARTTLS_WANT_READ;
    case SMTP_HELLO:
        if (reply.code != 250)
            return refused_reply(starttls, lmtp ? "answers LHLO with" : "answers EHLO with",
                                 &reply);
        if (!reply_offers(starttls, &reply, "STARTTLS"))
            return starttls_end(starttls, STARTTLS_REFUSED, "does not offer STARTTLS", NULL, 0);
        starttls_take(starttls, reply.size);
        starttls_say_text(starttls, SMTP_CONSENT, "STARTTLS\r\n");
        return STARTTLS_WANT_READ;
    default:
        if (reply.code != 220)
            return refused_reply(starttls, "answers STARTTLS with", &reply);
        starttls_take(starttls, reply.size);
        return STARTTLS_DONE;
    }
}

enum { FTP_GREETING, FTP_CONSENT };

enum starttls_status starttls_step_ftp(struct starttls *starttls)
{
    enum starttls_status status;
    struct reply reply;

    if (!take_reply(starttls, &reply, &status))
        return status;
    if (starttls->step == FTP_GREETING) {
        if (reply.code != 120 && reply.code != 220)
            return refused_reply(starttls, "greets with", &reply);
        starttls_take(starttls, reply.size);
        if (reply.code == 220) /* 120: ready in a while */
            starttls_say_text(starttls, FTP_CONSENT, "AUTH TLS\r\n");
        return STARTTLS_WANT_READ;
    }
    if (reply.code != 234)
        return refused_reply(starttls, "answers AUTH TLS with", &reply);
    starttls_take(starttls, reply.size);
    return STARTTLS_DONE;
}

/* A list that ends with a line of one dot (RFC 3977 §3.1.1, RFC 1939 §3), from `at` on. False: not
 * whole yet; else its size, and whether a line begins with the keyword. */
static bool dotted_list(const struct starttls *starttls, size_t at, const char *keyword,
                        size_t *ret_size, bool *ret_offered)
{
    struct line line;

    *ret_offered = false;
    for (; line_at(starttls, at, &line); at += line.size) {
        if (line.length == 1 && line.text[0] == '.') {
            *ret_size = at + line.size;
            return true;
        }
        if (line_has_word(&line, 0, keyword) && line_begins(&line, keyword))
            *ret_offered = true;
    }
    return false;
}

enum { NNTP_GREETING, NNTP_CAPABILITIES, NNTP_CONSENT };

static enum starttls_status nntp_capabilities(struct starttls *starttls, const struct reply *reply)
{
    size_t size = reply->size;
    bool offered = true; /* servers older than CAPABILITIES answer 500: ask them */

    if (reply->code == 101 && !dotted_list(starttls, reply->size, "STARTTLS", &size, &offered))
        return STARTTLS_WANT_READ;
    if (reply->code != 101 && reply->code < 500)
        return refused_reply(starttls, "answers CAPABILITIES with", reply);
    if (!offered)
        return starttls_end(starttls, STARTTLS_REFUSED, "does not offer STARTTLS", NULL, 0);
    starttls_take(starttls, size);
    starttls_say_text(starttls, NNTP_CONSENT, "STARTTLS\r\n");
    return STARTTLS_WANT_READ;
}

enum starttls_status starttls_step_nntp(struct starttls *starttls)
{
    struct line line;
    struct reply reply = {0};

    /* One line each; what follows 101 is a list. */
    if (!line_at(starttls, 0, &line))
        return want_line(starttls);
    if (!line_code(&line, &reply.code))
        return end_line(starttls, STARTTLS_PROTOCOL,
                        "expected a reply that begins with three digits, not", &line);
    reply.last = line;
    reply.size = line.size;
    switch (starttls->step) {
    case NNTP_GREETING:
        if (reply.code != 200 && reply.code != 201)
            return refused_reply(starttls, "greets with", &reply);
        starttls_take(starttls, reply.size);
        starttls_say_text(starttls, NNTP_CAPABILITIES, "CAPABILITIES\r\n");
        return STARTTLS_WANT_READ;
    case NNTP_CAPABILITIES:
        return nntp_capabilities(starttls, &reply);
    default:
        if (reply.code != 382)
            return refused_reply(starttls, "answers STARTTLS with", &reply);
        starttls_take(starttls, reply.size);
        return STARTTLS_DONE;
    }
}

/* ---- IMAP ---- */

enum { IMAP_GREETING, IMAP_CAPABILITIES, IMAP_CONSENT };

static enum starttls_status imap_greeting(struct starttls *starttls, const struct line *line)
{
    if (line_begins(line, "* PREAUTH"))
        return end_line(starttls, STARTTLS_REFUSED,
                        "greets as one who has logged in already, and then TLS cannot begin", line);
    if (line_begins(line, "* BYE"))
        return end_line(starttls, STARTTLS_REFUSED, "greets with", line);
    if (!line_begins(line, "* OK"))
        return end_line(starttls, STARTTLS_PROTOCOL, "expected the greeting of IMAP, not", line);
    starttls_take(starttls, line->size);
    starttls_say_text(starttls, IMAP_CAPABILITIES, "a1 CAPABILITY\r\n");
    return STARTTLS_WANT_READ;
}

/* Untagged lines up to the one with our tag. False: not there yet, or `ret_status` is an end. */
static bool imap_tagged(struct starttls *starttls, const char *tag, struct line *ret_line,
                        size_t *ret_before, bool *ret_offered, enum starttls_status *ret_status)
{
    struct line line;

    *ret_status = want_line(starttls);
    *ret_offered = false;
    for (size_t at = 0; line_at(starttls, at, &line); at += line.size) {
        if (line_begins(&line, "* CAPABILITY ") &&
            line_has_word(&line, strlen("* CAPABILITY "), "STARTTLS"))
            *ret_offered = true;
        if (line_begins(&line, tag)) {
            *ret_line = line;
            *ret_before = at;
            return true;
        }
        if (line_begins(&line, "* BYE") || !line_begins(&line, "* ")) {
            bool bye = line_begins(&line, "* BYE");
            *ret_status = end_line(starttls, bye ? STARTTLS_REFUSED : STARTTLS_PROTOCOL,
                                   bye ? "says good-bye" : "expected a line of IMAP, not", &line);
            return false;
        }
    }
    return false;
}

enum starttls_status starttls_step_imap(struct starttls *starttls)
{
    bool asked = starttls->step == IMAP_CAPABILITIES;
    enum starttls_status status;
    struct line line;
    size_t before;
    bool offered;

    if (starttls->step == IMAP_GREETING)
        return line_at(starttls, 0, &line) ? imap_greeting(starttls, &line) : want_line(starttls);
    if (!imap_tagged(starttls, asked ? "a1 " : "a2 ", &line, &before, &offered, &status))
        return status;
    if (!line_begins(&line, asked ? "a1 OK" : "a2 OK"))
        return end_line(starttls, STARTTLS_REFUSED,
                        asked ? "answers CAPABILITY with" : "answers STARTTLS with", &line);
    if (asked && !offered)
        return starttls_end(starttls, STARTTLS_REFUSED, "does not offer STARTTLS", NULL, 0);
    starttls_take(starttls, before + line.size);
    if (!asked)
        return STARTTLS_DONE;
    starttls_say_text(starttls, IMAP_CONSENT, "a2 STARTTLS\r\n");
    return STARTTLS_WANT_READ;
}

/* ---- POP3 ---- */

enum { POP3_GREETING, POP3_CAPABILITIES, POP3_CONSENT };

static enum starttls_status pop3_capabilities(struct starttls *starttls, const struct line *line,
                                              bool positive)
{
    size_t size = line->size;
    bool offered = true; /* without CAPA (RFC 2449) one has to try */

    if (positive && !dotted_list(starttls, line->size, "STLS", &size, &offered))
        return STARTTLS_WANT_READ;
    if (!offered)
        return starttls_end(starttls, STARTTLS_REFUSED, "does not offer STLS", NULL, 0);
    starttls_take(starttls, size);
    starttls_say_text(starttls, POP3_CONSENT, "STLS\r\n");
    return STARTTLS_WANT_READ;
}

enum starttls_status starttls_step_pop3(struct starttls *starttls)
{
    struct line line;

    if (!line_at(starttls, 0, &line))
        return want_line(starttls);
    bool positive = line_begins(&line, "+OK");
    if (!positive && !line_begins(&line, "-ERR"))
        return end_line(starttls, STARTTLS_PROTOCOL, "expected +OK or -ERR, not", &line);
    if (starttls->step == POP3_CAPABILITIES)
        return pop3_capabilities(starttls, &line, positive);
    if (!positive)
        return end_line(starttls, STARTTLS_REFUSED,
                        starttls->step == POP3_GREETING ? "greets with" : "answers STLS with",
                        &line);
    starttls_take(starttls, line.size);
    if (starttls->step == POP3_CONSENT)
        return STARTTLS_DONE;
    starttls_say_text(starttls, POP3_CAPABILITIES, "CAPA\r\n");
    return STARTTLS_WANT_READ;
}

/* ---- ManageSieve ---- */

enum { SIEVE_GREETING, SIEVE_CONSENT };

/* A response ends with OK, NO or BYE; before it stand capabilities, each a quoted string. */
enum starttls_status starttls_step_sieve(struct starttls *starttls)
{
    bool greeting = starttls->step == SIEVE_GREETING, offered = false;
    struct line line;

    for (size_t at = 0; line_at(starttls, at, &line); at += line.size) {
        if (line_begins(&line, "\"STARTTLS\""))
            offered = true;
        if (line_begins(&line, "NO") || line_begins(&line, "BYE"))
            return end_line(starttls, STARTTLS_REFUSED,
                            greeting ? "greets with" : "answers STARTTLS with", &line);
        if (line_begins(&line, "OK")) {
            if (greeting && !offered)
                return starttls_end(starttls, STARTTLS_REFUSED, "does not offer STARTTLS", NULL, 0);
            starttls_take(starttls, at + line.size);
            if (!greeting)
                return STARTTLS_DONE;
            starttls_say_text(starttls, SIEVE_CONSENT, "STARTTLS\r\n");
            return STARTTLS_WANT_READ;
        }
        if (!line_begins(&line, "\""))
            return end_line(starttls, STARTTLS_PROTOCOL, "expected a line of ManageSieve, not",
                            &line);
    }
    return want_line(starttls);
}
