"""Start, stop, and the death of workers."""

import contextlib
import os
import shlex
import signal
import socket
import ssl
import subprocess
import threading
import time

import pytest

import clients
import daemon
from daemon import free_port, wait_until


def test_start_and_stop_leave_nothing(shop):
    here = shop()
    with here.client() as client:
        client.exchange()
    here.edge.stop()
    with pytest.raises(OSError):
        socket.create_connection(("127.0.0.1", here.port), 2)


def test_interrupt_stops_too(shop):
    here = shop()
    here.edge.process.send_signal(signal.SIGINT)
    here.edge.wait_end()


def test_starts_at_once(shop):
    begin = time.monotonic()
    shop()
    assert time.monotonic() - begin < (30 if daemon.SANITIZED else 10)


def test_port_in_use(shop):
    here = shop()
    second = here.folder / "second.conf"
    second.write_text(here.edge.config_path.read_text().replace(str(here.edge.state_folder), str(here.folder / "second")))
    result = daemon.holdfast("run", "-c", second, check=False)
    assert result.returncode not in (0, 70)
    assert "in use" in result.stderr and str(here.port) in result.stderr


def test_relay_killed(shop):
    """Its sessions end, all others go on, and a new relay takes its place, with an event that says why."""
    here = shop(extra="protect-after = 1h")
    with contextlib.ExitStack() as stack:
        held = [stack.enter_context(here.client()) for _ in range(16)]
        for client in held:
            client.exchange()
        sessions = here.edge.lines("sessions")
        assert {session["id"].split("-")[0] for session in sessions} == {"0", "1"}
        victim = here.edge.workers("relay")[0]
        mark = here.edge.mark()
        here.edge.tolerated = ("killed",)
        os.kill(victim, signal.SIGKILL)
        here.edge.wait_event("process-ended", since=mark, process="relay/0", detail=lambda text: "signal 9" in text)
        here.edge.wait_event("process-started", since=mark, process="relay/0")
        survivors = sum(1 for client in held if works(client))
        assert 0 < survivors < 16
        for _ in range(8):
            with here.client() as client:
                client.exchange("on the new relay, too")
        assert len(here.edge.workers("relay")) == 2


def works(client):
    try:
        client.exchange("after")
        return True
    except (OSError, ssl.SSLError, EOFError):
        return False


@pytest.mark.parametrize("kind", ["handshaker", "control"])
def test_worker_killed_costs_no_session(shop, kind):
    here = shop()
    with contextlib.ExitStack() as stack:
        held = [stack.enter_context(here.client()) for _ in range(8)]
        for client in held:
            client.exchange()
        mark = here.edge.mark()
        here.edge.tolerated = ("killed",)
        victim = here.edge.workers(kind)[0]
        os.kill(victim, signal.SIGKILL)
        wait_until(lambda: replaced(here, kind, victim), 20, f"no new {kind}")
        if kind == "handshaker":
            here.edge.wait_event("process-ended", since=mark, process="handshaker/0")
        for client in held:
            client.exchange("after")
        for _ in range(8):
            with here.client() as client:
                client.exchange("new")
        pair = here.replace()
        wait_until(lambda: here.leaf() == pair.fingerprint, 20)
        for client in held:
            client.exchange("after a replacement")


def replaced(here, kind, victim):
    if here.edge.run("status", check=False).returncode != 0:
        return False  # control itself is being replaced
    workers = here.edge.workers(kind)
    return victim not in workers and len(workers) == (1 if kind == "control" else 2)


def test_supervisor_killed_leaves_no_process(shop):
    here = shop()
    family = here.edge.processes()
    os.kill(here.edge.process.pid, signal.SIGKILL)
    here.edge.process.wait(10)
    wait_until(lambda: not any(daemon._alive(pid) for pid in family), 10, "workers outlive the supervisor")
    here.edge.process.returncode = 0


def test_drain_waits_for_sessions(shop):
    """SIGTERM: no new connections, sessions may finish."""
    here = shop(extra="drain-timeout = 10m")
    with here.client() as client:
        client.exchange()
        here.edge.process.send_signal(signal.SIGTERM)
        here.edge.wait_event("stopping")
        wait_until(lambda: isinstance(clients.connect_quietly(here.port, here.root), Exception))
        for _ in range(5):
            client.exchange("during the drain")
        assert here.edge.process.poll() is None
    here.edge.wait_end()


@pytest.mark.parametrize("version", ["1.2", "1.3"])
def test_drain_deadline(shop, version):
    """Who has not finished by the deadline gets a close_notify, not a cut."""
    here = shop(extra="drain-timeout = 1s")
    with here.wire(version=version) as client:
        client.send(b"x")
        client.receive_exactly(1)
        begin = time.monotonic()
        here.edge.process.send_signal(signal.SIGTERM)
        assert client.alert() == "close_notify"
        assert 0.5 < time.monotonic() - begin < 15
    here.edge.wait_end()
    assert here.edge.events_named("session-closed", reason="drained")


def test_signals_that_the_parent_ignores(shop, folder):
    """They are inherited; deaths are noticed and orders are heard all the same."""
    deaf = folder / "deaf"
    ignored = " ".join(f"--ignore-signal={name}" for name in ("CHLD", "HUP", "INT", "TERM", "USR2", "PIPE"))
    deaf.write_text(f'#!/bin/sh\nexec env {ignored} {shlex.quote(str(daemon.BINARY))} "$@"\n')
    deaf.chmod(0o755)
    here = shop(binary=deaf)
    here.edge.tolerated = ("killed",)
    mark = here.edge.mark()
    os.kill(here.edge.workers("relay")[0], signal.SIGKILL)
    here.edge.wait_event("process-started", since=mark, process="relay/0")
    here.edge.process.send_signal(signal.SIGHUP)
    here.edge.wait_event("config-loaded", since=mark)
    here.edge.process.send_signal(signal.SIGUSR2)
    here.edge.wait_event("upgraded", since=mark)
    with here.client() as client:
        client.exchange()
    here.edge.stop()


def test_second_signal_ends_at_once(shop):
    here = shop(extra="drain-timeout = 10m")
    with here.client() as client:
        client.exchange()
        here.edge.process.send_signal(signal.SIGTERM)
        here.edge.wait_event("stopping")
        here.edge.process.send_signal(signal.SIGTERM)
        here.edge.wait_end()


@contextlib.contextmanager
def serving_with_log(folder, authority, upstream, output, options=""):
    """A daemon with this as its standard output, and what it takes to connect to it: (port, context)."""
    chain, key = authority.issue(clients.NAME).write(folder)
    port = free_port()
    config = folder / "log.conf"
    config.write_text(f"""
        state-folder = "{folder}/state"
        workers = 1
        {options}
        listener "shop" {{
            bind = {{"127.0.0.1:{port}"}}
            certificates = {{"leaf"}}
            upstream = "app"
        }}
        upstream "app" {{ servers = {{"{upstream.address}"}} }}
        certificate "leaf" {{
            names = {{"{clients.NAME}"}}
            from = files
            chain = "{chain}"
            key = "{key}"
        }}""")
    with subprocess.Popen([daemon.BINARY, "run", "-c", config], stdout=output) as process:
        try:
            wait_until(lambda: not isinstance(client := clients.connect_quietly(port, authority.root_path), Exception)
                       and (client.close() or True))
            yield port, clients.context(authority.root_path)
            process.send_signal(signal.SIGTERM)
            assert process.wait(20) == 0
        finally:
            process.kill()


def test_blocked_standard_output(folder, authority, server):
    """Nobody reads the log: traffic goes on, lines are dropped and counted."""
    with serving_with_log(folder, authority, server(), subprocess.PIPE, "log-handshakes = all") as (port, tls):
        for _ in range(400):
            with clients.Client(port, tls=tls) as client:
                client.exchange()


def test_full_disk_for_the_log(folder, authority, server):
    """/dev/full refuses every line; the edge does not mind."""
    with open("/dev/full", "w", encoding="ascii") as full, \
         serving_with_log(folder, authority, server(), full) as (port, tls), clients.Client(port, tls=tls) as client:
        client.exchange()


def test_sd_notify(shop, folder):
    """Type=notify: READY=1 when serving, STOPPING=1 when told to stop."""
    path = str(folder / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notify:
        notify.bind(path)
        notify.settimeout(20)
        here = shop(environment={"NOTIFY_SOCKET": path})
        assert b"READY=1" in receive_until(notify, b"READY=1")
        here.edge.process.send_signal(signal.SIGTERM)
        assert b"STOPPING=1" in receive_until(notify, b"STOPPING=1")
        here.edge.wait_end()


def receive_until(notify, text):
    data = b""
    while text not in data:
        data += notify.recv(4096) + b"\n"
    return data


def test_replacements_under_churn(shop):
    """Clients come and go in four threads while the certificate is replaced: no handshake fails, no session is lost."""
    here = shop()
    stop = threading.Event()
    failures, counts = [], [0] * 4

    def churn(number):
        tls = clients.context(here.root, "1.2" if number % 2 else "1.3")
        while not stop.is_set():
            try:
                with clients.Client(here.port, tls=tls) as client:
                    client.exchange()
                    counts[number] += 1
            except (OSError, ssl.SSLError, EOFError, AssertionError) as error:
                failures.append(error)

    threads = [threading.Thread(target=churn, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    try:
        for _ in range(10):
            pair = here.replace()
            wait_until(lambda: here.leaf() == pair.fingerprint)
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    assert not failures, failures[:3]
    assert min(counts) > 0, counts


def test_configuration_of_openssl_is_not_read(shop, folder):
    """One that takes all ciphers away is nothing to any process: not to the handshake, not to the records behind it."""
    (folder / "openssl.cnf").write_text("openssl_conf = all\n[all]\nproviders = some\n[some]\nbase = base\n[base]\nactivate = 1\n")
    here = shop(environment={"OPENSSL_CONF": str(folder / "openssl.cnf")})
    with here.client() as client:
        client.exchange()
