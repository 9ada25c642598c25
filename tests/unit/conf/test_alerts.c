/* Who is told of what: what is refused, what is understood, and when it is maintenance. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <cmocka.h>

#include "conf/conf.h"
#include "conf/window.h"

#define WATCH "watch w { targets = \"shop.example\" }\n"

static void test_refused(void **state)
{
    static const struct {
        const char *text, *fragment;
    } cases[] = {
        {"alert-channels = nope", "channel NAME { ... } is missing"},
        {"alert-open-after = 0", "alert-open-after"},
        {"heartbeat-url = \"localhost\"", "expected a URL"},
        {"channel x { }", "type = mail, telegram, webhook or exec"},
        {"channel x { type = smoke }", "smoke"},
        {"channel x { type = mail }", "url = \"smtp://"},
        {"channel x { type = mail url = \"smtp://h\" }", "from = "},
        {"channel x { type = mail url = \"smtp://h\" from = \"a@b\" }", "to = "},
        {"channel x { type = mail url = \"smtp://h\" from = \"a b@c\" }", "a mail address"},
        {"channel x { type = mail url = \"smtp://h\" from = \"a@b,c@d\" }", "mail address"},
        {"channel x { type = mail url = \"smtp://h\" from = \"a@b\" to = \"c@d\" user = u }",
         "secret-file"},
        {"channel x { type = webhook url = \"ftp://h/\" }", "expected a URL"},
        {"channel x { type = webhook url = \"smtp://h\" }", "url = \"https://"},
        {"channel x { type = webhook url = \"http://h\" chat = \"1\" }", "channel of another type"},
        {"channel x { type = telegram chat = \"1\" }", "the bot's token"},
        {"channel x { type = telegram secret-file = \"/t\" }", "the chat's id"},
        {"channel x { type = exec command = \"true\" }", "/absolute/path"},
        {"channel x { type = exec command = \"/bin/true\" url = \"http://h\" }", "another type"},
        {"alert-route r { }", "leads nowhere"},
        {"alert-route r { channels = nope }", "channel NAME { ... } is missing"},
        {"channel x { type = exec command = \"/x\" }\nalert-route r { channels = x then = q }",
         "alert-route NAME { ... } is missing"},
        {"channel x { type = exec command = \"/x\" }\nalert-route r { channels = x watches = q }",
         "there is no watch 'q'"},
        {"maintenance m { }", "is never"},
        {"maintenance m { when = \"sunday\" }", "sun 02:00-04:00"},
        {"maintenance m { when = \"sun 02:00-02:00\" }", "sun 02:00-04:00"},
        {"maintenance m { when = \"2026-12-02T00:00Z/2026-12-01T00:00Z\" }", "sun 02:00-04:00"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char text[512];
        struct conf *conf = NULL;
        struct error error = {0};
        snprintf(text, sizeof text, "%s\n" WATCH, cases[i].text);
        if (conf_parse(&conf, "t.conf", text, NULL, NULL, &error) == 0 ||
            strstr(error.message, cases[i].fragment) == NULL)
            fail_msg("case %zu: %s\ngot: %s", i, text, error.message);
    }
}

static const char whole[] =
    "alert-channels = {\"mail\", \"hook\"}\n"
    "alert-reminder = none\n"
    "channel mail { type = mail url = \"smtps://h\" from = \"a@b\" to = {\"c@d\", \"e@f\"} }\n"
    "channel hook { type = webhook url = \"https://h/x\" secret-file = \"/k\" }\n"
    "channel bot { type = telegram chat = \"-1\" secret-file = \"/t\" }\n"
    "channel run { type = exec command = {\"/x\", \"same\", \"same\"} timeout = 5s }\n"
    "alert-route last { channels = run escalation-only = yes }\n"
    "alert-route first { channels = hook then = last watches = W critical-only = yes }\n"
    "maintenance m { when = {\"sun 02:00-04:00\"} targets = \"shop*\" }\n" WATCH;

static void test_understood(void **state)
{
    struct conf *conf = NULL, *again = NULL;
    struct error error = {0};
    (void)state;

    if (conf_parse(&conf, "t.conf", whole, NULL, NULL, &error) != 0)
        fail_msg("%s", error.message);
    assert_int_equal(conf->channel_count, 4);
    assert_string_equal(conf->channels[2].url, "https://api.telegram.org");
    assert_int_equal(conf->channels[3].command.count, 3);
    assert_true(conf->channels[0].starttls);
    assert_int_equal(conf->alerts.channels.count, 2);
    assert_int_equal(conf->alerts.reminder, 0);
    assert_int_equal(conf->alerts.close_after, 2);
    assert_string_equal(conf->alert_routes[1].then, "last");
    char *text = conf_show(conf);
    assert_int_equal(conf_parse(&again, "t.conf", text, NULL, NULL, &error), 0);
    char *text_again = conf_show(again);
    assert_string_equal(text, text_again);
    free(text);
    free(text_again);
    text = conf_show_internal(conf);
    conf_free(again);
    assert_int_equal(conf_parse_internal(&again, "t.conf", text, &error), 0);
    free(text);
    conf_free(again);
    conf_free(conf);
}

static void keep_warning(void *context, unsigned line, const char *text)
{
    (void)line;
    snprintf(context, 256, "%s", text);
}

static void warning_of(char warning[256], const char *text)
{
    struct conf *conf = NULL;
    struct error error = {0};

    warning[0] = '\0';
    if (conf_parse(&conf, "t.conf", text, keep_warning, warning, &error) != 0)
        fail_msg("%s", error.message);
    conf_free(conf);
}

#define RUN(name)      "channel " name " { type = exec command = \"/x\" }\n"
#define CRITICAL_WATCH "watch w { targets = \"shop.example\" critical = yes }\n"

static void test_warned(void **state)
{
    char warning[256];
    (void)state;

    warning_of(warning, RUN("a") WATCH);
    assert_non_null(strstr(warning, "reach nobody"));
    warning_of(warning, "alert-channels = a\n" RUN("a") CRITICAL_WATCH);
    assert_non_null(strstr(warning, "a single channel"));
    warning_of(warning, "alert-channels = a\n" RUN("a") WATCH);
    assert_string_equal(warning, "");
    warning_of(warning, "alert-channels = {\"a\", \"b\"}\n" RUN("a") RUN("b") CRITICAL_WATCH);
    assert_string_equal(warning, "");
    warning_of(warning, "alert-channels = {\"a\", \"b\"}\nalert-route r { channels = a }\n" RUN("a")
                            RUN("b") CRITICAL_WATCH);
    assert_non_null(strstr(warning, "a single channel"));
}

static int64_t moment(const char *text)
{
    struct tm parts = {0};

    assert_non_null(strptime(text, "%Y-%m-%dT%H:%M", &parts));
    return timegm(&parts);
}

static void test_windows(void **state)
{
    struct conf_window window;
    (void)state;

    assert_false(conf_window_parse(&window, ""));
    assert_false(conf_window_parse(&window, "daily"));
    assert_false(conf_window_parse(&window, "dai 02:00-03:00"));
    assert_false(conf_window_parse(&window, "sun 02:00-25:00"));
    assert_false(conf_window_parse(&window, "sun 02:00-03:00x"));

    assert_true(conf_window_parse(&window, "sun 02:00-04:00"));
    assert_false(conf_window_covers(&window, moment("2026-11-22T01:59")));
    assert_true(conf_window_covers(&window, moment("2026-11-22T02:00")));
    assert_true(conf_window_covers(&window, moment("2026-11-22T03:59")));
    assert_false(conf_window_covers(&window, moment("2026-11-22T04:00")));
    assert_false(conf_window_covers(&window, moment("2026-11-23T03:00")));

    assert_true(conf_window_parse(&window, "sat 23:30-00:30")); /* over midnight */
    assert_true(conf_window_covers(&window, moment("2026-11-21T23:45")));
    assert_true(conf_window_covers(&window, moment("2026-11-22T00:15")));
    assert_false(conf_window_covers(&window, moment("2026-11-21T00:15")));

    assert_true(conf_window_parse(&window, "daily 23:30-00:30"));
    assert_true(conf_window_covers(&window, moment("2026-11-25T00:00")));

    assert_true(conf_window_parse(&window, "2026-12-01T02:00Z/2026-12-01T04:00Z"));
    assert_false(conf_window_covers(&window, moment("2026-12-01T01:59")));
    assert_true(conf_window_covers(&window, moment("2026-12-01T02:00")));
    assert_false(conf_window_covers(&window, moment("2026-12-08T02:00")));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_refused), cmocka_unit_test(test_understood),
        cmocka_unit_test(test_warned), cmocka_unit_test(test_windows)};

    return cmocka_run_group_tests(tests, NULL, NULL);
}
