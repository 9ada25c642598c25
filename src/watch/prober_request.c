/* The options of a request, on their way from the configuration to the checker. */
#include <stdlib.h>
#include <string.h>

#include "base/buffer.h"
#include "base/json.h"
#include "base/oid.h"
#include "base/pin.h"
#include "watch/prober_process.h"

#define DNS_PORT 53

static void set_list(json_t *object, const char *key, const struct conf_text_list *list)
{
    json_t *array;

    if (list->count == 0)
        return;
    array = json_array();
    for (size_t i = 0; i < list->count; i++)
        ignore(json_array_append_new(array, json_string(list->items[i])));
    ignore(json_object_set_new(object, key, array));
}

/* "192.0.2.1" (the target's port), "192.0.2.1:8443". */
static bool read_address(struct address *ret_address, const char *text)
{
    struct network alone;

    if (text == NULL)
        return false;
    if (strchr(text, '/') == NULL && network_parse(&alone, text, NULL) == 0) {
        address_from_bytes(ret_address, alone.bytes, 0);
        return true;
    }
    return address_parse(ret_address, text, NULL) == 0;
}

/* As c-ares reads them: "192.0.2.1:53,[2001:db8::1]:53". */
static void set_name_servers(json_t *options, const struct conf_text_list *list)
{
    __attribute__((cleanup(buffer_auto))) struct buffer text;
    char one[ADDRESS_TEXT_MAX];
    struct address address;

    buffer_init(&text, CONF_NAME_SERVERS_MAX * sizeof one);
    for (size_t i = 0; i < list->count; i++) {
        if (!read_address(&address, list->items[i]))
            continue; /* the configuration has been checked */
        if (address_port(&address) == 0)
            address_set_port(&address, DNS_PORT);
        ignore(buffer_printf(&text, "%s%s", text.size == 0 ? "" : ",",
                             address_format(one, sizeof one, &address)));
    }
    json_set_text(options, "name_servers", buffer_text(&text));
}

static void set_threshold(json_t *object, const char *key, const struct conf_threshold *threshold)
{
    if (threshold->percent != 0)
        ignore(json_object_set_new(object, key,
                                   json_pack("{s:i}", "percent", (int)threshold->percent)));
    else if (threshold->time != 0)
        ignore(json_object_set_new(
            object, key, json_pack("{s:I}", "seconds", (json_int_t)(threshold->time / 1000))));
}

json_t *prober_request(const struct conf_watch *watch, const char *target, bool origin)
{
    json_t *options = json_object(), *request = json_object();

    json_set_text(options, "name", watch->expected_name);
    set_list(options, "connect", origin ? &watch->origin : &watch->connect);
    set_list(options, "stores", &watch->stores);
    set_list(options, "stores_ignoring_ends", &watch->stores_ignoring_ends);
    set_list(options, "crl", &watch->crl);
    set_list(options, "pins", &watch->pins);
    set_list(options, "require_policy", &watch->require_policy);
    json_set_text(options, "log_list", watch->log_list);
    set_name_servers(options, &watch->name_servers);
    json_set_text(options, "acme_directory", watch->acme_directory);
    json_set_text(options, "vantage",
                  origin                     ? "origin"
                  : watch->origin.count != 0 ? "edge"
                                             : "public");
    json_set_number(options, "timeout_ms", watch->timeout);
    json_set_flag(options, "without_sni", watch->without_sni);
    json_set_flag(options, "deep", watch->deep);
    json_set_flag(options, "ciphers", watch->ciphers);
    json_set_flag(options, "resumption", watch->resumption);
    json_set_flag(options, "renegotiation", watch->renegotiation);
    json_set_flag(options, "browser", watch->browser);
    json_set_flag(options, "no_fetch", watch->no_fetch);
    json_set_flag(options, "require_staple", watch->require_staple);
    json_set_flag(options, "require_hsts", watch->require_hsts);
    set_threshold(options, "warning", &watch->warn_at);
    set_threshold(options, "critical", &watch->critical_at);
    json_set_text(request, "target", target);
    if (json_object_set_new(request, "options", options) != 0) {
        json_decref(request);
        return NULL;
    }
    return request;
}

static void read_threshold(struct threshold *threshold, const json_t *value, bool *wrong)
{
    threshold->share = (double)json_get_number(value, "percent", 0, wrong) / 100;
    threshold->seconds = (int64_t)json_get_number(value, "seconds", 0, wrong);
}

static const char *vantage_of(const char *text)
{
    static const char *const known[] = {"public", "edge", "origin", "loopback"};

    for (size_t i = 0; text != NULL && i < ARRAY_SIZE(known); i++) {
        if (strcmp(text, known[i]) == 0)
            return known[i];
    }
    return NULL;
}

static void read_pins(struct check_policy *policy, const json_t *list, bool *wrong)
{
    size_t count = json_array_size(list);

    *wrong |= count > ARRAY_SIZE(policy->pins);
    for (size_t i = 0; i < count && !*wrong; i++) {
        const char *text = json_string_value(json_array_get(list, i));
        *wrong |= text == NULL || pin_parse(policy->pins[i], text, NULL) != 0;
    }
    policy->pin_count = *wrong ? 0 : count;
}

static void read_policies(struct chain_policies *policies, const json_t *list, bool *wrong)
{
    size_t count = json_array_size(list);

    *wrong |= count > ARRAY_SIZE(policies->accepted);
    for (size_t i = 0; i < count && !*wrong; i++) {
        const char *text = json_string_value(json_array_get(list, i));
        *wrong |= text == NULL || !oid_valid(text);
        policies->accepted[i] = text;
    }
    policies->count = *wrong ? 0 : count;
    policies->required = policies->count != 0;
}

static void read_flags(struct checker_options *checker, const json_t *options, bool *wrong)
{
    const struct {
        const char *key;
        bool *place;
    } flags[] = {{"without_sni", &checker->without_sni},
                 {"deep", &checker->deep},
                 {"ciphers", &checker->ciphers},
                 {"resumption", &checker->resumption},
                 {"renegotiation", &checker->renegotiation},
                 {"browser", &checker->browser},
                 {"require_staple", &checker->policy.require_staple},
                 {"require_hsts", &checker->policy.require_hsts}};

    for (size_t i = 0; i < ARRAY_SIZE(flags); i++)
        *flags[i].place = json_get_flag(options, flags[i].key, wrong);
    checker->fetch_crls = checker->fetch_renewal_information =
        !json_get_flag(options, "no_fetch", wrong);
}

static void read_connect(struct checker_options *checker, const json_t *list, bool *wrong)
{
    size_t count = json_array_size(list);

    if (count > ARRAY_SIZE(checker->connect))
        *wrong = true;
    for (size_t i = 0; i < count && i < ARRAY_SIZE(checker->connect); i++) {
        const char *text = json_string_value(json_array_get(list, i));
        *wrong |= !read_address(&checker->connect[i], text);
    }
    checker->connect_count = *wrong ? 0 : count;
}

int prober_options_read(struct prober_options *ret_options, json_t *options, struct error *error)
{
    struct checker_options checker = {0};
    bool wrong = false;

    checker.name = json_get_text(options, "name", &wrong);
    checker.vantage = vantage_of(json_get_text(options, "vantage", &wrong));
    checker.timeout_ms = (uint32_t)json_get_number(options, "timeout_ms", 10000, &wrong);
    read_flags(&checker, options, &wrong);
    read_threshold(&checker.policy.warning, json_object_get(options, "warning"), &wrong);
    read_threshold(&checker.policy.critical, json_object_get(options, "critical"), &wrong);
    read_connect(&checker, json_object_get(options, "connect"), &wrong);
    read_pins(&checker.policy, json_object_get(options, "pins"), &wrong);
    read_policies(&checker.policy.policies, json_object_get(options, "require_policy"), &wrong);
    checker.name_servers = json_get_text(options, "name_servers", &wrong);
    checker.renewal_directory = json_get_text(options, "acme_directory", &wrong);
    if (wrong)
        return error_set(error, ERROR_USAGE, "found an option of another type than expected");
    ret_options->checker = checker;
    ret_options->source = json_incref(options);
    return 0;
}

void prober_options_free(struct prober_options *options)
{
    json_decref(options->source);
    options->source = NULL;
}
