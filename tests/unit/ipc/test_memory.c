#include "ipc/memory.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>

static void size_is_sealed(void **state)
{
    (void)state;
    int fd = memory_create("test", 8192);

    assert_true(fd >= 0);
    assert_int_equal(ftruncate(fd, 4096), -1);
    assert_int_equal(ftruncate(fd, 16384), -1);
    assert_int_equal(fcntl(fd, F_GETFD) & FD_CLOEXEC, FD_CLOEXEC);
    close(fd);
}

static void mapping_beyond_the_end_is_refused(void **state)
{
    (void)state;
    int fd = memory_create("test", 4096);

    assert_null(memory_map(fd, 4097, true));
    assert_null(memory_map(fd, 0, true));
    assert_null(memory_map(-1, 4096, true));
    close(fd);
    memory_unmap(NULL, 4096);
}

static void two_mappings_share(void **state)
{
    (void)state;
    int fd = memory_create("test", 4096);
    char *writer = memory_map(fd, 4096, true);
    const char *reader = memory_map(fd, 4096, false);

    assert_non_null(writer);
    assert_non_null(reader);
    assert_int_equal(reader[4095], 0);
    writer[4095] = 'x';
    assert_int_equal(reader[4095], 'x');
    memory_unmap(writer, 4096);
    munmap((void *)(uintptr_t)reader, 4096);
    close(fd);
}

static void document_cannot_be_changed(void **state)
{
    (void)state;
    size_t size = 77;
    int fd = memory_document("test", "abc\0def", 7);

    assert_true(fd >= 0);
    assert_int_equal(pwrite(fd, "x", 1, 0), -1);
    assert_int_equal(errno, EPERM);
    assert_null(memory_map(fd, 7, true));
    assert_null(memory_document_read(fd, 6, &size));
    assert_int_equal(size, 77);
    char *text = memory_document_read(fd, 7, &size);
    assert_non_null(text);
    assert_int_equal(size, 7);
    assert_memory_equal(text, "abc\0def\0", 8);
    free(text);
    /* Reading leaves the shared offset alone. */
    text = memory_document_read(fd, 100, &size);
    assert_int_equal(size, 7);
    free(text);
    close(fd);
}

static void empty_document(void **state)
{
    (void)state;
    size_t size = 77;
    int fd = memory_document("test", NULL, 0);
    char *text = memory_document_read(fd, 0, &size);

    assert_non_null(text);
    assert_int_equal(size, 0);
    assert_string_equal(text, "");
    free(text);
    close(fd);
}

static void unreadable_document(void **state)
{
    (void)state;
    size_t size = 77;

    assert_null(memory_document_read(-1, 100, &size));
    assert_int_equal(size, 77);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(size_is_sealed),     cmocka_unit_test(mapping_beyond_the_end_is_refused),
        cmocka_unit_test(two_mappings_share), cmocka_unit_test(document_cannot_be_changed),
        cmocka_unit_test(empty_document),     cmocka_unit_test(unreadable_document),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
