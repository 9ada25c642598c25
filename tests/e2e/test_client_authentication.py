"""Clients that are asked who they are after their handshake: by the operator, or because of their name."""

import contextlib
import datetime
import os
import signal
import ssl

import pytest

import clients
import pki
from clients import NAME
from daemon import wait_until
from test_client_certificates import HOUR, SECOND, Place

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
