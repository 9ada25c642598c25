"""The program under test as a running daemon: its events, its processes, its end."""

import contextlib
import json
import os
import re
import signal
import socket
import subprocess
import threading
import time
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
BINARY = Path(os.environ.get("HOLDFAST", REPOSITORY / "build" / "holdfast")).resolve()
FAULTY = BINARY.parent / "tests" / "faulty" / "holdfast-faulty"  # the same with faults on purpose (base/fault.h)
SANITIZED = BINARY.exists() and b"__asan_init" in BINARY.read_bytes()  # slower, and hungrier for memory
START_TIMEOUT = 60 if SANITIZED else 20
PATIENCE = 30  # seconds for what is to come soon: other work may have the machine for a while
_next_port = os.getpid()  # another test run on this machine seldom begins at the same place


def free_port():
    """A loopback port outside the range that the system gives to outgoing connections, unique among parallel test runs."""
    global _next_port
    worker = int(re.sub(r"\D", "", os.environ.get("PYTEST_XDIST_WORKER", "")) or 0)
    while True:
        port = 12000 + worker * 1000 + _next_port % 1000
        _next_port += 1
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(("127.0.0.1", port))
            return port


def holdfast(*arguments, check=True, timeout=60, **options):
    """Runs a verb to its end."""
    result = subprocess.run([BINARY, *map(str, arguments)], capture_output=True, text=True, timeout=timeout, check=False,
                            **options)
    assert_no_sanitizer_report(result.stderr)
    if check:
        assert result.returncode == 0, \
            f"holdfast {' '.join(map(str, arguments))}: exit code {result.returncode}\n{result.stdout}{result.stderr}"
    return result


def assert_no_sanitizer_report(text):
    assert "Sanitizer" not in text and "runtime error:" not in text, text


def _children(pid):
    with contextlib.suppress(OSError):
        for task in Path(f"/proc/{pid}/task").iterdir():
            for child in (task / "children").read_text().split():
                yield int(child)


def _alive(pid):
    try:
        return "\nState:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return False


class Holdfast:
    """`with Holdfast(folder, config) as edge:` starts it, waits until it is ready and checks its clean end."""

    def __init__(self, folder, config, environment=None, descriptor_limit=None, binary=BINARY):
        self.folder = Path(folder)
        self.state_folder = self.folder / "state"
        self.config_path = self.folder / "holdfast.conf"
        self.errors_path = self.folder / "stderr"
        self.events = []
        self.tolerated = ()  # reasons why a worker may end before the stop
        self._news = threading.Condition()
        self._environment = {**os.environ, **(environment or {})}
        self._descriptor_limit = descriptor_limit
        self._binary = binary
        self.process = None
        self.write_config(config)

    def write_config(self, config):
        if "state-folder" not in config:
            config = f'state-folder = "{self.state_folder}"\n{config}'
        for option, value in (("workers", "2"), ("drain-timeout", "5s")):
            if not re.search(rf"^\s*{option}\b", config, re.M):
                config = f"{option} = {value}\n{config}"
        self.config_path.write_text(config)

    # ---- life ----

    def launch(self):
        command = [str(self._binary), "run", "-c", str(self.config_path)]
        if self._descriptor_limit:
            command = ["prlimit", f"--nofile={self._descriptor_limit}:{self._descriptor_limit}", *command]
        with open(self.errors_path, "w", encoding="utf-8") as errors:
            self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=errors, stdin=subprocess.DEVNULL,
                                            env=self._environment, start_new_session=True)
        self._reader = threading.Thread(target=self._collect, args=(self.process.stdout,), daemon=True)
        self._reader.start()
        return self

    def start(self):
        self.launch()
        try:
            self.wait_event("ready", timeout=START_TIMEOUT)
        except BaseException:
            self.kill()
            raise
        return self

    def _collect(self, stream):
        for line in stream:
            try:
                event = json.loads(line)
            except ValueError:
                event = {"event": "not-json", "line": line}
            event["_seen"] = time.monotonic()
            with self._news:
                self.events.append(event)
                self._news.notify_all()
        with self._news:
            self._news.notify_all()

    def stop(self, timeout=60):
        """SIGTERM; asserts exit code 0, an empty process group and no report of a sanitizer."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        return self.wait_end(timeout)

    def wait_end(self, timeout=60, code=0):
        family = self.processes()
        try:
            self.process.wait(timeout)
        except subprocess.TimeoutExpired:
            self.kill()
            pytest.fail(f"the daemon did not end within {timeout} s\n{self.errors()}")
        self._reader.join(PATIENCE)
        wait_until(lambda: not any(_alive(pid) for pid in family), PATIENCE, "processes are left over")
        assert_no_sanitizer_report(self.errors())
        assert self.process.returncode == code, f"exit code {self.process.returncode}\n{self.errors()}"
        assert not self.events_named("not-json"), self.events_named("not-json")

    def kill(self):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait(PATIENCE)

    def errors(self):
        return self.errors_path.read_text(errors="replace")

    def __enter__(self):
        return self.start()

    def __exit__(self, kind, *_):
        if self.process.poll() is not None and kind is None and self.process.returncode == 0:
            return
        if kind is not None:
            self.kill()
            return
        self.stop()
        unexpected = [event for event in self.events_named("process-ended")
                      if event["_seen"] < self._stopping_at() and event["detail"] != "replaced" and not self.tolerated]
        assert not unexpected, unexpected

    def _stopping_at(self):
        stopping = self.events_named("stopping")
        return stopping[0]["_seen"] if stopping else float("inf")

    # ---- events ----

    def events_named(self, name, **fields):
        with self._news:
            return [event for event in self.events if _matches(event, name, fields)]

    def mark(self):
        """A position in the events; give it to wait_event as `since`."""
        with self._news:
            return len(self.events)

    def wait_event(self, name, timeout=PATIENCE, since=0, count=1, **fields):
        """The event of this name whose fields have these values (or fulfil these functions); fails after `timeout`."""
        deadline = time.monotonic() + timeout
        with self._news:
            while True:
                found = [event for event in self.events[since:] if _matches(event, name, fields)]
                if len(found) >= count:
                    return found[count - 1]
                left = deadline - time.monotonic()
                if left <= 0 or (self.process.poll() is not None and not self._reader.is_alive()):
                    break
                self._news.wait(min(left, 0.5))
            seen = "\n".join(json.dumps({k: v for k, v in event.items() if k != "_seen"}, default=str)
                             for event in self.events[since:][-30:])
        pytest.fail(f"no event {name} {fields} within {timeout} s; saw:\n{seen}\nstderr:\n{self.errors()}")

    # ---- verbs ----

    def run(self, *arguments, check=True, **options):
        return holdfast(*arguments, "-c", self.config_path, check=check, **options)

    def lines(self, *arguments):
        """The objects that a verb prints with --json, one per line."""
        return [json.loads(line) for line in self.run(*arguments, "--json").stdout.splitlines()]

    def json(self, *arguments):
        made, = self.lines(*arguments)
        return made

    # ---- looking at it from outside ----

    def processes(self):
        """PIDs of the daemon and all below it."""
        found, queue = [], [self.process.pid]
        while queue:
            pid = queue.pop()
            if _alive(pid):
                found.append(pid)
            queue.extend(_children(pid))
        return found

    def workers(self, kind):
        """PIDs of the processes of one kind: "supervisor", "control", "handshaker", "relay"."""
        return [process["pid"] for process in self.json("status")["processes"]
                if process["kind"] == kind and _alive(process["pid"])]

    def pss(self, *kinds):
        """KiB of memory of the given kinds of process (default: all), shared pages counted once; without those of files, whose
        share depends on who else runs."""
        pids = [pid for kind in kinds for pid in self.workers(kind)] if kinds else self.processes()
        total = 0
        for pid in pids:
            text = _read_proc(pid, "smaps_rollup")
            total += sum(int(size) for size in re.findall(r"^Pss_(?:Anon|Shmem):\s+(\d+)", text, re.M))
        return total

    def descriptors(self):
        """Number of open descriptors of each process."""
        counts = {}
        for pid in self.processes():
            try:
                counts[pid] = len(os.listdir(f"/proc/{pid}/fd"))
            except PermissionError:
                pytest.skip("descriptors of hardened processes are visible to root only")
        return counts


def _read_proc(pid, name):
    try:
        return Path(f"/proc/{pid}/{name}").read_text()
    except PermissionError:
        pytest.skip("memory of hardened processes is visible to root only")


def _matches(event, name, fields):
    if event.get("event") != name:
        return False
    return all(value(event.get(key)) if callable(value) else event.get(key) == value for key, value in fields.items())


def wait_until(condition, timeout=PATIENCE, message="condition not met"):
    """Polls for what no event tells; returns the true value."""
    deadline = time.monotonic() + timeout
    while not (value := condition()):
        assert time.monotonic() < deadline, message() if callable(message) else message
        time.sleep(0.005)
    return value
