#include "edge/rehearsal.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/fault.h"
#include "base/secret.h"
#include "edge/house.h"
#include "ipc/memory.h"

enum { FD_ANSWER, FD_HOUSE, FD_CONFIG, FD_ARENA };

static int check_versions(const struct house *house, struct error *error)
{
    static const struct {
        const char *what;
        size_t offset;
        uint32_t ours;
    } versions[] = {
        {"sessions", offsetof(struct house, arena_version), ARENA_VERSION},
        {"the board", offsetof(struct house, board_version), BOARD_VERSION},
        {"messages", offsetof(struct house, messages_version), MESSAGES_VERSION},
    };

    for (size_t i = 0; i < ARRAY_SIZE(versions); i++) {
        uint32_t theirs;
        memcpy(&theirs, (const uint8_t *)house + versions[i].offset, sizeof theirs);
        if (theirs != versions[i].ours || fault_point("version"))
            return error_set(error, ERROR_INTERNAL,
                             "%s of the running daemon are of version %u, this program's of %u: it "
                             "takes a restart",
                             versions[i].what, theirs, versions[i].ours);
    }
    return 0;
}

static int check_arena(const struct house *house, int fd, struct error *error)
{
    size_t size = arena_metadata_size(house->slot_capacity);
    void *metadata = memory_map(fd, size, false);
    struct arena arena;

    if (metadata == NULL || !arena_attach(&arena, metadata, size, NULL, NULL, 0, 0) ||
        arena.header->capacity != house->slot_capacity)
        return error_set(error, ERROR_INTERNAL, "cannot read the sessions of the running daemon");
    for (uint32_t i = 0; i < house->slot_capacity && i < arena.header->high_water; i++) {
        if (arena.slots[i].state >= SESSION_STATE_COUNT)
            return error_set(error, ERROR_INTERNAL, "a session is in a state unknown here");
    }
    return 0;
}

static int check_config(const struct house *house, int fd, struct error *error)
{
    struct conf *conf = NULL;
    size_t size;
    char *text = memory_document_read(fd, CONF_TEXT_MAX, &size);

    if (text == NULL)
        return error_set(error, ERROR_IO, "cannot read the configuration in force");
    int result = conf_parse_internal(&conf, house->config_path, text, error);
    free(text);
    conf_free(conf);
    return result;
}

int rehearsal_main(int first_fd)
{
    struct error error = {0};
    struct house *house;

    secret_harden_process();
    ignore(fault_point("rehearsal"));
    house = house_map(first_fd + FD_HOUSE, false, &error);
    int result = house == NULL ? -(int)error.code : check_versions(house, &error);
    if (result == 0 && house->workers != 0)
        result = check_arena(house, first_fd + FD_ARENA, &error);
    if (result == 0)
        result = check_config(house, first_fd + FD_CONFIG, &error);
    if (dprintf(first_fd + FD_ANSWER, "%s\n", result == 0 ? "ok" : error.message) < 0)
        return 3;
    return result == 0 ? 0 : error_exit_code(&error);
}
