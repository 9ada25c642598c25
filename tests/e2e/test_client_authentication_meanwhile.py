"""While a client is asked who it is: relays that die, upgrades, reloads, other authorities."""

import contextlib
import os
import signal
import ssl

import pytest

import clients
import pki
from asking import AT_ONCE, able, ask, converse, counters, subject, wire
from client_trust import VERSIONS
from daemon import wait_until
from sessions import PROTECT, protected


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
