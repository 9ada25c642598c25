/* Sections `channel`, `alert-route` and `maintenance`: who is told of what, how, and when not. */
#include "conf/schema.h"

#include <stdlib.h>
#include <string.h>

#include "base/string.h"
#include "conf/list.h"
#include "conf/window.h"

#define SECOND 1000ull
#define MINUTE (60 * SECOND)

#define NAMES_MAX   64
#define ADDRESS_MAX 254 /* RFC 5321 */

/* ---- channels = {"mail", "chat"}, then = "manager" ---- */

static int known_name(struct schema_reader *reader, const struct schema_option *option,
                      const struct schema_value *value, const char *kind,
                      uint32_t (*find)(const struct conf *conf, const char *name), char **ret_name)
{
    char *name = strdup(value->text);

    if (name == NULL)
        return schema_fail_memory(reader);
    string_lower(name);
    if (find(reader->conf, name) == CONF_NONE) {
        free(name);
        return schema_fail_value(reader, option, value,
                                 "the name of a section: %s NAME { ... } is missing", kind);
    }
    *ret_name = name;
    return 0;
}

static int channels_read(struct schema_reader *reader, const struct schema_option *option,
                         const struct schema_value *value, void *field)
{
    struct conf_text_list *list = field;
    char *name = NULL;

    if (list->count == NAMES_MAX)
        return schema_fail_value(reader, option, value, "at most %d channels", NAMES_MAX);
    int code = known_name(reader, option, value, "channel", conf_find_channel, &name);
    if (code != 0)
        return code;
    char **item = list_append(&list->items, &list->count, sizeof *item);
    if (item == NULL) {
        free(name);
        return schema_fail_memory(reader);
    }
    *item = name;
    return 0;
}

const struct schema_type schema_channels = {
    .list = true, .read = channels_read, .show = schema_list_show, .free = schema_list_free};

static int route_read(struct schema_reader *reader, const struct schema_option *option,
                      const struct schema_value *value, void *field)
{
    return known_name(reader, option, value, "alert-route", conf_find_alert_route, field);
}

static const struct schema_type route_type = {
    .read = route_read, .show = schema_text_show, .free = schema_text_free};

/* ---- to = {"ops@example.org"} ---- */

static bool mail_address(const char *text)
{
    const char *at = strchr(text, '@');

    if (at == NULL || at == text || at[1] == '\0' || strchr(at + 1, '@') != NULL ||
        strlen(text) > ADDRESS_MAX)
        return false;
    for (; *text != '\0'; text++) {
        if (*text <= ' ' || *text >= 0x7f || strchr("<>,;:\"()[]\\", *text) != NULL)
            return false;
    }
    return true;
}

static int mail_fail(struct schema_reader *reader, const struct schema_option *option,
                     const struct schema_value *value)
{
    return schema_fail_value(reader, option, value, "a mail address such as ops@example.org");
}

static int mails_read(struct schema_reader *reader, const struct schema_option *option,
                      const struct schema_value *value, void *field)
{
    return mail_address(value->text) ? schema_text_list.read(reader, option, value, field)
                                     : mail_fail(reader, option, value);
}

static int mail_read(struct schema_reader *reader, const struct schema_option *option,
                     const struct schema_value *value, void *field)
{
    return mail_address(value->text) ? schema_text.read(reader, option, value, field)
                                     : mail_fail(reader, option, value);
}

static const struct schema_type mails_type = {
    .list = true, .read = mails_read, .show = schema_list_show, .free = schema_list_free};
static const struct schema_type mail_type = {
    .read = mail_read, .show = schema_text_show, .free = schema_text_free};

/* ---- url ---- */

static int url_read(struct schema_reader *reader, const struct schema_option *option,
                    const struct schema_value *value, void *field)
{
    static const char *const schemes[] = {"https://", "http://", "smtp://", "smtps://"};

    for (size_t i = 0; i < ARRAY_SIZE(schemes); i++) {
        const char *rest = value->text + strlen(schemes[i]);
        if (string_starts_with(value->text, schemes[i]) && *rest != '\0' &&
            strpbrk(rest, " \t\r\n\"<>") == NULL)
            return schema_text.read(reader, option, value, field);
    }
    return schema_fail_value(reader, option, value,
                             "a URL: https://HOST/PATH, http://…, smtp://HOST:587 or "
                             "smtps://HOST");
}

const struct schema_type schema_url = {
    .read = url_read, .show = schema_text_show, .free = schema_text_free};

/* ---- channel ---- */

#define OPTION(option, kind, member)                                                               \
    .name = (option), .type = &(kind), .offset = offsetof(struct conf_channel, member)

static const struct schema_word channel_words[] = {{"mail", CONF_CHANNEL_MAIL},
                                                   {"telegram", CONF_CHANNEL_TELEGRAM},
                                                   {"webhook", CONF_CHANNEL_WEBHOOK},
                                                   {"exec", CONF_CHANNEL_EXEC},
                                                   {NULL, 0}};

static const struct schema_option channel_options[] = {
    {OPTION("type", schema_choice, type), .words = channel_words},
    {OPTION("url", schema_url, url)},
    {OPTION("from", mail_type, from)},
    {OPTION("to", mails_type, to)},
    {OPTION("user", schema_text, user)},
    {OPTION("starttls", schema_boolean, starttls), .fallback = "yes"},
    {OPTION("chat", schema_text, chat)},
    {OPTION("secret-file", schema_path, secret_file)},
    {OPTION("trust", schema_path, trust)},
    {OPTION("command", schema_text_list, command)},
    {OPTION("timeout", schema_duration_32, timeout), .fallback = "30s", .minimum = SECOND,
     .maximum = 10 * MINUTE},
    {.name = NULL},
};

static bool option_fits(const struct conf_channel *channel, const char *name)
{
    static const struct {
        const char *name;
        unsigned types; /* bits */
    } fits[] = {{"from", 1u << CONF_CHANNEL_MAIL},     {"to", 1u << CONF_CHANNEL_MAIL},
                {"user", 1u << CONF_CHANNEL_MAIL},     {"starttls", 1u << CONF_CHANNEL_MAIL},
                {"chat", 1u << CONF_CHANNEL_TELEGRAM}, {"command", 1u << CONF_CHANNEL_EXEC},
                {"url", ~(1u << CONF_CHANNEL_EXEC)},   {"secret-file", ~(1u << CONF_CHANNEL_EXEC)},
                {"trust", ~(1u << CONF_CHANNEL_EXEC)}};

    for (size_t i = 0; i < ARRAY_SIZE(fits); i++) {
        if (strcmp(fits[i].name, name) == 0)
            return (fits[i].types & 1u << channel->type) != 0;
    }
    return true;
}

static const char *channel_refuses(const void *object, const struct schema_option *option)
{
    return option_fits(object, option->name)
               ? NULL
               : "found it in a channel of another type; expected it only where it means something";
}

static int channel_complete(struct schema_reader *reader, void *object)
{
    struct conf_channel *channel = object;

    if (channel->type == CONF_CHANNEL_TELEGRAM && channel->url == NULL &&
        (channel->url = strdup("https://api.telegram.org")) == NULL)
        return schema_fail_memory(reader);
    return 0;
}

/* What is missing, or NULL. */
static const char *channel_lacks(const struct conf_channel *channel)
{
    bool mail_url = channel->url != NULL && string_starts_with(channel->url, "smtp");

    switch (channel->type) {
    case CONF_CHANNEL_MAIL:
        if (!mail_url)
            return "url = \"smtp://mail.example.org:587\" or smtps://";
        if (channel->from == NULL)
            return "from = \"holdfast@example.org\"";
        if (channel->user != NULL && channel->secret_file == NULL)
            return "secret-file = the file with the user's password";
        return channel->to.count == 0 ? "to = {\"ops@example.org\"}" : NULL;
    case CONF_CHANNEL_TELEGRAM:
        if (channel->chat == NULL)
            return "chat = \"-100…\", the chat's id";
        return channel->secret_file == NULL ? "secret-file = the file with the bot's token" : NULL;
    case CONF_CHANNEL_WEBHOOK:
        return channel->url == NULL || mail_url ? "url = \"https://hook.example.org/alerts\""
                                                : NULL;
    case CONF_CHANNEL_EXEC:
        break;
    }
    return channel->command.count == 0 || channel->command.items[0][0] != '/'
               ? "command = {\"/absolute/path\", \"argument\"}"
               : NULL;
}

static int channel_check(struct schema_reader *reader, void *object)
{
    const struct conf_channel *channel = object;
    const char *lacks = channel_lacks(channel);

    if (schema_given(reader, "type") == 0)
        lacks = "type = mail, telegram, webhook or exec";
    if (lacks != NULL)
        return schema_fail(reader, reader->line, "channel '%s': expected %s in it", channel->name,
                           lacks);
    if (channel->command.count > CONF_CHANNEL_COMMAND_MAX)
        return schema_fail(reader, schema_line(reader, "command", 0),
                           "command in channel '%s': found %zu words; expected at most %d",
                           channel->name, channel->command.count, CONF_CHANNEL_COMMAND_MAX);
    if (channel->type == CONF_CHANNEL_MAIL && channel->user != NULL && !channel->starttls &&
        string_starts_with(channel->url, "smtp://"))
        schema_warn(reader, schema_line(reader, "starttls", 0),
                    "channel '%s' sends the password without TLS", channel->name);
    return 0;
}

const struct schema_section schema_channel = {.kind = "channel",
                                              .titled = true,
                                              .options = channel_options,
                                              .complete = channel_complete,
                                              .refuses = channel_refuses,
                                              .check = channel_check};

/* ---- alert-route ---- */

#undef OPTION
#define OPTION(option, kind, member)                                                               \
    .name = (option), .type = &(kind), .offset = offsetof(struct conf_alert_route, member)

static const struct schema_option alert_route_options[] = {
    {OPTION("watches", schema_text_list, watches)},
    {OPTION("owners", schema_text_list, owners)},
    {OPTION("services", schema_text_list, services)},
    {OPTION("critical-only", schema_boolean, critical_only), .fallback = "no"},
    {OPTION("escalation-only", schema_boolean, escalation_only), .fallback = "no"},
    {OPTION("channels", schema_channels, channels)},
    {OPTION("then", route_type, then)},
    {.name = NULL},
};

static int route_check(struct schema_reader *reader, void *object)
{
    const struct conf_alert_route *route = object;

    for (size_t i = 0; i < route->watches.count; i++) {
        string_lower(route->watches.items[i]);
        if (conf_find_watch(reader->conf, route->watches.items[i]) == CONF_NONE)
            return schema_fail(reader, schema_line(reader, "watches", i),
                               "watches in alert-route '%s': there is no watch '%s'", route->name,
                               route->watches.items[i]);
    }
    if (route->channels.count == 0)
        return schema_fail(reader, reader->line,
                           "alert-route '%s' leads nowhere; expected channels = {\"NAME\"} in it",
                           route->name);
    return 0;
}

const struct schema_section schema_alert_route = {
    .kind = "alert-route", .titled = true, .options = alert_route_options, .check = route_check};

/* ---- maintenance ---- */

static int windows_read(struct schema_reader *reader, const struct schema_option *option,
                        const struct schema_value *value, void *field)
{
    struct conf_window window;

    if (!conf_window_parse(&window, value->text))
        return schema_fail_value(reader, option, value, "%s", CONF_WINDOW_EXPECTED);
    return schema_text_list.read(reader, option, value, field);
}

static const struct schema_type windows_type = {
    .list = true, .read = windows_read, .show = schema_list_show, .free = schema_list_free};

#undef OPTION
#define OPTION(option, kind, member)                                                               \
    .name = (option), .type = &(kind), .offset = offsetof(struct conf_maintenance, member)

static const struct schema_option maintenance_options[] = {
    {OPTION("when", windows_type, when)},
    {OPTION("targets", schema_text_list, targets)},
    {.name = NULL},
};

static int maintenance_check(struct schema_reader *reader, void *object)
{
    const struct conf_maintenance *maintenance = object;

    return maintenance->when.count > 0
               ? 0
               : schema_fail(reader, reader->line,
                             "maintenance '%s' is never; expected when = {...} in it: %s",
                             maintenance->name, CONF_WINDOW_EXPECTED);
}

const struct schema_section schema_maintenance = {.kind = "maintenance",
                                                  .titled = true,
                                                  .options = maintenance_options,
                                                  .check = maintenance_check};
