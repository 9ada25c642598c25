"""Who may connect, how many, and for how long."""

import contextlib
import socket
import ssl
import time

import pytest

import clients
import daemon
from daemon import wait_until


def refused(here, **options):
    return isinstance(clients.connect_quietly(here.port, here.root, **options), (OSError, ssl.SSLError))


def test_allow(shop):
    here = shop(listener='allow = {"127.0.0.1", "127.0.1.0/24"}')
    for source, welcome in (("127.0.0.1", True), ("127.0.1.200", True), ("127.0.2.1", False), ("127.0.0.2", False)):
        assert refused(here, source=(source, 0)) != welcome, source
    for source in ("127.0.2.1:", "127.0.0.2:"):  # of two handshakers, in any order
        here.edge.wait_event("connection-refused", client=lambda client, source=source: client.startswith(source))


def test_deny(shop):
    here = shop(listener='deny = {"127.0.3.0/24"}')
    assert refused(here, source=("127.0.3.7", 0))
    with here.client(source=("127.0.4.1", 0)) as client:
        client.exchange()


def test_deny_beats_allow(shop):
    here = shop(listener='allow = {"127.0.0.0/8"}\ndeny = {"127.0.3.7"}')
    assert refused(here, source=("127.0.3.7", 0))
    assert not refused(here, source=("127.0.3.8", 0))


def test_connections_of_a_listener(shop):
    here = shop(listener="max-connections = 5")
    with contextlib.ExitStack() as stack:
        held = []
        for _ in range(5):
            client = stack.enter_context(here.client())
            client.exchange()
            held.append(client)
        assert refused(here)
        here.edge.wait_event("connection-refused")
        for client in held:
            client.exchange("still here")
        held[0].close()
        wait_until(lambda: not refused(here))


@pytest.mark.parametrize("sessions", [2, 3, 6])
def test_the_last_free_slot(shop, sessions):
    """The handshaker that has room takes who waits; the one without does not sleep on the call."""
    here = shop(extra=f"max-sessions = {sessions}")
    capacity = here.edge.json("status")["capacity"]
    assert capacity >= sessions
    for _ in range(15):
        with contextlib.ExitStack() as stack:
            for client in [stack.enter_context(here.client()) for _ in range(capacity)]:
                client.exchange()


def test_connections_of_a_source(shop):
    here = shop(listener="max-connections-per-source = 3")
    with contextlib.ExitStack() as stack:
        for _ in range(3):
            client = stack.enter_context(here.client(source=("127.0.5.1", 0)))
            client.exchange()
        assert refused(here, source=("127.0.5.1", 0))
        with here.client(source=("127.0.5.2", 0)) as other:
            other.exchange()
        client.close()
        wait_until(lambda: not refused(here, source=("127.0.5.1", 0)))


@pytest.mark.parametrize("version", ["1.2", "1.3"])
def test_idle_timeout(shop, version):
    """Data in either direction starts the time anew; then a clean close."""
    here = shop(listener="idle-timeout = 3s")
    with here.wire(version=version) as client:
        for _ in range(4):
            time.sleep(1)  # the idle time itself is what is tested
            client.send(b"alive")
            assert client.receive_exactly(5) == b"alive"
        begin = time.monotonic()
        assert client.alert() == "close_notify"
        assert 2 < time.monotonic() - begin < 15
    assert here.edge.wait_event("session-closed")["reason"] == "idle-timeout"


def test_max_session_age(shop):
    here = shop(listener="max-session-age = 2s")
    begin = time.monotonic()
    with here.wire() as client, contextlib.suppress(ssl.SSLError, OSError, AssertionError):
        while True:
            client.send(b"busy")
            client.receive_exactly(4)
    assert 1 < time.monotonic() - begin < 15
    assert here.edge.wait_event("session-closed")["reason"] == "max-session-age"


def test_no_timeouts_by_default(shop):
    here = shop()
    with here.client() as client:
        client.exchange()
        time.sleep(3)
        client.exchange("after a silence")


def test_out_of_descriptors(shop):
    """Accepting pauses when descriptors run out, live sessions go on, and nothing spins."""
    if daemon.SANITIZED:
        pytest.skip("the sanitizers need descriptors of their own")
    here = shop(descriptor_limit=400)
    with contextlib.ExitStack() as stack:
        first = stack.enter_context(here.client())
        first.exchange()
        waiting = []
        for _ in range(900):
            connection = socket.create_connection(("127.0.0.1", here.port), 10)
            stack.callback(connection.close)
            waiting.append(connection)
        here.edge.wait_event("accept-paused", timeout=15)
        first.exchange("while the others wait")
        before = cpu_seconds(here)
        time.sleep(1)
        assert cpu_seconds(here) - before < 0.7, "something spins"
        for connection in waiting:
            connection.close()
        here.edge.wait_event("accept-resumed", timeout=15)
        with here.client() as client:
            client.exchange()
        first.exchange("after all")


def cpu_seconds(here):
    ticks = 0
    for pid in here.edge.processes():
        fields = open(f"/proc/{pid}/stat", encoding="ascii").read().rsplit(")", 1)[1].split()
        ticks += int(fields[11]) + int(fields[12])
    return ticks / 100
