"""Certificates come, change and are refused while sessions live on: files, folders, managed and internal ones."""

import contextlib
import datetime
import os
import signal
import ssl
import statistics
import subprocess
import time
from pathlib import Path

import pytest

import clients
import pki
from daemon import SANITIZED, START_TIMEOUT, free_port, wait_until

NAME = clients.NAME
DAY = datetime.timedelta(days=1)
LOOK = 4  # seconds: sooner than a pair that has become unfit is given up


def entries(edge, name=NAME):
    return [entry for entry in edge.lines("certs") if entry["name"] == name]


def served(edge, version, name=NAME):
    """Waits until a version is live and was seen from outside; returns its entry."""
    def look():
        for entry in entries(edge, name):
            if entry.get("version") == version and entry["state"] == "live" and entry["served"] and \
                    all(check["result"] == "served" for check in entry["served"]):
                return entry
        return None
    return wait_until(look, 30, lambda: f"version {version} is not served: {edge.lines('certs')}")


def time_until_shown(here, pair, limit=30):
    """Seconds until new handshakes see the pair."""
    begin = time.monotonic()
    wait_until(lambda: here.leaf() == pair.fingerprint, limit, "the new certificate is not shown")
    return time.monotonic() - begin


def restart(edge, between=lambda: None):
    """Stops the daemon and starts it anew; returns the position of the new one's first event."""
    edge.stop()
    between()
    mark = edge.mark()
    edge.launch().wait_event("ready", since=mark, timeout=START_TIMEOUT)
    return mark


@pytest.fixture
def configured(start, folder, server):
    """configured(certificate section, listener options) → (edge, port), upstream an echo server."""
    def make(section, listener="", names=NAME, **options):
        import servers
        port, upstream = free_port(), server(servers.echo)
        edge = start(f"""
            listener "edge" {{
                bind = {{"127.0.0.1:{port}"}}
                certificates = {{"{names}"}}
                upstream = "app"
                {listener}
            }}
            upstream "app" {{ servers = {{"{upstream.address}"}} }}
            certificate "{names}" {{ {section} }}
        """, **options)
        edge.upstream = upstream
        return edge, port
    return make


# ---- files ----

def test_replaced_under_live_sessions(shop):
    """New handshakes see the new certificate within 100 ms; a live session notices nothing, and says which one it has."""
    here = shop()
    took = []
    with here.client() as old:
        for version in range(2, 6):
            old.exchange()
            took.append(time_until_shown(here, here.replace()))
            served(here.edge, version)
            old.exchange()
        assert statistics.median(took) < 1, took  # with noise
        sessions = here.edge.lines("sessions")
        assert [session["certificate_version"] for session in sessions] == [1]
        loaded = here.edge.events_named("certificate-loaded")
        assert [event["certificate_version"] for event in loaded] == [1, 2, 3, 4, 5]


def test_half_a_pair_waits_for_the_other_half(shop):
    here = shop()
    first, second = here.pairs["ecdsa"], here.authority.issue(NAME)
    pki.replace_file(here.folder / "ecdsa.pem", second.chain_pem)
    wait_until(lambda: entries(here.edge)[0]["state"] == "settling")
    assert here.leaf() == first.fingerprint
    pki.replace_file(here.folder / "ecdsa.key", second.key_pem)
    assert time_until_shown(here, second) < 5
    assert not here.edge.events_named("certificate-refused")


def test_mismatch_is_refused_after_a_while(shop):
    here = shop()
    begin = time.monotonic()
    pki.replace_file(here.folder / "ecdsa.pem", here.authority.issue(NAME).chain_pem)
    event = here.edge.wait_event("certificate-refused")
    assert 4.5 < time.monotonic() - begin < 15
    assert "key-mismatch" in event["detail"]
    assert here.leaf() == here.pairs["ecdsa"].fingerprint
    entry, = entries(here.edge)
    assert entry["state"] == "refused" and entry["version"] == 1 and "key-mismatch" in entry["last_error"]


def broken_pairs(authority):
    past = datetime.datetime.utcnow() - 10 * DAY
    leaf_only = authority.issue(NAME)
    leaf_only.chain_pem = leaf_only.leaf_pem
    wrong_order = authority.issue(NAME)
    wrong_order.chain_pem = wrong_order.chain_pem[len(wrong_order.leaf_pem):] + wrong_order.leaf_pem
    garbage = authority.issue(NAME)
    garbage.chain_pem = b"-----BEGIN CERTIFICATE-----\nbm90aGluZw==\n-----END CERTIFICATE-----\n"
    return {
        "expired": authority.issue(NAME, not_before=past, lifetime=DAY),
        "not-yet-valid": authority.issue(NAME, not_before=datetime.datetime.utcnow() + DAY),
        "older-than-live": authority.issue(NAME, lifetime=2 * DAY),
        "name-missing": authority.issue("other.test"),
        "leaf-only": leaf_only,
        "leaf-not-first": wrong_order,
        "wrong-usage": authority.issue(NAME, usage=pki.ExtendedKeyUsageOID.CLIENT_AUTH),
        "weak-key": authority.issue(NAME, key_type="rsa", bits=1024),
        "certificate-unparsable": garbage,
    }


def test_bad_files_are_refused_by_name(shop):
    """Each finding has its own code; the live certificate stays, and so do its sessions."""
    here = shop()
    with here.client() as client:
        for code, pair in broken_pairs(here.authority).items():
            mark = here.edge.mark()
            pair.write(here.folder, "ecdsa")
            event = here.edge.wait_event("certificate-refused", since=mark)
            assert event["detail"].startswith(code), event
            assert here.leaf() == here.pairs["ecdsa"].fingerprint
            client.exchange()
        good = here.replace()
        time_until_shown(here, good)
        served(here.edge, 2)
        client.exchange()


def test_links_are_followed(shop, folder, configured, authority):
    """As certbot keeps them: live/ holds links into archive/; as Kubernetes does: a link to a directory is swapped."""
    live, archive = folder / "live", folder / "archive"
    live.mkdir()
    archive.mkdir()

    def archived(number):
        pair = authority.issue(NAME)
        (archive / f"chain{number}.pem").write_bytes(pair.chain_pem)
        (archive / f"key{number}.pem").write_bytes(pair.key_pem)
        return pair

    def link(target, path):
        os.symlink(target, f"{path}.new")
        os.rename(f"{path}.new", path)

    first = archived(1)
    link("../archive/chain1.pem", live / "chain.pem")
    link("../archive/key1.pem", live / "key.pem")
    edge, port = configured(f'from = files names = {{"{NAME}"}} chain = {{"{live}/chain.pem"}} key = {{"{live}/key.pem"}}')
    assert clients.leaf(port, authority.root_path) == first.fingerprint
    second = archived(2)
    link("../archive/key2.pem", live / "key.pem")
    link("../archive/chain2.pem", live / "chain.pem")
    wait_until(lambda: clients.leaf(port, authority.root_path) == second.fingerprint, LOOK)
    third = archived(3)
    (folder / "archive3").mkdir()
    (folder / "archive3" / "chain2.pem").write_bytes(third.chain_pem)
    (folder / "archive3" / "key2.pem").write_bytes(third.key_pem)
    os.rename(archive, folder / "archive1")
    link("archive3", archive)
    (live / "note").write_text("something happens in the folder")
    wait_until(lambda: clients.leaf(port, authority.root_path) == third.fingerprint, LOOK)
    served(edge, 3)


def test_two_key_types_side_by_side(shop):
    here = shop(key_types=("ecdsa", "rsa"))
    for key_type, signatures in (("ecdsa", "ECDSA+SHA256"), ("rsa", "RSA-PSS+SHA256")):
        output = clients.s_client(here.port, "-sigalgs", signatures, "-CAfile", here.root)
        assert "Verify return code: 0" in output
        assert ("id-ecPublicKey" if key_type == "ecdsa" else "rsaEncryption") in output
    assert sorted(entry["key_type"] for entry in entries(here.edge)) == ["ecdsa", "rsa"]
    for key_type in ("rsa", "ecdsa"):
        pair = here.replace(key_type)
        wait_until(lambda: any(entry["fingerprint"] == pair.fingerprint and entry["state"] == "live" and
                               entry["served"][0]["result"] == "served" for entry in entries(here.edge)))


def test_key_type_of_the_only_pair_changes(shop):
    """What is no longer configured must not be shown to those who prefer it."""
    here = shop()
    pair = here.authority.issue(NAME, key_type="rsa")
    pair.write(here.folder, "ecdsa")
    time_until_shown(here, pair)
    served(here.edge, 2)
    with pytest.raises(ssl.SSLError):
        here.client(version="1.2", ciphers="ECDHE-ECDSA-AES128-GCM-SHA256")


# ---- the look from outside ----

def test_dial_is_no_client(shop):
    """Holdfast looks at itself after each replacement; no upstream and no counter sees it."""
    here = shop()
    for version in range(2, 5):
        here.replace()
        served(here.edge, version)
    status = here.edge.json("status")
    assert here.upstream.connections == []
    assert not here.edge.events_named("session-closed") and not here.edge.events_named("handshake-failed")
    assert status["sessions"]["open"] == 0 if isinstance(status.get("sessions"), dict) else True


def clients_of(port):
    """Connections to this port whose client has not left."""
    with open("/proc/net/tcp", encoding="ascii") as lines:
        return [fields for fields in map(str.split, lines) if fields[2].endswith(f":{port:04X}") and fields[9] != "0"]


def test_dial_that_is_answered_late_is_no_client(shop, need):
    """The handshaker stands still behind its answer, until after control has seen what it wanted and left."""
    here = shop(extra="workers = 1")
    served(here.edge, 1)
    wait_until(lambda: not clients_of(here.port))
    handshaker, = here.edge.workers("handshaker")
    command = [need("strace"), "-p", str(handshaker), "-e", "trace=sendto", "-e", "inject=sendto:signal=SIGSTOP:when=1"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as tracer:
        try:
            assert "attached" in tracer.stderr.readline()
            here.replace()
            served(here.edge, 2)
            assert "(tracing stop)" in Path(f"/proc/{handshaker}/status").read_text(encoding="ascii")
            wait_until(lambda: not clients_of(here.port))
        finally:
            tracer.kill()
    os.kill(handshaker, signal.SIGCONT)
    with here.client() as client:
        client.exchange()
    assert len(here.upstream.wait_connections(1)) == len(here.upstream.connections) == 1
    counters = here.edge.json("status")["counters"]
    assert (counters["handshakes"], counters["handshake_failures"]) == (1, 0)


def test_dial_through_the_proxy_protocol(shop):
    here = shop(listener='proxy-from = {"127.0.0.0/8"}')
    served(here.edge, 1)
    here.replace()
    served(here.edge, 2)


def test_dial_that_is_not_allowed_is_skipped(shop):
    here = shop(listener='allow = {"192.0.2.0/24"}')
    here.replace()
    entry = wait_until(lambda: [entry for entry in entries(here.edge) if entry["version"] == 2])[0]
    assert [check["result"] for check in entry["served"]] == ["skipped"]
    assert entry["state"] == "live"


# ---- restarts ----

@pytest.mark.parametrize("kind", ["control", "handshaker"])
def test_versions_outlive_a_process(shop, kind):
    here = shop()
    here.replace()
    served(here.edge, 2)
    here.edge.tolerated = ("killed",)
    mark = here.edge.mark()
    with here.client() as client:
        client.exchange()
        for victim in here.edge.workers(kind):
            os.kill(victim, signal.SIGKILL)
        here.edge.wait_event("process-started", since=mark)
        wait_until(lambda: _quietly(here.leaf) == here.pairs["ecdsa"].fingerprint)
        pair = here.replace()
        wait_until(lambda: _quietly(here.leaf) == pair.fingerprint)
        wait_until(lambda: _quietly(lambda: served(here.edge, 3)))
        client.exchange()


def _quietly(function):
    with contextlib.suppress(OSError, ssl.SSLError, AssertionError, ValueError):
        return function()
    return None


def test_versions_outlive_a_restart(shop):
    here = shop()
    here.replace()
    served(here.edge, 2)
    restart(here.edge)
    served(here.edge, 2)


def test_what_was_served_is_served_again_though_expired(shop, authority):
    """A machine that starts anew must not serve less than before; it says so instead."""
    here = shop()
    made = []

    def write_brief():
        made.append(authority.issue(NAME, not_before=datetime.datetime.utcnow() - 100 * DAY,
                                    lifetime=100 * DAY + datetime.timedelta(seconds=10)))  # until then it has to be live
        made[0].write(here.folder, "ecdsa")
    restart(here.edge, write_brief)
    brief, = made
    served(here.edge, 2)
    wait_until(lambda: datetime.datetime.utcnow() > brief.certificate.not_valid_after + datetime.timedelta(seconds=1))
    mark = restart(here.edge)
    here.edge.wait_event("warning", since=mark, detail=lambda text: "expired" in text)
    assert clients.leaf(here.port) == brief.fingerprint


# ---- managed ----

def install(edge, pair, folder, *options, check=True):
    chain, key = pair.write(folder, "install")
    return edge.run("cert", "install", NAME, "--chain", chain, "--key", key, *options, check=check)


def test_install(configured, authority, folder):
    edge, port = configured(f'from = managed names = {{"{NAME}"}}')
    result = install(edge, authority.issue(NAME), folder)
    assert "1 of 1 addresses serve it" in result.stdout
    with clients.Client(port, authority.root_path) as client:
        client.exchange()
        took = []
        for _ in range(3):
            last = authority.issue(NAME)
            begin = time.monotonic()
            install(edge, last, folder)
            assert clients.leaf(port, authority.root_path) == last.fingerprint
            took.append(time.monotonic() - begin)
        assert min(took) < LOOK, took
        client.exchange()
    for path in folder.glob("install.*"):
        path.unlink()
    restart(edge)
    assert clients.leaf(port, authority.root_path) == last.fingerprint
    assert served(edge, 4)["fingerprint"] == last.fingerprint


def test_install_refuses_and_forces(configured, authority, folder):
    edge, port = configured(f'from = managed names = {{"{NAME}"}}')
    live = authority.issue(NAME)
    install(edge, live, folder)
    for code, pair in broken_pairs(authority).items():
        result = install(edge, pair, folder, check=False)
        assert result.returncode == 6, (code, result)
        assert code in result.stdout + result.stderr
        assert clients.leaf(port, authority.root_path) == live.fingerprint
    older = authority.issue(NAME, lifetime=2 * DAY)
    assert install(edge, older, folder, "--force", "expired", check=False).returncode == 6
    install(edge, older, folder, "--force", "older-than-live")
    assert clients.leaf(port, authority.root_path) == older.fingerprint
    assert install(edge, older, folder, "--force", "no-such-code", check=False).returncode == 2
    assert edge.run("cert", "install", "nobody", "--chain", "/dev/null", check=False).returncode == 2
    assert edge.run("cert", "install", NAME, "--chain", "/nowhere", check=False).returncode == 3
    assert edge.run("cert", "renew", NAME, check=False).returncode == 2


def test_secrets_stay_closed(configured, authority, folder):
    """What is stored is for its owner alone, and no output holds a key."""
    edge, _ = configured(f'from = managed names = {{"{NAME}"}}')
    pair = authority.issue(NAME)
    result = install(edge, pair, folder, "--json")
    stored = list((edge.state_folder / "managed").rglob("*.pem"))
    assert stored and all(path.stat().st_mode & 0o777 == 0o600 for path in stored)
    secret = pair.key_pem.decode().splitlines()[1]
    assert secret in stored[0].read_text()
    assert secret not in result.stdout + edge.errors() + str(edge.events)


# ---- internal ----

def test_internal(configured, folder):
    edge, port = configured(f'from = internal names = {{"{NAME}", "localhost", "127.0.0.1"}} key-types = {{"ecdsa", "rsa"}}')
    root = folder / "root.pem"
    root.write_bytes((edge.state_folder / "internal-ca.pem").read_bytes())
    assert (edge.state_folder / "internal-ca.key").stat().st_mode & 0o777 == 0o600
    first = clients.leaf(port, root)
    assert clients.leaf(port, root, name="localhost") == first
    with clients.Client(port, root) as client:
        client.exchange()
        edge.run("cert", "renew", NAME)
        second = clients.leaf(port, root)
        assert second != first
        client.exchange()
    restart(edge)
    assert clients.leaf(port, root) == second
    assert sorted(entry["version"] for entry in entries(edge)) == [3, 4]


# ---- folders ----

def put(folder, name, pair):
    pki.replace_file(folder / f"{name}.pem", pair.chain_pem + pair.key_pem)


@pytest.fixture
def many(configured, folder, authority):
    """many() → (folder of certificates, edge, port)"""
    def make(fill=lambda folder: None):
        certificates = folder / "certificates"
        certificates.mkdir()
        fill(certificates)
        edge, port = configured(f'from = files folder = "{certificates}"', names="many")
        return certificates, edge, port
    return make


def test_folder(many, authority):
    first, wildcard = authority.issue("one.test"), authority.issue("*.wild.test")

    def fill(certificates):
        put(certificates, "one.test", first)
        put(certificates, "_wildcard.wild.test", wildcard)
        (certificates / "broken.test.pem").write_text("broken")

    certificates, edge, port = many(fill)
    root = authority.root_path
    with clients.Client(port, root, name="one.test") as client:
        assert client.fingerprint() == first.fingerprint
        client.exchange()
        for name in ("a.wild.test", "b.wild.test"):
            assert clients.leaf(port, root, name=name) == wildcard.fingerprint
        for name in ("nobody.test", "broken.test", "a.b.wild.test"):
            with pytest.raises(ssl.SSLError) as failure:
                clients.leaf(port, root, name=name)
            assert clients.alert_name(failure.value) == "unrecognized_name"
        assert "unparsable" in edge.wait_event("certificate-refused")["detail"]
        # a file in use is replaced
        second = authority.issue("one.test")
        put(certificates, "one.test", second)
        wait_until(lambda: clients.leaf(port, root, name="one.test") == second.fingerprint, LOOK)
        # the wildcard, too, under each name that it answers for
        other = authority.issue("*.wild.test")
        put(certificates, "_wildcard.wild.test", other)
        wait_until(lambda: clients.leaf(port, root, name="a.wild.test") == other.fingerprint, LOOK)
        assert clients.leaf(port, root, name="b.wild.test") == other.fingerprint
        # a file of its own comes before the wildcard
        own = authority.issue("b.wild.test")
        put(certificates, "b.wild.test", own)
        wait_until(lambda: clients.leaf(port, root, name="b.wild.test") == own.fingerprint, 20)
        # a file is removed
        (certificates / "one.test.pem").unlink()
        wait_until(lambda: _quietly(lambda: clients.leaf(port, root, name="one.test")) is None, LOOK)
        client.exchange()
    hosts = {entry.get("host"): entry for entry in entries(edge, "many")}
    assert hosts["*.wild.test"]["fingerprint"] == other.fingerprint


def test_hundred_thousand_names(many, authority):
    """They are listed at start, not read: start stays a matter of seconds and memory under 4 KiB each."""
    pair = authority.issue("host-77777.test")

    def fill(certificates):
        for number in range(100_000):
            (certificates / f"host-{number:05}.test.pem").touch()
        put(certificates, "host-77777.test", pair)

    certificates, edge, port = many(fill)
    assert clients.leaf(port, authority.root_path, name="host-77777.test") == pair.fingerprint
    before = edge.pss("control", "handshaker")
    begin = time.monotonic()
    restart(edge)
    assert time.monotonic() - begin < (30 if SANITIZED else 8)
    assert before < 100_000  # KiB: well below 1 KiB for each of them, all processes together
    assert clients.leaf(port, authority.root_path, name="host-77777.test") == pair.fingerprint
    entry = entries(edge, "many")[0]
    assert entry["folder_files"] == 100_000 and entry["folder_used"] == 1
