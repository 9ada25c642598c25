/* Resumption through OpenSSL: what a client comes back with is judged, refused without an error,
 * and the reason is known. */
#include "tls/server_resumption.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/clock.h"
#include "tls/context.h"
#include "tls/ticket_ring.h"

#include "conversation.h"
#include "issued.h"

static const int versions[] = {TLS1_2_VERSION, TLS1_3_VERSION};

/* The keys in force, others, and some of the same names that open nothing. */
static struct ticket_ring ordinary_ring, other_ring, damaged_ring;

static void make_rings(void)
{
    const struct ticket_rules rules = {.lifetime_s = 3600, .window_s = 3600, .node = "test"};
    const struct ticket_clock now = {.wall_s = 1800000000, .monotonic_ns = NS_PER_S};
    static struct ticket_keys keys, others;

    ignore((int)ticket_keys_advance(&keys, &rules, &now));
    ticket_ring_publish(&ordinary_ring, &keys);
    keys.keys[keys.current].mac_key[7] ^= 1;
    ticket_ring_publish(&damaged_ring, &keys);
    ignore((int)ticket_keys_advance(&others, &rules, &now));
    ticket_ring_publish(&other_ring, &others);
}

static struct tls_policy ordinary_policy(void)
{
    struct tls_policy policy = {.min_version = TLS_VERSION_1_2,
                                .max_version = TLS_VERSION_1_3,
                                .groups = tls_default_groups(),
                                .tickets = 1,
                                .ticket_lifetime_s = 3600,
                                .ticket_ring = &ordinary_ring};
    const struct resumption_scope scope = {.listener = "shop"};

    resumption_context(&scope, policy.session_id_context);
    return policy;
}

static struct keypair *certificate; /* that servers use */

static struct tls_server *server_new(const struct tls_policy *policy)
{
    struct keypair *pairs[KEY_TYPE_COUNT] = {[KEY_TYPE_ECDSA] = certificate};
    struct tls_server *server = NULL;
    struct error error;

    if (tls_server_new(&server, policy, pairs, &error) != 0)
        fail_msg("%s", error.message);
    return server;
}

/* ---- a client that comes again ---- */

struct visit {
    int version;
    const char *name;
    bool no_tickets;      /* it is to be resumed by id */
    SSL_SESSION *session; /* offered; replaced by what it was given */
    struct handshake_facts facts;
    unsigned long promised_s; /* the ticket's lifetime */
};

static SSL_SESSION *given;

static int keep_session(SSL *ssl, SSL_SESSION *session)
{
    (void)ssl;
    SSL_SESSION_free(given);
    given = session;
    return 1;
}

static SSL *client_of(const struct visit *visit)
{
    SSL_CTX *context = SSL_CTX_new(TLS_client_method());

    SSL_CTX_set_min_proto_version(context, visit->version);
    SSL_CTX_set_max_proto_version(context, visit->version);
    SSL_CTX_set_session_cache_mode(context,
                                   SSL_SESS_CACHE_CLIENT | SSL_SESS_CACHE_NO_INTERNAL_STORE);
    SSL_CTX_sess_set_new_cb(context, keep_session);
    if (visit->no_tickets)
        SSL_CTX_set_options(context, SSL_OP_NO_TICKET);
    SSL *peer = peer_new(context, false);
    SSL_CTX_free(context);
    SSL_set_tlsext_host_name(peer, context_text(visit->name));
    if (visit->session != NULL)
        assert_int_equal(SSL_set_session(peer, visit->session), 1);
    return peer;
}

/* The whole handshake; fails the test when it fails. */
static void come(struct tls_server *server, struct visit *visit)
{
    struct handshake *handshake = handshake_new_server(server);
    bool again = visit->session != NULL;
    struct resumption_offer offer = {.pre_shared_key = again,
                                     .ticket = again && !visit->no_tickets,
                                     .session_id = again && visit->no_tickets};
    uint8_t nothing;

    resumption_name(visit->name, offer.name);
    handshake_expect(handshake, &offer);
    struct conversation *conversation = conversation_new(handshake, client_of(visit));
    conversation_run(conversation, NULL);
    if (conversation->status == HANDSHAKE_FAILED) {
        struct handshake_failure failure;
        handshake_failure(handshake, &failure);
        fail_msg("%s: %s", failure.stage, failure.reason);
    }
    assert_int_equal(conversation->status, HANDSHAKE_DONE);
    assert_int_equal(conversation->peer_error, SSL_ERROR_NONE);
    assert_int_equal(SSL_read(conversation->peer, &nothing, 1), -1); /* takes TLS 1.3 tickets */
    handshake_facts(handshake, &visit->facts);
    assert_int_equal(SSL_session_reused(conversation->peer), visit->facts.resumed);
    if (given != NULL) {
        SSL_SESSION_free(visit->session);
        visit->session = given;
        visit->promised_s = SSL_SESSION_get_ticket_lifetime_hint(given);
        given = NULL;
    }
    conversation_free(conversation);
}

static void come_to(const struct tls_policy *policy, struct visit *visit)
{
    struct tls_server *server = server_new(policy);

    come(server, visit);
    tls_server_unref(server);
}

static void expect_miss(const struct tls_policy *policy, struct visit *visit,
                        enum resumption_miss miss)
{
    come_to(policy, visit);
    assert_true(visit->facts.resumption_offered);
    assert_false(visit->facts.resumed);
    assert_string_equal(resumption_miss_name(visit->facts.miss), resumption_miss_name(miss));
}

static void expect_resumed(const struct tls_policy *policy, struct visit *visit)
{
    come_to(policy, visit);
    assert_true(visit->facts.resumption_offered && visit->facts.resumed);
    assert_int_equal(visit->facts.miss, RESUMPTION_MISS_NONE);
}

/* Has been here once. */
static struct visit guest(const struct tls_policy *policy, int version)
{
    struct visit visit = {.version = version, .name = "edge.test"};

    come_to(policy, &visit);
    assert_false(visit.facts.resumed || visit.facts.resumption_offered);
    assert_int_equal(visit.facts.miss, RESUMPTION_MISS_NONE);
    assert_non_null(visit.session);
    return visit;
}

/* A guest of each version comes again after a change: refused for this reason, and resumed when it
 * comes once more. */
static void with_guests(void (*change)(struct tls_policy *policy, struct visit *visit),
                        enum resumption_miss miss)
{
    for (size_t i = 0; i < ARRAY_SIZE(versions); i++) {
        struct tls_policy policy = ordinary_policy();
        struct visit visit = guest(&policy, versions[i]);
        change(&policy, &visit);
        expect_miss(&policy, &visit, miss);
        expect_resumed(&policy, &visit); /* the full handshake gave a ticket that is right */
        SSL_SESSION_free(visit.session);
    }
}

/* ---- what is refused ---- */

static void change_context(struct tls_policy *policy, struct visit *visit)
{
    const struct resumption_scope scope = {.listener = "office"};

    (void)visit;
    resumption_context(&scope, policy->session_id_context);
}

static void refuses_the_ticket_of_another_listener(void **state)
{
    (void)state;
    with_guests(change_context, RESUMPTION_MISS_POLICY_CHANGED);
}

/* CVE-2025-23419: a session made without a client certificate, offered where one is required. */
static void change_trust(struct tls_policy *policy, struct visit *visit)
{
    struct resumption_scope scope = {.listener = "shop", .client_certificates = 1};

    (void)visit;
    memset(scope.trust_digest, 3, sizeof scope.trust_digest);
    memcpy(policy->trust_digest, scope.trust_digest, sizeof policy->trust_digest);
    resumption_context(&scope, policy->session_id_context);
}

static void refuses_the_ticket_of_another_trust(void **state)
{
    (void)state;
    with_guests(change_trust, RESUMPTION_MISS_TRUST_CHANGED);
}

static void change_name(struct tls_policy *policy, struct visit *visit)
{
    (void)policy;
    visit->name = "admin.edge.test";
}

static void refuses_the_ticket_of_another_name(void **state)
{
    (void)state;
    with_guests(change_name, RESUMPTION_MISS_NAME_CHANGED);
}

static void raise_epoch(struct tls_policy *policy, struct visit *visit)
{
    static const uint64_t raised = 1;

    (void)visit;
    policy->resumption_epoch = &raised;
}

static void refuses_the_ticket_of_an_earlier_epoch(void **state)
{
    (void)state;
    with_guests(raise_epoch, RESUMPTION_MISS_POLICY_CHANGED);
}

static void change_keys(struct tls_policy *policy, struct visit *visit)
{
    (void)visit;
    policy->ticket_ring = &other_ring;
}

static void refuses_the_ticket_of_an_unknown_key(void **state)
{
    (void)state;
    with_guests(change_keys, RESUMPTION_MISS_UNKNOWN_KEY);
}

/* The same name of the key, another key: the same as a damaged ticket. */
static void damage(struct tls_policy *policy, struct visit *visit)
{
    (void)visit;
    policy->ticket_ring = &damaged_ring;
}

static void refuses_a_damaged_ticket(void **state)
{
    (void)state;
    with_guests(damage, RESUMPTION_MISS_CORRUPT);
}

static void a_listener_without_tickets_takes_none(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(versions); i++) {
        struct tls_policy policy = ordinary_policy();
        struct visit visit = guest(&policy, versions[i]);
        policy.tickets = 0;
        expect_miss(&policy, &visit, RESUMPTION_MISS_POLICY_CHANGED);
        SSL_SESSION_free(visit.session);
    }
}

static void a_ticket_of_another_suite_is_unsuitable(void **state)
{
    struct tls_policy policy = ordinary_policy();
    struct visit visit = guest(&policy, TLS1_2_VERSION);

    (void)state;
    policy.max_version = TLS_VERSION_1_3; /* the ticket is of TLS 1.2, the client asks for both */
    struct tls_server *server = server_new(&policy);
    struct handshake *handshake = handshake_new_server(server);
    struct resumption_offer offer = {.pre_shared_key = true};
    resumption_name(visit.name, offer.name);
    handshake_expect(handshake, &offer);
    visit.version = TLS1_3_VERSION;
    SSL_SESSION *old = visit.session;
    visit.session = NULL; /* what it sends cannot be used: no PSK for this version */
    struct conversation *conversation = conversation_new(handshake, client_of(&visit));
    conversation_run(conversation, NULL);
    assert_int_equal(conversation->status, HANDSHAKE_DONE);
    handshake_facts(handshake, &visit.facts);
    assert_int_equal(visit.facts.miss, RESUMPTION_MISS_UNSUITABLE);
    conversation_free(conversation);
    tls_server_unref(server);
    SSL_SESSION_free(old);
}

/* ---- what is resumed, and for how long ---- */

static void resumes_as_often_as_the_client_comes(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(versions); i++) {
        struct tls_policy policy = ordinary_policy();
        struct visit visit = guest(&policy, versions[i]);
        for (unsigned n = 0; n < 5; n++)
            expect_resumed(&policy, &visit);
        SSL_SESSION_free(visit.session);
    }
}

/* What was given under a key before opens under the ring that knows it still, and the client gets a
 * ticket of the current key. */
static void resumes_with_a_previous_key_and_renews(void **state)
{
    const struct ticket_rules rules = {.lifetime_s = 3600, .window_s = 3600, .node = "test"};
    const struct ticket_clock now = {.wall_s = 1800000000, .monotonic_ns = NS_PER_S};
    static struct ticket_ring rotated;
    static struct ticket_keys keys;
    const unsigned char *ticket;
    size_t size;

    (void)state;
    assert_true(ticket_ring_read(&ordinary_ring, &keys));
    ignore((int)ticket_keys_rotate(&keys, &rules, &now));
    ticket_ring_publish(&rotated, &keys);
    for (size_t i = 0; i < ARRAY_SIZE(versions); i++) {
        struct tls_policy policy = ordinary_policy();
        struct visit visit = guest(&policy, versions[i]);
        SSL_SESSION_get0_ticket(visit.session, &ticket, &size);
        assert_memory_equal(ticket, keys.keys[0].name, TICKET_KEY_NAME_SIZE);
        policy.ticket_ring = &rotated;
        expect_resumed(&policy, &visit);
        SSL_SESSION_get0_ticket(visit.session, &ticket, &size);
        if (versions[i] == TLS1_3_VERSION) /* OpenSSL does not tell of a renewed one in TLS 1.2 */
            assert_memory_equal(ticket, keys.keys[1].name, TICKET_KEY_NAME_SIZE);
        SSL_SESSION_free(visit.session);
    }
}

static void no_ticket_promises_more_than_the_cap(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(versions); i++) {
        struct tls_policy policy = ordinary_policy();
        struct visit visit = guest(&policy, versions[i]);
        assert_int_equal(visit.promised_s, 3600);
        SSL_SESSION_free(visit.session);
        policy.lineage_s = 100;
        visit = guest(&policy, versions[i]);
        assert_in_range(visit.promised_s, 99, 100);
        expect_resumed(&policy, &visit);
        assert_true(visit.promised_s <= 100);
        SSL_SESSION_free(visit.session);
    }
}

static struct keypair *certificate_until(long until_s)
{
    EVP_PKEY *key = EVP_EC_gen("P-256");
    X509 *leaf = crafted_new(
        &(struct crafted){.key = key, .from_s = -1000, .until_s = until_s}); /* signs itself */
    struct keypair *pair = pair_of(leaf, NULL, NULL, key);

    X509_free(leaf);
    EVP_PKEY_free(key);
    return pair;
}

static void a_renewed_certificate_neither_ends_nor_lengthens_a_chain(void **state)
{
    struct keypair *renewed = certificate;

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(versions); i++) {
        struct tls_policy policy = ordinary_policy();
        struct keypair *first = certificate_until(500);
        certificate = first;
        struct visit visit = guest(&policy, versions[i]);
        assert_in_range(visit.promised_s, 400, 500);
        certificate = renewed;
        for (unsigned n = 0; n < 3; n++) {
            expect_resumed(&policy, &visit);
            assert_in_range(visit.promised_s, 400, 500);
        }
        keypair_unref(first);
        SSL_SESSION_free(visit.session);
    }
}

static void the_end_of_the_certificate_is_the_end(void **state)
{
    struct keypair *renewed = certificate;

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(versions); i++) {
        struct tls_policy policy = ordinary_policy();
        struct keypair *first = certificate_until(-1);
        certificate = first;
        struct visit visit = guest(&policy, versions[i]);
        certificate = renewed;
        expect_miss(&policy, &visit, RESUMPTION_MISS_CAPPED);
        expect_resumed(&policy, &visit);
        keypair_unref(first);
        SSL_SESSION_free(visit.session);
    }
}

/* ---- by session id ---- */

static _Alignas(64) uint8_t cache_memory[64 * 2200];
static struct session_cache *cache;

static struct tls_policy policy_with_cache(void)
{
    struct tls_policy policy = ordinary_policy();

    memset(cache_memory, 0, sizeof cache_memory);
    session_cache_format(cache_memory, 64);
    session_cache_close(cache);
    cache = session_cache_open(cache_memory, session_cache_size(64));
    assert_non_null(cache);
    policy.session_cache = cache;
    return policy;
}

static struct visit guest_without_tickets(const struct tls_policy *policy)
{
    struct visit visit = {.version = TLS1_2_VERSION, .name = "edge.test", .no_tickets = true};

    come_to(policy, &visit);
    assert_false(visit.facts.resumed || visit.facts.resumption_offered);
    assert_non_null(visit.session);
    return visit;
}

static void an_id_is_judged_as_a_ticket_is(void **state)
{
    static const struct {
        void (*change)(struct tls_policy *policy, struct visit *visit);
        enum resumption_miss miss;
    } cases[] = {
        {change_context, RESUMPTION_MISS_POLICY_CHANGED},
        {change_trust, RESUMPTION_MISS_TRUST_CHANGED},
        {change_name, RESUMPTION_MISS_NAME_CHANGED},
        {raise_epoch, RESUMPTION_MISS_POLICY_CHANGED},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        struct tls_policy policy = policy_with_cache();
        struct visit visit = guest_without_tickets(&policy);
        cases[i].change(&policy, &visit);
        expect_miss(&policy, &visit, cases[i].miss);
        expect_resumed(&policy, &visit);
        SSL_SESSION_free(visit.session);
    }
}

static void an_id_ends_with_the_certificate(void **state)
{
    struct keypair *renewed = certificate, *first = certificate_until(-1);
    struct tls_policy policy = policy_with_cache();

    (void)state;
    certificate = first;
    struct visit visit = guest_without_tickets(&policy);
    certificate = renewed;
    expect_miss(&policy, &visit, RESUMPTION_MISS_CAPPED);
    expect_resumed(&policy, &visit);
    keypair_unref(first);
    SSL_SESSION_free(visit.session);
}

static void an_id_that_is_not_in_the_cache_is_unknown(void **state)
{
    struct tls_policy policy = policy_with_cache();
    struct visit visit = guest_without_tickets(&policy);

    (void)state;
    policy = policy_with_cache();
    expect_miss(&policy, &visit, RESUMPTION_MISS_UNKNOWN_KEY);
    assert_int_equal(session_cache_counts(cache)->misses, 1);
    expect_resumed(&policy, &visit);
    assert_int_equal(session_cache_counts(cache)->hits, 1);
    SSL_SESSION_free(visit.session);
}

static void ids_are_resumed_by_every_context_with_the_cache(void **state)
{
    struct tls_policy policy = policy_with_cache();
    struct visit visit = guest_without_tickets(&policy);

    (void)state;
    for (unsigned n = 0; n < 5; n++)
        expect_resumed(&policy, &visit); /* each time another server context */
    assert_int_equal(session_cache_counts(cache)->stored, 1);
    assert_int_equal(session_cache_counts(cache)->hits, 5);
    SSL_SESSION_free(visit.session);
}

/* RFC 5246 §7.2.2: what a fatal alert ended is not resumed again. */
static void a_fatal_alert_ends_the_session_of_an_id(void **state)
{
    static const uint8_t early_data[] = {23, 3, 3, 0, 1, 0};
    struct tls_policy policy = policy_with_cache();
    struct visit visit = guest_without_tickets(&policy);
    struct tls_server *server = server_new(&policy);
    struct handshake *handshake = handshake_new_server(server);
    SSL *peer = client_of(&visit);
    uint8_t hello[4096];
    size_t consumed;

    (void)state;
    struct resumption_offer offer = {.session_id = true};
    resumption_name(visit.name, offer.name);
    handshake_expect(handshake, &offer);
    SSL_do_handshake(peer);
    assert_int_equal(
        handshake_feed(handshake, hello, peer_output(peer, hello, sizeof hello), &consumed),
        HANDSHAKE_WANT_READ);
    assert_int_equal(handshake_feed(handshake, early_data, sizeof early_data, &consumed),
                     HANDSHAKE_FAILED);
    assert_int_equal(session_cache_counts(cache)->hits, 1); /* it would have been resumed */
    handshake_free(handshake);
    SSL_free(peer);
    tls_server_unref(server);
    expect_miss(&policy, &visit, RESUMPTION_MISS_UNKNOWN_KEY);
    SSL_SESSION_free(visit.session);
}

/* Neither tickets nor a listener that resumes nothing fill the cache. */
static void only_clients_without_tickets_are_cached(void **state)
{
    struct tls_policy policy = policy_with_cache();

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(versions); i++) {
        struct visit visit = guest(&policy, versions[i]);
        expect_resumed(&policy, &visit);
        SSL_SESSION_free(visit.session);
    }
    assert_int_equal(session_cache_counts(cache)->stored, 0);
    policy.tickets = 0;
    struct visit visit = {.version = TLS1_2_VERSION, .name = "edge.test", .no_tickets = true};
    come_to(&policy, &visit);
    come_to(&policy, &visit);
    assert_false(visit.facts.resumed);
    assert_int_equal(session_cache_counts(cache)->stored, 0);
    SSL_SESSION_free(visit.session);
}

static int setup(void **state)
{
    (void)state;
    make_rings();
    issued_init();
    certificate = issued_pair(KEY_TYPE_ECDSA);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    session_cache_close(cache);
    issued_fini();
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(refuses_the_ticket_of_another_listener),
        cmocka_unit_test(refuses_the_ticket_of_another_trust),
        cmocka_unit_test(refuses_the_ticket_of_another_name),
        cmocka_unit_test(refuses_the_ticket_of_an_earlier_epoch),
        cmocka_unit_test(refuses_the_ticket_of_an_unknown_key),
        cmocka_unit_test(refuses_a_damaged_ticket),
        cmocka_unit_test(a_listener_without_tickets_takes_none),
        cmocka_unit_test(a_ticket_of_another_suite_is_unsuitable),
        cmocka_unit_test(resumes_with_a_previous_key_and_renews),
        cmocka_unit_test(resumes_as_often_as_the_client_comes),
        cmocka_unit_test(no_ticket_promises_more_than_the_cap),
        cmocka_unit_test(a_renewed_certificate_neither_ends_nor_lengthens_a_chain),
        cmocka_unit_test(the_end_of_the_certificate_is_the_end),
        cmocka_unit_test(an_id_is_judged_as_a_ticket_is),
        cmocka_unit_test(an_id_ends_with_the_certificate),
        cmocka_unit_test(an_id_that_is_not_in_the_cache_is_unknown),
        cmocka_unit_test(ids_are_resumed_by_every_context_with_the_cache),
        cmocka_unit_test(a_fatal_alert_ends_the_session_of_an_id),
        cmocka_unit_test(only_clients_without_tickets_are_cached),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
