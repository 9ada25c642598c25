"""From medians to the table: figures, the ratio to the best peer, the target, and whether it is met."""

import datetime
import platform
import subprocess
from dataclasses import dataclass

OURS = "holdfast"
# Measures of their own: each is kept when only others are written anew.
HANDOVER = "## Hand-over"
RESUMPTION = "## Resumption after a certificate renewal"
GOVERNOR = "## Cost of renewing traffic keys"
CHECKS = "## Strict checks from outside"
WATCH = "## Ten thousand watched targets"
ANALYSIS = "## Where the time goes"  # written by hand: kept always
ORDER = (HANDOVER, RESUMPTION, GOVERNOR, CHECKS, WATCH, ANALYSIS)


@dataclass
class Row:
    measure: str
    figure: str      # which of the measure's figures
    title: str
    digits: int
    target: float    # None: none was set
    absolute: bool = False  # the target is a figure, not a ratio to the best peer
    at_least: bool = False  # more is better
    unit: str = ""          # of an absolute target


ROWS = [
    Row("full", "value", "CPU µs per full handshake + small request", 0, 0.8),
    Row("resumed", "value", "CPU µs per resumed handshake + small request", 0, 0.9),
    Row("keepalive", "value", "CPU µs per keep-alive request of 100 bytes", 1, 0.75),
    Row("bulk", "value", "CPU s per GB, 10 MB responses", 2, 0.55),
    Row("idle", "value", "user memory per idle session, KiB", 1, 1.0, absolute=True, unit=" KiB"),
    Row("storm", "p50", "latency in a handshake storm, p50, µs", 0, 0.5),
    Row("storm", "p90", "latency in a handshake storm, p90, µs", 0, 0.5),
    Row("storm", "p99", "latency in a handshake storm, p99, µs", 0, None),
    Row("overload", "value", "3 × more clients than can be served: handshakes, share of the own peak", 2, 0.9, absolute=True,
        at_least=True),
    Row("overload", "slowdown", "the same: p99 of a live session, × its p99 when idle", 1, 2.0, absolute=True),
]


def best_peer(figures, contestants, at_least=False):
    """The best peer in TCP mode: what is compared carries bytes and does not know HTTP."""
    peers = [contestant.name for contestant in contestants
             if contestant.tcp_mode and not contestant.ours and contestant.name in figures]
    return (max if at_least else min)(peers, key=figures.get) if peers else None


def verdict(row, own, ratio):
    judged = own if row.absolute else ratio
    if row.target is None or judged is None:
        return ""
    return "met" if (judged >= row.target if row.at_least else judged <= row.target) else "missed"


def table_cells(table, contestants):
    """Header and rows of text cells; measures that were not run are left out."""
    header = ["measure"] + [contestant.name for contestant in contestants]
    header += ["best TCP peer", "ratio", "target", ""]
    lines = []
    for row in ROWS:
        if not table.get(row.measure):
            continue
        figures = {name: values[row.figure] for name, values in table[row.measure].items()}
        own, best = figures.get(OURS), best_peer(figures, contestants, row.at_least)
        ratio = own / figures[best] if own is not None and best else None
        relation = "≥" if row.at_least else "≤"
        target = "" if row.target is None else f"{relation} {row.target:g}{row.unit if row.absolute else ' ×'}"
        cells = [row.title]
        cells += [f"{figures[contestant.name]:.{row.digits}f}" if contestant.name in figures else "–"
                  for contestant in contestants]
        cells += [best or "–", f"{ratio:.2f}" if ratio is not None else "–", target, verdict(row, own, ratio)]
        lines.append(cells)
    return header, lines


def print_cells(header, lines):
    widths = [max(len(cells[column]) for cells in [header] + lines) for column in range(len(header))]
    for cells in [header] + lines:
        padded = [cells[0].ljust(widths[0])] + [cell.rjust(width) for cell, width in zip(cells[1:], widths[1:])]
        print("  ".join(padded).rstrip())


def print_table(table, contestants):
    print_cells(*table_cells(table, contestants))
    for note in notes(table):
        print(note)


def notes(table):
    """What a reader must know about this run."""
    texts = []
    storm = table.get("storm", {})
    if storm:
        rates = ", ".join(f"{name} {figures['rate']:.0f}/s at {figures['core'] * 100:.0f} % of the core"
                          for name, figures in storm.items())
        texts.append(f"Storm: {rates}.")
        quiet = ", ".join(f"{name} {figures['quiet_p50']:.0f}/{figures['quiet_p90']:.0f}/{figures['quiet_p99']:.0f}"
                          for name, figures in storm.items())
        texts.append(f"The same session before the storm, p50/p90/p99 µs: {quiet}.")
        if not all(figures["realtime"] for figures in storm.values()):
            texts.append("The client had no real-time priority: its own waiting is in the latencies.")
    overload = table.get("overload", {})
    if overload:
        paces = ", ".join(f"{name} {figures['rate']:.0f} of {figures['peak']:.0f} ({figures['refused']:.0f} refused, "
                          f"{figures['given_up']:.0f} given up; served after {figures['waited']:.0f} ms)"
                          for name, figures in overload.items())
        texts.append(f"Overload, handshakes completed per second of those at the peak: {paces}.")
        lived = ", ".join(f"{name} {figures['quiet_p99']:.0f} → {figures['p50']:.0f}/{figures['p90']:.0f}/{figures['p99']:.0f}"
                          for name, figures in overload.items())
        texts.append(f"A live session meanwhile, µs, p99 when idle → p50/p90/p99: {lived}.")
    disturbed = sum(figures["disturbed"] for by_name in table.values() for figures in by_name.values())
    samples = sum(figures["samples"] for by_name in table.values() for figures in by_name.values())
    if disturbed:
        texts.append(f"{disturbed} of {samples} samples were disturbed: others used over 10 % of the contestant's core.")
    return texts


def spread_lines(table, contestants):
    lines = ["| measure | " + " | ".join(contestant.name for contestant in contestants) + " |",
             "|---" * (len(contestants) + 1) + "|"]
    for row in ROWS:
        figures = table.get(row.measure)
        if not figures or row.figure in ("p90", "p99", "slowdown"):
            continue
        cells = [f"{figures[contestant.name]['low']:.{row.digits}f} – {figures[contestant.name]['high']:.{row.digits}f}"
                 if contestant.name in figures else "–" for contestant in contestants]
        lines.append(f"| {row.title} | " + " | ".join(cells) + " |")
    return lines


def machine():
    """What the machine is, without naming it."""
    known = {}
    listing = subprocess.run(["lscpu"], capture_output=True, text=True, timeout=10, check=False,
                             env={"LC_ALL": "C", "PATH": "/usr/bin:/bin"})
    for line in listing.stdout.splitlines():
        key, _, value = line.partition(":")
        known[key.strip()] = value.strip()
    virtual = f", virtual machine ({known['Hypervisor vendor']})" if "Hypervisor vendor" in known else ""
    kernel = platform.release().split("-")[0]
    return f"{known.get('CPU(s)', '?')} × {known.get('Model name', 'unknown processor')}{virtual}, Linux {kernel}"


def sections(path):
    """(what stands before, {heading: text}) of the sections that the other measures do not write."""
    try:
        with open(path, encoding="utf-8") as file:
            rest = file.read()
    except FileNotFoundError:
        return "", {}
    found = {}
    for heading in reversed(ORDER):  # from the last one up
        rest, mark, text = rest.partition(heading)
        if mark:
            found[heading] = heading + text
    return rest, found


def join_sections(found):
    return "".join("\n" + found[heading].rstrip() + "\n" for heading in ORDER if heading in found)


def markdown_table(header, lines):
    markdown = ["| " + " | ".join(cells) + " |" for cells in [header] + lines]
    markdown.insert(1, "|---" + "|---:" * (len(header) - 1) + "|")
    return "\n".join(markdown)


def origin(versions):
    """Date, machine and versions."""
    openssl = subprocess.run(["openssl", "version"], capture_output=True, text=True, timeout=10, check=False)
    return (f"{datetime.date.today().isoformat()} · {machine()} · {' '.join(openssl.stdout.split()[:2])} ·\n"
            + ", ".join(f"{name} {version}" for name, version in versions.items()))


def write_section(path, heading, header, lines, versions, conditions):
    """Puts a section into the results, in place of the one before."""
    before, found = sections(path)
    found[heading] = f"{heading}\n\n{origin(versions)}\n\n{markdown_table(header, lines)}\n\n{conditions}\n"
    with open(path, "w", encoding="utf-8") as file:
        file.write(before.rstrip() + "\n" + join_sections(found))


def write_results(path, table, contestants, versions, arguments, suite):
    header, lines = table_cells(table, contestants)
    text = f"""# Results of `make bench`

{origin(versions)}

{markdown_table(header, lines)}

{chr(10).join(notes(table))}

## Conditions

* One worker each, all processes of a contestant on core 1; load generator and plain upstream on core 0; loopback; each
  sample with a freshly started contestant. {arguments.rounds} rounds, interleaved; medians. Absolute figures wander with the
  neighbours of a virtual machine: the ratios within one run are the message.
* TLS 1.3, X25519, {suite}, P-256 certificate with one intermediate, checked on each connection by the client, as is
  that a connection was resumed or not. Tickets, buffers and all else as each contestant has them by default: after a full
  handshake Holdfast sends one ticket, the others send OpenSSL's two. Nobody logs connections (for Holdfast that is
  `log-sessions = no`, not its default). nginx http keeps its upstream connections (`keepalive 64`), which is why ratios
  are to the best peer in TCP mode.
* CPU is user and system time of all processes of the contestant (`/proc/PID/stat`), children included. Full and
  resumed: 16 connections at a time, each one request of 100 bytes and a clean end. Keep-alive: 32 connections, closed loop.
  Large responses: 4 connections, 10 MB each.
* Memory is the growth of Pss (without mapped files) of all processes of the contestant over 3,000 sessions that have made
  one request each, after a warm-up with more handshakes at once than later; all sessions serve another request
  afterwards.
* Latency is that of a request of 100 bytes every 3 ms on one established session, client and upstream at real-time
  priority, while others open {arguments.rate} connections a second with full handshakes, in open loop with exponential gaps.
* Overload: the peak is that of 64 connections at a time, each a full handshake, one request and a clean end. Then three times as
  many arrive as that, in open loop, from 16 addresses; a client gives up after 5 s. What counts begins 6 s later and lasts 6 s.
  The live session is the same as above.

## Lowest and highest sample

{chr(10).join(spread_lines(table, contestants))}
{join_sections(sections(path)[1])}"""
    with open(path, "w", encoding="utf-8") as file:
        file.write(text)
