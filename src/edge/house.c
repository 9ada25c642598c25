#include "edge/house.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "ipc/memory.h"

static void forget_descriptors(struct house *house)
{
    for (size_t i = 0; i < HOUSE_DESCRIPTORS_MAX; i++)
        house->descriptors[i] = -1;
    for (size_t i = 0; i < CONF_ADDRESSES_MAX; i++)
        house->listening[i].fd = house->admin[i].fd = -1;
    for (size_t i = 0; i < BOARD_WORKERS_MAX; i++)
        house->arenas[i] = (struct house_arena){-1, -1, -1, -1, -1};
    memset(house->pairs, 0xff, sizeof house->pairs);
    memset(house->handshaker_control, 0xff, sizeof house->handshaker_control);
    memset(house->relay_control, 0xff, sizeof house->relay_control);
    for (size_t i = 0; i < BOARD_PROCESSES; i++) {
        for (size_t j = 0; j < LIFE_COUNT; j++)
            house->processes[i].lives[j].channel = -1;
    }
}

struct house *house_new(int *ret_fd)
{
    int fd = memory_create("holdfast-house", HOUSE_ROOM);
    struct house *house = fd < 0 ? NULL : memory_map(fd, sizeof *house, true);

    if (house == NULL) {
        if (fd >= 0)
            ignore(close(fd));
        return NULL;
    }
    house->version = HOUSE_VERSION;
    house->size = sizeof *house;
    house->arena_version = ARENA_VERSION;
    house->board_version = BOARD_VERSION;
    house->messages_version = MESSAGES_VERSION;
    house->config_generation = house->binary_generation = house->highest_binary = 1;
    forget_descriptors(house);
    *ret_fd = fd;
    return house;
}

_Static_assert(sizeof(struct house) <= HOUSE_ROOM, "the house fits its mapping");

static bool sensible(const struct house *house)
{
    return house->workers <= BOARD_WORKERS_MAX && house->listening_count <= CONF_ADDRESSES_MAX &&
           house->admin_count <= CONF_ADDRESSES_MAX &&
           memchr(house->config_path, 0, sizeof house->config_path) != NULL;
}

int house_copy(const struct house *house)
{
    return memory_document("holdfast-house-copy", house, sizeof *house);
}

struct house *house_map(int fd, bool writable, struct error *error)
{
    struct house *house = memory_map(fd, sizeof *house, writable);

    if (house == NULL) {
        ignore(error_set(error, ERROR_INTERNAL, "descriptor %d holds no state of a supervisor: %s",
                         fd, strerror(errno)));
        return NULL;
    }
    if (house->version != HOUSE_VERSION) {
        ignore(error_set(error, ERROR_INTERNAL,
                         "the running supervisor's state is of version %u, this program reads %u",
                         house->version, HOUSE_VERSION));
        memory_unmap(house, sizeof *house);
        return NULL;
    }
    if (sensible(house))
        return house;
    ignore(error_set(error, ERROR_INTERNAL, "the running supervisor's state makes no sense"));
    memory_unmap(house, sizeof *house);
    return NULL;
}

struct house_session *house_sessions_map(const struct house *house, unsigned relay)
{
    return memory_map(house->arenas[relay].sessions,
                      house->slot_capacity * sizeof(struct house_session), true);
}

/* ---- through an execution ---- */

static void keep(int fd, bool wanted)
{
    if (fd >= 0)
        ignore(fcntl(fd, F_SETFD, wanted ? 0 : FD_CLOEXEC));
}

static void keep_sessions(const struct house *house, unsigned relay, bool wanted)
{
    struct house_session *sessions = house_sessions_map(house, relay);

    for (uint32_t i = 0; sessions != NULL && i < house->slot_capacity; i++) {
        if (sessions[i].serial == 0)
            continue;
        keep(sessions[i].fds[0], wanted);
        keep(sessions[i].fds[1], wanted);
    }
    memory_unmap(sessions, house->slot_capacity * sizeof *sessions);
}

void house_keep_descriptors(const struct house *house, int house_fd, bool wanted)
{
    keep(house_fd, wanted);
    for (size_t i = 0; i < HOUSE_DESCRIPTORS_MAX; i++)
        keep(house->descriptors[i], wanted);
    for (size_t i = 0; i < house->listening_count; i++)
        keep(house->listening[i].fd, wanted);
    for (size_t i = 0; i < house->admin_count; i++)
        keep(house->admin[i].fd, wanted);
    for (unsigned i = 0; i < house->workers; i++) {
        const struct house_arena *arena = &house->arenas[i];
        const int32_t fds[] = {arena->watches,
                               arena->metadata,
                               arena->secrets,
                               arena->blocks,
                               arena->sessions,
                               house->handshaker_control[i][0],
                               house->handshaker_control[i][1],
                               house->relay_control[i][0],
                               house->relay_control[i][1]};
        for (size_t j = 0; j < ARRAY_SIZE(fds); j++)
            keep(fds[j], wanted);
        keep_sessions(house, i, wanted);
    }
    for (size_t i = 0; i < (size_t)house->workers * house->workers; i++) {
        keep(house->pairs[i][0], wanted);
        keep(house->pairs[i][1], wanted);
    }
    for (size_t i = 0; i < BOARD_PROCESSES; i++) {
        for (size_t j = 0; j < LIFE_COUNT; j++)
            keep(house->processes[i].lives[j].channel, wanted);
    }
}
