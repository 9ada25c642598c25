#include "admin/policy.h"

#include "admin/client_facts.h"
#include "base/json.h"

#define TEXT_MAX 4096

/* ---- as JSON ---- */

static json_t *rule_to_json(const struct policy_rule *rule, const struct conf *conf,
                            const struct conf_listener *listener)
{
    struct policy_text text;
    json_t *object = NULL;

    buffer_init(&text.statement, TEXT_MAX);
    buffer_init(&text.otherwise, TEXT_MAX);
    rule->state(&text, conf, listener);
    if (text.statement.size > 0) {
        object = json_object();
        json_set_text(object, "id", rule->id);
        json_set_text(object, "title", rule->title);
        json_set_text(object, "statement", buffer_text(&text.statement));
        json_set_text(object, "otherwise", buffer_text(&text.otherwise));
    }
    buffer_fini(&text.statement);
    buffer_fini(&text.otherwise);
    return object;
}

static json_t *listener_to_json(const struct conf *conf, const struct conf_listener *listener)
{
    json_t *object = json_object(), *addresses = json_array(), *rules = json_array();
    char address[ADDRESS_TEXT_MAX];

    for (size_t i = 0; i < listener->bind.count; i++)
        ignore(json_array_append_new(
            addresses,
            json_name(address_format(address, sizeof address, &listener->bind.items[i]))));
    for (size_t i = 0; i < policy_rule_count; i++) {
        json_t *rule = rule_to_json(&policy_rules[i], conf, listener);
        if (rule != NULL)
            ignore(json_array_append_new(rules, rule));
    }
    json_set_text(object, "listener", listener->name);
    ignore(json_object_set_new(object, "addresses", addresses));
    json_set_text(object, "mode",
                  listener->mode == CONF_MODE_PASS_THROUGH ? "pass-through" : "tcp");
    ignore(json_object_set_new(object, "rules", rules));
    return object;
}

json_t *policy_to_json(const struct conf *conf)
{
    json_t *object = json_object(), *listeners = json_array(), *clients = json_array();

    for (size_t i = 0; i < conf->listener_count; i++) {
        if (conf_listener_in_force(&conf->listeners[i]))
            ignore(json_array_append_new(listeners, listener_to_json(conf, &conf->listeners[i])));
    }
    for (size_t i = 0; i < client_facts_count; i++)
        ignore(json_array_append_new(clients, client_facts_to_json(&client_facts[i])));
    json_set_text(object, "config", conf->path);
    ignore(json_object_set_new(object, "listeners", listeners));
    ignore(json_object_set_new(object, "clients", clients));
    json_set_text(object, "clients_as_of", CLIENT_FACTS_AS_OF);
    return object;
}

/* ---- as Markdown ---- */

static void write_listener(struct buffer *output, const json_t *listener)
{
    const json_t *rules = json_object_get(listener, "rules");
    const json_t *addresses = json_object_get(listener, "addresses");

    ignore(buffer_printf(output, "\n## Listener %s\n\nAt", json_text(listener, "listener")));
    for (size_t i = 0; i < json_array_size(addresses); i++)
        ignore(buffer_printf(output, "%s `%s`", i == 0 ? "" : ",",
                             json_string_value(json_array_get(addresses, i))));
    ignore(buffer_printf(output, ", mode %s.\n\n| rule | what holds | otherwise |\n|---|---|---|\n",
                         json_text(listener, "mode")));
    for (size_t i = 0; i < json_array_size(rules); i++) {
        const json_t *rule = json_array_get(rules, i);
        ignore(buffer_printf(output, "| %s (`%s`) | %s | %s |\n", json_text(rule, "title"),
                             json_text(rule, "id"), json_text(rule, "statement"),
                             json_text(rule, "otherwise")));
    }
}

static void write_clients(struct buffer *output, const json_t *policy)
{
    const json_t *clients = json_object_get(policy, "clients");

    ignore(
        buffer_printf(output,
                      "\n## Known limitations of clients\n\nAs of %s.\n\n| family | renews its "
                      "own key | gets KeyUpdates | is asked to renegotiate (TLS 1.2) | "
                      "authenticates after the handshake | source |\n|---|---|---|---|---|---|\n",
                      json_text(policy, "clients_as_of")));
    for (size_t i = 0; i < json_array_size(clients); i++) {
        const json_t *client = json_array_get(clients, i);
        const char *version = json_text(client, "version");
        ignore(buffer_printf(output, "| %s%s%s | %s | %s | %s | %s | %s: %s |\n",
                             json_text(client, "family"), version[0] != '\0' ? " " : "", version,
                             json_text(client, "renews"), json_text(client, "key_updates"),
                             json_text(client, "renegotiation"),
                             json_text(client, "post_handshake_authentication"),
                             json_text(client, "evidence"), json_text(client, "source")));
    }
}

void policy_to_markdown(const json_t *policy, struct buffer *output)
{
    const json_t *listeners = json_object_get(policy, "listeners");

    ignore(buffer_printf(output, "# TLS policy\n\nStated by holdfast %s from %s.\n",
                         HOLDFAST_VERSION, json_text(policy, "config")));
    for (size_t i = 0; i < json_array_size(listeners); i++)
        write_listener(output, json_array_get(listeners, i));
    write_clients(output, policy);
}
