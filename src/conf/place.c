#include "conf/place.h"

#include <stdlib.h>
#include <string.h>

void place_fresh(struct conf *conf)
{
    uint32_t number = 0;

    for (uint32_t i = 0; i < conf->listener_count; i++)
        conf->listeners[i].place = i;
    for (uint32_t i = 0; i < conf->upstream_count; i++) {
        conf->upstreams[i].place = i;
        for (uint32_t j = 0; j < conf->upstreams[i].server_count; j++) {
            conf->upstreams[i].servers[j].place = j;
            conf->upstreams[i].servers[j].number = number++;
        }
    }
    for (uint32_t i = 0; i < conf->certificate_count; i++)
        conf->certificates[i].place = i;
    conf->listener_places = (uint32_t)conf->listener_count;
    conf->upstream_places = (uint32_t)conf->upstream_count;
    conf->certificate_places = (uint32_t)conf->certificate_count;
    conf->server_numbers = number;
}

/* ---- one array ---- */

/* An array of structs that each hold their place at the same offset. */
struct row {
    unsigned char *items;
    size_t count, size, offset;
    uint32_t places; /* its new length */
};

static uint32_t place_of(const struct row *row, size_t index)
{
    uint32_t place;

    memcpy(&place, row->items + index * row->size + row->offset, sizeof place);
    return place;
}

/* The arranged copy of the array; the old one is freed. NULL: as place_arrange() says. */
static void *arrange(struct row *row, struct error *error)
{
    unsigned char *arranged = calloc((size_t)row->places + 1, row->size);
    bool *taken = calloc((size_t)row->places + 1, sizeof *taken);
    bool good = arranged != NULL && taken != NULL;

    if (!good)
        ignore(error_set(error, ERROR_MEMORY, "out of memory"));
    for (size_t i = 0; good && i < row->count; i++) {
        uint32_t place = place_of(row, i);
        good = place < row->places && !taken[place];
        if (!good) {
            ignore(error_set(error, ERROR_INTERNAL, "place %u of %u is taken", place, row->places));
            break;
        }
        taken[place] = true;
        memcpy(arranged + place * row->size, row->items + i * row->size, row->size);
    }
    free(taken);
    if (!good) {
        free(arranged);
        return NULL;
    }
    free(row->items);
    return arranged;
}

/* ---- references ---- */

static void follow(struct conf *conf)
{
    for (size_t i = 0; i < conf->listener_count; i++) {
        struct conf_listener *listener = &conf->listeners[i];
        for (size_t j = 0; j < listener->certificate_count; j++)
            listener->certificates[j] = conf->certificates[listener->certificates[j]].place;
        if (listener->upstream != CONF_NONE)
            listener->upstream = conf->upstreams[listener->upstream].place;
        for (size_t j = 0; j < listener->route_count; j++)
            listener->routes[j].upstream = conf->upstreams[listener->routes[j].upstream].place;
    }
}

static int arrange_servers(struct conf_upstream *upstream, struct error *error)
{
    struct row row = {.items = (void *)upstream->servers,
                      .count = upstream->server_count,
                      .size = sizeof *upstream->servers,
                      .offset = offsetof(struct conf_server, place),
                      .places = upstream->server_places};
    struct conf_server *servers = arrange(&row, error);

    if (servers == NULL)
        return -(int)error->code;
    upstream->servers = servers;
    upstream->server_count = upstream->server_places;
    return 0;
}

int place_arrange(struct conf *conf, struct error *error)
{
    struct row listeners = {(void *)conf->listeners, conf->listener_count, sizeof *conf->listeners,
                            offsetof(struct conf_listener, place), conf->listener_places};
    struct row upstreams = {(void *)conf->upstreams, conf->upstream_count, sizeof *conf->upstreams,
                            offsetof(struct conf_upstream, place), conf->upstream_places};
    struct row certificates = {(void *)conf->certificates, conf->certificate_count,
                               sizeof *conf->certificates, offsetof(struct conf_certificate, place),
                               conf->certificate_places};
    void *arranged;

    follow(conf);
    for (size_t i = 0; i < conf->upstream_count; i++) {
        int code = arrange_servers(&conf->upstreams[i], error);
        if (code != 0)
            return code;
    }
    if ((arranged = arrange(&listeners, error)) == NULL)
        return -(int)error->code;
    conf->listeners = arranged;
    conf->listener_count = conf->listener_places;
    if ((arranged = arrange(&upstreams, error)) == NULL)
        return -(int)error->code;
    conf->upstreams = arranged;
    conf->upstream_count = conf->upstream_places;
    if ((arranged = arrange(&certificates, error)) == NULL)
        return -(int)error->code;
    conf->certificates = arranged;
    conf->certificate_count = conf->certificate_places;
    return 0;
}
