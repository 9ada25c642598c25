/* What a listener says of client certificates. */
#include "conf/schema_client.h"

#include <stdlib.h>
#include <string.h>

#include "base/string.h"
#include "conf/list.h"

#define NAMES_MAX 1000
#define EXPECTED                                                                                   \
    "a server name and none, optional, required or later, such as \"admin.example.org required\""

const struct schema_word schema_client_modes[] = {{"none", CONF_CLIENT_CERTIFICATE_NONE},
                                                  {"optional", CONF_CLIENT_CERTIFICATE_OPTIONAL},
                                                  {"required", CONF_CLIENT_CERTIFICATE_REQUIRED},
                                                  {"later", CONF_CLIENT_CERTIFICATE_LATER},
                                                  {NULL, 0}};

static const struct schema_word *find_mode(const char *word)
{
    for (const struct schema_word *it = schema_client_modes; it->word != NULL; it++) {
        if (strcmp(it->word, word) == 0)
            return it;
    }
    return NULL;
}

static int names_read(struct schema_reader *reader, const struct schema_option *option,
                      const struct schema_value *value, void *field)
{
    struct conf_listener *listener = field;
    const char *space = strchr(value->text, ' ');
    char text[SCHEMA_VALUE_MAX + 1], name[SCHEMA_NAME_SIZE];

    if (space == NULL)
        return schema_fail_value(reader, option, value, EXPECTED);
    const struct schema_word *mode = find_mode(space + strspn(space, " "));
    if (mode == NULL)
        return schema_fail_value(reader, option, value, EXPECTED);
    ignore(string_copy(text, sizeof text, value->text));
    text[space - value->text] = '\0';
    const char *wrong = schema_read_name(name, text, true, false);
    if (wrong != NULL)
        return schema_fail_value(reader, option, value, EXPECTED ": %s", wrong);
    for (size_t i = 0; i < listener->client_name_count; i++) {
        if (strcmp(listener->client_names[i].name, name) == 0)
            return schema_fail_value(reader, option, value, "each name once");
    }
    if (listener->client_name_count == NAMES_MAX)
        return schema_fail_value(reader, option, value, "at most %d names", NAMES_MAX);
    struct conf_client_name *item =
        list_append(&listener->client_names, &listener->client_name_count, sizeof *item);
    if (item == NULL)
        return schema_fail_memory(reader);
    item->mode = (enum conf_client_certificate)mode->number;
    item->name = strdup(name);
    return item->name == NULL ? schema_fail_memory(reader) : 0;
}

static void names_show(struct buffer *buffer, const struct conf *conf,
                       const struct schema_option *option, const void *field)
{
    const struct conf_listener *listener = field;

    (void)conf, (void)option;
    for (size_t i = 0; i < listener->client_name_count; i++)
        ignore(buffer_printf(buffer, "%s\"%s %s\"", i == 0 ? "{" : ", ",
                             listener->client_names[i].name,
                             schema_client_modes[listener->client_names[i].mode].word));
    if (listener->client_name_count > 0)
        ignore(buffer_append_text(buffer, "}"));
}

static void names_free(void *field)
{
    struct conf_listener *listener = field;

    for (size_t i = 0; i < listener->client_name_count; i++)
        free(listener->client_names[i].name);
    free(listener->client_names);
    listener->client_names = NULL;
    listener->client_name_count = 0;
}

const struct schema_type schema_client_names = {
    .list = true, .read = names_read, .show = names_show, .free = names_free};

bool schema_client_owns(const struct schema_option *option)
{
    return string_starts_with(option->name, "client-") &&
           strcmp(option->name, "client-hello-max") != 0;
}

const char *schema_client_refuses(const struct conf_listener *listener,
                                  const struct schema_option *option)
{
    static const char *const needing_ca[] = {"client-crl", "client-verify-depth",
                                             "client-crl-expired", "client-certificate-ended",
                                             "client-end-spread"};

    for (size_t i = 0; listener->client_ca == NULL && i < ARRAY_SIZE(needing_ca); i++) {
        if (strcmp(option->name, needing_ca[i]) == 0)
            return "found it without client-ca; expected the file with the certificates of the CAs "
                   "that issue to clients";
    }
    if (string_starts_with(option->name, "client-authenticate-") &&
        !conf_asks_clients_by(listener, CONF_CLIENT_CERTIFICATE_LATER))
        return "found it where no client is asked after its handshake; expected "
               "client-certificate = later, or a name with later in client-certificate-names";
    if (strcmp(option->name, "client-crl-expired") == 0 && listener->client_crl.count == 0)
        return "found it without client-crl; expected the files with revocation lists";
    if (strcmp(option->name, "client-end-spread") == 0 &&
        listener->client_ended == CONF_CLIENT_ENDED_KEEP)
        return "found it with client-certificate-ended = keep, which ends no session; expected "
               "close";
    return NULL;
}

static int check_later(struct schema_reader *reader, const struct conf_listener *listener,
                       const char *option)
{
    const struct conf_text_list *names = &listener->authenticate_names;

    if (!conf_asks_clients_by(listener, CONF_CLIENT_CERTIFICATE_LATER))
        return 0;
    if (listener->detach == CONF_DETACH_REQUIRE)
        return schema_fail(reader, schema_line(reader, option, 0),
                           "listener '%s': found %s with later and detach = require, which only "
                           "takes sessions that leave OpenSSL; expected detach = prefer or never",
                           listener->name, option);
    if (listener->max_version == CONF_TLS_1_2 &&
        listener->renegotiation == CONF_RENEGOTIATION_REFUSE && listener->renegotiate_every == 0)
        return schema_fail(reader, schema_line(reader, option, 0),
                           "listener '%s': found %s with later and tls-max = 1.2, where clients "
                           "are asked by a renegotiation; expected renegotiation = allow or "
                           "authenticated",
                           listener->name, option);
    for (size_t i = 0; i < names->count; i++) {
        if (conf_client_certificate(listener, names->items[i]) != CONF_CLIENT_CERTIFICATE_LATER)
            return schema_fail(reader, schema_line(reader, "client-authenticate-names", i),
                               "client-authenticate-names in listener '%s': found '%s', whose "
                               "clients are not asked later; expected \"%s later\" in "
                               "client-certificate-names, or client-certificate = later",
                               listener->name, names->items[i], names->items[i]);
    }
    return 0;
}

int schema_client_check(struct schema_reader *reader, const struct conf_listener *listener)
{
    const char *option = listener->client_certificate != CONF_CLIENT_CERTIFICATE_NONE
                             ? "client-certificate"
                             : "client-certificate-names";

    if (conf_asks_clients(listener) && listener->client_ca == NULL)
        return schema_fail(reader, schema_line(reader, option, 0),
                           "listener '%s' asks clients for certificates and has no client-ca; "
                           "expected client-ca = \"FILE\" with the certificates of the CAs that "
                           "issue to clients",
                           listener->name);
    for (size_t i = 0; i < listener->client_crl.count; i++) {
        if (listener->client_crl.items[i][0] == '\0')
            return schema_fail(reader, schema_line(reader, "client-crl", i),
                               "client-crl in listener '%s': found ''; expected an absolute path",
                               listener->name);
    }
    return check_later(reader, listener, option);
}
