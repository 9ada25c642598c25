/* A connection leaves the handshaker: what is told of it, and to whom it goes. */
#include <string.h>
#include <sys/socket.h>

#include "base/secret.h"
#include "base/string.h"
#include "edge/attached.h"
#include "edge/connection_internal.h"
#include "edge/preamble.h"

static void local_address(struct connection *connection, struct address *ret_address)
{
    *ret_address = connection->local;
    if (ret_address->size == 0) {
        ret_address->size = sizeof ret_address->un;
        if (getsockname(connection->fd, &ret_address->any, &ret_address->size) != 0)
            ret_address->size = 0;
    }
}

/* The PROXY header for the upstream, as far as it wants one. */
static size_t build_preamble(struct connection *connection, uint8_t *output)
{
    const struct conf *conf = connection->handshaker->worker.conf;
    struct address local;

    local_address(connection, &local);
    return preamble_build(&(struct preamble){.upstream = &conf->upstreams[connection->upstream],
                                             .client = connection->client,
                                             .client_port = connection->client_port,
                                             .local = &local,
                                             .server_name = connection->server_name,
                                             .handshake = connection->handshake,
                                             .asked = connection->asked},
                          output);
}

/* All that the offer says of the connection but for its legs. */
static void fill_offer(struct connection *connection, struct session_offer *offer,
                       uint8_t *preamble)
{
    const struct worker_setup *setup = &connection->handshaker->worker.setup;

    offer->listener = connection->listener;
    offer->upstream = connection->upstream;
    offer->generation.config = setup->config_generation;
    offer->generation.binary = setup->binary_generation;
    offer->accepted_ns = connection->accepted_ns;
    memcpy(offer->client_address, connection->client, sizeof offer->client_address);
    offer->client_port = connection->client_port;
    offer->flags |= connection->traced ? SLOT_TRACED : 0;
    ignore(string_copy(offer->server_name, sizeof offer->server_name, connection->server_name));
    offer->preamble_size = (uint32_t)build_preamble(connection, preamble);
}

/* `client`: who the client is by his certificate; NULL: he has shown none. */
static void hand_over(struct connection *connection, struct session_offer *offer,
                      const struct client_identity *client)
{
    struct handshaker *handshaker = connection->handshaker;
    uint8_t preamble[PROXY_PROTOCOL_V2_MAX];

    fill_offer(connection, offer, preamble);
    offer->surplus_size = (uint32_t)connection->input_size;
    connection_trace(connection, "handed to a relay");
    int fd = connection->fd;
    loop_unwatch(handshaker->worker.loop, fd);
    connection->fd = -1;
    dispatch_session(handshaker, offer, client, preamble, connection->input, fd);
    secret_wipe(&offer->keys, sizeof offer->keys);
    connection_retire(connection);
}

/* The session stays with OpenSSL; the relay gets the other end of a pair of sockets. */
static void attach(struct connection *connection, struct session_offer *offer,
                   const struct handshake_facts *facts, enum attached_reason reason)
{
    struct attached_new what = {.handshaker = connection->handshaker,
                                .handshake = connection->handshake,
                                .fd = connection->fd,
                                .listener = connection->listener,
                                .reason = reason,
                                .surplus = connection->input,
                                .surplus_size = connection->input_size,
                                .early = connection->early.data,
                                .early_size = connection->early.size,
                                .client_port = connection->client_port};
    uint8_t preamble[PROXY_PROTOCOL_V2_MAX];

    memcpy(what.client, connection->client, sizeof what.client);
    fill_offer(connection, offer, preamble);
    loop_unwatch(connection->handshaker->worker.loop, connection->fd);
    int fd = attached_begin(&what, offer);
    if (fd < 0) {
        connection_report_failure(connection, "established",
                                  "no room for a session that stays with OpenSSL", ALERT_NONE,
                                  ALERT_NONE);
    } else {
        connection_trace(connection, "stays with OpenSSL");
        connection->fd = -1;
        connection->handshake = NULL;
        dispatch_session(connection->handshaker, offer, facts->client_identity, preamble, NULL, fd);
    }
    connection_retire(connection);
}

static void describe(const struct connection *connection, const struct handshake_facts *facts,
                     struct session_offer *offer)
{
    offer->certificate = connection->choice.certificate;
    offer->generation.certificate_version = connection->choice.versions[facts->key_type];
    if (connection_conf(connection)->tickets != 0) /* else it has nothing that a ticket key opens */
        offer->generation.ticket_key = __atomic_load_n(
            &connection->handshaker->worker.board->ticket_key_generation, __ATOMIC_RELAXED);
    if (facts->client_identity != NULL)
        offer->generation.trust = trust_set_generation(
            certificates_trust_of(connection->handshaker->certificates, connection->listener));
    offer->key_type = (uint8_t)facts->key_type;
    offer->flags = (uint8_t)((facts->resumed ? SLOT_RESUMED : 0) |
                             (facts->hello_retry ? SLOT_HELLO_RETRY : 0));
    if (facts->version == TLS_VERSION_1_3 &&
        unable_clients_have(connection->handshaker, connection->hello, connection->hello_size))
        offer->flags |= SLOT_KEY_UPDATE_UNABLE;
    (void)string_printable(offer->alpn, sizeof offer->alpn, facts->alpn, facts->alpn_size);
}

void connection_settle(struct connection *connection)
{
    struct handshaker *handshaker = connection->handshaker;
    const struct conf_listener *conf = connection_conf(connection);
    struct session_offer offer = {0};
    struct handshake_facts facts;
    struct error error = {0};
    enum attached_reason reason =
        connection->carried ? ATTACHED_AUTHENTICATION : ATTACHED_CROSS_CHECK;

    handshake_facts(connection->handshake, &facts);
    describe(connection, &facts, &offer);
    if (attached_wanted(conf, connection->handshake, &facts, &reason) || connection->carried) {
        attach(connection, &offer, &facts, reason);
    } else if (handshake_detach(connection->handshake, handshaker->crypto, &offer.leg, &offer.keys,
                                &error) == 0) {
        hand_over(connection, &offer, facts.client_identity);
    } else {
        connection_report_mismatch(connection, &facts, &error);
        if (conf->detach == CONF_DETACH_PREFER)
            attach(connection, &offer, &facts, ATTACHED_CROSS_CHECK);
        else
            connection_retire(connection);
    }
}

void connection_pass_through(struct connection *connection)
{
    struct session_offer offer = {.certificate = CONF_NONE, .flags = SLOT_PASS_THROUGH};

    hand_over(connection, &offer, NULL);
}
