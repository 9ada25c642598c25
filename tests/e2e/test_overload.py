"""More clients than can be served: those that waited too long are refused at once, the others are served, sessions go on.

The one handshaker is stopped while clients queue up in the kernel, so that how long they wait does not depend on the machine."""

import contextlib
import os
import signal
import socket
import ssl
import time
from pathlib import Path

import pytest

import clients
from daemon import free_port, wait_until
from scrapes import metrics

WAIT = 2  # s, queue-timeout of these tests
TIMEOUT = f"queue-timeout = {WAIT * 1000}ms"
REFUSED = "refused_overload"


@contextlib.contextmanager
def stopped(here):
    """The handshaker stands still; what connects now waits in the kernel."""
    handshaker, = here.edge.workers("handshaker")
    os.kill(handshaker, signal.SIGSTOP)
    try:
        wait_until(lambda: "\nState:\tT" in Path(f"/proc/{handshaker}/status").read_text(encoding="ascii"))
        yield
    finally:
        os.kill(handshaker, signal.SIGCONT)


def queue(here, count, preamble=b""):
    """`count` connections whose ClientHello is sent and not answered."""
    waiting = [clients.WireClient(here.port, here.root, handshake=False, preamble=preamble) for _ in range(count)]
    for client in waiting:
        with pytest.raises(ssl.SSLWantReadError):
            client.object.do_handshake()
        client.flush()
    return waiting


def grow_old():
    """The wait itself is what is tested."""
    time.sleep(1.5 * WAIT)


def finish(client):
    client._drive(client.object.do_handshake)
    client.send(b"served")
    assert client.receive_exactly(6) == b"served"
    client.close()


def assert_reset(client):
    with pytest.raises(ConnectionResetError):
        client.raw.recv(100)
    client.close()


def counters(here):
    return here.edge.json("status")["counters"]


@pytest.fixture(name="one")
def one_worker(shop):
    """shop() with one handshaker, so that no other serves the queue."""
    def make(listener=TIMEOUT, extra="", **options):
        return shop(listener=listener, extra=f"workers = 1\n{extra}", **options)
    return make


def test_who_waited_too_long_is_reset(one):
    here = one()
    with here.client() as live:
        live.exchange()
        with stopped(here):
            old = queue(here, 20)
            grow_old()
            live.exchange("while the handshaker stands still")
            young = queue(here, 5)
        for client in old:
            assert_reset(client)
        for client in young:
            finish(client)
        live.exchange("after the storm")
    began = here.edge.wait_event("overload-began", listener="shop", process="handshaker/0")
    assert f"queue-timeout {WAIT * 1000} ms" in began["detail"] and "reset" in began["detail"]
    ended = here.edge.wait_event("overload-ended", timeout=20, listener="shop")
    assert ended["detail"].startswith("20 connections refused, "), ended
    assert counters(here)[REFUSED] == 20
    assert len(here.edge.events_named("overload-began")) == 1
    assert not here.edge.events_named("connection-refused"), "a storm of refusals is no storm of events"


def test_who_waited_too_long_gets_an_alert(one):
    here = one(listener=f"{TIMEOUT}\noverload-action = alert")
    with stopped(here):
        old = queue(here, 3)
        grow_old()
    for client in old:
        assert client.raw.recv(100) == bytes([21, 3, 3, 0, 2, 2, 80])  # fatal, internal_error
        assert client.raw.recv(100) == b"", "then an end, not a reset"
        client.close()
    assert "alert" in here.edge.wait_event("overload-began")["detail"]
    with here.client() as fresh:
        fresh.exchange()


def test_none_switches_it_off(one):
    here = one(listener="queue-timeout = none")
    with stopped(here):
        old = queue(here, 12)
        grow_old()
    for client in old:
        finish(client)
    assert counters(here)[REFUSED] == 0
    assert not here.edge.events_named("overload-began")


def test_short_waits_are_no_overload(one):
    here = one(listener="queue-timeout = 60s")
    with stopped(here):
        waiting = queue(here, 30)
    for client in waiting:
        finish(client)
    assert counters(here)[REFUSED] == 0


def served(client):
    """False when it was reset."""
    try:
        finish(client)
    except ConnectionResetError:
        client.close()
        return False
    return True


def test_a_burst_is_no_overload(one):
    """17 in a queue for 16, but none has waited an eighth of queue-timeout."""
    here = one(listener="queue-timeout = 5m\nbacklog = 16")
    with stopped(here):
        waiting = queue(here, 17)
    assert all(served(client) for client in waiting)
    assert counters(here)[REFUSED] == 0


def test_a_slow_queue_about_to_overflow_loses_its_front(one):
    """Of 17 in a queue for 16, three are above seven eighths."""
    here = one(listener="queue-timeout = 16s\nbacklog = 16")
    with stopped(here):
        waiting = queue(here, 17)
        grow_old()  # for more than an eighth of queue-timeout, and far less than the whole
    lost = len([client for client in waiting if not served(client)])
    assert 1 <= lost <= 3
    assert counters(here)[REFUSED] == lost
    assert "nearly full" in here.edge.wait_event("overload-began")["detail"]


def test_who_has_left_costs_no_handshake(one):
    here = one(listener="queue-timeout = 60s")
    with stopped(here):
        for client in queue(here, 4):
            client.raw.shutdown(socket.SHUT_WR)
            client.close()
        grow_old()
    with here.client() as fresh:
        fresh.exchange()
    assert counters(here)["handshakes"] == 1
    assert counters(here)["handshake_failures"] == 0


def test_behind_a_proxy(one):
    """The time counts from what the proxy sent first."""
    here = one(listener=f'{TIMEOUT}\nproxy-from = {{"127.0.0.0/8"}}')
    header = b"PROXY TCP4 192.0.2.1 192.0.2.2 1000 443\r\n"
    with stopped(here):
        old = queue(here, 3, preamble=header)
        grow_old()
    for client in old:
        assert_reset(client)
    with here.client(preamble=header) as fresh:
        fresh.exchange()


def test_status_and_metrics_tell(one):
    port = free_port()
    here = one(extra=f'admin {{ bind = {{"127.0.0.1:{port}"}} }}')
    name = 'holdfast_process_overloaded{process="handshaker",index="0"}'
    assert metrics(port)[name] == 0
    with stopped(here):
        old = queue(here, 2)
        grow_old()
    for client in old:
        assert_reset(client)
    here.edge.wait_event("overload-began")
    assert metrics(port)['holdfast_connections_refused_overload_total{process="handshaker"}'] == 2
    wait_until(lambda: metrics(port)[name] == 0, 20, "the overload does not end")
    assert "refused for overload 2" in here.edge.run("status").stdout
