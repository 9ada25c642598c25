"""`holdfast drain`: who is refused, who is closed and when, who is left; and back again."""

import contextlib
import json
import os
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
from scrapes import get, metrics

NAME = clients.NAME


class Drain:
    """`holdfast drain` running beside the test; its lines as objects."""

    def __init__(self, edge, *arguments):
        self.process = subprocess.Popen([daemon.BINARY, "drain", "--json", "-c", edge.config_path, *arguments],
                                        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    def line(self):
        return json.loads(self.process.stdout.readline())

    def end(self, timeout=60):
        """(exit code, the lines that were left, standard error)"""
        output, errors = self.process.communicate(timeout=timeout)
        return self.process.returncode, [json.loads(line) for line in output.splitlines()], errors

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.wait()


@pytest.fixture(name="two")
def two_listeners(start, folder, authority, server):
    """A house with two listeners, "shop" and "mail", and an admin port."""
    def make(extra="", shop_bind=None, **options):
        chain, key = authority.issue(NAME).write(folder)
        ports = {"shop": free_port(), "mail": free_port(), "admin": free_port()}
        binds = {"shop": shop_bind or f"127.0.0.1:{ports['shop']}", "mail": f"127.0.0.1:{ports['mail']}"}
        listeners = "".join(f'''
            listener "{name}" {{
                bind = {{"{bind}"}}
                certificates = {{"leaf"}}
                upstream = "app"
            }}''' for name, bind in binds.items())
        edge = start(f'''{listeners}
            upstream "app" {{ servers = {{"{server().address}"}} }}
            certificate "leaf" {{
                names = {{"{NAME}"}}
                from = files
                chain = "{chain}"
                key = "{key}"
            }}
            admin {{ bind = {{"127.0.0.1:{ports['admin']}"}} }}
            {extra}''', **options)
        return edge, ports
    return make


def refused(port):
    """A new connection is refused at once; no waiting in a queue. (A reset is the same, seen while
    the socket just ceases to listen.)"""
    try:
        socket.create_connection(("127.0.0.1", port), 5).close()
    except (ConnectionRefusedError, ConnectionResetError):
        return True
    return False


def hold(stack, port, root, count, **options):
    held = [stack.enter_context(clients.WireClient(port, root, **options)) for _ in range(count)]
    for client in held:
        client.send(b"hello")
        client.receive_exactly(5)
    return held


def exchange(client, text=b"still here"):
    client.send(text)
    assert client.receive_exactly(len(text)) == text


# ---- bad input ----

@pytest.mark.parametrize("arguments, code, text", [
    (("--over", "0"), 2, "--over 0"),
    (("--over", "0s"), 2, "1s"),
    (("--over", "soon"), 2, "no duration"),
    (("--over", "-5s"), 2, "no duration"),
    (("--over", "8d"), 2, "7d"),
    (("--listener", "shpo"), 2, 'the nearest is "shop"'),
    (("--listener", ""), 2, "no listener"),
    (("--cancel",), 2, "nothing is being drained"),
    (("--cancel", "--listener", "shop"), 2, "shop is not being drained"),
    (("--cancel", "--over", "5s"), 2, "exclude each other"),
    (("shop",), 2, "takes no argument"),
])
def test_bad_input(two, arguments, code, text):
    edge, ports = two()
    result = edge.run("drain", *arguments, check=False)
    assert result.returncode == code and text in result.stderr, result
    assert not refused(ports["shop"]) and not edge.json("status")["draining"]
    assert not edge.events_named("drain-begun")


def test_drain_while_stopping(shop):
    here = shop(extra="drain-timeout = 10m")
    with here.client() as client:
        client.exchange()
        here.edge.process.send_signal(signal.SIGTERM)
        here.edge.wait_event("stopping")
        result = here.edge.run("drain", check=False)
        assert result.returncode == 3 and "stopping" in result.stderr, result
    here.edge.wait_end()


# ---- closing ----

def inversions(numbers):
    pairs = [(a, b) for i, a in enumerate(numbers) for b in numbers[i + 1:]]
    return sum(a > b for a, b in pairs) / len(pairs)


def test_sessions_are_closed_over_the_time(two, authority):
    """Spread over the interval, in no order, each with a close_notify, TLS 1.2 and 1.3 alike."""
    edge, ports = two()
    with contextlib.ExitStack() as stack:
        held = hold(stack, ports["shop"], authority.root_path, 30, version="1.2")
        held += hold(stack, ports["shop"], authority.root_path, 30, version="1.3")
        begin = time.monotonic()
        with Drain(edge, "--over", "4s") as drain:
            first = drain.line()
            assert first["drain"] == "house" and first["state"] == "draining" and first["sessions"] == 60
            assert not first["accepting"] and first["deadline"]
            assert {one["listener"]: one["sessions"] for one in first["listeners"]} == {"shop": 60, "mail": 0}
            wait_until(lambda: refused(ports["shop"]) and refused(ports["mail"]))
            assert [client.alert() for client in held] == ["close_notify"] * 60
            code, lines, _ = drain.end()
        assert code == 0 and lines[-1]["state"] == "drained" and lines[-1]["sessions"] == 0
        counts = [line["sessions"] for line in lines]
        assert counts == sorted(counts, reverse=True) and len(set(counts)) > 5, counts
    edge.wait_event("session-closed", count=60)
    closed = edge.events_named("session-closed", reason="drained")
    assert len(closed) == 60
    times = [event["_seen"] - begin for event in closed]
    assert times[-1] > 2, "the last of sixty has a place in the second half"
    assert times[-1] - times[0] > 2, "closed as one wave"
    assert 0.2 < inversions([int(event["session"].split("-")[1]) for event in closed]) < 0.8
    edge.wait_event("drain-begun", detail=lambda text: "60 sessions" in text)
    edge.wait_event("drain-ended")
    assert refused(ports["shop"]), "it stays drained"
    assert edge.json("status")["draining"]


def test_one_listener_leaves_the_other_alone(two, authority):
    edge, ports = two()
    with contextlib.ExitStack() as stack:
        shop = hold(stack, ports["shop"], authority.root_path, 4)
        mail, = hold(stack, ports["mail"], authority.root_path, 1)
        code, lines, _ = Drain(edge, "--listener", "shop", "--over", "500ms").end()
        assert code == 0 and lines[0]["listener"] == "shop" and lines[-1]["state"] == "drained"
        assert [client.alert() for client in shop] == ["close_notify"] * 4
        wait_until(lambda: refused(ports["shop"]))
        exchange(mail)
        with clients.Client(ports["mail"], authority.root_path) as client:
            client.exchange()
        assert get(ports["admin"], "/healthz")[0] == 200
        status = edge.json("status")
        assert not status["draining"]
        assert {one["listener"]: one["draining"] for one in status["listeners"]} == {"shop": True, "mail": False}
        assert status["drains"][0]["state"] == "drained"
        samples = metrics(ports["admin"])
        assert samples['holdfast_listener_draining{listener="shop"}'] == 1
        assert samples['holdfast_listener_draining{listener="mail"}'] == 0
        assert samples["holdfast_draining"] == 0
        edge.wait_event("drain-ended", listener="shop")
        text = edge.run("status").stdout
        assert "shop" in text and "drained" in text


def test_silent_and_busy_sessions_meet_the_deadline(two, authority):
    """Neither one that never reads nor one that never stops talking outlives the time."""
    edge, ports = two()
    with contextlib.ExitStack() as stack:
        held = hold(stack, ports["shop"], authority.root_path, 2)
        stuck, talker = held
        talker.raw.settimeout(0.2)
        stuck.raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        with Drain(edge, "--over", "1s"), contextlib.suppress(OSError, ssl.SSLError):
            for _ in range(10000):
                stuck.raw.setblocking(False)
                with contextlib.suppress(BlockingIOError):
                    stuck.send(b"x" * 16384)
                talker.send(b"y" * 100)
                talker.receive(65536)
        assert edge.run("drain", "--over", "1s", timeout=30).returncode == 0
    assert edge.json("status")["sessions"] == 0


def test_handshake_under_way_is_waited_for(two, authority):
    """Who was accepted before the drain gets a session, and the rest of the time."""
    edge, ports = two(extra="drain-timeout = 2s")
    with clients.WireClient(ports["shop"], authority.root_path, handshake=False) as late:
        with contextlib.suppress(ssl.SSLWantReadError):
            late.object.do_handshake()
        hello = late.outgoing.read()
        late.send_raw(hello[:20])
        wait_until(lambda: edge.json("status")["listeners"][0]["handshakes_under_way"] == 1)
        with Drain(edge) as drain:
            assert drain.line()["handshakes"] == 1
            late.send_raw(hello[20:])
            late._drive(late.object.do_handshake)
            assert late.alert() == "close_notify"
            assert drain.end()[0] == 0
    edge.wait_event("session-closed", reason="drained")


def test_clients_that_keep_coming(two, authority):
    """Back and forth under load: whoever comes is served or refused, and nobody hangs in a queue."""
    edge, ports = two(extra="drain-timeout = 100ms")
    stop = threading.Event()
    hung, served, turned_away = [], [0] * 4, [0] * 4

    def churn(number):
        tls = clients.context(authority.root_path, "1.2" if number % 2 else "1.3")
        while not stop.is_set():
            try:
                with clients.Client(ports["shop"], tls=tls, timeout=15) as client:
                    client.exchange()
                    served[number] += 1
            except TimeoutError as error:
                hung.append(error)
            except (OSError, ssl.SSLError, EOFError):
                turned_away[number] += 1

    threads = [threading.Thread(target=churn, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    try:
        for _ in range(8):
            before = list(served)
            wait_until(lambda: all(now > then for now, then in zip(served, before)), 20, "not served again")
            before = list(turned_away)
            assert edge.run("drain").returncode == 0
            wait_until(lambda: all(now > then for now, then in zip(turned_away, before)), 20, "not refused")
            edge.run("drain", "--cancel")
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    assert not hung


# ---- notice ----

def test_health_says_so_first(two, authority):
    edge, ports = two(extra="drain-notice = 8s\ndrain-timeout = 20s")
    assert get(ports["admin"], "/healthz")[0] == 200
    line, = edge.lines("drain", "--no-wait")
    assert line["state"] == "notice" and line["accepting"]
    assert get(ports["admin"], "/healthz") == (503, "draining\n")
    with clients.Client(ports["shop"], authority.root_path) as client:
        client.exchange()
        wait_until(lambda: refused(ports["shop"]), 20)
        client.exchange()
        assert edge.json("status")["drains"][0]["state"] == "draining"
    edge.run("drain", "--cancel")
    assert get(ports["admin"], "/healthz")[0] == 200


def test_cancel_during_the_notice(two, authority):
    edge, ports = two(extra="drain-notice = 1h\ndrain-timeout = 2h")
    with Drain(edge) as drain:
        assert drain.line()["state"] == "notice"
        edge.run("drain", "--cancel")
        code, _, errors = drain.end()
        assert code == 3 and "cancelled" in errors
    assert get(ports["admin"], "/healthz")[0] == 200
    with clients.Client(ports["shop"], authority.root_path) as client:
        client.exchange()
    edge.process.send_signal(signal.SIGTERM)
    edge.wait_event("stopping")
    edge.process.send_signal(signal.SIGTERM)  # do not wait an hour
    edge.wait_end()


# ---- change and cancel ----

def test_cancel_brings_everything_back(two, authority):
    edge, ports = two()
    with contextlib.ExitStack() as stack:
        held = hold(stack, ports["shop"], authority.root_path, 4)
        with Drain(edge, "--over", "1h") as drain:
            assert drain.line()["sessions"] == 4
            edge.run("drain", "--no-wait", "--listener", "mail", "--over", "1h")
            wait_until(lambda: refused(ports["shop"]))
            line, = edge.lines("drain", "--cancel")
            assert line["state"] == "none" and line["accepting"]
            code, _, errors = drain.end()
            assert code == 3 and "cancelled; 4 sessions stay" in errors, errors
        for client in held:
            exchange(client)
        for name in ("shop", "mail"):
            wait_until(lambda name=name: not refused(ports[name]))
            for _ in range(8):
                with clients.Client(ports[name], authority.root_path) as client:
                    client.exchange()
        assert edge.json("status")["drains"] == []
    edge.wait_event("drain-cancelled", listener=lambda name: name is None)
    edge.wait_event("drain-cancelled", listener="mail")


def test_cancel_one_of_a_drained_house(two):
    edge, ports = two()
    edge.run("drain", "--no-wait")
    result = edge.run("drain", "--cancel", "--listener", "shop", check=False)
    assert result.returncode == 2 and "whole house" in result.stderr
    wait_until(lambda: refused(ports["shop"]))


def test_again_with_another_time(two, authority):
    edge, ports = two()
    with contextlib.ExitStack() as stack:
        held = hold(stack, ports["shop"], authority.root_path, 4)
        with Drain(edge, "--over", "7d") as first:
            assert first.line()["left_ms"] > 6 * 86400000
            code, lines, _ = Drain(edge, "--over", "300ms").end()
            assert code == 0 and lines[0]["left_ms"] <= 300
            assert first.end()[0] == 0, "the first one to ask waits for the same end"
        assert [client.alert() for client in held] == ["close_notify"] * 4
    edge.wait_event("drain-begun", detail=lambda text: "another time" in text)


def test_many_times(two, authority):
    """Back and forth: sockets of both handshakers end where the last word wants them."""
    edge, ports = two()
    for _ in range(10):
        edge.run("drain", "--no-wait")
        edge.run("drain", "--cancel")
    for _ in range(8):
        with clients.Client(ports["shop"], authority.root_path) as client:
            client.exchange()
    edge.run("drain", "--no-wait")
    wait_until(lambda: refused(ports["shop"]))


def test_port_taken_meanwhile(two, authority):
    """Another program listens when the drain is cancelled: told, and made good when it has gone."""
    edge, ports = two()
    edge.run("drain", "--no-wait", "--listener", "shop")
    wait_until(lambda: refused(ports["shop"]))
    with socket.socket() as thief:
        thief.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        thief.bind(("127.0.0.1", ports["shop"]))
        thief.listen()
        edge.run("drain", "--cancel", "--listener", "shop")
        edge.wait_event("warning", detail=lambda text: "cannot listen again" in text)
    wait_until(lambda: not isinstance(clients.connect_quietly(ports["shop"], authority.root_path), Exception), 20)


def test_unix_socket(two, folder, authority):
    """A Unix socket cannot be shut for a while: clients see an end at once instead."""
    path = folder / "front.sock"
    edge, _ = two(shop_bind=f"unix:{path}")

    def connect():
        raw = socket.socket(socket.AF_UNIX)
        raw.settimeout(10)
        raw.connect(str(path))
        return clients.context(authority.root_path).wrap_socket(raw, server_hostname=NAME)

    def served():
        with contextlib.suppress(OSError, ssl.SSLError), connect() as client:
            client.sendall(b"x")
            return client.recv(1) == b"x"
        return False

    wait_until(served)
    edge.run("drain", "--no-wait", "--listener", "shop")
    wait_until(lambda: not served())
    with pytest.raises((OSError, ssl.SSLError)) as caught:
        connect()
    assert not isinstance(caught.value, TimeoutError)
    edge.run("drain", "--cancel")
    wait_until(served)


# ---- deaths ----

def starts(edge, kind):
    result = edge.run("status", "--json", check=False)
    return sum(process["starts"] for process in json.loads(result.stdout)["processes"]
               if process["kind"] == kind and process["alive"]) if result.returncode == 0 else 0


@pytest.mark.parametrize("kind", ["handshaker", "relay", "control"])
def test_restart_of_a_process(two, authority, kind):
    """Whoever is started again finds the drain: nobody accepts, the deadline holds, and cancel works."""
    edge, ports = two(extra="protect-after = 1h")  # with a relay its sessions end
    edge.tolerated = ("killed",)
    with contextlib.ExitStack() as stack:
        held = hold(stack, ports["shop"], authority.root_path, 8)
        edge.run("drain", "--no-wait", "--over", "1h")
        wait_until(lambda: refused(ports["shop"]))
        for victim in edge.workers(kind):
            os.kill(victim, signal.SIGKILL)
        wait_until(lambda: starts(edge, kind) == (2 if kind == "control" else 4), 20)
        for _ in range(5):
            assert refused(ports["shop"])
        state = "drained" if kind == "relay" else "draining"
        wait_until(lambda: edge.json("status")["drains"][0]["state"] == state)
        if kind != "relay":
            for client in held:
                exchange(client)
        edge.run("drain", "--cancel")
        wait_until(lambda: not refused(ports["shop"]))
        held += hold(stack, ports["shop"], authority.root_path, 4)
        code, _, _ = Drain(edge, "--over", "200ms").end()
        assert code == 0
        assert [client.alert() for client in (held[8:] if kind == "relay" else held)] == \
            ["close_notify"] * (4 if kind == "relay" else 12)
        edge.wait_event("drain-ended")


def test_cancelled_while_no_handshaker_lives(two, authority):
    edge, ports = two()
    edge.tolerated = ("killed",)
    edge.run("drain", "--no-wait")
    wait_until(lambda: refused(ports["shop"]))
    for victim in edge.workers("handshaker"):
        os.kill(victim, signal.SIGKILL)
    edge.run("drain", "--cancel")
    wait_until(lambda: not refused(ports["shop"]), 20)
    with clients.Client(ports["shop"], authority.root_path) as client:
        client.exchange()


def test_sigterm_during_a_drain(two, authority):
    """It has the last word: sessions end within drain-timeout, however long the drain was to take."""
    edge, ports = two(extra="drain-timeout = 1s")
    with contextlib.ExitStack() as stack:
        held = hold(stack, ports["shop"], authority.root_path, 8)
        edge.run("drain", "--no-wait", "--over", "7d")
        edge.process.send_signal(signal.SIGTERM)
        assert [client.alert() for client in held] == ["close_notify"] * 8
    edge.wait_end()


# ---- what is shown ----

def test_progress_for_people(two, authority):
    edge, ports = two()
    with contextlib.ExitStack() as stack:
        hold(stack, ports["shop"], authority.root_path, 3)
        result = edge.run("drain", "--over", "500ms")
        lines = result.stdout.splitlines()
        assert lines[0].startswith("all listeners: draining, 3 sessions and 0 handshakes left, until "), lines
        assert lines[-1] == "all listeners: drained, nobody is left"
        assert "\r" not in result.stdout
        assert edge.run("drain", "--cancel").stdout == "all listeners: accepting, 0 sessions\n"


def test_certificate_replaced_during_a_drain(two, folder, authority):
    """A drained listener cannot be looked at from outside; the certificate goes live all the same."""
    edge, ports = two()
    edge.run("drain", "--no-wait", "--listener", "shop")
    wait_until(lambda: refused(ports["shop"]))
    mark = edge.mark()
    pair = authority.issue(NAME)
    pair.write(folder)
    edge.wait_event("certificate-loaded", since=mark)
    shown = {one["address"]: one for one in edge.lines("certs")[0]["served"]}
    assert shown[f"127.0.0.1:{ports['shop']}"]["result"] == "skipped"
    assert shown[f"127.0.0.1:{ports['mail']}"]["result"] == "served"
    edge.run("drain", "--cancel")
    wait_until(lambda: clients.leaf(ports["shop"], authority.root_path) == pair.fingerprint)
