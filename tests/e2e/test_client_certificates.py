"""Client certificates: who is asked and who is let in; and live sessions when CAs, revocation lists or certificates change."""

import contextlib
import datetime
import os
import signal
import socket
import ssl
import time

import pytest

import clients
import pki
import servers
from client_trust import HOUR, SECOND, VERSIONS, Place
from clients import NAME
from daemon import free_port, wait_until
from proxy_header import parse_version2, received
from scrapes import metrics
from sessions import protected


@pytest.fixture
def place(shop, folder, authority):
    return lambda **options: Place(shop, folder, authority, **options)


@pytest.fixture(scope="session")
def stranger(tmp_path_factory):
    """Another CA."""
    return pki.Authority(tmp_path_factory.mktemp("stranger"), "Stranger")


def ended(client):
    """How the edge ends a session that is idle."""
    return clients.WireClient.alert(client)


# ---- who is let in ----

@VERSIONS
def test_required(place, authority, stranger, version):
    """The right alert and reason for each way in which a certificate can be wrong."""
    good, revoked = authority.issue_client("good"), authority.issue_client("revoked")
    here = place()
    here.revoke(revoked, number=2)
    here.edge.wait_event("client-trust-loaded", detail=lambda text: "1 entry" in text)
    with here.client(good, version=version):
        session, = here.edge.lines("sessions")
    assert session["client_certificate"]["subject"] == "CN=good"
    assert session["client_certificate"]["fingerprint"] == good.fingerprint
    yesterday = datetime.datetime.utcnow().replace(microsecond=0) - 2 * pki.DAY
    for pair, alert, reason in (
            (None, "certificate_required" if version == "1.3" else "handshake_failure", "peer did not return a certificate"),
            (stranger.issue_client("foreign"), "unknown_ca", "unable to get local issuer"),
            (authority.issue_client("old", not_before=yesterday, lifetime=HOUR), "certificate_expired", "expired"),
            (revoked, "certificate_revoked", "revoked"),
            (authority.issue("server"), "unsupported_certificate", "purpose")):
        found, event = here.refused(pair, version=version)
        assert found == alert, event
        assert reason in event["detail"], event


@VERSIONS
def test_optional(place, authority, stranger, version):
    """Nobody must show a certificate, but who shows one must be right."""
    here = place(mode="optional")
    with here.client(version=version), here.client(authority.issue_client("somebody"), version=version):
        sessions = here.edge.lines("sessions")
        assert sorted("client_certificate" in session for session in sessions) == [False, True]
    assert here.refused(stranger.issue_client("foreign"), version=version)[0] == "unknown_ca"


@VERSIONS
def test_by_name(place, authority, version):
    """What is asked depends on the name that the client asks for, the exact name before the wildcard."""
    here = place(mode="none", listener=f'client-certificate-names = {{"*.test required", "{NAME} none", "free.test optional"}}')
    options = {"version": version, "root": None}
    pair = authority.issue_client("somebody")

    def wire(name, pair=None):
        return clients.WireClient(here.here.port, name=name, version=version, identity=pair and here.identity(pair),
                                  handshake=False)

    def fate(name, pair=None):
        with wire(name, pair) as client:
            try:
                client._drive(client.object.do_handshake)
                client.send(b"through")
                return client.receive_exactly(7)
            except ssl.SSLError as error:
                return clients.alert_name(error)

    refused = "certificate_required" if version == "1.3" else "handshake_failure"
    assert options and fate(NAME) == fate("free.test") == fate("elsewhere.example") == b"through"
    assert fate("closed.test") == fate("CLOSED.test") == refused
    assert fate("closed.test", pair) == fate("free.test", pair) == b"through"


def test_resumption_between_names(place, authority):
    """A session of a name where nobody is asked opens no door where one must show a certificate."""
    here = place(mode="none", listener='client-certificate-names = {"closed.test required"}')
    tls = clients.context(version="1.2")
    with clients.Client(here.here.port, tls=tls) as client:
        client.exchange()
        session = client.socket.session
    with pytest.raises((ssl.SSLError, OSError)):
        clients.Client(here.here.port, name="closed.test", tls=tls, session=session)
    tls.load_cert_chain(*here.identity(authority.issue_client("somebody")))
    with clients.Client(here.here.port, name="closed.test", tls=tls, session=session) as client:
        assert not client.socket.session_reused


def test_names_of_authorities(place, authority):
    """Clients with several certificates are told which CAs are meant."""
    here = place()
    shown = clients.s_client(here.here.port, "-tls1_3")
    assert "Acceptable client certificate CA names" in shown and "Holdfast test root" in shown


def test_many_authorities(place, authority):
    """More names than a CertificateRequest can hold (64 KiB): they are left out, and clients are let in."""
    here = place(crl=False, listener="queue-timeout = none")  # handshakers with sanitizers read for seconds
    pki.replace_file(here.ca_path, authority.authorities_pem() + pki.many_authorities_pem(400))
    here.edge.wait_event("client-trust-loaded", detail=lambda text: "402 CAs" in text)
    for version in ("1.2", "1.3"):
        with here.client(authority.issue_client("somebody"), version=version):
            pass
    wait_until(lambda: "No client certificate CA names sent" in clients.s_client(here.here.port, "-tls1_3"), 30)


def test_gnutls(place, authority, need):
    here = place()
    chain, key = here.identity(authority.issue_client("gnutls"))
    client = clients.LineProcess([need("gnutls-cli"), "--insecure", f"--x509certfile={chain}", f"--x509keyfile={key}",
                                  "-p", str(here.here.port), "127.0.0.1"])
    try:
        client.exchange()
        session, = here.edge.lines("sessions")
        assert session["client_certificate"]["subject"] == "CN=gnutls"
    finally:
        client.close()


def test_depth(place, authority):
    """With no intermediate allowed, and the root alone trusted, a leaf of the intermediate is too deep."""
    here = place(crl=False, listener="client-verify-depth = 0")
    pki.replace_file(here.ca_path, authority.root_path.read_bytes())
    here.edge.wait_event("client-trust-loaded", detail=lambda text: "1 CA," in text)
    assert here.refused(authority.issue_client("deep"))[0] == "unknown_ca"


# ---- what the upstream is told ----

@VERSIONS
def test_proxy_header(place, authority, server, version):
    upstream = server(servers.record)
    here = place(mode="optional", upstream=upstream, upstream_options="proxy = v2\nproxy-client-certificate = yes")
    pair = authority.issue("alice", "10.0.0.1", usage=pki.ExtendedKeyUsageOID.CLIENT_AUTH)
    with here.here.client(identity=here.identity(pair), version=version) as client:
        client.send(b"x")
        _, _, tlvs, inner, _ = parse_version2(received(upstream, 60))
        assert tlvs[0x20][0] == 1 | 2 | 4 and tlvs[0x20][1:5] == bytes(4), "over TLS, with a certificate, which is verified"
        assert inner[0x22] == b"alice"
        assert tlvs[0xE0] == b"CN=alice"
        assert tlvs[0xE1] == b"DNS:alice, IP:10.0.0.1"
        assert tlvs[0xE2].hex() == pair.fingerprint
    with here.here.client(version=version) as client:
        client.send(b"x")
        _, connection = upstream.wait_connections(2)
        wait_until(lambda: len(connection.received) > 60)
        _, _, tlvs, inner, _ = parse_version2(bytes(connection.received))
        assert tlvs[0x20][0] == 1 and tlvs[0x20][1:5] != bytes(4) and 0x22 not in inner
        assert not {0xE0, 0xE1, 0xE2} & set(tlvs)


def test_proxy_header_by_default(place, authority, server):
    """The common name is in the protocol's own TLV; the TLVs of ours are asked for."""
    upstream = server(servers.record)
    here = place(upstream=upstream, upstream_options="proxy = v2")
    with here.here.client(identity=here.identity(authority.issue_client("alice"))):
        _, _, tlvs, inner, _ = parse_version2(received(upstream, 60))
    assert inner[0x22] == b"alice" and not {0xE0, 0xE1, 0xE2} & set(tlvs)


# ---- live sessions ----

@VERSIONS
def test_revoked(place, authority, version):
    """A revocation ends this client's sessions, with the alert that says why, and nobody else's."""
    here = place(listener="max-connections = 1000")
    victim, good = authority.issue_client("victim"), authority.issue_client("good")
    with contextlib.ExitStack() as stack:
        others = [stack.enter_context(here.client(good, version=version)) for _ in range(50)]
        wire = stack.enter_context(here.here.wire(identity=here.identity(victim), version=version))
        wire.send(b"here")
        wire.receive_exactly(4)
        mark = here.edge.mark()
        here.revoke(victim, number=2)
        assert wire.alert() == "certificate_revoked"
        closed = here.edge.wait_event("session-closed", since=mark)
        assert closed["reason"] == "client-certificate-revoked", closed
        judged = here.edge.wait_event("sessions-judged", since=mark)
        assert "51 sessions" in judged["detail"] and "50 accepted, 1 revoked" in judged["detail"], judged
        for other in others:
            other.exchange()
        assert len(here.edge.events_named("session-closed")) == 1
        connection = next(it for it in here.here.upstream.connections if bytes(it.received) == b"here")
        assert connection.ended.wait(30) and connection.error is None, "the upstream gets an orderly end"


@VERSIONS
def test_revoked_attached(place, authority, version):
    """Sessions that OpenSSL carries are judged like all others."""
    here = place(listener="detach = never")
    victim = authority.issue_client("victim")
    with here.client(authority.issue_client("good"), version=version) as other, \
            here.client(victim, version=version) as client:
        mark = here.edge.mark()
        here.revoke(victim, number=2)
        closed = here.edge.wait_event("session-closed", since=mark)
        assert closed["reason"] == "client-certificate-revoked", closed
        with contextlib.suppress(ssl.SSLError, OSError):
            assert client.socket.recv(1) == b""
        other.exchange()


@pytest.mark.parametrize("version", ["1.3"])
def test_authority_removed(place, authority, stranger, version):
    here = place(crl=False)
    here.trust(authority, stranger)
    here.edge.wait_event("client-trust-loaded", detail=lambda text: "4 CAs" in text)
    with here.client(authority.issue_client("ours"), version=version) as ours, \
            here.here.wire(identity=here.identity(stranger.issue_client("theirs")), version=version) as theirs:
        theirs.send(b"x")
        theirs.receive_exactly(1)
        here.trust(authority)
        assert theirs.alert() == "unknown_ca"
        ours.exchange()
    assert here.refused(stranger.issue_client("late"))[0] == "unknown_ca"


def test_authority_renewed(place, authority):
    """The same name and key in another certificate are the same CA."""
    here = place(crl=False)
    with here.client(authority.issue_client("somebody")) as client:
        mark = here.edge.mark()
        pki.replace_file(here.ca_path, authority.renewed_authorities_pem())
        here.edge.wait_event("sessions-judged", since=mark, detail=lambda text: "1 accepted" in text)
        client.exchange()


@VERSIONS
def test_own_end(place, authority, version):
    """A session does not outlive its client's certificate."""
    here = place(crl=False)
    now = datetime.datetime.utcnow().replace(microsecond=0)
    brief = authority.issue_client("brief", not_before=now - HOUR, lifetime=HOUR + 8 * SECOND)
    with here.client(authority.issue_client("long"), version=version) as other, \
            here.here.wire(identity=here.identity(brief), version=version) as wire:
        wire.send(b"x")
        wire.receive_exactly(1)
        assert wire.alert() == "certificate_expired"
        assert datetime.datetime.utcnow() >= now + 8 * SECOND
        other.exchange()


def test_keep(place, authority):
    """Where sessions are to stay, `sessions --superseded ca` says who hangs on what is no longer trusted."""
    here = place(listener="client-certificate-ended = keep")
    victim = authority.issue_client("victim")
    with here.client(victim) as client, here.client(authority.issue_client("good")):
        mark = here.edge.mark()
        here.revoke(victim, number=2)
        here.edge.wait_event("sessions-judged", since=mark)
        client.exchange()
        session, = here.edge.lines("sessions", "--superseded", "ca")
        assert session["client_certificate"]["subject"] == "CN=victim"
        assert here.edge.json("status")["superseded"]["ca"]["sessions"] == 1
        assert here.refused(victim)[0] == "certificate_revoked"


def test_spread(place, authority):
    """Many sessions of one revoked client do not end, and do not come back, as one wave."""
    here = place(listener="client-end-spread = 3s")
    victim = authority.issue_client("victim")
    with contextlib.ExitStack() as stack:
        for _ in range(40):
            stack.enter_context(here.client(victim))
        mark = here.edge.mark()
        here.revoke(victim, number=2)
        loaded = here.edge.wait_event("client-trust-loaded", since=mark)
        last = here.edge.wait_event("session-closed", since=mark, count=40, timeout=20)
        times = [it["_seen"] for it in here.edge.events_named("session-closed")]
        assert last["_seen"] - loaded["_seen"] > 1.5
        assert max(times) - min(times) > 1


def test_lists_that_come_again_and_again(place, authority):
    """A list published far more often than sessions are spread over puts the end of nobody off."""
    here = place(listener="client-end-spread = 3s")
    victim = authority.issue_client("victim")
    with contextlib.ExitStack() as stack:
        for _ in range(5):
            stack.enter_context(here.client(victim))
        mark = here.edge.mark()
        for number in range(2, 100):
            loaded = here.edge.mark()
            here.revoke(victim, number=number)
            here.edge.wait_event("client-trust-loaded", since=loaded)
            time.sleep(0.1)  # the pace of publishing
            if not here.edge.lines("sessions"):
                break
        here.edge.wait_event("session-closed", since=mark, count=5, timeout=0.1)


# ---- files that are not as they should be ----

def test_bad_files(place, authority, stranger):
    """Whatever a new list is, unless it is good, the one in force stays, and that is said until it is mended."""
    admin = free_port()
    here = place(extra=f'admin {{ bind = {{"127.0.0.1:{admin}"}} }}')
    revoked, good = authority.issue_client("revoked"), authority.issue_client("good")
    here.revoke(revoked, number=5)
    here.edge.wait_event("client-trust-loaded", detail=lambda text: "1 entry" in text)
    gauge = 'holdfast_client_trust_good{listener="shop"}'
    long_ago = datetime.datetime.utcnow().replace(microsecond=0) - 60 * pki.DAY
    with here.client(good) as client:
        for made, code in ((b"-----BEGIN X509 CRL-----\nAAAA\n-----END X509 CRL-----\n", "certificate-unparsable"),
                           (b"", "certificate-unparsable"),
                           (stranger.revocation_list(number=9), "chain-broken"),
                           (authority.revocation_list(number=9, key=stranger.key), "chain-broken"),
                           (authority.revocation_list(number=4), "older-than-live"),
                           (authority.revocation_list(number=9, begin=long_ago), "expired")):
            mark = here.edge.mark()
            pki.replace_file(here.crl_path, made)
            refused = here.edge.wait_event("client-trust-refused", since=mark)
            assert refused["detail"].startswith(f"what was in force stays: {code}"), refused
            assert code in here.state()["trouble"] and here.state()["in_force"]
            assert code in here.edge.run("status").stdout
            assert metrics(admin)[gauge] == 0
            assert here.refused(revoked)[0] == "certificate_revoked"
        client.exchange()
        mark = here.edge.mark()
        here.revoke(number=6)
        here.edge.wait_event("client-trust-loaded", since=mark, detail=lambda text: "good again" in text)
        assert "trouble" not in here.state() and metrics(admin)[gauge] == 1
        client.exchange()
        with here.client(revoked):
            pass


def test_missing_and_empty_authorities(place, authority):
    here = place(crl=False)
    good = authority.issue_client("good")
    for spoil in (here.ca_path.unlink, lambda: pki.replace_file(here.ca_path, b"nothing"),
                  lambda: pki.replace_file(here.ca_path, good.leaf_pem)):
        mark = here.edge.mark()
        spoil()
        here.edge.wait_event("client-trust-refused", since=mark)
        with here.client(good):
            pass
    mark = here.edge.mark()
    here.trust(authority)
    here.edge.wait_event("client-trust-loaded", since=mark)


@pytest.mark.parametrize("policy", ["warn", "refuse"])
def test_list_goes_over(place, authority, policy):
    """The end of a list's time is an alarm; whether clients are refused then is the operator's choice."""
    here = place(listener=f"client-crl-expired = {policy}")
    revoked = authority.issue_client("revoked")
    now = datetime.datetime.utcnow().replace(microsecond=0)
    here.revoke(revoked, number=2, begin=now - HOUR, lifetime=HOUR + 4 * SECOND)
    here.edge.wait_event("client-trust-loaded", detail=lambda text: "1 entry" in text)
    wait_until(lambda: datetime.datetime.utcnow() > now + 5 * SECOND)
    if policy == "warn":
        with here.client(authority.issue_client("good")):
            pass
    else:
        alert, event = here.refused(authority.issue_client("good"))
        assert alert == "certificate_expired" and "CRL has expired" in event["detail"]
    assert here.refused(revoked)[0] in ("certificate_revoked", "certificate_expired")
    mark = here.edge.mark()
    os.utime(here.crl_path)  # the edge looks at it
    here.edge.wait_event("client-trust-stale", since=0)
    assert here.state()["stale"] and "is over" in here.edge.run("status").stdout
    here.revoke(revoked, number=3)
    here.edge.wait_event("client-trust-loaded", since=mark)
    wait_until(lambda: not here.state()["stale"])
    with here.client(authority.issue_client("good")):
        pass


def test_config_test(place, authority, stranger, folder):
    """`config test` reads the files."""
    here = place()
    assert here.edge.run("config", "test").returncode == 0
    pki.replace_file(here.crl_path, stranger.revocation_list())
    result = here.edge.run("config", "test", check=False)
    assert result.returncode == 6 and "not signed by a CA of client-ca" in result.stderr, result


# ---- through everything ----

def test_reload(place, authority):
    """Sessions and what they are judged by live through a reload; a reload that takes another CA judges again."""
    here = place()
    victim, good = authority.issue_client("victim"), authority.issue_client("good")
    with here.client(good) as client, here.here.wire(identity=here.identity(victim)) as wire:
        wire.send(b"x")
        wire.receive_exactly(1)
        text = here.edge.config_path.read_text()
        here.edge.config_path.write_text(text.replace("client-end-spread = none", "client-end-spread = none\nidle-timeout = 1h"))
        here.edge.run("reload")
        assert here.refused()[0] == "certificate_required"
        client.exchange()
        here.revoke(victim, number=2)
        assert wire.alert() == "certificate_revoked"
        client.exchange()
        assert here.refused(victim)[0] == "certificate_revoked"


def test_reload_to_another_authority(place, authority, stranger, folder):
    here = place(crl=False)
    other = folder / "other-ca.pem"
    pki.replace_file(other, stranger.authorities_pem())
    with here.here.wire(identity=here.identity(authority.issue_client("ours"))) as wire:
        wire.send(b"x")
        wire.receive_exactly(1)
        here.edge.config_path.write_text(here.edge.config_path.read_text().replace(str(here.ca_path), str(other)))
        here.edge.run("reload")
        assert wire.alert() == "unknown_ca"
    assert here.refused(authority.issue_client("ours"))[0] == "unknown_ca"
    with here.client(stranger.issue_client("theirs")):
        pass


def test_upgrade(place, authority):
    here = place()
    victim = authority.issue_client("victim")
    with here.client(authority.issue_client("good")) as client, here.here.wire(identity=here.identity(victim)) as wire:
        wire.send(b"x")
        wire.receive_exactly(1)
        here.edge.run("upgrade")
        assert {it["client_certificate"]["subject"] for it in here.edge.lines("sessions")} == {"CN=good", "CN=victim"}
        here.revoke(victim, number=2)
        assert wire.alert() == "certificate_revoked"
        client.exchange()


@pytest.mark.parametrize("kind", ["relay", "control", "handshaker"])
def test_killed(place, authority, kind):
    """Whoever dies after the files changed, the revoked client's session ends and the other one stays."""
    here = place(listener="client-end-spread = 1s", extra="protect-after = 100ms")
    here.edge.tolerated = ("killed",)
    victim = authority.issue_client("victim")
    here.edge.baseline_descriptors = here.edge.descriptors()[here.edge.process.pid]
    with here.client(authority.issue_client("good")) as client, here.here.wire(identity=here.identity(victim)) as wire:
        wire.send(b"x")
        wire.receive_exactly(1)
        protected(here.edge, 2)
        here.revoke(victim, number=2)
        here.edge.wait_event("client-trust-loaded", detail=lambda text: "1 entry" in text)
        for pid in here.edge.workers(kind):
            os.kill(pid, signal.SIGKILL)
        assert wire.alert() == "certificate_revoked"
        client.exchange()
        wait_until(lambda: len(here.edge.lines("sessions")) == 1)


def test_revoked_while_control_is_away(place, authority):
    """What changed while nobody looked is found at the next start."""
    here = place()
    here.edge.tolerated = ("killed",)
    victim = authority.issue_client("victim")
    with here.client(authority.issue_client("good")) as client, here.here.wire(identity=here.identity(victim)) as wire:
        wire.send(b"x")
        wire.receive_exactly(1)
        control, = here.edge.workers("control")
        os.kill(control, signal.SIGSTOP)
        here.revoke(victim, number=2)
        os.kill(control, signal.SIGKILL)
        assert wire.alert() == "certificate_revoked"
        client.exchange()


# ---- resumption ----

def resumable(here, pair, version):
    """A context and a session of it that may be resumed."""
    tls = clients.context(here.here.root, version=version, identity=here.identity(pair))
    with clients.Client(here.here.port, tls=tls) as client:
        client.exchange()
        return tls, client.socket.session


def echo_behind_header(connection):
    """Takes the PROXY header, then echoes."""
    head = connection.socket.recv(16, socket.MSG_WAITALL)
    connection.header = head + connection.socket.recv(int.from_bytes(head[14:16], "big"), socket.MSG_WAITALL)
    servers.echo(connection)


def resume(here, tls, session):
    return clients.Client(here.here.port, tls=tls, session=session)


@VERSIONS
def test_resumed(place, authority, server, version):
    """A resumed session is known by its certificate as the first one was: to the upstream, in the list, and when it is revoked."""
    upstream = server(echo_behind_header)
    here = place(upstream_options="proxy = v2\nproxy-client-certificate = yes", upstream=upstream)
    victim, other = authority.issue_client("victim"), authority.issue_client("other")
    tls, session = resumable(here, victim, version)
    with resume(here, tls, session) as client, here.client(other, version=version) as bystander:
        assert client.socket.session_reused
        client.exchange()
        _, connection, _ = upstream.wait_connections(3)
        _, _, tlvs, inner, _ = parse_version2(connection.header)
        assert tlvs[0x20][0] == 1 | 4 and tlvs[0x20][1:5] == bytes(4), "verified, though not over this connection"
        assert inner[0x22] == b"victim" and tlvs[0xE2].hex() == victim.fingerprint
        assert {it["client_certificate"]["fingerprint"] for it in here.edge.lines("sessions")} == {victim.fingerprint,
                                                                                                  other.fingerprint}
        here.revoke(victim, number=2)
        with pytest.raises(ssl.SSLError) as caught:
            client.receive(1)
        assert clients.alert_name(caught.value) == "certificate_revoked"
        bystander.exchange()


@VERSIONS
def test_resumed_chain_that_is_too_deep_now(place, authority, version):
    here = place(crl=False, listener="client-verify-depth = 1")
    pki.replace_file(here.ca_path, authority.root_path.read_bytes())
    here.edge.wait_event("client-trust-loaded", detail=lambda text: "1 CA," in text)
    pair = authority.issue_client("deep")

    def first():
        with contextlib.suppress(OSError, EOFError):
            return resumable(here, pair, version)
    tls, session = wait_until(first)  # any will do that lasts until it has its ticket
    text = here.edge.config_path.read_text()
    here.edge.config_path.write_text(text.replace("client-verify-depth = 1", "client-verify-depth = 0"))
    here.edge.run("reload")
    mark = here.edge.mark()
    with contextlib.suppress(ssl.SSLError, OSError), resume(here, tls, session) as client:
        assert not client.socket.session_reused
        client.receive(1)
    here.edge.wait_event("handshake-failed", since=mark, alert_sent="unknown_ca")


@VERSIONS
def test_tickets_after_a_change(place, authority, stranger, version):
    """A list ends resumption for whom it names, another CA set for all: they show their certificate again."""
    here = place(extra="log-handshakes = all")
    victim, other = authority.issue_client("victim"), authority.issue_client("other")
    tickets = {pair: resumable(here, pair, version) for pair in (victim, other)}
    here.revoke(victim, number=2)
    here.edge.wait_event("client-trust-loaded", detail=lambda text: "1 entry" in text)
    with resume(here, *tickets[other]) as client:
        assert client.socket.session_reused
        client.exchange()
        tickets[other] = tickets[other][0], client.socket.session
    mark = here.edge.mark()
    with contextlib.suppress(ssl.SSLError, OSError), resume(here, *tickets[victim]) as client:
        assert not client.socket.session_reused
        client.receive(1)
        pytest.fail("a revoked client was let in")
    here.edge.wait_event("handshake-failed", since=mark, alert_sent="certificate_revoked")
    here.trust(authority, stranger)
    here.edge.wait_event("client-trust-loaded", detail=lambda text: "4 CAs" in text)
    mark = here.edge.mark()
    with resume(here, *tickets[other]) as client:
        assert not client.socket.session_reused
        client.exchange()
    here.edge.wait_event("handshake-done", since=mark, resumption_miss="trust-changed")


# ---- TLS 1.2 renegotiation (test_renegotiation.py has the rest) ----

def use_identity(client, chain, key):
    """Another certificate for the renegotiation to come."""
    ssl_object = clients.pointer(client.socket)
    assert clients.LIBSSL.SSL_use_certificate_file(ssl_object, chain.encode(), 1) == 1
    assert clients.LIBSSL.SSL_use_PrivateKey_file(ssl_object, key.encode(), 1) == 1


def test_renegotiation_of_the_authenticated(place, authority):
    here = place(mode="optional", listener='renegotiation = authenticated\n renegotiation-rate = "100/1h"')
    with here.client(authority.issue_client("client"), version="1.2") as client:
        for round_ in range(1, 4):
            clients.renegotiate(client.socket)
            client.exchange()
            here.edge.wait_event("renegotiated", count=round_)
    with here.client(version="1.2") as nobody:
        clients.renegotiate(nobody.socket)
        with pytest.raises(ssl.SSLError, match="NO_RENEGOTIATION"):
            nobody.exchange()


@pytest.mark.parametrize("before", ["another", "none"])
def test_renegotiation_with_another_certificate_ends_the_session(place, authority, before):
    """What was sent before is never presented under another identity, nor what comes after."""
    here = place(mode="optional", listener="renegotiation = allow")
    with here.client(authority.issue_client("client") if before == "another" else None, version="1.2") as client:
        use_identity(client, *here.identity(authority.issue_client("somebody else")))
        clients.renegotiate(client.socket)
        with pytest.raises(ssl.SSLError, match="HANDSHAKE_FAILURE"):
            client.exchange("under another name")
    here.edge.wait_event("session-closed", reason="renegotiation-failed")
    assert "certificate" in here.edge.wait_event("renegotiation-failed")["detail"]
    connection, = here.here.upstream.wait_connections(1)
    assert connection.ended.wait(30) and b"under another name" not in connection.received
