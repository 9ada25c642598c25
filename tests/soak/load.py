"""What the soak puts on the edge: client processes with many sessions each, and short connections."""

import contextlib
import queue
import shutil
import ssl
import subprocess
import threading
from dataclasses import dataclass
from pathlib import Path

import clients
import daemon

HERE = Path(__file__).resolve().parent
TOOLS = daemon.BINARY.parent / "tests" / "soak"
ANSWER_TIMEOUT = 120
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
        tool = TOOLS / f"soak-{self.name}"
        return None if tool.exists() else f"{tool} was not built (is its library there? meson setup --reconfigure)"

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

    def read_line(self, timeout=ANSWER_TIMEOUT):
        try:
            line = self._lines.get(timeout=timeout)
        except queue.Empty:
            line = None
        assert line is not None, f"{self.name}: no answer; exit code {self.process.poll()}\n{self.errors()}"
        return line

    def wait_line(self, word, timeout=ANSWER_TIMEOUT):
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
