#include "net/names_message.h"

#include <ares.h>
#include <stdlib.h>
#include <string.h>

#include "base/string.h"

#define HEADER_SIZE   12
#define RECORDS_MAX   256 /* of a message; more are not looked at */
#define ALIASES_MAX   8
#define RCODE_MASK    0x0f
#define AUTHENTICATED 0x20 /* AD, in the fourth byte (RFC 4035 §3.2.3) */

struct message {
    const uint8_t *data;
    size_t size;
    size_t records; /* where the answer section begins */
    unsigned record_count;
};

struct record {
    char owner[256];
    unsigned type;
    size_t data, data_size; /* in the message */
};

static unsigned read_16(const uint8_t *data)
{
    return (unsigned)data[0] << 8 | data[1];
}

/* A name at `at`, lower case, "" for the root; returns the bytes it takes there, 0 when it cannot
 * be read. */
static size_t read_name(const struct message *message, size_t at, char ret_name[256])
{
    char *text = NULL;
    long taken = 0;

    if (at >= message->size || ares_expand_name(message->data + at, message->data,
                                                (int)message->size, &text, &taken) != ARES_SUCCESS)
        return 0;
    bool whole = string_copy(ret_name, 256, text);
    ares_free_string(text);
    string_lower(ret_name);
    return whole && taken > 0 ? (size_t)taken : 0;
}

/* The record at *at, which moves behind it. */
static bool read_record(const struct message *message, size_t *at, struct record *ret_record)
{
    size_t taken = read_name(message, *at, ret_record->owner);

    if (taken == 0 || message->size - *at < taken + 10)
        return false;
    const uint8_t *fixed = message->data + *at + taken;
    ret_record->type = read_16(fixed);
    ret_record->data_size = read_16(fixed + 8);
    ret_record->data = *at + taken + 10;
    if (ret_record->data_size > message->size - ret_record->data || read_16(fixed + 2) != 1)
        return false;
    *at = ret_record->data + ret_record->data_size;
    return true;
}

static bool open_message(struct message *message, const uint8_t *data, size_t size)
{
    char name[256];

    *message = (struct message){.data = data, .size = size, .records = HEADER_SIZE};
    if (size < HEADER_SIZE || size > UINT16_MAX || (data[2] & 0x80) == 0)
        return false;
    message->record_count = read_16(data + 6);
    if (message->record_count > RECORDS_MAX)
        message->record_count = RECORDS_MAX;
    for (unsigned questions = read_16(data + 4); questions > 0; questions--) {
        size_t taken = read_name(message, message->records, name);
        if (taken == 0 || size - message->records < taken + 4)
            return false;
        message->records += taken + 4;
    }
    return true;
}

/* Follows the aliases of `name` in place. False: the message cannot be read. */
static bool follow_aliases(const struct message *message, char name[256])
{
    for (unsigned step = 0; step < ALIASES_MAX; step++) {
        bool found = false;
        size_t at = message->records;
        for (unsigned i = 0; i < message->record_count && !found; i++) {
            struct record record;
            if (!read_record(message, &at, &record))
                return false;
            found = record.type == NAMES_TYPE_CNAME && strcmp(record.owner, name) == 0;
            if (found && read_name(message, record.data, name) != record.data_size)
                return false;
        }
        if (!found)
            return true;
    }
    return true;
}

static bool take_mx(struct names_mx *mx, const struct message *message, const struct record *record)
{
    if (record->data_size < 3)
        return false;
    mx->preference = (uint16_t)read_16(message->data + record->data);
    return read_name(message, record->data + 2, mx->host) == record->data_size - 2;
}

/* The strings of the record, one behind the other (RFC 7208 §3.3 and others). */
static bool take_text(char text[512], const struct message *message, const struct record *record)
{
    uint8_t joined[512];
    size_t used = 0;
    const uint8_t *data = message->data + record->data;

    for (size_t at = 0; at < record->data_size; at += 1u + data[at]) {
        size_t length = data[at];
        if (length > record->data_size - at - 1)
            return false;
        size_t room = sizeof joined - used;
        memcpy(joined + used, data + at + 1, length < room ? length : room);
        used += length < room ? length : room;
    }
    string_printable(text, 512, joined, used);
    return true;
}

static bool take_tlsa(struct names_tlsa *tlsa, const struct message *message,
                      const struct record *record)
{
    const uint8_t *data = message->data + record->data;

    if (record->data_size < 4)
        return false;
    tlsa->usage = data[0];
    tlsa->selector = data[1];
    tlsa->matching = data[2];
    tlsa->size = (uint16_t)(record->data_size - 3);
    memcpy(tlsa->data, data + 3, tlsa->size < sizeof tlsa->data ? tlsa->size : sizeof tlsa->data);
    return true;
}

static bool take_record(struct names_answer *answer, const struct message *message,
                        const struct record *record, enum names_type type)
{
    switch (type) {
    case NAMES_TYPE_MX:
        return take_mx(&answer->mx[answer->count], message, record);
    case NAMES_TYPE_TXT:
        return take_text(answer->texts[answer->count], message, record);
    case NAMES_TYPE_TLSA:
        return take_tlsa(&answer->tlsa[answer->count], message, record);
    case NAMES_TYPE_CNAME:
        return read_name(message, record->data, answer->names[answer->count]) > 0;
    }
    return false;
}

static bool collect(struct names_answer *answer, enum names_type type,
                    const struct message *message, const char *name)
{
    size_t at = message->records;

    for (unsigned i = 0; i < message->record_count && answer->count < NAMES_ANSWERS_MAX; i++) {
        struct record record;
        if (!read_record(message, &at, &record))
            return false;
        if (record.type != type || strcmp(record.owner, name) != 0)
            continue;
        if (!take_record(answer, message, &record, type))
            return false;
        answer->count++;
    }
    return true;
}

static int by_preference(const void *a, const void *b)
{
    const struct names_mx *left = a, *right = b;
    int difference = (int)left->preference - (int)right->preference;

    return difference != 0 ? difference : strcmp(left->host, right->host);
}

static void conclude(struct names_answer *answer, enum names_outcome outcome, const char *reason)
{
    answer->outcome = outcome;
    answer->reason = reason;
}

void names_message_parse(struct names_answer *answer, enum names_type type, const char *name,
                         const uint8_t *data, size_t size)
{
    struct message message;
    char owner[256];

    memset(answer, 0, sizeof *answer);
    bool whole = string_copy(owner, sizeof owner, name);
    string_lower(owner);
    if (whole && string_ends_with(owner, "."))
        owner[strlen(owner) - 1] = '\0';
    if (!whole || !open_message(&message, data, size) || !follow_aliases(&message, owner) ||
        !collect(answer, type, &message, owner)) {
        answer->count = 0;
        conclude(answer, NAMES_FAILED, "the name server's answer cannot be read");
        return;
    }
    answer->authenticated = (data[3] & AUTHENTICATED) != 0;
    unsigned code = data[3] & RCODE_MASK;
    if (code != 0 && code != 3)
        conclude(answer, NAMES_FAILED, "the name server failed or refused to answer");
    else if (answer->count > 0)
        conclude(answer, NAMES_FOUND, NULL);
    else if (code == 3)
        conclude(answer, NAMES_UNKNOWN, "there is no such name in the DNS");
    else
        conclude(answer, NAMES_NONE, "the name has no such record");
    if (type == NAMES_TYPE_MX)
        qsort(answer->mx, answer->count, sizeof answer->mx[0], by_preference);
}
