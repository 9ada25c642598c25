#include "watch/alerts/route.h"

#include <string.h>

static bool listed(const struct conf_text_list *list, const char *text)
{
    for (size_t i = 0; i < list->count; i++) {
        if (strcmp(list->items[i], text) == 0)
            return true;
    }
    return list->count == 0;
}

static bool matches(const struct conf_alert_route *route, const struct watch_alert *alert)
{
    return listed(&route->watches, alert->watch) && listed(&route->owners, alert->owner) &&
           listed(&route->services, alert->service) &&
           (!route->critical_only || alert->severity == SEVERITY_CRITICAL) &&
           !route->escalation_only;
}

static void add(struct route_channels *channels, const struct conf_text_list *names)
{
    for (size_t i = 0; i < names->count; i++) {
        size_t at = 0;
        while (at < channels->count && strcmp(channels->names[at], names->items[i]) != 0)
            at++;
        if (at == channels->count && at < ROUTE_CHANNELS_MAX)
            channels->names[channels->count++] = names->items[i];
    }
}

void route_alert(const struct conf *conf, const struct watch_alert *alert,
                 struct route_channels *ret_channels)
{
    bool routed = false;

    *ret_channels = (struct route_channels){.count = 0};
    for (size_t i = 0; i < conf->alert_route_count; i++) {
        const struct conf_alert_route *route = &conf->alert_routes[i];
        if (!matches(route, alert))
            continue;
        routed = true;
        add(ret_channels, &route->channels);
        for (unsigned level = 0; level < alert->level && route->then != NULL; level++) {
            route = &conf->alert_routes[conf_find_alert_route(conf, route->then)];
            add(ret_channels, &route->channels);
        }
    }
    if (!routed)
        add(ret_channels, &conf->alerts.channels);
}
