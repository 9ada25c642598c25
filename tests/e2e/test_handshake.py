"""What is negotiated: versions, suites, groups, names, key types, ALPN, resumption; and what is refused, with which alert."""

import re
import ssl
import time

import pytest

import clients
import daemon
from clients import NAME, s_client

SUITES_13 = ["TLS_AES_128_GCM_SHA256", "TLS_AES_256_GCM_SHA384", "TLS_CHACHA20_POLY1305_SHA256"]
SUITES_12 = ["AES128-GCM-SHA256", "AES256-GCM-SHA384", "CHACHA20-POLY1305"]
LOG_ALL = "log-handshakes = all"


def hello(port, *options, **more):
    """One exchange by s_client; returns everything it printed."""
    return s_client(port, *options, text=b"hello there\n", until=b"\nhello there", **more)


@pytest.mark.parametrize("suite", SUITES_13)
def test_suites_of_tls13(shop, suite):
    here = shop(extra=LOG_ALL)
    output = hello(here.port, "-tls1_3", "-ciphersuites", suite)
    assert f"Cipher is {suite}" in output and "\nhello there" in output
    assert here.edge.wait_event("handshake-done")["suite"] == suite


@pytest.mark.parametrize("key_type", ["ecdsa", "rsa"])
@pytest.mark.parametrize("suite", SUITES_12)
def test_suites_of_tls12(shop, suite, key_type):
    here = shop(key_types=(key_type,))
    for _ in range(2):
        with here.client(version="1.2", ciphers=f"ECDHE-{key_type.upper()}-{suite}") as client:
            assert client.socket.cipher()[0] == f"ECDHE-{key_type.upper()}-{suite}"
            for number in range(5):
                client.exchange(f"{number} " * 1000)


@pytest.mark.parametrize("version", ["tls1_2", "tls1_3"])
@pytest.mark.parametrize("group", ["X25519", "P-256"])
def test_groups(shop, group, version):
    here = shop(extra=LOG_ALL)
    # In TLS 1.2 the list also says which curves the client takes in a certificate (RFC 8422 §4): P-256 must be in it.
    groups = group if version == "tls1_3" or group == "P-256" else f"{group}:P-256"
    assert "\nhello there" in hello(here.port, f"-{version}", "-groups", groups)
    done = here.edge.wait_event("handshake-done")
    assert done["group"].lower() in (group.lower(), "secp256r1" if group == "P-256" else "x25519"), done


def test_hello_retry_request(shop):
    """The client's key share is for a group that the edge does not have; the second ClientHello brings the right one."""
    here = shop(extra=LOG_ALL)
    output = hello(here.port, "-tls1_3", "-groups", "P-384:X25519", "-msg")
    assert "\nhello there" in output
    assert output.count("ClientHello") == 2
    assert here.edge.wait_event("handshake-done")["hello_retry"] is True


def test_no_group_in_common(shop):
    here = shop()
    assert "handshake failure" in s_client(here.port, "-tls1_3", "-groups", "P-521")
    failed = here.edge.wait_event("handshake-failed")
    assert failed["alert_sent"] == "handshake_failure", failed


@pytest.mark.parametrize("version", ["tls1_2", "tls1_3"])
@pytest.mark.parametrize("size", [512, 4096])
def test_max_fragment_length(shop, version, size):
    """RFC 6066 §4: every record that the edge sends after the handshake holds at most what the client asked for."""
    here = shop()
    received = re.compile(rb"<<< [^\n]*RecordHeader[^\n]*\n\s+17 03 03 (..) (..)")

    def lengths(output):
        return [int(high + low, 16) for high, low in received.findall(output)]

    output = s_client(here.port, f"-{version}", "-maxfraglen", str(size), "-msg", text=b"x" * 3 * size + b"\n",
                      until=lambda output: sum(lengths(output)) > 3 * size)
    assert size <= max(lengths(output.encode())) <= size + 24


@pytest.mark.parametrize("version", ["1.2", "1.3"])
def test_alpn(shop, version):
    here = shop(listener='alpn = {"h2", "http/1.1"}')
    for offered, chosen in ((["http/1.1"], "http/1.1"), (["http/1.1", "h2"], "h2"), (None, None)):
        with here.client(version=version, alpn=offered) as client:
            assert client.socket.selected_alpn_protocol() == chosen
            client.exchange()
    # RFC 7301 §3.2: no protocol in common is a fatal no_application_protocol.
    with pytest.raises(ssl.SSLError, match="(?i)no.application.protocol"):
        here.client(version=version, alpn=["imap"])


def test_alpn_is_ignored_unless_configured(shop):
    here = shop()
    with here.client(alpn=["h2"]) as client:
        assert client.socket.selected_alpn_protocol() is None
        client.exchange()


def names_config(port, folder, upstream, listener=""):
    sections = "".join(f"""
        certificate "{title}" {{
            names = {{"{name}"}}
            from = files
            chain = "{folder}/{title}.pem"
            key = "{folder}/{title}.key"
        }}""" for title, name in (("first", "first.test"), ("wild", "*.wild.test"), ("exact", "exact.wild.test")))
    return f"""
        listener "shop" {{
            bind = {{"127.0.0.1:{port}"}}
            certificates = {{"first", "wild", "exact"}}
            upstream = "app"
            {listener}
        }}
        upstream "app" {{ servers = {{"{upstream.address}"}} }}
        {sections}"""


@pytest.fixture(name="named")
def named_fixture(start, folder, authority, server):
    def make(listener=""):
        pairs = {title: authority.issue(name) for title, name in
                 (("first", "first.test"), ("wild", "*.wild.test"), ("exact", "exact.wild.test"))}
        for title, pair in pairs.items():
            pair.write(folder, title)
        port = daemon.free_port()
        edge = start(names_config(port, folder, server(), listener))
        return port, pairs, edge
    return make


@pytest.mark.parametrize("version", ["1.2", "1.3"])
def test_server_names(named, version):
    port, pairs, _ = named()
    for name, title in (("first.test", "first"), ("FIRST.test", "first"), ("a.wild.test", "wild"), ("exact.wild.test", "exact"),
                        ("a.b.wild.test", "first"), ("wild.test", "first"), ("other.test", "first"), (None, "first")):
        with clients.Client(port, name=name, version=version) as client:
            assert client.fingerprint() == pairs[title].fingerprint, name
            client.exchange()


@pytest.mark.parametrize("version", ["1.2", "1.3"])
def test_strict_server_names(named, version):
    port, pairs, edge = named("strict-sni = yes")
    assert clients.leaf(port, name="b.wild.test", version=version) == pairs["wild"].fingerprint
    for name in ("other.test", "a.b.wild.test", None):
        with pytest.raises(ssl.SSLError, match="(?i)unrecognized.name"):
            clients.Client(port, name=name, version=version)
    failed = edge.wait_event("handshake-failed", sni="other.test")
    assert failed["alert_sent"] == "unrecognized_name", failed


def test_key_types_side_by_side(shop):
    """A client that takes RSA only is served RSA, every other one ECDSA."""
    here = shop(key_types=("ecdsa", "rsa"))
    assert "Peer signature type: ECDSA" in hello(here.port, "-tls1_3")
    assert "Peer signature type: RSA-PSS" in hello(here.port, "-tls1_3", "-sigalgs", "rsa_pss_rsae_sha256")
    assert "Peer signature type: ECDSA" in hello(here.port, "-tls1_3", "-sigalgs", "ecdsa_secp256r1_sha256")
    assert "Peer signature type: RSA" in hello(here.port, "-tls1_2", "-cipher", "ECDHE-RSA-AES128-GCM-SHA256")
    assert here.leaf(version="1.2", ciphers="ECDHE-RSA-AES128-GCM-SHA256") == here.pairs["rsa"].fingerprint
    assert here.leaf() == here.pairs["ecdsa"].fingerprint


# ---- resumption ----

def resume(here, version, count=1, tls=None, session=None):
    """Makes `count` connections in a row, each with the ticket of the one before; returns (resumed?, …) and the last session."""
    tls = tls or clients.context(here.root, version)
    reused = []
    for _ in range(count):
        with clients.Client(here.port, tls=tls, session=session) as client:
            client.exchange("fetches the ticket of TLS 1.3, too")
            reused.append(client.socket.session_reused)
            session = client.socket.session
    return reused, session


@pytest.mark.parametrize("version", ["1.2", "1.3"])
def test_resumption(shop, version):
    """Whichever handshaker gets the next connection can open the ticket."""
    here = shop(extra=LOG_ALL)
    reused, _ = resume(here, version, 10)
    assert reused == [False] + [True] * 9
    here.edge.wait_event("handshake-done", resumed=True, count=9)


@pytest.mark.parametrize("version", ["1.2", "1.3"])
def test_resumption_survives_certificate_replacement(shop, version):
    here = shop()
    tls = clients.context(here.root, version)
    _, session = resume(here, version, tls=tls)
    pair = here.replace()
    daemon.wait_until(lambda: here.leaf() == pair.fingerprint)
    reused, _ = resume(here, version, 3, tls, session)
    assert reused == [True] * 3


@pytest.mark.parametrize("version", ["1.2", "1.3"])
def test_no_tickets(shop, version):
    here = shop(listener="tickets = none")
    reused, _ = resume(here, version, 3)
    assert not any(reused)


def test_ticket_count(shop):
    here = shop(listener="tickets = 3")
    output = hello(here.port, "-tls1_3", "-msg")
    assert output.count("NewSessionTicket") == 3 and "\nhello there" in output


def test_no_early_data(shop):
    here = shop()
    assert "Max Early Data: 0" in hello(here.port, "-tls1_3")


# ---- refusals ----

@pytest.mark.parametrize("options, alert", [
    (("-tls1_1", "-cipher", "ALL@SECLEVEL=0"), "protocol_version"),
    (("-tls1_2", "-cipher", "ECDHE-ECDSA-AES128-SHA"), "handshake_failure"),
    (("-tls1_2", "-cipher", "AES128-GCM-SHA256"), "handshake_failure"),
    (("-tls1_3", "-ciphersuites", "TLS_AES_128_CCM_SHA256"), "handshake_failure"),
])
def test_refused_parameters(shop, options, alert):
    here = shop()
    output = s_client(here.port, *options)
    assert alert.replace("_", " ") in output, output
    failed = here.edge.wait_event("handshake-failed")
    assert failed["alert_sent"] == alert, failed


def test_version_limits(shop):
    here = shop(listener='tls-min = "1.3"')
    with pytest.raises(ssl.SSLError, match="(?i)protocol.version"):
        here.client(version="1.2")
    with here.client(version="1.3") as client:
        client.exchange()


def test_version_limit_from_above(shop):
    here = shop(listener='tls-max = "1.2"')
    with here.client() as client:
        assert client.socket.version() == "TLSv1.2"
        client.exchange()


def test_client_that_does_not_trust_us(shop, tmp_path):
    """The client's alert is told in the event."""
    here = shop()
    other = clients.ssl.create_default_context()
    with pytest.raises(ssl.SSLCertVerificationError):
        clients.Client(here.port, tls=other)
    failed = here.edge.wait_event("handshake-failed")
    assert failed["alert_received"] == "unknown_ca", failed


def test_handshake_events(shop):
    here = shop(extra=LOG_ALL, listener='alpn = {"http/1.1"}')
    with here.client(version="1.3", alpn=["http/1.1"]) as client:
        client.exchange()
    done = here.edge.wait_event("handshake-done")
    assert (done["sni"], done["version"], done["alpn"], done["resumed"], done["key_type"]) == \
        (NAME, "TLSv1.3", "http/1.1", False, "ecdsa")
    assert done["listener"] == "shop" and done["client"].startswith("127.0.0.1:")
    assert 0 < done["duration_us"] < 10_000_000
    closed = here.edge.wait_event("session-closed")
    assert closed["bytes_in"] > 0 and closed["bytes_out"] > 0


def test_failures_only_by_default(shop):
    here = shop()
    with here.client() as client:
        client.exchange()
    here.edge.wait_event("session-closed")
    assert not here.edge.events_named("handshake-done")


@pytest.mark.usefixtures("ipv6")
def test_ipv6_and_several_addresses(start, folder, authority, server):
    authority.issue(NAME).write(folder)
    ports = [daemon.free_port() for _ in range(3)]
    start(f"""
        listener "shop" {{
            bind = {{"127.0.0.1:{ports[0]}", "[::1]:{ports[1]}", "127.0.0.1:{ports[2]}"}}
            certificates = {{"leaf"}}
            upstream = "app"
        }}
        upstream "app" {{ servers = {{"{server().address}"}} }}
        certificate "leaf" {{
            names = {{"{NAME}"}}
            from = files
            chain = "{folder}/leaf.pem"
            key = "{folder}/leaf.key"
        }}""")
    for host, port in zip(("127.0.0.1", "::1", "127.0.0.1"), ports):
        with clients.Client(port, authority.root_path, host=host) as client:
            client.exchange()


def test_new_certificate_within_a_tenth_of_a_second(shop):
    """From the rename that completes the pair to the first handshake that shows it; the median of twenty."""
    here = shop()
    took = []
    for _ in range(20):
        pair = here.replace()
        begin = time.monotonic()
        while here.leaf() != pair.fingerprint:
            assert time.monotonic() - begin < 10
        took.append(time.monotonic() - begin)
    median = sorted(took)[10]
    print(f"new certificate served after {median * 1e3:.0f} ms (median), {max(took) * 1e3:.0f} ms (worst)")
    assert median < 1.0
