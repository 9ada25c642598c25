/* Which clients are asked for a certificate. */
#include <string.h>

#include "conf/conf.h"

/* "*.example.org" takes one label. */
static bool covers(const char *name, const char *server_name)
{
    const char *dot = strchr(server_name, '.');

    return strncmp(name, "*.", 2) == 0 && dot != NULL && dot != server_name &&
           strcmp(name + 1, dot) == 0;
}

enum conf_client_certificate conf_client_certificate(const struct conf_listener *listener,
                                                     const char *server_name)
{
    for (size_t i = 0; i < listener->client_name_count; i++) {
        if (strcmp(listener->client_names[i].name, server_name) == 0)
            return listener->client_names[i].mode;
    }
    for (size_t i = 0; i < listener->client_name_count; i++) {
        if (covers(listener->client_names[i].name, server_name))
            return listener->client_names[i].mode;
    }
    return listener->client_certificate;
}

bool conf_asks_clients(const struct conf_listener *listener)
{
    return conf_asks_clients_by(listener, CONF_CLIENT_CERTIFICATE_OPTIONAL) ||
           conf_asks_clients_by(listener, CONF_CLIENT_CERTIFICATE_REQUIRED) ||
           conf_asks_clients_by(listener, CONF_CLIENT_CERTIFICATE_LATER);
}

bool conf_asks_clients_by(const struct conf_listener *listener, enum conf_client_certificate mode)
{
    bool any = listener->client_certificate == mode;

    for (size_t i = 0; !any && i < listener->client_name_count; i++)
        any = listener->client_names[i].mode == mode;
    return any;
}

bool conf_authenticates_at_once(const struct conf_listener *listener, const char *server_name)
{
    const struct conf_text_list *names = &listener->authenticate_names;
    bool any = false;

    for (size_t i = 0; !any && i < names->count; i++)
        any = strcmp(names->items[i], server_name) == 0 || covers(names->items[i], server_name);
    return any && conf_client_certificate(listener, server_name) == CONF_CLIENT_CERTIFICATE_LATER;
}
