/* Another configuration in control: certificates, names to resolve, admin sockets, names in what is
 * shown. */
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "admin/control_internal.h"
#include "admin/reload_plan.h"
#include "base/clock.h"

/* ---- admin sockets ---- */

static void listen_admin(struct control *control, const struct address *address, int fd)
{
    struct error error = {.message = "too many addresses"};
    int number = http_listen(control->http, fd, &error);

    if (number < 0 || control->admin_count == HTTP_SOCKETS_MAX)
        worker_warn(&control->worker, "cannot serve HTTP on an address: %s", error.message);
    else
        control->admin[control->admin_count++] =
            (struct admin_socket){.address = *address, .number = number};
}

void control_take_admin(struct control *control, unsigned index, int fd)
{
    const struct conf *conf = control->worker.conf;

    if (control->worker.next_conf != NULL && index < HTTP_SOCKETS_MAX &&
        control->next_admin[index] < 0)
        control->next_admin[index] = fd;
    else if (control->worker.next_conf == NULL && index < conf_http_count(conf))
        listen_admin(control, conf_http_address(conf, index), fd);
    else
        close(fd);
}

static void forget_next_admin(struct control *control)
{
    for (unsigned i = 0; i < HTTP_SOCKETS_MAX; i++) {
        if (control->next_admin[i] >= 0)
            close(control->next_admin[i]);
        control->next_admin[i] = -1;
    }
}

static bool has_address(const struct conf *conf, const struct address *address)
{
    for (size_t i = 0; i < conf_http_count(conf); i++) {
        if (address_equal(conf_http_address(conf, i), address))
            return true;
    }
    return false;
}

static void swap_admin(struct control *control)
{
    const struct conf *conf = control->worker.conf;
    size_t kept = 0;

    for (size_t i = 0; i < control->admin_count; i++) {
        if (has_address(conf, &control->admin[i].address))
            control->admin[kept++] = control->admin[i];
        else
            http_unlisten(control->http, control->admin[i].number);
    }
    control->admin_count = kept;
    for (size_t i = 0; i < conf_http_count(conf) && i < HTTP_SOCKETS_MAX; i++) {
        if (control->next_admin[i] < 0)
            continue;
        listen_admin(control, conf_http_address(conf, i), control->next_admin[i]);
        control->next_admin[i] = -1;
    }
    forget_next_admin(control);
}

/* ---- the swap ---- */

/* What cannot be taken ends the process: its successor begins with the new configuration, and
 * traffic goes on meanwhile. */
static void give_up(struct control *control)
{
    fprintf(stderr, "holdfast: control: out of memory in a reload\n");
    loop_stop(control->worker.loop, 3);
}

static void swap(struct control *control)
{
    const struct conf *next = control->worker.next_conf;
    uint32_t generation = control->worker.next_config.generation;
    json_t *plan = reload_plan(&control->view, next);

    json_decref(control->plan);
    control->plan = plan;
    if ((control->serving && !control_watch_reload(control, next)) ||
        !resolver_reload(&control->resolver, next) ||
        (control->view.vault != NULL && !vault_reload(control->view.vault, next, generation))) {
        give_up(control);
        return;
    }
    struct conf *before = worker_swap_config(&control->worker);
    control->view.conf = next;
    control->feed.config = generation;
    swap_admin(control);
    rejudge_look(&control->rejudge);
    conf_free(before);
    control_tickets_reload(control);
    worker_config_loaded(&control->worker, generation, true);
}

bool control_reload_message(struct control *control, struct message *message)
{
    switch (message->type) {
    case MESSAGE_CONFIG:
        forget_next_admin(control);
        ignore(worker_take_config(&control->worker, message));
        return true;
    case MESSAGE_CONFIG_GO:
        if (control->worker.next_conf != NULL)
            swap(control);
        return true;
    case MESSAGE_CONFIG_SETTLED:
        if (control->view.vault != NULL)
            vault_settled(control->view.vault);
        return true;
    default:
        return false;
    }
}

void control_reload_init(struct control *control)
{
    for (unsigned i = 0; i < HTTP_SOCKETS_MAX; i++)
        control->next_admin[i] = -1;
}

void control_reload_fini(struct control *control)
{
    forget_next_admin(control);
    json_decref(control->plan);
    control->plan = NULL;
}
