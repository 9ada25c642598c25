/* What a process may still do once it serves: a list of system calls per kind (seccomp), on top of
 * the unprivileged user and no_new_privs. Control has none: it forks for name resolution and uses
 * libraries with wide needs; it holds no session keys. Its child that probes has one
 * (watch/prober_process.h). */
#pragma once

#include <sys/socket.h>

#include "base/error.h"

/* A prober connects anywhere, reads files, and starts threads (libraries do), not processes. */
enum sandbox_kind { SANDBOX_RELAY, SANDBOX_HANDSHAKER, SANDBOX_PROBER };

/* A handshaker may take a socket back with connect() to AF_UNSPEC, but connect none: the kernel
 * takes an address of this size, the family alone, for nothing else. */
#define SANDBOX_CONNECT_SIZE sizeof(sa_family_t)

/* Irrevocable. Any other system call fails with EPERM from then on. */
MUST_CHECK int sandbox_enter(enum sandbox_kind kind, struct error *error);
