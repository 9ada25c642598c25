#include "watch/crl_file.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/buffer.h"

#define READ_SIZE 65536

static int parse(struct crl_file *file, const void *data, size_t size, struct error *error)
{
    static const char mark[] = "-----BEGIN CERTIFICATE-----";
    int result = crl_new_all(file->lists, CRL_FILE_LISTS_MAX, &file->count, data, size, error);

    if (result == 0 && memmem(data, size, mark, sizeof mark - 1) != NULL)
        result = certificate_facts_parse(file->signers, CRL_FILE_SIGNERS_MAX, &file->signer_count,
                                         data, size, error);
    return result;
}

int crl_file_parse(struct crl_file **ret_file, const char *path, const void *data, size_t size,
                   struct error *error)
{
    struct crl_file *file = calloc(1, sizeof *file);

    if (file == NULL || (file->path = strdup(path)) == NULL) {
        free(file);
        return error_set(error, ERROR_MEMORY, "out of memory");
    }
    int result = parse(file, data, size, error);
    if (result != 0) {
        crl_file_free(file);
        return error_prepend(error, "%s", path);
    }
    *ret_file = file;
    return 0;
}

int crl_file_read(struct crl_file **ret_file, const char *path, struct error *error)
{
    FILE *file = fopen(path, "re");
    __attribute__((cleanup(buffer_auto))) struct buffer content;
    size_t size;

    buffer_init(&content, CRL_SIZE_MAX + READ_SIZE);
    if (file == NULL)
        return error_set(error, ERROR_IO, "cannot open %s: %m", path);
    do {
        uint8_t *room = buffer_reserve(&content, READ_SIZE);
        size = room != NULL ? fread(room, 1, READ_SIZE, file) : 0;
        content.size += size;
    } while (size > 0);
    fclose(file);
    return crl_file_parse(ret_file, path, content.data,
                          content.failed ? CRL_SIZE_MAX + 1 : content.size, error);
}

void crl_file_free(struct crl_file *file)
{
    if (file == NULL)
        return;
    for (size_t i = 0; i < file->count; i++)
        crl_unref(file->lists[i]);
    for (size_t i = 0; i < file->signer_count; i++)
        certificate_facts_unref(file->signers[i]);
    free(file->path);
    free(file);
}
