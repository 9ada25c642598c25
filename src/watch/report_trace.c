/* One handshake, message by message, and every certificate that was sent. */
#include <string.h>

#include "base/json.h"
#include "watch/report.h"
#include "watch/report_words.h"

/* What a message is for. */
static const char *meaning_of(const char *message)
{
    static const struct {
        const char *message, *meaning;
    } meanings[] = {
        {"ClientHello", "what the client can, the name it asks for, its key share"},
        {"ServerHello", "version, suite and key exchange are chosen"},
        {"HelloRetryRequest", "the client's key share did not fit: once more with another group"},
        {"EncryptedExtensions", "the rest of what was agreed on; encrypted from here on"},
        {"CertificateRequest", "the server asks who the client is"},
        {"Certificate", "the chain, as the server has it"},
        {"CertificateStatus", "stapled OCSP response"},
        {"CertificateVerify", "proves that the key of the certificate is there"},
        {"ServerKeyExchange", "key share, signed with the key of the certificate"},
        {"ServerHelloDone", "it is the client's turn"},
        {"ClientKeyExchange", "the client's key share"},
        {"Finished", "proves that nobody changed what was said"},
        {"NewSessionTicket", "with it the client may resume later"},
        {"ChangeCipherSpec", "encrypted from here on (with TLS 1.3 only for show)"},
        {"KeyUpdate", "another traffic key"},
        {"HelloRequest", "the server wants to renegotiate"},
    };

    for (size_t i = 0; i < ARRAY_SIZE(meanings); i++) {
        if (strcmp(message, meanings[i].message) == 0)
            return meanings[i].meaning;
    }
    return "";
}

/* An alert is told as its receiver sees it: of one that we have sent its name is enough. */
static void put_alert_text(FILE *stream, const char *alert, bool sent)
{
    fprintf(stream, "%.*s\n", sent ? (int)strcspn(alert, ":") : (int)strlen(alert), alert);
}

static void put_message(FILE *stream, const json_t *message)
{
    const char *name = json_text(message, "message"), *alert = json_text(message, "alert");
    bool sent = strcmp(json_text(message, "direction"), "sent") == 0;

    fprintf(stream, "  %9.3f ms  %s  %-20s %6.0f B  ", json_real_or(message, "at_s", 0) * 1000,
            sent ? "->" : "<-", name[0] != '\0' ? name : json_text(message, "record"),
            json_real_or(message, "size", 0));
    if (alert[0] != '\0')
        put_alert_text(stream, alert, sent);
    else
        fprintf(stream, "%s\n", meaning_of(name));
}

static void put_names(FILE *stream, const json_t *certificate)
{
    const json_t *names = json_object_get(certificate, "subject_an");
    size_t shown = json_array_size(names) < 8 ? json_array_size(names) : 8;
    double count = json_real_or(certificate, "subject_an_count", 0);

    if (shown == 0)
        return;
    fputs("     names     ", stream);
    for (size_t i = 0; i < shown; i++)
        fprintf(stream, "%s%s", i > 0 ? ", " : "", json_string_value(json_array_get(names, i)));
    if (count > (double)shown)
        fprintf(stream, " and %.0f more", count - (double)shown);
    fputc('\n', stream);
}

static void put_certificate(FILE *stream, const json_t *certificate)
{
    char left[REPORT_TEXT_MAX];

    fprintf(stream, "  %.0f  %s, %s\n", json_real_or(certificate, "position", 0),
            json_text(certificate, "subject"), json_text(certificate, "role"));
    fprintf(stream, "     issuer    %s\n", json_text(certificate, "issuer"));
    fprintf(stream, "     valid     %s to %s, %s left\n", json_text(certificate, "not_before"),
            json_text(certificate, "not_after"),
            report_days_text(left, json_real_or(certificate, "days_left", 0)));
    fprintf(stream, "     key       %s %.0f bits %s, signed with %s\n",
            json_text(certificate, "key"), json_real_or(certificate, "key_bits", 0),
            json_text(certificate, "curve"), json_text(certificate, "signature"));
    put_names(stream, certificate);
    fprintf(stream, "     serial    %s\n     sha256    %s\n     pin       %s\n",
            json_text(certificate, "serial"), json_text(certificate, "sha256"),
            json_text(certificate, "spki_sha256"));
}

static void put_alert(FILE *stream, const char *who, const char *alert)
{
    if (alert[0] != '\0')
        fprintf(stream, "%s ended it with an alert: %s\n", who, alert);
}

static void put_end(FILE *stream, const json_t *endpoint)
{
    const json_t *tls = json_object_get(endpoint, "tls");

    put_alert(stream, "the server", json_text(tls, "alert_received"));
    put_alert(stream, "the client", json_text(tls, "alert_sent"));
    if (strcmp(json_text(endpoint, "outcome"), "seen") == 0)
        fprintf(stream, "%s, %s, %s\n", json_text(tls, "version"), json_text(tls, "suite"),
                json_text(tls, "group"));
    else
        fprintf(stream, "%s at %s: %s\n", json_text(endpoint, "outcome"),
                json_text(endpoint, "stage"), json_text(endpoint, "reason"));
}

void report_trace(FILE *stream, const json_t *endpoint)
{
    const json_t *messages = json_object_get(endpoint, "messages");
    const json_t *certificates = json_object_get(endpoint, "certificates");

    fprintf(stream, "%s at %s (%s)\n", json_text(endpoint, "target"),
            json_text(endpoint, "address"), json_text(endpoint, "key_type"));
    for (size_t i = 0; i < json_array_size(messages); i++)
        put_message(stream, json_array_get(messages, i));
    put_end(stream, endpoint);
    for (size_t i = 0; i < json_array_size(certificates); i++)
        put_certificate(stream, json_array_get(certificates, i));
}
