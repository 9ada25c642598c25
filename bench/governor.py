"""What renewing traffic keys costs: large responses with limits that are never reached, and with keys renewed as often as the
rule of two seconds allows. Both are the same program; rounds are interleaved, and the median of the ratios within each round counts."""

import dataclasses
import statistics

from contestants import CONTESTANTS

SETTINGS = {
    "never": "traffic-key-records = none\n    traffic-key-probability = 32",
    "always": "traffic-key-bytes = 64k",
}
TITLES = {"never": "never renewed", "always": "renewed every two seconds"}
TARGET = 0.01


def measure(bench, load, rounds, progress):
    """{setting: CPU seconds per GB of each round}; None without Holdfast."""
    ours = next((contestant for contestant in CONTESTANTS if contestant.ours), None)
    if ours.name not in bench.arguments.contestants:
        return None
    result = {name: [] for name in SETTINGS}
    for number in range(rounds):
        for name in list(SETTINGS)[::1 if number % 2 else -1]:
            progress(f"governor: round {number + 1} of {rounds}, {name}")
            contestant = dataclasses.replace(
                ours, command=lambda setup, name=name: ours.command(dataclasses.replace(setup, listener=SETTINGS[name])))
            result[name].append(bench.sample(load, contestant)["value"])
    progress("")
    return result


def table(result):
    medians = {name: statistics.median(values) for name, values in result.items()}
    cost = statistics.median(always / never for always, never in zip(result["always"], result["never"])) - 1
    header = ["CPU s per GB, 10 MB responses", *TITLES.values(), "cost", "target", ""]
    spread = ["lowest – highest", *(f"{min(result[name]):.3f} – {max(result[name]):.3f}" for name in SETTINGS), "", "", ""]
    return header, [["median", *(f"{medians[name]:.3f}" for name in SETTINGS), f"{cost * 100:+.1f} %", f"< {TARGET:.0%}",
                     "met" if cost < TARGET else "missed"], spread]


CONDITIONS = """As for the large responses above, with the settings in turn. "Never": `traffic-key-records = none` and
`traffic-key-probability = 32`; "every two seconds": `traffic-key-bytes = 64k`, so that each of the 4 sessions is due for
another key all the time. Counting goes on in both. The cost is the median of the ratios within each round."""
