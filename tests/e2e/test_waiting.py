"""Nobody waits for what has happened already: wake-ups, credits and messages that were lost on the way."""

import contextlib
import os
import random
import resource
import signal
import socket
import struct
import subprocess
import threading

import pytest

import clients
import daemon
from conftest import FULL
from daemon import free_port, wait_until
from sessions import PROTECT, open_sessions

ANSWERED = 60 if daemon.SANITIZED else 20  # seconds within which everybody is served while somebody could


@contextlib.contextmanager
def stopped(*pids):
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):  # it was found to hang
                os.kill(pid, signal.SIGCONT)


@contextlib.contextmanager
def without_descriptors(pid):
    """The process can open and receive none meanwhile."""
    user, group = (int(status_of(pid, name).split()[0]) for name in ("Uid", "Gid"))

    def limit(number, check=True):
        subprocess.run(["prlimit", f"--pid={pid}", f"--nofile={number}:"], user=user, group=group, extra_groups=[],
                       stderr=subprocess.DEVNULL, check=check)

    before = resource.prlimit(os.getpid(), resource.RLIMIT_NOFILE)
    limit(3)
    try:
        yield
    finally:
        limit(before[0], check=False)  # it may have ended


@pytest.fixture
def traced(need):
    """with traced(pid, injection): strace tampers with its system calls."""
    strace = need("strace")

    @contextlib.contextmanager
    def attach(pid, *injections):
        command = [strace, "-q", "-o", "/dev/null", "-p", str(pid)]
        for injection in injections:
            command += ["-e", f"inject={injection}"]
        with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as tracer:
            try:
                wait_until(lambda: int(status_of(pid, "TracerPid")) == tracer.pid)
                yield
            finally:
                tracer.terminate()
    return attach


def status_of(pid, name):
    with open(f"/proc/{pid}/status", encoding="ascii") as status:
        return next(line.split(":", 1)[1] for line in status if line.startswith(f"{name}:"))


def serve_all(here, count):
    """So many clients at a time are served."""
    with contextlib.ExitStack() as stack:
        for client in [stack.enter_context(here.client(timeout=ANSWERED)) for _ in range(count)]:
            client.exchange()


# ---- bytes ----

def test_bytes_behind_urgent_ones(shop, server):
    """A read stops in front of urgent data: what stands behind it is read, too, though nothing more is announced."""
    def telnet(connection):
        for _ in iter(lambda: connection.socket.recv(1), b""):
            with stopped(*here.edge.workers("relay")):
                connection.socket.sendall(b"before")
                connection.socket.send(b"!", socket.MSG_OOB)
                connection.socket.sendall(b"behind")

    here = shop(server(telnet))
    with here.client(timeout=ANSWERED) as client:
        for _ in range(3):
            client.send(b"x")
            data = b""
            while not data.endswith(b"behind"):
                data += client.receive(1)
            assert data in (b"before!behind", b"beforebehind")


# ---- slots and credits ----

@pytest.fixture
def deaf_address():
    """host:port where connecting takes for ever."""
    with contextlib.ExitStack() as stack:
        listener = stack.enter_context(socket.socket())
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        for _ in range(8):
            filler = stack.enter_context(socket.socket())
            filler.setblocking(False)
            filler.connect_ex(listener.getsockname())
        yield "{}:{}".format(*listener.getsockname())


def test_slots_of_sessions_that_end_while_they_are_taken_over(shop, deaf_address):
    """Each is free once: a slot that is given to two sessions is the end of both."""
    here = shop(extra="max-sessions = 2\nworkers = 1\nupstream \"deaf\" { servers = {\"" + deaf_address + "\"}\n"
                      "connect-timeout = 60s }",
                listener='routes = {"deaf.test=deaf"}')
    with clients.Client(here.port, name="deaf.test", version="1.2"):  # which leaves nothing unread
        wait_until(lambda: here.edge.json("status")["sessions"] == 1)
    here.edge.run("upstream", "drain", f"deaf/{deaf_address}")
    assert here.edge.json("status")["sessions"] == 1
    here.edge.run("upgrade")
    wait_until(lambda: here.edge.json("status")["sessions"] == 0)
    with here.client() as first, here.client() as second:
        first.exchange()
        second.exchange()
        with pytest.raises(TimeoutError):
            here.client(timeout=1)
        first.exchange("still mine")
        second.exchange("still mine")


def test_credit_of_a_session_that_was_lost(shop, traced):
    """The relay finds that a session was lost on its way before the handshaker has counted that it was sent."""
    here = shop(extra="max-sessions = 1\nworkers = 1")
    relay, handshaker = here.edge.workers("relay")[0], here.edge.workers("handshaker")[0]
    serve_all(here, 1)
    with traced(handshaker, "sendmsg:delay_exit=400000"), without_descriptors(relay):
        with contextlib.suppress(OSError, EOFError), here.client() as client:
            client.exchange()
        here.edge.wait_event("warning", detail=lambda text: "incomplete" in text)
    serve_all(here, 1)


def test_credit_of_a_handshaker_that_dies_before_it_counts(shop, traced):
    """Its successor must not think that there is room where its last session is."""
    here = shop(extra="max-sessions = 1\nworkers = 1")
    here.edge.tolerated = ("killed",)
    handshaker, = here.edge.workers("handshaker")
    mark = here.edge.mark()
    with contextlib.ExitStack() as stack:
        with traced(handshaker, "sendmsg:delay_exit=60000000"):
            client = stack.enter_context(here.client())
            client.exchange()
            os.kill(handshaker, signal.SIGKILL)
        here.edge.wait_event("process-started", since=mark, process="handshaker/0")
        with pytest.raises(TimeoutError):
            here.client(timeout=1)
        client.exchange()
    serve_all(here, 1)


def test_few_credits_are_not_all_of_one(shop):
    """A handshaker stands still, and there is room for two: another one can serve."""
    here = shop(extra="max-sessions = 2")
    for handshaker in here.edge.workers("handshaker"):
        with stopped(handshaker):
            serve_all(here, 1)
    assert not here.edge.events_named("process-ended"), "it was waited for until it was found to hang"


# ---- wake-ups ----

def test_a_handshaker_that_cannot_accept(shop):
    """One is told of a connection and has no descriptor for it: another one takes it."""
    here = shop()
    with without_descriptors(here.edge.workers("handshaker")[0]):
        for _ in range(8):
            serve_all(here, 1)


def test_a_handshaker_that_stands_still(shop):
    here = shop()
    with stopped(here.edge.workers("handshaker")[0]):
        for _ in range(8):
            serve_all(here, 1)


def test_who_waits_when_a_drain_begins(shop):
    """They came before it."""
    here = shop()
    with contextlib.ExitStack() as stack:
        with stopped(*here.edge.workers("handshaker")):
            waiting = [stack.enter_context(socket.create_connection(("127.0.0.1", here.port), ANSWERED)) for _ in range(10)]
            for client in waiting:
                client.sendall(b"GET / HTTP/1.1\r\n\r\n")
            here.edge.run("drain")
        for client in waiting:
            assert b"this port speaks TLS" in client.makefile("rb").read()


# ---- messages ----

def test_messages_that_a_handshaker_could_not_take(shop, secure):
    """They came with descriptors when it had none left. What comes later is heard."""
    upstream, options = secure()
    here = shop(upstream, extra="workers = 1", upstream_options=f"{options}\nconnect-timeout = 1s")
    handshaker, = here.edge.workers("handshaker")
    mark = here.edge.mark()
    with without_descriptors(handshaker):
        here.replace()
        here.edge.wait_event("warning", since=mark, detail=lambda text: "incomplete" in text)
    fresh = here.replace()
    wait_until(lambda: here.leaf() == fresh.fingerprint, ANSWERED)
    with here.client(timeout=ANSWERED) as client:
        client.exchange()


def test_a_relay_that_was_not_told(shop):
    """What the supervisor said to it is lost: it ends, and a successor that knows goes on with its sessions."""
    here = shop(extra=f"workers = 1\n{PROTECT}")
    here.edge.tolerated = ("exited",)
    with contextlib.ExitStack() as stack:
        held = open_sessions(stack, here, 4)
        mark = here.edge.mark()
        with without_descriptors(here.edge.workers("relay")[0]):
            here.edge.run("reload", check=False)
            here.edge.wait_event("sessions-adopted", since=mark)
        for client in held:
            client.exchange()


def test_a_question_that_died_with_control(start, folder, authority, server, doomed):
    """A name of a folder was asked for, and who was asked is gone: its successor is asked anew."""
    certificates, port = folder / "certificates", free_port()
    certificates.mkdir()
    pair = authority.issue("one.test")
    (certificates / "one.test.pem").write_bytes(pair.chain_pem + pair.key_pem)
    edge = start(f"""
        listener "edge" {{ bind = {{"127.0.0.1:{port}"}} certificates = {{"many"}} upstream = "app" }}
        upstream "app" {{ servers = {{"{server().address}"}} }}
        certificate "many" {{ from = files folder = "{certificates}" }}
        """)
    edge.tolerated = ("killed",)
    with doomed(edge.workers("control")[0], "sendmsg"), \
            clients.Client(port, authority.root_path, name="one.test", timeout=ANSWERED) as client:
        client.exchange()


def test_more_questions_than_a_channel_holds(start, authority, folder, server):
    """A thousand certificates are files that control asks the supervisor for: none of the questions is lost."""
    port = free_port()
    chain, key = authority.issue(clients.NAME).write(folder)
    certificates = "\n".join(f'certificate "c{i}" {{ names = {{"{clients.NAME}"}} from = files chain = "{chain}" key = "{key}" }}'
                             for i in range(1000))
    edge = start(f"""
        listener "edge" {{ bind = {{"127.0.0.1:{port}"}} certificates = {{"c0"}} upstream = "app" }}
        upstream "app" {{ servers = {{"{server().address}"}} }}
        {certificates}
        """)
    with clients.Client(port, authority.root_path) as client:
        client.exchange()
    assert {entry["state"] for entry in edge.lines("certs")} == {"live"}


# ---- the end ----

def test_a_stop_with_a_relay_that_cannot_be_started(shop, traced):
    here = shop(extra=f"workers = 1\n{PROTECT}\ndrain-timeout = 1s")
    here.edge.tolerated = ("killed",)
    with contextlib.ExitStack() as stack:
        open_sessions(stack, here, 1)
        with traced(here.edge.process.pid, "clone,clone3,fork,vfork:error=EAGAIN"):
            os.kill(here.edge.workers("relay")[0], signal.SIGKILL)
            here.edge.wait_event("warning", detail=lambda text: "cannot fork" in text)
            here.edge.stop(timeout=ANSWERED)


# ---- all of it, in any order ----

class Crowd:
    """As many clients as there is room for, coming and going in every way; nobody may hang."""

    def __init__(self, here, size, seed):
        self.here, self.served, self.hung = here, [0] * size, []
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._visit, args=(number, random.Random(f"{seed} {number}")))
                         for number in range(size)]

    def _visit(self, number, chance):
        while not self._stop.is_set():
            try:
                with self.here.client(version=chance.choice(("1.2", "1.3")), timeout=ANSWERED) as client:
                    for _ in range(chance.randint(1, 4)):
                        client.exchange()
                    self.served[number] += 1
                    self._part(client, chance.choice(("close", "half", "reset")))
            except TimeoutError as error:
                self.hung.append(error)
            except (OSError, EOFError):
                pass  # it was with somebody who was killed

    @staticmethod
    def _part(client, how):
        if how == "half":
            socket.socket.shutdown(client.socket, socket.SHUT_WR)
        elif how == "reset":
            client.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

    def __enter__(self):
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_):
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def see_everybody_served(self):
        before = list(self.served)
        wait_until(lambda: all(now > then for now, then in zip(self.served, before)), 2 * ANSWERED, lambda: str(self.hung))


def disturb(here, chance):
    """Something happens to one of the processes, or to all."""
    kind = chance.choice(("handshaker", "relay"))
    how = chance.choice(("kill", "kill", "stop", "starve", "upgrade"))
    with contextlib.suppress(OSError, IndexError, subprocess.CalledProcessError):  # it is just ending by itself
        victim = chance.choice(here.edge.workers(kind))
        if how == "kill":
            os.kill(victim, signal.SIGKILL)
        elif how == "upgrade":
            here.edge.run("upgrade", check=False)
        else:
            with stopped(victim) if how == "stop" else without_descriptors(victim):
                here.edge.run("status")


@pytest.mark.parametrize("seed", range(40 if FULL else 2))
def test_everybody_is_served_whatever_happens(shop, seed):
    chance = random.Random(seed)
    here = shop(extra=f"max-sessions = {chance.randint(2, 6)}\nworkers = {chance.randint(1, 3)}\n{PROTECT}")
    here.edge.tolerated = ("killed", "exited")
    capacity = here.edge.json("status")["capacity"]
    with Crowd(here, capacity, seed) as crowd:
        for _ in range(8):
            disturb(here, chance)
            crowd.see_everybody_served()
    assert not crowd.hung
    wait_until(lambda: here.edge.json("status")["sessions"] == 0)
    serve_all(here, capacity)  # and every slot is free again
