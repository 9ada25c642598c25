/* Memory for secrets: locked, left out of core dumps and of forked children, wiped when freed. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/attributes.h"

/* Whole pages of zeroed secret memory, or NULL. Locking that the system refuses (RLIMIT_MEMLOCK) is
 * not fatal here: secret_unlocked() counts the bytes that could not be locked so that the daemon
 * can say it once. */
void *secret_alloc(size_t size);
void secret_free(void *memory, size_t size);
size_t secret_unlocked(void);

/* Applies the same protection to an existing mapping (shared arenas). Returns false when it could
 * not be locked. */
bool secret_protect(void *memory, size_t size);

/* Not optimised away. */
void secret_wipe(void *memory, size_t size);

/* Constant time. */
bool secret_equal(const void *a, const void *b, size_t size);

/* Makes this process undumpable and without core files (PR_SET_DUMPABLE 0, RLIMIT_CORE 0). */
void secret_harden_process(void);
