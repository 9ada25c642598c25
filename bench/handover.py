"""The hand-over measure: what long sessions notice, and what it costs, when a relay is killed, the program is upgraded and the
configuration is reloaded; beside what nginx and HAProxy do with the same sessions.

Unlike in the other measures everybody may use all cores, with two workers: an upgrade of one process is not the question.
"""

import contextlib
import dataclasses
import json
import os
import shutil
import signal
import statistics
import subprocess
import sys
import time
from dataclasses import dataclass, field

from contestants import CONTESTANTS, haproxy, nginx_stream
from processes import stat_fields

WORKERS = 2
PATIENCE = 30     # seconds for one reload or upgrade
USUAL_SECONDS = 4
WINDOW_SECONDS = 2.5
RATE = 5000       # requests a second that go round the sessions


@dataclass
class Size:
    sessions: int       # of the pause measure, if the descriptor limit allows
    long_sessions: int  # of the comparison
    reloads: int
    rounds: int
    repeats: int        # of what CPU time is measured of


FULL = Size(10000, 2000, 100, 3, 10)
QUICK = Size(1000, 200, 10, 1, 3)


class Client:
    """bench/handover.c: one order, one answer."""

    def __init__(self, bench, port, suite, seconds):
        log = os.path.join(bench.folder, "handover.log")
        self.program = bench.start([os.path.join(bench.folder, "handover"), str(port), str(seconds), suite], None, log,
                                   realtime=os.geteuid() == 0, stdin=subprocess.PIPE, stdout=subprocess.PIPE)

    def order(self, text):
        self.program.process.stdin.write(text.encode() + b"\n")
        self.program.process.stdin.flush()
        line = self.program.process.stdout.readline().decode()
        if not line:
            raise RuntimeError(f"{text}: {self.program.log_tail() or 'the client ended'}")
        return json.loads(line) if line.startswith("{") else line.strip()


# ---- how each is reloaded and upgraded ----

def wait_for(condition, what):
    deadline = time.monotonic() + PATIENCE
    while not (value := condition()):
        if time.monotonic() > deadline:
            raise RuntimeError(f"{what}: not within {PATIENCE} s")
        time.sleep(0.002)
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
        return wait_for(ask, "status")

    def relays(self):
        return [process for process in self.status()["processes"] if process["kind"] == "relay"]

    def worker(self):
        return self.relays()[0]["pid"]

    def wait_whole(self, gone):
        """Every process is there and none of `gone` is."""
        wait_for(lambda: all(process["alive"] and process["pid"] not in gone for process in self.status()["processes"]),
                 "the successors")


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


# ---- what a session notices ----

def gone_seconds(pids, start):
    wait_for(lambda: not any(alive(pid) for pid in pids), "the end of the old processes")
    return time.monotonic() - start


def window(edge, action):
    """What the sessions see while `action` is done; action() → seconds until the old processes were gone."""
    edge.client.order(f"talk {RATE}")
    time.sleep(USUAL_SECONDS)
    edge.client.order("mark")
    start = time.monotonic()
    gone = action()
    time.sleep(max(0, WINDOW_SECONDS - (time.monotonic() - start)))
    seen = edge.client.order("report")
    edge.client.order("quiet")
    usual = seen["usual"]["p50"]
    return {"p50": max(0, seen["worst"]["p50"] - usual) / 1e3, "p99": max(0, seen["worst"]["p99"] - usual) / 1e3,
            "max": max(0, seen["worst"]["max"] - usual) / 1e3, "silence": seen["silence"] / 1e3, "usual": usual / 1e3,
            "gone": gone, "lost": edge.lost(), "measured": seen["measured"]}


def kill_relay(edge):
    victim = edge.worker()
    start = time.monotonic()
    os.kill(victim, signal.SIGKILL)
    took = gone_seconds([victim], start)
    edge.wait_whole([victim])
    return took


def upgrade(edge):
    """While the order runs the old processes are watched."""
    old = [process["pid"] for process in edge.status()["processes"] if process["kind"] != "supervisor"]
    start = time.monotonic()
    with subprocess.Popen([edge.bench.arguments.holdfast, "upgrade", "-c", edge.program.config], stdout=subprocess.DEVNULL,
                          stderr=subprocess.PIPE, text=True) as order:
        took = gone_seconds(old, start)
        _, errors = order.communicate(timeout=PATIENCE)
    if order.returncode != 0:
        raise RuntimeError(f"upgrade: {errors.strip()}")
    edge.wait_whole(old)
    return took


def cpu_of(edge, action, times):
    """CPU seconds of the whole family that `action` costs above idling. Many times, because the kernel shows hundredths only."""
    begin, start = edge.program.cpu_seconds(), time.monotonic()
    edge.status()
    time.sleep(2)
    idle = (edge.program.cpu_seconds() - begin) / (time.monotonic() - start)
    begin, start = edge.program.cpu_seconds(), time.monotonic()
    for _ in range(times):
        action(edge)
    time.sleep(1)  # memory that goes back, timers that catch up
    return max(0.0, edge.program.cpu_seconds() - begin - idle * (time.monotonic() - start)) / times


def combine(windows):
    result = {part: statistics.median(seen[part] for seen in windows) for part in ("p50", "p99", "gone", "usual")}
    result.update({part: max(seen[part] for seen in windows) for part in ("max", "silence", "lost")})
    return result


def measure_pauses(bench, contestant, size, progress):
    edge = Holdfast(bench, contestant)
    count = min(size.sessions, edge.status()["capacity"] * 97 // 100)
    progress(f"opening {count} sessions")
    cpu = edge.program.cpu_seconds()
    edge.open(count)
    reconnect = (edge.program.cpu_seconds() - cpu) / count
    edge.wait_whole([])
    time.sleep(2)  # all are older than protect-after
    result = {"sessions": count, "reconnect_us": reconnect * 1e6}
    for name, action in (("nothing", lambda _: 0), ("kill", kill_relay), ("upgrade", upgrade)):
        progress(f"{name}, {count} sessions")
        result[name] = combine([window(edge, lambda action=action: action(edge)) for _ in range(size.rounds)])
    progress("CPU of a take-over")
    result["kill"]["cpu_us"] = cpu_of(edge, kill_relay, size.repeats) * 1e6 / (count / WORKERS)
    result["upgrade"]["cpu_us"] = cpu_of(edge, upgrade, size.repeats) * 1e6 / count
    return result


# ---- what is left over ----

def measure_comparison(bench, contestant, size, progress):
    """The same long sessions without and with reloads among them; then an upgrade, then a killed worker."""
    edge = EDGES[contestant.name](bench, contestant)
    progress(f"{contestant.name}: {size.long_sessions} sessions")
    edge.open(size.long_sessions)
    time.sleep(2)
    result = {"sessions": size.long_sessions, "reloads": size.reloads, "memory_before": edge.program.pss_bytes(),
              "processes_before": len(edge.processes())}
    bench.stop_all()

    edge = EDGES[contestant.name](bench, contestant)
    for number in range(size.reloads):
        progress(f"{contestant.name}: reload {number + 1}")
        edge.open(size.long_sessions // size.reloads)
        edge.reload()
    time.sleep(2)
    result.update(memory_after=edge.program.pss_bytes(), processes_after=len(edge.processes()), dropped_by_reload=edge.lost())
    edge.upgrade()
    result["dropped_by_upgrade"] = edge.lost() - result["dropped_by_reload"]
    bench.stop_all()

    progress(f"{contestant.name}: a worker is killed")
    edge = EDGES[contestant.name](bench, contestant)
    edge.open(size.long_sessions)
    time.sleep(2)
    os.kill(edge.worker(), signal.SIGKILL)
    result["lost_by_kill"] = edge.lost()
    return result


def measure(bench, quick, progress):
    """{"pauses": …, "comparison": {contestant: …}}; what fails is told and left out."""
    size = QUICK if quick else FULL
    result = {"comparison": {}}
    for contestant in CONTESTANTS:
        if contestant.name not in EDGES or contestant.name not in bench.arguments.contestants:
            continue
        contestant = dataclasses.replace(contestant, command=COMMANDS.get(contestant.name, contestant.command))
        steps = [("comparison", measure_comparison)] + [("pauses", measure_pauses)] * contestant.ours
        for name, step in steps:
            try:
                found = step(bench, contestant, size, progress)
                if name == "pauses":
                    result[name] = found
                else:
                    result[name][contestant.name] = found
            except (RuntimeError, OSError, subprocess.SubprocessError) as error:
                progress("")
                print(f"bench: {contestant.name}, hand-over, {name}: {error}", file=sys.stderr)
            finally:
                bench.stop_all()
    progress("")
    return result


# ---- the table ----

def met(condition):
    return "met" if condition else "missed"


def pause_rows(pauses):
    count = f"{pauses['sessions']:,} sessions"
    rows = []
    for name, title in (("upgrade", "pause of a session during an upgrade"), ("kill", "the same, a relay killed (SIGKILL)")):
        seen = pauses[name]
        rows.append([f"{title}, p50 / p99 / max, ms, {count}", f"{seen['p50']:.1f} / {seen['p99']:.1f} / {seen['max']:.0f}", None,
                     "p99 ≤ 10" if name == "upgrade" else "", met(seen["p99"] <= 10) if name == "upgrade" else ""])
    noise = pauses["nothing"]
    rows.append(["the same with nothing done: the noise of the machine", f"{noise['p50']:.1f} / {noise['p99']:.1f} / {noise['max']:.0f}",
                 None, "", ""])
    upgraded, killed = pauses["upgrade"], pauses["kill"]
    rows.append(["nobody at all was answered for at most (upgrade / SIGKILL), ms",
                 f"{upgraded['silence']:.0f} / {killed['silence']:.0f}", None, "", ""])
    rows.append(["all old processes are gone after, s", f"{upgraded['gone']:.2f}", "with their last session", "< 1",
                 met(upgraded["gone"] < 1)])
    ratio = pauses["reconnect_us"] / max(upgraded["cpu_us"], killed["cpu_us"], 0.1)
    rows.append(["CPU µs per session: upgrade / SIGKILL / reconnect (full handshake)",
                 f"{upgraded['cpu_us']:.1f} / {killed['cpu_us']:.1f} / {pauses['reconnect_us']:.0f}", None,
                 "≤ 1/50 of a reconnect", f"1/{ratio:.0f}: {met(ratio >= 50)}"])
    return rows


def comparison_rows(comparison, pauses):
    """[title, {contestant: text}, target, verdict] from what each contestant showed."""
    first = next(iter(comparison.values()))
    sessions, reloads = first["sessions"], first["reloads"]
    own = comparison.get("holdfast")
    lost = own and max(own["lost_by_kill"], (pauses or {}).get("kill", {}).get("lost", 0))

    def row(title, text, target, verdict):
        return [title, {name: text(found) for name, found in comparison.items()}, target, verdict]

    return [
        row(f"idle sessions of {sessions:,} lost by SIGKILL of one worker of {WORKERS}", lambda found: str(found["lost_by_kill"]),
            "≤ 0.1 %", own and met(lost <= sessions / 1000)),
        row(f"processes before / after {reloads} reloads with {sessions:,} long sessions",
            lambda found: f"{found['processes_before']} / {found['processes_after']}", "the same",
            own and met(own["processes_before"] == own["processes_after"])),
        row(f"memory of all of them before / after, MiB",
            lambda found: f"{found['memory_before'] / 2**20:.0f} / {found['memory_after'] / 2**20:.0f}", "≤ 1.05 ×",
            own and met(own["memory_after"] <= 1.05 * own["memory_before"])),
        row(f"sessions dropped by {reloads} reloads / by an upgrade",
            lambda found: f"{found['dropped_by_reload']} / {found['dropped_by_upgrade']}", "0",
            own and met(own["dropped_by_reload"] + own["dropped_by_upgrade"] == 0)),
    ]


def table(result):
    """Header and rows of text cells."""
    names = [name for name in EDGES if name in result["comparison"] or (name == "holdfast" and "pauses" in result)]
    header = ["measure", *names, "target", ""]
    rows = []
    for title, own, others, target, verdict in pause_rows(result["pauses"]) if "pauses" in result else []:
        cells = [own if name == "holdfast" else others or "–" for name in names]
        rows.append([title, *cells, target, verdict])
    if result["comparison"]:
        for title, texts, target, verdict in comparison_rows(result["comparison"], result.get("pauses")):
            rows.append([title, *(texts.get(name, "–") for name in names), target, verdict or "–"])
    return header, rows


CONDITIONS = f"""{WORKERS} workers each, on all cores; client and upstream at real-time priority on the same cores; TLS 1.3, plain upstream, loopback.

* Pause: requests of 100 bytes go round all sessions, {RATE:,} a second in open loop. Of each session the slowest answer from the
  order until 2.5 s later counts, less the usual time of an answer; medians of three rounds, the maximum of all. Most sessions
  are silent in the moment itself and notice nothing; how long the pause is for those who are not, the maximum and the line below say.
* CPU: user and system time of all processes of the family from the order until 1 s after its end, less what idling costs;
  for an upgrade that includes rehearsal and the start of every new process.
* Reloads: the long sessions are opened in equal parts between the reloads, so that each generation has some of them. Memory is
  Pss without mapped files, of all processes. nginx: SIGHUP, and SIGUSR2 with SIGQUIT for the upgrade; HAProxy: master-worker mode,
  SIGUSR2."""
