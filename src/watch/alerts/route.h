/* Who hears of what. Each route of the configuration that matches an alert adds its channels; when
 * none does, the channels of the section `alerts` hear of it. An alert that was escalated goes, for
 * each time, to the route that its route names as `then`. */
#pragma once

#include "conf/conf.h"
#include "watch/alerts/alert.h"

#define ROUTE_CHANNELS_MAX 32

struct route_channels {
    const char *names[ROUTE_CHANNELS_MAX]; /* of the configuration */
    size_t count;
};
void route_alert(const struct conf *conf, const struct watch_alert *alert,
                 struct route_channels *ret_channels);
