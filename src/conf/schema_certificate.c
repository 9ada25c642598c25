/* Section `certificate`: a lineage of certificates, and where its versions come from. */
#include "conf/schema.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <string.h>

#include "base/string.h"

#define OPTION(option, kind, member)                                                               \
    .name = (option), .type = &(kind), .offset = offsetof(struct conf_certificate, member)

#define PAIRS_MAX 2 /* one per key type */

static const struct schema_word from_words[] = {{"internal", CONF_FROM_INTERNAL},
                                                {"files", CONF_FROM_FILES},
                                                {"managed", CONF_FROM_MANAGED},
                                                {NULL, 0}};
static const struct schema_word key_type_words[] = {{"ecdsa", 0}, {"rsa", 1}, {NULL, 0}};

static const struct schema_option certificate_options[] = {
    {OPTION("from", schema_choice, from), .words = from_words},
    {OPTION("names", schema_names, names)},
    {OPTION("chain", schema_path_list, chain)},
    {OPTION("key", schema_path_list, key)},
    {OPTION("folder", schema_path, folder)},
    {OPTION("key-types", schema_text_list, key_types), .fallback = "ecdsa",
     .words = key_type_words},
    {OPTION("place", schema_count, place), .maximum = CONF_PLACES_MAX, .internal = true},
    {OPTION("retired", schema_boolean, retired), .fallback = "no", .internal = true},
    {.name = NULL},
};

static const char *certificate_refuses(const void *object, const struct schema_option *option)
{
    const struct conf_certificate *certificate = object;
    bool files = certificate->from == CONF_FROM_FILES;

    if ((strcmp(option->name, "chain") == 0 || strcmp(option->name, "key") == 0 ||
         strcmp(option->name, "folder") == 0) &&
        !files)
        return "found it without from = files; expected files to go with it";
    if (strcmp(option->name, "key-types") == 0 && certificate->from != CONF_FROM_INTERNAL)
        return "found it without from = internal; expected it only where Holdfast makes the keys";
    if (strcmp(option->name, "names") == 0 && files && certificate->folder != NULL)
        return "found it together with folder; expected one of them: in a folder the files say "
               "their names";
    if (strcmp(option->name, "folder") == 0 && certificate->chain.count != 0)
        return "found it together with chain; expected one of them";
    if (strcmp(option->name, "key") == 0 && certificate->chain.count == 0)
        return "found it without chain; expected the chain that it belongs to";
    return NULL;
}

/* ---- the internal CA is for names that no public CA would certify ---- */

static bool private_ipv4(const uint8_t address[4])
{
    return address[0] == 127 || address[0] == 10 ||
           (address[0] == 172 && (address[1] & 0xf0) == 16) ||
           (address[0] == 192 && address[1] == 168) || (address[0] == 169 && address[1] == 254);
}

static bool private_ipv6(const uint8_t address[16])
{
    static const uint8_t loopback[16] = {[15] = 1};

    return memcmp(address, loopback, sizeof loopback) == 0 || (address[0] & 0xfe) == 0xfc ||
           (address[0] == 0xfe && (address[1] & 0xc0) == 0x80);
}

static bool private_name(const char *name)
{
    /* RFC 2606, 6761, 6762, 8375, 9476-to-be (.internal), and the .lan of many home routers. */
    static const char *const domains[] = {".localhost", ".internal", ".test",    ".home.arpa",
                                          ".lan",       ".local",    ".example", ".invalid"};
    uint8_t address[16];

    if (inet_pton(AF_INET, name, address) == 1)
        return private_ipv4(address);
    if (inet_pton(AF_INET6, name, address) == 1)
        return private_ipv6(address);
    if (strchr(name, '.') == NULL)
        return true;
    for (size_t i = 0; i < ARRAY_SIZE(domains); i++) {
        if (string_ends_with(name, domains[i]))
            return true;
    }
    return false;
}

static int check_internal(struct schema_reader *reader, const struct conf_certificate *certificate)
{
    for (size_t i = 0; i < certificate->names.count; i++) {
        char shown[SCHEMA_SHOWN_MAX];
        if (private_name(certificate->names.items[i]))
            continue;
        return schema_fail(
            reader, schema_line(reader, "names", i),
            "names in certificate '%s': found '%s' with from = internal, which is for localhost, "
            "private "
            "addresses, names without dot and names under .localhost, .internal, .test, "
            ".home.arpa, .lan, "
            ".local, .example or .invalid only; expected from = files or managed for this name",
            certificate->name, schema_shown(shown, certificate->names.items[i]));
    }
    return 0;
}

static int check_files(struct schema_reader *reader, const struct conf_certificate *certificate)
{
    const char *name = certificate->name;

    if (certificate->chain.count == 0 && certificate->folder == NULL)
        return schema_fail(reader, reader->line,
                           "certificate '%s' has from = files but no files; expected chain = "
                           "\"/path\" (with key, or "
                           "combined), or folder = \"/path\"",
                           name);
    if (certificate->chain.count > PAIRS_MAX)
        return schema_fail(reader, schema_line(reader, "chain", PAIRS_MAX),
                           "chain in certificate '%s': found %zu files; expected at most %d, one "
                           "per key type (ECDSA, RSA)",
                           name, certificate->chain.count, PAIRS_MAX);
    for (size_t i = 0; i < certificate->chain.count; i++) {
        if (certificate->chain.items[i][0] == '\0')
            return schema_fail(reader, schema_line(reader, "chain", i),
                               "chain in certificate '%s': found an empty path; expected a file",
                               name);
    }
    if (certificate->key.count != 0 && certificate->key.count != certificate->chain.count)
        return schema_fail(reader, schema_line(reader, "key", 0),
                           "key in certificate '%s': found %zu keys for %zu chains; expected one "
                           "per chain, \"\" where the "
                           "key stands in the chain's file, or none at all",
                           name, certificate->key.count, certificate->chain.count);
    return 0;
}

static int certificate_check(struct schema_reader *reader, void *object)
{
    struct conf_certificate *certificate = object;
    int code = 0;

    if (schema_given(reader, "from") == 0)
        return schema_fail(reader, reader->line,
                           "certificate '%s' does not say where it comes from; expected from = "
                           "internal, files or managed",
                           certificate->name);
    if (certificate->from == CONF_FROM_FILES)
        code = check_files(reader, certificate);
    else if (certificate->from == CONF_FROM_INTERNAL)
        code = check_internal(reader, certificate);
    if (code == 0 && certificate->names.count == 0 && certificate->folder == NULL)
        code = schema_fail(reader, reader->line,
                           "certificate '%s' has no names; expected names = {\"shop.example\"} in "
                           "it, all that it must cover",
                           certificate->name);
    return code;
}

const struct schema_section schema_certificate = {.kind = "certificate",
                                                  .titled = true,
                                                  .options = certificate_options,
                                                  .refuses = certificate_refuses,
                                                  .check = certificate_check};
