"""Strict checks of a certificate from outside: how many a core can do in a second, beside the tools that are used for it.

One local server on the load core, the checker on the other. Tools that check one server and end are started again and again,
and their CPU time counts with all their children; blackbox_exporter answers HTTP requests, and what its process uses counts.
Whether a tool verifies at all is tried, not believed: it must not be content when it does not know the root."""

import concurrent.futures
import dataclasses
import json
import os
import shutil
import statistics
import subprocess
import sys
import time
import urllib.parse
import urllib.request

from contestants import CONTESTANTS
from processes import Program, die_with_parent, free_port

SERVER = "nginx-http"
NAME = "localhost"
BATCH, QUICK_BATCH = 2000, 200  # targets of one process, probes of the exporter
LIMIT_S = 300
TARGET_RATE, TARGET_RATIO = 400, 5


@dataclasses.dataclass
class Place:
    """Where the server is, and what is trusted."""
    folder: str
    port: int
    root: str
    core: int
    holdfast: str


@dataclasses.dataclass
class Sample:
    checks: int
    cpu: float
    elapsed: float
    verifies: bool


# ---- tools that end ----

def run(place, command, good):
    """CPU seconds and wall seconds of one run with everything it starts; is it content?"""
    before, start = os.times(), time.monotonic()
    result = subprocess.run(["taskset", "-c", str(place.core), *map(str, command)], stdin=subprocess.DEVNULL, capture_output=True,
                            text=True, timeout=LIMIT_S, check=False, preexec_fn=die_with_parent)
    after = os.times()
    cpu = after.children_user - before.children_user + after.children_system - before.children_system
    return cpu, time.monotonic() - start, good(result)


def repeated(place, command, untrusted, count, good=lambda result: result.returncode == 0):
    """`command` `count` times; `untrusted` is the same without the root."""
    cpu = elapsed = 0
    for _ in range(count):
        used, took, content = run(place, command, good)
        if not content:
            raise RuntimeError(f"{command[0]} is not content with a good certificate")
        cpu += used
        elapsed += took
    return Sample(count, cpu, elapsed, not run(place, untrusted, good)[2])


def holdfast(place, quick):
    """One process, many targets: every name is a target of its own."""
    count = QUICK_BATCH if quick else BATCH
    path = os.path.join(place.folder, "targets")
    with open(path, "w", encoding="ascii") as file:
        file.writelines(f"host{number}.example\n" for number in range(count))
    command = [place.holdfast, "check", "--from", path, "--connect", f"127.0.0.1:{place.port}", "--name", NAME, "--json",
               "--no-fetch", "-w", "10", "-c", "5"]

    def good(result):
        lines = result.stdout.splitlines()
        return len(lines) == count and all(json.loads(line)["verdict"] == "ok" for line in lines)
    cpu, elapsed, content = run(place, [*command, "--store", place.root], good)
    if not content:
        raise RuntimeError("not every check is content")
    return Sample(count, cpu, elapsed, not run(place, command, good)[2])


def holdfast_plugin(place, quick):
    command = [place.holdfast, "check", "--nagios", "-H", NAME, "-p", place.port, "-I", "127.0.0.1", "--no-fetch", "-w", "10", "-c", "5"]
    return repeated(place, [*command, "--store", place.root], command, 5 if quick else 50)


def check_ssl_cert(place, quick):
    command = ["/usr/lib/nagios/plugins/check_ssl_cert", "-H", NAME, "-p", place.port, "-w", "10", "-c", "5", "--ignore-ocsp",
               "--ignore-sct", "-n", NAME]  # without -n it wants a common name
    return repeated(place, [*command, "--rootcert-file", place.root], command, 1 if quick else 5)


def ssl_cert_check(place, quick):
    command = ["ssl-cert-check", "-s", NAME, "-p", place.port, "-n", "-x", "10"]
    return repeated(place, command, command, 2 if quick else 10)


def testssl(place, quick):
    command = ["testssl", "--quiet", "--color", "0", "--warnings", "off", "-S", "--ip", "127.0.0.1", f"{NAME}:{place.port}"]

    def good(result):
        return "Chain of trust               Ok" in result.stdout
    return repeated(place, [*command[:-1], "--add-ca", place.root, command[-1]], command, 1 if quick else 2, good)


# ---- an exporter ----

class Exporter:
    """blackbox_exporter with the root and without."""

    def __init__(self, place):
        path = os.path.join(place.folder, "blackbox.yml")
        tls = f"server_name: {NAME}"
        with open(path, "w", encoding="ascii") as file:
            file.write(f"modules:\n"
                       f"  good: {{prober: tcp, timeout: 20s, tcp: {{tls: true, tls_config: {{{tls}, ca_file: {place.root}}}}}}}\n"
                       f"  untrusted: {{prober: tcp, timeout: 20s, tcp: {{tls: true, tls_config: {{{tls}}}}}}}\n")
        self.place, self.port = place, free_port()
        self.program = Program(["env", "GOMAXPROCS=1", "prometheus-blackbox-exporter", f"--config.file={path}",
                                f"--web.listen-address=127.0.0.1:{self.port}", "--log.level=error"], place.core,
                               os.path.join(place.folder, "blackbox.log"), stdout=subprocess.DEVNULL, stdin=subprocess.DEVNULL)

    def probe(self, module):
        query = urllib.parse.urlencode({"target": f"127.0.0.1:{self.place.port}", "module": module})
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/probe?{query}", timeout=30) as answer:
            return "\nprobe_success 1\n" in answer.read().decode()

    def wait(self):
        deadline = time.monotonic() + 20
        while True:
            try:
                return self.probe("good")
            except OSError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.05)


def blackbox(place, quick):
    count = QUICK_BATCH if quick else BATCH
    exporter = Exporter(place)
    try:
        exporter.wait()
        cpu, start = exporter.program.cpu_seconds(), time.monotonic()
        with concurrent.futures.ThreadPoolExecutor(8) as pool:
            content = all(pool.map(lambda _: exporter.probe("good"), range(count)))
        cpu, elapsed = exporter.program.cpu_seconds() - cpu, time.monotonic() - start
        if not content:
            raise RuntimeError("not every probe is content")
        return Sample(count, cpu, elapsed, not exporter.probe("untrusted"))
    finally:
        exporter.program.stop()


CHECKERS = {
    "holdfast check --from": (holdfast, None),
    "holdfast check --nagios, a process each": (holdfast_plugin, None),
    "blackbox_exporter": (blackbox, "prometheus-blackbox-exporter"),
    "check_ssl_cert": (check_ssl_cert, "/usr/lib/nagios/plugins/check_ssl_cert"),
    "ssl-cert-check": (ssl_cert_check, "ssl-cert-check"),
    "testssl.sh -S": (testssl, "testssl"),
}
OURS = "holdfast check --from"


def measure(bench, rounds, quick, progress, contestant_core):
    """{checker: [Sample as a dict]}; a checker that fails is told and left out."""
    result = {}
    server = next(contestant for contestant in CONTESTANTS if contestant.name == SERVER)
    if not shutil.which(server.version[0]):
        print(f"bench: {SERVER} is not installed: no checks", file=sys.stderr)
        return {}
    try:
        _, port = bench.start_contestant(server, bench.start_upstream(realtime=False), core=0)
        place = Place(bench.folder, port, os.path.join(bench.folder, "root.pem"), contestant_core, bench.arguments.holdfast)
        for number in range(rounds):
            for name, (action, program) in CHECKERS.items():
                if program is not None and not shutil.which(program):
                    print(f"bench: {name} is not installed: left out", file=sys.stderr)
                    continue
                progress(f"checks: round {number + 1} of {rounds}, {name}")
                try:
                    result.setdefault(name, []).append(dataclasses.asdict(action(place, quick)))
                except (RuntimeError, OSError, subprocess.SubprocessError) as error:
                    progress("")
                    print(f"bench: {name}: {error}", file=sys.stderr)
    finally:
        bench.stop_all()
        progress("")
    return {name: samples for name, samples in result.items() if samples}


def rate(samples):
    return statistics.median(sample["checks"] / sample["cpu"] for sample in samples)


def table(result):
    header = ["", "checks per core-second", "CPU per check", "time of one", "notices an unknown root", "Holdfast does so many times more",
              "target", ""]
    own = rate(result[OURS]) if OURS in result else None
    verifying = [rate(samples) for name, samples in result.items() if "holdfast" not in name and samples[0]["verifies"]]
    lines = []
    for name, samples in result.items():
        mine = rate(samples)
        ours = name == OURS
        fastest = not ours and "holdfast" not in name and samples[0]["verifies"] and mine == max(verifying)
        met = "" if own is None else "met" if (ours and mine >= TARGET_RATE) or (fastest and own / mine >= TARGET_RATIO) else "missed"
        lines.append([name, f"{mine:.3g}", f"{1000 / mine:.3g} ms",
                      f"{statistics.median(sample['elapsed'] / sample['checks'] for sample in samples) * 1000:.3g} ms",
                      "yes" if samples[0]["verifies"] else "no", "" if ours or own is None else f"{own / mine:.3g}",
                      f"≥ {TARGET_RATE}" if ours else f"≥ {TARGET_RATIO}" if fastest else "", met if ours or fastest else ""])
    return header, lines


CONDITIONS = f"""nginx on one core serves a leaf and its intermediate (P-256); the checker has the other core. A check of Holdfast is two handshakes,
one that takes any key type and one that takes only the other, and all checks on what was served; of blackbox_exporter one handshake (its
HTTP request and answer are part of it). `holdfast check --from` has {BATCH} targets in one process, blackbox_exporter as many requests, 8 at a time;
the others check once and end, so their start counts, as it does in practice. CPU time of all processes. All targets show the same leaf,
whose reading and judgement Holdfast remembers. "Notices an unknown root" was tried: the tool is not content without the root.
Revocation is left out everywhere. The target for the tools is that of the fastest that verifies."""
