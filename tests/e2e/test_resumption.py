"""Resumption: it survives whatever changes, except trust, policy, name and time; every miss has a reason; nobody is turned away."""

import base64
import math
import os
import re
import signal
import ssl
import subprocess
import time
from types import SimpleNamespace

import pytest

import clients
from clients import NAME, s_client
from daemon import free_port, holdfast, wait_until
from scrapes import metrics

ALL = "log-handshakes = all"
versions = pytest.mark.parametrize("version", ["1.2", "1.3", "1.2-id"])  # the last: a client without tickets, by session id
tickets = pytest.mark.parametrize("version", ["1.2", "1.3"])


class Guest:
    """A client that comes again and again with the session it was given last."""

    def __init__(self, here, version, **options):
        self.here, self.options = here, options
        self.tls = clients.context(here.root, version.removesuffix("-id"))
        if version.endswith("-id"):
            self.tls.options |= ssl.OP_NO_TICKET
        self.session = self.address = None

    def visit(self, keep=True, **options):
        """Was it resumed? Data must get through either way."""
        with clients.Client(self.here.port, tls=self.tls, session=self.session, **{**self.options, **options}) as client:
            client.exchange("fetches the tickets of TLS 1.3, too")
            self.address = "{}:{}".format(*client.socket.getsockname())
            if keep:
                self.session = client.socket.session
            return client.socket.session_reused


def returning(here, version, **options):
    guest = Guest(here, version, **options)
    assert not guest.visit()
    return guest


def told(guest):
    """The event of its last visit."""
    return guest.here.edge.wait_event("handshake-done", client=guest.address)


def expect_miss(guest, reason, **options):
    assert not guest.visit(**options)
    done = told(guest)
    assert (done["resumed"], done["resumption_miss"]) == (False, reason)


# ---- what resumption survives ----

@versions
def test_ten_certificates(shop, version):
    """A hundred in a hundred: the chain goes on through each of ten replacements."""
    here = shop(extra=ALL)
    guest = returning(here, version)
    for _ in range(10):
        pair = here.replace()
        wait_until(lambda wanted=pair.fingerprint: here.leaf() == wanted)
        assert [guest.visit() for _ in range(3)] == [True] * 3


@versions
def test_reload_upgrade_and_killed_handshakers(shop, version):
    here = shop(extra=ALL)
    here.edge.tolerated = ("killed",)
    guest = returning(here, version)
    here.edge.write_config(here.edge.config_path.read_text() + "\nlog-sessions = no\n")
    here.edge.run("reload")
    assert guest.visit()
    here.edge.run("upgrade")
    assert guest.visit()
    for pid in here.edge.workers("handshaker"):
        mark = here.edge.mark()
        os.kill(pid, signal.SIGKILL)
        here.edge.wait_event("process-started", since=mark, timeout=30)
    assert [guest.visit() for _ in range(4)] == [True] * 4


# ---- what ends it ----

@versions
def test_another_name(shop, version):
    here = shop(extra=ALL)
    guest = returning(here, version)
    guest.tls.check_hostname = False
    expect_miss(guest, "name-changed", name="www.shop.test", keep=False)
    expect_miss(guest, "name-changed", name=None, keep=False)
    assert guest.visit()
    assert guest.visit(name="SHOP.test")  # names have no case


def set_lineage(edge, value):
    text = re.sub(r"max-lineage = \S+", f"max-lineage = {value}", edge.config_path.read_text())
    edge.config_path.write_text(text)
    edge.run("reload")


@versions
def test_lineage_ends_to_the_second(shop, version):
    """Wall-clock seconds count. What the client was promised is longer, so that it goes on offering the ticket."""
    here = shop(extra=ALL, listener="max-lineage = 7d")
    before = math.floor(time.time())
    guest = returning(here, version)
    after = math.floor(time.time())
    set_lineage(here.edge, "4s")
    while True:
        begun = math.floor(time.time())
        resumed = guest.visit(keep=False)
        ended = math.floor(time.time())
        if not resumed:
            break
        assert begun < after + 4, "resumed although its lineage was over"
        assert "resumption_miss" not in told(guest)
    assert ended >= before + 4, "refused too early"
    assert told(guest)["resumption_miss"] == "capped"


def test_no_promise_beyond_the_lineage(shop):
    here = shop(listener="max-lineage = 5m")
    output = s_client(here.port, "-tls1_3", text=b"hello there\n", until=b"\nhello there")
    hint = int(re.search(r"TLS session ticket lifetime hint: (\d+)", output)[1])
    assert 290 < hint <= 300


def listening(ports, folder, upstream):
    """A configuration with a listener for each name in `ports`, all with the same certificate."""
    return ALL + "".join(f"""
        listener "{name}" {{
            bind = {{"127.0.0.1:{port}"}}
            certificates = {{"leaf"}}
            upstream = "app"
        }}""" for name, port in ports.items()) + f"""
        upstream "app" {{ servers = {{"{upstream.address}"}} }}
        certificate "leaf" {{
            names = {{"{NAME}"}}
            from = files
            chain = "{folder}/leaf.pem"
            key = "{folder}/leaf.key"
        }}"""


@versions
def test_ticket_of_another_listener(start, folder, authority, server, version):
    authority.issue(NAME).write(folder)
    ports = {"first": free_port(), "second": free_port()}
    edge = start(listening(ports, folder, server()))
    here = SimpleNamespace(edge=edge, port=ports["first"], root=authority.root_path)
    guest = returning(here, version)
    here.port = ports["second"]
    expect_miss(guest, "policy-changed")
    assert guest.visit()
    here.port = ports["first"]
    expect_miss(guest, "policy-changed")


def pem_of_session(here, path, version):
    s_client(here.port, f"-tls1_{version[-1]}", "-sess_out", str(path), text=b"hello there\n", until=b"\nhello there")
    wait_until(path.exists)
    return path


def ticket_of(path):
    """The ticket, as `openssl sess_id` prints it."""
    text = subprocess.run(["openssl", "sess_id", "-in", path, "-text", "-noout"], capture_output=True, text=True, check=True).stdout
    dump = text.split("TLS session ticket:\n")[1].split("\n\n")[0]
    lines = re.findall(r"^ +[0-9a-f]{4} - ((?:[0-9a-f]{2}[ -]){1,16})", dump, re.M)
    return bytes.fromhex("".join(line.replace("-", " ") for line in lines))


def damage(path, offset):
    """Changes one byte of the ticket in a session file."""
    ticket = ticket_of(path)
    head, body, foot = re.fullmatch(r"(-----BEGIN [^\n]*\n)(.*)(-----END [^\n]*\n)", path.read_text(), re.S).groups()
    der = base64.b64decode(body)
    assert der.count(ticket) == 1
    at = der.index(ticket) + offset % len(ticket)
    changed = der[:at] + bytes([der[at] ^ 1]) + der[at + 1:]
    path.write_text(head + base64.encodebytes(changed).decode() + foot)


@tickets
@pytest.mark.parametrize("offset, reason", [(3, "unknown-key"), (40, "corrupt"), (-1, "corrupt")])
def test_damaged_ticket(shop, folder, version, offset, reason):
    """In the key's name, in what is encrypted, in the authenticator."""
    here = shop(extra=ALL)
    path = pem_of_session(here, folder / "session.pem", version)
    damage(path, offset)
    output = s_client(here.port, f"-tls1_{version[-1]}", "-sess_in", str(path), text=b"hello there\n", until=b"\nhello there")
    assert "\nhello there" in output and "New, TLS" in output
    assert here.edge.wait_event("handshake-done", count=2)["resumption_miss"] == reason


@versions
def test_ticket_of_another_daemon(start, folder, authority, server, version):
    """The same configuration, other ticket keys."""
    authority.issue(NAME).write(folder)
    upstream = server()
    here = SimpleNamespace(root=authority.root_path)
    guest = Guest(here, version)
    for subfolder in ("one", "two"):
        here.port = free_port()
        here.edge = start(listening({"shop": here.port}, folder, upstream), subfolder)
        if guest.session is None:
            assert not guest.visit()
    expect_miss(guest, "unknown-key")
    assert guest.visit()


def shown(edge):
    return edge.json("keys", "resumption", "show")


def test_forget(shop):
    """Every kind of session, from before and after: none resumed, none turned away, live sessions stay."""
    admin = free_port()
    here = shop(extra=f'admin {{ bind = "127.0.0.1:{admin}" }}\n{ALL}')
    guests = [returning(here, version) for version in ("1.2", "1.3", "1.2-id") for _ in range(4)]
    assert all(guest.visit() for guest in guests)
    with here.client() as live:
        live.exchange()
        assert "forgotten" not in shown(here.edge)
        assert "forgotten" in here.edge.json("keys", "resumption", "forget")
        here.edge.wait_event("resumption-forgotten")
        for guest in guests:
            expect_miss(guest, "policy-changed")
        assert all(guest.visit() for guest in guests)
        live.exchange()
        assert here.edge.run("keys", "resumption", "forget").stdout.count("live sessions stay") == 1  # twice in a second
    assert not any(guest.visit() for guest in guests)
    assert not here.edge.events_named("handshake-failed")
    facts = shown(here.edge)
    assert facts["misses"]["policy-changed"] == 2 * len(guests) == facts["offered"] - facts["resumed"]
    assert metrics(admin)['holdfast_resumption_misses_total{reason="policy-changed"}'] == 2 * len(guests)


def test_forgotten_outlives_processes(shop):
    """Control and handshakers are killed, then all is upgraded: nothing from before comes back into force."""
    here = shop(extra=ALL)
    here.edge.tolerated = ("killed",)
    guests = [returning(here, version) for version in ("1.2", "1.3", "1.2-id")]
    here.edge.run("keys", "resumption", "forget")
    for kind in ("control", "handshaker"):
        mark, pids = here.edge.mark(), here.edge.workers(kind)
        for pid in pids:
            os.kill(pid, signal.SIGKILL)
        here.edge.wait_event("process-started", since=mark, timeout=30, count=len(pids))
    here.edge.run("upgrade")
    for guest in guests:
        expect_miss(guest, "policy-changed")
        assert guest.visit()


@tickets
def test_forgotten_outlives_a_restart(shop, folder, version):
    """Where the ticket keys are kept, so is what was forgotten."""
    key = folder / "key-encryption-key"
    key.write_text(os.urandom(32).hex() + "\n")
    key.chmod(0o600)
    here = shop(extra=f'key-encryption-key = "{key}"\n{ALL}')
    forgotten = returning(here, version)
    here.edge.run("keys", "resumption", "forget")
    kept = returning(here, version)
    here.edge.stop()
    here.edge.events.clear()
    here.edge.start()
    expect_miss(forgotten, "policy-changed")
    assert kept.visit()


@pytest.mark.parametrize("arguments", [(), ("forge",), ("show", "more")])
def test_usage(arguments):
    result = holdfast("keys", "resumption", *arguments, check=False)
    assert result.returncode == 2 and "expected show or forget" in result.stderr


# ---- other clients ----

@pytest.mark.parametrize("priority", ["NORMAL", "NORMAL:-VERS-ALL:+VERS-TLS1.2", "NORMAL:-VERS-ALL:+VERS-TLS1.2:%NO_TICKETS"])
def test_gnutls_resumes(shop, need, priority):
    here = shop(extra=ALL)
    output = subprocess.run(
        [need("gnutls-cli"), "--x509cafile", here.root, "--sni-hostname", NAME, "--verify-hostname", NAME, "--resume",
         "--waitresumption", "--priority", priority, "-p", str(here.port), "127.0.0.1"],
        input=b"", capture_output=True, timeout=30, check=False).stdout
    assert b"*** This is a resumed session" in output, output
    here.edge.wait_event("handshake-done", resumed=True)


@pytest.mark.parametrize("options", [("-tls1_3",), ("-tls1_2",), ("-tls1_2", "-no_ticket")])
def test_s_client_resumes(shop, folder, options):
    here = shop(extra=ALL)
    path = folder / "session.pem"
    made = s_client(here.port, *options, "-sess_out", str(path), text=b"hello there\n", until=b"\nhello there")
    assert "New, TLS" in made
    wait_until(path.exists)
    again = s_client(here.port, *options, "-sess_in", str(path), text=b"hello there\n", until=b"\nhello there")
    assert "Reused, TLS" in again
    here.edge.wait_event("handshake-done", resumed=True)


# ---- the cache of session ids ----

def test_cache_is_bounded_and_told(shop):
    """More sessions than it holds: the oldest make room, the newest are resumed."""
    here = shop(extra=f"session-cache = 100\n{ALL}")
    for _ in range(110):
        last = returning(here, "1.2-id")
    assert last.visit()
    counters = shown(here.edge)["session_cache"]
    assert counters["stored"] == 110 and counters["hits"] == 1 and counters["replaced"] >= 10
    wait_until(lambda: 80 < shown(here.edge)["session_cache"]["entries"] <= 100)


def test_no_cache(shop):
    here = shop(extra=f"session-cache = none\n{ALL}")
    guest = returning(here, "1.2-id")
    assert not guest.visit()
    assert returning(here, "1.2").visit()
