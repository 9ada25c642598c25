"""Sessions that stay with OpenSSL: they behave as any other, survive what can be survived, and say why they stay."""

import contextlib
import json
import os
import select
import signal
import socket
import ssl

import pytest

import forge
import servers
from daemon import SANITIZED, wait_until
from sessions import PROTECT, open_sessions
from transfers import exchange_at_once, peer_process

NEVER = "detach = never"


def attached(here):
    """Attached sessions by reason, those that there are."""
    return {reason: count for reason, count in here.edge.json("status")["attached"].items() if count}


def counters(here):
    return here.edge.json("status")["counters"]


# ---- the ordinary life of a session ----

@pytest.mark.parametrize("version", ["1.2", "1.3"])
def test_bytes_both_ways(shop, version):
    size = 24 << 20
    with peer_process("flood.py", size, 1) as upstream:
        here = shop(upstream, listener=NEVER)
        with here.client(version=version) as client:
            sent, received, count = exchange_at_once(client, size, 2)
            assert attached(here) == {"policy": 1}
            client.socket.setblocking(True)
            with contextlib.suppress(OSError):
                client.socket.unwrap()
            report = json.loads(upstream.stdout.readline())
    assert (count, received, sent) == (size, report["sent"], report["received"])
    wait_until(lambda: attached(here) == {}, message="its place on the board was not given back")


def test_sessions_say_why_and_with_which_suite(shop):
    here = shop(listener=NEVER)
    with here.client(version="1.2", ciphers="ECDHE-ECDSA-CHACHA20-POLY1305") as client:
        client.exchange()
        session, = here.edge.lines("sessions")
        assert session["attached"] == "policy"
        assert (session["version"], session["suite"]) == ("TLSv1.2", "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256")
        assert "attached to OpenSSL: policy 1" in here.edge.run("status").stdout


@pytest.mark.parametrize("version", ["1.2", "1.3"])
def test_client_ends_first(shop, server, version):
    """close_notify of the client ends its direction only."""
    upstream = server(servers.echo)
    here = shop(upstream, listener=NEVER)
    with here.wire(version=version) as client:
        client.send(b"first")
        client.close_notify()
        assert client.receive_exactly(5) == b"first"
        assert client.read_to_end() == b""
    here.edge.wait_event("session-closed", reason="both-closed")


def test_server_ends_first(shop, server):
    def say_and_go(connection):
        connection.socket.sendall(b"all there is")
        connection.socket.shutdown(socket.SHUT_WR)
        while connection.socket.recv(65536):
            pass

    here = shop(server(say_and_go), listener=NEVER)
    with here.wire() as client:
        assert client.read_to_end() == b"all there is"
        client.close_notify()
        here.edge.wait_event("session-closed", reason="both-closed")


def test_client_truncates(shop, server):
    upstream = server(servers.echo)
    here = shop(upstream, listener=NEVER)
    with here.wire() as client:
        client.send(b"half of")
        client.receive_exactly(7)
        client.raw.shutdown(socket.SHUT_WR)
        here.edge.wait_event("session-closed", reason="client-truncated")
    connection, = upstream.wait_connections(1)
    assert connection.ended.wait(30) and isinstance(connection.error, ConnectionResetError)


def test_truncation_tolerated(shop, server):
    upstream = server(servers.echo)
    here = shop(upstream, listener=f"{NEVER}\n tolerate-truncation = yes")
    with here.wire() as client:
        client.send(b"half of")
        client.receive_exactly(7)
        client.raw.shutdown(socket.SHUT_WR)
        here.edge.wait_event("session-closed", reason="both-closed")


def test_client_resets(shop, server):
    upstream = server(servers.echo)
    here = shop(upstream, listener=NEVER)
    with here.client() as client:
        client.exchange()
        client.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        client.close()
    here.edge.wait_event("session-closed", reason="client-reset")
    connection, = upstream.wait_connections(1)
    assert connection.ended.wait(30) and isinstance(connection.error, ConnectionResetError)


def test_client_ends_and_then_resets(shop, server):
    """Its own stream ended in order; what the server still sends has nowhere to go, and that is known at once."""
    def flood_at_its_end(connection):
        while data := connection.socket.recv(100):
            connection.socket.sendall(data)
        with contextlib.suppress(OSError):
            while True:
                connection.socket.sendall(b"x" * 65536)

    upstream = server(flood_at_its_end)
    here = shop(upstream, listener=NEVER)
    with here.wire() as client:
        client.send(b"x")
        client.receive_exactly(1)
        client.close_notify()
        client.raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    event = here.edge.wait_event("session-closed")
    assert event["reason"] == "client-reset"
    connection, = upstream.wait_connections(1)
    assert connection.ended.wait(30)
    wait_until(lambda: attached(here) == {})


def test_server_resets(shop, server):
    def reset(connection):
        connection.socket.recv(100)
        connection.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")

    here = shop(server(reset), listener=NEVER)
    with here.wire() as client:
        client.send(b"x")
        assert client.alert() in ("reset", "truncated")
    here.edge.wait_event("session-closed", reason="upstream-reset")


@pytest.mark.parametrize("version", ["1.2", "1.3"])
def test_damaged_record(shop, version):
    here = shop(listener=NEVER)
    with here.wire(version=version) as client:
        record = bytearray(client.seal(b"damaged"))
        record[-1] ^= 1
        client.send_raw(record)
        assert client.alert() == "bad_record_mac"
    here.edge.wait_event("session-closed", reason="client-protocol-error")


def test_client_renews_its_key_often(shop, folder):
    here = shop(listener=NEVER)
    with forge.Forger(here.port, folder, root=here.root) as client:
        for number in range(300):
            message = b"message %d" % number
            client.send_raw(client.update_keys(request=number % 2 == 0) + client.seal_as(forge.APPLICATION_DATA, message))
            assert client.read_until(forge.APPLICATION_DATA) == message


def test_worn_key_is_renewed(shop, folder):
    here = shop(listener=f"{NEVER}\n traffic-key-records = 100")
    with forge.Forger(here.port, folder, root=here.root) as client:
        def renewed():
            client.send_raw(client.seal_as(forge.APPLICATION_DATA, b"x"))
            kind, data = client.read_record()
            while kind != forge.APPLICATION_DATA:
                if data == forge.KEY_UPDATE:
                    assert client.read_until(forge.APPLICATION_DATA) == b"x"
                    return True
                kind, data = client.read_record()
            return False
        wait_until(renewed, 30)
        client.send_raw(client.seal_as(forge.APPLICATION_DATA, b"under the new key"))
        assert client.read_until(forge.APPLICATION_DATA) == b"under the new key"


def test_worn_key_that_cannot_be_renewed_ends_the_session(shop):
    here = shop(listener=f"{NEVER}\n traffic-key-records = 100")
    with here.wire(version="1.2") as client:
        answer, count = b"x", 0
        while answer and count < 200:
            client.send(b"x")
            answer = client.receive()
            count += 1
        assert 100 <= count < 200
    here.edge.wait_event("traffic-key-exhausting")
    here.edge.wait_event("session-closed", reason="traffic-key-limit")


def test_worn_key_of_tls12_is_renewed_by_a_renegotiation(shop):
    """Where the policy allows one: at the limit the client is asked, and the new key counts from the beginning."""
    here = shop(listener="renegotiation = allow\n traffic-key-records = 100")
    with here.client(version="1.2") as client:
        for round_ in range(1, 4):
            wait_until(lambda: client.exchange() or len(here.edge.events_named("renegotiated")) >= round_)
        client.exchange()
    assert not here.edge.events_named("traffic-key-exhausting")
    here.edge.wait_event("session-closed")
    assert not here.edge.events_named("session-closed", reason="traffic-key-limit")


@pytest.mark.parametrize("version", ["1.2", "1.3"])
def test_client_that_does_not_read_is_not_read_from(shop, version):
    """What it is owed stays within bounds here; its own socket fills up, and nothing is lost once it reads."""
    here = shop(listener=NEVER)
    with here.wire(version=version, receive_buffer=4096) as client:
        before = here.edge.pss("handshaker")
        client.raw.setblocking(False)
        sent, rest = 0, b""
        while select.select([], [client.raw], [], 2)[1]:
            rest = rest or client.seal(bytes(16384))
            done = client.raw.send(rest)
            rest, sent = rest[done:], sent + done
            assert sent < 256 << 20, "nothing holds the client back"
        if not SANITIZED:  # which keeps what was freed
            assert here.edge.pss("handshaker") - before < 1024, "what it is owed piles up"
        client.raw.settimeout(20)
        assert client.receive_exactly(1 << 20) == bytes(1 << 20)


def test_flood_of_key_updates(shop, folder):
    """OpenSSL would take any number."""
    here = shop(listener=NEVER)
    with forge.Forger(here.port, folder, root=here.root) as client:
        for _ in range(41):
            client.send_raw(b"".join(client.update_keys(request=True) for _ in range(100)))
        for _ in range(100):
            if here.edge.json("status")["sessions"] == 0:
                break
            client.send_raw(b"".join(client.update_keys() for _ in range(100)))
        assert client.read_until(forge.ALERT) == b"\x02\x0a"
        here.edge.wait_event("session-closed", reason="client-protocol-error")


def test_cbc_suites_only_where_asked_for(shop):
    here = shop(listener="cbc-suites = yes")
    for cipher in ("ECDHE-ECDSA-AES128-SHA256", "ECDHE-ECDSA-AES256-SHA"):
        with here.client(version="1.2", ciphers=f"{cipher}:@SECLEVEL=0") as client:
            client.exchange()
            assert attached(here) == {"suite": 1}
        wait_until(lambda: attached(here) == {})
    with here.client(version="1.2") as client:  # what can be detached is
        client.exchange()
        assert attached(here) == {}


def test_cbc_suites_are_not_offered_by_themselves(shop):
    here = shop(listener=NEVER)
    with pytest.raises(ssl.SSLError, match="HANDSHAKE_FAILURE"):
        here.client(version="1.2", ciphers="ECDHE-ECDSA-AES128-SHA256")


# ---- processes ----

@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGILL])
def test_relay_dies(shop, number):
    here = shop(extra=PROTECT, listener=NEVER)
    here.edge.tolerated = ("killed",)
    with contextlib.ExitStack() as stack:
        held = open_sessions(stack, here, 8)
        for index in (0, 1):
            mark = here.edge.mark()
            os.kill(here.edge.workers("relay")[index], number)
            here.edge.wait_event("sessions-adopted", since=mark, process=f"relay/{index}")
            for client in held:
                client.exchange("after the crash")
    assert not here.edge.events_named("session-closed", reason="lost-with-its-relay")


def test_handshaker_dies_with_what_it_carries(shop, server):
    upstream = server(servers.echo)
    here = shop(upstream, listener=NEVER)
    here.edge.tolerated = ("killed",)
    with here.client() as client:
        client.exchange()
        for pid in here.edge.workers("handshaker"):
            os.kill(pid, signal.SIGKILL)
        here.edge.wait_event("session-closed", reason="lost-with-its-handshaker")
        with pytest.raises((OSError, EOFError, ssl.SSLError)):
            client.exchange()
    wait_until(lambda: attached(here) == {}, message="the places of the dead were not given back")
    connection, = upstream.wait_connections(1)
    assert connection.ended.wait(30) and isinstance(connection.error, ConnectionResetError)

    def served():
        with contextlib.suppress(OSError, EOFError), here.client() as another:
            another.exchange()
            return True
        return False
    wait_until(served)


def test_reload_keeps_them(shop):
    here = shop(listener=NEVER)
    with here.client() as client:
        client.exchange()
        config = here.edge.config_path.read_text().replace(NEVER, f"{NEVER}\n idle-timeout = 1h")
        here.edge.config_path.write_text(config)
        here.edge.run("reload")
        client.exchange("after the reload")
        assert attached(here) == {"policy": 1}


def test_upgrade_keeps_them_for_a_while(shop):
    """The handshaker that is replaced carries them on, and ends when they have."""
    here = shop(listener=NEVER, extra="drain-timeout = 60s")
    with here.client(version="1.3") as client, here.client(version="1.2") as other:
        client.exchange()
        other.exchange()
        before = here.edge.workers("handshaker")
        here.edge.run("upgrade")
        client.exchange("after the upgrade")
        other.exchange("after the upgrade")
        assert attached(here) == {"policy": 2}
        assert not set(before) & set(here.edge.workers("handshaker"))
        assert set(before) & set(here.edge.processes())
    wait_until(lambda: not set(before) & set(here.edge.processes()), 20, "a replaced handshaker stays for nothing")


def test_replaced_handshaker_has_no_more_than_the_drain_timeout(shop):
    here = shop(listener=NEVER, extra="drain-timeout = 1s")
    with here.wire() as client:
        client.send(b"x")
        client.receive_exactly(1)
        here.edge.run("upgrade")
        assert client.alert() == "close_notify"
    here.edge.wait_event("session-closed", reason="drained")


def test_second_upgrade_ends_those_of_the_first(shop):
    here = shop(listener=NEVER, extra="drain-timeout = 60s")
    with here.wire() as first:
        first.send(b"x")
        first.receive_exactly(1)
        here.edge.run("upgrade")
        with here.client() as second:
            second.exchange()
            here.edge.run("upgrade")
            assert first.alert() == "close_notify"
            second.exchange("after its first upgrade")


def test_stop_ends_them_in_order(shop):
    here = shop(listener=NEVER, extra="drain-timeout = 1s")
    with here.wire() as client, here.wire(version="1.2") as other:
        for one in (client, other):
            one.send(b"x")
            one.receive_exactly(1)
        here.edge.process.send_signal(signal.SIGTERM)
        assert client.alert() == "close_notify"
        assert other.alert() == "close_notify"
        here.edge.wait_end()
