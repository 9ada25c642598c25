/* What a process may still do once it serves: a list of system calls per kind (seccomp), on top of
 * the unprivileged user and no_new_privs. Control has none: it forks for name resolution and uses
 * libraries with wide needs; it holds no session keys. */
#pragma once

#include "base/error.h"

enum sandbox_kind { SANDBOX_RELAY, SANDBOX_HANDSHAKER };

/* Irrevocable. Any other system call fails with EPERM from then on. */
MUST_CHECK int sandbox_enter(enum sandbox_kind kind, struct error *error);
