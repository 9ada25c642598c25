"""Answers that nobody has asked for, that are broken or cut off, and what may come with a good one."""

import contextlib
import os
import socket
import ssl
from pathlib import Path

import pytest

import clients
import forge
from asking import AT_ONCE, able, ask, converse, counters
from client_trust import VERSIONS
from daemon import wait_until


# ---- nobody has asked ----

@pytest.mark.parametrize("listener", ["", "detach = never"])
def test_unasked(later, folder, listener):
    """A Certificate that comes by itself, to OpenSSL and to our own record layer."""
    here = later(listener=listener)
    with forge.Forger(here.here.port, folder, root=here.here.root, later=bool(listener)) as client:
        client.send_raw(client.seal_as(forge.HANDSHAKE, b"\x0b\0\0\4\0\0\0\0"))  # RFC 9846 §4.4.2, empty
        assert client.read_until(forge.ALERT) == b"\x02\x0a"
    here.edge.wait_event("session-closed", reason="client-protocol-error")


# ---- wrong answers ----

CERTIFICATE = b"\x0b\0\x10\0"  # the head of a message of 4096 bytes
CERTIFICATE_REQUEST = b"\x0d"


def forger(here, folder):
    return forge.Forger(here.here.port, folder, root=here.here.root, later=True)


def read_request(client):
    """Until the edge asks; tickets come before."""
    kind, data = client.read_record()
    while data[:1] != CERTIFICATE_REQUEST:
        kind, data = client.read_record()
    assert kind == forge.HANDSHAKE


def begin_an_answer(here, client, at_once):
    if not at_once:
        client.send_as(forge.APPLICATION_DATA, b"x")
        assert client.read_until(forge.APPLICATION_DATA) == b"x"
        ask(here)
    read_request(client)
    client.send_as(forge.HANDSHAKE, CERTIFICATE)


@pytest.mark.parametrize("at_once", [False, True])
@pytest.mark.parametrize("failure", ["keep", "close"])
def test_half_an_answer(later, folder, at_once, failure):
    """There is no way back from it: nobody goes on as nobody."""
    here = later(listener=f"client-authenticate-timeout = 3s\n client-authenticate-failure = {failure}\n {AT_ONCE if at_once else ''}")
    with forger(here, folder) as client:
        begin_an_answer(here, client, at_once)  # within the time
        assert client.read_until(forge.ALERT) == b"\x02\x74"  # certificate_required
        event = here.edge.wait_event("handshake-failed" if at_once else "client-authentication-failed")
        assert "did not finish its answer in time" in event["detail"]
    assert counters(here) == (0, 1)


@pytest.mark.parametrize("at_once", [False, True])
@pytest.mark.parametrize("kind, data", [(forge.APPLICATION_DATA, b"in between"), (forge.ALERT, b"\x02\x50")])
def test_something_else_in_the_middle_of_an_answer(later, folder, at_once, kind, data):
    here = later(listener=AT_ONCE if at_once else "")
    with forger(here, folder) as client:
        begin_an_answer(here, client, at_once)
        client.send_as(kind, data)
        if kind == forge.APPLICATION_DATA:
            assert client.read_until(forge.ALERT) == b"\x02\x0a"  # unexpected_message
        here.edge.wait_event("handshake-failed" if at_once else "client-authentication-failed")
        assert client.read_record() is None
    assert b"in between" not in b"".join(bytes(it.received) for it in here.here.upstream.connections)
    assert counters(here) == (0, 1)


@pytest.mark.parametrize("failure", ["keep", "close"])
def test_half_a_message_is_no_way_out(later, folder, failure):
    """OpenSSL cannot ask as long as it waits for the rest of a message; that is as good as no answer."""
    here = later(listener=f"client-authenticate-failure = {failure}")
    with forger(here, folder) as client:
        client.send_as(forge.APPLICATION_DATA, b"x")
        assert client.read_until(forge.APPLICATION_DATA) == b"x"
        client.send_as(forge.HANDSHAKE, forge.KEY_UPDATE[:4])
        wait_until(lambda: clients.is_taken(client.raw))
        ask(here)
        event = here.edge.wait_event("client-authentication-failed")
        assert "OpenSSL could not ask" in event["detail"]
        if failure == "close":
            assert client.read_until(forge.ALERT) == b"\x02\x74"  # certificate_required
            here.edge.wait_event("session-closed", reason="client-authentication-failed")
        else:
            client.send_as(forge.HANDSHAKE, forge.KEY_UPDATE[4:])
            client.write_keys = client.write_keys.next()
            client.send_as(forge.APPLICATION_DATA, b"y")
            assert client.read_until(forge.APPLICATION_DATA) == b"y"


def test_half_a_client_hello_is_no_way_out(later):
    """TLS 1.2: whoever asks waits for the rest of it, and not for ever."""
    here = later(listener="renegotiation-timeout = 5s")
    with forge.Forger12(here.here.port, root=here.here.root) as client:
        client.send_as(forge.HANDSHAKE, b"\x01\0\0\x26\x03")
        wait_until(lambda: clients.is_taken(client.raw))
        ask(here)
        here.edge.wait_event("session-closed", reason="renegotiation-failed")


@VERSIONS
@pytest.mark.parametrize("at_once", [False, True])
def test_huge_certificate(later, authority, folder, version, at_once):
    """A chain that is longer than OpenSSL takes."""
    here = later(listener=AT_ONCE if at_once else "")
    pair = authority.issue_client("huge")
    chain, key = here.identity(pair)
    Path(chain).write_bytes(Path(chain).read_bytes() + authority.authorities_pem() * 150)
    with here.here.wire(identity=(chain, key), later=True, version=version) as client:
        if not at_once:
            client.send(b"x")
            client.receive_exactly(1)
            ask(here)
        assert client.alert() == "illegal_parameter"
    event = here.edge.wait_event("handshake-failed" if at_once else "client-authentication-failed")
    assert "excessive message size" in event["detail"]
    assert counters(here) == (0, 1)


@pytest.mark.parametrize("at_once", [False, True])
def test_key_updates_before_the_answer(later, authority, at_once):
    here = later(listener=AT_ONCE if at_once else "")
    with here.here.wire(identity=here.identity(authority.issue_client("busy")), later=True, version="1.3") as client:
        if not at_once:
            client.send(b"x")
            client.receive_exactly(1)
            ask(here)
        wait_until(lambda: clients.waiting_bytes(client.raw), 20)
        for _ in range(20):
            assert clients.LIBSSL.SSL_key_update(clients.pointer(client.object), 1) == 1  # with a request
            client.send(b"k")
        assert client.receive_exactly(20) == b"k" * 20
        assert here.edge.wait_event("client-authenticated")["detail"] == "CN=busy"
        client.send(b"after")
        assert client.receive_exactly(5) == b"after"


@VERSIONS
def test_asked_while_it_is_asked(later, authority, version):
    """Nothing is asked twice; one answer is the answer."""
    here = later(extra="workers = 1")
    with able(here, authority.issue_client("once"), version=version) as client:
        ask(here)
        waiting = wait_until(lambda: clients.waiting_bytes(client.raw), 20)
        with able(here, version=version) as other:
            assert [it["result"] for it in ask(here)] == ["asked"] * 2
            wait_until(lambda: clients.waiting_bytes(other.raw), 20)  # what is asked is looked for in one pass
        assert clients.waiting_bytes(client.raw) == waiting
        converse(client, here, "client-authenticated", detail="CN=once")
        for _ in range(5):
            client.exchange()
        assert counters(here) == (1, 0)


def test_data_right_behind_the_answer(later, authority):
    """As much as may wait was sent before; every byte goes up, in order. (With TLS 1.2 it waits for our Finished.)"""
    here = later(listener=AT_ONCE)
    before, behind = os.urandom(32700), os.urandom(200)
    with here.here.wire(identity=here.identity(authority.issue_client("full")), later=True, version="1.3") as client:
        client.send(before)
        while not client.outgoing.pending:  # its answer
            client.incoming.write(client.raw.recv(65536))
            with contextlib.suppress(ssl.SSLWantReadError):
                client.object.read(1)
        client.send_raw(client.outgoing.read() + client.seal(behind))
        assert client.receive_exactly(len(before + behind)) == before + behind


def test_at_once_and_gone(later, authority):
    here = later(listener=AT_ONCE)
    with here.here.wire(identity=here.identity(authority.issue_client("gone")), later=True) as client:
        wait_until(lambda: clients.waiting_bytes(client.raw), 20)
        client.raw.shutdown(socket.SHUT_WR)
        event = here.edge.wait_event("handshake-failed")
    assert event["stage"] == "client_authentication" and "the client closed" in event["detail"], event
    assert counters(here) == (0, 1)
