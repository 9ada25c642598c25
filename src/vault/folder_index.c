#include "vault/folder_index.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "base/string.h"

#define REMOVED   UINT32_MAX
#define SUFFIX    ".pem"
#define WILDCARD  "_wildcard."
#define TABLE_MIN 64

void folder_index_init(struct folder_index *index)
{
    *index = (struct folder_index){0};
    /* Names are asked for by strangers, but only those of files are in the table; a fixed seed
     * would still be a gift. */
    ignore(getrandom(&index->seed, sizeof index->seed, 0));
}

void folder_index_fini(struct folder_index *index)
{
    for (size_t i = 0; i < index->host_count; i++)
        free(index->hosts[i].trouble);
    free(index->texts);
    free(index->entries);
    free(index->table);
    free(index->hosts);
    *index = (struct folder_index){0};
}

bool folder_host_valid(const char *host)
{
    size_t length = strlen(host);
    char before = '.';

    if (length >= 2 && host[0] == '*' && host[1] == '.')
        host += 2;
    if (length == 0 || length >= HOST_MAX || *host == '\0')
        return false;
    for (; *host != '\0'; before = *host++) {
        bool letter = islower((unsigned char)*host) || isdigit((unsigned char)*host) ||
                      *host == '-' || *host == '_';
        if (*host == '.' ? before == '.' : !letter)
            return false;
    }
    return before != '.';
}

bool folder_host_of_file(const char *file, char ret_host[HOST_MAX],
                         enum folder_spelling *ret_spelling)
{
    size_t length = strlen(file);
    bool underscore = string_starts_with(file, WILDCARD);
    size_t skip = underscore ? strlen(WILDCARD) - 1 : 0;

    if (!string_ends_with(file, SUFFIX) || length - strlen(SUFFIX) - skip + 1 >= HOST_MAX)
        return false;
    ignore(snprintf(ret_host, HOST_MAX, "%s%.*s", underscore ? "*" : "",
                    (int)(length - strlen(SUFFIX) - skip), file + skip));
    *ret_spelling = underscore ? SPELLING_UNDERSCORE : SPELLING_PLAIN;
    return folder_host_valid(ret_host);
}

/* ---- the table ---- */

static uint64_t hash(const struct folder_index *index, const char *host)
{
    uint64_t value = string_hash(host) ^ index->seed;

    value *= 0x9e3779b97f4a7c15ull;
    return value ^ (value >> 32);
}

const char *folder_entry_host(const struct folder_index *index, const struct folder_entry *entry)
{
    return index->texts + entry->name + 1;
}

bool folder_entry_removed(const struct folder_entry *entry)
{
    return entry->used == REMOVED;
}

/* The table's place that holds the host, or the free one where it would go. Removed entries keep
 * their place. */
static size_t place_of(const struct folder_index *index, const char *host)
{
    size_t at = hash(index, host) & (index->table_size - 1);

    while (index->table[at] != 0 &&
           strcmp(folder_entry_host(index, &index->entries[index->table[at] - 1]), host) != 0)
        at = (at + 1) & (index->table_size - 1);
    return at;
}

static bool grow_table(struct folder_index *index)
{
    size_t size = index->table_size == 0 ? TABLE_MIN : index->table_size * 2;
    uint32_t *table = calloc(size, sizeof *table);

    if (table == NULL)
        return false;
    free(index->table);
    index->table = table;
    index->table_size = size;
    for (size_t i = 0; i < index->count; i++)
        table[place_of(index, folder_entry_host(index, &index->entries[i]))] = (uint32_t)i + 1;
    return true;
}

/* Room for one more element; doubles. */
static bool grow(void *array, size_t *capacity, size_t needed, size_t element)
{
    void *old, *larger;
    size_t wanted = *capacity == 0 ? 16 : *capacity;

    while (wanted < needed)
        wanted += wanted / 2;
    if (wanted == *capacity)
        return true;
    memcpy(&old, array, sizeof old);
    larger = realloc(old, wanted * element);
    if (larger == NULL)
        return false;
    memcpy(array, &larger, sizeof larger);
    *capacity = wanted;
    return true;
}

struct folder_entry *folder_index_find(const struct folder_index *index, const char *host)
{
    if (index->table_size == 0)
        return NULL;
    uint32_t number = index->table[place_of(index, host)];
    return number == 0 || folder_entry_removed(&index->entries[number - 1])
               ? NULL
               : &index->entries[number - 1];
}

struct folder_entry *folder_index_add(struct folder_index *index, const char *host,
                                      enum folder_spelling spelling)
{
    size_t length = strlen(host) + 1;

    if ((index->count + 1) * 2 > index->table_size && !grow_table(index))
        return NULL;
    size_t place = place_of(index, host);
    if (index->table[place] != 0) {
        struct folder_entry *known = &index->entries[index->table[place] - 1];
        index->files += folder_entry_removed(known);
        known->used = folder_entry_removed(known) ? 0 : known->used;
        index->texts[known->name] = (char)spelling;
        return known;
    }
    if (index->count >= REMOVED - 1 || index->texts_size + length + 1 > UINT32_MAX ||
        !grow(&index->texts, &index->texts_capacity, index->texts_size + length + 1, 1) ||
        !grow(&index->entries, &index->capacity, index->count + 1, sizeof *index->entries))
        return NULL;
    struct folder_entry *entry = &index->entries[index->count++];
    *entry = (struct folder_entry){.name = (uint32_t)index->texts_size};
    index->texts[index->texts_size] = (char)spelling;
    memcpy(index->texts + index->texts_size + 1, host, length);
    index->texts_size += length + 1;
    index->table[place] = (uint32_t)index->count;
    index->files++;
    return entry;
}

void folder_index_remove(struct folder_index *index, const char *host)
{
    struct folder_entry *entry = folder_index_find(index, host);

    if (entry == NULL)
        return;
    struct folder_host *used = folder_entry_used(index, entry);
    if (used != NULL) {
        free(used->trouble);
        *used = (struct folder_host){.next_free = index->free_host};
        index->free_host = entry->used;
    }
    entry->used = REMOVED;
    index->files--;
}

void folder_entry_file(const struct folder_index *index, const struct folder_entry *entry,
                       char ret_file[HOST_MAX + 16])
{
    const char *host = folder_entry_host(index, entry);
    bool underscore = index->texts[entry->name] == SPELLING_UNDERSCORE;

    ignore(snprintf(ret_file, HOST_MAX + 16, "%s%s" SUFFIX, underscore ? "_wildcard" : "",
                    underscore ? host + 1 : host));
}

struct folder_host *folder_entry_used(const struct folder_index *index,
                                      const struct folder_entry *entry)
{
    return entry->used == 0 || folder_entry_removed(entry) ? NULL : &index->hosts[entry->used - 1];
}

struct folder_host *folder_entry_use(struct folder_index *index, struct folder_entry *entry)
{
    struct folder_host *used = folder_entry_used(index, entry);

    if (used != NULL)
        return used;
    if (index->free_host != 0) {
        entry->used = index->free_host;
        index->free_host = index->hosts[entry->used - 1].next_free;
    } else {
        if (!grow(&index->hosts, &index->host_capacity, index->host_count + 1,
                  sizeof *index->hosts))
            return NULL;
        entry->used = (uint32_t)++index->host_count;
    }
    used = &index->hosts[entry->used - 1];
    *used = (struct folder_host){0};
    return used;
}
