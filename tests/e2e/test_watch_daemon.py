"""`watch` sections in the daemon: what it sees, remembers and tells, whatever happens to its processes and its database."""

import json
import os
import shlex
import shutil
import signal
import socket
import sqlite3
import ssl
import subprocess

import pytest

import daemon
import pki
from daemon import wait_until

NAME = "shop.example"
NOBODY = 65534


class Service:
    """A TLS server whose certificate can be changed under it."""

    def __init__(self, server, folder, pair):
        self._folder = folder
        self.server = server(lambda connection: connection.socket.recv(1), tls=self._context(pair))
        self.port = self.server.port
        self.target = f"{NAME}:{self.port}"

    def _context(self, pair):
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*pair.write(self._folder, f"served-{pair.fingerprint[:8]}"))
        return context

    def serve(self, pair):
        self.server.tls = self._context(pair)


@pytest.fixture
def store(folder, authority):
    """The root where everybody may read it."""
    path = folder / "root.pem"
    shutil.copy(authority.root_path, path)
    path.chmod(0o644)
    return path


@pytest.fixture
def service(server, folder, authority):
    return Service(server, folder, authority.issue(NAME))


def configuration(store, *targets, options="", interval="1h", connect="127.0.0.1"):
    listed = ", ".join(f'"{target}"' for target in targets)
    return f"""workers = none
watch w {{
    targets = {{{listed}}}
    stores = "{store}"
    connect = {connect}
    interval = {interval}
    {options}
}}
"""


def check(edge, what=""):
    """Checks now; the endpoints that answered."""
    result = edge.run("watch", "check", *([what] if what else []), "--json", check=False)
    assert result.returncode in (0, 6), result.stderr
    return [endpoint for endpoint in daemon.json.loads(f"[{','.join(result.stdout.splitlines())}]")
            if endpoint["outcome"] == "seen"]


def findings(endpoints):
    return {finding["id"] for endpoint in endpoints for finding in endpoint.get("findings", [])}


def seen(edge, target):
    """The lines of `watch` about a target, once it was seen."""
    return wait_until(lambda: [line for line in edge.lines("watch")
                               if line["target"] == target and "sha256" in line], 30, f"{target} is not seen")


def prober(edge):
    return edge.json("status")["watch"]["prober"]["pid"]


def test_alone_without_root(start, service, store, folder, authority):
    """Nothing but a watch: an ordinary user, no workers, no listener; the process that probes holds nothing."""
    if os.geteuid() != 0:
        pytest.skip("needs root to become somebody else")
    wrapper = folder / "as-nobody"
    wrapper.write_text(f'#!/bin/sh\nexec setpriv --reuid={NOBODY} --regid={NOBODY} --clear-groups {shlex.quote(str(daemon.BINARY))} "$@"\n')
    wrapper.chmod(0o755)
    (folder / "state").mkdir()
    os.chown(folder / "state", NOBODY, NOBODY)
    if subprocess.run([wrapper, "--version"], capture_output=True, check=False).returncode != 0:
        pytest.skip("an ordinary user cannot execute the program where it stands")
    edge = start(configuration(store, service.target), binary=wrapper)
    line, = seen(edge, service.target)
    assert line["verdict"] in ("ok", "warning") and line["address"] == f"127.0.0.1:{service.port}"
    assert 88 < line["days_left"] < 90
    assert {process["kind"] for process in edge.json("status")["processes"]} == {"supervisor", "control"}
    status = dict(entry.split(":\t", 1) for entry in open(f"/proc/{prober(edge)}/status", encoding="ascii").read().splitlines()
                  if ":\t" in entry)
    assert status["Uid"].split()[0] == str(NOBODY)
    assert status["NoNewPrivs"] == "1"
    if not daemon.SANITIZED:
        assert status["Seccomp"] == "2"
    targets = {os.readlink(f"/proc/{prober(edge)}/fd/{number}") for number in os.listdir(f"/proc/{prober(edge)}/fd")}
    assert targets <= {"/dev/null", str(edge.errors_path)} | {path for path in targets if path.startswith(("anon_inode:", "socket:"))}
    text = edge.run("countdown", NAME).stdout
    assert "days left" in text and NAME in text
    assert edge.run("countdown", "other.example", check=False).returncode == 2


def test_rotation(start, service, store, authority):
    """A new certificate is an event, and the history knows from when to when which one was served, and what changed."""
    edge = start(configuration(store, service.target))
    seen(edge, service.target)
    new = authority.issue(NAME, "www.shop.example", key_type="rsa", lifetime=30 * pki.DAY)
    first = check(edge)
    service.serve(authority.issue(NAME, "more.example"))
    check(edge)
    edge.wait_event("watch-certificate", detail=lambda text: "more.example" in text)
    lines = edge.lines("watch", "history", service.target)
    assert [line["arrivals"] for line in lines] == [1, 1]
    assert lines[0]["sha256"] == first[0]["certificates"][0]["sha256"]
    assert lines[0]["last_seen"] <= lines[1]["first_seen"]
    assert [entry["what"] for entry in lines[1]["differences"]] == ["names-gained"]
    service.serve(new)  # another key type is another endpoint
    assert {endpoint["key_type"] for endpoint in check(edge)} & {"rsa", "any"}
    assert "more.example" in edge.run("watch", "history", NAME + f":{service.port}").stdout
    missing = edge.run("watch", "history", "other.example", check=False)
    assert missing.returncode == 2 and "no certificate was ever seen" in missing.stderr
    for words in (["nobody"], ["discover", "nobody"]):
        missing = edge.run("watch", *words, check=False)
        assert missing.returncode == 2 and 'there is no watch "nobody"' in missing.stderr


def test_in_turn(start, service, store, authority):
    """Two nodes that answer in turn are one finding, with the verdict of the worse one, told once; a restart remembers."""
    good, ended = authority.issue(NAME), authority.issue(NAME, not_before=pki._now() - 60 * pki.DAY, lifetime=30 * pki.DAY)
    edge = start(configuration(store, service.target))
    seen(edge, service.target)
    for number in range(8):
        service.serve(good if number % 2 == 0 else ended)
        endpoints = check(edge)
    assert "served-in-turn" in findings(endpoints)
    line, = [line for line in edge.lines("watch") if line.get("in_turn")]
    assert line["verdict"] == "critical"
    assert len(edge.events_named("watch-in-turn")) == 1
    verdicts = len(edge.events_named("watch-verdict"))
    service.serve(good)
    check(edge)
    assert [line["verdict"] for line in edge.lines("watch") if line.get("in_turn")] == ["critical"]
    assert len(edge.events_named("watch-verdict")) == verdicts
    edge.tolerated = ("killed",)
    os.kill(edge.workers("control")[0], signal.SIGKILL)
    wait_until(lambda: len(edge.events_named("process-started", process="control")) == 2, 20)
    wait_until(lambda: edge.run("watch", check=False).returncode == 0, 20)
    assert [line["verdict"] for line in edge.lines("watch") if line.get("in_turn")] == ["critical"]


def test_prober_killed(start, service, store):
    """It is started again, and what it owed is asked again."""
    edge = start(configuration(store, service.target))
    seen(edge, service.target)
    before = prober(edge)
    os.kill(before, signal.SIGKILL)
    edge.wait_event("warning", detail=lambda text: "the process that probes was killed" in text)
    assert check(edge)
    assert prober(edge) != before


def test_prober_that_waits_is_no_prober_that_hangs(folder):
    """However long a target takes, the process that probes says meanwhile that it lives."""
    ours, its = socket.socketpair()
    with socket.create_server(("127.0.0.1", 0)) as silent, ours, \
            open(folder / "prober.err", "w", encoding="utf-8") as errors:
        child = subprocess.Popen(["bash", "-c", f'exec "$0" worker prober 3<&{its.fileno()}', daemon.BINARY],
                                 pass_fds=[its.fileno()], stderr=errors)
        its.close()
        try:
            ours.settimeout(60)
            lines = ours.makefile("rw")
            options = {"connect": [f"127.0.0.1:{silent.getsockname()[1]}"], "timeout_ms": 120000}
            for line in ({"connections": 4, "per_host": 4}, {"id": 1, "target": NAME, "options": options}):
                print(daemon.json.dumps(line), file=lines, flush=True)
            assert daemon.json.loads(lines.readline()) == {"alive": True}
        finally:
            child.kill()
            child.wait()


def test_control_killed(start, service, store):
    """What was seen before is known at once afterwards, and its next check comes at its time."""
    edge = start(configuration(store, service.target))
    line, = seen(edge, service.target)
    check(edge)
    history = edge.lines("watch", "history", service.target)
    edge.tolerated = ("killed",)
    os.kill(edge.workers("control")[0], signal.SIGKILL)
    edge.wait_event("process-started", timeout=20, count=2, process="control")
    wait_until(lambda: edge.run("watch", check=False).returncode == 0, 20)
    after, = edge.lines("watch")
    assert after["sha256"] == line["sha256"] and after["verdict"] == line["verdict"]
    assert edge.lines("watch", "history", service.target) == history
    assert edge.json("status")["watch"]["checks"] == 0


def test_upgrade(start, service, store):
    """The program is replaced in place, without workers, too, and what was seen is still known."""
    edge = start(configuration(store, service.target))
    line, = seen(edge, service.target)
    edge.run("upgrade")
    after, = wait_until(lambda: edge.run("watch", check=False).returncode == 0 and edge.lines("watch"), 20)
    assert after["sha256"] == line["sha256"]
    assert check(edge)


def test_database_locked(start, service, store):
    """Results wait in memory while another process holds the database, and are all there afterwards."""
    edge = start(configuration(store, service.target))
    seen(edge, service.target)
    with sqlite3.connect(edge.state_folder / "watch.db", isolation_level=None) as other:
        count = other.execute("SELECT count(*) FROM checked").fetchone()[0]
        other.execute("BEGIN IMMEDIATE")
        answered = [len(check(edge)) for _ in range(3)]
        edge.wait_event("watch-store-failed", detail=lambda text: "locked by another process" in text)
        assert edge.json("status")["watch"]["store"]["state"] == "failing"
        assert "WATCH NOT REMEMBERED" in edge.run("status").stdout
        other.execute("ROLLBACK")
        edge.wait_event("watch-store-healed", timeout=40)
        wait_until(lambda: other.execute("SELECT count(*) FROM checked").fetchone()[0] >= count + sum(answered), 10)
    assert edge.json("status")["watch"]["store"] == {"state": "ok", "waiting": 0, "dropped": 0}


def test_disk_full(start, service, store, folder):
    """The watch goes on, says that it cannot remember, and remembers again when there is room."""
    state = folder / "state"
    state.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=600k,mode=0777", "none", state], capture_output=True,
                      check=False).returncode != 0:
        pytest.skip("a small file system cannot be mounted here")
    try:
        edge = start(configuration(store, service.target))
        seen(edge, service.target)
        filler = os.open(state / "filler", os.O_WRONLY | os.O_CREAT)
        with pytest.raises(OSError):
            while True:
                os.write(filler, bytes(4096))
        os.close(filler)

        def failing():
            assert check(edge)
            return edge.events_named("watch-store-failed")

        wait_until(failing, 60, "nobody tells of the full disk")
        assert "full" in edge.json("status")["watch"]["store"]["trouble"]
        (state / "filler").unlink()
        edge.wait_event("watch-store-healed", timeout=90)
        edge.stop()
    finally:
        subprocess.run(["umount", "-l", state], check=False)


def test_database_damaged(start, service, store):
    """A damaged file is set aside under a name with the date, told of until it is taken away, and the watch begins anew."""
    with_state = configuration(store, service.target)
    edge = start(with_state)
    seen(edge, service.target)
    edge.stop()
    path = edge.state_folder / "watch.db"
    with open(path, "r+b") as file:
        file.write(b"\x5a" * 8192)
    edge = start(with_state)
    aside = wait_until(lambda: list(edge.state_folder.glob("watch.db.damaged-*Z")), 20)[0]
    edge.wait_event("watch-store-failed", detail=lambda text: "damaged" in text)
    seen(edge, service.target)
    assert str(aside) in edge.run("status").stdout
    aside.unlink()
    assert str(aside) not in edge.run("status").stdout
    with sqlite3.connect(path) as reader:
        assert reader.execute("PRAGMA integrity_check").fetchone() == ("ok",)


def test_reload(start, service, store):
    """Targets come and go without disturbing the others; what is no target is refused with its place."""
    edge = start(configuration(store, service.target))
    line, = seen(edge, service.target)
    edge.write_config(configuration(store, service.target, f"www.{NAME}:{service.port}", options="owner = me"))
    edge.run("reload")
    seen(edge, f"www.{NAME}:{service.port}")
    kept, = [found for found in edge.lines("watch") if found["target"] == service.target]
    assert kept["owner"] == "me" and kept["sha256"] == line["sha256"]
    edge.write_config(configuration(store, f"www.{NAME}:{service.port}"))
    edge.run("reload")
    assert {found["target"] for found in edge.lines("watch")} == {f"www.{NAME}:{service.port}"}
    edge.write_config(configuration(store, "gopher://old.example"))
    refused = edge.run("reload", check=False)
    assert refused.returncode == 6 and "gopher" in refused.stdout + refused.stderr
    tested = edge.run("config", "test", check=False)
    assert tested.returncode == 2 and "targets in watch 'w'" in tested.stderr
    assert f"{edge.config_path}:" in tested.stderr and "gopher" in tested.stderr
    edge.write_config(configuration(store, service.target) + 'listener l { bind = "127.0.0.1:1" upstream = u mode = pass-through }\n'
                      'upstream u { servers = "127.0.0.1:2" }\n')
    edge.config_path.write_text(edge.config_path.read_text().replace("workers = none", "workers = 1"))
    refused = edge.run("reload", check=False)
    assert refused.returncode != 0 and "started without listeners" in refused.stdout + refused.stderr


def test_renewed_not_served(start, service, store, folder, authority):
    """The file on disk is newer than what is served, though only root may read it."""
    pair = authority.issue(NAME)
    service.serve(pair)
    chain, _ = pair.write(folder, "on-disk")
    chain.write_bytes(pair.key_pem + pair.chain_pem)  # the key stands in it, too
    chain.chmod(0o600)
    edge = start(configuration(store, service.target, options=f'file = "{chain}"'))
    seen(edge, service.target)
    assert not findings(check(edge)) & {"renewed-not-served", "served-not-on-disk", "file-unreadable"}
    renewed = authority.issue(NAME, not_before=pki._now() - pki.DAY / 2)
    pki.replace_file(chain, renewed.key_pem + renewed.chain_pem)
    assert "renewed-not-served" in findings(check(edge))
    line, = [line for line in edge.lines("watch") if line.get("key_type") in ("ecdsa", "any") and "sha256" in line]
    assert line["verdict"] in ("warning", "critical")
    service.serve(renewed)
    assert not findings(check(edge)) & {"renewed-not-served", "served-not-on-disk", "file-unreadable"}
    chain.unlink()
    assert "file-unreadable" in findings(check(edge))


def test_edge_behind_origin(start, server, service, store, folder, authority):
    """The edge still serves the certificate that its origin has replaced."""
    origin = Service(server, folder, authority.issue(NAME, not_before=pki._now() - pki.DAY / 2))
    edge = start(configuration(store, service.target, options=f'origin = "127.0.0.1:{origin.port}"'))
    seen(edge, service.target)
    endpoints = check(edge)
    assert {endpoint["vantage"] for endpoint in endpoints} == {"edge", "origin"}
    assert "edge-behind-origin" in findings(endpoints)


def test_discover(start, server, service, store, folder, authority):
    """Endpoints that nobody watches are found in a range and in a list, told of once, and no longer when they are watched."""
    other = Service(server, folder, authority.issue("other.example"))
    names = folder / "names"
    names.write_text(f"# hosts\nlocalhost:{other.port}\nnot a target\n")
    options = f'discover = {{"127.0.0.1:{service.port},{other.port}", "list:{names}"}}'
    edge = start(configuration(store, service.target, options=options))
    seen(edge, service.target)
    edge.run("watch", "discover")
    edge.wait_event("watch-discovered", timeout=30, detail=lambda text: f"127.0.0.1:{other.port}" in text)
    found = wait_until(lambda: [line for line in edge.lines("watch") if line["discovered"]], 10)
    assert {line["address"] for line in found} == {f"127.0.0.1:{other.port}"}
    assert found[0]["name"] == "other.example"
    edge.run("watch", "discover")
    edge.write_config(configuration(store, service.target, f"other.example:{other.port}", options=options))
    edge.run("reload")
    seen(edge, f"other.example:{other.port}")
    edge.run("watch", "discover", "w")
    wait_until(lambda: not [line for line in edge.lines("watch") if line["discovered"]], 30)
    assert len(edge.events_named("watch-discovered", detail=lambda text: f"127.0.0.1:{other.port} " in text)) == 1


def test_discover_long_files(start, server, service, store, folder, authority):
    """Long files are read to their end; what is too long is refused, and said."""
    other = Service(server, folder, authority.issue("other.example"))
    names, zone, endless = folder / "names", folder / "zone", folder / "endless"
    names.write_text(f"# {'x' * 70}\n" * 30000 + f"localhost:{other.port}\n")
    zone.write_text("$ORIGIN shop.example.\n" + "".join(f"host{number} A 127.0.0.9\n" for number in range(100001)))
    with open(endless, "wb") as file:
        file.truncate((8 << 20) + 1)
    edge = start(configuration(store, service.target, options=f'discover = {{"list:{endless}", "zone:{zone}", "list:{names}"}}'))
    seen(edge, service.target)
    edge.run("watch", "discover")
    edge.wait_event("warning", timeout=30, detail=lambda text: f"{endless}: it is larger than 8 MiB" in text)
    edge.wait_event("warning", timeout=30, detail=lambda text: f"{zone}: it has more than 100000 names" in text)
    edge.wait_event("watch-discovered", timeout=60, detail=lambda text: f"localhost:{other.port}" in text)


def test_file_that_is_too_long(start, service, store, folder, authority):
    """A file of certificates is not judged by its first megabyte."""
    path = folder / "long.pem"
    path.write_bytes(authority.issue("shop.example").chain_pem + b"#" * (1 << 20))
    path.chmod(0o644)
    edge = start(configuration(store, service.target, options=f'file = "{path}"'))
    wait_until(lambda: any("larger than 1 MiB" in json.dumps(line) for line in check(edge)), 30, "it is believed")


def test_schedule(start, service, store):
    """Checks come by themselves, each remembered."""
    edge = start(configuration(store, service.target, interval="1s"))
    seen(edge, service.target)
    begun = edge.json("status")["watch"]["checks"]
    wait_until(lambda: edge.json("status")["watch"]["checks"] >= begun + 3, 60)
    with sqlite3.connect(edge.state_folder / "watch.db") as reader:
        def remembered():
            return [count for count, in reader.execute("SELECT count(*) FROM checked GROUP BY endpoint")]
        wait_until(lambda: max(remembered(), default=0) >= 3)
