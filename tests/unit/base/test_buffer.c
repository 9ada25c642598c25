#include "base/buffer.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include <cmocka.h>

static void maximum_holds(void **state)
{
    (void)state;
    struct buffer buffer;

    buffer_init(&buffer, 10);
    assert_true(buffer_append(&buffer, "0123456789", 10));
    assert_false(buffer.failed);
    assert_false(buffer_append(&buffer, "x", 1));
    assert_true(buffer.failed);
    assert_int_equal(buffer.size, 10);
    assert_string_equal(buffer_text(&buffer), "0123456789");
    buffer_fini(&buffer);
}

static void failure_sticks(void **state)
{
    (void)state;
    struct buffer buffer;

    buffer_init(&buffer, 4);
    assert_false(buffer_append_text(&buffer, "too long"));
    assert_true(buffer_append_text(&buffer, "fits"));
    assert_true(buffer.failed);
    assert_string_equal(buffer_text(&buffer), "fits");
    buffer_fini(&buffer);
}

static void absurd_size_is_refused(void **state)
{
    (void)state;
    struct buffer buffer;

    buffer_init(&buffer, 1000);
    assert_true(buffer_append_text(&buffer, "a"));
    assert_null(buffer_reserve(&buffer, SIZE_MAX));
    assert_true(buffer.failed);
    assert_int_equal(buffer.size, 1);
    buffer_fini(&buffer);
}

static void zero_maximum_and_zeroed(void **state)
{
    (void)state;
    struct buffer buffer = {0};

    assert_string_equal(buffer_text(&buffer), "");
    assert_true(buffer_append(&buffer, NULL, 0));
    assert_false(buffer_append(&buffer, "a", 1));
    buffer_fini(&buffer);
    buffer_fini(NULL);
}

static void print_beyond_maximum(void **state)
{
    (void)state;
    struct buffer buffer;

    buffer_init(&buffer, 5);
    assert_true(buffer_printf(&buffer, "%d-%s", 12, "ab"));
    assert_false(buffer_printf(&buffer, "%d", 3));
    assert_string_equal(buffer_text(&buffer), "12-ab");
    buffer_fini(&buffer);
}

static void grows_and_is_consumed(void **state)
{
    (void)state;
    struct buffer buffer;

    buffer_init(&buffer, 100000);
    for (int i = 0; i < 20000; i++)
        assert_true(buffer_printf(&buffer, "%05d", i % 100000));
    assert_int_equal(buffer.size, 100000);
    assert_false(buffer.failed);
    buffer_consume(&buffer, 5 * 19999);
    assert_string_equal(buffer_text(&buffer), "19999");
    buffer_consume(&buffer, 5);
    assert_string_equal(buffer_text(&buffer), "");
    buffer_fini(&buffer);
}

static void reserve_then_fill(void **state)
{
    (void)state;
    struct buffer buffer;

    buffer_init(&buffer, 4096);
    uint8_t *place = buffer_reserve(&buffer, 4096);
    assert_non_null(place);
    memset(place, 'x', 4096);
    buffer.size += 4096;
    assert_int_equal(strlen(buffer_text(&buffer)), 4096);
    buffer_fini(&buffer);
}

static void hands_over(void **state)
{
    (void)state;
    struct buffer buffer;
    size_t size = 1;

    buffer_init(&buffer, 100);
    char *text = buffer_steal(&buffer, &size);
    assert_string_equal(text, "");
    assert_int_equal(size, 0);
    free(text);
    assert_true(buffer_append_text(&buffer, "content"));
    text = buffer_steal(&buffer, &size);
    assert_string_equal(text, "content");
    assert_int_equal(size, 7);
    assert_string_equal(buffer_text(&buffer), "");
    assert_true(buffer_append_text(&buffer, "again")); /* it is as good as new */
    assert_string_equal(buffer_text(&buffer), "again");
    free(text);
    buffer_fini(&buffer);
}

/* Nothing of it stands where it stood before it grew, nor after its end: those pages are gone. */
static void secret_leaves_nothing_behind(void **state)
{
    (void)state;
    struct buffer buffer;
    unsigned char resident;

    buffer_init_secret(&buffer, 3 * 4096);
    assert_true(buffer_append_text(&buffer, "key"));
    uint8_t *before = buffer.data;
    assert_int_equal((uintptr_t)before % 4096, 0);
    assert_non_null(buffer_reserve(&buffer, 2 * 4096));
    assert_ptr_not_equal(buffer.data, before);
    assert_string_equal(buffer_text(&buffer), "key");
    assert_int_equal(mincore(before, 1, &resident), -1);
    assert_int_equal(errno, ENOMEM);
    uint8_t *after = buffer.data;
    buffer_fini(&buffer);
    assert_int_equal(mincore(after, 1, &resident), -1);
    assert_int_equal(errno, ENOMEM);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(maximum_holds),
        cmocka_unit_test(failure_sticks),
        cmocka_unit_test(absurd_size_is_refused),
        cmocka_unit_test(zero_maximum_and_zeroed),
        cmocka_unit_test(print_beyond_maximum),
        cmocka_unit_test(grows_and_is_consumed),
        cmocka_unit_test(reserve_then_fill),
        cmocka_unit_test(hands_over),
        cmocka_unit_test(secret_leaves_nothing_behind),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
