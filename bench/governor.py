"""What renewing traffic keys costs. First in CPU time: large responses with limits that are never reached, and with keys renewed as
often as the rule of two seconds allows; rounds are interleaved, and the median of the ratios within each round counts. A difference
of one percent drowns in the noise of a machine, so then in instructions of the relay, which are the same in every run."""

import dataclasses
import shutil
import statistics
import sys

import instructions
from contestants import CONTESTANTS

SETTINGS = {
    "never": "traffic-key-records = none\n    traffic-key-probability = 32",
    "always": "traffic-key-bytes = 64k",
}
TITLES = {"never": "never renewed", "always": "renewed every two seconds"}
TARGET = 0.01
# What judges a key (at each seal, each open, each turn of a session), and what a renewal is.
JUDGING = ("keys_renew", "keys_opened", "keys_sealed", "keys_worn_out", "keys_age_end")
RENEWING, RENEWED = "leg_seal_owed", "record_key_next"
RENEWAL_S = 2  # between two of a session
RESPONSE_GB = 0.01
COUNTED = {"bulk": "10 MB response", "keepalive": "keep-alive request of 100 bytes"}


def measure_time(bench, ours, load, rounds, progress):
    """{setting: CPU seconds per GB of each round}"""
    result = {name: [] for name in SETTINGS}
    for number in range(rounds):
        for name in list(SETTINGS)[::1 if number % 2 else -1]:
            progress(f"governor: round {number + 1} of {rounds}, {name}")
            contestant = dataclasses.replace(
                ours, command=lambda setup, name=name: ours.command(dataclasses.replace(setup, listener=SETTINGS[name])))
            result[name].append(bench.sample(load, contestant)["value"])
    return result


def measure_instructions(bench, loads, progress):
    """{load: {"sessions", setting: figures of the whole run}}"""
    result = {}
    for load in loads:
        result[load.name] = {"sessions": load.connections}
        for setting, listener in SETTINGS.items():
            progress(f"governor: instructions, {load.name}, {setting}")
            profile, renewals, finished = instructions.count(bench, load, listener, (*JUDGING, RENEWING), RENEWED)
            total, calls = profile[instructions.LOOP]
            result[load.name][setting] = {
                "finished": finished, "instructions": total, "calls": calls, "judging": sum(profile[name][0] for name in JUDGING),
                "renewing": profile[RENEWING][0], "renewals": renewals}
    return result


def measure(bench, load, loads, rounds, progress):
    """{"time": …, "instructions": …}; the latter only where callgrind is. None without Holdfast."""
    ours = next((contestant for contestant in CONTESTANTS if contestant.ours), None)
    if ours.name not in bench.arguments.contestants:
        return None
    result = {"time": measure_time(bench, ours, load, rounds, progress)}
    if shutil.which(instructions.NEEDED):
        result["instructions"] = measure_instructions(bench, loads, progress)
    else:
        print(f"bench: {instructions.NEEDED} is not installed: no instructions are counted", file=sys.stderr)
    progress("")
    return result


def time_rows(found):
    medians = {name: statistics.median(values) for name, values in found.items()}
    cost = statistics.median(always / never for always, never in zip(found["always"], found["never"])) - 1
    return [["CPU s per GB, 10 MB responses: median", *(f"{medians[name]:.3f}" for name in SETTINGS), f"{cost * 100:+.1f} %", "", ""],
            ["lowest – highest", *(f"{min(found[name]):.3f} – {max(found[name]):.3f}" for name in SETTINGS), "", "", ""]]


def renewal_of(found):
    """Instructions of one renewal: the large responses last long enough for some."""
    never, always = found["never"], found["always"]
    renewals = always["renewals"] - never["renewals"]
    return (always["renewing"] - never["renewing"]) / renewals if renewals > 0 else None


def instruction_rows(load, found, renewal, response_s):
    """What was counted with keys that are never renewed; to it comes what renewing costs at full speed (`response_s`, one response
    after the other; None: no figure)."""
    never = {name: value / found["never"]["finished"] for name, value in found["never"].items()}
    judging = never["judging"] / never["instructions"]
    share = None
    if renewal is not None and response_s is not None:
        share = found["sessions"] / RENEWAL_S * response_s * renewal / never["instructions"]
    cost = judging + (share or 0)
    judged = share is not None
    return [[f"instructions of the relay for a {COUNTED[load]}", f"{never['instructions']:,.0f}", "", f"{cost * 100:+.2f} %",
             f"< {TARGET:.0%}" if judged else "", ("met" if cost < TARGET else "missed") if judged else ""],
            ["of these for judging keys / for renewing them", f"{judging * 100:.3f} % / –",
             f"{judging * 100:.3f} % / {share * 100:.4f} %" if judged else "", "", "", ""]]


def table(result):
    header = ["", *TITLES.values(), "cost", "target", ""]
    lines, counted = time_rows(result["time"]), result.get("instructions")
    if counted:
        renewal = renewal_of(counted["bulk"])
        response_s = statistics.median(result["time"]["never"]) * RESPONSE_GB
        lines += instruction_rows("bulk", counted["bulk"], renewal, response_s)
        lines += instruction_rows("keepalive", counted["keepalive"], None, None)
        if renewal is not None:
            lines.append(["instructions of one renewal", "", f"{renewal:,.0f}", "", "", ""])
        lines.append(["system calls of the relay for a 10 MB response, counted", *(f"{found['calls'] / found['finished']:.0f}" for found in (
            counted["bulk"][name] for name in SETTINGS)), "", "", ""])
    return header, lines


CONDITIONS = """As for the large responses above, with the settings in turn. "Never": `traffic-key-records = none` and
`traffic-key-probability = 32`; "every two seconds": `traffic-key-bytes = 64k`, so that each of the 4 sessions is due for
another key all the time. Counting goes on in both. Of the CPU time the cost is the median of the ratios within each round.

Instructions: the relay alone runs under callgrind (a preloaded library starts it so and leaves out its filter of system calls,
nothing else is changed), all others as they come; what is counted is all below its event loop, in user mode. The counts repeat to
a fifth of a percent on a busy machine. Judging is what asks whether a key is due, which is done with any setting. Under callgrind the relay is
some fifty times slower, and two seconds hold as many times fewer responses; so what one renewal costs is counted, and how many there are
follows from the CPU time above: one of each session in two seconds at full speed. By the default limits there is one in 256 GiB, which
is nothing. What instructions do not show: the kernel's share (of the governor there is nothing in it but the 27 bytes of a KeyUpdate in
front of data that is written anyway; the system calls are counted, and vary by a few percent from run to run whatever the
setting); that they take different times; caches; what a processor with AVX-512 would do otherwise, which callgrind's is not; and the
counters of blocks, which are a handful of instructions inside sealing and opening."""
