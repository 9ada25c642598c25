#include "ipc/memory.h"

#include <fcntl.h>
#include <stddef.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"

#define SEAL_SIZE    (F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL)
#define SEAL_CONTENT (SEAL_SIZE | F_SEAL_WRITE)

static int create(const char *name, size_t size)
{
    int fd = memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING);

    /* A memfd can be opened again through /proc by whoever may open the file. */
    if (fd >= 0 && (fchmod(fd, 0600) != 0 || ftruncate(fd, (off_t)size) != 0)) {
        ignore(close(fd));
        return -1;
    }
    return fd;
}

static int seal_or_close(int fd, int seals)
{
    if (fcntl(fd, F_ADD_SEALS, seals) == 0)
        return fd;
    ignore(close(fd));
    return -1;
}

int memory_create(const char *name, size_t size)
{
    int fd = create(name, size);

    return fd < 0 ? -1 : seal_or_close(fd, SEAL_SIZE);
}

void *memory_map(int fd, size_t size, bool writable)
{
    struct stat facts;

    /* Touching a mapping beyond the file's end is SIGBUS: refuse it here. */
    if (size == 0 || fstat(fd, &facts) != 0 || facts.st_size < 0 || (size_t)facts.st_size < size)
        return NULL;
    void *memory =
        mmap(NULL, size, writable ? PROT_READ | PROT_WRITE : PROT_READ, MAP_SHARED, fd, 0);
    return memory != MAP_FAILED ? memory : NULL;
}

int memory_reopen(int fd)
{
    char path[32];

    ignore(snprintf(path, sizeof path, "/proc/self/fd/%d", fd));
    return open(path, O_RDONLY | O_CLOEXEC);
}

void memory_unmap(void *memory, size_t size)
{
    if (memory != NULL)
        ignore(munmap(memory, size));
}

int memory_document(const char *name, const void *data, size_t size)
{
    int fd = create(name, 0);

    if (fd >= 0 && file_write(fd, data, size) != 0) {
        ignore(close(fd));
        return -1;
    }
    return fd < 0 ? -1 : seal_or_close(fd, SEAL_CONTENT);
}

char *memory_document_read(int fd, size_t maximum, size_t *ret_size)
{
    __attribute__((cleanup(buffer_auto))) struct buffer content;

    buffer_init(&content, maximum);
    return file_read(&content, fd, "it", NULL) == 0 ? buffer_steal(&content, ret_size) : NULL;
}
