"""Ten thousand watched targets in steady state: what control and the process that probes need, before and after a restart, and how
long the verbs take then.

One local server on the load core, Holdfast on the other. Every name is a target of its own at the one server."""

import json
import os
import shutil
import sqlite3
import subprocess
import sys
import time
import urllib.request

from contestants import CONTESTANTS
from edges import wait_for
from processes import core_busy_seconds, cpu_of, free_port, pss_of

SERVER = "nginx-http"
TARGETS, INTERVAL_S = 10000, 40
QUICK_TARGETS, QUICK_INTERVAL_S = 1000, 10
PHASES = ("first run", "after a restart")
VERBS = {"watch": ("watch", "--json"), "status": ("status", "--json"), "alerts": ("alerts", "--json"), "reload": ("reload",)}
MIB = 1 << 20


class Watch:
    """A daemon that does nothing but watch."""

    def __init__(self, bench, targets, interval, server, core):
        self.bench, self.targets, self.interval, self.server, self.core = bench, targets, interval, server, core
        self.folder = os.path.join(bench.folder, "watch")
        self.config = os.path.join(self.folder, "holdfast.conf")
        self.exporter = free_port()
        os.makedirs(self.folder, exist_ok=True)
        self.write_config(targets)
        self.start()

    def write_config(self, targets):
        names = ", ".join(f'"host{number}.example"' for number in range(targets))
        with open(self.config, "w", encoding="ascii") as file:
            file.write(f"""
state-folder = "{self.folder}/state"
workers = none
watch-per-host = 100
exporter {{ bind = "127.0.0.1:{self.exporter}" }}
watch all {{
    targets  = {{ {names} }}
    connect  = "127.0.0.1:{self.server}"
    name     = localhost
    stores   = "{self.bench.folder}/root.pem"
    interval = {self.interval}s
    warn-at  = 10d
    critical-at = 5d
}}
""")

    def start(self):
        self.program = self.bench.start([self.bench.arguments.holdfast, "run", "-c", self.config], self.core,
                                        os.path.join(self.folder, "log"), stdout=subprocess.DEVNULL, stdin=subprocess.DEVNULL)

    def run(self, *arguments, check=True):
        """On the load core: what the verb itself needs is not the daemon's."""
        return subprocess.run(["taskset", "-c", str(1 - self.core), self.bench.arguments.holdfast, *arguments, "-c", self.config],
                              capture_output=True, text=True, timeout=120, check=check)

    def status(self):
        """None: it does not answer yet."""
        done = self.run("status", "--json", check=False)
        return json.loads(done.stdout) if done.returncode == 0 and done.stdout else None

    def known(self):
        """All targets were checked at least once."""
        status = self.status()
        watch = status.get("watch") if status else None
        return status if watch and watch["targets"] == self.targets and watch["pending"] == 0 else None

    def database(self):
        """Bytes in use, the write-ahead log included."""
        with sqlite3.connect(f"file:{self.folder}/state/watch.db?mode=ro", uri=True, timeout=30) as db:
            pages, free, size = (db.execute(f"PRAGMA {what}").fetchone()[0] for what in ("page_count", "freelist_count", "page_size"))
        return (pages - free) * size

    def steady(self):
        """What a whole interval takes, once all is known."""
        status = wait_for(self.known, "the first check of all targets", 0.2, 5 * self.interval)
        control = next(process["pid"] for process in status["processes"] if process["kind"] == "control")
        prober = status["watch"]["prober"]["pid"]

        def look():
            busy, stolen = core_busy_seconds(self.core)
            return {"at": time.monotonic(), "checks": self.status()["watch"]["checks"], "control": cpu_of(control),
                    "prober": cpu_of(prober), "all": self.program.cpu_seconds(), "core": busy + stolen, "database": self.database()}
        before = look()
        time.sleep(self.interval)  # what is measured is an interval
        after = look()
        used = {name: after[name] - before[name] for name in before}
        watch = self.status()["watch"]
        if watch["prober"]["pid"] != prober or watch["ok"] != watch["endpoints"]:
            raise RuntimeError(f"not every endpoint is well: {watch}")
        return {"seconds": used["at"], "checks": used["checks"], "control": used["control"], "prober": used["prober"],
                "foreign": max(0, used["core"] - used["all"]) / used["at"], "endpoints": watch["endpoints"],
                "control_memory": pss_of(control), "prober_memory": pss_of(prober), "memory": self.program.pss_bytes(),
                "database": after["database"], "database_grown": used["database"]}

    def restart(self):
        """Seconds until it answers with all that was known."""
        self.program.stop()
        begin = time.monotonic()
        self.start()
        wait_for(self.known, "what was known before the restart", 0.05)
        return time.monotonic() - begin

    def timed(self, action):
        """Seconds until it is answered, and CPU of the daemon meanwhile."""
        cpu, begin = self.program.cpu_seconds(), time.monotonic()
        action()
        return {"seconds": time.monotonic() - begin, "cpu": self.program.cpu_seconds() - cpu}

    def metrics(self):
        with urllib.request.urlopen(f"http://127.0.0.1:{self.exporter}/metrics", timeout=60) as answer:
            found = sum(line.startswith(b"probe_success{") for line in answer)
        if found < self.targets:
            raise RuntimeError(f"/metrics tells of {found} endpoints")

    def verbs(self):
        taken = {name: self.timed(lambda arguments=arguments: self.run(*arguments)) for name, arguments in VERBS.items()}
        taken["metrics"] = self.timed(self.metrics)
        self.write_config(1)
        taken["removal"] = self.timed(lambda: self.run("reload"))
        self.targets = 1
        wait_for(self.known, "the end of what was removed", 0.1)
        return taken


def measure(bench, quick, progress, contestant_core):
    """{"targets", "interval", phase: figures, "restart": seconds, "verbs": {verb: figures}}"""
    server = next(contestant for contestant in CONTESTANTS if contestant.name == SERVER)
    if not shutil.which(server.version[0]):
        print(f"bench: {SERVER} is not installed: nothing to watch", file=sys.stderr)
        return {}
    targets, interval = (QUICK_TARGETS, QUICK_INTERVAL_S) if quick else (TARGETS, INTERVAL_S)
    result = {"targets": targets, "interval": interval}
    try:
        _, port = bench.start_contestant(server, bench.start_upstream(realtime=False), core=0)
        progress(f"watch: {targets} targets")
        watch = Watch(bench, targets, interval, port, contestant_core)
        result[PHASES[0]] = watch.steady()
        progress("watch: after a restart")
        result["restart"] = watch.restart()
        result[PHASES[1]] = watch.steady()
        result["verbs"] = watch.verbs()
    except (RuntimeError, OSError, subprocess.SubprocessError, sqlite3.Error) as error:
        progress("")
        print(f"bench: watch: {error}", file=sys.stderr)
        return {}
    finally:
        bench.stop_all()
        progress("")
    return result


def table(result):
    phases = [result[name] for name in PHASES]

    def row(title, figure):
        return [title, *(figure(phase) for phase in phases)]
    lines = [row(f"checks a second (due: {result['targets'] / result['interval']:.0f})", lambda phase: f"{phase['checks'] / phase['seconds']:.0f}"),
             row("CPU of control / of the prober, % of a core",
                 lambda phase: " / ".join(f"{100 * phase[who] / phase['seconds']:.1f}" for who in ("control", "prober"))),
             row("CPU per check: control / prober, ms",
                 lambda phase: " / ".join(f"{1000 * phase[who] / phase['checks']:.2f}" for who in ("control", "prober"))),
             row("memory of control / prober / all processes, MiB",
                 lambda phase: " / ".join(f"{phase[what] / MIB:.1f}" for what in ("control_memory", "prober_memory", "memory"))),
             row("database, MiB", lambda phase: f"{phase['database'] / MIB:.1f}"),
             row("what a check adds to it, bytes", lambda phase: f"{phase['database_grown'] / phase['checks']:.0f}"),
             row("others used of the core meanwhile, %", lambda phase: f"{100 * phase['foreign']:.0f}"),
             ["all is known after the start, s", "", f"{result['restart']:.2f}"]]
    names = {"watch": "`holdfast watch`", "status": "`holdfast status`", "alerts": "`holdfast alerts`", "reload": "reload without a change",
             "metrics": "`/metrics`", "removal": "reload that removes all but one"}
    for name, taken in result["verbs"].items():
        lines.append([f"{names[name]}: seconds / CPU seconds of the daemon", "", f"{taken['seconds']:.2f} / {taken['cpu']:.2f}"])
    return [f"{result['targets']:,} targets, each every {result['interval']} s", *PHASES], lines


CONDITIONS = f"""A daemon with `workers = none` and one section `watch` has one core, nginx with a leaf and its intermediate (P-256) the
other. Every name is a target of its own at the one server (`connect`); a check is two handshakes and what `holdfast check` does
besides; revocation has nothing to fetch. The interval is so short that a steady state can be seen in a run: at the default of 15 min
the shares of a core are {15 * 60 // INTERVAL_S} times smaller. What is measured begins when every target was checked once and lasts one whole interval. Memory is
Pss without mapped files at its end; the database is what of its pages is in use, `watch-keep-checks` has not begun to take away
anything. All targets have one certificate: with as many certificates the table of certificates, about 2 KiB each, comes on top. The
verbs are called once each, while the checks go on, with what they print as JSON; their seconds are of the whole command."""
