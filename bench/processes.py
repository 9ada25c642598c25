"""Starting, watching and ending processes: a contestant with all its children, its CPU time and its memory."""

import ctypes
import os
import signal
import socket
import ssl
import subprocess
import time

TICKS = os.sysconf("SC_CLK_TCK")
PR_SET_PDEATHSIG = 1
LIBC = ctypes.CDLL(None)


def die_with_parent():
    LIBC.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def stat_fields(pid):
    """The fields of /proc/PID/stat from the third (state) on; the second may contain spaces."""
    with open(f"/proc/{pid}/stat", encoding="ascii", errors="replace") as file:
        return file.read().rpartition(")")[2].split()


def cpu_of(pid):
    """utime + stime of a process, and of the children it has already reaped; 0 when it has ended."""
    try:
        return sum(int(field) for field in stat_fields(pid)[11:15]) / TICKS
    except OSError:
        return 0


def pss_of(pid):
    """Anonymous and shared memory of a process. Mapped files are left out: sessions do not add to them, but the share of a
    library that counts as ours changes whenever any other program that uses it starts or ends."""
    try:
        with open(f"/proc/{pid}/smaps_rollup", encoding="ascii") as file:
            return 1024 * sum(int(line.split()[1]) for line in file if line.startswith(("Pss_Anon:", "Pss_Shmem:")))
    except OSError:
        return 0


class Program:
    """One started program on one core (None: wherever there is room), with everything it starts."""

    def __init__(self, arguments, core, log, realtime=False, **popen):
        prefix = [] if core is None else ["taskset", "-c", str(core)]
        if realtime:
            prefix = ["chrt", "-f", "1"] + prefix
        with open(log, "ab") as log_file:
            self.process = subprocess.Popen(prefix + arguments, stderr=log_file, preexec_fn=die_with_parent,
                                            start_new_session=True, **popen)
        self.pid = self.process.pid
        self.log = log
        self.core = core

    def processes(self):
        """All living processes of it: descendants, and whoever shares its session."""
        parents, sessions = {}, {}
        for name in os.listdir("/proc"):
            if not name.isdigit():
                continue
            try:
                fields = stat_fields(name)
            except OSError:
                continue
            parents[int(name)] = int(fields[1])
            sessions[int(name)] = int(fields[3])
        found = {pid for pid, session in sessions.items() if session == self.pid}
        found.add(self.pid)
        grown = True
        while grown:
            more = {pid for pid, parent in parents.items() if parent in found} - found
            found |= more
            grown = bool(more)
        return sorted(found & parents.keys())

    def pin(self):
        """Puts every thread on its core again: hitch's workers choose one by themselves. Returns how many had strayed."""
        strayed = 0
        for pid in self.processes() if self.core is not None else []:
            try:
                for thread in map(int, os.listdir(f"/proc/{pid}/task")):
                    if os.sched_getaffinity(thread) != {self.core}:
                        os.sched_setaffinity(thread, {self.core})
                        strayed += 1
            except OSError:
                continue
        return strayed

    def cpu_seconds(self):
        return sum(cpu_of(pid) for pid in self.processes())

    def pss_bytes(self):
        return sum(pss_of(pid) for pid in self.processes())

    def log_tail(self):
        try:
            with open(self.log, encoding="utf-8", errors="replace") as file:
                return "".join(file.readlines()[-5:]).strip()
        except OSError:
            return ""

    def wait_tls(self, port, seconds=15):
        """Until it completes a handshake."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            if self.process.poll() is not None:
                raise RuntimeError(f"ended at once (status {self.process.returncode}): {self.log_tail()}")
            try:
                with socket.create_connection(("127.0.0.1", port), timeout=1) as plain:
                    with context.wrap_socket(plain, server_hostname="localhost"):
                        return
            except OSError:
                time.sleep(0.05)
        raise RuntimeError(f"no handshake within {seconds} s: {self.log_tail()}")

    def stop(self):
        everybody = self.processes()
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(5)
            except subprocess.TimeoutExpired:
                pass
        for pid in set(everybody) | set(self.processes()):
            try:
                # A process of ours may have ended meanwhile; its number is only reused long after.
                os.kill(pid, signal.SIGKILL)
            except (ProcessLookupError, PermissionError):
                pass
        try:
            self.process.wait(5)
        except subprocess.TimeoutExpired:
            pass
        for stream in (self.process.stdin, self.process.stdout):
            if stream:
                stream.close()


def core_busy_seconds(core):
    """(busy, stolen) seconds of a core since boot."""
    with open("/proc/stat", encoding="ascii") as file:
        for line in file:
            if line.startswith(f"cpu{core} "):
                user, nice, system, _idle, _iowait, irq, softirq, steal = map(int, line.split()[1:9])
                return (user + nice + system + irq + softirq) / TICKS, steal / TICKS
    return 0.0, 0.0
