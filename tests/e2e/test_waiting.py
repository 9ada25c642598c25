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


# ---- slots and credits ----

@pytest.fixture
def deaf_address():
    """host:port where connecting takes for ever."""
    with contextlib.ExitStack() as stack:
        listener = stack.enter_context(socket.socket())
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        for _ in range(8):
            filler = stack.enter_context(socket.socket())
            filler.setblocking(False)
            filler.connect_ex(listener.getsockname())
        yield "{}:{}".format(*listener.getsockname())


def test_slots_of_sessions_that_end_while_they_are_taken_over(shop, deaf_address):
    """Each is free once: a slot that is given to two sessions is the end of both."""
    here = shop(extra="max-sessions = 2\nworkers = 1\nupstream \"deaf\" { servers = {\"" + deaf_address + "\"}\n"
                      "connect-timeout = 60s }",
                listener='routes = {"deaf.test=deaf"}')
    with clients.Client(here.port, name="deaf.test", version="1.2"):  # which leaves nothing unread
        wait_until(lambda: here.edge.json("status")["sessions"] == 1)
    here.edge.run("upstream", "drain", f"deaf/{deaf_address}")
    assert here.edge.json("status")["sessions"] == 1
    here.edge.run("upgrade")
    wait_until(lambda: here.edge.json("status")["sessions"] == 0)
    with here.client() as first, here.client() as second:
        first.exchange()
        second.exchange()
        with pytest.raises(TimeoutError):
            here.client(timeout=1)
        first.exchange("still mine")
        second.exchange("still mine")


def test_credit_of_a_session_that_was_lost(shop, traced):
    """The relay finds that a session was lost on its way before the handshaker has counted that it was sent."""
    here = shop(extra="max-sessions = 1\nworkers = 1")
    relay, handshaker = here.edge.workers("relay")[0], here.edge.workers("handshaker")[0]
    serve_all(here, 1)
    with traced(handshaker, "sendmsg:delay_exit=400000"), without_descriptors(relay):
        with contextlib.suppress(OSError, EOFError), here.client() as client:
            client.exchange()
        here.edge.wait_event("warning", detail=lambda text: "incomplete" in text)
    serve_all(here, 1)
