#include "watch/prober_client_internal.h"

#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/json.h"
#include "base/string.h"
#include "watch/prober_talk.h"
#include "watch/supply.h"

#define KEPT_MAX_S (400 * 86400)

/* ---- contents of files ---- */

static void content_drop(struct prober_client *client, const char *key)
{
    struct content *content = map_remove(&client->contents, key);

    if (content == NULL)
        return;
    client->untold -= !content->told;
    free(content->data);
    free(content);
}

bool prober_client_supply(struct prober_client *client, const char *key, uint8_t *data, size_t size,
                          const char *trouble)
{
    struct content *content = calloc(1, sizeof *content);

    content_drop(client, key);
    if (content == NULL || !map_put(&client->contents, key, content)) {
        free(content);
        free(data);
        return false;
    }
    content->data = data;
    content->size = size;
    if (trouble != NULL)
        ignore(string_copy(content->trouble, sizeof content->trouble, trouble));
    client->untold++;
    if (client->pid != 0)
        timer_set(client->loop, &client->turn, loop_now(client->loop));
    return true;
}

void prober_client_withdraw(struct prober_client *client, const char *key)
{
    content_drop(client, key);
    if (client->pid != 0)
        ignore(prober_talk_say(&client->output, json_pack("{s:s}", "forget", key), NULL, 0));
}

/* One at a time, so that no more than one of them stands in the buffer. */
static void tell_next(struct prober_client *client)
{
    const struct map_entry *entry;

    for (size_t at = 0; (entry = map_next(&client->contents, &at)) != NULL;) {
        struct content *content = entry->value;
        if (content->told)
            continue;
        json_t *line = json_pack("{s:s}", "supply", entry->key);
        json_set_text(line, "error", content->trouble);
        content->told = true;
        client->untold--;
        if (!prober_talk_say(&client->output, line, content->data, content->size))
            client_tell(client, "there is no memory to pass a file on to the process that probes");
        return;
    }
}

void client_free_contents(struct prober_client *client)
{
    const struct map_entry *entry;

    for (size_t at = 0; (entry = map_next(&client->contents, &at)) != NULL;) {
        free(((struct content *)entry->value)->data);
        free(entry->value);
    }
    map_fini(&client->contents);
}

void client_tell_contents_again(struct prober_client *client)
{
    const struct map_entry *entry;

    for (size_t at = 0; (entry = map_next(&client->contents, &at)) != NULL;)
        ((struct content *)entry->value)->told = false;
    client->untold = client->contents.count;
}

void client_tell_contents(struct prober_client *client)
{
    client_flush(client);
    while (client->untold != 0 && client->output.size == 0) {
        tell_next(client);
        client_flush(client);
    }
}

/* ---- what it fetched ---- */

void prober_client_recalled(struct prober_client *client, const char *key,
                            const struct document_copy *copy)
{
    if (client->pid == 0)
        return;
    if (copy != NULL && client->output.size + copy->size > SUPPLY_BYTES_MAX)
        copy = NULL; /* room is left for lines: it is fetched anew */
    json_t *line = json_pack("{s:s}", "recalled", key);
    if (copy != NULL) {
        json_set_number(line, "fetched_at", (uint64_t)copy->fetched_at);
        if (copy->retry_after_s >= 0)
            json_set_number(line, "retry_after", (uint64_t)copy->retry_after_s);
    }
    if (prober_talk_say(&client->output, line, copy == NULL ? NULL : copy->body,
                        copy == NULL ? 0 : copy->size))
        return;
    if (copy != NULL) {
        prober_client_recalled(client, key, NULL);
    } else {
        client_tell(client, "the process that probes hears nothing: it is replaced");
        ignore(kill(client->pid, SIGKILL));
    }
}

/* By our clock: of what is said, only the end is believed, and only so far. */
static void keep(struct prober_client *client, const char *key, const json_t *line,
                 const uint8_t *bytes, size_t size)
{
    bool wrong = false;
    int64_t now = time(NULL), until = (int64_t)json_get_number(line, "until", 0, &wrong);
    uint64_t retry_after = json_get_number(line, "retry_after", UINT64_MAX, &wrong);
    const struct document_copy copy = {.body = bytes,
                                       .size = size,
                                       .fetched_at = now,
                                       .retry_after_s =
                                           retry_after > KEPT_MAX_S ? -1 : (int64_t)retry_after};

    if (!wrong && until > now)
        client->host.keep(client->host.context, key, &copy,
                          until - now > KEPT_MAX_S ? now + KEPT_MAX_S : until);
}

int client_take_document(struct prober_client *client, const json_t *line, const uint8_t *bytes,
                         size_t size)
{
    static const char *const words[] = {"keep", "drop", "recall"};
    const char *key = NULL;
    size_t at = 0;

    while (at < ARRAY_SIZE(words) &&
           (key = json_string_value(json_object_get(line, words[at]))) == NULL)
        at++;
    if (key == NULL)
        return 0;
    if (client->host.keep == NULL || strlen(key) > DOCUMENT_KEY_MAX ||
        !client_text_printable(key, strlen(key)) || (bytes != NULL) != (at == 0))
        return -1;
    if (at == 0)
        keep(client, key, line, bytes, size);
    else if (at == 1)
        client->host.drop(client->host.context, key);
    else
        client->host.recall(client->host.context, key);
    return 1;
}
