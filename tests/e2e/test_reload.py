"""Reload: another configuration in force while sessions live."""

import concurrent.futures
import contextlib
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
from house import kinds


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
