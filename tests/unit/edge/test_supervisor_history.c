/* The history of configurations: what is trusted, what is kept, what is in force. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>
#include <cmocka.h>

#include "edge/supervisor_history.h"

static char folder[64];
static int state;

static int begin(void **context)
{
    (void)context;
    ignore(snprintf(folder, sizeof folder, "/tmp/holdfast-history-XXXXXX"));
    assert_non_null(mkdtemp(folder));
    state = open(folder, O_RDONLY | O_DIRECTORY);
    assert_true(state >= 0);
    return 0;
}

static int finish(void **context)
{
    char command[128];
    (void)context;

    close(state);
    ignore(snprintf(command, sizeof command, "rm -r %s", folder));
    assert_int_equal(system(command), 0);
    return 0;
}

static void note(struct history *history, const char *text)
{
    struct error error = {0};

    if (!history_note(history, text, 1700000000, &error))
        fail_msg("%s", error.message);
}

static void a_folder_that_others_may_write_to_is_not_used(void **context)
{
    struct error error = {0};
    (void)context;

    assert_int_equal(mkdirat(state, "history", 0700), 0);
    assert_int_equal(fchmodat(state, "history", 0770, 0), 0);
    assert_int_equal(history_open(state, &error), -1);
    assert_non_null(strstr(error.message, "mode 770"));
}

static void a_link_is_not_followed(void **context)
{
    struct error error = {0};
    (void)context;

    assert_int_equal(mkdirat(state, "elsewhere", 0700), 0);
    assert_int_equal(symlinkat("elsewhere", state, "history"), 0);
    assert_int_equal(history_open(state, &error), -1);
}

static void planted_files_are_passed_over(void **context)
{
    struct history history;
    struct error error = {0};
    (void)context;

    int fd = history_open(state, &error);
    assert_true(fd >= 0);
    int file = openat(fd, "000001-20260102T030405Z.conf", O_CREAT | O_WRONLY, 0600);
    assert_int_equal(write(file, "good", 4), 4);
    assert_int_equal(fchmod(file, 0620), 0);
    close(file);
    assert_int_equal(symlinkat("/etc/passwd", fd, "000002-20260102T030405Z.conf"), 0);
    assert_int_equal(mkfifoat(fd, "000003-20260102T030405Z.conf", 0600), 0);
    assert_int_equal(mkdirat(fd, "000004-20260102T030405Z.conf", 0700), 0);
    file = openat(fd, "000005-20260102T030405Z.conf", O_CREAT | O_WRONLY, 0600);
    close(file); /* empty */
    file = openat(fd, "000006-20260102T030405Z.conf.old", O_CREAT | O_WRONLY, 0600);
    close(file);
    history_init(&history, fd);
    assert_int_equal(history.count, 0);
    history_fini(&history);
    close(fd);
}

static void it_is_there_after_a_restart(void **context)
{
    struct history history;
    struct error error = {0};
    (void)context;

    int fd = history_open(state, &error);
    history_init(&history, fd);
    note(&history, "one");
    note(&history, "two");
    history_fini(&history);
    history_init(&history, fd);
    assert_int_equal(history.count, 2);
    assert_string_equal(history_find(&history, 1)->text, "one");
    assert_int_equal(history_find(&history, 2)->at, 1700000000);
    note(&history, "two");
    assert_int_equal(history.current, 2);
    assert_int_equal(history.previous, 1);
    assert_int_equal(history.count, 2);
    history_fini(&history);
    close(fd);
}

static void ten_are_kept_and_those_that_are_needed(void **context)
{
    struct history history;
    char text[16];
    (void)context;

    history_init(&history, -1);
    note(&history, "first");
    for (unsigned i = 0; i < 30; i++) {
        ignore(snprintf(text, sizeof text, "%u", i));
        note(&history, text);
        note(&history, "first");
        assert_int_equal(history.current, 1);
        assert_string_equal(history_find(&history, history.previous)->text, text);
    }
    assert_int_equal(history.count, HISTORY_MAX);
    assert_null(history_find(&history, 2));
    assert_int_equal(history.last, 31);
    history_fini(&history);
}

static void the_files_of_those_dropped_go(void **context)
{
    struct history history;
    struct error error = {0};
    char text[16];
    (void)context;

    int fd = history_open(state, &error);
    history_init(&history, fd);
    for (unsigned i = 0; i < 15; i++) {
        ignore(snprintf(text, sizeof text, "%u", i));
        note(&history, text);
    }
    history_fini(&history);
    history_init(&history, fd);
    assert_int_equal(history.count, HISTORY_MAX);
    assert_int_equal(history.entries[0].number, 6);
    history_fini(&history);
    close(fd);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, begin, finish)
    const struct CMUnitTest tests[] = {
        TEST(a_folder_that_others_may_write_to_is_not_used),
        TEST(a_link_is_not_followed),
        TEST(planted_files_are_passed_over),
        TEST(it_is_there_after_a_restart),
        TEST(ten_are_kept_and_those_that_are_needed),
        TEST(the_files_of_those_dropped_go),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
