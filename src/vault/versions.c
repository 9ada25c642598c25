#include "vault/versions.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/string.h"
#include "vault/store.h"

#define FOLDER           "versions"
#define JOURNAL_LINE_MAX 512

static bool type_parse(enum key_type *ret_type, const char *name)
{
    for (enum key_type type = 0; type < KEY_TYPE_COUNT; type++) {
        if (strcmp(name, key_type_name(type)) == 0) {
            *ret_type = type;
            return true;
        }
    }
    return false;
}

static void line_read(struct versions *versions, const char *text, versions_line_fn *line,
                      void *context)
{
    char type_name[16], hex[72], host[256], end;
    uint8_t fingerprint[32];
    enum key_type type;
    uint32_t version;

    if (sscanf(text, "%u %15s %71s %255s%c", &version, type_name, hex, host, &end) != 5 ||
        end != '\n' || version == 0 || !type_parse(&type, type_name) ||
        !string_unhex(fingerprint, sizeof fingerprint, hex) || hex[64] != '\0')
        return;
    if (version > versions->last)
        versions->last = version;
    line(context, version, type, fingerprint, strcmp(host, "-") == 0 ? "" : host);
}

static void journal_read(struct versions *versions, FILE *journal, versions_line_fn *line,
                         void *context)
{
    char text[JOURNAL_LINE_MAX];

    while (fgets(text, sizeof text, journal) != NULL) {
        versions->torn = strchr(text, '\n') == NULL;
        line_read(versions, text, line, context);
    }
}

int versions_open(struct versions *versions, int state_folder, const char *name,
                  versions_line_fn *line, void *context, struct error *error)
{
    int directory;

    *versions = (struct versions){.fd = -1};
    int result = store_folder(&directory, state_folder, FOLDER, NULL, error);
    if (result != 0)
        return result;
    int fd = openat(directory, name,
                    O_RDWR | O_CREAT | O_APPEND | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC, 0600);
    int reason = errno;
    close(directory);
    if (fd < 0)
        return error_set(error, ERROR_IO, "cannot open the journal of versions: %s",
                         strerror(reason));
    int copy = fcntl(fd, F_DUPFD_CLOEXEC, 3);
    FILE *journal = copy >= 0 ? fdopen(copy, "r") : NULL;
    if (journal == NULL) {
        if (copy >= 0)
            close(copy);
        close(fd);
        return error_set(error, ERROR_MEMORY, "cannot read the journal of versions");
    }
    journal_read(versions, journal, line, context);
    fclose(journal);
    versions->fd = fd;
    return 0;
}

void versions_fini(struct versions *versions)
{
    if (versions->fd >= 0)
        close(versions->fd);
    versions->fd = -1;
}

bool versions_line(struct buffer *lines, uint32_t version, enum key_type type,
                   const uint8_t fingerprint[32], const char *host)
{
    char hex[65];

    string_hex(hex, fingerprint, 32);
    return buffer_printf(lines, "%u %s %s %s\n", version, key_type_name(type), hex,
                         host[0] != '\0' ? host : "-");
}

int versions_note(struct versions *versions, uint32_t version, enum key_type type,
                  const uint8_t fingerprint[32], const char *host, struct error *error)
{
    char text[JOURNAL_LINE_MAX], hex[65];

    if (version > versions->last)
        versions->last = version;
    if (versions->fd < 0)
        return error_set(error, ERROR_IO, "version %u will not be remembered: there is no journal",
                         version);
    string_hex(hex, fingerprint, 32);
    int size = snprintf(text, sizeof text, "%s%u %s %s %s\n", versions->torn ? "\n" : "", version,
                        key_type_name(type), hex, host[0] != '\0' ? host : "-");
    ssize_t sent = write(versions->fd, text, (size_t)size);
    versions->torn = sent != size;
    if (versions->torn || fdatasync(versions->fd) != 0)
        return error_set(error, ERROR_IO, "version %u will not be remembered: %s", version,
                         sent >= 0 && versions->torn ? "no room" : strerror(errno));
    return 0;
}

int versions_replace(struct versions *versions, int state_folder, const char *name,
                     const struct buffer *lines, struct error *error)
{
    int directory;
    int result = store_folder(&directory, state_folder, FOLDER, NULL, error);

    if (result != 0)
        return result;
    result = store_write(directory, name, lines->data, lines->size, error);
    int fd = result == 0 ? openat(directory, name, O_RDWR | O_APPEND | O_NOFOLLOW | O_CLOEXEC) : -1;
    close(directory);
    if (result != 0)
        return result;
    versions_fini(versions);
    versions->fd = fd; /* -1: later notes will say so */
    versions->torn = false;
    return 0;
}
