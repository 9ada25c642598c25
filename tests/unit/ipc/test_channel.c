#include "ipc/channel.h"

#include <dirent.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

static int ends[2];
static struct message message;

static int setup(void **state)
{
    (void)state;
    memset(&message, 0, sizeof message);
    return channel_pair(ends, 1 << 18) ? 0 : -1;
}

static int teardown(void **state)
{
    (void)state;
    close(ends[0]);
    close(ends[1]);
    return 0;
}

static unsigned open_descriptors(void)
{
    unsigned count = 0;
    DIR *folder = opendir("/proc/self/fd");

    while (readdir(folder) != NULL)
        count++;
    closedir(folder);
    return count;
}

static ino_t inode_of(int fd)
{
    struct stat facts;

    assert_int_equal(fstat(fd, &facts), 0);
    return facts.st_ino;
}

/* Sends `data` as one packet, past the checks of channel_send(). */
static void send_raw(const void *data, size_t size)
{
    assert_int_equal(send(ends[0], data, size, 0), size);
}

static void nothing_there(void **state)
{
    (void)state;
    assert_int_equal(channel_receive(ends[1], &message), CHANNEL_FULL);
}

static void other_side_gone(void **state)
{
    (void)state;
    int one_end[2];

    assert_true(channel_pair(one_end, 65536));
    assert_int_equal(channel_send(one_end[0], 1, "last", 4, NULL, 0), CHANNEL_DONE);
    close(one_end[0]);
    assert_int_equal(channel_receive(one_end[1], &message), CHANNEL_DONE);
    assert_int_equal(channel_receive(one_end[1], &message), CHANNEL_CLOSED);
    assert_int_equal(channel_send(one_end[1], 1, NULL, 0, NULL, 0), CHANNEL_CLOSED);
    close(one_end[1]);
    assert_int_equal(channel_receive(one_end[1], &message), CHANNEL_CLOSED);
}

static void malformed_packets(void **state)
{
    (void)state;
    static const uint32_t wrong_size[] = {7, 100, 1, 2, 3};
    static const uint32_t huge_size[] = {7, UINT32_MAX};
    static const uint32_t right[] = {7, 4, 99};

    send_raw("abc", 3);
    assert_int_equal(channel_receive(ends[1], &message), CHANNEL_BAD);
    send_raw(wrong_size, sizeof wrong_size);
    assert_int_equal(channel_receive(ends[1], &message), CHANNEL_BAD);
    send_raw(huge_size, sizeof huge_size);
    assert_int_equal(channel_receive(ends[1], &message), CHANNEL_BAD);
    send_raw(right, sizeof right);
    assert_int_equal(channel_receive(ends[1], &message), CHANNEL_DONE);
    assert_int_equal(message.type, 7);
    assert_int_equal(message.size, 4);
}

static void oversized_packet(void **state)
{
    (void)state;
    static uint8_t packet[CHANNEL_BODY_MAX + 100];
    const uint32_t header[] = {7, CHANNEL_BODY_MAX};

    memcpy(packet, header, sizeof header);
    send_raw(packet, sizeof packet);
    assert_int_equal(channel_receive(ends[1], &message), CHANNEL_BAD);
}

static void largest_and_empty_body(void **state)
{
    (void)state;
    static uint8_t body[CHANNEL_BODY_MAX];

    for (size_t i = 0; i < sizeof body; i++)
        body[i] = (uint8_t)(i * 31);
    assert_int_equal(channel_send(ends[0], 5, body, sizeof body, NULL, 0), CHANNEL_DONE);
    assert_int_equal(channel_send(ends[0], 6, NULL, 0, NULL, 0), CHANNEL_DONE);
    assert_int_equal(channel_receive(ends[1], &message), CHANNEL_DONE);
    assert_int_equal(message.size, sizeof body);
    assert_memory_equal(message.body, body, sizeof body);
    assert_int_equal(channel_receive(ends[1], &message), CHANNEL_DONE);
    assert_int_equal(message.type, 6);
    assert_int_equal(message.size, 0);
    assert_int_equal(message.fd_count, 0);
}

static void full_is_back_pressure(void **state)
{
    (void)state;
    static uint8_t body[10000];
    unsigned sent = 0, received = 0;

    while (channel_send(ends[0], sent, body, sizeof body, NULL, 0) == CHANNEL_DONE)
        assert_true(++sent < 1000);
    assert_true(sent > 2);
    assert_int_equal(channel_send(ends[0], sent, body, sizeof body, NULL, 0), CHANNEL_FULL);
    while (channel_receive(ends[1], &message) == CHANNEL_DONE)
        assert_int_equal(message.type, received++);
    assert_int_equal(received, sent);
    assert_int_equal(channel_send(ends[0], 1, body, sizeof body, NULL, 0), CHANNEL_DONE);
}

static void descriptors_travel(void **state)
{
    (void)state;
    int fds[CHANNEL_FDS_MAX];
    unsigned before = open_descriptors();

    for (size_t i = 0; i < CHANNEL_FDS_MAX; i++)
        fds[i] = i % 2 == 0 ? ends[0] : ends[1];
    assert_int_equal(channel_send(ends[0], 9, "x", 1, fds, CHANNEL_FDS_MAX), CHANNEL_DONE);
    assert_int_equal(channel_receive(ends[1], &message), CHANNEL_DONE);
    assert_int_equal(message.fd_count, CHANNEL_FDS_MAX);
    for (size_t i = 0; i < CHANNEL_FDS_MAX; i++) {
        assert_int_equal(inode_of(message.fds[i]), inode_of(fds[i]));
        assert_int_equal(fcntl(message.fds[i], F_GETFD), FD_CLOEXEC);
    }
    /* What is taken survives message_fini(). */
    int taken = message.fds[3];
    message.fds[3] = -1;
    message_fini(&message);
    assert_int_equal(open_descriptors(), before + 1);
    assert_int_equal(close(taken), 0);
    message_fini(&message);
    message_fini(NULL);
}

/* A receiver without room for them gets the control data truncated by the kernel; those that
 * arrived are closed. */
static void truncated_descriptors_do_not_leak(void **state)
{
    (void)state;
    struct rlimit limit, tight;
    int fds[8];
    unsigned before = open_descriptors();

    for (size_t i = 0; i < ARRAY_SIZE(fds); i++)
        fds[i] = ends[0];
    assert_int_equal(channel_send(ends[0], 9, "x", 1, fds, ARRAY_SIZE(fds)), CHANNEL_DONE);
    assert_int_equal(channel_send(ends[0], 10, "y", 1, NULL, 0), CHANNEL_DONE);
    int lowest_free = dup(ends[0]);
    close(lowest_free);
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &limit), 0);
    tight = (struct rlimit){(rlim_t)lowest_free + 3, limit.rlim_max};
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &tight), 0);
    enum channel_result result = channel_receive(ends[1], &message);
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &limit), 0);
    assert_int_equal(result, CHANNEL_BAD);
    assert_int_equal(message.fd_count, 0);
    assert_int_equal(open_descriptors(), before);
    assert_int_equal(channel_receive(ends[1], &message), CHANNEL_DONE);
    assert_int_equal(message.type, 10);
}

static void malformed_packet_with_descriptors_does_not_leak(void **state)
{
    (void)state;
    union {
        struct cmsghdr align;
        char space[CMSG_SPACE(sizeof(int))];
    } control = {0};
    char bad[] = "bad";
    struct iovec part = {bad, 3};
    struct msghdr raw = {.msg_iov = &part,
                         .msg_iovlen = 1,
                         .msg_control = &control,
                         .msg_controllen = sizeof control};
    struct cmsghdr *rights = CMSG_FIRSTHDR(&raw);
    unsigned before = open_descriptors();

    rights->cmsg_level = SOL_SOCKET;
    rights->cmsg_type = SCM_RIGHTS;
    rights->cmsg_len = CMSG_LEN(sizeof(int));
    memcpy(CMSG_DATA(rights), &ends[0], sizeof(int));
    assert_int_equal(sendmsg(ends[0], &raw, 0), 3);
    assert_int_equal(channel_receive(ends[1], &message), CHANNEL_BAD);
    assert_int_equal(open_descriptors(), before);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(nothing_there, setup, teardown),
        cmocka_unit_test_setup_teardown(other_side_gone, setup, teardown),
        cmocka_unit_test_setup_teardown(malformed_packets, setup, teardown),
        cmocka_unit_test_setup_teardown(oversized_packet, setup, teardown),
        cmocka_unit_test_setup_teardown(largest_and_empty_body, setup, teardown),
        cmocka_unit_test_setup_teardown(full_is_back_pressure, setup, teardown),
        cmocka_unit_test_setup_teardown(descriptors_travel, setup, teardown),
        cmocka_unit_test_setup_teardown(truncated_descriptors_do_not_leak, setup, teardown),
        cmocka_unit_test_setup_teardown(malformed_packet_with_descriptors_does_not_leak, setup,
                                        teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
