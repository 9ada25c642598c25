"""What an operator sees and does: status, sessions, upstream, trace, certs, metrics, health; and that none of it, nor its loss, touches
a session."""

import contextlib
import json
import os
import signal
import socket
import stat
import subprocess
import threading
import time

import pytest

import clients
import daemon
from daemon import free_port, holdfast, wait_until
from scrapes import get, metrics

NAME = clients.NAME


class Follower:
    """`holdfast trace` running beside the test; its lines as objects."""

    def __init__(self, edge, *arguments):
        self.lines = []
        self._news = threading.Condition()
        self.process = subprocess.Popen([daemon.BINARY, "trace", "--json", "-c", edge.config_path, *arguments],
                                        stdout=subprocess.PIPE)
        threading.Thread(target=self._collect, daemon=True).start()

    def _collect(self):
        for line in self.process.stdout:
            with self._news:
                self.lines.append(json.loads(line))
                self._news.notify_all()

    def wait(self, condition, timeout=30):
        with self._news:
            assert self._news.wait_for(lambda: any(map(condition, self.lines)), timeout), self.lines

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.wait()


@pytest.fixture
def raw_request():
    def ask(edge, text):
        with socket.socket(socket.AF_UNIX) as sock:
            sock.settimeout(10)
            sock.connect(str(edge.state_folder / "control.sock"))
            with contextlib.suppress(BrokenPipeError):
                sock.sendall(text)
            answer = b""
            with contextlib.suppress(ConnectionResetError):  # what it refused to read is thrown away
                while piece := sock.recv(65536):
                    answer += piece
        return [json.loads(line) for line in answer.splitlines()]
    return ask


# ---- status ----

def test_status(shop):
    here = shop()
    with here.client() as client:
        client.exchange()
        status = here.edge.json("status")
        assert {process["kind"] for process in status["processes"]} == {"supervisor", "control", "handshaker", "relay"}
        assert all(process["alive"] and process["pid"] and process["starts"] == 1 for process in status["processes"])
        assert status["config"] == str(here.edge.config_path)
        assert status["crash_survival"] is True
        listener, = status["listeners"]
        assert listener["listener"] == "shop" and listener["sessions"] == 1
        assert listener["addresses"] == [f"127.0.0.1:{here.port}"]
        backend, = status["servers"]
        assert backend["sessions"] == 1 and backend["healthy"] and backend["state"] == "ready"
        assert status["sessions"] == 1 and 0 < status["sessions"] < status["capacity"]
        certificate, = status["certificates"]
        assert certificate["name"] == NAME and certificate["version"] == 1
        text = here.edge.run("status").stdout
        assert "\x1b" not in text and "shop" in text and NAME in text


def test_no_daemon(folder):
    result = holdfast("status", "--socket", folder / "control.sock", check=False)
    assert result.returncode == 3 and "holdfast run" in result.stderr
    result = holdfast("status", "-c", folder / "none.conf", check=False)
    assert result.returncode == 3 and "none.conf" in result.stderr


@pytest.mark.parametrize("verb", ["status", "sessions", "certs", "upstream", "trace"])
def test_help_and_wrong_usage(verb):
    text = holdfast(verb, "--help").stdout
    assert text.startswith(f"Usage: holdfast {verb}") and "Exit codes" in text
    assert holdfast(verb, "--no-such-option", check=False).returncode == 2
    assert holdfast(verb, "no-such-word", check=False).returncode == 2


# ---- sessions ----

def test_sessions_by_filter(shop):
    here = shop()
    with here.client(version="1.2") as first, here.client(version="1.3", source=("127.0.0.9", 0)) as second:
        first.exchange()
        second.exchange()
        lines = here.edge.lines("sessions")
        assert sorted(session["version"] for session in lines) == ["TLSv1.2", "TLSv1.3"]
        for session in lines:
            assert session["sni"] == NAME and session["certificate"] == NAME and session["certificate_version"] == 1
            assert session["state"] == "open" and session["bytes_in"] > 0 and session["server"] == here.upstream.address

        def count(*filters):
            return len(here.edge.lines("sessions", *filters))

        assert count("--client", "127.0.0.9") == 1 and count("--client", "127.0.0.0/8") == 2
        assert count("--listener", "shop") == 2 and count("--sni", NAME) == 2 and count("--sni", "other.test") == 0
        assert count("--certificate", f"{NAME}@1") == 2 and count("--certificate", f"{NAME}@2") == 0
        assert count("--older", "1h") == 0 and count("--younger", "1h") == 2 and count("--limit", "1") == 1
        for wrong in (("--listener", "none"), ("--certificate", "none"), ("--older", "soon"), ("--client", "x"), ("--limit", "-1")):
            assert here.edge.run("sessions", *wrong, check=False).returncode == 2, wrong


def test_close_a_session(shop):
    here = shop()
    with here.client() as client, here.client() as other:
        client.exchange()
        port = client.socket.getsockname()[1]
        other.exchange()
        session, = [line for line in here.edge.lines("sessions") if line["client"] == f"127.0.0.1:{port}"]
        assert session["id"] in here.edge.run("sessions", "close", session["id"]).stdout
        assert client.read_to_end() == b""
        here.edge.wait_event("session-closed", session=session["id"], reason="closed-by-operator")
        other.exchange("not touched")
        assert here.edge.run("sessions", "close", session["id"], check=False).returncode == 2
        assert here.edge.run("sessions", "close", "nonsense", check=False).returncode == 2


def test_many_sessions_are_listed_while_they_work(shop):
    here = shop()
    with contextlib.ExitStack() as stack:
        held = [stack.enter_context(here.client()) for _ in range(300)]
        # A client is through with its handshake a moment before a relay has the session.
        wait_until(lambda: len({line["id"] for line in here.edge.lines("sessions")}) == 300)
        for client in held:
            client.exchange()


# ---- upstream servers ----

def test_drain_a_server(start, folder, authority, server):
    first, second = server(), server()
    pair = authority.issue(NAME)
    chain, key = pair.write(folder, "pair")
    port = free_port()
    edge = start(f"""
        listener "shop" {{ bind = "127.0.0.1:{port}" certificates = "{NAME}" upstream = "app" }}
        upstream "app" {{ servers = {{"{first.address}", "{second.address}"}} }}
        certificate "{NAME}" {{ names = "{NAME}" from = files chain = "{chain}" key = "{key}" }}
    """)

    def connect():
        return clients.Client(port, authority.root_path)

    def server_line(which):
        return next(line for line in edge.lines("upstream", "list") if line["server"] == which.address)

    with contextlib.ExitStack() as stack:
        held = [stack.enter_context(connect()) for _ in range(4)]
        for client in held:
            client.exchange()
        assert server_line(first)["sessions"] == 2 and server_line(second)["sessions"] == 2
        mark = edge.mark()
        edge.run("upstream", "drain", f"app/{first.address}")
        edge.wait_event("upstream-changed", since=mark, server=first.address)
        drained = server_line(first)
        assert drained["state"] == "drain"
        for _ in range(4):
            with connect() as client:
                client.exchange()
        for client in held:
            client.exchange("live sessions stay where they are")
        wait_until(lambda: server_line(second)["sessions"] == 2)
        assert server_line(first)["sessions"] == 2 and server_line(first)["connects"] == drained["connects"]
        waiting = subprocess.Popen([daemon.BINARY, "upstream", "drain", f"app/{first.address}", "--wait", "--json",
                                    "-c", edge.config_path], stdout=subprocess.PIPE, text=True)
        assert json.loads(waiting.stdout.readline())["sessions"] == 2
        stack.close()
        assert waiting.wait(20) == 0
        assert json.loads(waiting.stdout.read().splitlines()[-1])["sessions"] == 0
    edge.run("upstream", "ready", f"app/{first.address}")
    edge.run("upstream", "down", f"app/{second.address}")
    with connect() as client:
        client.exchange()
        assert server_line(first)["sessions"] == 1
    edge.run("upstream", "weight", f"app/{first.address}", "9")
    assert server_line(first)["weight"] == 9
    for wrong in (("drain", "app"), ("drain", "none/x"), ("drain", "app/x"), ("weight", f"app/{first.address}", "0"),
                  ("weight", f"app/{first.address}", "x"), ("weight", f"app/{first.address}"), ("list", "x")):
        assert edge.run("upstream", *wrong, check=False).returncode == 2, wrong


# ---- trace ----

def test_trace_follows_one_client(shop):
    here = shop()
    with Follower(here.edge, "--client", "127.0.0.7") as follower, Follower(here.edge, "--sni", NAME) as by_name:
        # Connections show that tracing has begun; those from elsewhere must not show up by address.
        def begun():
            for source in ("127.0.0.1", "127.0.0.7"):
                with here.client(source=(source, 0)) as client:
                    client.exchange()
            return by_name.lines and follower.lines
        wait_until(begun)
        with here.client(source=("127.0.0.7", 0)) as client:
            client.exchange()
            address = "{}:{}".format(*client.socket.getsockname())
        follower.wait(lambda line: line["event"] == "session-closed" and line["client"] == address)
        assert "handshake-done" in [line["event"] for line in follower.lines if line["client"] == address]
        assert all(line["client"].startswith("127.0.0.7:") for line in follower.lines)
        by_name.wait(lambda line: line["event"] == "session-closed" and line["client"] == address)
    assert not here.edge.events_named("handshake-done"), "a trace changes the log"


# ---- certificates ----

def test_certs(shop):
    here = shop(key_types=("ecdsa", "rsa"))
    wait_until(lambda: all(check["result"] == "served" for line in here.edge.lines("certs") for check in line["served"]))
    lines = {line["key_type"]: line for line in here.edge.lines("certs")}
    for key_type, pair in here.pairs.items():
        assert lines[key_type]["fingerprint"] == pair.fingerprint
        assert lines[key_type]["names"] == [NAME] and lines[key_type]["state"] == "live"
        assert lines[key_type]["days_left"] >= 0 and lines[key_type]["served"]
    assert NAME in here.edge.run("certs").stdout


# ---- HTTP ----

@pytest.fixture
def admin(shop):
    def make(**options):
        port = free_port()
        here = shop(extra=f'admin {{ bind = "127.0.0.1:{port}" }}\n{options.pop("extra", "")}', **options)
        here.admin = port
        return here
    return make


def test_metrics(admin):
    here = admin()
    before = metrics(here.admin)
    with here.client() as client:
        client.exchange()
        during = metrics(here.admin)
        assert during['holdfast_listener_sessions{listener="shop"}'] == 1
        up = f'{{upstream="app",server="{here.upstream.address}"}}'
        assert during["holdfast_server_up" + up] == 1 and during["holdfast_server_sessions" + up] == 1
    here.edge.wait_event("session-closed")
    wait_until(lambda: metrics(here.admin)['holdfast_sessions_closed_total{process="relay"}'] >
               before['holdfast_sessions_closed_total{process="relay"}'])
    after = metrics(here.admin)
    name = 'holdfast_handshakes_total{process="handshaker"}'
    assert after[name] >= before[name] + 1
    count = after["holdfast_handshake_duration_seconds_count"]
    assert count == after['holdfast_handshake_duration_seconds_bucket{le="+Inf"}'] == after[name]
    assert after[f'holdfast_certificate_not_after_seconds{{certificate="{NAME}",host="",key_type="ecdsa"}}'] > time.time()
    assert after['holdfast_process_up{process="relay",index="0"}'] == 1


def test_http_refuses_the_rest(admin):
    here = admin()
    assert get(here.admin, "/")[0] == 404
    assert get(here.admin, "/metrics/")[0] == 404
    assert get(here.admin, "/metrics", "DELETE")[0] == 405
    with socket.create_connection(("127.0.0.1", here.admin), 10) as sock:
        sock.sendall(b"\x00" * 100000)
    assert get(here.admin, "/healthz") == (200, "ok\n")


def test_health_turns_before_listening_ends(admin):
    here = admin(extra="drain-notice = 1h\ndrain-timeout = 2h")
    assert get(here.admin, "/healthz")[0] == 200
    with here.client() as client:
        client.exchange()
        here.edge.process.send_signal(signal.SIGTERM)
        wait_until(lambda: get(here.admin, "/healthz") == (503, "draining\n"))
        with here.client() as late:
            late.exchange("still welcome during the notice")
    here.edge.process.send_signal(signal.SIGTERM)  # do not wait an hour
    here.edge.wait_end()


# ---- the socket itself ----

def test_control_socket_is_private(shop):
    here = shop()
    path = here.edge.state_folder / "control.sock"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    if os.geteuid() != 0:
        pytest.skip("another user is at hand for root only")
    result = subprocess.run(["setpriv", "--reuid", "54321", "--clear-groups", daemon.BINARY, "status", "--socket", path],
                            capture_output=True, text=True, check=False)
    assert result.returncode == 3 and "root" in result.stderr


def test_malformed_requests(shop, raw_request):
    here = shop()
    with here.client() as client:
        for text in (b"\n", b"{\n", b"[]\n", b'{"verb": 1}\n', b'{"verb": "none"}\n', b'{"verb": "sessions", "limit": "x"}\n',
                     b'{"verb": "cert-install", "name": "x"}\n', b'{"verb": "upstream"}\n', b"\xff" * 1000 + b"\n", b"x" * 200000,
                     b'{"verb": "trace", "client": "x"}\n', b"[" * 60000 + b"\n"):
            answer = raw_request(here.edge, text)
            assert len(answer) == 1 and answer[0]["error"]["code"], (text[:40], answer)
        client.exchange()
    assert here.edge.json("status")["processes"][1]["starts"] == 1


# ---- when it is in trouble ----

def test_sessions_outlive_control(shop):
    here = shop()
    with here.client() as client:
        client.exchange()
        here.edge.tolerated = ("killed",)
        mark = here.edge.mark()
        old, = here.edge.workers("control")
        os.kill(old, signal.SIGKILL)
        client.exchange("nobody watches")
        here.edge.wait_event("process-ended", since=mark, process="control")
        with here.client() as another:
            another.exchange()
        wait_until(lambda: here.edge.run("status", "--json", check=False).returncode == 0, 20)
        control = next(process for process in here.edge.json("status")["processes"] if process["kind"] == "control")
        assert control["pid"] != old and control["starts"] == 2
        wait_until(lambda: len(here.edge.lines("sessions")) == 1)
        client.exchange()
        pair = here.replace()
        wait_until(lambda: here.leaf() == pair.fingerprint)
        client.exchange()


def test_full_disk_for_the_log(shop):
    """Lines are dropped and counted; nothing else happens."""
    port = free_port()
    here = shop(extra=f'admin {{ bind = "127.0.0.1:{port}" }}\nlog-handshakes = all')
    here.edge.stop()
    with open("/dev/full", "wb") as full, open(here.edge.errors_path, "wb") as errors:
        process = subprocess.Popen([daemon.BINARY, "run", "-c", here.edge.config_path], stdout=full, stderr=errors)
    try:
        def works():
            with contextlib.suppress(OSError), here.client() as client:
                client.exchange()
                return True
        wait_until(works, daemon.START_TIMEOUT)
        wait_until(lambda: metrics(port)['holdfast_log_lines_dropped_total{process="control"}'] > 0)
        assert here.edge.errors().count("No space left on device") == 1
    finally:
        process.terminate()
        assert process.wait(30) == 0


def test_nobody_reads_the_log(shop):
    """A stuck pipe on standard output holds up neither sessions nor verbs."""
    here = shop(extra="log-handshakes = all")
    here.edge.stop()
    process = subprocess.Popen([daemon.BINARY, "run", "-c", here.edge.config_path], stdout=subprocess.PIPE,
                               stderr=subprocess.DEVNULL)
    try:
        def works():
            with contextlib.suppress(OSError), here.client() as client:
                client.exchange()
                return True
        wait_until(works, daemon.START_TIMEOUT)
        dropped = 0
        deadline = time.monotonic() + 60
        with here.client() as held:
            while dropped == 0:
                assert time.monotonic() < deadline, "the log never filled"
                for _ in range(100):
                    works()
                dropped = here.edge.json("status")["counters"]["log_lines_dropped"]
                held.exchange()
    finally:
        process.stdout.close()
        process.terminate()
        assert process.wait(30) == 0
