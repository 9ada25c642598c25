"""Nobody waits for what has happened already: wake-ups, credits and messages that were lost on the way."""

import contextlib
import os
import resource
import signal
import socket
import ssl
import subprocess

import pytest

import clients
from daemon import wait_until
from test_admin import metrics

ANSWERED = 20  # seconds within which everybody is served while somebody could


@contextlib.contextmanager
def stopped(*pids):
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        for pid in pids:
            os.kill(pid, signal.SIGCONT)


@contextlib.contextmanager
def without_descriptors(pid):
    """The process can open and receive none meanwhile."""
    def limit(number):
        with open(f"/proc/{pid}/status", encoding="ascii") as status:
            lines = dict(line.split(":", 1) for line in status)
        owner = [int(lines[name].split()[0]) for name in ("Uid", "Gid")]
        subprocess.run(["prlimit", f"--pid={pid}", f"--nofile={number}:"], user=owner[0], group=owner[1], extra_groups=[],
                       check=True)

    before = resource.prlimit(os.getpid(), resource.RLIMIT_NOFILE)
    limit(3)
    try:
        yield
    finally:
        limit(before[0])


@pytest.fixture
def traced(need):
    """with traced(pid, injection): strace tampers with its system calls."""
    strace = need("strace")

    @contextlib.contextmanager
    def attach(pid, *injections):
        command = [strace, "-q", "-o", "/dev/null", "-p", str(pid)]
        for injection in injections:
            command += ["-e", f"inject={injection}"]
        with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as tracer:
            try:
                wait_until(lambda: tracer_of(pid) == tracer.pid)
                yield
            finally:
                tracer.terminate()
    return attach


def tracer_of(pid):
    with open(f"/proc/{pid}/status", encoding="ascii") as status:
        return next(int(line.split()[1]) for line in status if line.startswith("TracerPid:"))


def serve_all(here, count):
    """So many clients at a time are served."""
    with contextlib.ExitStack() as stack:
        for client in [stack.enter_context(here.client(timeout=ANSWERED)) for _ in range(count)]:
            client.exchange()


# ---- bytes ----

def test_bytes_behind_urgent_ones(shop, server):
    """A read stops in front of urgent data: what stands behind it is read, too, though nothing more is announced."""
    def telnet(connection):
        for _ in iter(lambda: connection.socket.recv(1), b""):
            with stopped(*here.edge.workers("relay")):
                connection.socket.sendall(b"before")
                connection.socket.send(b"!", socket.MSG_OOB)
                connection.socket.sendall(b"behind")

    here = shop(server(telnet))
    with here.client(timeout=ANSWERED) as client:
        for _ in range(3):
            client.send(b"x")
            data = b""
            while not data.endswith(b"behind"):
                data += client.receive(1)
            assert data in (b"before!behind", b"beforebehind")
