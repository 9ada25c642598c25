"""What breaks underneath live sessions: servers that fail half way, memory and credits that run out, processes that are shot."""

import contextlib
import os
import random
import select
import signal
import socket
import ssl
import struct
import subprocess
import threading
import time

import pytest

import clients
import daemon
import servers
from daemon import free_port, wait_until


def cpu_seconds(pids):
    ticks = 0
    for pid in pids:
        with open(f"/proc/{pid}/stat", encoding="ascii") as file:
            fields = file.read().rsplit(")", 1)[1].split()
        ticks += int(fields[11]) + int(fields[12])
    return ticks / os.sysconf("SC_CLK_TCK")


def fill(client, piece=bytes(1 << 16)):
    """Sends until nothing more is taken for a while."""
    client.socket.setblocking(False)
    while select.select([], [client.raw], [], 0.3)[1]:
        with contextlib.suppress(ssl.SSLWantWriteError, ssl.SSLWantReadError):
            while True:
                client.socket.send(piece)
    client.socket.setblocking(True)


def reset(sock):
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    sock.close()


# ---- servers ----

@pytest.mark.parametrize("version", ["1.2", "1.3"])
def test_reset_of_the_server_is_no_clean_end(shop, server, version):
    """Even when it is a write that learns of it: what the client has got may be incomplete, so it must not see close_notify."""
    go = threading.Event()

    def half_an_answer(connection):
        connection.socket.sendall(b"half an ans")
        go.wait(20)
        reset(connection.socket)

    here = shop(server(half_an_answer))
    with here.client(version=version) as client:
        assert client.receive(11) == b"half an ans"
        fill(client)
        go.set()
        with pytest.raises((ssl.SSLError, ConnectionError)):
            client.read_to_end()
    here.edge.wait_event("session-closed", reason="upstream-reset")


def read_proxy_header(sock):
    head = bytearray()
    while len(head) < 16 or len(head) < 16 + int.from_bytes(head[14:16], "big"):
        piece = sock.recv(1)  # not a byte of what follows: that is TLS
        if not piece:
            raise ConnectionError("no PROXY header: a health check")
        head += piece
    return bytes(head)


def test_next_server_gets_the_proxy_header_too(shop, server, authority, folder):
    """A server that fails in the TLS handshake has had its PROXY header; the one that is tried next needs one as well."""
    chain, key = authority.issue("app.test").write(folder, "upstream")
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(chain, key)
    seen = {"bad": [], "good": []}

    def bad(connection):
        seen["bad"].append(read_proxy_header(connection.socket))

    def good(connection):
        seen["good"].append(read_proxy_header(connection.socket))
        connection.socket = tls.wrap_socket(connection.socket, server_side=True)
        servers.echo(connection)

    first, second = server(bad), server(good)

    class Both:
        address = f'{first.address}", "{second.address}'

    here = shop(Both, upstream_options=f'tls = yes\ntls-trust = "{authority.root_path}"\ntls-name = "app.test"\nproxy = v2')
    for _ in range(4):
        with here.client() as client:
            client.exchange()
    assert seen["bad"], "the failing server was never tried"
    assert len(seen["good"]) == 4
    assert all(head.startswith(b"\r\n\r\n\0\r\nQUIT\n") for head in seen["good"])


def test_key_update_of_the_server_is_answered_at_once(shop, authority, folder):
    """Also when nothing else goes up."""
    chain, key = authority.issue("app.test").write(folder, "upstream")
    port = free_port()
    with subprocess.Popen(["openssl", "s_server", "-accept", str(port), "-cert", chain, "-cert_chain", chain, "-key", key,
                           "-tls1_3", "-msg"], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT) as peer:
        try:
            output = bytearray()

            def wait_output(text):
                deadline = time.monotonic() + 10
                while text not in output:
                    assert select.select([peer.stdout], [], [], max(0, deadline - time.monotonic()))[0], bytes(output[-2000:])
                    output.extend(os.read(peer.stdout.fileno(), 65536))

            wait_output(b"ACCEPT")

            class Peer:
                address = f"127.0.0.1:{port}"

            here = shop(Peer, upstream_options=f'tls = yes\ntls-trust = "{authority.root_path}"\ntls-name = "app.test"')
            with here.client() as client:
                client.send(b"hello\n")
                wait_output(b"hello")
                output.clear()
                peer.stdin.write(b"K\n")
                peer.stdin.flush()
                wait_output(b"<<< TLS 1.3, Handshake [length 0005], KeyUpdate")
                peer.stdin.write(b"good bye\n")
                peer.stdin.flush()
                assert client.read_line() == b"good bye\n"
        finally:
            peer.kill()


# ---- memory ----

def download_or_echo(connection):
    first = connection.socket.recv(1)
    if first == b"d":
        while True:
            connection.socket.sendall(bytes(1 << 16))
    if first == b"s":
        threading.Event().wait(60)
    connection.socket.sendall(first)
    servers.quiet_echo(connection)


def test_stopped_peers_use_up_the_buffers(shop, server):
    """With the smallest buffer-memory: readers that stop, servers that stop, records of which only the beginning comes. After a few seconds the
    others go on, and who waits does not spin."""
    here = shop(server(download_or_echo), extra="buffer-memory = 4m")
    relays = here.edge.workers("relay")
    with contextlib.ExitStack() as stack:
        first = stack.enter_context(here.client())
        first.exchange()
        for number in range(60):
            client = stack.enter_context(here.client(version=("1.2", "1.3")[number % 2]))
            client.send(b"d")
        for _ in range(20):
            client = stack.enter_context(here.client())
            client.send(b"s")
            fill(client)
        for _ in range(150):
            client = stack.enter_context(here.wire())
            client.send_raw(client.seal(b"e" + bytes(100))[:20])
        before = cpu_seconds(relays)
        time.sleep(3)
        assert cpu_seconds(relays) - before < 0.6, "something spins"
        for _ in range(20):
            first.exchange("in between")
            with here.client() as client:
                client.exchange("anew")
        data = os.urandom(1 << 16)
        for _ in range(16):
            first.send(data)
            assert first.receive(len(data)) == data


def test_end_of_a_session_whose_client_reads_late(shop, server):
    """close_notify follows what was already on its way, even when both found no room at first."""
    here = shop(server(download_or_echo))
    with here.client() as client:
        client.send(b"d")
        wait_until(lambda: clients.waiting_bytes(client.raw))
        previous = -1
        while (now := here.edge.lines("sessions")[0]["bytes_out"]) != previous:
            previous = now
            time.sleep(0.1)  # the kernel tells nobody that its buffers are full
        here.edge.run("sessions", "close", here.edge.lines("sessions")[0]["id"])
        assert client.read_to_end().strip(b"\0") == b""  # no exception: it ended with close_notify


# ---- credits ----

def test_sessions_lost_with_a_handshaker_cost_no_credits(shop):
    here = shop(extra="max-sessions = 40")
    here.edge.tolerated = ("killed",)
    stop = threading.Event()

    def churn():
        while not stop.is_set():
            with contextlib.suppress(OSError, ssl.SSLError, EOFError), here.client(timeout=5) as client:
                client.exchange()

    threads = [threading.Thread(target=churn) for _ in range(4)]
    for thread in threads:
        thread.start()
    try:
        for _ in range(6):
            mark = here.edge.mark()
            os.kill(random.choice(here.edge.workers("handshaker")), signal.SIGKILL)
            here.edge.wait_event("process-started", since=mark, timeout=30)
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    wait_until(lambda: len(here.edge.workers("handshaker")) == 2, 20)
    with contextlib.ExitStack() as stack:
        for _ in range(30):
            stack.enter_context(here.client()).exchange()


def test_slow_handshakes_do_not_keep_others_out(shop):
    """More connections that never finish their handshake than a small window would allow."""
    here = shop()
    with contextlib.ExitStack() as stack:
        for _ in range(1500):
            slow = socket.create_connection(("127.0.0.1", here.port), 10)
            stack.callback(slow.close)
            slow.sendall(b"\x16\x03\x01")
        for _ in range(10):
            with here.client(timeout=8) as client:  # slow ones have ten seconds
                client.exchange()


# ---- processes ----

def test_stop_does_not_wait_for_slow_handshakes(shop):
    here = shop(extra="drain-timeout = 1s")
    with socket.create_connection(("127.0.0.1", here.port)) as slow:
        slow.sendall(b"\x16\x03\x01")
        with here.client() as client:
            client.exchange()
        wait_until(lambda: sum(process["sessions"] for process in here.edge.json("status")["processes"]
                               if process["kind"] == "handshaker") == 1)
        begin = time.monotonic()
        here.edge.stop()
        assert time.monotonic() - begin < 8  # a handshake has ten seconds


def test_stop_with_many_sessions(shop, server):
    """The deadline holds, and each client gets a close_notify."""
    here = shop(server(servers.quiet_echo), extra="drain-timeout = 1s")
    with contextlib.ExitStack() as stack:
        held = [stack.enter_context(here.client()) for _ in range(500)]
        for client in held:
            client.exchange()
        begin = time.monotonic()
        here.edge.process.send_signal(signal.SIGTERM)
        for client in held:
            assert client.read_to_end() == b""
            client.close()
        here.edge.wait_end()
        assert time.monotonic() - begin < 20


@pytest.mark.parametrize("kind", ["handshaker", "relay"])
def test_stopped_process_is_replaced(shop, kind):
    """One that hangs is killed by the watchdog; the others go on meanwhile."""
    here = shop()
    here.edge.tolerated = ("hung",)
    victim = here.edge.workers(kind)[0]
    os.kill(victim, signal.SIGSTOP)
    here.edge.wait_event("process-ended", timeout=40, detail=lambda text: "hung" in text)
    wait_until(lambda: here.edge.run("status", check=False).returncode == 0 and victim not in here.edge.workers(kind), 20)
    for _ in range(8):
        with here.client() as client:
            client.exchange()


def test_processes_shot_at_random(shop, server):
    """Under load, of every kind; what was not hit goes on, and afterwards nothing is left over or missing."""
    here = shop(server(servers.quiet_echo))
    here.edge.tolerated = ("killed",)
    chosen = random.Random(3)
    stop = threading.Event()
    done = []

    def churn(number):
        while not stop.is_set():
            with contextlib.suppress(OSError, ssl.SSLError, EOFError), \
                    here.client(version=("1.2", "1.3")[number % 2], timeout=5) as client:
                data = os.urandom(40000)
                for _ in range(5):
                    client.send(data)
                    assert client.receive(len(data)) == data
                    done.append(number)

    threads = [threading.Thread(target=churn, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    try:
        for kind in ("relay", "handshaker", "control", "relay", "relay", "handshaker", "control", "handshaker"):
            wait_until(lambda: here.edge.run("status", check=False).returncode == 0, 20)
            mark = here.edge.mark()
            os.kill(chosen.choice(here.edge.workers(kind)), signal.SIGKILL)
            here.edge.wait_event("process-started", since=mark, timeout=30, process=lambda name, kind=kind: name.startswith(kind))
            enough = len(done) + 50
            wait_until(lambda enough=enough: len(done) >= enough, 30, "the load stands still")
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    wait_until(lambda: here.edge.run("status", check=False).returncode == 0, 20)
    wait_until(lambda: all(process["alive"] and process["sessions"] == 0 for process in here.edge.json("status")["processes"]), 20,
               lambda: here.edge.run("status").stdout)
    assert here.edge.lines("sessions") == []


def test_nothing_accumulates(shop, server):
    """Thousands of short sessions, some of which end badly: descriptors and memory are as before."""
    here = shop(server(servers.quiet_echo))
    count = 300 if daemon.SANITIZED else 1500

    def visit(number):
        with contextlib.suppress(OSError, ssl.SSLError, EOFError), here.client(version=("1.2", "1.3")[number % 2]) as client:
            client.exchange()
            if number % 3 == 0:
                client.raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

    def round_of_visits():
        threads = [threading.Thread(target=lambda: [visit(number) for number in range(count // 4)]) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        wait_until(lambda: not here.edge.lines("sessions"))
        time.sleep(1.2)  # free pages go back once a second

    round_of_visits()
    descriptors, memory = here.edge.descriptors(), here.edge.pss("relay", "handshaker")
    round_of_visits()
    wait_until(lambda: here.edge.descriptors() == descriptors, message=lambda: f"{descriptors} became {here.edge.descriptors()}")
    if not daemon.SANITIZED:
        assert here.edge.pss("relay", "handshaker") - memory < 1024
