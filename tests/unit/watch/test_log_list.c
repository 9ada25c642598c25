/* watch/log_list.h: lists of the shape that Google and Apple publish, whole and broken. */
#include "watch/log_list.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

/* Public keys on P-256, made for this test. */
#define KEY                                                                                        \
    "MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAELWoHFKdaHmMDrFoJ5bLI+N67g4cHFTY+"                         \
    "hs5mmboKAx4hngaxRgQ1TxX4lSI8X+vq0+4uHlBBftqN7XVamJa0gA=="
#define OTHER_KEY                                                                                  \
    "MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEqASiE+YFbOuKu/"                                           \
    "050bCR+sl4JR5iaD4s4ywEPSxqyYchrZNNnTun4X1W8mfsdAVbl2wG6FDD03b6p/euy969VQ=="

static struct certificate_logs *logs;
static struct error error;

static int read_text(const char *text)
{
    char path[] = "/tmp/holdfast-logs-XXXXXX";
    int fd = mkstemp(path);

    assert_true(fd >= 0);
    assert_int_equal(write(fd, text, strlen(text)), strlen(text));
    close(fd);
    int result = log_list_read(&logs, path, &error);
    unlink(path);
    return result;
}

static void broken_lists(void **state)
{
    static const char *const texts[] = {
        "", "{", "[]", "{}", "{\"operators\":{}}", "{\"operators\":[1,null,{\"logs\":7}]}",
        "{\"operators\":[{\"name\":\"x\",\"logs\":[{\"key\":\"AAAA\"},{\"key\":7},null]}]}",
        /* A log that everybody can forge promises of. */
        "{\"operators\":[{\"logs\":[{\"key\":\"" KEY "\",\"log_type\":\"test\"}]}]}"};

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(texts); i++) {
        if (read_text(texts[i]) == 0)
            fail_msg("%s", texts[i]);
        assert_int_equal(error.code, ERROR_USAGE);
    }
    assert_int_not_equal(log_list_read(&logs, "/nonexistent", &error), 0);
}

static void both_kinds_of_logs(void **state)
{
    (void)state;
    assert_int_equal(
        read_text("{\"version\":\"70.1\",\"operators\":[{\"name\":\"Operator\",\"logs\":[{"
                  "\"description\":\"First\",\"key\":\"" KEY "\",\"state\":{\"usable\":{"
                  "\"timestamp\":\"2024-01-01T00:00:00Z\"}}}],\"tiled_logs\":[{\"description\":"
                  "\"Second\",\"key\":\"" OTHER_KEY "\",\"state\":{\"retired\":{\"timestamp\":"
                  "\"2025-01-01T00:00:00Z\"}}},{\"description\":\"Broken\",\"key\":\"AAAA\"}]}]}"),
        0);
    assert_int_equal(certificate_logs_count(logs), 2);
    const struct certificate_log *log = certificate_logs_at(logs, 0);
    assert_string_equal(log->name, "First");
    assert_string_equal(log->operator_name, "Operator");
    assert_int_equal(log->state, LOG_USABLE);
    assert_int_equal(log->state_since, 1704067200);
    log = certificate_logs_at(logs, 1);
    assert_string_equal(log->name, "Second");
    assert_int_equal(log->state, LOG_RETIRED);
    certificate_logs_free(logs);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(broken_lists),
        cmocka_unit_test(both_kinds_of_logs),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
