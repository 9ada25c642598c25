"""Clients that the operator asks who they are after their handshake: who can be asked, what they answer, how it is judged."""

import contextlib
import datetime
import ssl

import pytest

import clients
import pki
from asking import AT_ONCE, SHORT, able, ask, converse, counters, subject, wire
from client_trust import HOUR, SECOND, VERSIONS, Place
from clients import NAME
from daemon import wait_until


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
    here = later(mode="none", listener='client-certificate-names = {"elsewhere.test later"}')
    with able(here, authority.issue_client("somebody"), version="1.2") as client:
        line, = ask(here)
        assert line["reason"] == "client-certificate is not later for its name"
        client.exchange()


# ---- what clients answer ----

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
        assert connection.ended.wait(30) and connection.error is None


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
