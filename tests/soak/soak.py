"""The soak: many sessions of mixed clients that check every byte, while everything under them is killed, replaced and changed.

`Soak` arranges edge, upstream and clients; `storm` does things to them. What was promised is checked by `Soak.finish`. Used by
tests/e2e/test_soak.py and by `make soak` (tests/soak/run)."""

import contextlib
import json
import os
import queue
import random
import re
import shutil
import signal
import ssl
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "e2e"))

# pylint: disable=wrong-import-position
import clients  # noqa: E402
import daemon  # noqa: E402
from daemon import wait_until  # noqa: E402

TOOLS = daemon.BINARY.parent / "tests" / "soak"
READY_TIMEOUT = 120
PATIENCE = 60  # for one thing that was done to the edge to be over
MEMORY_GROWTH = 0.05
CRASH = signal.SIGABRT if daemon.SANITIZED else signal.SIGSEGV  # AddressSanitizer takes SIGSEGV for its own
KEY_LIMIT = "AES/GCM/NoPadding KeyUpdate 2^20"  # makes Java renew its keys after each MiB


@dataclass
class Kind:
    """One make of client: `share` of all sessions."""
    name: str
    share: float
    program: str = None  # what must be installed; None: built beside the daemon

    def missing(self):
        if self.program:
            return None if shutil.which(self.program) else f"{self.program} is not installed"
        return None if (TOOLS / f"soak-{self.name}").exists() else f"{TOOLS}/soak-{self.name} was not built (is its library there? meson setup --reconfigure)"

    def command(self, folder):
        if self.name == "node":
            return ["node", HERE / "client.js"]
        if self.name == "java":
            limits = folder / "java.security"
            limits.write_text(f"jdk.tls.keyLimits={KEY_LIMIT}\n")
            return ["java", "-XX:TieredStopAtLevel=1", "-Xmx512m", f"-Djava.security.properties={limits}",
                    HERE / "SoakClient.java"]
        return [TOOLS / f"soak-{self.name}"]


KINDS = [Kind("openssl", 0.45), Kind("gnutls", 0.25), Kind("node", 0.2, "node"), Kind("java", 0.1, "java")]


class Client:
    """One client process with its many sessions."""

    def __init__(self, kind, folder, first, sessions, **arguments):
        self.name, self.sessions = kind.name, sessions
        self.errors_path = folder / f"{kind.name}.stderr"
        pairs = [f"{key}={value}" for key, value in {**arguments, "first": first, "sessions": sessions}.items()]
        with open(self.errors_path, "w", encoding="utf-8") as errors:
            self.process = subprocess.Popen([*map(str, kind.command(folder)), *pairs], stdin=subprocess.PIPE,
                                            stdout=subprocess.PIPE, stderr=errors, text=True)
        self._lines = queue.Queue()
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self):
        for line in self.process.stdout:
            self._lines.put(line.strip())
        self._lines.put(None)

    def read_line(self, timeout):
        try:
            line = self._lines.get(timeout=timeout)
        except queue.Empty:
            line = None
        assert line is not None, f"{self.name}: no answer; exit code {self.process.poll()}\n{self.errors()}"
        return line

    def wait_line(self, word, timeout=PATIENCE + 60):
        line = self.read_line(timeout)
        assert line == word, f"{self.name}: {line!r} instead of {word!r}"

    def order(self, word):
        with contextlib.suppress(BrokenPipeError):
            self.process.stdin.write(f"{word}\n")
            self.process.stdin.flush()

    def errors(self):
        return self.errors_path.read_text(errors="replace")[-4000:]

    def check_alive(self):
        assert self.process.poll() is None, f"{self.name} ended (code {self.process.returncode})\n{self.errors()}"

    def close(self):
        self.process.kill()
        self.process.wait()
        self.process.stdin.close()


class Churn:
    """Short connections all the time. What is lost of them is nobody's fault; a wrong byte is."""

    def __init__(self, ports, root):
        self.visits = self.refused = 0
        self.fault = None
        self._ports, self._root = ports, root
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self):
        number = 0
        while not self._stop.wait(0.02):
            number += 1
            try:
                with clients.Client(self._ports[number % len(self._ports)], self._root, version=("1.2", "1.3")[number % 2],
                                    timeout=10) as client:
                    client.exchange()
                self.visits += 1
            except (OSError, ssl.SSLError, EOFError):
                self.refused += 1
            except AssertionError as error:
                self.fault = str(error)

    def stop(self):
        self._stop.set()
        self._thread.join()
        assert self.fault is None, self.fault


class Soak:
    """Edge, upstream and clients. `protect-after` is short: every session that counts is older before anything is done."""

    def __init__(self, folder, authority, sessions, seed, pace=100, kinds=None, extra="", workers=2):
        self.folder, self.authority = Path(folder), authority
        self.dice = random.Random(seed)
        self.seed, self.pace, self.sessions, self.extra, self.workers = seed, pace, sessions, extra, workers
        self.kinds = [kind for kind in KINDS if kinds is None or kind.name in kinds]
        self.clients, self.skipped, self.done = [], [], {}
        self.protect = os.environ.get("PROTECT","protect-after = 100ms")
        self.crashes = 0  # each may cost the one session that the relay had in hand
        self.deaths = 0   # each may cost one whose Unix socket was in use that moment: those have no counters to ask
        self.config_number = 0
        self.edge = self.echo = self.churn = None

    # ---- beginning and end ----

    def __enter__(self):
        try:
            self._start_echo()
            self._start_edge()
            self._start_clients()
        except BaseException:
            self.__exit__(*sys.exc_info())
            raise
        return self

    def __exit__(self, kind, *rest):
        if self.churn:
            with contextlib.suppress(AssertionError):
                self.churn.stop()
        for client in self.clients:
            client.close()
        if self.edge:
            self.edge.__exit__(kind, *rest)
        if self.echo:
            self.echo.kill()
            self.echo.wait()
            self.echo.stdout.close()

    def _start_echo(self):
        chain, key = self.authority.issue("app.test").write(self.folder, "app")
        path = self.folder / "app.sock"
        self.echo = subprocess.Popen([TOOLS / "soak-echo", path, chain, key], stdout=subprocess.PIPE, text=True)
        plain, tls = self.echo.stdout.readline().split()
        self.upstreams = {
            "plain": f'servers = {{"127.0.0.1:{plain}"}}',
            "tls": f'servers = {{"127.0.0.1:{tls}"}}\ntls = yes\ntls-trust = "{self.authority.root_path}"\ntls-name = "app.test"',
            "unix": f'servers = {{"unix:{path}"}}',
        }
        self.ports = {name: daemon.free_port() for name in self.upstreams}
        self.spare_port = daemon.free_port()

    def _start_edge(self):
        self.replace_certificate()
        edge = daemon.Holdfast(self.folder, self.config())
        edge.tolerated = ("killed", "crashed")
        self.edge = edge
        self.edge.start()

    def config(self):
        """Differs with config_number: a listener comes and goes, a limit and a time-out change."""
        sections = [f"""
            listener "{name}" {{
                bind = {{"127.0.0.1:{port}"}}
                certificates = {{"{clients.NAME}"}}
                upstream = "{name}"
                half-close-timeout = {60 + self.config_number % 7}s
            }}
            upstream "{name}" {{
                {self.upstreams[name]}
            }}""" for name, port in self.ports.items()]
        if self.config_number % 2:
            sections.append(f"""
            listener "spare" {{
                bind = {{"127.0.0.1:{self.spare_port}"}}
                certificates = {{"{clients.NAME}"}}
                upstream = "plain"
                max-connections = {100 + self.config_number}
            }}""")
        return f"""
            workers = {self.workers}
            {self.protect}
            {self.extra}
            {"".join(sections)}
            certificate "{clients.NAME}" {{
                names = {{"{clients.NAME}"}}
                from = files
                chain = "{self.folder / "leaf.pem"}"
                key = "{self.folder / "leaf.key"}"
            }}
        """

    def _start_clients(self):
        common = {"ports": ",".join(map(str, self.ports.values())), "root": self.authority.root_path, "name": clients.NAME,
                  "pace": self.pace}
        present = []
        for kind in self.kinds:
            reason = kind.missing()
            if reason:
                self.skipped.append(f"{kind.name}: {reason}")
            else:
                present.append(kind)
        assert present, f"no client is here: {self.skipped}"
        whole, first = sum(kind.share for kind in present), 0
        for kind in present:
            last = kind is present[-1]
            count = self.sessions - first if last else round(self.sessions * kind.share / whole)
            self.clients.append(Client(kind, self.folder, first, count, seed=self.dice.randrange(1, 1 << 31), **common))
            first += count
        for client in self.clients:
            client.wait_line("ready", READY_TIMEOUT)
        wait_until(lambda: not self.edge.lines("sessions", "--younger", "1s"), 30, "sessions that do not grow old")
        self.held = self.session_ids()
        assert len(self.held) == self.sessions, \
            f"{len(self.held)} of {self.sessions} sessions stand\n{''.join(client.errors() for client in self.clients)}"

    def finish(self, memory_before=None):
        """Ends the sessions; checks what was promised; the summary."""
        if self.churn:
            self.churn.stop()
        memory = self.quiet_memory(memory_before)
        left = self.session_ids()
        for client in self.clients:
            client.order("finish")
        results = [json.loads(client.read_line(PATIENCE + 60)) for client in self.clients]
        lost = sum(result["lost"] for result in results)
        summary = {"seed": self.seed, "sessions": self.sessions, "lost": lost, "crashes": self.crashes, "done": self.done,
                   "messages": sum(result["messages"] for result in results),
                   "bytes": sum(result["bytes"] for result in results),
                   "key_updates": sum(result["key_updates"] for result in results),
                   "longest_wait_ms": max(result["longest_wait_ms"] for result in results),
                   "memory_kib": {"before": memory_before, "after": memory}, "clients": results, "skipped": self.skipped}
        if self.churn:
            summary["short_sessions"] = {"served": self.churn.visits, "failed": self.churn.refused}
        errors = "".join(client.errors() for client in self.clients)
        told = f"{json.dumps(summary)}\n{errors}"
        lost_unix = len(re.findall(rf"port {self.ports['unix']}\) lost:", errors))
        assert lost - lost_unix <= self.crashes and lost <= self.crashes + self.deaths, told
        assert len(self.held - left) <= lost, f"sessions were opened again: {sorted(self.held - left)[:10]}\n{told}"
        wait_until(lambda: not self.edge.lines("sessions"), 20, lambda: f"sessions are left over: {self.edge.lines('sessions')[:5]}")
        self.check_family()
        return summary

    # ---- looking ----

    def session_ids(self):
        return {session["id"] for session in self.edge.lines("sessions")}

    def status(self):
        """Waits for control to answer: it may just have been killed."""
        def ask():
            result = self.edge.run("status", "--json", check=False)
            return json.loads(result.stdout) if result.returncode == 0 else None
        return wait_until(ask, PATIENCE, "the control process does not answer")

    def pids(self, kind):
        return [process["pid"] for process in self.status()["processes"] if process["kind"] == kind]

    def whole(self):
        """Every process of the configuration is there, and said so itself."""
        processes = self.status()["processes"]
        return all(process["alive"] for process in processes) and processes

    def check_family(self):
        """No process but those that the status names, wherever it hangs in the tree."""
        wait_until(self.whole, PATIENCE)

        def stranger():
            return set(session_members(self.edge.process.pid)) - {process["pid"] for process in self.status()["processes"]}
        wait_until(lambda: not stranger(), 20, lambda: f"processes are left over: {stranger()}")

    def memory(self):
        """KiB of the whole family, shared memory counted once, without mapped files: their share changes with other programs."""
        total = 0
        for pid in session_members(self.edge.process.pid):
            with contextlib.suppress(OSError):
                text = Path(f"/proc/{pid}/smaps_rollup").read_text(encoding="ascii")
                total += sum(map(int, re.findall(r"^Pss_(?:Anon|Shmem):\s+(\d+)", text, re.M)))
        return total

    def quiet_memory(self, before=None):
        """The memory while nothing is under way; with `before`, waits until it has come down to that."""
        for client in self.clients:
            client.order("pause")
        for client in self.clients:
            client.wait_line("paused")
        if before is None:
            previous = None  # freed pages go back once a second
            while (now := self.memory()) != previous:
                previous = now
                time.sleep(1.2)
            memory = now
        else:
            limit = before * (1 + MEMORY_GROWTH)
            memory = wait_until(lambda: (now := self.memory()) <= limit and now, 20,
                                lambda: f"{self.memory()} KiB after {before} KiB: {self.memory_by_process()}; done: {self.done}")
        for client in self.clients:
            client.order("resume")
        return memory

    def memory_by_process(self):
        found = {}
        for process in self.status()["processes"]:
            with contextlib.suppress(OSError):
                text = Path(f"/proc/{process['pid']}/smaps_rollup").read_text(encoding="ascii")
                found[f"{process['kind']} {process['pid']}"] = dict(re.findall(r"^(Pss_Anon|Pss_Shmem):\s+(\d+)", text, re.M))
        return found

    # ---- doing ----

    def replace_certificate(self):
        pair = self.authority.issue(clients.NAME)
        pair.write(self.folder, "leaf")
        return pair

    def do(self, name):
        self.done[name] = self.done.get(name, 0) + 1
        mark = self.edge.mark()
        ACTIONS[name](self, mark)
        for client in self.clients:
            client.check_alive()

    def kill(self, kind, mark, with_signal=signal.SIGKILL):
        victim = self.dice.choice(self.pids(kind))
        self.deaths += kind == "relay"
        os.kill(victim, with_signal)
        self.edge.wait_event("process-started", since=mark, timeout=PATIENCE,
                             process=lambda name: name is not None and name.startswith(kind))
        wait_until(lambda: self.whole() and victim not in self.pids(kind), PATIENCE)

    def crash_relay(self, mark):
        self.crashes += 1
        self.kill("relay", mark, CRASH)

    def stop_relay(self, mark):
        """The watchdog takes it for hung and kills it; only then may its successor begin."""
        self.deaths += 1
        victim = self.dice.choice(self.pids("relay"))
        os.kill(victim, signal.SIGSTOP)
        self.edge.wait_event("process-ended", since=mark, timeout=PATIENCE, detail=lambda text: "hung" in (text or ""))
        wait_until(lambda: self.whole() and victim not in self.pids("relay"), PATIENCE)

    def certificate(self, _):
        pair = self.replace_certificate()
        port, number = self.ports["plain"], 0

        def served():
            nonlocal number
            number += 1
            with contextlib.suppress(OSError, ssl.SSLError):
                return clients.leaf(port, self.authority.root_path) == pair.fingerprint
            return False
        wait_until(served, PATIENCE, "the new certificate is not served")

    def reload(self, _):
        self.config_number += 1
        self.edge.write_config(self.config())
        self.edge.run("reload", timeout=PATIENCE)

    def refused_reload(self, _):
        """A configuration that is wrong changes nothing."""
        self.edge.write_config(self.config().replace("from = files", "from = nowhere"))
        try:
            assert self.edge.run("reload", check=False, timeout=PATIENCE).returncode != 0
        finally:
            self.edge.write_config(self.config())

    def upgrade(self, mark):
        before = self.edge.process.pid
        self.edge.run("upgrade", timeout=PATIENCE)
        self.edge.wait_event("upgraded", since=mark)
        assert self.edge.process.poll() is None and self.edge.process.pid == before

    def upgrade_by_signal(self, mark):
        self.edge.process.send_signal(signal.SIGUSR2)
        self.edge.wait_event("upgraded", since=mark, timeout=PATIENCE)
        wait_until(self.whole, PATIENCE)

    def refused_upgrade(self, _):
        """A program that is no Holdfast changes nothing."""
        assert self.edge.run("upgrade", "/bin/false", check=False, timeout=PATIENCE).returncode != 0
        wait_until(self.whole, PATIENCE)

    def start_verb(self, *arguments):
        return subprocess.Popen([daemon.BINARY, *arguments, "-c", self.edge.config_path], stdout=subprocess.DEVNULL,
                                stderr=subprocess.DEVNULL)

    def upgrade_with_stopped_relay(self, _):
        """The old relay is stopped at some instant of the upgrade, and goes on when it is over: it has nothing more to say."""
        self.deaths += 1
        victim = self.dice.choice(self.pids("relay"))
        with self.start_verb("upgrade") as order:
            time.sleep(self.dice.uniform(0, 0.4))
            with contextlib.suppress(ProcessLookupError):
                os.kill(victim, signal.SIGSTOP)
            assert order.wait(PATIENCE) == 0
        with contextlib.suppress(ProcessLookupError):
            os.kill(victim, signal.SIGCONT)
        wait_until(lambda: self.whole() and victim not in self.pids("relay"), PATIENCE)

    def all_at_once(self, _):
        """An upgrade, a reload and a death in any order. Any of the orders may be refused or taken back; no session pays for it."""
        self.deaths += 1
        victim = self.dice.choice([process["pid"] for process in self.status()["processes"] if process["kind"] != "supervisor"])
        steps = [lambda: self.start_verb("upgrade"), lambda: self.start_verb("reload"), lambda: os.kill(victim, signal.SIGKILL)]
        self.dice.shuffle(steps)
        orders = []
        for step in steps:
            with contextlib.suppress(ProcessLookupError):
                orders.append(step())
            time.sleep(self.dice.uniform(0, 0.3))
        for order in filter(None, orders):
            order.wait(PATIENCE)
        wait_until(self.whole, PATIENCE)


ACTIONS = {
    "kill-relay": lambda soak, mark: soak.kill("relay", mark),
    "kill-handshaker": lambda soak, mark: soak.kill("handshaker", mark),
    "kill-control": lambda soak, mark: soak.kill("control", mark),
    "crash-relay": Soak.crash_relay,
    "stop-relay": Soak.stop_relay,
    "certificate": Soak.certificate,
    "reload": Soak.reload,
    "refused-reload": Soak.refused_reload,
    "upgrade": Soak.upgrade,
    "upgrade-by-signal": Soak.upgrade_by_signal,
    "refused-upgrade": Soak.refused_upgrade,
    "upgrade-with-stopped-relay": Soak.upgrade_with_stopped_relay,
    "all-at-once": Soak.all_at_once,
}
# How often what comes in a storm. A stopped relay is left out: the watchdog gives it long to go on.
STORM = {"kill-relay": 8, "crash-relay": 3, "kill-handshaker": 3, "kill-control": 2, "certificate": 2, "reload": 4,
         "refused-reload": 1, "upgrade": 3, "upgrade-by-signal": 1, "refused-upgrade": 1, "all-at-once": 3}


def session_members(session):
    """PIDs of all processes of a session of the kernel's, zombies left out."""
    found = []
    for name in os.listdir("/proc"):
        if name.isdigit():
            with contextlib.suppress(OSError):
                fields = Path(f"/proc/{name}/stat").read_text(encoding="ascii", errors="replace").rpartition(")")[2].split()
                if int(fields[3]) == session and fields[0] != "Z":
                    found.append(int(name))
    return found


def storm(soak, seconds, actions=None):
    """Each action once in random order, then by chance until the time is over."""
    weights = {name: STORM.get(name, 1) for name in actions or STORM}
    soak.churn = soak.churn or Churn(list(soak.ports.values()), soak.authority.root_path)
    order = list(weights)
    soak.dice.shuffle(order)
    end = time.monotonic() + seconds
    while order or time.monotonic() < end:
        soak.do(order.pop() if order else soak.dice.choices(list(weights), list(weights.values()))[0])
        time.sleep(soak.dice.uniform(0, 0.3))  # not every fault meets the traces of the one before


def folder_for_workers():
    """A folder that unprivileged processes may enter, too."""
    path = Path(tempfile.mkdtemp(prefix="holdfast-soak-"))
    path.chmod(0o755)
    return path
