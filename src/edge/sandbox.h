/* What a process may still do once it serves: a seccomp filter per kind, on top of the unprivileged user and no_new_privs. */
#pragma once

#include "base/error.h"

enum sandbox_kind { SANDBOX_RELAY, SANDBOX_HANDSHAKER, SANDBOX_CONTROL };

/* Irrevocable. A system call outside the list fails with EPERM; the dangerous ones (execve, ptrace, …) kill the process. */
MUST_CHECK int sandbox_enter(enum sandbox_kind kind, struct error *error);
