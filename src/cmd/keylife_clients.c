/* `holdfast keylife --clients`: what TLS stacks do by themselves. */
#include "cmd/keylife.h"

#include "admin/client_facts.h"
#include "base/attributes.h"

static void print_one(const struct client_facts *facts)
{
    const char *const lines[][2] = {{"renews its key", facts->renews},
                                    {"gets KeyUpdates", facts->key_updates},
                                    {"is asked to renegotiate", facts->renegotiation},
                                    {"authenticates later", facts->post_handshake_authentication}};

    printf("%s%s%s (%s)\n", facts->family, facts->version[0] != '\0' ? " " : "", facts->version,
           client_evidence_name(facts->evidence));
    for (size_t i = 0; i < ARRAY_SIZE(lines); i++)
        printf("  %-24s %s\n", lines[i][0], lines[i][1]);
    printf("  %-24s %s\n\n", "source", facts->source);
}

static void print_one_json(const struct client_facts *facts)
{
    json_t *object = client_facts_to_json(facts);

    client_print_json(stdout, object);
    json_decref(object);
}

int keylife_clients(bool json)
{
    if (!json)
        printf("What TLS stacks do by themselves, as of " CLIENT_FACTS_AS_OF ".\n\n");
    for (size_t i = 0; i < client_facts_count; i++)
        (json ? print_one_json : print_one)(&client_facts[i]);
    return 0;
}
