"""The soak: many sessions of mixed clients that check every byte, while everything under them is killed, replaced and changed.

`Soak` arranges edge, upstream and clients (load.py) and checks in the end what was promised; faults.py says what is done to them.
Used by tests/e2e/test_soak.py and by `make soak` (tests/soak/run)."""

import contextlib
import json
import os
import random
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "e2e"))

# pylint: disable=wrong-import-position
import clients  # noqa: E402
import daemon  # noqa: E402
from daemon import wait_until  # noqa: E402
import faults  # noqa: E402
from load import KINDS, TOOLS, Churn, Client  # noqa: E402

PATIENCE = faults.PATIENCE
READY_TIMEOUT = 120
MEMORY_GROWTH = 0.05


class Soak:
    """Edge, upstream and clients. `protect-after` is short: every session that counts is older before anything is done."""

    def __init__(self, folder, authority, sessions, seed, pace=100, kinds=None, extra="", workers=2):
        self.folder, self.authority = Path(folder), authority
        self.dice = random.Random(seed)
        self.seed, self.pace, self.sessions, self.extra, self.workers = seed, pace, sessions, extra, workers
        self.kinds = [kind for kind in KINDS if kinds is None or kind.name in kinds]
        self.clients, self.skipped, self.done = [], [], {}
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
            protect-after = 100ms
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
        results = [json.loads(client.read_line()) for client in self.clients]
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
        wait_until(lambda: not self.edge.lines("sessions"), 20,
                   lambda: f"sessions are left over: {self.edge.lines('sessions')[:5]}")
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
            memory, now = float("inf"), self.memory()
            while now < memory:  # freed pages go back once a second
                memory = now
                time.sleep(1.2)
                now = self.memory()
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

    def start_churn(self):
        self.churn = self.churn or Churn(list(self.ports.values()), self.authority.root_path)

    def replace_certificate(self):
        pair = self.authority.issue(clients.NAME)
        pair.write(self.folder, "leaf")
        return pair

    def do(self, name):
        self.done[name] = self.done.get(name, 0) + 1
        mark = self.edge.mark()
        faults.ACTIONS[name](self, mark)
        for client in self.clients:
            client.check_alive()

    def start_verb(self, *arguments):
        return subprocess.Popen([daemon.BINARY, *arguments, "-c", self.edge.config_path], stdout=subprocess.DEVNULL,
                                stderr=subprocess.DEVNULL)


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


def folder_for_workers():
    """A folder that unprivileged processes may enter, too."""
    path = Path(tempfile.mkdtemp(prefix="holdfast-soak-"))
    path.chmod(0o755)
    return path
