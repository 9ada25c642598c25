/* edge/offer.h: batches of sessions on their way to a relay. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

#include "edge/offer.h"

static int set_up(void **state)
{
    *state = calloc(1, sizeof(struct offer_batch));
    return *state == NULL;
}

static int tear_down(void **state)
{
    free(*state);
    return 0;
}

static struct session_offer *first(struct offer_batch *batch)
{
    return (void *)batch->body;
}

static const struct session_offer *next(const struct offer_batch *batch, size_t *at)
{
    const struct client_identity *client;
    const uint8_t *data;
    return offer_next(batch->body, batch->size, at, &client, &data);
}

static void append_one(struct offer_batch *batch)
{
    struct session_offer offer = {.preamble_size = 3, .surplus_size = 5};

    assert_true(
        offer_append(batch, &offer, NULL, (const uint8_t *)"abc", (const uint8_t *)"defgh", 9));
}

static void test_refuses_lying_sizes(void **state)
{
    struct offer_batch *batch = *state;
    const uint32_t sizes[][3] = {
        /* size, preamble, surplus */
        {sizeof(struct session_offer) - 1, 0, 0},
        {0, 3, 5},
        {UINT32_MAX, 3, 5},
        {sizeof(struct session_offer) + 8, 3, 6},
        {sizeof(struct session_offer) + 8, 4, 5},
        {sizeof(struct session_offer) + 8, UINT32_MAX, 9},
        {sizeof(struct session_offer) + 8, 9, UINT32_MAX},
        {65536, 3, 5},
    };

    append_one(batch);
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        size_t at = 0;
        first(batch)->size = sizes[i][0];
        first(batch)->preamble_size = sizes[i][1];
        first(batch)->surplus_size = sizes[i][2];
        assert_null(next(batch, &at));
        assert_int_equal(at, 0);
    }
}

static void test_refuses_a_cut_offer(void **state)
{
    struct offer_batch *batch = *state;
    const struct client_identity *client;
    const uint8_t *data;

    append_one(batch);
    for (size_t size = 0; size < first(batch)->size; size++) {
        size_t at = 0;
        assert_null(offer_next(batch->body, size, &at, &client, &data));
    }
}

static void test_full_batch(void **state)
{
    struct offer_batch *batch = *state;
    struct session_offer offer = {0};

    for (unsigned i = 0; i < MESSAGE_OFFERS_MAX; i++)
        assert_true(offer_append(batch, &offer, NULL, NULL, NULL, (int)i));
    assert_false(offer_append(batch, &offer, NULL, NULL, NULL, 99));
    assert_int_equal(batch->count, MESSAGE_OFFERS_MAX);
}

static void test_data_without_room(void **state)
{
    struct offer_batch *batch = *state;
    struct session_offer offer = {.surplus_size = sizeof batch->body};
    uint8_t *data = calloc(1, sizeof batch->body);

    assert_false(offer_append(batch, &offer, NULL, NULL, data, 1));
    assert_int_equal(batch->count, 0);
    assert_int_equal(batch->size, 0);
    free(data);
}

static void test_round_trip(void **state)
{
    struct offer_batch *batch = *state;
    size_t at = 0;

    for (unsigned i = 0; i < 7; i++) {
        struct session_offer offer = {
            .preamble_size = i, .surplus_size = 2 * i, .client_port = (uint16_t)i};
        assert_true(offer_append(batch, &offer, NULL, (const uint8_t *)"preamble",
                                 (const uint8_t *)"surplus of it", (int)i));
    }
    for (unsigned i = 0; i < 7; i++) {
        const struct client_identity *client;
        const uint8_t *data;
        const struct session_offer *offer =
            offer_next(batch->body, batch->size, &at, &client, &data);
        assert_non_null(offer);
        assert_int_equal(offer->client_port, i);
        assert_int_equal((uintptr_t)offer % 16, 0);
        assert_memory_equal(data, "preamble", i);
        assert_memory_equal(data + i, "surplus of it", 2 * i);
        assert_int_equal(batch->fds[i], i);
    }
    assert_null(next(batch, &at));
}

/* The identity of a client lies between offer and data; without the flag nothing of it is sent. */
static void test_client(void **state)
{
    struct offer_batch *batch = *state;
    struct session_offer offer = {.generation.trust = 1, .surplus_size = 2};
    struct client_identity identity = {.chain_count = 2, .subject = "CN=somebody"};
    const struct client_identity *client;
    const uint8_t *data;
    size_t at = 0;

    assert_true(offer_append(batch, &offer, &identity, NULL, (const uint8_t *)"ab", 1));
    assert_non_null(offer_next(batch->body, batch->size, &at, &client, &data));
    assert_memory_equal(client, &identity, sizeof identity);
    assert_memory_equal(data, "ab", 2);

    at = 0;
    first(batch)->size = sizeof offer + sizeof identity - 1;
    assert_null(offer_next(batch->body, batch->size, &at, &client, &data));
    first(batch)->size = sizeof offer + 2;
    assert_null(offer_next(batch->body, batch->size, &at, &client, &data));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_refuses_lying_sizes, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_refuses_a_cut_offer, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_full_batch, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_data_without_room, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_round_trip, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_client, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
