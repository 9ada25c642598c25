"""Peers that are broken, slow or hostile: each gets its defined answer, and nobody else is disturbed."""

import contextlib
import os
import random
import re
import socket
import ssl
import tarfile
import time
from pathlib import Path

import pytest

import clients
import daemon
import forge
from daemon import wait_until

BYSTANDER_CHECK = 3


@pytest.fixture(name="calm")
def calm_fixture(shop):
    """A shop with a bystander whose session must not notice anything."""
    @contextlib.contextmanager
    def make(**options):
        here = shop(**options)
        with here.client() as bystander:
            bystander.exchange("before")
            yield here
            for _ in range(BYSTANDER_CHECK):
                bystander.exchange("after")
    return make


def raw_answer(port, data, end=False, timeout=10):
    """Sends bytes on a plain connection; returns all that comes back until the edge closes."""
    with socket.create_connection(("127.0.0.1", port), timeout) as connection:
        with contextlib.suppress(OSError):
            connection.sendall(data)
            if end:
                connection.shutdown(socket.SHUT_WR)
        answer = b""
        with contextlib.suppress(ConnectionError):
            while piece := connection.recv(65536):
                answer += piece
        return answer


# ---- instead of a handshake ----

@pytest.mark.parametrize("request_line", [b"GET / HTTP/1.1", b"POST /x HTTP/1.0", b"OPTIONS * HTTP/1.1", b"HEAD / HTTP/1.1"],
                         ids=["get", "post", "options", "head"])
def test_plain_http(calm, request_line):
    with calm() as here:
        answer = raw_answer(here.port, request_line + b"\r\nHost: shop.test\r\n\r\n")
        head, body = answer.split(b"\r\n\r\n", 1)
        assert head.startswith(b"HTTP/1.1 400 ") or head.startswith(b"HTTP/1.0 400 ")
        assert b"speaks TLS" in body or request_line.startswith(b"HEAD")
        length = re.search(rb"(?i)content-length: (\d+)", head)
        assert length and (int(length.group(1)) == len(body) or request_line.startswith(b"HEAD"))
        assert b"onnection: close" in head


@pytest.mark.parametrize("garbage", [b"\0" * 100, b"SSH-2.0-OpenSSH_9.2\r\n", random.Random(1).randbytes(2000), b"\x16\x03\x01\xff\xff" + b"x" * 70000,
                                     b"\x80\x2e\x01\x03\x01", b"\x16\x03\x01\x00\x05\x0b\x00\x00\x01\x00", b"\x15\x03\x01\x00\x02\x02\x28",
                                     b"\x17\x03\x03\x00\x20" + b"y" * 32],
                         ids=["zeros", "ssh", "random", "huge-record", "sslv2", "not-client-hello", "alert", "data"])
def test_garbage(calm, garbage):
    with calm() as here:
        answer = raw_answer(here.port, garbage, end=True)
        assert answer == b"" or answer[:1] == b"\x15", answer[:64]


def test_nothing_at_all(calm):
    with calm(listener="handshake-timeout = 500ms") as here:
        begin = time.monotonic()
        assert raw_answer(here.port, b"")[:1] in (b"", b"\x15")
        assert time.monotonic() - begin < 8  # seconds; the default is ten
        failed = here.edge.wait_event("handshake-failed")
        assert "time" in (failed.get("stage", "") + failed.get("detail", "")), failed


def client_hello(name=clients.NAME):
    """The first flight of a real client."""
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    made = clients.context().wrap_bio(incoming, outgoing, server_hostname=name)
    with contextlib.suppress(ssl.SSLWantReadError):
        made.do_handshake()
    return outgoing.read()


def test_slowloris(calm):
    """A ClientHello that comes byte by byte does not prolong the time-out."""
    with calm(listener="handshake-timeout = 1s") as here:
        begin = time.monotonic()
        with socket.create_connection(("127.0.0.1", here.port), 10) as connection, contextlib.suppress(OSError):
            for byte in client_hello():
                connection.send(bytes([byte]))
                connection.settimeout(0.05)
                with contextlib.suppress(TimeoutError):
                    if not connection.recv(1) or time.monotonic() - begin > 16:
                        break
        assert 0.8 < time.monotonic() - begin < 15


def test_many_slow_handshakes(calm):
    """Five hundred half-open handshakes hold up nobody."""
    with calm(listener="handshake-timeout = 20s") as here:
        hello = client_hello()
        with contextlib.ExitStack() as stack:
            for _ in range(500):
                connection = stack.enter_context(socket.create_connection(("127.0.0.1", here.port), 10))
                connection.sendall(hello[:50])
            begin = time.monotonic()
            with here.client() as client:
                client.exchange()
            assert time.monotonic() - begin < 15  # they have twenty


def test_oversized_client_hello(calm):
    with calm(listener="client-hello-max = 4k") as here:
        hello = client_hello()
        size = 20000
        message = b"\x01" + size.to_bytes(3, "big") + hello[9:]
        answer = raw_answer(here.port, b"\x16\x03\x01" + len(message).to_bytes(2, "big") + message, end=False)
        assert answer == b"" or answer[:1] == b"\x15"
        here.edge.wait_event("handshake-failed")


@pytest.mark.parametrize("cut", [1, 5, 6, 100])
def test_truncated_handshake(calm, cut):
    with calm() as here:
        assert raw_answer(here.port, client_hello()[:cut], end=True)[:1] in (b"", b"\x15")
        here.edge.wait_event("handshake-failed")


def test_fuzz_corpus(calm):
    """Each input of OpenSSL's fuzz corpus thrown at the port; then descriptors and memory are what they were."""
    vectors = Path(os.environ.get("HOLDFAST_VECTORS", daemon.REPOSITORY.parent / "shared" / "vectors"))
    archive = vectors / "openssl-fuzz-server.tar.xz"
    if not archive.exists():
        pytest.skip("openssl-fuzz-server.tar.xz is not there; set HOLDFAST_VECTORS to its folder")
    with tarfile.open(archive) as tar:
        inputs = [tar.extractfile(member).read() for member in tar if member.isfile()]
    assert len(inputs) > 1000
    with calm(listener="handshake-timeout = 2s") as here:
        for data in inputs[:200]:
            throw(here.port, data)
        settle(here)
        descriptors, memory = here.edge.descriptors(), here.edge.pss()
        for data in inputs:
            throw(here.port, data)
        with here.client() as client:
            client.exchange("clean")
        settle(here)
        wait_until(lambda: same_descriptors(here.edge.descriptors(), descriptors), 10,
                   lambda: f"{descriptors} became {here.edge.descriptors()}")
        # The address sanitizer holds freed memory back for a while.
        assert daemon.SANITIZED or here.edge.pss() - memory < 8192


def throw(port, data):
    with socket.create_connection(("127.0.0.1", port), 10) as connection, contextlib.suppress(OSError):
        connection.sendall(data)
        connection.shutdown(socket.SHUT_WR)
        while connection.recv(65536):
            pass


def settle(here):
    """Until only the bystander's session is left."""
    wait_until(lambda: here.edge.json("status")["sessions"] == 1, 20, "sessions are left over")


def same_descriptors(now, before):
    return now.keys() == before.keys() and all(abs(now[pid] - before[pid]) <= 2 for pid in now)


# ---- records ----

@pytest.mark.parametrize("version", ["1.2", "1.3"])
@pytest.mark.parametrize("damage, alert", [
    (lambda record: record[:-1] + bytes([record[-1] ^ 1]), "bad_record_mac"),
    (lambda record: record[:20] + bytes([record[20] ^ 0x80]) + record[21:], "bad_record_mac"),
    (lambda record: record[:3] + b"\x48\x01" + record[5:] + bytes(20000), "record_overflow"),
    (lambda record: record + record, "bad_record_mac"),
    (lambda record: b"\x17\x03\x03\x00\x10" + bytes(16), None),
    (lambda record: b"\x63" + record[1:], "unexpected_message"),
    (lambda record: b"\x17\x05\x05" + record[3:], None),
    (lambda record: b"GET / HTTP/1.1\r\n\r\n", None),
], ids=["tag", "ciphertext", "oversized", "replayed", "too-short", "type", "version", "plain"])
def test_damaged_record(calm, version, damage, alert):
    with calm() as here:
        with here.wire(version=version) as client:
            client.send(b"fine")
            assert client.receive_exactly(4) == b"fine"
            client.send_raw(damage(client.seal(b"this record suffers on its way")))
            got = client.alert()
            assert got not in ("close_notify", "truncated"), got
            if alert:
                assert got == alert
        closed = here.edge.wait_event("session-closed", reason="client-protocol-error")
        assert closed["detail"], closed


@pytest.mark.parametrize("version", ["1.2", "1.3"])
def test_reordered_records(calm, version):
    with calm() as here, here.wire(version=version) as client:
        first, second = client.seal(b"one"), client.seal(b"two")
        client.send_raw(second + first)
        assert client.alert() == "bad_record_mac"


@pytest.mark.parametrize("version", ["1.2", "1.3"])
def test_upstream_gets_nothing_of_a_damaged_record(calm, version, server):
    upstream = server()
    with calm(upstream=upstream) as here:
        with here.wire(version=version) as client:
            client.send(b"good")
            assert client.receive_exactly(4) == b"good"
            record = client.seal(b"evil")
            client.send_raw(record[:-1] + bytes([record[-1] ^ 1]))
            assert client.alert() == "bad_record_mac"
        connection = upstream.wait_connections(2)[1]
        assert connection.ended.wait(30)
        assert bytes(connection.received) == b"good"


@pytest.mark.parametrize("version", ["1.2", "1.3"])
def test_truncation_reaches_the_upstream_as_reset(calm, version, server):
    """A FIN without close_notify may be an attacker's: the upstream must not take it for the end of the data."""
    upstream = server()
    with calm(upstream=upstream) as here:
        with here.wire(version=version) as client:
            client.send(b"part of a ")
            client.receive_exactly(10)
            client.raw.shutdown(socket.SHUT_WR)
            client.alert()
        connection = upstream.wait_connections(2)[1]
        assert connection.ended.wait(30)
        assert isinstance(connection.error, ConnectionResetError), connection.error
        here.edge.wait_event("session-closed", reason="client-truncated")


def test_truncation_tolerated(calm, server):
    upstream = server()
    with calm(upstream=upstream, listener="tolerate-truncation = yes") as here:
        with here.wire() as client:
            client.send(b"all there is")
            client.receive_exactly(12)
            client.raw.shutdown(socket.SHUT_WR)
            assert client.alert() == "close_notify"
        connection = upstream.wait_connections(2)[1]
        assert connection.ended.wait(30) and connection.error is None


def test_reset_by_the_client(calm, server):
    upstream = server()
    with calm(upstream=upstream) as here:
        with here.wire() as client:
            client.send(b"x")
            client.receive_exactly(1)
            client.raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        connection = upstream.wait_connections(2)[1]
        assert connection.ended.wait(30)
        here.edge.wait_event("session-closed", reason="client-reset")


# ---- floods and odd but lawful records (TLS 1.3, sealed by the test) ----

def forger(here, folder):
    return forge.Forger(here.port, folder)


def test_empty_records(calm, folder):
    """A few empty records are lawful; a flood of them ends the session."""
    with calm() as here, forger(here, folder) as client:
        for _ in range(10):
            client.send_raw(client.seal_as(forge.APPLICATION_DATA, b""))
        client.send_raw(client.seal_as(forge.APPLICATION_DATA, b"after"))
        assert client.read_until(forge.APPLICATION_DATA) == b"after"
        with contextlib.suppress(ConnectionError):
            for _ in range(100):
                client.send_raw(b"".join(client.seal_as(forge.APPLICATION_DATA, b"") for _ in range(100)))
        here.edge.wait_event("session-closed", reason="client-protocol-error", detail=lambda text: text and "empty" in text)


def test_padding(calm, folder):
    with calm() as here, forger(here, folder) as client:
        client.send_raw(client.seal_as(forge.APPLICATION_DATA, b"padded", 1000))
        assert client.read_until(forge.APPLICATION_DATA) == b"padded"
        client.send_raw(client.seal_as(forge.APPLICATION_DATA, b"x" * 16000, 384))
        received = b""
        while len(received) < 16000:
            received += client.read_until(forge.APPLICATION_DATA)
        assert received == b"x" * 16000


@pytest.mark.parametrize("inner, data, alert", [
    (None, b"", 10),
    (99, b"what is this", 10),
    (20, b"\x01", 10),
    (forge.HANDSHAKE, b"\x01\x00\x00\x02hi", 10),
    (forge.HANDSHAKE, b"\x18\x00\x00\x01\x07", 47),
    (forge.HANDSHAKE, b"\x18\x00\x00\x02\x00\x00", 50),
    (forge.HANDSHAKE, b"", 10),
    (forge.APPLICATION_DATA, b"x" * 16385, 22),
    (forge.ALERT, b"\x02", 50),
], ids=["no-type", "unknown-type", "protected-ccs", "client-hello", "key-update-value", "key-update-length", "empty-handshake",
        "too-much-plaintext", "half-alert"])
def test_unlawful_records(calm, folder, inner, data, alert):
    with calm() as here, forger(here, folder) as client:
        client.send_raw(client.seal_as(inner, data))
        assert client.read_until(forge.ALERT) == bytes([2, alert])
        assert client.read_record() is None
        here.edge.wait_event("session-closed", reason="client-protocol-error")


def test_key_update_behind_which_data_follows_in_the_same_record(calm, folder):
    """RFC 9846 §5.1: a key change must end its record."""
    with calm() as here, forger(here, folder) as client:
        client.send_raw(client.seal_as(forge.HANDSHAKE, forge.KEY_UPDATE + forge.KEY_UPDATE))
        assert client.read_until(forge.ALERT) == bytes([2, 10])


def test_user_canceled_is_tolerated(calm, folder):
    with calm() as here, forger(here, folder) as client:
        client.send_raw(client.seal_as(forge.ALERT, b"\x01\x5a") + client.seal_as(forge.APPLICATION_DATA, b"still here"))
        assert client.read_until(forge.APPLICATION_DATA) == b"still here"


def test_alert_flood(calm, folder):
    with calm() as here, forger(here, folder) as client:
        with contextlib.suppress(ConnectionError):
            for _ in range(100):
                client.send_raw(b"".join(client.seal_as(forge.ALERT, b"\x01\x5a") for _ in range(100)))
        here.edge.wait_event("session-closed", reason=lambda reason: reason in ("client-protocol-error", "peer-alert"))


def test_fatal_alert_of_the_client(calm, folder):
    with calm() as here, forger(here, folder) as client:
        client.send_raw(client.seal_as(forge.ALERT, b"\x02\x50"))
        here.edge.wait_event("session-closed", reason="peer-alert")


# ---- KeyUpdate ----

def test_key_updates_and_requests(calm, folder):
    """Each request is answered before the next data; keys change on both sides hundreds of times."""
    with calm() as here, forger(here, folder) as client:
        for number in range(300):
            message = b"message %d" % number
            client.send_raw(client.update_keys(request=number % 2 == 0) + client.seal_as(forge.APPLICATION_DATA, message))
            assert client.read_until(forge.APPLICATION_DATA) == message
        # Records sealed with different keys in one segment.
        client.send_raw(b"".join(client.update_keys(request=True) + client.seal_as(forge.APPLICATION_DATA, b"%03d" % number)
                                 for number in range(50)))
        received = b""
        while len(received) < 150:
            received += client.read_until(forge.APPLICATION_DATA)
        assert received == b"".join(b"%03d" % number for number in range(50))


def test_key_update_flood(calm, folder):
    with calm() as here, forger(here, folder) as client:
        with contextlib.suppress(ConnectionError):
            for _ in range(100):
                client.send_raw(b"".join(client.update_keys(request=True) for _ in range(100)))
        here.edge.wait_event("session-closed", reason="client-protocol-error", detail=lambda text: text and "KeyUpdate" in text)


def test_key_updates_by_openssl(calm):
    """s_client's commands K (update and request) and k (update)."""
    with calm() as here, contextlib.closing(clients.LineProcess(interactive(here, "-tls1_3"))) as client:
        client.exchange("before")
        for number in range(20):
            client.write(b"K\n" if number % 2 else b"k\n")
            wait_until(lambda: client.errors.count(b"KEYUPDATE") > number)
            client.exchange("after")


def test_key_update_requested_while_the_edge_cannot_write(shop, folder, server):
    """The answer to a KeyUpdate request is owed while the client does not read; everything still arrives in order."""
    size = 24 << 20

    def flood(connection):
        connection.socket.recv(2)
        connection.socket.sendall(bytes(range(256)) * (size // 256))
        connection.socket.recv(1)

    here = shop(server(flood))
    with forger(here, folder) as client:
        client.send_raw(client.seal_as(forge.APPLICATION_DATA, b"go"))
        previous = -1
        while (now := len(clients.waiting_bytes(client.raw, 1 << 22))) != previous or now == 0:
            previous = now
            time.sleep(0.1)  # the kernel tells nobody that its buffers are full
        for _ in range(5):
            client.send_raw(client.update_keys(request=True))
        received = bytearray()
        while len(received) < size:
            received += client.read_until(forge.APPLICATION_DATA)
        assert received == bytes(range(256)) * (size // 256)


# ---- TLS 1.2 renegotiation ----

def test_renegotiation_is_refused(calm):
    """With a warning no_renegotiation, upon which OpenSSL's client gives up by itself."""
    with calm() as here, contextlib.closing(clients.LineProcess(interactive(here, "-tls1_2", "-msg"))) as client:
        client.exchange("before")
        client.write(b"R\n")
        client.wait_output(b"no_renegotiation")


def interactive(here, *options):
    """openssl s_client taking commands (K, k, R as the only character of a line)."""
    return ["openssl", "s_client", "-connect", f"127.0.0.1:{here.port}", "-servername", clients.NAME, *options]
