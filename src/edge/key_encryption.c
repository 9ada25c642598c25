#include "edge/key_encryption.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <string.h>
#include <unistd.h>

#include "base/secret.h"
#include "base/string.h"
#include "tls/ticket_file.h"

int key_encryption_check(const struct conf *conf, uid_t user, struct error *error)
{
    char path[PATH_MAX];

    if (conf->key_encryption_key == NULL)
        return 0;
    int result = conf_key_encryption_path(path, sizeof path, conf, error);
    if (result < 0)
        return result;
    int fd = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC | O_NOCTTY);
    if (fd < 0)
        return error_set(error, ERROR_IO, "key-encryption-key: cannot open %s: %s", path,
                         strerror(errno));
    uint8_t *kek = secret_alloc(KEY_ENCRYPTION_SIZE);
    if (kek == NULL)
        result = error_set(error, ERROR_MEMORY, "out of memory");
    else
        result = key_encryption_read(kek, fd, path, user,
                                     string_starts_with(conf->key_encryption_key, CONF_CREDENTIAL),
                                     error);
    secret_free(kek, KEY_ENCRYPTION_SIZE);
    ignore(close(fd));
    return result;
}
