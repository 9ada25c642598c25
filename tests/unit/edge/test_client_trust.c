/* edge/client_trust.h: which set is in force when the configuration changes. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

#include "edge/client_trust.h"
#include "tls/trust_set_internal.h"

#define NOW 1000000

/* With one revocation list that revokes nobody, and is over at that time. */
static uint8_t *document(int64_t next_update, size_t *ret_size)
{
    struct trust_set *set = trust_set_empty();
    assert_non_null(set);
    set->lists = calloc(1, sizeof *set->lists);
    assert_non_null(set->lists);
    set->lists[0].next_update = next_update;
    set->list_count = 1;
    trust_set_finish(set);
    trust_set_number(set, 7);
    uint8_t *data = trust_set_export(set, ret_size);
    assert_non_null(data);
    trust_set_unref(set);
    return data;
}

static bool take(struct client_trust *trust, const struct worker *worker, uint32_t generation,
                 int64_t next_update)
{
    const struct message_client_trust body = {.listener = 3, .config = generation};
    struct error error = {0};
    bool changed;
    size_t size;
    uint8_t *data = document(next_update, &size);

    assert_int_equal(
        client_trust_take(trust, worker, &body, (const char *)data, size, &changed, &error), 0);
    free(data);
    return changed;
}

/* A set whose list was renewed and revokes the same has the number of the one before; a
 * configuration that brings it must not leave that one, whose time is soon over, in force. */
static void test_renewed_list_comes_with_a_configuration(void **state)
{
    struct worker worker = {.next_conf = (void *)1};
    struct client_trust trust = {0};
    bool changed[CONF_LISTENERS_MAX];
    (void)state;

    worker.setup.config_generation = 1;
    worker.next_config.generation = 2;
    assert_true(take(&trust, &worker, 1, NOW));
    assert_false(take(&trust, &worker, 2, NOW + 1000));
    assert_true(trust_set_stale(trust.sets[3], NOW + 1));
    client_trust_swap(&trust, changed);
    assert_false(trust_set_stale(trust.sets[3], NOW + 1));
    assert_true(changed[3]);
    assert_false(changed[2]);
    client_trust_fini(&trust);
}

/* What is for neither configuration is left out, and what does not come with one is gone. */
static void test_other_configurations(void **state)
{
    struct worker worker = {.next_conf = (void *)1};
    struct client_trust trust = {0};
    bool changed[CONF_LISTENERS_MAX];
    (void)state;

    worker.setup.config_generation = 1;
    worker.next_config.generation = 2;
    assert_false(take(&trust, &worker, 3, NOW));
    assert_null(trust.sets[3]);
    assert_null(trust.next[3]);
    assert_true(take(&trust, &worker, 1, NOW));
    client_trust_swap(&trust, changed);
    assert_null(trust.sets[3]);
    assert_true(changed[3]);
    client_trust_fini(&trust);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_renewed_list_comes_with_a_configuration),
        cmocka_unit_test(test_other_configurations),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
