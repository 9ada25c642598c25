/* admin/resolver.h with the system's own resolver: a name of /etc/hosts, and one that cannot exist
 * (RFC 6761 §6.4). */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <string.h>

#include "admin/resolver.h"
#include "base/clock.h"

static const char text[] =
    "listener l { bind = \"127.0.0.1:443\" certificates = c upstream = app }\n"
    "upstream first { servers = {\"10.0.0.1:1\", \"10.0.0.2:2\"} }\n"
    "upstream app { servers = {\"10.0.0.5:8080\", \"no-such-host.invalid:81\", \"localhost:8081\"} "
    "}\n"
    "certificate c { from = internal names = localhost }\n";

struct seen {
    struct loop *loop;
    unsigned good, bad;
};

static void on_changed(void *context, unsigned server, const struct resolver_facts *facts)
{
    struct seen *seen = context;

    assert_string_equal(facts->upstream, "app");
    if (facts->resolved) {
        assert_int_equal(server, 4);
        assert_int_equal(address_port(facts->address), 8081);
        seen->good++;
    } else {
        assert_int_equal(server, 3);
        assert_non_null(facts->reason);
        assert_int_equal(facts->address->size, 0);
        seen->bad++;
    }
    if (seen->good + seen->bad == 2)
        loop_stop(seen->loop, 0);
}

static void names_are_resolved_by_a_child(void **state)
{
    struct seen seen = {.loop = loop_new()};
    const struct resolver_host host = {.context = &seen, .changed = on_changed};
    struct error error = {.code = ERROR_NONE};
    struct resolver resolver;
    struct message_address body;
    struct conf *conf;
    (void)state;

    if (conf_parse(&conf, "test.conf", text, NULL, NULL, &error) != 0)
        fail_msg("%s", error.message);
    assert_true(resolver_init(&resolver, seen.loop, conf, &host));
    assert_int_equal(resolver.count, 2);
    assert_false(resolver_message(&resolver, 0, &body));
    resolver_start(&resolver);
    assert_int_equal(loop_run(seen.loop), 0);
    assert_int_equal(seen.good, 1);
    assert_int_equal(seen.bad, 1);
    assert_false(resolver_message(&resolver, 0, &body));
    assert_true(resolver_message(&resolver, 1, &body));
    assert_int_equal(body.server, 4);
    assert_true(body.size == sizeof(struct sockaddr_in) ||
                body.size == sizeof(struct sockaddr_in6));
    resolver_fini(&resolver);
    loop_free(seen.loop);
    conf_free(conf);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(names_are_resolved_by_a_child)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
