"""A relay is killed at a chosen system call: between writing down what it does and doing it, or between doing it and telling."""

import contextlib
import os
import signal
import socket
import ssl
import threading

import pytest

import daemon
import servers
from daemon import wait_until
from scrapes import metrics
from sessions import HEADER_SIZE, PROTECT, SERIAL_AT, SLOT_SIZE, arena, exchanges, open_sessions, protected


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


@pytest.mark.parametrize("call", ["connect", "close"])
def test_source_stays_uncounted(lonely, doomed, call):
    """A relay killed with a session that begins or ends has counted it at its source; the count goes with the session."""
    here = lonely(listener="max-connections-per-source = 3")
    for _ in range(4):
        mark = here.edge.mark()
        with doomed(relay_of(here), call), contextlib.suppress(OSError, EOFError), here.client() as client:
            client.exchange()
            client.close()
        here.edge.wait_event("process-started", since=mark, process="relay/0")
    with contextlib.ExitStack() as stack:
        for client in [stack.enter_context(here.client()) for _ in range(3)]:
            client.exchange()
    assert not here.edge.events_named("session-closed", reason="connection-limit")


class Impatient(servers.Server):
    """A TLS server that greets in one piece with the end of its handshake, which a handshaker reads together."""

    GREETING = b"220 ready when you are\n"

    def _serve(self, sock, address):
        incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        tls = self.tls.wrap_bio(incoming, outgoing, server_side=True)
        while True:
            try:
                tls.do_handshake()
                break
            except ssl.SSLWantReadError:
                sock.sendall(outgoing.read())
                incoming.write(sock.recv(65536))
        tls.write(self.GREETING)
        sock.sendall(outgoing.read())
        self.handler(sock, lambda data: (tls.write(data), outgoing.read())[1])


@pytest.mark.parametrize("kind", ["tcp", "unix"])
def test_data_that_came_with_the_upstream_handshake(lonely, authority, folder, kind):
    """It counts as received, so that what a successor finds of the next record is what is there."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    context.load_cert_chain(*authority.issue("app.test").write(folder, "upstream"))
    message, begun, adopted = os.urandom(2000), threading.Event(), threading.Event()

    def in_two_pieces(sock, seal):
        begun.wait()
        record = seal(message)
        sock.sendall(record[:1000])
        adopted.wait()
        sock.sendall(record[1000:])

    path = folder / "app.sock"
    place = {"family": socket.AF_UNIX, "address": str(path)} if kind == "unix" else {}
    with contextlib.closing(Impatient(in_two_pieces, tls=context, **place)) as upstream:
        if kind == "unix":
            path.chmod(0o666)
        admin = daemon.free_port()
        here = lonely(upstream, extra=f'admin {{ bind = {{"127.0.0.1:{admin}"}} }}',
                      upstream_options=f'tls = yes\ntls-trust = "{authority.root_path}"\ntls-name = "app.test"')
        with here.client() as client:
            assert client.receive(len(upstream.GREETING)) == upstream.GREETING
            protected(here.edge, 1)
            begun.set()
            wait_until(lambda: metrics(admin)['holdfast_upstream_received_bytes_total{process="relay"}'] >= 1000)
            os.kill(relay_of(here), signal.SIGKILL)
            here.edge.wait_event("sessions-adopted")
            adopted.set()
            assert client.receive(len(message)) == message


COOKIE_AT, FLAGS_AT, STREAMS_AT = SERIAL_AT + 8, 338, 460  # session/slot.h
UPSTREAM_TLS = 4


@pytest.mark.parametrize("at, bits, reason", [
    (STREAMS_AT, 1, "corrupt-slot"),
    (STREAMS_AT + 12, 1, "corrupt-slot"),
    (FLAGS_AT, UPSTREAM_TLS, "corrupt-slot"),
    (COOKIE_AT, 1, "lost-with-its-relay"),
])
def test_altered_slot_is_not_believed(lonely, at, bits, reason):
    """Neither where the streams began nor whose descriptors these are nor how to talk to the server is guessed."""
    here = lonely()
    with contextlib.ExitStack() as stack:
        held = open_sessions(stack, here, 4)
        victim = relay_of(here)
        with arena(here, 0) as memory:
            slots = range(HEADER_SIZE, HEADER_SIZE + 16 * SLOT_SIZE, SLOT_SIZE)
            slot = next(slot for slot in slots if any(memory[slot + SERIAL_AT:slot + SERIAL_AT + 8]))
            os.kill(victim, signal.SIGSTOP)
            memory[slot + at] ^= bits
            os.kill(victim, signal.SIGKILL)
        here.edge.wait_event("session-closed", reason=reason)
        assert sorted(map(exchanges, held)) == [False, True, True, True]
