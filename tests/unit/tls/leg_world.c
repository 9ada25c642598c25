#include "leg_world.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

struct record_crypto *crypto;
uint64_t clock_ms = 1000000;
uint8_t plain[100000], wire[200000], output[200000];

int leg_world_set_up(void **state)
{
    (void)state;
    crypto = record_crypto_new();
    for (size_t i = 0; i < sizeof(plain); i++) {
        plain[i] = (uint8_t)(i * 7 + 1);
    }
    return crypto == NULL;
}

int leg_world_tear_down(void **state)
{
    (void)state;
    record_crypto_free(crypto);
    return 0;
}

bool update_keys(struct leg *leg, bool request)
{
    clock_ms += 2 * LEG_KEY_AGE_MIN_MS;
    return leg_update_keys(leg, request, clock_ms);
}

void link_init(struct link *link, uint16_t version, uint16_t id, bool leg_is_client)
{
    memset(link, 0, sizeof(*link));
    link->suite = suite_find(version, id);
    leg_init(&link->leg, link->suite, leg_is_client, 0);
    memset(&link->peer_write, 1, sizeof(link->peer_write));
    memset(&link->peer_read, 2, sizeof(link->peer_read));
    link->keys[0].read = link->peer_write;
    link->keys[0].write = link->peer_read;
}

void link_tls13(struct link *link)
{
    link_init(link, TLS_VERSION_1_3, 0x1301, false);
}

void link_tls12(struct link *link)
{
    link_init(link, TLS_VERSION_1_2, 0xc02b, false);
}

void link_put(struct link *link, enum record_type type, const void *content, size_t size)
{
    uint64_t nonce = link->write_sequence;
    size_t n = record_seal(crypto, link->suite, &link->peer_write, &link->write_sequence, &nonce,
                           type, content, size, RECORD_PLAINTEXT_MAX, wire + link->size);
    assert_true(n > 0);
    link->size += n;
}

void link_peer_renews(struct link *link)
{
    struct record_key next;
    assert_true(record_key_next(link->suite, &link->peer_write, &next));
    link->peer_write = next;
    link->write_sequence = 0;
}

void link_put_key_update(struct link *link, uint8_t request)
{
    const uint8_t message[] = {24, 0, 0, 1, request};
    link_put(link, RECORD_HANDSHAKE, message, sizeof(message));
    link_peer_renews(link);
}

enum leg_event link_take_at(struct link *link, uint64_t now_s)
{
    size_t size = link->size;
    link->size = 0;
    return leg_open(crypto, &link->leg, leg_own_banks(link->keys), wire, size, output,
                    sizeof(output), now_s * 1000, &link->opened);
}

enum leg_event link_take(struct link *link)
{
    return link_take_at(link, 0);
}

void assert_fatal(struct link *link, enum leg_reason reason, enum alert alert)
{
    assert_int_equal(link_take(link), LEG_FATAL);
    assert_int_equal(link->opened.reason, reason);
    assert_int_equal(link->opened.alert, alert);
    assert_int_equal(link->leg.alert_owed, alert);
}

void assert_record_fatal(uint16_t version, bool leg_is_client, enum record_type type,
                         const void *content, size_t size, enum leg_reason reason, enum alert alert)
{
    struct link link;
    link_init(&link, version, version == TLS_VERSION_1_3 ? 0x1301 : 0xc02b, leg_is_client);
    link_put(&link, type, content, size);
    assert_fatal(&link, reason, alert);
    assert_int_equal(link.opened.produced, 0);
}

enum record_type link_peer_reads(struct link *link, const uint8_t *records, size_t size,
                                 struct record_opened *ret_opened)
{
    assert_int_equal(record_open(crypto, link->suite, &link->peer_read, &link->read_sequence,
                                 records, size, output, ret_opened),
                     RECORD_OPENED);
    return ret_opened->type;
}

void assert_owes(struct link *link, enum record_type type, const void *content, size_t size)
{
    uint8_t owed[LEG_OWED_MAX];
    struct record_opened opened;

    assert_true(leg_owes(&link->leg));
    size_t n = leg_seal_owed(crypto, &link->leg, leg_own_banks(link->keys), clock_ms, owed);
    assert_int_equal(link_peer_reads(link, owed, n, &opened), type);
    assert_int_equal(opened.consumed, n);
    assert_int_equal(opened.size, size);
    assert_memory_equal(output, content, size);
    assert_false(leg_owes(&link->leg));
    assert_int_equal(leg_seal_owed(crypto, &link->leg, leg_own_banks(link->keys), clock_ms, owed),
                     0);
}
