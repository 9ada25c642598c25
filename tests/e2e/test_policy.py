"""The policy document: every rule that it states is broken by a client, which gets what the document says. And its lint."""

import contextlib
import json
import os
import signal
import socket
import ssl
import time

import pytest

import clients
import daemon
import forge
from clients import NAME, s_client
from daemon import holdfast, wait_until

LISTENERS = {
    "usual": 'alpn = {"http/1.1"}\n deny = {"127.0.0.9"}\n proxy-from = {"127.0.0.8"}',
    "modern": 'tls-min = 1.3\n groups = "X25519"\n strict-sni = yes\n traffic-key-records = none',
    "old": "tls-max = 1.2\n tickets = none\n traffic-key-records = 100\n traffic-key-age = 1h",
    "timed": "idle-timeout = 3s\n max-session-age = 10s",
    "limited": "max-connections = 3\n max-connections-per-source = 2",
    "through": None,
}


class House:
    """One daemon with all those listeners."""

    def __init__(self, start, folder, authority, upstream):
        self.root, self.folder, self.upstream = authority.root_path, folder, upstream
        self.ports = {name: daemon.free_port() for name in LISTENERS}
        authority.issue(NAME).write(folder, "ecdsa")
        self.edge = start("log-handshakes = all\n" + "".join(self.listener(name, options) for name, options in LISTENERS.items()) + f"""
            upstream "app" {{ servers = {{"{upstream.address}"}} }}
            certificate "{NAME}" {{
                names = {{"{NAME}"}}
                from = files
                chain = "{folder}/ecdsa.pem"
                key = "{folder}/ecdsa.key"
            }}""")

    def listener(self, name, options):
        mode = "mode = pass-through" if options is None else f'certificates = {{"{NAME}"}}\n client-hello-max = 4k\n {options}'
        return f"""
            listener "{name}" {{
                bind = {{"127.0.0.1:{self.ports[name]}"}}
                upstream = "app"
                {mode}
                handshake-timeout = 3s
            }}"""


class Listener:
    def __init__(self, house, name):
        self.house, self.name, self.port = house, name, house.ports[name]
        self.terminates = LISTENERS[name] is not None
        self.version = "1.2" if name == "old" else "1.3"
        self.edge = house.edge

    def s_client(self, *options, **more):
        return s_client(self.port, *options, **more)

    def client(self, **options):
        return clients.Client(self.port, self.house.root, version=self.version, **options)

    def refused(self, **options):
        with pytest.raises((ssl.SSLError, OSError)):
            with self.client(timeout=5, **options) as client:
                client.exchange()
        return True

    def closes(self, data, source=None):
        """What comes back until the edge closes the plain connection."""
        with socket.create_connection(("127.0.0.1", self.port), 20, source_address=source) as connection:
            connection.sendall(data)
            answer = b""
            with contextlib.suppress(ConnectionError):
                while piece := connection.recv(65536):
                    answer += piece
            return answer


# ---- one who breaks each rule ----

def old_version(here, _):
    assert "alert protocol version" in here.s_client("-tls1_1", "-cipher", "DEFAULT@SECLEVEL=0")


def unlisted_suite(here, rule):
    if "TLS 1.2: " in rule["statement"]:
        assert "AES128-SHA256," not in rule["statement"]
        assert "handshake failure" in here.s_client("-tls1_2", "-cipher", "ECDHE-ECDSA-AES128-SHA256")
    if "TLS 1.3: " in rule["statement"]:
        assert "handshake failure" in here.s_client("-tls1_3", "-ciphersuites", "TLS_AES_128_CCM_SHA256")


def unlisted_group(here, rule):
    assert "handshake failure" in here.s_client("-groups", "P-521")
    if here.version == "1.3":
        assert here.s_client("-groups", "P-384:X25519", "-msg").count("ClientHello") == 2
        assert "X25519" in rule["statement"]


def old_signature(here, _):
    assert "handshake failure" in here.s_client("-sigalgs", "ECDSA+SHA1:RSA+SHA1", "-cipher", "DEFAULT@SECLEVEL=0")


def early_data(here, _):
    session, data = here.house.folder / "early", here.house.folder / "early-data"
    data.write_text("early")
    here.s_client("-sess_out", session, text=b"hello\n", until=b"\nhello")
    assert "Early data was not sent" in here.s_client("-sess_in", session, "-early_data", data)


def unknown_name(here, rule):
    if "must name" in rule["statement"]:
        assert "unrecognized name" in here.s_client(name="other.test")
    elif here.terminates:
        assert f"CN = {NAME}" in here.s_client(name="other.test")
    else:
        with socket.create_connection(("127.0.0.1", here.port)) as connection:
            connection.sendall(client_hello("other.test"))
            assert connection.recv(1) == b"\x16"  # the upstream echoes the ClientHello


def client_hello(name):
    outgoing = ssl.MemoryBIO()
    with contextlib.suppress(ssl.SSLWantReadError):
        clients.context().wrap_bio(ssl.MemoryBIO(), outgoing, server_hostname=name).do_handshake()
    return outgoing.read()


def other_protocol(here, _):
    assert "no application protocol" in here.s_client("-alpn", "imap")


def plain_text(here, _):
    assert here.closes(b"GET / HTTP/1.1\r\n\r\n").startswith(b"HTTP/1.1 400" if here.terminates else b"")
    assert here.closes(b"SSH-2.0-OpenSSH_9.2\r\n") == b"\x15\x03\x03\x00\x02\x02\x0a"  # unexpected_message


def long_hello(here, _):
    length = 20000
    here.closes(b"\x16\x03\x01\x40\x00\x01" + length.to_bytes(3, "big") + b"\x03\x03" + b"x" * 16378)


def slow_handshake(here, _):
    here.closes(client_hello(NAME)[:50])


def shows_certificate(here, _):
    pair = here.house.folder / "ecdsa"
    output = here.s_client("-msg", "-cert", f"{pair}.pem", "-key", f"{pair}.key", text=b"hello\n", until=b"\nhello")
    assert "CertificateRequest" not in output and "\nhello" in output


def foreign_ticket(here, rule):
    other = Listener(here.house, "usual" if here.name != "usual" else "timed")
    session, version = here.house.folder / "session", f"-tls1_{here.version[-1]}"
    other.s_client(version, "-sess_out", session, text=b"hello\n", until=b"\nhello")
    assert "\nReused" in other.s_client(version, "-sess_in", session)
    assert "\nNew" in here.s_client(version, "-sess_in", session)
    assert ("no tickets" in rule["statement"]) == (here.name == "old")


def renegotiates(here, _):
    with contextlib.closing(clients.LineProcess(
            ["openssl", "s_client", "-connect", f"127.0.0.1:{here.port}", "-tls1_2", "-msg", "-servername", NAME])) as client:
        client.exchange("before")
        client.write(b"R\n")
        client.wait_output(b"no_renegotiation")


def wears_out_keys(here, rule):
    """In TLS 1.2 by sending on and on, in TLS 1.3 by a flood of KeyUpdates."""
    if here.version == "1.2":
        assert "after 100 records" in rule["statement"] and "is closed in good time" in rule["otherwise"]
        mark = here.edge.mark()
        with here.client() as client, contextlib.suppress(OSError, EOFError):
            for _ in range(200):
                client.exchange()
            pytest.fail("the key served for more than 200 records")
        here.edge.wait_event("session-closed", since=mark, listener=here.name, reason="traffic-key-limit")
        return
    mark = here.edge.mark()
    with forge.Forger(here.port, here.house.folder) as client, contextlib.suppress(ConnectionError):
        for _ in range(100):
            client.send_raw(b"".join(client.update_keys(request=True) for _ in range(100)))
    here.edge.wait_event("session-closed", since=mark, listener=here.name, reason="client-protocol-error",
                         detail=lambda text: text and "KeyUpdate" in text)


def truncates(here, _):
    mark = here.edge.mark()
    with clients.WireClient(here.port, here.house.root, version=here.version) as client:
        client.send(b"part")
        client.receive_exactly(4)
        client.raw.shutdown(socket.SHUT_WR)
        client.alert()
    here.edge.wait_event("session-closed", since=mark, listener=here.name, reason="client-truncated")


def is_idle(here, _):
    mark = here.edge.mark()
    with here.client() as client:
        client.exchange()
        assert client.read_to_end() == b""
    here.edge.wait_event("session-closed", since=mark, listener=here.name, reason="idle-timeout")


def stays(here, _):
    mark = here.edge.mark()
    with here.client() as client, contextlib.suppress(OSError, EOFError):
        while True:  # never idle
            client.exchange()
    here.edge.wait_event("session-closed", since=mark, listener=here.name, reason="max-session-age")


def comes_from_elsewhere(here, _):
    assert here.refused(source=("127.0.0.9", 0))
    with here.client(source=("127.0.0.10", 0)) as client:
        client.exchange()


def has_no_proxy_header(here, _):
    assert here.refused(source=("127.0.0.8", 0))


def too_many(here, sources):
    with contextlib.ExitStack() as stack:
        for source in sources[:-1]:
            stack.enter_context(here.client(source=(source, 0))).exchange()
        assert here.refused(source=(sources[-1], 0))
    wait_until(lambda: here.edge.json("status")["sessions"] == 0)


def waits_too_long(here, _):
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    with contextlib.suppress(ssl.SSLWantReadError):
        clients.context().wrap_bio(incoming, outgoing).do_handshake()
    with contextlib.ExitStack() as stack:
        for pid in here.edge.workers("handshaker"):
            os.kill(pid, signal.SIGSTOP)
            stack.callback(os.kill, pid, signal.SIGCONT)
        waiting = socket.create_connection(("127.0.0.1", here.port), 30)
        waiting.sendall(outgoing.read())
        time.sleep(3)  # the wait itself is what is tested
    with waiting, pytest.raises(ConnectionResetError):
        waiting.recv(100)


def needs_openssl(here, _):
    """No client can make a session stay where nothing asks for it."""
    with here.client() as client:
        client.exchange()
        assert not any(here.edge.json("status")["attached"].values())


VIOLATIONS = {
    "tls-versions": old_version,
    "cipher-suites": unlisted_suite,
    "groups": unlisted_group,
    "signature-algorithms": old_signature,
    "early-data": early_data,
    "server-names": unknown_name,
    "protocols": other_protocol,
    "plaintext": plain_text,
    "client-hello-size": long_hello,
    "handshake-time": slow_handshake,
    "overload": waits_too_long,
    "detach": needs_openssl,
    "client-certificates": shows_certificate,
    "resumption": foreign_ticket,
    "renegotiation": renegotiates,
    "key-renewal": wears_out_keys,
    "truncation": truncates,
    "idle-time": is_idle,
    "session-age": stays,
    "source-addresses": comes_from_elsewhere,
    "proxy-protocol": has_no_proxy_header,
    "connections-per-source": lambda here, _: too_many(here, ["127.0.1.1"] * 3),
    "connections": lambda here, _: too_many(here, ["127.0.1.1", "127.0.1.2", "127.0.1.3", "127.0.1.4"]),
}


@pytest.fixture(name="house")
def house_fixture(start, folder, authority, server):
    return House(start, folder, authority, server())


@pytest.mark.parametrize("name", LISTENERS)
def test_every_stated_rule_is_broken_by_a_client(house, name):
    policy = house.edge.json("policy")
    stated, = [listener for listener in policy["listeners"] if listener["listener"] == name]
    here = Listener(house, name)
    for rule in stated["rules"]:
        assert rule["id"] in VIOLATIONS, f"nobody breaks the rule {rule}"
        assert rule["statement"] and rule["otherwise"]
        VIOLATIONS[rule["id"]](here, rule)
    assert len(stated["rules"]) >= (12 if here.terminates else 4)


def rule_of(edge, name):
    rules = edge.json("policy")["listeners"][0]["rules"]
    found, = [rule for rule in rules if rule["id"] == name]
    return found


def test_clients_must_have_a_certificate(shop, folder, authority):
    (folder / "clients.pem").write_bytes(authority.authorities_pem())
    here = shop(listener=f'client-certificate = required\n client-ca = "{folder}/clients.pem"')
    rule = rule_of(here.edge, "client-certificates")
    assert rule["statement"].startswith("Clients must have a certificate.") and "is refused" in rule["otherwise"]
    for version in ("1.2", "1.3"):
        with pytest.raises((ssl.SSLError, OSError)), here.client(version=version) as client:
            client.exchange()
    chain, key = authority.issue_client("someone").write(folder, "someone")
    with here.client(identity=(str(chain), str(key))) as client:
        client.exchange()


def test_renegotiation_in_measure(shop):
    here = shop(listener='renegotiation = allow\n renegotiation-rate = "1/1h"')
    rule = rule_of(here.edge, "renegotiation")
    assert "1 times in" in rule["statement"] and "no_renegotiation" in rule["otherwise"]
    with contextlib.closing(clients.LineProcess(
            ["openssl", "s_client", "-connect", f"127.0.0.1:{here.port}", "-tls1_2", "-msg", "-servername", NAME])) as client:
        client.exchange("before")
        client.write(b"R\n")
        client.wait_output(b"<<< TLS 1.2, Handshake [length 0010], Finished")  # s_client takes no input until then
        client.exchange("after the first")
        client.write(b"R\n")
        client.wait_output(b"no_renegotiation")


@pytest.mark.parametrize("detach, statement, otherwise, attached", [
    ("never", "Every session stays", "ends with its handshaker", 1),
    ("require", "Every session leaves", "is ended", 0),
])
def test_who_carries_sessions(shop, detach, statement, otherwise, attached):
    here = shop(listener=f"detach = {detach}")
    rule = rule_of(here.edge, "detach")
    assert rule["statement"].startswith(statement) and otherwise in rule["otherwise"]
    with here.client() as client:
        client.exchange()
        assert sum(here.edge.json("status")["attached"].values()) == attached


def test_overload_by_alert_or_not_at_all(shop):
    here = shop(listener="queue-timeout = 1s\n overload-action = alert")
    rule = rule_of(here.edge, "overload")
    assert "within 1 s" in rule["statement"] and "alert internal_error" in rule["otherwise"]
    here.edge.write_config(here.edge.config_path.read_text().replace("queue-timeout = 1s\n overload-action = alert", "queue-timeout = none"))
    here.edge.run("reload")
    assert "overload" not in {rule["id"] for rule in here.edge.json("policy")["listeners"][0]["rules"]}


def test_suites_for_old_clients(shop):
    here = shop(listener="cbc-suites = yes")
    assert "ECDHE-ECDSA-AES128-SHA256" in rule_of(here.edge, "cipher-suites")["statement"]
    assert "handshake failure" in s_client(here.port, "-tls1_2", "-cipher", "AES128-SHA:DHE-RSA-AES128-SHA")
    assert "Cipher is ECDHE-ECDSA-AES128-SHA256" in s_client(here.port, "-tls1_2", "-cipher", "ECDHE-ECDSA-AES128-SHA256")


def test_every_rule_is_stated_somewhere(house):
    listeners = house.edge.json("policy")["listeners"]
    assert {rule["id"] for listener in listeners for rule in listener["rules"]} == VIOLATIONS.keys()


def test_document(house):
    text = house.edge.run("policy").stdout
    assert text.startswith("# TLS policy") and "## Listener usual" in text and "| GnuTLS 3.7.9 |" in text
    assert text == house.edge.run("policy", "--offline").stdout
    assert all(line.count("|") in (4, 7) for line in text.splitlines() if line.startswith("|"))


def test_document_follows_the_running_configuration(house):
    """What is in the file counts when it is in force, not before."""
    def versions():
        rules = house.edge.json("policy")["listeners"][0]["rules"]
        return [rule["statement"] for rule in rules if rule["id"] == "tls-versions"]

    assert versions() == ["TLS 1.2 and TLS 1.3."]
    config = house.edge.config_path.read_text()
    house.edge.config_path.write_text(config.replace('alpn = {"http/1.1"}', "tls-min = 1.3", 1))
    assert versions() == ["TLS 1.2 and TLS 1.3."]
    house.edge.run("reload")
    assert versions() == ["TLS 1.3 only."]


# ---- lint ----

def lint(edge, *options, check=False):
    result = edge.run("policy", "lint", "--json", *options, check=check)
    return result.returncode, {finding["id"]: finding for finding in map(json.loads, result.stdout.splitlines())}


@pytest.fixture(name="small")
def small_fixture(shop):
    return shop(listener='alpn = {"h2"}\n tls-min = 1.2')


def rewrite(here, old, new):
    text = here.edge.config_path.read_text()
    assert old in text
    here.edge.config_path.write_text(text.replace(old, new, 1))


def test_lint_of_good_configuration(small):
    code, findings = lint(small.edge)
    assert code == 0 and {finding["severity"] for finding in findings.values()} <= {"note"}


@pytest.mark.parametrize("baseline, old, new, expected", [
    ("mozilla-modern", "", "", "tls12-allowed"),
    ("mozilla-intermediate", "tls-min = 1.2", "tls-max = 1.2", "tls13-missing"),
    ("mozilla-intermediate", "tls-min = 1.2", 'groups = "X25519:P-521"', "group-extra"),
    ("rfc9325", "tls-min = 1.2", 'groups = "X25519"', "group-missing"),
    ("rfc9325", "tls-min = 1.2", "ticket-lifetime = 7d", "ticket-lifetime"),
])
def test_lint_against_baselines(small, baseline, old, new, expected):
    if old:
        rewrite(small, old, new)
    code, findings = lint(small.edge, "--against", baseline)
    assert code == 6 and findings[expected]["severity"] in ("error", "warning")
    assert findings[expected]["listener"] == "shop" and findings[expected]["source"].startswith("https://")
    code, forced = lint(small.edge, "--against", baseline, "--force")
    assert code == 0 and forced.keys() == findings.keys()


def test_lint_refuses_an_unknown_baseline(small):
    result = small.edge.run("policy", "lint", "--against", "hearsay", check=False)
    assert result.returncode == 2 and 'found "hearsay"; expected mozilla-modern' in result.stderr


def test_lint_of_a_change(small, folder):
    """One thing taken away is a note, two a warning: against the daemon, a file, and the history when no daemon runs."""
    before = folder / "before.conf"
    before.write_text(small.edge.config_path.read_text())
    rewrite(small, "tls-min = 1.2", "tls-min = 1.3")
    code, findings = lint(small.edge)
    assert code == 0 and findings["removes-one"]["what"].endswith(": TLS 1.2")
    rewrite(small, "tls-min = 1.3", 'tls-min = 1.3\n groups = "P-256"')
    code, findings = lint(small.edge, "--against", "rfc9325")
    assert code == 6 and "2 things at a time: TLS 1.2; group X25519" in findings["removes-many"]["what"]
    assert lint(small.edge, "--force")[0] == 0
    small.edge.stop()
    code, findings = lint(small.edge)
    assert code == 6 and "removes-many" in findings
    code, findings = lint(small.edge, "--changed-from", before)
    assert code == 6 and "removes-many" in findings
    code, findings = lint(small.edge, "--changed-from", small.edge.config_path)
    assert "removes-many" not in findings and "removes-one" not in findings


def test_lint_of_timeouts_below_history(small):
    """Sessions that lived longer than the new max-session-age: the histogram of the daemon tells."""
    with contextlib.ExitStack() as stack:
        for _ in range(20):
            stack.enter_context(small.client()).exchange()
        wait_until(lambda: len(small.edge.lines("sessions", "--older", "2s")) == 20, 30)
    wait_until(lambda: small.edge.json("status")["sessions"] == 0)
    rewrite(small, "tls-min = 1.2", "max-session-age = 1s")
    code, findings = lint(small.edge)
    assert code == 6 and "max-session-age = 1 s" in findings["timeout-below-history"]["what"]
    rewrite(small, "max-session-age = 1s", "max-session-age = 1h")
    assert "timeout-below-history" not in lint(small.edge)[1]


def test_lint_needs_something_to_read(folder):
    result = holdfast("policy", "lint", "-c", folder / "nothing.conf", check=False)
    assert result.returncode == 3 and "nothing.conf" in result.stderr
