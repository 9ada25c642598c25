"""Hand-over at every byte offset of a record, in both directions: a relay is killed, or all processes are replaced, while each of
many sessions stands at another place. What follows must fit to the byte, and the session must go on under the right numbers."""

import contextlib
import os
import signal
import socket
import ssl
import threading

import pytest

import daemon
import forge
import servers
from daemon import wait_until

TLS12 = [f"ECDHE-ECDSA-{cipher}" for cipher in ("AES128-GCM-SHA256", "AES256-GCM-SHA384", "CHACHA20-POLY1305")]
TLS13 = ["TLS_AES_128_GCM_SHA256", "TLS_AES_256_GCM_SHA384", "TLS_CHACHA20_POLY1305_SHA256"]
SUITES = TLS12 + TLS13
PATIENCE = 60
MESSAGE = b"offset"
LARGE = bytes(range(256)) * 64  # one record of 16 KiB
LARGE_OFFSETS = [0, 1, 4, 5, 6, 12, 13, 14, 21, 22, 1000, 4096, 8191, 16383, 16384, 16388, 16389]


def suite_options(suite):
    return {"version": "1.3", "suites": suite} if suite in TLS13 else {"version": "1.2", "ciphers": suite}


class Handover:
    """A Shop with one relay, sessions that are old enough to be kept, and the ways to replace what carries them."""

    def __init__(self, here, stack):
        self.here, self.stack = here, stack
        here.edge.tolerated = ("killed",)
        self.pilot = stack.enter_context(here.client())
        self.seen()
        self.pilot_id = here.edge.lines("sessions")[0]["id"]

    def wire(self, suite, **options):
        client = self.stack.enter_context(self.here.wire(**suite_options(suite), **options))
        assert not options.get("handshake", True) or client.object.cipher()[0] == suite
        return client

    def forger(self, suite, **options):
        client = forge.Forger(self.here.port, self.here.folder, root=self.here.root, suites=suite, **options)
        return self.stack.enter_context(client)

    def wait_kept(self):
        """Until every session is older than protect-after, which is 100 ms here."""
        wait_until(lambda: not self.here.edge.lines("sessions", "--younger", "1s"), 20)

    def seen(self):
        """What was sent before is with the relay: it takes turns, and this session had several after it."""
        for _ in range(10):
            self.pilot.exchange()

    def relays(self):
        def ask():
            result = self.here.edge.run("status", "--json", check=False)
            return result.returncode == 0
        wait_until(ask, PATIENCE)
        return self.here.edge.workers("relay")

    def succeed(self, how):
        edge = self.here.edge
        before = self.relays()
        if how == "upgrade":
            edge.run("upgrade", timeout=PATIENCE)
        else:
            mark = edge.mark()
            os.kill(before[0], signal.SIGKILL)
            edge.wait_event("process-started", since=mark, timeout=PATIENCE, process=lambda name: name.startswith("relay"))
        wait_until(lambda: (now := self.relays()) and not set(now) & set(before), PATIENCE, "the relay is the old one")


@pytest.fixture
def handover(shop):
    with contextlib.ExitStack() as stack:
        def make(upstream=None, **options):
            return Handover(shop(upstream, extra="workers = 1\nprotect-after = 100ms", **options), stack)
        yield make


how = pytest.mark.parametrize("how", ["kill", "upgrade"])


def begin(client):
    """The first exchange; afterwards nothing of the handshake is on its way."""
    client.send(b"begin")
    assert client.receive_exactly(5) == b"begin"
    return client


def go_on(client, times=2):
    for number in range(times):
        text = b"on and on %d" % number
        client.send(text)
        assert client.receive_exactly(len(text)) == text


# ---- upwards ----

def record_sessions(edge, before, message, offsets=None):
    """(client, its next record, offset) for each suite and offset; `before` is sealed as a record of its own and precedes."""
    made = []
    for suite in SUITES:
        client = begin(edge.wire(suite))
        size = len(client.seal(before) if before else b"") + len(client.seal(message))
        client.close()  # it only served to measure
        places = range(size + 1) if offsets is None else [*offsets, size - 1, size]
        for offset in places:
            client = begin(edge.wire(suite))
            made.append((client, offset))
    edge.wait_kept()
    return [(client, (client.seal(before) if before else b"") + client.seal(message), offset) for client, offset in made]


def check_upwards(edge, how, message, before=b"", offsets=None):
    sessions = record_sessions(edge, before, message, offsets)
    for client, record, offset in sessions:
        client.send_raw(record[:offset])
    edge.seen()
    edge.succeed(how)
    for client, record, offset in sessions:
        client.send_raw(record[offset:])
    for client, _, offset in sessions:
        assert client.receive_exactly(len(before + message)) == before + message, f"offset {offset}"
        go_on(client)


@how
def test_every_offset_upwards(handover, how):
    check_upwards(handover(), how, MESSAGE)


@how
def test_every_offset_behind_a_whole_record(handover, how):
    check_upwards(handover(), how, b"x", before=b"yz")


@how
def test_offsets_of_a_large_record_upwards(handover, how):
    check_upwards(handover(), how, LARGE, offsets=LARGE_OFFSETS)


@how
def test_record_that_came_with_the_handshake(handover, how):
    """Its first bytes lie right behind the client's Finished."""
    edge = handover()
    sessions = []
    for suite in TLS13:
        for offset in (1, 4, 5, 6, 20, 27):
            client = edge.wire(suite, handshake=False)
            while True:
                try:
                    client.object.do_handshake()
                    break
                except ssl.SSLWantReadError:
                    client.flush()
                    client.incoming.write(client.raw.recv(65536))
            finished, record = client.outgoing.read(), client.seal(MESSAGE)
            client.send_raw(finished + record[:offset])
            sessions.append((client, record[offset:]))
    edge.wait_kept()
    edge.succeed(how)
    for client, rest in sessions:
        client.send_raw(rest)
        assert client.receive_exactly(len(MESSAGE)) == MESSAGE
        go_on(client)


# ---- downwards ----

@how
def test_every_offset_downwards(handover, how):
    """The client has taken so many bytes of the record from its socket, and no more."""
    edge = handover()
    sessions = []
    for suite in SUITES:
        size = len(begin(edge.wire(suite)).seal(MESSAGE))
        sessions += [(begin(edge.wire(suite)), offset) for offset in range(size + 1)]
    edge.wait_kept()
    for client, offset in sessions:
        client.send(MESSAGE)
        while offset:
            data = client.raw.recv(offset)
            client.incoming.write(data)
            offset -= len(data)
    edge.succeed(how)
    for client, _ in sessions:
        assert client.receive_exactly(len(MESSAGE)) == MESSAGE
        go_on(client)


BLOCKING = 4 << 20  # more than the kernel's buffers on both legs hold
PATTERN = bytes(range(251)) * 20000
SLOW_BUFFER = 8192
SLOW_READERS = 1 if daemon.SANITIZED else 3  # for each suite


def send_on_demand(connection):
    """Each line is a number: sends so many bytes of a pattern. Anything else is sent back."""
    while line := read_line(connection.socket):
        if line.strip().isdigit():
            connection.socket.sendall(PATTERN[:int(line)])
        else:
            connection.socket.sendall(line)


def read_line(sock):
    line = bytearray()
    while not line.endswith(b"\n"):
        piece = sock.recv(1)
        if not piece:
            return b""
        line += piece
    return bytes(line)


def read_fast(sock):
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)


def wait_blocked(edge):
    """Until no session's output grows: the relay has written a part of what it sealed and cannot write more."""
    def output():
        return {session["id"]: session["bytes_out"] for session in edge.here.edge.lines("sessions")
                if session["id"] != edge.pilot_id}
    previous = None
    while (now := output()) != previous or not all(now.values()):
        previous = now
        edge.seen()


@how
def test_writes_cut_off_by_a_slow_reader(handover, server, how):
    """The socket took a part of what was sealed; where the cut falls depends on the amounts, which differ."""
    edge = handover(server(send_on_demand))
    sessions = []
    for suite in SUITES:
        for number in range(SLOW_READERS):
            client = edge.wire(suite, receive_buffer=SLOW_BUFFER)
            client.send(b"begin\n")
            assert client.receive_exactly(6) == b"begin\n"
            sessions.append((client, BLOCKING + number * 4999))
    edge.wait_kept()
    for client, size in sessions:
        client.send(b"%d\n" % size)
    taken = {client: b"" for client, _ in sessions}
    for turn in range(3):
        wait_blocked(edge)
        edge.succeed(how)
        for number, (client, _) in enumerate(sessions):
            taken[client] += client.receive_exactly(1 + 997 * (number + 1) * turn)
    for client, size in sessions:
        read_fast(client.raw)
        assert taken[client] + client.receive_exactly(size - len(taken[client])) == PATTERN[:size]
        client.send(b"and on\n")
        assert client.receive_exactly(7) == b"and on\n"


# ---- keys that change ----

@how
@pytest.mark.parametrize("request_answer", [False, True], ids=["not-requested", "requested"])
def test_every_offset_of_a_key_update(handover, how, request_answer):
    edge = handover()
    sessions = []
    for suite in TLS13[:2]:
        for offset in range(28):
            client = edge.forger(suite)
            client.send_raw(client.seal_as(forge.APPLICATION_DATA, b"begin"))
            assert client.read_until(forge.APPLICATION_DATA) == b"begin"
            sessions.append((client, offset))
    edge.wait_kept()
    held = []
    for client, offset in sessions:
        record = client.update_keys(request_answer)
        client.send_raw(record[:offset])
        held.append((client, record[offset:]))
    edge.seen()
    edge.succeed(how)
    for client, rest in held:
        client.send_raw(rest + client.seal_as(forge.APPLICATION_DATA, MESSAGE))
    for client, _ in held:
        if request_answer:
            assert client.read_record() == (forge.HANDSHAKE, forge.KEY_UPDATE)
        assert client.read_record() == (forge.APPLICATION_DATA, MESSAGE)
        client.send_raw(client.update_keys(True) + client.seal_as(forge.APPLICATION_DATA, b"again"))
        assert client.read_until(forge.APPLICATION_DATA) == b"again"


@how
def test_owed_key_update(handover, server, how):
    """The client asked for new keys while nothing more could be written to it: the answer is still owed when the relay goes, and
    must come once, behind what was sealed before, and be obeyed by what follows."""
    edge = handover(server(send_on_demand))
    sessions = []
    for suite in TLS13[:2]:
        for number in range(SLOW_READERS):
            client = edge.forger(suite, receive_buffer=SLOW_BUFFER)
            client.send_raw(client.seal_as(forge.APPLICATION_DATA, b"begin\n"))
            assert client.read_until(forge.APPLICATION_DATA) == b"begin\n"
            sessions.append((client, BLOCKING + number * 4999))
    edge.wait_kept()
    for client, size in sessions:
        client.send_raw(client.seal_as(forge.APPLICATION_DATA, b"%d\n" % size))
    wait_blocked(edge)
    for client, _ in sessions:
        client.send_raw(client.update_keys(True) + client.seal_as(forge.APPLICATION_DATA, b"and on\n"))
    edge.seen()
    edge.succeed(how)
    for client, size in sessions:
        read_fast(client.raw)
        updates, data = 0, b""
        while len(data) < size + 7:
            kind, piece = client.read_record()
            if kind == forge.APPLICATION_DATA:
                data += piece
            else:
                assert (kind, piece) == (forge.HANDSHAKE, forge.KEY_UPDATE)
                updates += 1
        assert data == PATTERN[:size] + b"and on\n"
        assert updates == 1


# ---- closed halves ----

def when_told(handler):
    """An "h" asks for the handler, anything else for the echo."""
    def choose(connection):
        asked = connection.socket.recv(1, socket.MSG_PEEK) == b"h"
        (handler if asked else servers.quiet_echo)(connection)
    return choose


@how
def test_half_closed_by_the_client(handover, server, how):
    """It has said its last word; the server's answer comes through the successor."""
    go = threading.Event()

    def answer_after_end(connection):
        servers.record(connection)
        go.wait(PATIENCE)
        connection.socket.sendall(b"you said %d bytes" % len(connection.received))
        connection.socket.shutdown(socket.SHUT_WR)

    edge = handover(server(when_told(answer_after_end)))
    sessions = [edge.wire(suite) for suite in SUITES]
    for client in sessions:
        client.send(b"h" + bytes(50000))
    edge.wait_kept()
    for client in sessions:
        client.close_notify()
    wait_until(lambda: count_in_state(edge, "half-closed") == len(sessions), PATIENCE)
    edge.succeed(how)
    go.set()
    for client in sessions:
        assert client.read_to_end() == b"you said 50001 bytes"
    edge.here.edge.wait_event("session-closed", count=len(sessions), reason="both-closed")


@how
def test_half_closed_by_the_server(handover, server, how):
    received = {}

    def last_word_first(connection):
        assert connection.socket.recv(1) == b"h"
        connection.socket.sendall(b"first and last word")
        connection.socket.shutdown(socket.SHUT_WR)
        servers.record(connection)
        received[bytes(connection.received[:2])] = bytes(connection.received)

    edge = handover(server(when_told(last_word_first)))
    sessions = [edge.wire(suite) for suite in SUITES]
    for number, client in enumerate(sessions):
        client.send(b"h")
        assert client.read_to_end() == b"first and last word"
        client.send(b"%02d" % number)
    edge.wait_kept()
    wait_until(lambda: count_in_state(edge, "half-closed") == len(sessions), PATIENCE)
    edge.succeed(how)
    for number, client in enumerate(sessions):
        client.send(b"x" * (40000 + number))
        client.close_notify()
    expected = {b"%02d" % number: b"%02d" % number + b"x" * (40000 + number) for number in range(len(sessions))}
    wait_until(lambda: received == expected, PATIENCE)


def count_in_state(edge, state):
    return sum(session["state"] == state for session in edge.here.edge.lines("sessions"))


# ---- the server's side ----

class WireServer:
    """A TLS server whose records pass through the test: sends the first bytes of one, and the rest when told."""

    def __init__(self, chain, key, version):
        self.tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.tls.load_cert_chain(chain, key)
        self.tls.minimum_version = self.tls.maximum_version = version
        self.go = threading.Event()
        self.held = threading.Semaphore(0)

    def __call__(self, connection):
        incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        session = self.tls.wrap_bio(incoming, outgoing, server_side=True)

        def drive(function, *arguments):
            while True:
                try:
                    result = function(*arguments)
                    connection.socket.sendall(outgoing.read())
                    return result
                except ssl.SSLWantReadError:
                    connection.socket.sendall(outgoing.read())
                    data = connection.socket.recv(65536)
                    if not data:
                        raise ConnectionError("the edge has gone") from None
                    incoming.write(data)

        with contextlib.suppress(ssl.SSLError):
            drive(session.do_handshake)
            while data := drive(session.read, 65536):
                session.write(MESSAGE if data.isdigit() else data)
                record = outgoing.read()
                offset = min(int(data), len(record)) if data.isdigit() else 0
                connection.socket.sendall(record[:offset])
                if data.isdigit():
                    self.held.release()
                    self.go.wait(PATIENCE)
                connection.socket.sendall(record[offset:])


@how
@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3], ids=["1.2", "1.3"])
def test_every_offset_of_a_record_from_the_server(handover, server, authority, folder, how, version):
    peer = WireServer(*authority.issue("app.test").write(folder, "app"), version)
    edge = handover(server(peer), upstream_options=f'tls = yes\ntls-trust = "{authority.root_path}"\ntls-name = "app.test"')
    sessions = [(begin(edge.wire(TLS13[0])), offset) for offset in range(36)]
    edge.wait_kept()
    for client, offset in sessions:
        client.send(b"%d" % offset)
    for _ in sessions:
        assert peer.held.acquire(timeout=PATIENCE)
    edge.seen()
    edge.succeed(how)
    peer.go.set()
    for client, _ in sessions:
        assert client.receive_exactly(len(MESSAGE)) == MESSAGE
        go_on(client)
