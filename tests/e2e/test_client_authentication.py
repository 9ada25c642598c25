"""Clients that are asked who they are after their handshake: by the operator, or because of their name."""

import contextlib
import datetime
import os
import signal
import socket
import ssl
import subprocess
from pathlib import Path

import pytest

import clients
import forge
import pki
import servers
from clients import NAME
from daemon import wait_until
from test_client_certificates import HOUR, SECOND, Place
from test_proxy_protocol import parse_version2
from test_succession import PROTECT, protected

VERSIONS = pytest.mark.parametrize("version", ["1.2", "1.3"])


@pytest.fixture
def later(shop, folder, authority):
    """A listener whose clients may be asked later, in either version."""
    def make(listener="", **options):
        return Place(shop, folder, authority, mode=options.pop("mode", "later"),
                     listener=f"renegotiation = allow\n {listener}", **options)
    return make


def able(here, pair=None, **options):
    """A client that can be asked."""
    made = here.here.client(identity=pair and here.identity(pair), later=True, **options)
    made.exchange()
    return made


def ask(here, *which):
    """What `sessions authenticate` says, one line per session."""
    return here.edge.lines("sessions", "authenticate", *(which or ("--listener", "shop")))


def converse(client, here, event, **fields):
    """Messages go to and fro until the event."""
    def look():
        client.exchange()
        found = here.edge.events_named(event, **fields)
        return found and found[-1]
    return wait_until(look, 20)


def subject(here):
    """Of the only session, as the list of sessions shows it."""
    sessions = here.edge.lines("sessions")
    return len(sessions) == 1 and sessions[0].get("client_certificate", {}).get("subject")


def counters(here):
    found = here.edge.json("status")["counters"]
    return found["client_authentications"], found["client_authentications_failed"]


# ---- the operator asks ----

@VERSIONS
def test_asked(later, authority, version):
    here = later()
    with able(here, authority.issue_client("alice"), version=version) as client:
        session, = here.edge.lines("sessions")
        assert "client_certificate" not in session
        assert session["attached"] == ("renegotiation" if version == "1.2" else "post-handshake-authentication")
        line, = ask(here, session["id"])
        assert line["session"] == session["id"] and line["result"] == "asked" and "reason" not in line
        event = converse(client, here, "client-authenticated")
        assert event["detail"] == "CN=alice" and event["session"] == session["id"]
        wait_until(lambda: subject(here) == "CN=alice")
        line, = ask(here)
        assert (line["result"], line["reason"]) == ("cannot", "it has shown a certificate already")
        for _ in range(10):
            client.exchange("x" * 20000)
        assert counters(here) == (1, 0)


def test_s_client(later, authority):
    here = later()
    chain, key = here.identity(authority.issue_client("openssl"))
    process = clients.LineProcess(["openssl", "s_client", "-connect", f"127.0.0.1:{here.here.port}", "-servername", NAME,
                                   "-enable_pha", "-cert", chain, "-key", key])
    try:
        process.exchange()
        ask(here)
        wait_until(lambda: subject(here) == "CN=openssl", 20)
        process.exchange("asked")
    finally:
        process.close()


def test_gnutls(later, authority, need):
    here = later()
    chain, key = here.identity(authority.issue_client("gnutls"))
    process = clients.LineProcess([need("gnutls-cli"), "--insecure", "--post-handshake-auth", f"--x509certfile={chain}",
                                   f"--x509keyfile={key}", "-p", str(here.here.port), "127.0.0.1"])
    try:
        process.exchange()
        ask(here)
        wait_until(lambda: subject(here) == "CN=gnutls", 20)
        process.exchange("asked")
    finally:
        process.close()


def test_which_sessions(later, authority):
    """By id, by filter; nobody else is asked, and nothing is asked without saying whom."""
    here = later()
    with able(here, authority.issue_client("one")) as one, able(here, authority.issue_client("two")) as two:
        port = one.raw.getsockname()[1]
        mine = next(it for it in here.edge.lines("sessions") if it["client"].endswith(f":{port}"))
        assert [it["session"] for it in ask(here, mine["id"])] == [mine["id"]]
        converse(one, here, "client-authenticated", detail="CN=one")
        assert len(ask(here, "--sni", "other.test")) == 0
        assert sorted(it["result"] for it in ask(here, "--sni", NAME)) == ["asked", "cannot"]
        converse(two, here, "client-authenticated", detail="CN=two")
        assert here.edge.run("sessions", "authenticate", check=False).returncode == 2
        assert here.edge.run("sessions", "authenticate", "7-7", check=False).returncode != 0
        assert "asked" not in here.edge.run("sessions", "authenticate", "--listener", "shop").stdout


@pytest.mark.parametrize("options, reason", [({"version": "1.3"}, "does not offer post-handshake authentication"),
                                             ({"version": "1.2", "later": True}, "renegotiation does not allow it")])
def test_cannot_be_asked(shop, folder, authority, options, reason):
    here = Place(shop, folder, authority, mode="later")
    with here.client(authority.issue_client("somebody"), **options) as client:
        line, = ask(here)
        assert line["result"] == "cannot" and reason in line["reason"]
        client.exchange()
        assert "attached" not in here.edge.lines("sessions")[0]


def test_not_where_the_policy_is_another(later, authority):
    here = later(mode="none", listener=f'client-certificate-names = {{"elsewhere.test later"}}')
    with able(here, authority.issue_client("somebody"), version="1.2") as client:
        line, = ask(here)
        assert line["reason"] == "client-certificate is not later for its name"
        client.exchange()


# ---- what clients answer ----

def wire(here, pair=None, **options):
    """A client that can be asked, over bytes."""
    made = here.here.wire(identity=pair and here.identity(pair), later=True, **options)
    made.send(b"x")
    made.receive_exactly(1)
    return made


@VERSIONS
def test_wrong_certificates(later, authority, tmp_path, version):
    """Each gets the alert that says why, and the session ends, whatever becomes of those who show none."""
    here = later(listener="client-authenticate-failure = keep")
    revoked = authority.issue_client("revoked")
    here.revoke(revoked, number=2)
    here.edge.wait_event("client-trust-loaded", detail=lambda text: "1 entry" in text)
    stranger = pki.Authority(tmp_path, "Stranger")
    yesterday = datetime.datetime.utcnow().replace(microsecond=0) - 2 * pki.DAY
    for pair, alert, reason in (
            (stranger.issue_client("foreign"), "unknown_ca", "unable to get local issuer"),
            (authority.issue_client("old", not_before=yesterday, lifetime=HOUR), "certificate_expired", "expired"),
            (revoked, "certificate_revoked", "revoked"),
            (authority.issue("server"), "unsupported_certificate", "purpose")):
        mark = here.edge.mark()
        with wire(here, pair, version=version) as client:
            ask(here)
            assert client.alert() == alert
        event = here.edge.wait_event("client-authentication-failed", since=mark)
        assert reason in event["detail"] and event["alert_sent"] == alert, event
        here.edge.wait_event("session-closed", since=mark, reason="client-authentication-failed")


@VERSIONS
def test_no_certificate(later, version):
    here = later()
    with wire(here, version=version) as client:
        ask(here)
        assert client.alert() == ("certificate_required" if version == "1.3" else "handshake_failure")
    here.edge.wait_event("session-closed", reason="client-authentication-failed")


@VERSIONS
def test_no_certificate_and_goes_on(later, version):
    here = later(listener="client-authenticate-failure = keep")
    with able(here, version=version) as client:
        for round_ in range(2):
            line, = ask(here)
            assert line["result"] == "asked"
            wait_until(lambda: client.exchange() or len(here.edge.events_named("client-authentication-failed")) > round_, 20)
        assert "no certificate" in here.edge.events_named("client-authentication-failed")[0]["detail"]
        assert "client_certificate" not in here.edge.lines("sessions")[0]
        assert counters(here) == (0, 2)


SHORT = "client-authenticate-timeout = 300ms"


@VERSIONS
def test_ignored(later, version):
    """The client reads, but nothing that would answer: its socket only."""
    here = later(listener=SHORT)
    with wire(here, version=version) as client:
        ask(here)
        here.edge.wait_event("client-authentication-failed", detail=lambda text: "in time" in text)
        here.edge.wait_event("session-closed", reason="client-authentication-failed")
        assert client.alert() == ("certificate_required" if version == "1.3" else "handshake_failure")


@VERSIONS
def test_ignored_and_goes_on(later, authority, version):
    """A late answer counts."""
    here = later(listener=f"{SHORT}\n client-authenticate-failure = keep")
    with able(here, authority.issue_client("late"), version=version) as client:
        ask(here)
        here.edge.wait_event("client-authentication-failed", detail=lambda text: "in time" in text)
        if version == "1.3":
            line, = ask(here)
            assert "did not answer before" in line["reason"]
            converse(client, here, "client-authenticated")
            wait_until(lambda: subject(here) == "CN=late")
        client.exchange()


def test_declined_and_goes_on(later):
    here = later(listener="client-authenticate-failure = keep")
    tls = clients.context(version="1.2")
    tls.options |= ssl.OP_NO_RENEGOTIATION
    with able(here, tls=tls) as client:
        ask(here)
        converse(client, here, "client-authentication-failed")
        for _ in range(10):
            client.exchange("y" * 20000)
        line, = ask(here)
        assert line["result"] == "cannot"


def test_declined(later):
    here = later()
    tls = clients.context(version="1.2")
    tls.options |= ssl.OP_NO_RENEGOTIATION
    with able(here, tls=tls) as client:
        ask(here)
        with pytest.raises(ssl.SSLError, match="HANDSHAKE_FAILURE"):
            converse(client, here, "client-authenticated")
    here.edge.wait_event("session-closed", reason="client-authentication-failed")


def test_data_instead_of_an_answer(later):
    """It goes on until the time is over; then the session ends."""
    here = later(listener="client-authenticate-timeout = 1s")
    with wire(here) as client:
        ask(here)
        sent = 0
        with contextlib.suppress(OSError):
            while not here.edge.events_named("session-closed"):
                client.send(b"z" * 16000)  # what comes back is not read
                sent += 16000
        assert sent > 16000
    here.edge.wait_event("session-closed", reason="client-authentication-failed")


def test_traffic_while_asked(later, authority):
    """Bytes flow both ways all the time; every one arrives, once."""
    here = later()
    with contextlib.ExitStack() as stack:
        held = [stack.enter_context(able(here, authority.issue_client(f"client{i}"), version=("1.2", "1.3")[i % 2]))
                for i in range(6)]
        assert [it["result"] for it in ask(here)] == ["asked"] * 6

        def all_known():
            for client in held:
                client.exchange("w" * 50000)
            return all("client_certificate" in it for it in here.edge.lines("sessions"))
        wait_until(all_known, 40)
        assert counters(here) == (6, 0)


# ---- asked because of the name, at once ----

AT_ONCE = f'client-authenticate-names = {{"{NAME}"}}'


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


# ---- judged like all others ----

@VERSIONS
@pytest.mark.parametrize("listener", ["", AT_ONCE])
def test_revoked_afterwards(later, authority, version, listener):
    """The client gets the alert that says why, its server an orderly end, and nobody else anything."""
    here = later(listener=listener)
    victim = authority.issue_client("victim")
    with able(here, authority.issue_client("good"), version=version) as other, \
            here.here.wire(identity=here.identity(victim), later=True, version=version) as client:
        client.send(b"here")
        client.receive_exactly(4)
        if not listener:
            ask(here)
            client.raw.settimeout(0.1)

            def known():
                with contextlib.suppress(TimeoutError):
                    client.receive()
                return here.edge.events_named("client-authenticated", detail="CN=victim")
            wait_until(known, 20)
            client.raw.settimeout(20)
            converse(other, here, "client-authenticated", detail="CN=good")
        wait_until(lambda: sum("client_certificate" in it for it in here.edge.lines("sessions")) == 2)
        mark = here.edge.mark()
        here.revoke(victim, number=2)
        assert client.alert() == "certificate_revoked"
        here.edge.wait_event("session-closed", since=mark, reason="client-certificate-revoked")
        other.exchange()
        connection = next(it for it in here.here.upstream.connections if bytes(it.received) == b"here")
        assert connection.ended.wait(10) and connection.error is None


def test_authority_removed_afterwards(later, authority, tmp_path):
    stranger = pki.Authority(tmp_path, "Stranger")
    here = later(crl=False)
    here.trust(authority, stranger)
    here.edge.wait_event("client-trust-loaded", detail=lambda text: "4 CAs" in text)
    with able(here, authority.issue_client("ours")) as ours, able(here, stranger.issue_client("theirs")) as theirs:
        ask(here)
        converse(ours, here, "client-authenticated", detail="CN=ours")
        converse(theirs, here, "client-authenticated", detail="CN=theirs")
        wait_until(lambda: all("client_certificate" in it for it in here.edge.lines("sessions")))
        here.trust(authority)
        with pytest.raises(ssl.SSLError, match="UNKNOWN_CA"):
            theirs.receive(1)
        ours.exchange()


@VERSIONS
def test_own_end(later, authority, version):
    """A session does not outlive the certificate that its client has shown in mid-session."""
    here = later(crl=False)
    now = datetime.datetime.utcnow().replace(microsecond=0)
    brief = authority.issue_client("brief", not_before=now - HOUR, lifetime=HOUR + 15 * SECOND)
    with able(here, brief, version=version) as client:
        ask(here)
        converse(client, here, "client-authenticated")
        client.socket.settimeout(40)
        with pytest.raises(ssl.SSLError, match="CERTIFICATE_EXPIRED"):
            client.receive(1)
        assert datetime.datetime.utcnow() >= now + 15 * SECOND
    here.edge.wait_event("session-closed", reason="client-certificate-expired")


@VERSIONS
def test_judged_by_what_is_trusted_when_it_is_asked(later, authority, tmp_path, version):
    """Not by what was when its session began."""
    here = later(crl=False)
    stranger = pki.Authority(tmp_path, "Stranger")
    with able(here, stranger.issue_client("theirs"), version=version) as theirs, \
            able(here, authority.issue_client("ours"), version=version) as ours:
        here.trust(stranger)
        here.edge.wait_event("client-trust-loaded", count=2)
        ask(here)
        converse(theirs, here, "client-authenticated", detail="CN=theirs")
        with pytest.raises((ssl.SSLError, EOFError)):
            converse(ours, here, "client-authenticated", detail="CN=ours")
    event = here.edge.wait_event("client-authentication-failed")
    assert event["alert_sent"] == "unknown_ca", event


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


@pytest.mark.parametrize("at_once", [False, True])
@pytest.mark.parametrize("failure", ["keep", "close"])
def test_half_an_answer(later, folder, at_once, failure):
    """There is no way back from it: nobody goes on as nobody."""
    here = later(listener=f"{SHORT}\n client-authenticate-failure = {failure}\n {AT_ONCE if at_once else ''}")
    with forger(here, folder) as client:
        if not at_once:
            client.send_as(forge.APPLICATION_DATA, b"x")
            assert client.read_until(forge.APPLICATION_DATA) == b"x"
            ask(here)
        read_request(client)
        client.send_as(forge.HANDSHAKE, CERTIFICATE)
        assert client.read_until(forge.ALERT) == b"\x02\x74"  # certificate_required
        event = here.edge.wait_event("handshake-failed" if at_once else "client-authentication-failed")
        assert "did not finish its answer in time" in event["detail"]
    assert counters(here) == (0, 1)


@pytest.mark.parametrize("at_once", [False, True])
@pytest.mark.parametrize("kind, data", [(forge.APPLICATION_DATA, b"in between"), (forge.ALERT, b"\x02\x50")])
def test_something_else_in_the_middle_of_an_answer(later, folder, at_once, kind, data):
    here = later(listener=AT_ONCE if at_once else "")
    with forger(here, folder) as client:
        if not at_once:
            client.send_as(forge.APPLICATION_DATA, b"x")
            assert client.read_until(forge.APPLICATION_DATA) == b"x"
            ask(here)
        read_request(client)
        client.send_as(forge.HANDSHAKE, CERTIFICATE)
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


# ---- what happens meanwhile ----

def gains(here, client, name):
    """Its answer comes, and the session has it."""
    converse(client, here, "client-authenticated", detail=f"CN={name}")
    wait_until(lambda: f"CN={name}" in [it.get("client_certificate", {}).get("subject")
                                        for it in here.edge.lines("sessions")], 20)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGILL])
@VERSIONS
def test_relay_dies(later, authority, version, number):
    """Whenever it happens, the session gets to know its client."""
    here = later(extra=PROTECT)
    here.edge.tolerated = ("killed",)
    here.edge.baseline_descriptors = here.edge.descriptors()[here.edge.process.pid]
    with able(here, authority.issue_client("alice"), version=version) as client:
        protected(here.edge, 1)
        session, = here.edge.lines("sessions")
        relay = int(session["id"].split("-")[0])
        victim = here.edge.workers("relay")[relay]
        ask(here)
        os.kill(victim, signal.SIGSTOP)  # what it is told it does not take any more
        wait_until(lambda: clients.waiting_bytes(client.raw), 20)
        client.socket.settimeout(0.05)

        def answered():
            with contextlib.suppress(TimeoutError, ssl.SSLWantReadError):
                client.socket.recv(1)
            return here.edge.events_named("client-authenticated")
        wait_until(answered, 20)
        client.socket.settimeout(20)
        os.kill(victim, number)
        with contextlib.suppress(ProcessLookupError):
            os.kill(victim, signal.SIGCONT)
        here.edge.wait_event("sessions-adopted", process=f"relay/{relay}")
        wait_until(lambda: subject(here) == "CN=alice", 20)
        client.exchange("after the crash")


@VERSIONS
def test_relay_dies_while_it_waits(later, authority, version):
    here = later(extra=PROTECT)
    here.edge.tolerated = ("killed",)
    here.edge.baseline_descriptors = here.edge.descriptors()[here.edge.process.pid]
    with able(here, authority.issue_client("patient"), version=version) as client:
        protected(here.edge, 1)
        session, = here.edge.lines("sessions")
        relay = int(session["id"].split("-")[0])
        ask(here)
        wait_until(lambda: clients.waiting_bytes(client.raw), 20)
        os.kill(here.edge.workers("relay")[relay], signal.SIGKILL)
        here.edge.wait_event("sessions-adopted", process=f"relay/{relay}")
        gains(here, client, "patient")


def asked_at_once(here, pair, version):
    """A client that has sent something and has not read yet that it is asked."""
    made = here.here.wire(identity=here.identity(pair), later=True, version=version)
    made.send(b"early")
    wait_until(lambda: made.incoming.pending or clients.waiting_bytes(made.raw), 20)
    return made


def handshakes_under_way(here):
    return [it["handshakes_under_way"] for it in here.edge.json("status")["listeners"]]


@VERSIONS
def test_at_once_upgrade(later, authority, version):
    """A handshaker that retires gives it ten seconds: it is known, or closed, and never nobody."""
    here = later(listener=AT_ONCE)
    with asked_at_once(here, authority.issue_client("early"), version) as client:
        assert handshakes_under_way(here) == [1]
        here.edge.run("upgrade")
        try:
            known = client.receive_exactly(5) == b"early"
        except (OSError, AssertionError):
            known = False
        if known:
            wait_until(lambda: subject(here) == "CN=early", 20)
        else:
            assert not here.here.upstream.connections
    wait_until(lambda: handshakes_under_way(here) == [0], 20)


@VERSIONS
@pytest.mark.parametrize("at_once", [False, True])
def test_others_are_trusted_before_the_answer(later, authority, tmp_path, version, at_once):
    """An answer that was good when it was asked for is judged by what is trusted when it comes."""
    here = later(crl=False, listener=AT_ONCE if at_once else "")
    pair = authority.issue_client("ours")
    with asked_at_once(here, pair, version) if at_once else wire(here, pair, version=version) as client:
        if not at_once:
            ask(here)
            wait_until(lambda: clients.waiting_bytes(client.raw), 20)
        here.trust(pki.Authority(tmp_path, "Stranger"))
        here.edge.wait_event("client-trust-loaded", count=2)
        client.alert()
    event = here.edge.wait_event("handshake-failed" if at_once else "client-authentication-failed")
    assert "by now" in event["detail"], event
    assert counters(here) == (0, 1)
    if at_once:
        assert not here.here.upstream.connections


@VERSIONS
def test_at_once_reload_takes_the_authorities_away(later, authority, version):
    here = later(crl=False, listener=AT_ONCE)
    with asked_at_once(here, authority.issue_client("asked"), version) as client:
        text = here.edge.config_path.read_text().replace("client-certificate = later", "client-certificate = none")
        here.edge.config_path.write_text("\n".join(
            line for line in text.splitlines()
            if not line.strip().startswith(("client-ca", "client-end-spread", "client-authenticate"))))
        here.edge.run("reload")
        client.alert()
    assert "by now" in here.edge.wait_event("handshake-failed")["detail"]
    assert not here.here.upstream.connections


@VERSIONS
def test_upgrade(later, authority, version):
    """The handshaker that retires goes on asking; what it hears gets to the new relays."""
    here = later(extra=PROTECT, listener="client-authenticate-timeout = 5m")
    with able(here, authority.issue_client("before"), version=version) as before, \
            able(here, authority.issue_client("after"), version=version) as after:
        port = before.raw.getsockname()[1]
        first = next(it["id"] for it in here.edge.lines("sessions") if it["client"].endswith(f":{port}"))
        ask(here, first)
        wait_until(lambda: clients.waiting_bytes(before.raw), 20)
        here.edge.run("upgrade")
        gains(here, before, "before")
        assert sorted(it["result"] for it in ask(here)) == ["asked", "cannot"]
        gains(here, after, "after")


def test_reload_takes_the_policy_away(later, authority):
    """Who is asked already may answer; nobody else is asked."""
    here = later()
    with able(here, authority.issue_client("asked")) as asked, able(here, authority.issue_client("other")) as other:
        port = asked.raw.getsockname()[1]
        first = next(it["id"] for it in here.edge.lines("sessions") if it["client"].endswith(f":{port}"))
        ask(here, first)
        wait_until(lambda: clients.waiting_bytes(asked.raw), 20)
        here.edge.config_path.write_text(here.edge.config_path.read_text().replace("client-certificate = later",
                                                                                   "client-certificate = optional"))
        here.edge.run("reload")
        gains(here, asked, "asked")
        assert {it["reason"] for it in ask(here)} == {"it has shown a certificate already",
                                                      "client-certificate is not later for its name"}
        other.exchange()


@VERSIONS
def test_reload_takes_the_authorities_away(later, authority, version):
    """There is nothing left to judge the answer by."""
    here = later(crl=False)
    with able(here, authority.issue_client("asked"), version=version) as asked:
        ask(here)
        wait_until(lambda: clients.waiting_bytes(asked.raw), 20)
        text = here.edge.config_path.read_text().replace("client-certificate = later", "client-certificate = none")
        here.edge.config_path.write_text("\n".join(line for line in text.splitlines()
                                                   if not line.strip().startswith(("client-ca", "client-end-spread"))))
        here.edge.run("reload")
        with pytest.raises((ssl.SSLError, EOFError)):
            converse(asked, here, "client-authenticated")
    here.edge.wait_event("session-closed", reason="client-authentication-failed")
