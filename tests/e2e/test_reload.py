"""Reload: another configuration in force while sessions live; refusals that change nothing; going back."""

import concurrent.futures
import contextlib
import json
import os
import signal
import socket
import ssl

import pytest

import clients
import daemon
import servers
from conftest import FULL
from daemon import free_port, wait_until


class House:
    """A daemon whose configuration a test writes again and again, piece by piece."""

    def __init__(self, start, folder, authority, server):
        self.authority, self.folder = authority, folder
        self.root = authority.root_path
        self.upstreams = {"app": [server().address]}
        self.ports = {"shop": free_port()}
        self.listener_options = {}
        self.upstream_options = {}
        self.listener_upstream = {}
        self.certificates = {clients.NAME: authority.issue(clients.NAME)}
        self.extra = ""
        for name, pair in self.certificates.items():
            pair.write(folder, name)
        self.edge = start(self.text())

    def text(self):
        parts = [self.extra]
        certificates = ", ".join(f'"{name}"' for name in self.certificates)
        for name, port in self.ports.items():
            parts.append(f"""
                listener "{name}" {{
                    bind = {{"127.0.0.1:{port}"}}
                    certificates = {{{certificates}}}
                    upstream = "{self.listener_upstream.get(name, "app")}"
                    {self.listener_options.get(name, "")}
                }}""")
        for name, places in self.upstreams.items():
            listed = ", ".join(f'"{place}"' for place in places)
            parts.append(f"""
                upstream "{name}" {{
                    servers = {{{listed}}}
                    {self.upstream_options.get(name, "")}
                }}""")
        for name in self.certificates:
            parts.append(f"""
                certificate "{name}" {{
                    names = {{"{name}"}}
                    from = files
                    chain = "{self.folder / name}.pem"
                    key = "{self.folder / name}.key"
                }}""")
        return "\n".join(parts)

    def write(self, text=None):
        self.edge.write_config(self.text() if text is None else text)

    # Not by the configuration, which may be broken.
    def run(self, *arguments, **options):
        return daemon.holdfast(*arguments, "--socket", self.edge.state_folder / "control.sock", **options)

    def lines(self, *arguments):
        return [json.loads(line) for line in self.run(*arguments, "--json").stdout.splitlines()]

    def json(self, *arguments):
        made, = self.lines(*arguments)
        return made

    def reload(self, *options, write=True, check=True):
        if write:
            self.write()
        result = self.run("reload", "--json", *options, check=check)
        return [json.loads(line) for line in result.stdout.splitlines()] if check else result

    def refused(self, *options, write=True, code=None, says=""):
        """The reload is refused with this text, on the terminal and in the log, and nothing has changed."""
        before, mark = self.json("status"), self.edge.mark()
        result = self.reload(*options, write=write, check=False)
        assert result.returncode != 0 if code is None else result.returncode == code, result
        assert says in result.stderr, result.stderr
        event = self.edge.wait_event("config-refused", since=mark)
        assert says in event["detail"] or len(event["detail"]) >= 134
        after = self.json("status")
        assert after["config_generation"] == before["config_generation"]
        for key in ("config", "config_source", "listeners", "servers"):
            assert _without_counts(after[key]) == _without_counts(before[key])
        with self.client() as client:
            client.exchange()
        return result

    def client(self, listener="shop", **options):
        return clients.Client(self.ports[listener], self.root, **options)

    def generations(self):
        return {process["config_generation"] for process in self.json("status")["processes"]
                if process["kind"] != "supervisor"}

    def pids(self):
        return {process["pid"] for process in self.json("status")["processes"]}


def _without_counts(value):
    if not isinstance(value, list):
        return value
    counts = ("sessions", "accepted", "connects", "handshakes_under_way", "refused", "connect_failures")
    return [{key: item[key] for key in item if key not in counts} for item in value]


def kinds(lines, kind):
    return [line for line in lines if line["kind"] == kind]


@pytest.fixture
def house(start, folder, authority, server):
    return House(start, folder, authority, server)


# ---- refused: nothing changes ----


def test_broken_file(house):
    house.write("listener { ")
    house.refused(write=False, code=2, says="holdfast.conf:")


def test_unknown_option(house):
    house.listener_options["shop"] = "idle-timout = 5m"
    house.refused(code=2, says="did you mean 'idle-timeout'")


def test_file_vanishes(house):
    house.edge.config_path.rename(house.folder / "gone.conf")
    mark = house.edge.mark()
    result = house.run("reload", check=False)
    assert result.returncode == 3 and "No such file" in result.stderr
    assert "No such file" in house.edge.wait_event("config-refused", since=mark)["detail"]
    (house.folder / "gone.conf").rename(house.edge.config_path)
    assert house.json("status")["config_generation"] == 1


def test_file_is_a_pipe(house):
    """Nobody waits for what never comes."""
    house.edge.config_path.unlink()
    os.mkfifo(house.edge.config_path)
    result = house.run("reload", check=False)
    assert result.returncode == 3 and "no regular file" in result.stderr
    with house.client() as client:
        client.exchange()


def test_huge_file(house):
    house.write(house.text() + "#" * (5 << 20))
    house.refused(write=False, code=2, says="larger than 4 MiB")


def test_port_taken(house):
    with socket.socket() as taken:
        taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        taken.bind(("127.0.0.1", free_port()))  # not one that an outgoing connection may have afterwards
        taken.listen()
        house.ports["first"] = free_port()
        house.ports["second"] = taken.getsockname()[1]
        house.refused(says="in use")
        with pytest.raises(OSError):  # the one before it was taken back
            socket.create_connection(("127.0.0.1", house.ports["first"]), 2)
    house.reload()
    with house.client("second") as client:
        client.exchange()


def test_wildcard_over_an_address_in_force(house):
    text = house.text().replace(f'"127.0.0.1:{house.ports["shop"]}"', f'"*:{house.ports["shop"]}"')
    house.write(text)
    house.refused(write=False, says="remove it in one reload and add this one in the next")


def test_certificate_missing(house):
    house.certificates["other.test"] = None
    house.refused(code=3, says="other.test.pem: No such file")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_key_unreadable(house):
    house.certificates["other.test"] = house.authority.issue("other.test")
    house.certificates["other.test"].write(house.folder, "other.test")
    (house.folder / "other.test.key").chmod(0)
    house.refused(code=3, says="Permission denied")


def test_key_of_another_certificate(house):
    house.certificates["other.test"] = house.authority.issue("other.test")
    house.certificates["other.test"].write(house.folder, "other.test")
    house.authority.issue("other.test").write(house.folder, "wrong")
    (house.folder / "wrong.key").replace(house.folder / "other.test.key")
    house.refused(code=6, says="key-mismatch")


def test_certificate_for_another_name(house):
    house.authority.issue("elsewhere.test").write(house.folder, "other.test")
    house.certificates["other.test"] = None
    house.refused(code=6, says="name-missing")


def test_groups_that_the_library_does_not_know(house):
    house.listener_options["shop"] = 'groups = "X25519:nonsense"'
    house.refused(code=6, says="listener 'shop' cannot use certificate")


def test_trust_that_is_no_certificate(house):
    (house.folder / "trust.pem").write_text("nothing\n")
    house.upstream_options["app"] = f'tls = yes\ntls-name = "app.test"\ntls-trust = "{house.folder}/trust.pem"'
    house.refused(says="TLS of upstream 'app'")


def test_trouble_that_was_there_before_is_only_a_warning(house):
    """A certificate whose files went bad is no reason to refuse a change elsewhere."""
    (house.folder / f"{clients.NAME}.pem").write_text("nothing\n")
    house.listener_options["shop"] = "idle-timeout = 5m"
    lines = house.reload()
    assert any("certificate-unparsable" in line["text"] for line in kinds(lines, "warning"))
    with house.client() as client:
        client.exchange()


# ---- in force ----


def test_nothing_changed(house):
    pids = house.pids()
    lines = house.reload(write=False)
    assert [line["kind"] for line in lines] == ["result"] and lines[0]["generation"] == 2
    assert house.generations() == {2} and house.pids() == pids
    with house.client() as client:
        client.exchange()


def test_signal(house):
    house.listener_options["shop"] = "max-connections = 1"
    house.write()
    house.edge.process.send_signal(signal.SIGHUP)
    event = house.edge.wait_event("config-loaded")
    assert event["config_generation"] == 2
    with house.client() as client:
        client.exchange()
        assert _refused(house)
        house.edge.wait_event("connection-refused")


def _refused(house):
    with contextlib.suppress(OSError), house.client() as client:
        client.exchange()
        return False
    return True


def test_refusal_after_a_signal_is_logged(house):
    house.write("nonsense = 1")
    house.edge.process.send_signal(signal.SIGHUP)
    assert "unknown option or section 'nonsense'" in house.edge.wait_event("config-refused")["detail"]


def test_listener_added_and_removed(house):
    """Sessions of a listener that goes are kept; its port is free again; it comes back with its old place."""
    house.ports["second"] = free_port()
    lines = house.reload()
    assert [(line["name"], line["change"]) for line in kinds(lines, "listener")] == [("second", "added")]
    with house.client("second") as kept, house.client() as moved:
        kept.exchange()
        moved.exchange()
        port = house.ports.pop("second")
        lines = house.reload()
        counts = {line["listener"]: line for line in kinds(lines, "sessions")}
        assert counts["second"]["kept"] == 1 and counts["second"]["moved"] == 0
        assert counts["shop"]["moved"] == 1
        with pytest.raises(OSError):
            socket.create_connection(("127.0.0.1", port), 2)
        with socket.socket() as again:
            again.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            again.bind(("127.0.0.1", port))
            again.listen()
        for _ in range(3):
            house.reload()
            kept.exchange()
            moved.exchange()
        sessions = {session["listener"]: session for session in house.lines("sessions")}
        assert sessions["second"]["generations"]["config"] == 2
        assert sessions["shop"]["generations"]["config"] == house.generations().pop()
    wait_until(lambda: not house.lines("sessions"), 10)
    house.reload()
    house.reload()
    assert [listener["listener"] for listener in house.json("status")["listeners"]] == ["shop"]


def test_listener_removed_with_drain(house):
    house.ports["second"] = free_port()
    house.listener_options["second"] = "on-removal = drain"
    house.extra = "drain-timeout = 2s"
    house.reload()
    with contextlib.ExitStack() as stack:
        held = [stack.enter_context(house.client("second")) for _ in range(20)]
        for client in held:
            client.exchange()
        stays = stack.enter_context(house.client())
        stays.exchange()
        mark = house.edge.mark()
        del house.ports["second"]
        lines = house.reload()
        assert {line["listener"]: line["drained"] for line in kinds(lines, "sessions")} == {"second": 20, "shop": 0}
        house.edge.wait_event("session-closed", since=mark, count=20, reason="drained", timeout=20)
        ends = [event["_seen"] for event in house.edge.events_named("session-closed", reason="drained")]
        assert max(ends) - min(ends) > 0.3  # spread, not at once
        for client in held:
            assert client.socket.recv(1) == b""  # close_notify
        stays.exchange()


def test_port_moves_from_one_listener_to_another(house):
    """The address stays the same socket: nobody who connects meanwhile is refused."""
    port = house.ports.pop("shop")
    house.ports["new"] = port
    with clients.Client(port, house.root) as before:
        before.exchange()
        house.reload()
        before.exchange()
        with house.client("new") as client:
            client.exchange()
            assert {session["listener"] for session in house.lines("sessions")} == {"shop", "new"}


def test_upstream_switched(house, server):
    """New sessions go to the new upstream; live ones stay with the server they have."""
    old = server(servers.greeter("old"))
    house.upstreams["app"] = [old.address]
    house.reload()
    with house.client() as held:
        assert b"old" in held.read_line()
        house.upstreams["other"] = [server(servers.greeter("new")).address]
        house.listener_upstream["shop"] = "other"
        del house.upstreams["app"]
        house.reload()
        with house.client() as client:
            assert b"new" in client.read_line()
        session, = [session for session in house.lines("sessions") if session["upstream"] == "app"]
        assert session["server"] == old.address
        removed, = [line for line in house.json("status")["servers"] if line["server"] == old.address]
        assert removed["state"] == "removed" and removed["sessions"] == 1


def test_server_replaced(house, server):
    first = house.upstreams["app"][0]
    with house.client() as held:
        held.exchange()
        house.upstreams["app"] = [server(servers.greeter("second")).address]
        lines = house.reload()
        assert {(line["name"], line["change"]) for line in kinds(lines, "server")} == {
            (f"app/{first}", "removed"), (f"app/{house.upstreams['app'][0]}", "added")}
        for _ in range(6):
            with house.client() as client:
                assert b"second" in client.read_line()
        held.exchange()


def test_time_outs_count_for_live_sessions(house):
    with house.client() as held:
        held.exchange()
        house.listener_options["shop"] = "idle-timeout = 1s\nkeep-alive = none"
        house.reload()
        house.edge.wait_event("session-closed", reason="idle-timeout", timeout=20)
        assert held.socket.recv(1) == b""


def test_certificate_added(house):
    house.certificates["other.test"] = house.authority.issue("other.test")
    house.certificates["other.test"].write(house.folder, "other.test")
    house.reload()
    with clients.Client(house.ports["shop"], house.root, name="other.test") as client:
        client.exchange()
        assert client.fingerprint() == house.certificates["other.test"].fingerprint
    with house.client() as client:
        assert client.fingerprint() == house.certificates[clients.NAME].fingerprint
    wait_until(lambda: {check["result"] for line in house.lines("certs") for check in line["served"]} == {"served"})
    del house.certificates["other.test"]
    house.reload()
    assert [line["name"] for line in house.lines("certs")] == [clients.NAME]


def test_unchanged_certificate_keeps_its_version_and_resumption(house):
    tls = clients.context(house.root, version="1.2")
    with house.client(tls=tls) as client:
        client.exchange()
        session = client.socket.session
    house.ports["second"] = free_port()
    house.reload()
    with house.client(tls=tls, session=session) as client:
        client.exchange()
        assert client.socket.session_reused
    assert house.lines("certs")[0]["version"] == 1


def test_policy_change_ends_resumption_and_says_so(house):
    tls = clients.context(house.root, version="1.2")
    with house.client(tls=tls) as client:
        client.exchange()
        session = client.socket.session
    house.listener_options["shop"] = "strict-sni = yes"
    lines = house.reload()
    assert kinds(lines, "resumption")[0]["because"] == "strict-sni"
    with house.client(tls=tls, session=session) as client:
        client.exchange()
        assert not client.socket.session_reused


def test_handshakes_under_way_go_on(house):
    """Some have sent nothing yet, some half a ClientHello; their listener stays, or goes."""
    house.ports["second"] = free_port()
    house.reload()
    begun = [socket.create_connection(("127.0.0.1", house.ports[name])) for name in ("shop", "second")]
    silent = [socket.create_connection(("127.0.0.1", house.ports[name])) for name in ("shop", "second")]
    for sock in begun:
        sock.sendall(b"\x16\x03\x01")
    wait_until(lambda: sum(listener["handshakes_under_way"] for listener in house.json("status")["listeners"]) >= 2)
    for sock in begun:
        sock.close()
    wait_until(lambda: sum(listener["handshakes_under_way"] for listener in house.json("status")["listeners"]) == 0)
    halves = []
    for name in ("shop", "second"):
        incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        tls = clients.context(house.root).wrap_bio(incoming, outgoing, server_hostname=clients.NAME)
        with contextlib.suppress(ssl.SSLWantReadError):
            tls.do_handshake()
        hello = outgoing.read()
        sock = socket.create_connection(("127.0.0.1", house.ports[name]), 10)
        sock.sendall(hello[:100])
        halves.append((sock, tls, incoming, outgoing, hello[100:]))
    wait_until(lambda: sum(listener["handshakes_under_way"] for listener in house.json("status")["listeners"]) >= 2)
    del house.ports["second"]
    house.reload()
    for sock, tls, incoming, outgoing, rest in halves:
        with sock:
            sock.sendall(rest)
            _finish(sock, tls, incoming, outgoing)
            tls.write(b"still there\n")
            sock.sendall(outgoing.read())
            assert _read(sock, tls, incoming) == b"still there\n"
    for sock in silent:
        sock.close()


def _finish(sock, tls, incoming, outgoing):
    while True:
        try:
            tls.do_handshake()
            sock.sendall(outgoing.read())
            return
        except ssl.SSLWantReadError:
            sock.sendall(outgoing.read())
            incoming.write(_some(sock))


def _some(sock):
    data = sock.recv(65536)
    assert data, "the connection was closed"
    return data


def _read(sock, tls, incoming):
    while True:
        try:
            return tls.read(65536)
        except ssl.SSLWantReadError:
            incoming.write(_some(sock))


def test_admin_address_added_and_removed(house):
    first, second = free_port(), free_port()
    house.extra = f'admin {{ bind = {{"127.0.0.1:{first}"}} }}'
    house.reload()
    assert b" 200 " in _get(first)
    house.extra = f'admin {{ bind = {{"127.0.0.1:{second}"}} }}'
    house.reload()
    assert b" 200 " in _get(second)
    with pytest.raises(OSError):
        _get(first)


def _get(port):
    with socket.create_connection(("127.0.0.1", port), 5) as sock:
        sock.sendall(b"GET /healthz HTTP/1.0\r\n\r\n")
        return sock.recv(4096)


def test_settings_that_take_a_restart_stay(house):
    house.extra = "workers = 3"
    lines = house.reload()
    assert kinds(lines, "restart")[0]["settings"] == "workers"
    assert "workers" in house.edge.wait_event("warning", detail=lambda text: "restart" in text)["detail"]
    assert len(house.edge.workers("relay")) == 2


# ---- dry run ----


def test_dry_run_changes_nothing(house):
    house.ports["second"] = free_port()
    with house.client() as client:
        client.exchange()
        lines = house.reload("--dry-run")
        assert kinds(lines, "listener")[0]["change"] == "added"
        assert kinds(lines, "sessions") == [
            {"kind": "sessions", "listener": "shop", "kept": 0, "moved": 1, "drained": 0}]
        assert kinds(lines, "result")[0]["dry_run"] is True
    assert house.generations() == {1}
    with pytest.raises(OSError):
        socket.create_connection(("127.0.0.1", house.ports["second"]), 2)
    text = house.run("reload", "--dry-run").stdout
    assert "listener second: added" in text and "nothing was changed" in text


def test_dry_run_of_a_broken_file(house):
    house.write("nonsense = 1")
    result = house.run("reload", "--dry-run", check=False)
    assert result.returncode == 2 and "nonsense" in result.stderr


# ---- confirm, history ----


def test_confirmed(house):
    house.listener_options["shop"] = "idle-timeout = 5m"
    house.reload("--confirm", "1h")
    result = house.reload(check=False)
    assert result.returncode == 3 and "holdfast config confirm" in result.stderr
    house.run("config", "confirm")
    house.edge.wait_event("config-confirmed")
    house.reload()
    assert house.run("config", "confirm", check=False).returncode == 2


def test_not_confirmed_goes_back(house):
    house.ports["second"] = free_port()
    house.reload("--confirm", "1s")
    with house.client("second") as held:
        held.exchange()
        event = house.edge.wait_event("config-returned", timeout=20)
        assert "nobody confirmed" in event["detail"]
        held.exchange()
        assert house.json("status")["config_generation"] == 3
        with pytest.raises(OSError):
            socket.create_connection(("127.0.0.1", house.ports["second"]), 2)
    with house.client() as client:
        client.exchange()


def test_failing_handshakes_bring_it_back(house):
    for _ in range(30):
        with house.client() as client:
            client.exchange()
    house.listener_options["shop"] = "tls-min = 1.3"
    house.reload("--confirm", "1h")
    old = clients.context(house.root, version="1.2")
    for _ in range(30):
        with contextlib.suppress(OSError, ssl.SSLError), house.client(tls=old) as client:
            client.exchange()
    event = house.edge.wait_event("config-returned", timeout=20)
    assert "of 3" in event["detail"] or "handshakes failed" in event["detail"]
    with house.client(tls=old) as client:
        client.exchange()


def test_history_and_rollback(house):
    original = house.edge.config_path.read_text()
    for minutes in range(1, 13):
        house.listener_options["shop"] = f"idle-timeout = {minutes}m"
        house.reload()
    entries = house.lines("config", "history")
    assert len(entries) == 10 and [entry["entry"] for entry in entries if entry["in_force"]] == [13]
    house.run("config", "rollback")
    assert "entry 12" in house.json("status")["config_source"]
    house.run("config", "rollback", "5")
    assert "entry 5" in house.json("status")["config_source"]
    result = house.run("config", "rollback", "1", check=False)
    assert result.returncode == 2 and "no entry 1" in result.stderr
    assert house.edge.config_path.read_text() != original
    assert len(house.lines("config", "history")) == 10
    text = house.run("config", "history").stdout
    assert "in force" in text


def test_history_outlives_the_daemon(house):
    house.listener_options["shop"] = "idle-timeout = 5m"
    house.reload()
    house.edge.stop()
    mark = house.edge.mark()
    house.edge.launch().wait_event("ready", since=mark, timeout=daemon.START_TIMEOUT)
    assert [entry["entry"] for entry in house.lines("config", "history")] == [1, 2]
    house.run("config", "rollback")
    assert house.lines("config", "history")[0]["in_force"]


def test_history_that_cannot_be_trusted_is_kept_in_memory(start, folder, authority, server):
    (folder / "state").mkdir()
    (folder / "state" / "history").mkdir()
    (folder / "state" / "history").chmod(0o777)
    if os.geteuid() == 0:
        (folder / "state").chmod(0o755)
    house = House(start, folder, authority, server)
    house.edge.wait_event("warning", detail=lambda text: "history" in text)
    house.listener_options["shop"] = "idle-timeout = 5m"
    house.reload()
    house.run("config", "rollback")
    assert not list((folder / "state" / "history").iterdir())


def test_history_belongs_to_the_supervisor(house):
    history = house.edge.state_folder / "history"
    assert history.stat().st_uid == os.geteuid() and history.stat().st_mode & 0o777 == 0o700
    assert all(file.stat().st_uid == os.geteuid() and file.stat().st_mode & 0o777 == 0o600
               for file in history.iterdir())


# ---- one at a time, processes that die ----


def test_reload_during_reload(house):
    """Whoever comes second is told so, or gets his turn; nothing breaks."""
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        results = list(pool.map(lambda _: house.run("reload", check=False), range(8)))
    assert {result.returncode for result in results} <= {0, 3}
    assert any(result.returncode == 0 for result in results)
    assert all("under way" in result.stderr for result in results if result.returncode == 3)
    with house.client() as client:
        client.exchange()


@pytest.mark.parametrize("kind", ["handshaker", "control", "relay"])
def test_process_that_dies_gets_the_new_configuration(house, kind):
    house.ports["second"] = free_port()
    house.reload()
    victim = house.edge.workers(kind)[0]
    house.edge.tolerated = ("killed",)
    mark = house.edge.mark()
    os.kill(victim, signal.SIGKILL)
    house.edge.wait_event("process-started", since=mark, process=lambda name: name.startswith(kind))
    wait_until(lambda: _generations_or_none(house) == {2}, 20)
    for name in house.ports:
        with house.client(name) as client:
            client.exchange()


def _generations_or_none(house):
    with contextlib.suppress(AssertionError):
        return house.generations()
    return None


def test_process_stopped_during_reload(house):
    """It is not waited for without end, and when it goes on it takes the configuration."""
    victim = house.edge.workers("relay")[0]
    house.edge.tolerated = ("killed",)
    house.ports["second"] = free_port()
    house.write()
    os.kill(victim, signal.SIGSTOP)
    house.edge.process.send_signal(signal.SIGHUP)
    try:
        wait_until(lambda: len([process for process in house.json("status")["processes"]
                                if process["kind"] == "relay" and process["config_generation"] == 2]) == 1, 20)
    finally:
        os.kill(victim, signal.SIGCONT)
    house.edge.wait_event("config-loaded", timeout=60)
    assert house.generations() == {2}


def test_many_reloads_with_live_sessions(house):
    """Nothing is dropped, nothing grows."""
    rounds, count = (1000, 200) if FULL else (30, 40)
    with contextlib.ExitStack() as stack:
        held = [stack.enter_context(house.client()) for _ in range(count)]
        for client in held:
            client.exchange()
        memory = descriptors = None
        # Theirs are kept by the supervisor, too, once they have lasted a moment.
        wait_until(lambda: house.edge.descriptors()[house.edge.process.pid] > 2 * count)
        for i in range(rounds):
            house.listener_options["shop"] = f"idle-timeout = {i + 60}m"
            house.ports["extra"] = free_port()
            house.reload()
            if i == rounds // 5:
                memory, descriptors = house.edge.pss(), sum(house.edge.descriptors().values())
            if i % 10 == 0:
                for client in held:
                    client.exchange()
        for client in held:
            client.exchange()
        if not daemon.SANITIZED:  # which keeps what was freed
            assert house.edge.pss() <= memory * 1.05 + 1024
        assert sum(house.edge.descriptors().values()) <= descriptors + 4
        assert len(house.lines("sessions")) == count
    assert not house.edge.events_named("process-ended")


# ---- with an upgrade ----


def test_upgrade_takes_over_what_was_reloaded(house):
    """Places, removed objects with sessions, and the history are there in the next image."""
    house.ports["second"] = free_port()
    house.reload()
    with house.client("second") as kept, house.client() as moved:
        kept.exchange()
        moved.exchange()
        del house.ports["second"]
        house.reload()
        house.run("upgrade")
        kept.exchange()
        moved.exchange()
        house.ports["third"] = free_port()
        house.reload()
        kept.exchange()
        moved.exchange()
        assert {session["listener"] for session in house.lines("sessions")} == {"shop", "second"}
        with house.client("third") as client:
            client.exchange()
        house.run("config", "rollback")
        with pytest.raises(OSError):
            socket.create_connection(("127.0.0.1", house.ports["third"]), 2)
        kept.exchange()
        moved.exchange()


def test_no_upgrade_while_a_configuration_is_on_trial(house):
    house.listener_options["shop"] = "idle-timeout = 5m"
    house.reload("--confirm", "1h")
    result = house.run("upgrade", check=False)
    assert result.returncode != 0 and "waits to be confirmed" in result.stderr + result.stdout
    house.run("config", "confirm")
    house.run("upgrade")
