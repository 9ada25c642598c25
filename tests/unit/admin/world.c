#include "world.h"

#include <stdlib.h>
#include <string.h>

static const char text[] =
    "state-folder = \"/var/lib/holdfast\"\n"
    "listener shop { bind = {\"127.0.0.1:443\", \"[::1]:443\"} certificates = {c, d} upstream = "
    "app }\n"
    "listener mail { bind = \"127.0.0.1:993\" certificates = d upstream = mail }\n"
    "upstream app { servers = {\"10.0.0.5:8080\", \"10.0.0.6:8080 weight=3\"} }\n"
    "upstream mail { servers = {\"unix:/run/mail.sock\", \"localhost:993\"} }\n"
    "certificate c { from = internal names = localhost }\n"
    "certificate d { from = internal names = localhost }\n";

struct world world;

int world_set_up(void **state)
{
    struct error error = {.code = ERROR_NONE};
    (void)state;

    memset(&world, 0, sizeof world);
    if (conf_parse(&world.conf, "test.conf", text, NULL, NULL, &error) != 0)
        fail_msg("%s", error.message);
    world.board = calloc(1, sizeof *world.board);
    world.events = aligned_alloc(64, events_size());
    memset(world.events, 0, events_size());
    events_init(world.events);
    world.view = (struct admin_view){
        .conf = world.conf, .board = world.board, .slot_capacity = WORLD_SLOTS, .workers = 2};
    for (unsigned i = 0; i < 2; i++) {
        size_t size = arena_metadata_size(WORLD_SLOTS);
        void *metadata = aligned_alloc(4096, (size + 4095) & ~(size_t)4095);
        memset(metadata, 0, size);
        assert_true(
            arena_attach(&world.view.arenas[i], metadata, size, NULL, NULL, WORLD_SLOTS, 64));
    }
    return 0;
}

int world_tear_down(void **state)
{
    (void)state;
    for (unsigned i = 0; i < 2; i++)
        free(world.view.arenas[i].header);
    conf_free(world.conf);
    free(world.board);
    free(world.events);
    return 0;
}

struct slot *world_session(unsigned relay, uint32_t index, uint64_t serial)
{
    struct arena *arena = &world.view.arenas[relay];
    struct slot *slot = &arena->slots[index];
    static const uint8_t client[16] = {
        [10] = 0xff, [11] = 0xff, [12] = 192, [13] = 0, [14] = 2, [15] = 7};

    slot->serial = serial;
    slot->state = SESSION_OPEN;
    slot->accepted_ns = WORLD_NOW - 60 * 1000000000ull;
    slot->active_s = WORLD_NOW / 1000000000ull - 5;
    slot->generation.certificate_version = 3;
    slot->generation.config = 1;
    memcpy(slot->client_address, client, sizeof client);
    slot->client_port = 4242;
    slot->group = 0x001d;
    slot->hot[0].client.version = 0x0304;
    slot->hot[0].client.suite = 0x1301;
    slot->hot[0].flows[FLOW_UP].read_position = 1000;
    slot->hot[0].flows[FLOW_DOWN].write_position = 2000;
    strcpy(slot->server_name, "www.shop.example");
    if (arena->header->high_water <= index)
        arena->header->high_water = index + 1;
    return slot;
}
