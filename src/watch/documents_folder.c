#include "watch/documents_folder.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/string.h"
#include "tls/revocation.h"

#define ENDING        ".crl"
#define KEPT_S        (30 * 86400)
#define PATH_SIZE     4096
#define FILE_SIZE_MAX (CRL_SIZE_MAX + 4096)

static void path_of(char path[PATH_SIZE], const char *folder, const char *key)
{
    ignore(snprintf(path, PATH_SIZE, "%s/%016llx" ENDING, folder,
                    (unsigned long long)string_hash(key)));
}

void documents_folder_write(const char *folder, const char *key, const uint8_t *data, size_t size)
{
    char path[PATH_SIZE], other[PATH_SIZE + 8];

    path_of(path, folder, key);
    snprintf(other, sizeof other, "%s.new", path);
    int fd = open(other, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd < 0)
        return;
    FILE *file = fdopen(fd, "w");
    if (file == NULL) {
        close(fd);
        return;
    }
    bool is_written = fprintf(file, "%s\n", key) > 0 && fwrite(data, 1, size, file) == size;
    is_written = fclose(file) == 0 && is_written;
    if (!is_written || rename(other, path) != 0)
        unlink(other);
}

static uint8_t *read_whole(const char *path, size_t *ret_size)
{
    struct stat facts;
    FILE *file = fopen(path, "re");
    uint8_t *data = NULL;

    if (file == NULL)
        return NULL;
    if (fstat(fileno(file), &facts) == 0 && S_ISREG(facts.st_mode) && facts.st_size > 0 &&
        facts.st_size <= FILE_SIZE_MAX && (data = malloc((size_t)facts.st_size)) != NULL)
        *ret_size = fread(data, 1, (size_t)facts.st_size, file);
    fclose(file);
    return data;
}

bool documents_folder_read(const char *folder, const char *key, uint8_t **ret_data,
                           size_t *ret_size)
{
    char path[PATH_SIZE];
    size_t size = 0, begin = strlen(key) + 1;

    path_of(path, folder, key);
    uint8_t *data = read_whole(path, &size);
    if (data == NULL || size <= begin || memcmp(data, key, begin - 1) != 0 ||
        data[begin - 1] != '\n') {
        free(data);
        return false;
    }
    memmove(data, data + begin, size - begin);
    *ret_data = data;
    *ret_size = size - begin;
    return true;
}

void documents_folder_remove(const char *folder, const char *key)
{
    char path[PATH_SIZE];

    path_of(path, folder, key);
    unlink(path);
}

void documents_folder_tidy(const char *folder)
{
    DIR *listing = opendir(folder);
    struct stat facts;

    if (listing == NULL)
        return;
    for (const struct dirent *one; (one = readdir(listing)) != NULL;) {
        if ((string_ends_with(one->d_name, ENDING) ||
             string_ends_with(one->d_name, ENDING ".new")) &&
            fstatat(dirfd(listing), one->d_name, &facts, AT_SYMLINK_NOFOLLOW) == 0 &&
            facts.st_mtime < time(NULL) - KEPT_S)
            unlinkat(dirfd(listing), one->d_name, 0);
    }
    closedir(listing);
}
