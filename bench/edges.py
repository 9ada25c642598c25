"""Contestants of the hand-over measure as they run: how each is reloaded and upgraded, and the client with its long sessions."""

import contextlib
import json
import os
import shutil
import signal
import subprocess
import time
from dataclasses import dataclass, field

from contestants import haproxy, nginx_stream
from processes import stat_fields

WORKERS = 2
PATIENCE = 30  # seconds for one reload or upgrade


class Client:
    """bench/handover.c or resumption.c: one order, one answer."""

    def __init__(self, bench, port, suite, seconds, tool="handover"):
        log = os.path.join(bench.folder, tool + ".log")
        self.program = bench.start([os.path.join(bench.folder, tool), str(port), str(seconds), suite], None, log,
                                   realtime=os.geteuid() == 0, stdin=subprocess.PIPE, stdout=subprocess.PIPE)

    def order(self, text):
        self.program.process.stdin.write(text.encode() + b"\n")
        self.program.process.stdin.flush()
        line = self.program.process.stdout.readline().decode()
        if not line:
            raise RuntimeError(f"{text}: {self.program.log_tail() or 'the client ended'}")
        return json.loads(line) if line.startswith("{") else line.strip()


def wait_for(condition, what, interval=0.002, patience=PATIENCE):
    deadline = time.monotonic() + patience
    while not (value := condition()):
        if time.monotonic() > deadline:
            raise RuntimeError(f"{what}: not within {patience} s")
        time.sleep(interval)
    return value


def alive(pid):
    try:
        with open(f"/proc/{pid}/stat", encoding="ascii", errors="replace") as file:
            return file.read().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


@dataclass
class Edge:
    """A started contestant."""
    bench: object
    contestant: object
    sessions: int = 0
    program: object = field(init=False)
    client: Client = field(init=False)

    def __post_init__(self):
        upstream = self.bench.start_upstream(realtime=os.geteuid() == 0)
        self.program, port = self.bench.start_contestant(self.contestant, upstream, core=None, workers=WORKERS)
        self.client = Client(self.bench, port, self.bench.suite, 600)

    def open(self, count):
        if self.client.order(f"open {count}")["lost"]:
            raise RuntimeError(f"sessions could not be opened: {self.client.program.log_tail()}")
        self.sessions += count

    def lost(self):
        """Sessions that do not answer any more."""
        return self.client.order("ask")["lost"]

    def signal_and_wait(self, number, pid=None):
        """Until the signal has brought a process that was not there. HAProxy's master misses signals while it starts: say it
        again."""
        before, said = set(self.program.processes()), 0.0

        def arrived():
            nonlocal said
            if time.monotonic() - said > 2:
                os.kill(pid or self.program.pid, number)
                said = time.monotonic()
            return set(filter(alive, self.program.processes())) - before
        wait_for(arrived, f"{self.contestant.name}, signal {number}")
        self.program.wait_tls(self.program.port)

    def processes(self):
        return [pid for pid in self.program.processes() if alive(pid)]


class Holdfast(Edge):
    def verb(self, *arguments):
        return subprocess.run([self.bench.arguments.holdfast, *arguments, "-c", self.program.config], capture_output=True,
                              text=True, timeout=PATIENCE, check=False)

    def do(self, verb):
        done = self.verb(verb)
        if done.returncode != 0:
            raise RuntimeError(f"{verb}: {done.stderr.strip()}")

    def reload(self):
        self.do("reload")

    def upgrade(self):
        self.do("upgrade")

    def status(self):
        def ask():
            done = self.verb("status", "--json")
            return json.loads(done.stdout) if done.returncode == 0 else None
        return wait_for(ask, "status", 0.05)

    def relays(self):
        return [process for process in self.status()["processes"] if process["kind"] == "relay"]

    def worker(self):
        return self.relays()[0]["pid"]

    def wait_whole(self, gone):
        """Every process is there and none of `gone` is."""
        wait_for(lambda: all(process["alive"] and process["pid"] not in gone for process in self.status()["processes"]),
                 "the successors", 0.05)  # each question costs CPU time of the family


class Nginx(Edge):
    def __post_init__(self):
        super().__post_init__()
        wait_for(lambda: int(stat_fields(self.master())[1]) not in self.program.processes(), "an orphaned master")

    def master(self):
        with contextlib.suppress(OSError, ValueError):
            with open(os.path.join(self.program.folder, "nginx.pid"), encoding="ascii") as file:
                return int(file.read())
        return None

    def reload(self):
        self.signal_and_wait(signal.SIGHUP, self.master())

    def upgrade(self):
        old = self.master()
        self.signal_and_wait(signal.SIGUSR2, old)
        wait_for(lambda: self.master() not in (None, old), "the new master")
        os.kill(old, signal.SIGQUIT)

    def worker(self):
        return self.processes()[-1]

    def processes(self):
        return [pid for pid in super().processes() if pid != self.program.pid]


class Haproxy(Edge):
    def reload(self):
        self.signal_and_wait(signal.SIGUSR2)

    upgrade = reload  # the same: the master executes itself again

    def worker(self):
        return self.processes()[-1]


def haproxy_with_master(setup):
    command = haproxy(setup)
    return [command[0], "-W", *command[1:]]


def nginx_without_parent(setup):
    """nginx refuses to exchange its binary while the process that started it lives."""
    command = nginx_stream(setup)
    return ["sh", "-c", '("$@" & sleep 0.2); exec sleep 3600', "sh", shutil.which(command[0]), *command[1:]]


COMMANDS = {"haproxy": haproxy_with_master, "nginx-stream": nginx_without_parent}
EDGES = {"holdfast": Holdfast, "nginx-stream": Nginx, "haproxy": Haproxy}
