/* holdfast check over a fleet: who still has a property, who is configured differently. */
#include <stdio.h>
#include <string.h>

#include "admin/control_client.h"
#include "base/json.h"
#include "cmd/check.h"
#include "watch/comparison.h"
#include "watch/report_words.h"

/* ---- --campaign ---- */

struct tally {
    size_t targets, unseen, matching;
    json_t *places;
};

static void add_place(struct tally *tally, const json_t *endpoint, const json_t *certificate)
{
    static const char *const keys[] = {"target", "address", "key_type"};
    json_t *place = json_object();

    for (size_t i = 0; i < ARRAY_SIZE(keys); i++)
        json_set_text(place, keys[i], json_text(endpoint, keys[i]));
    if (certificate != NULL) {
        json_set_text(place, "certificate", json_text(certificate, "sha256"));
        json_set_text(place, "certificate_name", report_certificate_name(certificate));
        json_set_text(place, "role", json_text(certificate, "role"));
    }
    ignore(json_array_append_new(tally->places, place));
}

static void count_target(struct tally *tally, const struct campaign *campaign,
                         const json_t *endpoints, size_t begin, size_t end)
{
    bool matching = false, seen = false;

    for (size_t i = begin; i < end; i++) {
        const json_t *endpoint = json_array_get(endpoints, i), *certificate;
        seen = seen || json_array_size(json_object_get(endpoint, "certificates")) > 0;
        if (!campaign_matches(campaign, endpoint, &certificate))
            continue;
        matching = true;
        add_place(tally, endpoint, certificate);
    }
    tally->targets++;
    tally->matching += matching;
    tally->unseen += !seen && !matching;
}

static void print_places(const struct tally *tally)
{
    for (size_t i = 0; i < json_array_size(tally->places); i++) {
        const json_t *place = json_array_get(tally->places, i);
        const char *name = json_text(place, "certificate_name");
        printf("  %s  %s  %s", json_text(place, "target"), json_text(place, "address"),
               json_text(place, "key_type"));
        if (name[0] != '\0')
            printf("  %s %s", json_text(place, "role"), name);
        putchar('\n');
    }
}

int check_campaign(const struct check_order *order, const json_t *endpoints)
{
    struct tally tally = {.places = json_array()};
    size_t end;

    for (size_t begin = 0; begin < json_array_size(endpoints); begin = end) {
        end = report_target_end(endpoints, begin);
        count_target(&tally, &order->campaign, endpoints, begin, end);
    }
    if (order->json) {
        json_t *object =
            json_pack("{s:s,s:I,s:I,s:I,s:O}", "campaign", order->campaign_text, "targets",
                      (json_int_t)tally.targets, "matching", (json_int_t)tally.matching, "unseen",
                      (json_int_t)tally.unseen, "places", tally.places);
        client_print_json(stdout, object);
        json_decref(object);
    } else {
        printf("%s: %zu of %zu targets", order->campaign_text, tally.matching, tally.targets);
        if (tally.unseen > 0)
            printf("; of %zu nothing was seen", tally.unseen);
        putchar('\n');
        print_places(&tally);
    }
    json_decref(tally.places);
    return tally.matching > 0 ? 1 : tally.unseen > 0 ? 3 : 0;
}

/* ---- --compare ---- */

static void print_targets(const json_t *targets)
{
    for (size_t i = 0; i < json_array_size(targets); i++)
        printf("  %s\n", json_string_value(json_array_get(targets, i)));
}

static void print_usual(json_t *group)
{
    size_t count = json_array_size(json_object_get(group, "targets"));
    const char *key;
    json_t *value;

    printf(count == 1 ? "%zu target is configured like this:\n"
                      : "%zu targets are configured alike:\n",
           count);
    print_targets(json_object_get(group, "targets"));
    json_object_foreach(json_object_get(group, "configuration"), key, value)
        printf("      %-28s %s\n", key, json_string_value(value));
}

static const char *or_nothing(const char *text)
{
    return text[0] != '\0' ? text : "none";
}

static void print_odd(const json_t *group)
{
    const json_t *differences = json_object_get(group, "differences");

    puts("\nwhat is different here:");
    print_targets(json_object_get(group, "targets"));
    for (size_t i = 0; i < json_array_size(differences); i++) {
        const json_t *difference = json_array_get(differences, i);
        printf("      %-28s %s instead of %s\n", json_text(difference, "what"),
               or_nothing(json_text(difference, "here")),
               or_nothing(json_text(difference, "there")));
    }
}

int check_compare(const struct check_order *order, const json_t *endpoints)
{
    AUTO(json_t_pointer) groups = comparison_of(endpoints);
    size_t count = json_array_size(groups);

    for (size_t i = 0; i < count; i++) {
        if (order->json)
            client_print_json(stdout, json_array_get(groups, i));
        else if (i == 0)
            print_usual(json_array_get(groups, i));
        else
            print_odd(json_array_get(groups, i));
    }
    return count > 1 ? 1 : count == 0 ? 3 : 0;
}
