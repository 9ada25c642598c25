"""What a relay does in user mode, counted instruction by instruction (callgrind), so that neighbours of the machine change nothing."""

import dataclasses
import os
import re
import shutil
import subprocess

from contestants import CONTESTANTS
from edges import wait_for

NEEDED = "valgrind"
LOOP = "loop_run"  # what is below it is not the start of the program
PATIENCE_S = 60


def build_preload(bench):
    path = os.path.join(bench.folder, "counted.so")
    if not os.path.exists(path):
        source = os.path.join(os.path.dirname(os.path.abspath(__file__)), "counted.c")
        subprocess.run([os.environ.get("CC", "cc"), "-std=c17", "-D_GNU_SOURCE", "-O2", "-shared", "-fPIC", "-o", path, source],
                       check=True, timeout=60)
        os.chmod(path, 0o755)
    return path


def read_profile(path, functions):
    """{function: (instructions, system calls) with all that it calls} of these and of LOOP."""
    text = subprocess.run(["callgrind_annotate", "--inclusive=yes", "--threshold=100", path], capture_output=True, text=True,
                          check=True, timeout=120).stdout
    found = dict.fromkeys((LOOP, *functions), (0, 0))
    for line in text.splitlines():
        figures = re.findall(r"([\d,]+|\.) (?:\([ \d.]+%\))?", line)
        named = re.search(r":([a-z_0-9]+)(?:\.[\w.]+)?(?:'\d+)?(?: \[|$)", line)
        if named and named.group(1) in found and len(figures) >= 2:
            counts = (int(figure.replace(",", "")) if figure != "." else 0 for figure in figures[:2])
            found[named.group(1)] = tuple(map(sum, zip(found[named.group(1)], counts)))
    return found


def count_calls(path, function):
    """How often it was called. Names stand in full once, then by their numbers."""
    names, called, total = {}, None, 0
    with open(path, encoding="utf-8", errors="replace") as file:
        for line in file:
            if (named := re.match(r"(c?)fn=\((\d+)\)(?: (\S+))?", line)):
                names.setdefault(named.group(2), named.group(3))
                called = names[named.group(2)] if named.group(1) else None
            elif line.startswith("calls=") and called == function:
                total += int(line[6:].split()[0])
    return total


def count(bench, load, listener, functions, called):
    """Of the relay of one worker with these listener options under this load: the profile, how often `called` was, and how many
    responses there were."""
    preload = build_preload(bench)
    ours = next(contestant for contestant in CONTESTANTS if contestant.ours)
    folder = os.path.join(bench.folder, "profiles")
    shutil.rmtree(folder, ignore_errors=True)
    os.makedirs(folder)
    os.chmod(folder, 0o777)  # relays are not root

    def command(setup):
        return ["env", f"LD_PRELOAD={preload}", f"COUNTED_FOLDER={folder}", *ours.command(dataclasses.replace(setup, listener=listener))]

    def profile():
        return [os.path.join(folder, name) for name in os.listdir(folder) if os.path.getsize(os.path.join(folder, name))]
    try:
        program, port = bench.start_contestant(dataclasses.replace(ours, command=command), bench.start_upstream(realtime=False))
        finished = bench.run_load(load, port)["finished"] + load.connections  # each has had a response before
        program.process.terminate()
        path, = wait_for(profile, "the profile of the relay", 0.05, PATIENCE_S)
        return read_profile(path, functions), count_calls(path, called), finished
    finally:
        bench.stop_all()
