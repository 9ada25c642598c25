/* What conf_parse accepts with a warning, and on which line it puts it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>

#include "conf/conf.h"

struct warned {
    const char *options; /* of the section under test */
    unsigned line;       /* of the warning; 0: there is none */
    const char *fragment;
};

struct heard {
    unsigned count, line;
    char text[512];
};

#define TRUNK                                                                                      \
    "upstream app { servers = {\"10.0.0.1:80\", \"10.0.0.2:80\"} }\ncertificate c { from = "       \
    "internal names = localhost }\n"

static void hear(void *context, unsigned line, const char *text)
{
    struct heard *heard = context;

    if (heard->count++ == 0) {
        heard->line = line;
        ignore(snprintf(heard->text, sizeof heard->text, "%s", text));
    }
}

static void check_text(const char *text, const struct warned *expected)
{
    struct heard heard = {0};
    struct error error = {0};
    struct conf *conf = NULL;

    if (conf_parse(&conf, "t.conf", text, hear, &heard, &error) != 0)
        fail_msg("refused: %s\n%s", error.message, text);
    conf_free(conf);
    bool right = expected->fragment == NULL ? heard.count == 0
                                            : heard.count == 1 && heard.line == expected->line &&
                                                  strstr(heard.text, expected->fragment) != NULL;
    if (!right)
        fail_msg("%s\ngot %u warnings, line %u: %s\nwanted line %u: %s", text, heard.count,
                 heard.line, heard.text, expected->line,
                 expected->fragment == NULL ? "none" : expected->fragment);
}

static void check(const char *before, const char *after, const struct warned *cases, size_t count)
{
    char text[2048];

    for (size_t i = 0; i < count; i++) {
        ignore(snprintf(text, sizeof text, "%s%s%s", before, cases[i].options, after));
        check_text(text, &cases[i]);
    }
}

static void global(void **state)
{
    static const struct warned cases[] = {
        {"", 0, NULL},
        {"drain-notice = 29s", 0, NULL},
        {"\ndrain-notice = 30s", 2, "drain-notice is not shorter than drain-timeout"},
        {"drain-timeout = none drain-notice = 1s", 1, "drain-notice is not shorter"},
        {"ticket-key-lifetime = 12m", 0, NULL},
        {"\nticket-key-lifetime = 11m", 2, "ticket-key-lifetime is so short"},
    };
    (void)state;
    check("", "\nlistener l { bind = \"*:443\" certificates = c upstream = app }\n" TRUNK, cases,
          ARRAY_SIZE(cases));
}

static void listener(void **state)
{
    static const struct warned cases[] = {
        {"idle-timeout = 2m", 0, NULL},
        {"idle-timeout = 60s", 2,
         "idle-timeout of listener 'l' is not longer than keep-alive (60 s)"},
        {"idle-timeout = 60s keep-alive = none", 0, NULL},
        {"idle-timeout = 2h\nmax-session-age = 1h", 3,
         "max-session-age of listener 'l' is not longer than idle-timeout"},
        {"idle-timeout = 2m\nhalf-close-timeout = 3m", 3,
         "half-close-timeout of listener 'l' is longer than idle-timeout"},
        {"user-timeout = 30s", 2, "user-timeout of listener 'l' is shorter than keep-alive"},
        {"max-connections = 10\nmax-connections-per-source = 11", 3,
         "max-connections-per-source of listener 'l' is above"},
        {"idle-timeout = 10s keep-alive = 5s", 2,
         "shorter than connect-timeout times connect-tries of upstream 'app' (15 s)"},
    };
    (void)state;
    check("listener l { bind = \"*:443\" certificates = c upstream = app\n", "}\n" TRUNK, cases,
          ARRAY_SIZE(cases));
}

static void upstream(void **state)
{
    static const struct warned cases[] = {
        {"", 0, NULL},
        {"check-interval = 1s", 2, "check-timeout of upstream 'u' is longer than check-interval"},
        {"check-interval = 1s\ncheck-timeout = 2s", 3, "checks of a slow server overlap"},
        {"connect-tries = 16", 2,
         "connect-timeout times connect-tries of upstream 'u' is 80 s: most clients give up "
         "earlier"},
        {"tls = yes\ntls-verify = no", 3, "upstream 'u' does not verify its servers"},
    };
    (void)state;
    check("upstream u { servers = {\"10.0.0.1:80\", \"10.0.0.2:80\"}\n",
          "}\nlistener l { bind = \"*:443\" certificates = c upstream = u }\n"
          "certificate c { from = internal names = localhost }\n",
          cases, ARRAY_SIZE(cases));
}

static void across_sections(void **state)
{
    static const struct warned cases[] = {
        {"listener l { bind = \"*:443\" certificates = c upstream = app }\n\nupstream v { servers "
         "= \"10.0.0.1:80\" }\n",
         3, "upstream 'v' is used by no listener"},
        {"listener l { bind = \"*:443\" certificates = c upstream = app }\n"
         "certificate d { from = managed names = d.example }\n",
         2, "certificate 'd' is used by no listener"},
        {"listener l { bind = \"*:443\"\ncertificates = {c,\nd} upstream = app }\n"
         "certificate d { from = managed names = {d.example, localhost} }\n",
         3, "both certificates 'c' and 'd' have the name 'localhost'; the first is used"},
        {"listener l { bind = \"*:443\"\ncertificates = c\nroutes = \"a.example=app\" strict-sni = "
         "yes }\n",
         2, "name 'localhost' of certificate 'c' has no route"},
        {"max-sessions = 100\nlistener l { bind = \"*:443\" certificates = c upstream = "
         "app\nmax-connections = 101 }\n",
         3, "max-connections of listener 'l' is above max-sessions (100)"},
        {"listener l { bind = \"*:443\" certificates = {c, d} strict-sni = yes\n"
         "routes = {\"localhost=app\", \"*.d.example=app\"} }\n"
         "certificate d { from = managed names = {\"*.d.example\", a.d.example} }\n",
         0, NULL},
    };
    (void)state;
    check("", TRUNK, cases, ARRAY_SIZE(cases));
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(global), cmocka_unit_test(listener),
                                       cmocka_unit_test(upstream),
                                       cmocka_unit_test(across_sections)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
