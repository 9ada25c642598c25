/* What conf_parse refuses: every case names the line and the words that the message must have. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "conf/conf.h"

struct refused {
    const char *text;
    unsigned line;        /* 0: the message names no line */
    const char *fragment; /* what the message says */
};

/* What most cases need besides the line in question. */
#define APP         "upstream app { servers = \"127.0.0.1:80\" }\n"
#define CERTIFICATE "certificate c { from = internal names = localhost }\n"
#define LISTENER    "listener l { bind = \"*:443\" certificates = c upstream = app }\n"
#define REST        APP CERTIFICATE
#define L(options)                                                                                 \
    "listener l {\nbind = \"*:443\"\ncertificates = c\nupstream = app\n" options "\n}\n" REST
#define P(options)                                                                                 \
    "listener p {\nbind = \"*:443\"\nmode = pass-through\nupstream = app\n" options "\n}\n" REST
#define U(options)                                                                                 \
    "upstream u {\nservers = {\"10.0.0.1:80\", \"10.0.0.2:80\"}\n" options "\n}\n" LISTENER REST
#define U1(options) "upstream u {\nservers = \"10.0.0.1:80\"\n" options "\n}\n" LISTENER REST
#define S(server)   "upstream u {\nservers = {\"10.0.0.1:80\",\n\"" server "\"}\n}\n" LISTENER REST
#define C(options)  "certificate x {\n" options "\n}\n" LISTENER REST
#define G(options)  options "\n" LISTENER REST

static void check(const struct refused *cases, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        struct conf untouched, *conf = &untouched;
        struct error error = {0};
        char place[32];

        int code = conf_parse(&conf, "t.conf", cases[i].text, NULL, NULL, &error);
        if (cases[i].line == 0)
            ignore(snprintf(place, sizeof place, "t.conf: "));
        else
            ignore(snprintf(place, sizeof place, "t.conf:%u: ", cases[i].line));
        if (code != -(int)ERROR_CONFIG || strncmp(error.message, place, strlen(place)) != 0 ||
            strstr(error.message, cases[i].fragment) == NULL)
            fail_msg("case %zu:\n%s\ngot (%d): %s\nwanted: %s…%s", i, cases[i].text, code,
                     error.message, place, cases[i].fragment);
        assert_ptr_equal(conf, &untouched);
    }
}

static void client_certificates(void **state)
{
    static const struct refused cases[] = {
        {L("client-certificate = maybe"), 5, "client-certificate"},
        {L("client-certificate = required"), 5,
         "asks clients for certificates and has no client-ca"},
        {L("client-certificate-names = {\"a.example optional\"}"), 5, "has no client-ca"},
        {L("client-certificate-names = {\"a.example\"}"), 5, "none, optional, required or later"},
        {L("client-certificate-names = {\"a.example perhaps\"}"), 5,
         "none, optional, required or later"},
        {L("client-certificate-names = {\"a..example none\"}"), 5, "a server name and none"},
        {L("client-certificate-names = {\"a.b none\",\n\"a.b optional\"}"), 6, "each name once"},
        {L("client-crl = {\"/x.crl\"}"), 5, "found it without client-ca"},
        {L("client-ca = \"/x\"\nclient-crl = {\"\"}"), 6, "expected an absolute path"},
        {L("client-ca = \"x\""), 5, "absolute"},
        {L("client-ca = \"/x\"\nclient-crl-expired = refuse"), 6, "found it without client-crl"},
        {L("client-ca = \"/x\"\nclient-verify-depth = 4"), 6, "client-verify-depth"},
        {L("client-ca = \"/x\"\nclient-certificate-ended = keep\nclient-end-spread = 1s"), 7,
         "ends no session"},
        {L("client-certificate = later"), 5, "has no client-ca"},
        {L("client-ca = \"/x\"\nclient-certificate = later\ndetach = require"), 6,
         "expected detach = prefer or never"},
        {L("client-ca = \"/x\"\ntls-max = 1.2\nclient-certificate = later"), 7,
         "expected renegotiation = allow"},
        {L("client-ca = \"/x\"\nclient-authenticate-failure = keep"), 6,
         "expected client-certificate = later"},
        {L("client-ca = \"/x\"\nclient-authenticate-timeout = 10s"), 6,
         "where no client is asked after its handshake"},
        {L("client-ca = \"/x\"\nclient-authenticate-names = {\"a.example\"}"), 6,
         "where no client is asked after its handshake"},
        {L("client-ca = \"/x\"\nclient-certificate-names = {\"a.example later\"}\n"
           "client-authenticate-names = {\"a.example\",\n\"b.example\"}"),
         8, "found 'b.example', whose clients are not asked later"},
        {P("client-certificate = required"), 5, "pass-through"},
        {P("client-ca = \"/x\""), 5, "pass-through"},
        {U("proxy-client-certificate = yes"), 3, "found it without proxy = v2"},
    };

    (void)state;
    check(cases, ARRAY_SIZE(cases));
}

static void syntax(void **state)
{
    static const struct refused cases[] = {
        {"", 0,
         "found no listener and nothing to watch; expected at least one section: listener NAME { "
         "... } or "
         "watch NAME { ... }"},
        {"# only a comment\n", 0, "found no listener"},
        {"user = \"abc\n" LISTENER, 1, "value without closing quote; expected it on the same line"},
        {"\n\nuser = 'abc", 3, "value without closing quote"},
        {"user = \"a\\x41\"\n", 1, "backslash inside quotes"},
        {"user = \"a\tb\"\n", 1, "control character inside quotes"},
        {"user = \"${HOME}\"\n", 1, "variables of the environment are not expanded"},
        {"\nuser = ${HOME}\n", 2, "variables of the environment are not expanded"},
        {"user = a;\n", 1, "unexpected ';'; a value with such a character stands in quotes"},
        {"listener l {\nroutes = {*.a.example=app}\n}\n", 2, "unexpected '*'"},
        {"user = \x01\n", 1, "unexpected '\\x01'"},
        {"user += {a}\n", 1, "unexpected '+'"},
        {"/* never closed\n\n", 1, "comment without end; expected a closing */"},
        {"# one\n# two\n/* three\n four */ user = {a\n", 5,
         "the file ends inside the list from line 4; expected '}'"},
        {"listener l {\nbind = \"*:443\"\n", 3,
         "the file ends inside section listener from line 1; expected '}'"},
        {"listener l {\nbind = \"*:443\"\nupstream app {\n}\n", 3,
         "sections do not nest: is the '}' of listener from line 1"},
        {"listener l {\nbind = {\"*:443\"\nupstream = app\n}\n", 3,
         "is the '}' of the list from line 2 missing?"},
        {"listener l {\nbind = {{\"*:443\"}}\n}\n", 2, "unexpected '{' inside a list"},
        {"}\n", 1, "unexpected '}'; no section is open here"},
        {"user = }\n", 1, "unexpected '}'; expected a value after '='"},
        {"user =", 1, "the file ends behind '='; expected a value"},
        {"= a\n", 1, "unexpected '='; expected the name of an option"},
        {"\"user\" = a\n", 1, "unexpected '='; expected the name of an option, without quotes"},
        {"listener l {\nbind = \"*:443\", \"*:444\"\n}\n", 2,
         "unexpected ','; expected several values in braces"},
        {"{ }\n", 1, "unexpected '{'; expected the name of an option or section before it"},
        {"listener {\n}\n", 1, "missing title for section 'listener'"},
        {"listener a b {\n}\n", 1, "missing opening brace for section 'listener'"},
        {"listener a\n", 2, "premature end of file"},
        {"admin x {\n}\n", 1, "missing opening brace for section 'admin'"},
        {"user nobody\n", 1, "missing equal sign after option 'user'"},
        {"drain-timeout = 30 minutes\n", 1, "found 'minutes' behind a value; expected a value in"},
        {"drain-timeout = 30 minutes\nuser = x\n", 1, "found 'minutes' behind a value"},
        {"upstream u { servers = 127.0.0.1:80 balance = source hash }\n", 1,
         "found 'hash' behind a value"},
        {"listener l {\n  bind = {\"*:1\" \"*:2\"}\n}\n", 2,
         "unexpected token '*:2', in listener 'l'; expected values of a list separated by ','"},
        {"user = {a, b}\n", 1,
         "user in the global options: found a list of 2 values; expected one value"},
    };
    (void)state;
    check(cases, ARRAY_SIZE(cases));
}

static void unknown_words(void **state)
{
    static const struct refused cases[] = {
        {L("handshake-timout = 5s"), 5,
         "unknown option 'handshake-timout' in listener 'l'; did you mean 'handshake-timeout'?"},
        {L("# why\nallw = \"10.0.0.0/8\""), 6,
         "unknown option 'allw' in listener 'l'; did you mean 'allow'?"},
        {L("servers = \"10.0.0.1:80\""), 5,
         "unknown option 'servers' in listener 'l'; it is an option of upstream"},
        {L("drain-timeout = 5s"), 5,
         "unknown option 'drain-timeout' in listener 'l'; it is a global option"},
        {G("state-foler = \"/x\""), 1,
         "unknown option 'state-foler' in the global options; did you mean 'state-folder'?"},
        {"\nlistner l {\n}\n", 2,
         "unknown option 'listner' in the global options; did you mean 'listener'?"},
        {"\nbind = \"*:80\"\n", 2,
         "unknown option 'bind' in the global options; it is an option of admin"},
        {G("quite-else = 3"), 1, "unknown option or section 'quite-else' in the global options"},
        {L("mode = tpc"), 5,
         "mode in listener 'l': found 'tpc'; expected tcp or pass-through; did you mean 'tcp'?"},
        {U("balance = roundrobin"), 3,
         "expected round-robin, least-sessions or source-hash; did you mean 'round-robin'?"},
        {U("proxy = v3"), 3, "proxy in upstream 'u': found 'v3'; expected none, v1 or v2"},
        {U("tls = maybe"), 3, "tls in upstream 'u': found 'maybe'; expected no or yes"},
        {L("strict-sni = ye"), 5,
         "strict-sni in listener 'l': found 'ye'; expected no or yes; did you mean 'yes'?"},
        {L("tls-min = 1.1"), 5, "tls-min in listener 'l': found '1.1'; expected 1.2 or 1.3"},
        {C("from = acme"), 2,
         "from in certificate 'x': found 'acme'; expected internal, files or managed"},
        {C("from = internal names = localhost key-types = {ecdsa, dsa}"), 2,
         "key-types in certificate 'x': found 'dsa'"},
        {C("from = internal names = localhost key-types = {rsa, rsa}"), 2,
         "found 'rsa'; expected each word once"},
        {S("10.0.0.2:80 wieght=3"), 3, "did you mean 'weight'?"},
    };
    (void)state;
    check(cases, ARRAY_SIZE(cases));
}

static void twice(void **state)
{
    static const struct refused cases[] = {
        {L("idle-timeout = 5m\nidle-timeout = 6m"), 6,
         "option 'idle-timeout' stands here twice; the first is on line 5"},
        {"user = a\nuser = b\n", 2, "option 'user' stands here twice; the first is on line 1"},
        {LISTENER "listener l { bind = \"*:444\" }\n", 2,
         "a second listener 'l'; the first stands on line 1"},
        {LISTENER "\nlistener L { bind = \"*:444\" }\n", 3,
         "a second listener 'L'; the first stands on line 1"},
        {APP "upstream APP {\n}\n", 2, "a second upstream 'APP'; the first stands on line 1"},
        {"admin { bind = \"127.0.0.1:1\" }\nadmin { }\n", 2,
         "a second section admin; the first stands on line 1"},
        {L("allow = {\"10.0.0.0/8\"}\n") "listener m { bind = \"*:443\" certificates = c upstream "
                                         "= app }\n",
         10, "bind in listener 'm': found '0.0.0.0:443', which line 2 takes already"},
        {L("") "listener m { bind = \"127.0.0.1:443\" certificates = c upstream = app }\n", 9,
         "found '127.0.0.1:443', which line 2 takes already with '0.0.0.0:443'"},
        {"listener l {\nbind = {\"*:443\",\n\"*:443\"}\n}\n", 3,
         "found '*:443'; expected each address once"},
        {LISTENER REST "admin {\nbind = \"127.0.0.1:443\"\n}\n", 5,
         "bind in admin: found '127.0.0.1:443', which line 1 takes"},
        {"listener l { bind = \"*:443\" certificates = {c,\nC} upstream = app }\n" REST, 2,
         "expected each certificate once"},
        {L("routes = {\"a.example=app\",\n\"A.example=app\"}"), 6, "expected each name once"},
        {L("alpn = {h2, h2}"), 5, "found 'h2'; expected each protocol once"},
        {C("from = managed names = {a.example,\nA.Example}"), 3, "expected each name once"},
        {S("10.0.0.1:80"), 3, "expected each server once"},
    };
    (void)state;
    check(cases, ARRAY_SIZE(cases));
}

static void references(void **state)
{
    static const struct refused cases[] = {
        {"listener l {\nbind = \"*:443\"\ncertificates = c\nupstream = ap\n}\n" REST, 4,
         "upstream in listener 'l': found 'ap'; expected the name of an upstream section; did you "
         "mean 'app'?"},
        {"listener l {\nbind = \"*:443\"\ncertificates = {c, shop.exmaple}\nupstream = "
         "app\n}\n" REST "certificate shop.example { from = managed names = shop.example }\n",
         3,
         "found 'shop.exmaple'; expected the name of a certificate section; did you mean "
         "'shop.example'?"},
        {L("routes = \"a.example=nowhere\""), 5,
         "routes in listener 'l': found 'a.example=nowhere'; expected the name of an upstream "
         "section"},
        {L("routes = \"a.example\""), 5, "expected a route such as"},
        {L("routes = \"10.0.0.1=app\""), 5, "an IP address does not belong here"},
        {L("routes = \"a.*.example=app\""), 5, "a wildcard is the whole first label"},
        {L("routes = \"=app\""), 5, "empty label"},
        {"listener l {\nbind = \"*:443\"\nupstream = app\n}\n" REST, 1,
         "listener 'l' has no certificate; expected certificates = {\"NAME\"} in it, or mode = "
         "pass-through"},
        {"listener l {\nbind = \"*:443\"\ncertificates = {}\nupstream = app\n}\n" REST, 1,
         "has no certificate"},
        {"listener l {\nbind = \"*:443\"\ncertificates = c\n}\n" REST, 1,
         "listener 'l' has no upstream; expected upstream = \"NAME\" or routes in it"},
        {"listener l {\nbind = \"*:443\"\ncertificates = c\nroutes = \"a.example=app\"\n}\n" REST,
         4,
         "listener 'l' has routes but no upstream for all other names; expected upstream = "
         "\"NAME\" or strict-sni = yes"},
        {"\nlistener l {\n}\n", 2, "listener 'l' has no address; expected bind"},
        {"listener l { bind = \"*:443\" upstream = app }\nupstream app {\n}\n", 1,
         "has no certificate"},
        {"upstream app {\n}\n", 1, "upstream 'app' has no servers; expected servers"},
        {LISTENER REST "admin {\n}\n", 4, "admin has no address; expected bind"},
    };
    (void)state;
    check(cases, ARRAY_SIZE(cases));
}

static void names(void **state)
{
    static const struct refused cases[] = {
        {"listener \"a b\" {\n}\n", 1,
         "name of a section listener: found 'a b'; expected 1 to 63 letters"},
        {"listener \"\" {\n}\n", 1, "name of a section listener: found ''"},
        {"listener \"../x\" {\n}\n", 1, "found '../x'"},
        {"certificate .. {\n}\n", 1, "found '..'"},
        {"upstream aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa {\n}\n", 1,
         "expected 1 to 63 letters"},
        {G("user = \"a b\""), 1,
         "user in the global options: found 'a b'; expected the name of a user"},
        {G("key-encryption-key = secret"), 1, "expected an absolute path"},
        {G("key-encryption-key = \"credential:\""), 1, "expected \"credential:NAME\""},
        {G("key-encryption-key = \"credential:../x\""), 1, "expected \"credential:NAME\""},
        {G("ticket-keys-file = \"/x/ring\""), 1,
         "found ticket-keys-file without key-encryption-key; expected both"},
        {G("user = \"\""), 1, "found ''; expected some text"},
        {C("from = managed names = \"shop..example\""), 2,
         "found 'shop..example'; expected a DNS name, a wildcard"},
        {C("from = managed names = \"a.*.example\""), 2, "a wildcard is the whole first label"},
        {C("from = managed names = \"*\""), 2, "a wildcard is the whole first label"},
        {C("from = managed names = \"-a.example\""), 2, "label with a hyphen at its edge"},
        {C("from = managed names = \"a.example.\""), 2, "empty label"},
        {C("from = managed names = \"10.0.0.300\""), 2,
         "it ends with a number like an IP address, but is none"},
        {C("from = managed names = \"b\xc3\xbc"
           "cher.example\""),
         2, "international names are written in their xn-- form"},
        {C("from = managed names = \"a b.example\""), 2, "character that names do not have"},
        {C("from = managed names = "
           "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa.example"),
         2, "label longer than 63 bytes"},
        {L("alpn = {h2, \"\"}"), 5,
         "alpn in listener 'l': found ''; expected protocol names of 1 to 255 bytes"},
        {L("alpn = \"h 2\""), 5, "expected a protocol name of printable ASCII"},
        {L("groups = \"X25519::P-256\""), 5, "expected names of groups joined by colons"},
        {L("groups = \"X25519 P-256\""), 5, "expected names of groups joined by colons"},
        {U("tls = yes\ntls-name = \"*.example\""), 4, "a wildcard does not belong here"},
    };
    (void)state;
    check(cases, ARRAY_SIZE(cases));
}

static void long_protocol_name(void **state)
{
    char name[257], text[1024];
    struct conf *conf = NULL;
    struct error error = {0};

    (void)state;
    memset(name, 'x', 256);
    name[256] = '\0';
    ignore(snprintf(text, sizeof text, L("alpn = {h2,\n%s}"), name));
    assert_int_equal(conf_parse(&conf, "t.conf", text, NULL, NULL, &error), -(int)ERROR_CONFIG);
    assert_non_null(strstr(error.message, "t.conf:6: "));
    assert_non_null(strstr(error.message, "1 to 255 bytes (RFC 7301), here 256"));
}

static void addresses(void **state)
{
    static const struct refused cases[] = {
        {"listener l {\nbind = {\"*:443\",\n\"shop.example:443\"}\n}\n", 3,
         "found 'shop.example:443'; expected an address with port"},
        {"listener l {\nbind = \"*\"\n}\n", 2, "found '*'; expected an address with port"},
        {"listener l {\nbind = \"*:70000\"\n}\n", 2, "found '*:70000'"},
        {"listener l {\nbind = \"*:0\"\n}\n", 2, "found '*:0'; expected a port from 1 to 65535"},
        {"listener l {\nbind = \"::1:443\"\n}\n", 2, "found '::1:443'"},
        {"listener l {\nbind = \"unix:relative\"\n}\n", 2, "found 'unix:relative'"},
        {"listener l {\nbind = \"\"\n}\n", 2, "found ''; expected an address with port"},
        {"admin {\nbind = \"0.0.0.0:8444\"\n}\n", 2,
         "bind in admin: found '0.0.0.0:8444'; expected a loopback address"},
        {"admin {\nbind = \"[2001:db8::1]:8444\"\n}\n", 2, "because admin has no authentication"},
        {"admin {\nbind = {\"127.0.0.1:8444\",\n\"[::]:8445\"}\n}\n", 3,
         "found '[::]:8445'; expected a loopback address"},
        {L("allow = \"10.0.0.0/33\""), 5,
         "allow in listener 'l': found '10.0.0.0/33'; expected a network"},
        {L("deny = {\"10.0.0.0/8\",\n\"everybody\"}"), 6,
         "deny in listener 'l': found 'everybody'; expected a network"},
        {L("proxy-from = \"10.0.0.0/\""), 5, "proxy-from in listener 'l': found '10.0.0.0/'"},
        {S("10.0.0.2"), 3,
         "servers in upstream 'u': found '10.0.0.2'; expected a server such as 10.0.0.5:8080"},
        {S("10.0.0.2:0"), 3, "expected a port from 1 to 65535"},
        {S("10.0.0.2:http"), 3, "found '10.0.0.2:http'; expected a server"},
        {S("*:80"), 3, "found '*:80'; expected a server"},
        {S("10.0.0.300:80"), 3, "it ends with a number like an IP address"},
        {S(""), 3, "found ''; expected a server"},
        {S("unix:app.sock"), 3, "expected an absolute path behind 'unix:'"},
        {S("10.0.0.2:80 weight=0"), 3, "expected a weight from 1 to 1000"},
        {S("10.0.0.2:80 weight=x"), 3, "expected a weight from 1 to 1000"},
        {S("10.0.0.2:80 max-connections=0"), 3, "expected max-connections from 1 to 2147483647"},
        {S("10.0.0.2:80 weight"), 3, "expected a server such as"},
        {U("source-addresses = \"10.0.0.9:80\""), 3,
         "found '10.0.0.9:80'; expected an IPv4 or IPv6 address"},
        {U("source-addresses = {\"10.0.0.9\", \"10.0.0.9\"}"), 3, "expected each address once"},
    };
    (void)state;
    check(cases, ARRAY_SIZE(cases));
}

static void numbers(void **state)
{
    static const struct refused cases[] = {
        {L("handshake-timeout = 10"), 5,
         "handshake-timeout in listener 'l': found '10'; expected a duration with its unit (ms, s, "
         "m, h, d) from 100ms to 10m"},
        {L("handshake-timeout = 10x"), 5, "found '10x'; expected a duration"},
        {L("handshake-timeout = none"), 5, "found 'none'; expected a duration"},
        {L("handshake-timeout = 99ms"), 5, "from 100ms to 10m"},
        {L("handshake-timeout = 11m"), 5, "from 100ms to 10m"},
        {L("handshake-timeout = -1s"), 5, "found '-1s'"},
        {L("handshake-timeout = 99999999999999999999s"), 5, "expected a duration"},
        {L("handshake-timeout = 9223372036854775807d"), 5, "expected a duration"},
        {L("idle-timeout = 500ms"), 5, "from 1s to 3650d, or none"},
        {L("keep-alive = 1500ms"), 5,
         "keep-alive in listener 'l': found '1500ms'; expected whole seconds"},
        {L("user-timeout = 2d"), 5, "from 100ms to 1d, or none"},
        {L("ticket-lifetime = 8d"), 5,
         "ticket-lifetime in listener 'l': found '8d'; expected a duration with its unit"},
        {L("max-lineage = 8d"), 5,
         "found '8d'; expected a duration with its unit (ms, s, m, h, d) from 1s to 7d"},
        {L("max-lineage = 0"), 5, "found '0'; expected a duration"},
        {L("max-lineage = 1500ms"), 5, "found '1500ms'; expected whole seconds"},
        {L("tickets = 17"), 5,
         "tickets in listener 'l': found '17'; expected a number from 0 to 16"},
        {L("client-hello-max = 100"), 5,
         "expected a size in bytes or with its unit (k, m, g, t, p) from 512 to 128k"},
        {L("client-hello-max = 16q"), 5, "found '16q'; expected a size"},
        {L("backlog = 0"), 5,
         "backlog in listener 'l': found '0'; expected a number from 1 to 65535"},
        {L("queue-timeout = 50ms"), 5, "from 100ms to 10m, or none"},
        {L("overload-action = drop"), 5, "found 'drop'; expected reset or alert"},
        {L("queue-timeout = none overload-action = reset"), 5,
         "found it with queue-timeout = none"},
        {L("traffic-key-records = 15"), 5, "expected a number from 16 to 4294967295, or none"},
        {L("traffic-key-probability = 2"), 5, "expected a number from 32 to 100"},
        {L("traffic-key-bytes = 1k"), 5, "from 64k to 1024p, or none"},
        {L("traffic-key-age = 2s"), 5, "from 3s to 3650d, or none"},
        {G("traffic-key-fleet-volume = 1m"), 1, "from 1g to 4096p, or none"},
        {G("traffic-key-fleet-probability = 50"), 1, "found it without traffic-key-fleet-volume"},
        {L("max-connections = many"), 5, "expected a number from 1 to 100000000, or none"},
        {L("half-close-timeout = none"), 5, "half-close-timeout in listener 'l': found 'none'"},
        {U("connect-tries = 0"), 3, "expected a number from 1 to 16"},
        {U("check-rise = 0"), 3, "expected a number from 1 to 100"},
        {U("check-interval = 2h"), 3, "from 100ms to 1h, or none"},
        {G("ticket-key-lifetime = 500ms"), 1, "from 1s to 7d"},
        {G("workers = 0"), 1, "workers: found none with a listener; expected at least 1"},
        {G("workers = 65"), 1, "expected a number from 1 to 64"},
        {G("handshaker-nice = -5"), 1, "expected a number from 0 to 19"},
        {G("buffer-memory = 1m"), 1, "from 4m to 1t"},
        {G("drain-timeout = 8d"), 1, "from 1ms to 7d, or none"},
        {G("log-handshakes = some"), 1,
         "found 'some'; expected failures, all or \"sample N\" (one in N)"},
        {G("log-handshakes = \"sample 0\""), 1, "expected failures, all or \"sample N\""},
        {G("log-handshakes = \"sample x\""), 1, "expected failures, all or \"sample N\""},
    };
    (void)state;
    check(cases, ARRAY_SIZE(cases));
}

static void contradictions(void **state)
{
    static const struct refused cases[] = {
        {L("tls-min = 1.3\ntls-max = 1.2"), 5, "found tls-min = 1.3 above tls-max = 1.2"},
        {P("certificates = c"), 5,
         "certificates in listener 'p': found it with mode = pass-through"},
        {P("alpn = h2"), 5, "alpn in listener 'p': found it with mode = pass-through"},
        {P("max-lineage = 1h"), 5,
         "max-lineage in listener 'p': found it with mode = pass-through"},
        {P("traffic-key-age = 1d"), 5, "traffic-key-age in listener 'p': found it with mode"},
        {P("tls-min = 1.3"), 5, "expected mode = tcp"},
        {P("tolerate-truncation = yes"), 5, "expected mode = tcp"},
        {P("detach = never"), 5, "expected mode = tcp"},
        {P("cbc-suites = yes"), 5, "expected mode = tcp"},
        {P("renegotiation = allow"), 5, "expected mode = tcp"},
        {L("detach = always"), 5, "found 'always'; expected prefer, require or never"},
        {L("renegotiation = yes"), 5, "found 'yes'; expected refuse, allow or authenticated"},
        {L("detach = require\nrenegotiation = allow"), 6,
         "found renegotiation with detach = require"},
        {L("detach = require\nrenegotiate-every = 1h"), 6, "expected detach = prefer or never"},
        {L("detach = require\ncbc-suites = yes"), 6, "found cbc-suites with detach = require"},
        {L("tls-min = 1.3\nrenegotiation = allow"), 6,
         "found renegotiation with tls-min = 1.3; expected tls-min = 1.2"},
        {L("renegotiation-rate = \"1/1h\""), 5, "found it with renegotiation = refuse"},
        {L("renegotiation-timeout = 5s"), 5, "found it without any renegotiation"},
        {L("renegotiation = allow renegotiation-on-timeout = close"), 5,
         "found it without renegotiate-every"},
        {L("renegotiation = allow renegotiation-rate = often"), 5, "a rate such as \"1/10m\""},
        {L("renegotiation = allow renegotiation-rate = \"0/1h\""), 5, "a number of at least 1"},
        {L("renegotiation = allow renegotiation-rate = \"1/2d\""), 5, "a time from 1 s to 24 h"},
        {L("renegotiation = allow renegotiation-rate = \"1/\""), 5, "found '1/'"},
        {G("renegotiation-budget = 0"), 1, "expected a number from 1"},
        {L("proxy-timeout = 1s"), 5, "proxy-timeout in listener 'l': found it without proxy-from"},
        {U("tls-trust = \"/ca.pem\""), 3, "tls-trust in upstream 'u': found it without tls = yes"},
        {U("tls-verify = yes"), 3, "tls-verify in upstream 'u': found it without tls = yes"},
        {U("tls = yes\ntls-certificate = \"/c.pem\""), 4,
         "found it without tls-key; expected both or neither"},
        {U("tls = yes\n\ntls-key = \"/c.key\""), 5,
         "found it without tls-certificate; expected both or neither"},
        {"upstream u {\nservers = {\"10.0.0.1:80\",\n\"unix:/s\"}\ntls = yes\n}\n" LISTENER REST, 3,
         "found TLS over the Unix socket 'unix:/s', which has no name to verify; expected a "
         "tls-name"},
        {U1("check-timeout = 1s"), 3,
         "found it without health checks; expected a check-interval with it"},
        {U("check-interval = none\ncheck-rise = 3"), 4, "found it without health checks"},
    };
    (void)state;
    check(cases, ARRAY_SIZE(cases));
}

static void certificates(void **state)
{
    static const struct refused cases[] = {
        {C("names = localhost"), 1,
         "certificate 'x' does not say where it comes from; expected from = internal, files or "
         "managed"},
        {C("from = managed"), 1, "certificate 'x' has no names; expected names"},
        {C("from = internal\nnames = {localhost,\n\"www.shop.com\"}"), 4,
         "names in certificate 'x': found 'www.shop.com' with from = internal"},
        {C("from = internal names = \"*.com\""), 2, "found '*.com' with from = internal"},
        {C("from = internal names = \"8.8.8.8\""), 2, "found '8.8.8.8' with from = internal"},
        {C("from = internal names = \"172.32.0.1\""), 2, "found '172.32.0.1' with from = internal"},
        {C("from = internal names = \"2001:db8::1\""), 2,
         "found '2001:db8::1' with from = internal"},
        {C("from = internal names = \"notlocalhost.de\""), 2,
         "expected from = files or managed for this name"},
        {C("from = internal names = \"mylan.xlan\""), 2, "with from = internal"},
        {C("from = files names = a.example"), 1, "has from = files but no files; expected chain"},
        {C("from = files names = a.example chain = shop.pem"), 2,
         "found 'shop.pem'; expected an absolute path"},
        {C("from = files names = a.example chain = {\"\"}"), 2, "found an empty path"},
        {C("from = files names = a.example chain = {\"/a\", \"/b\",\n\"/c\"}"), 3,
         "found 3 files; expected at most 2, one per key type"},
        {C("from = files names = a.example chain = {\"/a\", \"/b\"}\nkey = \"/k\""), 3,
         "found 1 keys for 2 chains"},
        {C("from = files names = a.example\nkey = \"/k\""), 3,
         "key in certificate 'x': found it without chain"},
        {C("from = files names = a.example chain = \"/a\"\nfolder = \"/f\""), 2,
         "names in certificate 'x': found it together with folder"},
        {C("from = files chain = \"/a\"\nfolder = \"/f\""), 3,
         "folder in certificate 'x': found it together with chain"},
        {C("from = managed names = a.example\nchain = \"/a\""), 3,
         "chain in certificate 'x': found it without from = files"},
        {C("from = internal names = localhost\nfolder = \"/a\""), 3,
         "folder in certificate 'x': found it without from = files"},
        {C("from = managed names = a.example\nkey-types = rsa"), 3,
         "key-types in certificate 'x': found it without from = internal"},
        {G("state-folder = holdfast"), 1, "found 'holdfast'; expected an absolute path"},
    };
    (void)state;
    check(cases, ARRAY_SIZE(cases));
}

/* A refused text leaves nothing behind in libconfuse's scanner, which is global. */
/* Targets are opaque here; what one looks like is refused by who knows. */
static void watches(void **state)
{
#define FILES_4    "\"/a\",\"/b\",\"/c\",\"/d\""
#define FILES_8    FILES_4 "," FILES_4
#define PIN        "\"47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=\""
#define PINS_4     PIN "," PIN "," PIN "," PIN
#define W(options) "watch w {\ntargets = \"a.example\"\n" options "\n}\n"
    static const struct refused cases[] = {
        {"watch w {\n}\n", 1, "watch 'w' looks at nothing; expected targets"},
        {"watch w {\ntargets = {\"a\",\n\"\"}\n}\n", 3, "expected something to look at"},
        {W("interval = 10ms"), 3, "expected a duration with its unit (ms, s, m, h, d) from 1s"},
        {W("warn-at = \"133%\""), 3, "a share of its life such as 33%"},
        {W("warn-at = 14"), 3, "expected what must be left of a certificate"},
        {W("renewal = never"), 3, "expected auto or manual"},
        {W("connect = \"app.internal\""), 3, "expected an IP address"},
        {W("connect = \"192.0.2.0/24\""), 3, "expected an IP address"},
        {W("origin = \"unix:/run/a.sock\""), 3, "expected an IP address"},
        {W("origin = \"*:443\""), 3, "expected an IP address"},
        {W("file = \"shop.pem\""), 3, "an absolute path"},
        {W("stores = {\"/a\",\n\"\"}"), 4, "stores in watch 'w': found ''"},
        {W("stores-ignoring-ends = {\"/a\",\n\"\"}"), 4, "stores-ignoring-ends in watch 'w'"},
        {W("stores = {" FILES_8 "," FILES_8 "}\nstores-ignoring-ends = \"/17\""), 4,
         "found 17; expected at most 16 files together"},
        {W("crl = {\"/a\",\n\"\"}"), 4, "crl in watch 'w': found ''"},
        {W("crl = \"a.crl\""), 3, "an absolute path"},
        {W("crl = {" FILES_8 "," FILES_8 ",\n\"/17\"}"), 4, "expected at most 16 files"},
        {W("log-list = \"logs.json\""), 3, "an absolute path"},
        {W("pins = {\"abcd\"}"), 3,
         "pins in watch 'w': found 'abcd'; expected the SHA-256 of a public key"},
        {W("pins = {" PINS_4 "," PINS_4 ",\n" PIN "}"), 4, "expected at most 8 pins"},
        {W("require-policy = organisation"), 3,
         "require-policy in watch 'w': found 'organisation'; expected an object identifier"},
        {W("require-policy = {\"1.1\", \"1.2\", \"1.3\", \"1.4\", \"1.5\", \"1.6\", \"1.7\",\n"
           "\"1.8\",\n\"1.9\"}"),
         5, "expected at most 8 policies"},
        {W("require-staple = must"), 3, "require-staple in watch 'w': found 'must'"},
        {W("no-fetch = yes\nacme-directory = \"https://ca.example/directory\""), 4,
         "acme-directory in watch 'w': found it with no-fetch = yes"},
        {W("name-servers = \"dns.example\""), 3, "expected an IP address"},
        {W("name-servers = \"192.0.2.1:0\""), 3, "expected an IP address"},
        {W("acme-directory = \"ca.example\""), 3, "expected a URL"},
        {W("acme-directory = \"smtp://ca.example\""), 3, "address of a CA's directory"},
        {W("discover-interval = 1h"), 3, "found it without discover"},
        {W("target = x"), 3, "did you mean 'targets'?"},
        {"watch w { discover = \"192.0.2.0/28:443\"\nfile = \"/a\" }\n", 2,
         "found it without targets"},
        {W("") "watch W { targets = b }\n", 5, "watch"},
        {"workers = none\n" LISTENER REST, 1, "workers: found none with a listener"},
    };
    (void)state;

    check(cases, ARRAY_SIZE(cases));
}

static void next_parse_is_clean(void **state)
{
    static const char *const broken[] = {
        "user = \"", "user = '", "/*", "user = \"\\", "listener l { bind = {", "a b c {"};

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(broken); i++) {
        struct conf *conf = NULL;
        struct error error = {0};
        assert_int_equal(conf_parse(&conf, "t.conf", broken[i], NULL, NULL, &error),
                         -(int)ERROR_CONFIG);
        assert_int_equal(conf_parse(&conf, "t.conf", LISTENER REST, NULL, NULL, &error), 0);
        conf_free(conf);
    }
}

static void too_much(void **state)
{
    char *text = malloc(CONF_TEXT_MAX + 2);
    struct conf *conf = NULL;
    struct error error = {0};

    (void)state;
    assert_non_null(text);
    memset(text, ' ', CONF_TEXT_MAX + 1);
    text[CONF_TEXT_MAX + 1] = '\0';
    assert_int_equal(conf_parse(&conf, "t.conf", text, NULL, NULL, &error), -(int)ERROR_CONFIG);
    assert_string_equal(error.message, "t.conf: the configuration is larger than 4 MiB");

    size_t used = (size_t)snprintf(text, CONF_TEXT_MAX, "%s", LISTENER REST);
    for (unsigned i = 0; i < CONF_LISTENERS_MAX; i++)
        used += (size_t)snprintf(
            text + used, CONF_TEXT_MAX - used,
            "listener l%u { bind = \"127.0.0.1:%u\" certificates = c upstream = app }\n", i,
            1000 + i);
    assert_int_equal(conf_parse(&conf, "t.conf", text, NULL, NULL, &error), -(int)ERROR_CONFIG);
    assert_string_equal(error.message, "t.conf:259: found 257 listeners; expected at most 256");

    used = (size_t)snprintf(text, CONF_TEXT_MAX, "%s\nupstream u { servers = {", LISTENER REST);
    for (unsigned i = 0; i < CONF_SERVERS_MAX; i++)
        used += (size_t)snprintf(text + used, CONF_TEXT_MAX - used, "\"10.0.%u.%u:80\", ", i / 256,
                                 i % 256);
    ignore(snprintf(text + used, CONF_TEXT_MAX - used, "} }\n"));
    assert_int_equal(conf_parse(&conf, "t.conf", text, NULL, NULL, &error), -(int)ERROR_CONFIG);
    assert_non_null(strstr(error.message, "t.conf:5: found more than 1024 servers"));
    free(text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(client_certificates),
        cmocka_unit_test(syntax),
        cmocka_unit_test(unknown_words),
        cmocka_unit_test(twice),
        cmocka_unit_test(references),
        cmocka_unit_test(names),
        cmocka_unit_test(long_protocol_name),
        cmocka_unit_test(addresses),
        cmocka_unit_test(numbers),
        cmocka_unit_test(contradictions),
        cmocka_unit_test(certificates),
        cmocka_unit_test(watches),
        cmocka_unit_test(next_parse_is_clean),
        cmocka_unit_test(too_much),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
