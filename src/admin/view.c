#include "admin/view.h"

#include <stdio.h>

#include "base/clock.h"
#include "tls/suite.h"

#define ALIVE_NS (10 * NS_PER_S)

const struct conf_server *view_server(const struct conf *conf, uint32_t upstream, uint32_t server)
{
    return upstream < conf->upstream_count && server < conf->upstreams[upstream].server_count &&
                   conf->upstreams[upstream].servers[server].name != NULL
               ? &conf->upstreams[upstream].servers[server]
               : NULL;
}

const char *view_listener_name(const struct conf *conf, uint32_t listener)
{
    return listener < conf->listener_count ? conf->listeners[listener].name : NULL;
}

const char *view_upstream_name(const struct conf *conf, uint32_t upstream)
{
    return upstream < conf->upstream_count ? conf->upstreams[upstream].name : NULL;
}

const char *view_server_name(const struct conf *conf, uint32_t upstream, uint32_t server)
{
    const struct conf_server *found = view_server(conf, upstream, server);

    return found != NULL ? found->name : NULL;
}

const char *view_certificate_name(const struct conf *conf, uint32_t certificate)
{
    return certificate < conf->certificate_count ? conf->certificates[certificate].name : NULL;
}

enum process_kind view_process_kind(unsigned worker, unsigned *ret_index)
{
    enum process_kind kind = PROCESS_RETIRING_HANDSHAKER;

    while (kind > PROCESS_SUPERVISOR && worker < board_worker_number(kind, 0))
        kind--;
    *ret_index = worker - board_worker_number(kind, 0);
    return kind;
}

bool view_process_alive(const struct board *board, unsigned worker, uint64_t now_ns)
{
    const struct board_process *process = &board->processes[worker];
    uint64_t beat = __atomic_load_n(&process->heartbeat_ns, __ATOMIC_RELAXED);

    return __atomic_load_n(&process->pid, __ATOMIC_RELAXED) != 0 && beat != 0 &&
           now_ns < beat + ALIVE_NS;
}

unsigned view_alive(const struct admin_view *view, enum process_kind kind, uint64_t now_ns)
{
    unsigned alive = 0;

    for (unsigned i = 0; i < view->workers && i < BOARD_WORKERS_MAX; i++)
        alive += view_process_alive(view->board, board_worker_number(kind, i), now_ns);
    return alive;
}

static const char *number_text(uint16_t number, char text[VIEW_NUMBER_MAX])
{
    ignore(snprintf(text, VIEW_NUMBER_MAX, "0x%04x", number));
    return text;
}

const char *view_version_name(uint16_t version, char text[VIEW_NUMBER_MAX])
{
    switch (version) {
    case 0:
        return NULL;
    case TLS_VERSION_1_2:
        return "TLSv1.2";
    case TLS_VERSION_1_3:
        return "TLSv1.3";
    default:
        return number_text(version, text);
    }
}

/* IANA "TLS Supported Groups", those that OpenSSL can choose. */
const char *view_group_name(uint16_t group, char text[VIEW_NUMBER_MAX])
{
    switch (group) {
    case 0:
        return NULL;
    case 0x0017:
        return "P-256";
    case 0x0018:
        return "P-384";
    case 0x0019:
        return "P-521";
    case 0x001d:
        return "X25519";
    case 0x001e:
        return "X448";
    case 0x11ec:
        return "X25519MLKEM768";
    default:
        return number_text(group, text);
    }
}

const char *view_suite_name(uint16_t version, uint16_t suite, char text[VIEW_NUMBER_MAX])
{
    const struct suite *known = suite_find(version, suite);

    if (suite == 0)
        return NULL;
    return known != NULL ? known->name : number_text(suite, text);
}
