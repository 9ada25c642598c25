"""TLS 1.2 renegotiation by policy: from both ends, under traffic, refused, declined, ignored, and made use of wrongly."""

import contextlib
import ctypes
import json
import os
import select
import signal
import socket
import ssl
import threading
import time
from pathlib import Path

import pytest

import clients
import forge
import servers
from clients import LIBSSL, pointer, renegotiate
from daemon import SANITIZED, free_port, wait_until
from scrapes import metrics
from transfers import exchange_at_once, peer_process


def set_ticket(connection, size):
    """A ticket that the next ClientHello carries."""
    assert LIBSSL.SSL_set_session_ticket_ext(pointer(connection), bytes(size), size) == 1


def set_ciphers(connection, ciphers):
    assert LIBSSL.SSL_set_cipher_list(pointer(connection), ciphers.encode()) == 1


def attached(here):
    return {reason: count for reason, count in here.edge.json("status")["attached"].items() if count}


def counter(here, name):
    return here.edge.json("status")["counters"][name]


# ---- the client begins ----

@pytest.mark.parametrize("cipher", ["ECDHE-ECDSA-AES128-GCM-SHA256", "ECDHE-ECDSA-CHACHA20-POLY1305",
                                    "ECDHE-ECDSA-AES128-SHA256:@SECLEVEL=0"])
def test_client_begins(shop, cipher):
    here = shop(listener='renegotiation = allow\n renegotiation-rate = "100/1h"\n cbc-suites = yes')
    with here.client(version="1.2", ciphers=cipher) as client:
        client.exchange()
        for round_ in range(1, 4):
            renegotiate(client.socket)
            client.exchange("renegotiated")
            here.edge.wait_event("renegotiated", count=round_)
        assert counter(here, "renegotiations") == 3
        assert attached(here) == {"suite" if "SHA256:" in cipher else "renegotiation": 1}


def test_s_client_begins(shop):
    here = shop(listener="renegotiation = allow")
    process = clients.LineProcess(["openssl", "s_client", "-connect", f"127.0.0.1:{here.port}", "-servername", clients.NAME,
                                   "-tls1_2"])
    try:
        process.exchange()
        process.write(b"R\n")
        here.edge.wait_event("renegotiated")
        process.exchange("renegotiated")
    finally:
        process.close()


def test_only_tls12_stays_attached_for_it(shop):
    here = shop(listener="renegotiation = allow")
    with here.client(version="1.3") as client:
        client.exchange()
        assert attached(here) == {}


def test_no_more_often_than_the_rate(shop):
    here = shop(listener='renegotiation = allow\n renegotiation-rate = "2/1h"')
    with here.client(version="1.2") as client:
        for _ in range(2):
            renegotiate(client.socket)
            client.exchange()
        renegotiate(client.socket)
        with pytest.raises(ssl.SSLError, match="NO_RENEGOTIATION"):  # OpenSSL's client gives up by itself
            client.exchange()
    wait_until(lambda: counter(here, "renegotiations_refused") == 1)


def test_no_more_than_the_budget(shop):
    here = shop(listener='renegotiation = allow\n renegotiation-rate = "100/1h"',
                extra="renegotiation-budget = 1\n workers = 1")
    with here.client(version="1.2") as client:
        with pytest.raises(ssl.SSLError, match="NO_RENEGOTIATION"):
            for _ in range(100):
                renegotiate(client.socket)
                client.exchange()
    wait_until(lambda: counter(here, "renegotiations_refused") == 1)


BUDGET = 3  # few, so that no machine is so slow that time gives it back


def renegotiations_until_refused(client):
    """How many succeed in a row; OpenSSL's client gives up by itself at the first that does not."""
    for count in range(1000):
        renegotiate(client.socket)
        try:
            client.exchange()
        except ssl.SSLError as error:
            assert "NO_RENEGOTIATION" in str(error), error
            return count
    return 1000


@contextlib.contextmanager
def stopped(pid):
    os.kill(pid, signal.SIGSTOP)
    try:
        wait_until(lambda: "\nState:\tT" in Path(f"/proc/{pid}/status").read_text(encoding="ascii"))
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


def at_both_handshakers(stack, here, count):
    """Sessions by the handshaker that carries them, `count` at each of two."""
    pids = here.edge.workers("handshaker")
    assert len(pids) == 2
    held = []
    for pid, other in (pids, pids[::-1]):
        with stopped(other):  # whoever is free takes a connection, most often the same
            held.append([stack.enter_context(here.client(version="1.2")) for _ in range(count)])
        assert [clients.holders(client.raw, pids) for client in held[-1]] == [[pid]] * count
    return held


def test_one_budget_for_all_handshakers(shop):
    """One handshaker alone may use it up; then there is no other for the next."""
    here = shop(listener='renegotiation = allow\n renegotiation-rate = "1000/1h"',
                extra=f"renegotiation-budget = {BUDGET}\n workers = 2")
    with contextlib.ExitStack() as stack:
        first, second = at_both_handshakers(stack, here, 2)
        begin = time.monotonic()
        alone = renegotiations_until_refused(first[0])
        assert alone >= BUDGET
        both = alone + sum(map(renegotiations_until_refused, [*second[:2], first[1]]))
        assert both <= BUDGET + BUDGET * (time.monotonic() - begin)
    wait_until(lambda: counter(here, "renegotiations_refused") == 4)


def test_another_budget_comes_into_force(shop):
    here = shop(listener='renegotiation = allow\n renegotiation-rate = "1000/1h"', extra="renegotiation-budget = 1")
    with here.client(version="1.2") as client:
        begin = time.monotonic()
        assert renegotiations_until_refused(client) <= 1 + (time.monotonic() - begin) + 1
    here.edge.config_path.write_text(here.edge.config_path.read_text().replace("budget = 1", "budget = 1000"))
    here.edge.run("reload")

    def plenty():
        with here.client(version="1.2") as one:
            for _ in range(30):
                renegotiate(one.socket)
                try:
                    one.exchange()
                except ssl.SSLError:
                    return False
            return True
    wait_until(plenty, 30)


@pytest.mark.parametrize("listener", ["detach = never", "renegotiation = authenticated", "renegotiate-every = 1h"])
def test_refused_without_permission(shop, listener):
    here = shop(listener=listener)
    with here.client(version="1.2") as client:
        client.exchange()
        renegotiate(client.socket)
        with pytest.raises(ssl.SSLError, match="NO_RENEGOTIATION"):
            client.exchange()
    wait_until(lambda: counter(here, "renegotiations_refused") == 1)
    assert counter(here, "renegotiations") == 0


# ---- the client makes the wrong use of it ----

def test_protocol_stays(shop):
    """OpenSSL's client does not negotiate it again."""
    here = shop(listener='renegotiation = allow\n alpn = {"one", "two"}')
    with here.client(version="1.2", alpn=["two"]) as client:
        client.exchange()
        renegotiate(client.socket)
        client.exchange()
    here.edge.wait_event("renegotiated")


def test_weaker_suite_is_refused(shop):
    here = shop(listener="renegotiation = allow\n cbc-suites = yes")
    with here.client(version="1.2", ciphers="ECDHE-ECDSA-AES256-GCM-SHA384") as client:
        client.exchange()
        set_ciphers(client.socket, "ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-ECDSA-AES256-SHA384")
        renegotiate(client.socket)
        with pytest.raises(ssl.SSLError, match="HANDSHAKE_FAILURE"):
            client.exchange()
    here.edge.wait_event("session-closed", reason="renegotiation-failed")
    assert "our alert handshake_failure" in here.edge.wait_event("renegotiation-failed")["detail"]
    assert counter(here, "renegotiations_failed") == 1


def begin(client):
    """Sends a ClientHello in the session of a WireClient, and waits for the answer without taking it."""
    renegotiate(client.object)
    with pytest.raises(ssl.SSLWantReadError):
        client.object.do_handshake()
    client.flush()
    wait_until(lambda: clients.waiting_bytes(client.raw))


@pytest.mark.parametrize("reason", ["client-truncated", "client-reset"])
def test_client_goes_in_the_middle(shop, reason):
    here = shop(listener="renegotiation = allow")
    with here.wire(version="1.2") as client:
        client.send(b"x")
        client.receive_exactly(1)
        begin(client)
        if reason == "client-reset":
            client.raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
            client.close()
        else:
            client.raw.shutdown(socket.SHUT_WR)
        assert here.edge.wait_event("renegotiation-failed")["detail"] == "the client is gone"
        here.edge.wait_event("session-closed", reason=reason)
    assert counter(here, "renegotiations_failed") == 1


@pytest.mark.parametrize("size, limit", [(6000, "4k"), (60000, "16k")])
def test_large_client_hello(shop, size, limit):
    here = shop(listener=f"renegotiation = allow\n client-hello-max = {limit}")
    with here.client(version="1.2") as client:
        client.exchange()
        set_ticket(client.socket, size)
        renegotiate(client.socket)
        with pytest.raises(ssl.SSLError, match="ILLEGAL_PARAMETER"):
            client.exchange()
    here.edge.wait_event("session-closed", reason="renegotiation-failed")
    assert "client-hello-max" in here.edge.wait_event("renegotiation-failed")["detail"]


REFUSALS = 8  # in a row that a client may come to without data in between
CLIENT_HELLO = b"\x01\0\0\x26" + bytes(38)  # as much of one as it takes to be refused
REFUSING = pytest.mark.parametrize("listener", ["detach = never", "renegotiation = authenticated"])
WARNING = b"\x01\x64"  # no_renegotiation


@REFUSING
def test_flood_without_data(shop, listener):
    here = shop(listener=listener)
    with forge.Forger12(here.port, root=here.root) as client:
        client.send_raw(b"".join(client.seal_as(forge.HANDSHAKE, CLIENT_HELLO) for _ in range(20)))
        here.edge.wait_event("session-closed", reason="renegotiation-failed")
        assert client.read_until(forge.ALERT) == WARNING


@REFUSING
def test_warnings_do_not_pile_up(shop, server, listener):
    """A client that asks again and again, with data in between, and takes nothing of what it is owed, is not read from."""
    flood = 8 << 20

    def say_much_and_listen(connection):
        connection.socket.sendall(bytes(flood))
        servers.record(connection)

    here = shop(server(say_much_and_listen), listener=listener)
    with forge.Forger12(here.port, root=here.root, receive_buffer=4096) as client, here.client(version="1.2") as other:
        before = here.edge.pss("handshaker")
        group = REFUSALS * [(forge.HANDSHAKE, CLIENT_HELLO)] + [(forge.APPLICATION_DATA, b"x")]
        groups, rest = 0, b""
        client.raw.setblocking(False)
        while select.select([], [client.raw], [], 2)[1]:
            if not rest:
                rest, groups = b"".join(client.seal_as(*record) for record in group), groups + 1
            rest = rest[client.raw.send(rest):]
            assert groups < 100000, "nothing holds the client back"
        if not SANITIZED:  # which keeps what was freed
            assert here.edge.pss("handshaker") - before < 1024, "what it is owed piles up"
        assert other.receive(flood) == bytes(flood)  # nobody else is held up
        client.raw.settimeout(20)
        threading.Thread(target=client.raw.sendall, args=(rest,), daemon=True).start()
        data = warnings = 0
        while data < flood or warnings < groups * REFUSALS:
            kind, content = client.read_record()
            assert kind == forge.APPLICATION_DATA or content == WARNING, (kind, content)
            data, warnings = data + len(content) * (kind != forge.ALERT), warnings + (kind == forge.ALERT)
        wait_until(lambda: b"x" * groups in [bytes(it.received) for it in here.upstream.connections])


@REFUSING
def test_half_a_client_hello(shop, server, listener):
    """What comes from the server meanwhile waits, and nothing is lost."""
    here = shop(server(servers.record), listener=listener)
    with forge.Forger12(here.port, root=here.root) as client:
        client.send_as(forge.APPLICATION_DATA, b"before")
        upstream, = here.upstream.wait_connections(1)
        wait_until(lambda: bytes(upstream.received) == b"before")
        client.send_as(forge.HANDSHAKE, CLIENT_HELLO[:20])
        wait_until(lambda: clients.is_taken(client.raw))
        upstream.socket.sendall(b"from the server")
        client.send_as(forge.HANDSHAKE, CLIENT_HELLO[20:])
        assert client.read_record() == (forge.ALERT, WARNING)
        assert client.read_record() == (forge.APPLICATION_DATA, b"from the server")
        client.send_as(forge.APPLICATION_DATA, b" and after")
        wait_until(lambda: bytes(upstream.received) == b"before and after")
    assert counter(here, "renegotiations_refused") == 1


def test_half_a_client_hello_and_no_more(shop):
    here = shop(listener="renegotiation = authenticated\n renegotiation-timeout = 200ms")
    with forge.Forger12(here.port, root=here.root) as client:
        client.send_as(forge.HANDSHAKE, CLIENT_HELLO[:20])
        assert "did not finish in time" in here.edge.wait_event("renegotiation-failed")["detail"]
        here.edge.wait_event("session-closed", reason="renegotiation-failed")
        assert client.read_record() is None


@pytest.mark.parametrize("damage", ["record", "alert"])
def test_fault_is_no_renegotiation(shop, damage):
    """OpenSSL is in no state to write after a fault, either."""
    here = shop(listener="renegotiation = allow")
    with forge.Forger12(here.port, root=here.root) as client:
        if damage == "record":
            client.send_raw(client.seal_as(forge.APPLICATION_DATA, b"x")[:-1] + b"?")
        else:
            client.send_as(forge.ALERT, b"\x02\x50")  # internal_error
        here.edge.wait_event("session-closed", reason="client-protocol-error")
    assert not here.edge.events_named("renegotiation-failed")


# ---- we ask ----

def test_asked_on_a_schedule(shop):
    here = shop(listener="renegotiate-every = 1s")
    with here.client(version="1.2") as client:
        for round_ in range(1, 4):
            wait_until(lambda: client.exchange() or len(here.edge.events_named("renegotiated")) >= round_, 20)
        client.exchange()


def test_asked_by_the_operator(shop):
    here = shop(listener="renegotiation = allow")
    with here.client(version="1.2") as client:
        client.exchange()
        session, = here.edge.lines("sessions")
        here.edge.run("keys", "traffic", "renew", "--session", session["id"])
        wait_until(lambda: client.exchange() or here.edge.events_named("renegotiated"), 20)


def test_attached_tls13_gets_another_key(shop):
    admin = free_port()
    here = shop(listener="detach = never", extra=f'admin {{ bind = "127.0.0.1:{admin}" }}')
    with here.client(version="1.3") as client:
        client.exchange()
        here.edge.run("keys", "traffic", "renew", "--listener", "shop")
        wait_until(lambda: client.exchange() or any(value for name, value in metrics(admin).items()
                                                    if name.startswith("holdfast_key_updates_sent_total")), 20)
        client.exchange()


@pytest.mark.parametrize("listener", ["renegotiate-every = 1s", "renegotiate-every = 1s\n detach = never"])
def test_asked_under_traffic(shop, listener):
    """Bytes flow both ways all the time; every one arrives."""
    size = 192 << 20
    with peer_process("flood.py", size, 5) as upstream:
        here = shop(upstream, listener=listener)
        with here.client(version="1.2") as client:
            sent, received, count = exchange_at_once(client, size, 6)
            client.socket.setblocking(True)
            with contextlib.suppress(OSError):
                client.socket.unwrap()
            report = json.loads(upstream.stdout.readline())
    assert (count, received, sent) == (size, report["sent"], report["received"])
    assert counter(here, "renegotiations_failed") == 0


def declining(**options):
    made = clients.context(version="1.2", **options)
    made.options |= ssl.OP_NO_RENEGOTIATION
    return made


@pytest.mark.parametrize("cipher", ["ECDHE-ECDSA-AES128-GCM-SHA256", "ECDHE-ECDSA-CHACHA20-POLY1305"])
def test_client_declines_and_goes_on(shop, cipher):
    here = shop(listener="renegotiate-every = 1s")
    with here.client(tls=declining(ciphers=cipher)) as client:
        wait_until(lambda: client.exchange() or here.edge.events_named("renegotiation-failed"), 20)
        for _ in range(20):
            client.exchange("x" * 30000)
        assert "declined" in here.edge.events_named("renegotiation-failed")[0]["detail"]
        client.socket.unwrap()
    here.edge.wait_event("session-closed", reason="both-closed")


def test_client_declines_and_is_closed(shop):
    here = shop(listener="renegotiate-every = 1s\n renegotiation-on-timeout = close")
    with here.client(tls=declining()) as client:
        with pytest.raises((EOFError, OSError)):
            deadline = time.monotonic() + 20
            while time.monotonic() < deadline:
                client.exchange()
    here.edge.wait_event("session-closed", reason="renegotiation-failed")


def test_client_does_not_answer_and_goes_on(shop):
    """It does not read: our request lies in its socket until after the time-out."""
    here = shop(listener="renegotiate-every = 1s\n renegotiation-timeout = 3s")  # as long as the late one may take, too
    with here.client(version="1.2") as client:
        client.exchange()
        event = here.edge.wait_event("renegotiation-failed")
        assert "did not begin in time" in event["detail"]
        client.exchange("late")  # now it does, and what was held back comes too
        here.edge.wait_event("renegotiated")
        client.exchange("later")


def test_client_does_not_answer_and_is_closed(shop):
    here = shop(listener="renegotiate-every = 1s\n renegotiation-timeout = 200ms\n renegotiation-on-timeout = close")
    with here.wire(version="1.2") as client:
        client.send(b"x")
        client.receive_exactly(1)
        here.edge.wait_event("session-closed", reason="renegotiation-failed")


def test_client_ends_its_stream_while_we_wait(shop):
    """It will not begin any more: what it is still owed is not held back until the time-out."""
    here = shop(listener="renegotiate-every = 1s\n renegotiation-timeout = 10m")
    with here.wire(version="1.2") as client:
        LIBSSL.SSL_set_options(pointer(client.object), ctypes.c_uint64(ssl.OP_NO_RENEGOTIATION))
        client.send(b"before")
        assert client.receive_exactly(6) == b"before"
        wait_until(lambda: clients.waiting_bytes(client.raw), 20)
        client.send(b"the last")
        client.close_notify()
        assert client.read_to_end() == b"the last"
    here.edge.wait_event("session-closed", reason="both-closed")
    assert "alert close_notify" in here.edge.wait_event("renegotiation-failed")["detail"]


def test_nothing_is_written_while_we_wait(shop, server):
    """From the request on until the handshake is over, or the time-out."""
    here = shop(listener="renegotiate-every = 1s\n renegotiation-timeout = 10m")
    with here.wire(version="1.2") as client:
        client.send(b"before")
        assert client.receive_exactly(6) == b"before"
        request = wait_until(lambda: clients.waiting_bytes(client.raw), 20)
        client.send(b"meanwhile")  # OpenSSL's client has not read the request
        upstream, = here.upstream.wait_connections(1)
        wait_until(lambda: bytes(upstream.received) == b"beforemeanwhile")
        assert clients.waiting_bytes(client.raw) == request
        assert client.receive_exactly(9) == b"meanwhile"
    here.edge.wait_event("renegotiated")
