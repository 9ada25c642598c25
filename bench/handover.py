"""The hand-over measure: what long sessions notice, and what it costs, when a relay is killed, the program is upgraded and the
configuration is reloaded; beside what nginx and HAProxy do with the same sessions.

Unlike in the other measures everybody may use all cores, with two workers: an upgrade of one process is not the question.
"""

import dataclasses
import os
import signal
import statistics
import subprocess
import sys
import time
from dataclasses import dataclass

from contestants import CONTESTANTS
from edges import COMMANDS, EDGES, PATIENCE, WORKERS, Holdfast, alive, wait_for

USUAL_SECONDS = 4
WINDOW_SECONDS = 2.5
RATE = 5000  # requests a second that go round the sessions


@dataclass
class Size:
    sessions: int       # of the pause measure, if the descriptor limit allows
    long_sessions: int  # of the comparison
    reloads: int
    rounds: int
    repeats: int        # of what CPU time is measured of


FULL = Size(10000, 2000, 100, 3, 10)
QUICK = Size(1000, 200, 10, 1, 3)


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
    titles = {"upgrade": f"pause of a session during an upgrade, {count}, p50 / p99 / max, ms",
              "kill": "the same, a relay killed (SIGKILL)",
              "nothing": "the same, nothing done: the noise of the machine"}
    for name, title in titles.items():
        seen, judged = pauses[name], name == "upgrade"
        rows.append([title, f"{seen['p50']:.1f} / {seen['p99']:.1f} / {seen['max']:.0f}", None,
                     "p99 ≤ 10" if judged else "", met(seen["p99"] <= 10) if judged else ""])
    upgraded, killed = pauses["upgrade"], pauses["kill"]
    rows.append(["nobody at all was answered for at most (upgrade / SIGKILL), ms",
                 f"{upgraded['silence']:.0f} / {killed['silence']:.0f}", None, "", ""])
    rows.append(["all old processes are gone after, s", f"{upgraded['gone']:.2f}", "with their last session", "< 1",
                 met(upgraded["gone"] < 1)])
    shares = [pauses["reconnect_us"] / max(seen["cpu_us"], 0.1) for seen in (upgraded, killed)]
    rows.append(["CPU µs per session: upgrade / SIGKILL / reconnect (full handshake)",
                 f"{upgraded['cpu_us']:.1f} / {killed['cpu_us']:.1f} / {pauses['reconnect_us']:.0f}", None,
                 "≤ 1/50 of a reconnect", f"{met(min(shares) >= 50)}: 1/{shares[0]:.0f} / 1/{shares[1]:.0f}"])
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
        row("memory of all of them before / after, MiB",
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


CONDITIONS = f"""{WORKERS} workers each, on all cores; client and upstream at real-time priority on the same cores; TLS 1.3, plain
upstream, loopback.

* Pause: requests of 100 bytes go round all sessions, {RATE:,} a second in open loop. Of each session the slowest answer from the
  order until 2.5 s later counts, less the usual time of an answer; medians of three rounds, the maximum of all. Most sessions
  are silent in the moment itself and notice nothing; how long the pause is for those who are not, the maximum and the line below say.
* CPU: user and system time of all processes of the family from the order until 1 s after its end, less what idling costs;
  for an upgrade that includes rehearsal and the start of every new process.
* Reloads: the long sessions are opened in equal parts between the reloads, so that each generation has some of them; "before"
  is all of them without a reload. Memory is Pss without mapped files, of all processes. nginx: SIGHUP, and SIGUSR2 with SIGQUIT
  for the upgrade; HAProxy: master-worker mode, SIGUSR2."""
