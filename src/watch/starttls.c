#include "watch/starttls.h"
#include "watch/starttls_internal.h"

#include <stdio.h>
#include <string.h>

#include "base/string.h"

/* Of all that a server may say before TLS; the longest real ones are lists of capabilities. */
#define RECEIVED_MAX (32u * 1024)

static const struct dialogue {
    void (*open)(struct starttls *starttls); /* NULL: the server speaks first */
    starttls_step_fn *step;                  /* NULL: nothing is spoken */
} dialogues[TARGET_PROTOCOL_COUNT] = {
    [TARGET_TLS] = {NULL, NULL},
    [TARGET_SMTP] = {NULL, starttls_step_smtp},
    [TARGET_LMTP] = {NULL, starttls_step_smtp},
    [TARGET_IMAP] = {NULL, starttls_step_imap},
    [TARGET_POP3] = {NULL, starttls_step_pop3},
    [TARGET_FTP] = {NULL, starttls_step_ftp},
    [TARGET_LDAP] = {starttls_open_ldap, starttls_step_ldap},
    [TARGET_XMPP_CLIENT] = {starttls_open_xmpp, starttls_step_xmpp},
    [TARGET_XMPP_SERVER] = {starttls_open_xmpp, starttls_step_xmpp},
    [TARGET_POSTGRES] = {starttls_open_postgres, starttls_step_postgres},
    [TARGET_MYSQL] = {NULL, starttls_step_mysql},
    [TARGET_SIEVE] = {NULL, starttls_step_sieve},
    [TARGET_NNTP] = {NULL, starttls_step_nntp},
};

void starttls_init(struct starttls *starttls, enum target_protocol protocol, const char *host)
{
    memset(starttls, 0, sizeof *starttls);
    starttls->protocol = protocol;
    ignore(string_copy(starttls->host, sizeof starttls->host, host));
    if (dialogues[protocol].open != NULL)
        dialogues[protocol].open(starttls);
}

void starttls_say(struct starttls *starttls, unsigned step, const void *data, size_t size)
{
    if (size > sizeof starttls->output - starttls->output_size)
        size = sizeof starttls->output - starttls->output_size;
    memcpy(starttls->output + starttls->output_size, data, size);
    starttls->output_size += size;
    starttls->step = step;
}

void starttls_say_text(struct starttls *starttls, unsigned step, const char *text)
{
    starttls_say(starttls, step, text, strlen(text));
}

void starttls_take(struct starttls *starttls, size_t size)
{
    starttls->input_size -= size;
    memmove(starttls->input, starttls->input + size, starttls->input_size);
}

enum starttls_status starttls_end(struct starttls *starttls, enum starttls_status status,
                                  const char *words, const void *said, size_t size)
{
    char shown[120];
    const char *bytes = size > 0 ? said : "";

    while (size > 0 && (bytes[size - 1] == '\r' || bytes[size - 1] == '\n'))
        size--;
    string_printable(shown, sizeof shown, said, size);
    snprintf(starttls->reason, sizeof starttls->reason, "%s%s%s", words, size > 0 ? ": " : "",
             shown);
    return status;
}

/* Steps as long as they get on. */
static enum starttls_status advance(struct starttls *starttls)
{
    for (;;) {
        size_t before = starttls->input_size;
        enum starttls_status status = dialogues[starttls->protocol].step(starttls);
        if (status != STARTTLS_WANT_READ)
            return status;
        if (starttls->output_size > 0 && starttls->input_size > 0)
            return starttls_end(starttls, STARTTLS_PROTOCOL, "answers before it was asked",
                                starttls->input, starttls->input_size);
        if (starttls->input_size == before || starttls->input_size == 0)
            return STARTTLS_WANT_READ;
    }
}

enum starttls_status starttls_feed(struct starttls *starttls, const uint8_t *input, size_t size)
{
    if (dialogues[starttls->protocol].step == NULL)
        return STARTTLS_DONE;
    starttls->received += size;
    if (size > sizeof starttls->input - starttls->input_size || starttls->received > RECEIVED_MAX)
        return starttls_end(starttls, STARTTLS_PROTOCOL,
                            "sends more than such a conversation ever needs", NULL, 0);
    if (size > 0)
        memcpy(starttls->input + starttls->input_size, input, size);
    starttls->input_size += size;
    if (starttls->input_size == 0)
        return STARTTLS_WANT_READ;
    enum starttls_status status = advance(starttls);
    if (status == STARTTLS_DONE && starttls->input_size > 0)
        return starttls_end(starttls, STARTTLS_INJECTED, "sent in clear behind its consent to TLS",
                            starttls->input, starttls->input_size);
    return status;
}

void starttls_sent(struct starttls *starttls)
{
    starttls->output_size = 0;
}
