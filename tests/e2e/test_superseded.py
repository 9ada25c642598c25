"""Which sessions still hang on what was replaced: `sessions --superseded`, its metrics and its summary in `status`."""

import contextlib
import os
import signal

import pytest

import clients
from daemon import free_port, wait_until
from scrapes import metrics

NAME = clients.NAME
KINDS = ("certificate", "config", "binary", "ticket-key", "traffic-key", "ca")


def superseded(edge, *arguments):
    return edge.lines("sessions", "--superseded", *arguments)


def count(edge, kind="certificate"):
    return edge.json("status")["superseded"][kind]["sessions"]


def hold(stack, here, number, **options):
    held = [stack.enter_context(here.client(**options)) for _ in range(number)]
    for client in held:
        client.exchange()
    return held


def test_unknown_kind(shop):
    here = shop()
    for arguments in (("colour",), ("certificate,config",), ("--limit", "x")):
        result = here.edge.run("sessions", "--superseded", *arguments, check=False)
        assert result.returncode == 2, result
    assert "ticket-key" in here.edge.run("sessions", "--superseded=colour", check=False).stderr


def test_nothing_is_superseded(shop):
    admin = free_port()
    here = shop(extra=f'admin {{ bind = {{"127.0.0.1:{admin}"}} }}')
    with contextlib.ExitStack() as stack:
        hold(stack, here, 2, version="1.2")
        hold(stack, here, 2, version="1.3")
        assert superseded(here.edge) == []
        assert [session["superseded"] for session in here.edge.lines("sessions")] == [[]] * 4
        status = here.edge.json("status")["superseded"]
        assert status == {kind: {"sessions": 0, "oldest_ms": 0} for kind in KINDS}
        samples = metrics(admin)
        for kind in KINDS:
            assert samples[f'holdfast_sessions_superseded{{kind="{kind}",listener="shop"}}'] == 0
            assert samples[f'holdfast_sessions_superseded_oldest_seconds{{kind="{kind}",listener="shop"}}'] == 0
        assert "superseded:" not in here.edge.run("status").stdout


@pytest.mark.parametrize("source", ["files", "managed"])
def test_certificate_replaced(shop, source):
    """Those made with the old version count until they end; new ones never do."""
    admin = free_port()
    here = shop(source=source, extra=f'admin {{ bind = {{"127.0.0.1:{admin}"}} }}')
    sample = 'holdfast_sessions_superseded{kind="certificate",listener="shop"}'
    oldest = 'holdfast_sessions_superseded_oldest_seconds{kind="certificate",listener="shop"}'
    with contextlib.ExitStack() as stack:
        held = hold(stack, here, 2, version="1.2") + hold(stack, here, 2, version="1.3")
        old = {session["id"] for session in here.edge.lines("sessions")}
        pair = here.replace()
        wait_until(lambda: here.leaf() == pair.fingerprint and count(here.edge) == 4)
        hold(stack, here, 3)
        found = superseded(here.edge, "certificate")
        assert {session["id"] for session in found} == old
        assert all(session["superseded"] == ["certificate"] for session in found)
        assert {session["id"] for session in superseded(here.edge, "--listener", "shop")} == old
        assert len(superseded(here.edge, "certificate", "--limit", "3")) == 3
        assert superseded(here.edge, "--older", "1h") == superseded(here.edge, "config") == []
        samples = metrics(admin)
        assert samples[sample] == 4 and 0 < samples[oldest] < 600
        assert "superseded: certificate 4 (oldest" in here.edge.run("status").stdout
        assert "certificate" in here.edge.run("sessions", "--superseded").stdout
        held[0].close()
        wait_until(lambda: count(here.edge) == 3)
        here.edge.run("sessions", "close", superseded(here.edge)[0]["id"])
        assert count(here.edge) == 2
        for client in held:
            client.close()
        wait_until(lambda: count(here.edge) == 0)
        samples = metrics(admin)
        assert samples[sample] == 0 and samples[oldest] == 0


def test_only_the_replaced_key_type(shop):
    here = shop(key_types=("ecdsa", "rsa"))
    with contextlib.ExitStack() as stack:
        hold(stack, here, 2, version="1.2", ciphers="ECDHE-RSA-AES128-GCM-SHA256")
        hold(stack, here, 3, version="1.2", ciphers="ECDHE-ECDSA-AES128-GCM-SHA256")
        pair = here.replace("rsa")
        wait_until(lambda: here.leaf(version="1.2", ciphers="ECDHE-RSA-AES128-GCM-SHA256") == pair.fingerprint
                   and count(here.edge) == 2)
        assert {session["key_type"] for session in superseded(here.edge)} == {"rsa"}


def test_control_started_again(shop):
    """Its successor says the same, not that everything is superseded."""
    here = shop(source="managed")
    with contextlib.ExitStack() as stack:
        hold(stack, here, 2)
        pair = here.replace()
        wait_until(lambda: here.leaf() == pair.fingerprint and count(here.edge) == 2)
        hold(stack, here, 1)
        here.edge.tolerated = ("killed",)
        victim, = here.edge.workers("control")
        mark = here.edge.mark()
        os.kill(victim, signal.SIGKILL)
        here.edge.wait_event("process-started", since=mark, process="control")
        wait_until(lambda: here.edge.run("status", check=False).returncode == 0, 20)
        wait_until(lambda: "certificate" in here.edge.json("status")["superseded"], 20)
        assert count(here.edge) == 2


@pytest.fixture(name="many")
def many_fixture(start, folder, authority, server):
    """A listener whose certificates stand in a folder, one file per host."""
    class Many:
        def __init__(self):
            self.port = free_port()
            self.folder = folder / "many"
            self.folder.mkdir()
            self.root = authority.root_path

        def put(self, host):
            pair = authority.issue(host)
            chain, key = pair.write(folder, "fresh")
            file = host.replace("*", "_wildcard") + ".pem"
            made = folder / "made.pem"
            made.write_text(chain.read_text() + key.read_text())
            made.rename(self.folder / file)
            return pair

        def run(self):
            self.edge = start(f'''
                listener "many" {{
                    bind = {{"127.0.0.1:{self.port}"}}
                    certificates = {{"folder"}}
                    upstream = "app"
                }}
                upstream "app" {{ servers = {{"{server().address}"}} }}
                certificate "folder" {{ from = files folder = "{self.folder}" }}
            ''')

        def client(self, host):
            return clients.Client(self.port, self.root, name=host)

        def leaf(self, host):
            try:
                return clients.leaf(self.port, self.root, name=host)
            except OSError as error:  # its file is being read
                return error

    return Many()


def test_folder(many):
    """A host's file that is replaced or removed concerns its own sessions alone; the wildcard's are told apart."""
    long = "a" * 60 + ".many.test"  # longer than a session remembers
    for host in ("one.test", "two.test", "*.many.test", long):
        many.put(host)
    many.run()
    with contextlib.ExitStack() as stack:
        for host in ("one.test", "two.test", long, "x.many.test", "y.many.test"):
            stack.enter_context(many.client(host)).exchange()
        assert superseded(many.edge) == []
        pair = many.put("one.test")
        wait_until(lambda: many.leaf("one.test") == pair.fingerprint)
        assert [session["sni"] for session in superseded(many.edge)] == ["one.test"]
        own = many.put("x.many.test")  # the wildcard's file, with which its session was made, still serves others
        wait_until(lambda: many.leaf("x.many.test") == own.fingerprint, 20)
        assert count(many.edge) == 1
        (many.folder / "two.test.pem").unlink()
        wait_until(lambda: count(many.edge) == 2)
        pair = many.put("*.many.test")
        wait_until(lambda: many.leaf("y.many.test") == pair.fingerprint, 20)
        assert {session["sni"] for session in superseded(many.edge, "certificate")} == \
            {"one.test", "two.test", "x.many.test", "y.many.test"}


def test_pass_through_has_no_certificate(start, server, shop):
    inner = shop()
    port = free_port()
    edge = start(f'''
        listener "through" {{
            bind = {{"127.0.0.1:{port}"}}
            mode = pass-through
            upstream = "inner"
        }}
        upstream "inner" {{ servers = {{"127.0.0.1:{inner.port}"}} }}
    ''', subfolder="outer")
    with clients.Client(port, inner.root) as client:
        client.exchange()
        assert edge.json("status")["sessions"] == 1 and superseded(edge) == []
        pair = inner.replace()
        wait_until(lambda: inner.leaf() == pair.fingerprint and count(inner.edge) == 1)
        assert superseded(edge) == []
