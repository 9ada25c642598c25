#include "base/file.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

static int file_of(const void *content, size_t size)
{
    int fd = memfd_create("content", MFD_CLOEXEC);

    assert_int_equal(file_write(fd, content, size), 0);
    return fd;
}

static void larger_is_refused(void **state)
{
    static const struct {
        size_t maximum;
        const char *message;
    } bounds[] = {{9, "it is larger than 9 bytes"},
                  {64u << 10, "it is larger than 64 KiB"},
                  {1u << 20, "it is larger than 1 MiB"}};
    (void)state;

    for (size_t i = 0; i < ARRAY_SIZE(bounds); i++) {
        struct buffer content;
        struct error error = {0};
        char *text = calloc(1, bounds[i].maximum + 1);
        int fd = file_of(text, bounds[i].maximum + 1);

        buffer_init(&content, bounds[i].maximum);
        assert_int_equal(file_read(&content, fd, "it", &error), -ERROR_LIMIT);
        assert_string_equal(error.message, bounds[i].message);
        assert_int_equal(lseek(fd, 0, SEEK_SET), 0);
        assert_int_equal(file_read_stream(&content, fd, "it", &error), -ERROR_LIMIT);
        assert_string_equal(error.message, bounds[i].message);
        assert_int_equal(content.size, bounds[i].maximum);
        buffer_fini(&content);
        close(fd);
        free(text);
    }
}

/* What could block, or would never end. */
static void only_regular_files(void **state)
{
    struct buffer content;
    struct error error = {0};
    int ends[2];
    (void)state;

    buffer_init(&content, 100);
    assert_int_equal(file_read(&content, -1, "it", &error), -ERROR_IO);
    assert_string_equal(error.message, "cannot read it: Bad file descriptor");
    assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
    assert_int_equal(file_read(&content, ends[0], "it", &error), -ERROR_IO);
    assert_string_equal(error.message, "it is no regular file");
    int folder = open("/", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    assert_int_equal(file_read(&content, folder, "/", &error), -ERROR_IO);
    assert_string_equal(error.message, "/ is no regular file");
    assert_int_equal(file_read_stream(&content, folder, "/", &error), -ERROR_IO);
    assert_string_equal(error.message, "cannot read /: Is a directory");
    close(folder);
    close(ends[0]);
    close(ends[1]);
    buffer_fini(&content);
}

static void not_enough_room_behind_what_is_there(void **state)
{
    struct buffer content;
    struct error error = {0};
    int fd = file_of("0123456789", 10);
    (void)state;

    buffer_init(&content, 12);
    assert_true(buffer_append_text(&content, "abc"));
    assert_int_equal(file_read(&content, fd, "it", &error), -ERROR_LIMIT);
    buffer_consume(&content, 1);
    assert_int_equal(file_read(&content, fd, "it", &error), 0);
    assert_string_equal(buffer_text(&content), "bc0123456789");
    buffer_fini(&content);
    close(fd);
}

static void fits_exactly(void **state)
{
    struct buffer content;
    int fd = file_of("0123456789", 10);
    (void)state;

    buffer_init(&content, 10);
    assert_int_equal(file_read(&content, fd, "it", NULL), 0); /* at its end: from the beginning */
    assert_string_equal(buffer_text(&content), "0123456789");
    assert_int_equal(lseek(fd, 0, SEEK_CUR), 10);
    buffer_fini(&content);
    buffer_init_secret(&content, 10);
    assert_int_equal(lseek(fd, 4, SEEK_SET), 4);
    assert_int_equal(file_read(&content, fd, "it", NULL), 0);
    assert_string_equal(buffer_text(&content), "0123456789");
    buffer_fini(&content);
    buffer_init(&content, 6);
    assert_int_equal(file_read_stream(&content, fd, "it", NULL), 0); /* from where it stands */
    assert_string_equal(buffer_text(&content), "456789");
    buffer_fini(&content);
    close(fd);
}

/* "No key" and "an empty key" are not the same. */
static void empty_is_there(void **state)
{
    struct buffer content;
    int fd = file_of("", 0);
    (void)state;

    buffer_init_secret(&content, 10);
    assert_int_equal(file_read(&content, fd, "it", NULL), 0);
    assert_non_null(content.data);
    assert_int_equal(content.size, 0);
    buffer_fini(&content);
    close(fd);
}

static void on_signal(int number)
{
    (void)number;
}

/* A large text through a pipe, both ends interrupted by signals all the time. */
static void streams_through_interruptions(void **state)
{
    const struct sigaction action = {.sa_handler = on_signal}; /* without SA_RESTART */
    const size_t size = 5 * 1000 * 1000;
    struct buffer content;
    uint8_t *data = malloc(size);
    int ends[2], status;
    (void)state;

    for (size_t i = 0; i < size; i++)
        data[i] = (uint8_t)(i * 7 >> 3);
    assert_int_equal(sigaction(SIGUSR1, &action, NULL), 0);
    assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
    pid_t writer = fork();
    if (writer == 0)
        _exit(file_write(ends[1], data, size) == 0 ? 0 : 1);
    pid_t disturber = fork();
    if (disturber == 0) {
        close(ends[1]); /* or the reader would wait for us */
        for (pid_t reader = getppid(); kill(writer, SIGUSR1) == 0 && kill(reader, SIGUSR1) == 0;)
            usleep(200);
        _exit(0);
    }
    close(ends[1]);
    buffer_init(&content, size);
    assert_int_equal(file_read_stream(&content, ends[0], "it", NULL), 0);
    kill(disturber, SIGKILL);
    while (waitpid(disturber, NULL, 0) < 0)
        assert_int_equal(errno, EINTR);
    while (waitpid(writer, &status, 0) < 0)
        assert_int_equal(errno, EINTR);
    assert_int_equal(status, 0);
    assert_int_equal(content.size, size);
    assert_memory_equal(content.data, data, size);
    buffer_fini(&content);
    close(ends[0]);
    free(data);
}

static void write_tells_why(void **state)
{
    int full = open("/dev/full", O_WRONLY | O_CLOEXEC);
    (void)state;

    assert_int_equal(file_write(full, "x", 1), -ENOSPC);
    assert_int_equal(file_write(-1, "x", 1), -EBADF);
    assert_int_equal(file_write(-1, NULL, 0), 0);
    close(full);
}

static void identity_changes_with_the_file(void **state)
{
    static const struct file_identity none;
    struct file_identity first, second;
    struct stat facts;
    int fd = file_of("one", 3), other = file_of("one", 3);
    (void)state;

    assert_int_equal(fstat(fd, &facts), 0);
    first = file_identity(&facts);
    assert_false(file_identity_same(&first, &none));
    second = file_identity(&facts);
    assert_true(file_identity_same(&first, &second));
    assert_int_equal(file_write(fd, "x", 1), 0);
    assert_int_equal(fstat(fd, &facts), 0);
    second = file_identity(&facts);
    assert_false(file_identity_same(&first, &second));
    const struct timespec times[2] = {{1, 0}, {1, 0}};
    assert_int_equal(futimens(fd, times), 0); /* the same size, by another time */
    assert_int_equal(fstat(fd, &facts), 0);
    first = file_identity(&facts);
    assert_false(file_identity_same(&first, &second));
    assert_int_equal(fstat(other, &facts), 0);
    second = file_identity(&facts);
    assert_false(file_identity_same(&first, &second));
    close(fd);
    close(other);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(larger_is_refused),
        cmocka_unit_test(only_regular_files),
        cmocka_unit_test(not_enough_room_behind_what_is_there),
        cmocka_unit_test(fits_exactly),
        cmocka_unit_test(empty_is_there),
        cmocka_unit_test(streams_through_interruptions),
        cmocka_unit_test(write_tells_why),
        cmocka_unit_test(identity_changes_with_the_file),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
