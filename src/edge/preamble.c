#include "edge/preamble.h"

/* Together with everything else they fit into PROXY_PROTOCOL_V2_MAX. What is longer is left out:
 * half a name would be another name. */
#define SUBJECT_MAX 512
#define NAMES_MAX   2048

struct texts {
    char subject[SUBJECT_MAX + 1], names[NAMES_MAX + 1];
    struct handshake_facts facts; /* the fingerprint is in it */
    struct proxy_protocol_tls tls;
};

static void add_client(const struct preamble *preamble, struct texts *texts,
                       struct proxy_protocol_fields *fields)
{
    const struct handshake *handshake = preamble->handshake;

    texts->tls.common_name = handshake_client_common_name(handshake);
    texts->tls.certificate = texts->tls.verified = true; /* else there would be no session */
    if (!preamble->upstream->proxy_client_certificate)
        return;
    if (handshake_client_subject(handshake, texts->subject, sizeof texts->subject) != 0)
        fields->client_subject = texts->subject;
    if (handshake_client_names(handshake, texts->names, sizeof texts->names) != 0)
        fields->client_names = texts->names;
    fields->client_fingerprint = texts->facts.peer_fingerprint;
}

static void add_tls(const struct preamble *preamble, struct texts *texts,
                    struct proxy_protocol_fields *fields)
{
    const struct handshake_facts *facts = &texts->facts;

    handshake_facts(preamble->handshake, &texts->facts);
    fields->alpn = (const char *)facts->alpn;
    fields->alpn_size = facts->alpn_size;
    texts->tls = (struct proxy_protocol_tls){
        .version = facts->version == TLS_VERSION_1_3 ? "TLSv1.3" : "TLSv1.2",
        .cipher = facts->suite_name,
        .key_algorithm = facts->key_type == KEY_TYPE_RSA ? "RSA" : "EC",
        .resumed = facts->resumed,
    };
    if (facts->peer_subject != NULL && !preamble->asked)
        add_client(preamble, texts, fields);
    fields->tls = &texts->tls;
}

size_t preamble_build(const struct preamble *preamble, uint8_t *output)
{
    struct proxy_protocol_fields fields = {
        .authority = preamble->server_name[0] != 0 ? preamble->server_name : NULL,
        .checksum = true};
    struct texts texts;
    struct address client;

    if (preamble->upstream->proxy_out == CONF_PROXY_OUT_NONE)
        return 0;
    address_from_bytes(&client, preamble->client, preamble->client_port);
    if (preamble->upstream->proxy_out == CONF_PROXY_OUT_V1)
        return proxy_protocol_build_v1(&client, preamble->local, output);
    if (preamble->handshake != NULL)
        add_tls(preamble, &texts, &fields);
    return proxy_protocol_build_v2(&client, preamble->local, &fields, output);
}
