#include "base/secret.h"

#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <unistd.h>

static size_t unlocked;

static size_t whole_pages(size_t size)
{
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    return (size + page - 1) & ~(page - 1);
}

static bool lock(void *memory, size_t size)
{
    if (mlock2(memory, size, MLOCK_ONFAULT) == 0) /* pages are locked as they come into use */
        return true;
    unlocked += size;
    return false;
}

void *secret_alloc(size_t size)
{
    size_t pages = whole_pages(size);

    if (size == 0 || pages < size)
        return NULL;
    void *memory = mmap(NULL, pages, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED)
        return NULL;
    ignore(lock(memory, pages));
    ignore(madvise(memory, pages, MADV_DONTDUMP));
    ignore(madvise(memory, pages, MADV_WIPEONFORK));
    return memory;
}

void secret_free(void *memory, size_t size)
{
    if (memory == NULL)
        return;
    secret_wipe(memory, size);
    ignore(munmap(memory, whole_pages(size)));
}

size_t secret_unlocked(void)
{
    return unlocked;
}

bool secret_protect(void *memory, size_t size)
{
    ignore(madvise(memory, size, MADV_DONTDUMP));
    /* A shared mapping cannot be wiped in the child (it is the same memory): the child does not get
     * it at all. */
    ignore(madvise(memory, size, MADV_DONTFORK));
    return lock(memory, size);
}

void secret_wipe(void *memory, size_t size)
{
    explicit_bzero(memory, size);
}

bool secret_equal(const void *a, const void *b, size_t size)
{
    const volatile uint8_t *left = a;
    const volatile uint8_t *right = b;
    uint8_t difference = 0;

    for (size_t i = 0; i < size; i++)
        difference |= (uint8_t)(left[i] ^ right[i]);
    return difference == 0;
}

void secret_harden_process(void)
{
    const struct rlimit no_core = {0, 0};

    ignore(prctl(PR_SET_DUMPABLE, 0, 0, 0, 0));
    ignore(setrlimit(RLIMIT_CORE, &no_core));
}
