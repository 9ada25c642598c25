"""Clients that are asked who they are because of their name: at once, before any server hears of them."""

import contextlib
import ssl
import subprocess

import pytest

import clients
import pki
import servers
from asking import AT_ONCE, SHORT, able, ask, converse, counters, subject
from client_trust import VERSIONS, Place
from clients import NAME
from daemon import wait_until
from proxy_header import parse_version2


def refused(here, pair=None, say=b"", **options):
    """The alert that a client gets after its handshake, and the event; no server has heard of it."""
    mark = here.edge.mark()
    with here.here.wire(identity=pair and here.identity(pair), **options) as client:
        if say:
            client.send(say)
        alert = client.alert()
    event = here.edge.wait_event("handshake-failed", since=mark)
    assert event["stage"] == "client_authentication", event
    assert not here.here.upstream.connections
    return alert, event


@VERSIONS
def test_at_once(later, authority, version):
    """Nothing goes up before the client is known; what it has sent before then does."""
    here = later(listener=AT_ONCE)
    with able(here, authority.issue_client("alice"), version=version) as client:
        event = here.edge.wait_event("client-authenticated")
        assert event["detail"] == "CN=alice"
        assert subject(here) == "CN=alice"
        for _ in range(5):
            client.exchange("v" * 20000)
        assert counters(here) == (1, 0)


def http(connection):
    data = b""
    while b"\r\n\r\n" not in data:
        data += connection.socket.recv(4096)
    connection.socket.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: close\r\n\r\nknown")


def test_at_once_of_curl(later, authority, need, server):
    """Its request is there before it has read that it is asked, and is answered when it is known."""
    here = later(listener=AT_ONCE, upstream=server(http))
    chain, key = here.identity(authority.issue_client("curl"))

    def fetch(*options):
        return subprocess.run([need("curl"), "-sS", "--cacert", here.here.root, "--resolve", f"{NAME}:{here.here.port}:127.0.0.1",
                               *options, f"https://{NAME}:{here.here.port}/"], capture_output=True, text=True, timeout=30,
                              check=False)
    assert fetch("--cert", chain, "--key", key).stdout == "known"
    assert here.edge.wait_event("client-authenticated")["detail"] == "CN=curl"
    assert fetch().returncode != 0


@VERSIONS
def test_at_once_without(later, authority, tmp_path, version):
    here = later(listener=AT_ONCE)
    required = "certificate_required" if version == "1.3" else "handshake_failure"
    alert, event = refused(here, version=version, later=True)
    assert alert == required, event
    foreign = pki.Authority(tmp_path, "Stranger").issue_client("foreign")
    alert, event = refused(here, foreign, version=version, later=True)
    assert alert == "unknown_ca" and "unable to get local issuer" in event["detail"], event
    revoked = authority.issue_client("revoked")
    here.revoke(revoked, number=2)
    here.edge.wait_event("client-trust-loaded", detail=lambda text: "1 entry" in text)
    assert refused(here, revoked, version=version, later=True)[0] == "certificate_revoked"


def test_at_once_of_clients_that_cannot(shop, folder, authority):
    here = Place(shop, folder, authority, mode="later", listener=AT_ONCE)
    good = authority.issue_client("good")
    assert refused(here, good, version="1.3", say=b"let me in")[0] == "certificate_required"
    assert refused(here, good, version="1.2", say=b"let me in")[0] == "handshake_failure"


@VERSIONS
def test_at_once_and_kept(later, version):
    """Whoever cannot, does not, or declines, goes on as nobody."""
    here = later(listener=f"{AT_ONCE}\n client-authenticate-failure = keep\n {SHORT}")
    declining = clients.context(version="1.2")
    declining.options |= ssl.OP_NO_RENEGOTIATION
    for options in ({"version": version}, {"version": version, "later": True}, {"tls": declining}):
        mark = here.edge.mark()
        with here.here.client(**options) as client:
            for _ in range(3):
                client.exchange("u" * 5000)
            here.edge.wait_event("client-authentication-failed", since=mark)
            session, = here.edge.lines("sessions")
            assert "client_certificate" not in session
        wait_until(lambda: not here.edge.lines("sessions"))


@VERSIONS
def test_at_once_ignored_and_goes_on(later, authority, version):
    """A late answer counts here, too."""
    here = later(listener=f"{AT_ONCE}\n client-authenticate-failure = keep\n {SHORT}")
    with here.here.client(identity=here.identity(authority.issue_client("late")), later=True, version=version) as client:
        here.edge.wait_event("client-authentication-failed", detail=lambda text: "in time" in text)
        wait_until(lambda: here.edge.lines("sessions"))
        line, = ask(here)
        assert "did not answer before" in line["reason"]
        converse(client, here, "client-authenticated", detail="CN=late")
        wait_until(lambda: subject(here) == "CN=late")
        client.exchange()


@VERSIONS
def test_at_once_ignored(later, authority, version):
    here = later(listener=f"{AT_ONCE}\n {SHORT}")
    with here.here.wire(version=version, later=True, identity=here.identity(authority.issue_client("slow"))) as client:
        here.edge.wait_event("handshake-failed", detail=lambda text: "in time" in text)
        assert client.alert() == ("certificate_required" if version == "1.3" else "handshake_failure")
    assert not here.here.upstream.connections


@VERSIONS
def test_at_once_flooded(later, authority, version):
    """More than can wait; the client never comes to answer."""
    here = later(listener=AT_ONCE)
    with here.here.wire(version=version, later=True, identity=here.identity(authority.issue_client("much"))) as client:
        with contextlib.suppress(OSError):
            for _ in range(30):
                client.send(b"t" * 16000)
        event = here.edge.wait_event("handshake-failed")
        assert "too much else" in event["detail"] and event["alert_sent"] == "unexpected_message", event
    assert not here.here.upstream.connections


def test_at_once_by_name_only(later, authority):
    """Names that are not listed are not asked; those that are, by the wildcard, too."""
    here = later(mode="none", listener='client-certificate-names = {"*.test later", "*.closed.test later"}\n'
                                       'client-authenticate-names = {"*.closed.test", "shut.test"}')

    def fate(name, pair=None):
        with clients.WireClient(here.here.port, name=name, later=True, identity=pair and here.identity(pair)) as client:
            try:
                client.send(b"through")
                return client.receive_exactly(7)
            except ssl.SSLError as error:
                return clients.alert_name(error)

    good = authority.issue_client("good")
    assert fate("open.test") == fate("elsewhere.example") == b"through"
    assert fate("shut.test") == fate("a.closed.test") == "certificate_required"
    assert fate("shut.test", good) == fate("a.closed.test", good) == b"through"


def test_resumed_as_who_it_was(later, authority):
    """Tickets given after the answer carry it: nobody is asked again, and the identity is judged."""
    here = later(listener=AT_ONCE)
    pair = authority.issue_client("alice")
    tls = clients.context(version="1.3", identity=here.identity(pair), later=True)
    with able(here, tls=tls) as client:
        client.exchange()
        session = client.socket.session
    tls.post_handshake_auth = False
    with here.here.client(tls=tls, session=session) as client:
        client.exchange()
        assert client.socket.session_reused
        assert [it["client_certificate"]["subject"] for it in here.edge.lines("sessions")
                if it["resumed"]] == ["CN=alice"]
    assert counters(here) == (1, 0)


@pytest.mark.parametrize("how", ["at once", "by the operator"])
def test_upstream_is_not_told(later, authority, server, how):
    """The PROXY header says nothing of a certificate that was shown later."""
    upstream = server(servers.record)
    here = later(listener=AT_ONCE if how == "at once" else "", upstream=upstream,
                 upstream_options="proxy = v2\n proxy-client-certificate = yes")
    with here.here.client(identity=here.identity(authority.issue_client("alice")), later=True) as client:
        client.send(b"before")
        if how != "at once":
            connection, = upstream.wait_connections(1)
            wait_until(lambda: connection.received.endswith(b"before"))
            ask(here)
        client.socket.settimeout(0.1)

        def authenticated():
            with contextlib.suppress(TimeoutError):
                client.socket.recv(1)  # its answer goes out by reading
            return here.edge.events_named("client-authenticated")
        wait_until(authenticated, 20)
        connection, = upstream.wait_connections(1)
        wait_until(lambda: connection.received.endswith(b"before"))
        _, _, tlvs, inner, _ = parse_version2(bytes(connection.received))
        assert tlvs[0x20][0] == 1 and 0x22 not in inner and not {0xE0, 0xE1, 0xE2} & set(tlvs)
        wait_until(lambda: subject(here) == "CN=alice")
