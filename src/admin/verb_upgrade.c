/* upgrade, upgrade-status: another binary in place of the running one. Control itself is replaced
 * on the way, so the first verb only begins; who asked follows by the second, whose answer stands
 * on the board. */
#include <string.h>

#include "admin/control_internal.h"
#include "base/json.h"
#include "base/string.h"

static const char *stage_name(uint32_t stage)
{
    static const char *const names[] = {
        [UPGRADE_NONE] = "none",
        [UPGRADE_REHEARSING] = "rehearsing",
        [UPGRADE_REHEARSED] = "rehearsed",
        [UPGRADE_SUCCEEDING] = "succeeding",
        [UPGRADE_DONE] = "done",
        [UPGRADE_REFUSED] = "refused",
        [UPGRADE_ROLLED_BACK] = "rolled-back",
    };

    return stage < ARRAY_SIZE(names) ? names[stage] : "unknown";
}

static bool under_way(uint32_t stage)
{
    return stage == UPGRADE_REHEARSING || stage == UPGRADE_SUCCEEDING;
}

static int upgrade_begin(struct control_request *request, const json_t *object, struct error *error)
{
    struct control *control = request->context;
    struct board_upgrade *board = &control->view.board->upgrade;
    struct message_upgrade body = {.serial = board->serial + 1};
    bool wrong = false;
    const char *path = json_get_text(object, "path", &wrong);

    body.rehearse_only = json_get_flag(object, "dry_run", &wrong);
    if (wrong || (path != NULL && !string_copy(body.path, sizeof body.path, path)))
        return error_set(error, ERROR_USAGE,
                         "\"path\" is a text of up to %d bytes, \"dry_run\" is "
                         "true or false",
                         MESSAGE_PATH_MAX - 1);
    if (under_way(__atomic_load_n(&board->stage, __ATOMIC_ACQUIRE)))
        return error_set(error, ERROR_BUSY, "an upgrade is under way; wait until it has ended");
    if (!worker_tell(&control->worker, MESSAGE_UPGRADE, &body, sizeof body, NULL, 0))
        return error_set(error, ERROR_BUSY, "the supervisor cannot be reached just now; try again");
    json_t *line = json_object();
    json_set_number(line, "upgrade", body.serial);
    ignore(request_write(request, line));
    return 0;
}

const struct control_verb verb_upgrade = {.name = "upgrade", .begin = upgrade_begin};

static int status_begin(struct control_request *request, const json_t *object, struct error *error)
{
    struct control *control = request->context;
    const struct board *board = control->view.board;
    const struct board_upgrade *upgrade = &board->upgrade;
    char detail[sizeof upgrade->detail];
    json_t *line = json_object();
    (void)object, (void)error;

    uint32_t serial = __atomic_load_n(&upgrade->serial, __ATOMIC_ACQUIRE); /* first */
    uint32_t stage = __atomic_load_n(&upgrade->stage, __ATOMIC_ACQUIRE);
    memcpy(detail, upgrade->detail, sizeof detail);
    detail[sizeof detail - 1] = '\0';
    json_set_number(line, "upgrade", serial);
    json_set_text(line, "stage", stage_name(stage));
    json_set_flag(line, "under_way", under_way(stage));
    json_set_text(line, "detail", detail);
    json_set_text(line, "version", HOLDFAST_VERSION);
    json_set_number(line, "binary_generation",
                    __atomic_load_n(&board->binary_generation, __ATOMIC_RELAXED));
    ignore(request_write(request, line));
    return 0;
}

const struct control_verb verb_upgrade_status = {.name = "upgrade-status", .begin = status_begin};
