/* What the watch has from files, and gives to the process that probes: a certificate on disk,
 * stores, and documents that were fetched. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tls/certificate.h"
#include "watcher_world.h"

static void write_certificate(char path[96])
{
    char *certificate, *key;
    struct error error = {0};

    snprintf(path, 96, "%s/x.pem", world.folder);
    assert_int_equal(internal_ca_create(&certificate, &key, &error), 0);
    FILE *file = fopen(path, "w");
    fputs(key, file); /* a combined file: the key comes first */
    fputs(certificate, file);
    fclose(file);
    free(certificate);
    free(key);
}

/* The one on disk is of now, the one that is served is not. */
static void test_file(void **state)
{
    char path[96];
    (void)state;

    world_begin(W("file = /etc/x.pem", "a.example"));
    world_check("w");
    assert_true(world_found("file-unreadable"));
    write_certificate(path);
    world.file = path;
    world_check("w");
    assert_true(world_found("renewed-not-served"));
    world.busy = 3;
    world_check("w");
    assert_true(world_found("renewed-not-served"));
    assert_string_equal(world_place_of("a.example:443").verdict, "warning");
    world.busy = UINT_MAX;
    world_check("w");
    assert_true(world_found("file-unreadable"));
    world.busy = 0;
    world_end();
}

static void write_text(const char *path, const char *text)
{
    FILE *file = fopen(path, "w");

    fputs(text, file);
    fclose(file);
}

static const char *told(void)
{
    static char text[2048];
    char path[96];

    snprintf(path, sizeof path, "%s/told", world.folder);
    FILE *file = fopen(path, "r");
    assert_non_null(file);
    text[fread(text, 1, sizeof text - 1, file)] = '\0';
    fclose(file);
    return text;
}

static void assert_told(const char *expected)
{
    assert_string_equal(told(), expected);
}

/* A file is told of before the first question, when it is another one, and to another process. */
static void test_supplies(void **state)
{
    char path[96];
    (void)state;

    snprintf(path, sizeof path, "%s/store.pem", world.folder);
    write_text(path, "one");
    world_begin(W("stores = /etc/x.pem", "a.example"));
    world.file = path;
    world_check("");
    world_check("");
    assert_told("one;");
    world.busy = 3; /* nobody to be asked says nothing about the file */
    world_check("");
    assert_told("one;");
    world.lost = 3; /* nor does an answer that never comes */
    world_check("");
    assert_told("one;");
    assert_int_equal(world.lost, 0);
    write_text(path, "other");
    world_check("");
    assert_told("one;other;");
    world.file = NULL;
    world_check("");
    world_check("");
    assert_told("one;other;!No such file or directory;");
    world.file = path;
    world_check("");
    assert_told("one;other;!No such file or directory;other;");
    world_end();
    world_begin(W("stores = /etc/x.pem", "dies-once"));
    world.file = path;
    world_check("");
    assert_told("one;other;!No such file or directory;other;other;other;");
    struct conf *without = world_parse(W("", "dies-once"));
    assert_true(watcher_reload(world.watcher, without));
    world_check("");
    assert_told("one;other;!No such file or directory;other;other;other;-stores /etc/x.pem;");
    conf_free(world.conf);
    world.conf = without;
    world_end();
}

/* Of a target that is a file the certificates are told, and no key that stands beside them. */
static void test_target(void **state)
{
    static const char begin[] = "-----BEGIN CERTIFICATE-----\n",
                      end[] = "\n-----END CERTIFICATE-----\n;";
    char path[96], expected[2048];
    (void)state;

    write_certificate(path);
    world_begin(W("", "\"file:///etc/x.pem\""));
    world.file = path;
    world_check("");
    snprintf(expected, sizeof expected, "%s", told());
    assert_memory_equal(expected, begin, sizeof begin - 1);
    assert_string_equal(expected + strlen(expected) - strlen(end), end);
    assert_null(strstr(expected, "KEY"));
    world_check("");
    assert_told(expected);
    size_t size = strlen(expected);
    write_text(path, "-----BEGIN EC PRIVATE KEY-----\nMAA=\n-----END EC PRIVATE KEY-----\n");
    world_check("");
    snprintf(expected + size, sizeof expected - size,
             "!there is no certificate in it; expected PEM, DER or PKCS#12;");
    assert_told(expected);
    struct conf *without = world_parse(W("", "a.example"));
    assert_true(watcher_reload(world.watcher, without));
    conf_free(world.conf);
    world.conf = without;
    world_check("");
    size = strlen(expected);
    snprintf(expected + size, sizeof expected - size, "-targets /etc/x.pem;");
    assert_told(expected);
    world_end();
}

static const char *leaf_after_checking(const char *targets, const char *target)
{
    static char leaf[65];

    world_begin(targets);
    world_check("");
    snprintf(leaf, sizeof leaf, "%s", world_place_of(target).sha256);
    world_end();
    return leaf;
}

/* What it fetched outlives it and the watch. */
static void test_documents(void **state)
{
    (void)state;

    assert_string_equal(leaf_after_checking(W("", "recalls-1"), "recalls-1:443"), "none");
    assert_string_equal(leaf_after_checking(W("", "keeps"), "keeps:443"), "aa");
    assert_string_equal(leaf_after_checking(W("", "recalls-2"), "recalls-2:443"), "kept");
    assert_string_equal(leaf_after_checking(W("", "drops"), "drops:443"), "aa");
    assert_string_equal(leaf_after_checking(W("", "recalls-3"), "recalls-3:443"), "none");
}

static void test_false_documents(void **state)
{
    (void)state;

    world_begin(W("", "\"keeps-nothing\", \"keeps-control\", \"drops-bytes\", \"a.example\""));
    world_check("");
    assert_string_equal(world_place_of("a.example:443").verdict, "ok");
    assert_string_equal(world_place_of("keeps-nothing:443").verdict, "unknown");
    assert_string_equal(world_place_of("keeps-control:443").verdict, "unknown");
    assert_string_equal(world_place_of("drops-bytes:443").verdict, "unknown");
    world_end();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_file, world_set_up, world_tear_down),
        cmocka_unit_test_setup_teardown(test_supplies, world_set_up, world_tear_down),
        cmocka_unit_test_setup_teardown(test_target, world_set_up, world_tear_down),
        cmocka_unit_test_setup_teardown(test_documents, world_set_up, world_tear_down),
        cmocka_unit_test_setup_teardown(test_false_documents, world_set_up, world_tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
