"""A relay is killed at a chosen system call: between writing down what it does and doing it, or between doing it and telling."""

import contextlib
import os
import signal
import socket
import subprocess

import pytest

import servers
from daemon import wait_until
from test_succession import PROTECT, open_sessions, protected


@pytest.fixture
def doomed(need):
    """with doomed(relay, call): the relay is killed where it enters this system call next, which it has to do meanwhile."""
    strace = need("strace")

    @contextlib.contextmanager
    def attach(pid, call):
        command = [strace, "-p", str(pid), "-e", f"trace={call}", "-e", f"inject={call}:signal=SIGKILL:when=1"]
        with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as tracer:
            try:
                assert "attached" in tracer.stderr.readline()
                yield
                assert "killed by SIGKILL" in tracer.communicate(timeout=20)[1]
            finally:
                tracer.kill()
    return attach


@pytest.fixture
def lonely(shop):
    """A shop with one relay, which may be killed."""
    def make(upstream=None, extra="", **options):
        here = shop(upstream, extra=f"{PROTECT}\nworkers = 1\n{extra}", **options)
        here.edge.tolerated = ("killed",)
        here.edge.baseline_descriptors = here.edge.descriptors()[here.edge.process.pid]
        return here
    return make


def relay_of(here):
    return here.edge.workers("relay")[0]


def echo_and_farewell(connection):
    """Has the last word, and says it only when the client has said its own."""
    while data := connection.socket.recv(65536):
        connection.socket.sendall(data)
    connection.socket.sendall(b"farewell")
    connection.socket.shutdown(socket.SHUT_WR)


def test_end_of_stream_that_was_not_passed_on(lonely, server, doomed):
    """It stands in the slot that the end was passed on; the successor does it."""
    here = lonely(server(echo_and_farewell))
    with here.wire(version="1.3") as client:
        client.send(b"x")
        assert client.receive_exactly(1) == b"x"
        protected(here.edge, 1)
        with doomed(relay_of(here), "shutdown"):
            client.close_notify()
            here.edge.wait_event("sessions-adopted")
        assert client.receive_exactly(8) == b"farewell"


def test_releases_that_were_not_told(lonely, doomed):
    """Sessions have ended, and the supervisor was not told when the relay is killed: nothing of them may stay behind there."""
    here = lonely()
    supervisor = here.edge.process.pid
    with contextlib.ExitStack() as stack:
        held = open_sessions(stack, here, 40)
        victim = relay_of(here)
        os.kill(victim, signal.SIGSTOP)
        for client in held[:30]:
            client.close()
        with doomed(victim, "sendmsg"):
            os.kill(victim, signal.SIGCONT)
            here.edge.wait_event("sessions-adopted")
        wait_until(lambda: here.edge.descriptors()[supervisor] - here.edge.baseline_descriptors <= 2 * 10 + 1)
        for client in held[30:]:
            client.exchange("after")
