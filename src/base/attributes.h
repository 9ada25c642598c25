/* Compiler attributes under short names. */
#pragma once

#include <stddef.h>

/* The result of a fallible function must be looked at; ignore() marks the rare deliberate
 * exception. */
#define MUST_CHECK        __attribute__((warn_unused_result))
#define PRINTF_LIKE(f, a) __attribute__((format(printf, f, a)))
#define NORETURN          __attribute__((noreturn))

/* AUTO(type) name = …: an owned local; `type##_auto(type *)` runs at the end of the scope. */
#define AUTO(type) __attribute__((cleanup(type##_auto))) type

#define ARRAY_SIZE(a) (sizeof(a) / sizeof((a)[0]))

/* Discards a result on purpose (gcc keeps warning about a plain void cast). */
static inline void ignore(long result)
{
    (void)result;
}
