/* Alerts and messages in words. What an alert says is for the one who runs the server: what it
 * stands for, and the usual reason. */
#include "tls/probe.h"

#include "base/attributes.h"

/* RFC 8446 §6, RFC 5246 §7.2, RFC 6066 §9, RFC 7301 §3.2, RFC 7507; those of SSL 3 included. */
static const char *const alerts[256] = {
    [0] = "close_notify: the server ended the connection",
    [10] = "unexpected_message: the server did not expect this message now",
    [20] = "bad_record_mac: a record was damaged on its way, or both sides disagree on the keys",
    [21] = "decryption_failed: a record could not be decrypted",
    [22] = "record_overflow: a record was longer than allowed",
    [30] = "decompression_failure: a compressed record could not be expanded",
    [40] = "handshake_failure: no common cipher suite, version, group or key type",
    [41] = "no_certificate: no client certificate was sent",
    [42] = "bad_certificate: a certificate is damaged, or its signature does not verify",
    [43] = "unsupported_certificate: a certificate of a type that is not supported",
    [44] = "certificate_revoked: a certificate was revoked by its issuer",
    [45] = "certificate_expired: a certificate has expired or is not valid yet",
    [46] = "certificate_unknown: a certificate was not accepted for some other reason",
    [47] = "illegal_parameter: a field was out of range or contradicts others",
    [48] = "unknown_ca: the issuer of a certificate is not known or not trusted",
    [49] = "access_denied: the certificate is valid, but access was refused",
    [50] = "decode_error: a message could not be decoded",
    [51] = "decrypt_error: a signature or a Finished message does not verify",
    [60] = "export_restriction: export rules were not kept",
    [70] = "protocol_version: the version of TLS offered is known, but not accepted",
    [71] = "insufficient_security: the server demands stronger cipher suites than were offered",
    [80] = "internal_error: the server failed for a reason of its own",
    [86] = "inappropriate_fallback: a higher version of TLS would have been possible",
    [90] = "user_canceled: the handshake was cancelled",
    [100] = "no_renegotiation: renegotiation was refused",
    [109] = "missing_extension: an extension that is required was not sent",
    [110] = "unsupported_extension: an extension came that was not asked for",
    [111] = "certificate_unobtainable: a certificate could not be fetched",
    [112] = "unrecognized_name: the server knows no host of this name (SNI)",
    [113] = "bad_certificate_status_response: the OCSP response was not accepted",
    [114] = "bad_certificate_hash_value: a certificate has another hash than announced",
    [115] = "unknown_psk_identity: the pre-shared key is not known",
    [116] = "certificate_required: the server demands a client certificate",
    [120] = "no_application_protocol: no common protocol (ALPN)",
    [121] = "ech_required: the server demands Encrypted Client Hello",
};

const char *probe_alert_text(uint8_t alert)
{
    return alerts[alert] != NULL ? alerts[alert] : "an alert that no standard names";
}

/* RFC 8446 §4, RFC 5246 §7.4. */
static const char *const messages[256] = {
    [0] = "HelloRequest",        [1] = "ClientHello",
    [2] = "ServerHello",         [4] = "NewSessionTicket",
    [5] = "EndOfEarlyData",      [8] = "EncryptedExtensions",
    [11] = "Certificate",        [12] = "ServerKeyExchange",
    [13] = "CertificateRequest", [14] = "ServerHelloDone",
    [15] = "CertificateVerify",  [16] = "ClientKeyExchange",
    [20] = "Finished",           [22] = "CertificateStatus",
    [24] = "KeyUpdate",          [25] = "CompressedCertificate",
    [67] = "NextProtocol",
};

const char *probe_message_text(uint8_t content_type, uint8_t type)
{
    switch (content_type) {
    case PROBE_CONTENT_CHANGE_CIPHER_SPEC:
        return "ChangeCipherSpec";
    case PROBE_CONTENT_ALERT:
        return type == 1 ? "Alert (warning)" : "Alert (fatal)";
    case PROBE_CONTENT_HANDSHAKE:
        return messages[type] != NULL ? messages[type] : "a handshake message that nobody knows";
    default:
        return "application data";
    }
}
