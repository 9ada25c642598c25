/* Ticket keys in a folder: what is damaged, foreign, put back or in the way; and sharing. */
#include "vault/ticket_store.h"

#include <endian.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/clock.h"

static const struct ticket_rules rules = {.lifetime_s = 100, .window_s = 300, .node = "here"};
static struct ticket_clock now = {.wall_s = 1800000000, .monotonic_ns = 1000 * NS_PER_S};
static uint8_t kek[KEY_ENCRYPTION_SIZE] = {1}, other_kek[KEY_ENCRYPTION_SIZE] = {2};
static char folder_path[64], shared_path[80];
static int folder;
static struct ticket_keys mine, theirs;
static struct error error;
static unsigned done;

static int set_up(void **state)
{
    (void)state;
    snprintf(folder_path, sizeof folder_path, "/tmp/holdfast-store-XXXXXX");
    assert_non_null(mkdtemp(folder_path));
    snprintf(shared_path, sizeof shared_path, "%s/ring", folder_path);
    folder = open(folder_path, O_RDONLY | O_DIRECTORY);
    memset(&mine, 0, sizeof mine);
    memset(&theirs, 0, sizeof theirs);
    error = (struct error){0};
    return 0;
}

static int tear_down(void **state)
{
    char command[128];
    (void)state;

    close(folder);
    snprintf(command, sizeof command, "rm -rf '%s'", folder_path);
    return system(command);
}

static int sync_keys(struct ticket_store *store, struct ticket_keys *keys,
                     enum ticket_action action)
{
    return ticket_store_sync(store, keys, action, &rules, &now, &done, &error);
}

static void overwrite(const char *name, off_t at, const char *bytes)
{
    int fd = openat(folder, name, O_WRONLY);

    assert_true(fd >= 0);
    assert_int_equal(pwrite(fd, bytes, strlen(bytes), at), strlen(bytes));
    close(fd);
}

/* Counts how often the file was written; an inode's number is used again at once. */
static uint64_t writings(const char *name)
{
    uint64_t sequence = 0;
    int fd = openat(folder, name, O_RDONLY);

    if (fd >= 0) {
        assert_int_equal(pread(fd, &sequence, sizeof sequence, 8), sizeof sequence);
        close(fd);
    }
    return le64toh(sequence);
}

static bool exists(const char *name)
{
    return faccessat(folder, name, F_OK, 0) == 0;
}

/* A ring with a file, and the store forgotten as by a restart. */
static void store_once(const char *path)
{
    struct ticket_store *store = ticket_store_new(folder, path, kek);

    assert_int_equal(sync_keys(store, &mine, TICKET_ADVANCE), 0);
    ticket_store_free(store);
}

static void a_damaged_file_is_kept_aside(void **state)
{
    (void)state;
    store_once(NULL);
    overwrite(TICKET_STORE_NAME, 60, "scratch");
    struct ticket_store *store = ticket_store_new(folder, NULL, kek);
    assert_int_equal(sync_keys(store, &theirs, TICKET_ADVANCE), -ERROR_PROTOCOL);
    assert_non_null(strstr(error.message, "kept as ticket-keys.unusable-1"));
    assert_true(exists("ticket-keys.unusable-1"));
    assert_int_equal(theirs.count, 2); /* rotation goes on */
    assert_int_equal(sync_keys(store, &theirs, TICKET_ADVANCE), 0);
    assert_true(exists(TICKET_STORE_NAME));
    /* A second one does not replace the first. */
    overwrite(TICKET_STORE_NAME, 0, "scratch");
    assert_int_equal(sync_keys(store, &theirs, TICKET_ADVANCE), -ERROR_PROTOCOL);
    assert_true(exists("ticket-keys.unusable-1") && exists("ticket-keys.unusable-2"));
    ticket_store_free(store);
}

static void a_foreign_file_is_kept_aside(void **state)
{
    (void)state;
    store_once(NULL);
    struct ticket_store *store = ticket_store_new(folder, NULL, other_kek);
    assert_int_equal(sync_keys(store, &theirs, TICKET_ADVANCE), -ERROR_TLS);
    assert_non_null(strstr(error.message, "another key-encryption key"));
    assert_true(exists("ticket-keys.unusable-1"));
    assert_int_equal(sync_keys(store, &theirs, TICKET_ADVANCE), 0);
    ticket_store_free(store);
}

static void a_foreign_shared_file_is_left_to_the_others(void **state)
{
    (void)state;
    store_once(shared_path);
    struct ticket_store *store = ticket_store_new(folder, shared_path, other_kek);
    for (unsigned i = 0; i < 3; i++)
        assert_int_equal(sync_keys(store, &theirs, TICKET_ROTATE), -ERROR_TLS);
    assert_int_equal(theirs.current, 3);
    assert_false(exists("ring.unusable-1"));
    ticket_store_free(store);
    store = ticket_store_new(folder, shared_path, kek);
    assert_int_equal(sync_keys(store, &theirs, TICKET_ADVANCE), 0);
    ticket_store_free(store);
}

static void a_file_that_was_put_back_is_told_and_written_anew(void **state)
{
    char command[256];
    (void)state;
    struct ticket_store *store = ticket_store_new(folder, NULL, kek);
    assert_int_equal(sync_keys(store, &mine, TICKET_ADVANCE), 0);
    snprintf(command, sizeof command, "cp '%s/ticket-keys' '%s/old'", folder_path, folder_path);
    assert_int_equal(system(command), 0);
    assert_int_equal(sync_keys(store, &mine, TICKET_REPLACE), 0);
    assert_int_equal(renameat(folder, "old", folder, TICKET_STORE_NAME), 0);
    theirs = mine;
    assert_int_equal(sync_keys(store, &mine, TICKET_ADVANCE), -ERROR_PROTOCOL);
    assert_non_null(strstr(error.message, "earlier state"));
    assert_true(ticket_keys_same(&mine, &theirs)); /* nothing that was thrown away came back */
    assert_int_equal(sync_keys(store, &mine, TICKET_ADVANCE), 0);
    ticket_store_free(store);
}

/* Something in the way of the temporary file: what a folder that cannot be written looks like to
 * root, too. */
static void what_cannot_be_written_is_rotated_all_the_same(void **state)
{
    (void)state;
    struct ticket_store *store = ticket_store_new(folder, NULL, kek);
    assert_int_equal(mkdirat(folder, "ticket-keys.new", 0700), 0);
    for (uint32_t i = 1; i <= 3; i++) {
        assert_int_equal(sync_keys(store, &mine, TICKET_ROTATE), -ERROR_IO);
        assert_int_equal(mine.current, i);
        assert_true((done & TICKET_KEYS_PROMOTED) != 0);
    }
    assert_int_equal(unlinkat(folder, "ticket-keys.new", AT_REMOVEDIR), 0);
    assert_int_equal(sync_keys(store, &mine, TICKET_ADVANCE), 0);
    ticket_store_free(store);
    store = ticket_store_new(folder, NULL, kek);
    assert_int_equal(sync_keys(store, &theirs, TICKET_ADVANCE), 0);
    assert_true(ticket_keys_same(&mine, &theirs));
    ticket_store_free(store);
}

static void a_folder_that_is_missing_is_told(void **state)
{
    char path[100];
    (void)state;
    snprintf(path, sizeof path, "%s/sub/ring", folder_path);
    struct ticket_store *store = ticket_store_new(folder, path, kek);
    assert_int_equal(sync_keys(store, &mine, TICKET_ADVANCE), -ERROR_IO);
    assert_non_null(strstr(error.message, "/sub: No such file"));
    assert_int_equal(mkdirat(folder, "sub", 0700), 0);
    assert_int_equal(sync_keys(store, &mine, TICKET_ADVANCE), 0);
    ticket_store_free(store);
}

static void what_is_no_file_is_told_and_left(void **state)
{
    static const struct {
        mode_t kind;
        const char *said;
    } rows[] = {{S_IFLNK, "found a symbolic link"},
                {S_IFDIR, "found a folder"},
                {S_IFIFO, "found a special file"}};
    (void)state;
    store_once(NULL);
    assert_int_equal(renameat(folder, TICKET_STORE_NAME, folder, "elsewhere"), 0);
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        bool is_folder = rows[i].kind == S_IFDIR;
        assert_int_equal(rows[i].kind == S_IFLNK ? symlinkat("elsewhere", folder, TICKET_STORE_NAME)
                         : is_folder             ? mkdirat(folder, TICKET_STORE_NAME, 0700)
                                                 : mkfifoat(folder, TICKET_STORE_NAME, 0600),
                         0);
        struct ticket_store *store = ticket_store_new(folder, NULL, kek);
        memset(&theirs, 0, sizeof theirs);
        assert_int_equal(sync_keys(store, &theirs, TICKET_ADVANCE), -ERROR_IO);
        assert_non_null(strstr(error.message, rows[i].said));
        assert_int_equal(theirs.count, 2);
        ticket_store_free(store);
        assert_int_equal(unlinkat(folder, TICKET_STORE_NAME, is_folder ? AT_REMOVEDIR : 0), 0);
    }
}

static void who_holds_the_lock_is_waited_for(void **state)
{
    (void)state;
    store_once(shared_path);
    struct ticket_store *store = ticket_store_new(folder, shared_path, kek);
    int lock = openat(folder, "ring.lock", O_RDWR);
    assert_int_equal(flock(lock, LOCK_EX), 0);
    assert_int_equal(sync_keys(store, &theirs, TICKET_ROTATE), -ERROR_BUSY);
    assert_int_equal(theirs.count, 0);
    close(lock);
    assert_int_equal(sync_keys(store, &theirs, TICKET_ROTATE), 0);
    assert_int_equal(theirs.current, 1);
    ticket_store_free(store);
}

static void two_that_share_a_file_agree(void **state)
{
    (void)state;
    struct ticket_store *one = ticket_store_new(folder, shared_path, kek);
    struct ticket_store *two = ticket_store_new(folder, shared_path, kek);
    assert_int_equal(sync_keys(one, &mine, TICKET_ADVANCE), 0);
    assert_int_equal(sync_keys(two, &theirs, TICKET_ADVANCE), 0);
    assert_true(ticket_keys_same(&mine, &theirs));
    for (unsigned i = 0; i < 10; i++) {
        bool first = i % 2 == 0;
        assert_int_equal(sync_keys(first ? one : two, first ? &mine : &theirs,
                                   i == 7 ? TICKET_REPLACE : TICKET_ROTATE),
                         0);
        assert_int_equal(sync_keys(first ? two : one, first ? &theirs : &mine, TICKET_ADVANCE), 0);
        assert_int_equal(done, TICKET_KEYS_CHANGED | TICKET_KEYS_PROMOTED);
        assert_true(ticket_keys_same(&mine, &theirs));
    }
    ticket_store_free(one);
    ticket_store_free(two);
}

/* The longer one counts for both; neither goes on correcting what the other writes. */
static void two_with_other_ticket_lifetimes_come_to_rest(void **state)
{
    const struct ticket_rules longer = {.lifetime_s = 100, .window_s = 9000, .node = "there"};
    uint64_t before = 0;
    (void)state;
    struct ticket_store *one = ticket_store_new(folder, shared_path, kek);
    struct ticket_store *two = ticket_store_new(folder, shared_path, kek);
    for (unsigned i = 0; i < 6; i++) {
        enum ticket_action action = i < 2 ? TICKET_ROTATE : TICKET_ADVANCE;
        before = writings("ring");
        assert_int_equal(sync_keys(one, &mine, action), 0);
        assert_int_equal(ticket_store_sync(two, &theirs, action, &longer, &now, &done, &error), 0);
    }
    assert_int_equal(writings("ring"), before);
    for (uint32_t i = 0; i <= mine.current; i++)
        assert_int_equal(mine.keys[i].window_s, 9000);
    ticket_store_free(one);
    ticket_store_free(two);
}

/* Another key by a reload: the file follows, and nothing is taken for foreign. */
static void another_key_encrypts_anew(void **state)
{
    (void)state;
    struct ticket_store *store = ticket_store_new(folder, NULL, kek);
    assert_int_equal(sync_keys(store, &mine, TICKET_ADVANCE), 0);
    store = ticket_store_renew(store, folder, NULL, other_kek);
    assert_int_equal(sync_keys(store, &mine, TICKET_ADVANCE), 0);
    ticket_store_free(store);
    store = ticket_store_new(folder, NULL, other_kek);
    assert_int_equal(sync_keys(store, &theirs, TICKET_ADVANCE), 0);
    assert_true(ticket_keys_same(&mine, &theirs));
    store = ticket_store_renew(store, folder, shared_path, kek); /* another place */
    assert_int_equal(sync_keys(store, &theirs, TICKET_ADVANCE), 0);
    assert_true(exists("ring"));
    ticket_store_free(store);
}

/* What a revocation has ended does not come back with an older file, nor with another instance. */
static void the_resumption_epoch_only_rises(void **state)
{
    (void)state;
    struct ticket_store *one = ticket_store_new(folder, shared_path, kek);
    struct ticket_store *two = ticket_store_new(folder, shared_path, kek);
    mine.resumption_epoch = 3;
    assert_int_equal(sync_keys(one, &mine, TICKET_ADVANCE), 0);
    assert_int_equal(sync_keys(two, &theirs, TICKET_ADVANCE), 0);
    assert_int_equal(theirs.resumption_epoch, 3);
    mine.resumption_epoch = 5;
    assert_int_equal(sync_keys(one, &mine, TICKET_REPLACE), 0);
    theirs.resumption_epoch = 4;
    assert_int_equal(sync_keys(two, &theirs, TICKET_ADVANCE), 0);
    assert_int_equal(theirs.resumption_epoch, 6);
    assert_true(ticket_keys_same(&mine, &theirs));
    ticket_store_free(one);
    ticket_store_free(two);
}

static void nothing_changed_is_not_written(void **state)
{
    struct stat facts;
    (void)state;
    struct ticket_store *store = ticket_store_new(folder, NULL, kek);
    assert_int_equal(sync_keys(store, &mine, TICKET_ADVANCE), 0);
    assert_int_equal(fstatat(folder, TICKET_STORE_NAME, &facts, 0), 0);
    assert_int_equal(facts.st_mode & 07777, 0600);
    assert_int_equal(sync_keys(store, &mine, TICKET_ADVANCE), 0);
    assert_int_equal(writings(TICKET_STORE_NAME), 1);
    ticket_store_free(store);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_damaged_file_is_kept_aside, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_foreign_file_is_kept_aside, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_foreign_shared_file_is_left_to_the_others, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(a_file_that_was_put_back_is_told_and_written_anew, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(what_cannot_be_written_is_rotated_all_the_same, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(a_folder_that_is_missing_is_told, set_up, tear_down),
        cmocka_unit_test_setup_teardown(what_is_no_file_is_told_and_left, set_up, tear_down),
        cmocka_unit_test_setup_teardown(who_holds_the_lock_is_waited_for, set_up, tear_down),
        cmocka_unit_test_setup_teardown(two_that_share_a_file_agree, set_up, tear_down),
        cmocka_unit_test_setup_teardown(two_with_other_ticket_lifetimes_come_to_rest, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(another_key_encrypts_anew, set_up, tear_down),
        cmocka_unit_test_setup_teardown(the_resumption_epoch_only_rises, set_up, tear_down),
        cmocka_unit_test_setup_teardown(nothing_changed_is_not_written, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
