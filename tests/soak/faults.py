"""What the soak does to the edge: each action waits until it is over, and the sessions are not to notice any of it."""

import contextlib
import os
import signal
import ssl
import time

import clients
import daemon
from daemon import wait_until

PATIENCE = 60  # for one action to be over
CRASH = signal.SIGABRT if daemon.SANITIZED else signal.SIGSEGV  # AddressSanitizer takes SIGSEGV for its own


def kill(soak, kind, mark, with_signal=signal.SIGKILL):
    victim = soak.dice.choice(soak.pids(kind))
    soak.deaths += kind == "relay"
    os.kill(victim, with_signal)
    soak.edge.wait_event("process-started", since=mark, timeout=PATIENCE,
                         process=lambda name: name is not None and name.startswith(kind))
    wait_until(lambda: soak.whole() and victim not in soak.pids(kind), PATIENCE)


def crash_relay(soak, mark):
    soak.crashes += 1
    kill(soak, "relay", mark, CRASH)


def stop_relay(soak, mark):
    """The watchdog takes it for hung and kills it; only then may its successor begin."""
    soak.deaths += 1
    victim = soak.dice.choice(soak.pids("relay"))
    os.kill(victim, signal.SIGSTOP)
    soak.edge.wait_event("process-ended", since=mark, timeout=PATIENCE, detail=lambda text: "hung" in (text or ""))
    wait_until(lambda: soak.whole() and victim not in soak.pids("relay"), PATIENCE)


def certificate(soak, _):
    pair = soak.replace_certificate()
    port, number = soak.ports["plain"], 0

    def served():
        nonlocal number
        number += 1
        with contextlib.suppress(OSError, ssl.SSLError):
            return clients.leaf(port, soak.authority.root_path) == pair.fingerprint
        return False
    wait_until(served, PATIENCE, "the new certificate is not served")


def reload(soak, _):
    soak.config_number += 1
    soak.edge.write_config(soak.config())
    soak.edge.run("reload", timeout=PATIENCE)


def refused_reload(soak, _):
    """A configuration that is wrong changes nothing."""
    soak.edge.write_config(soak.config().replace("from = files", "from = nowhere"))
    try:
        assert soak.edge.run("reload", check=False, timeout=PATIENCE).returncode != 0
    finally:
        soak.edge.write_config(soak.config())


def upgrade(soak, mark):
    before = soak.edge.process.pid
    soak.edge.run("upgrade", timeout=PATIENCE)
    soak.edge.wait_event("upgraded", since=mark)
    assert soak.edge.process.poll() is None and soak.edge.process.pid == before


def upgrade_by_signal(soak, mark):
    soak.edge.process.send_signal(signal.SIGUSR2)
    soak.edge.wait_event("upgraded", since=mark, timeout=PATIENCE)
    wait_until(soak.whole, PATIENCE)


def refused_upgrade(soak, _):
    """A program that is no Holdfast changes nothing."""
    assert soak.edge.run("upgrade", "/bin/false", check=False, timeout=PATIENCE).returncode != 0
    wait_until(soak.whole, PATIENCE)


def upgrade_with_stopped_relay(soak, _):
    """The old relay is stopped at some instant of the upgrade, and goes on when it is over: it has nothing more to say."""
    soak.deaths += 1
    victim = soak.dice.choice(soak.pids("relay"))
    with soak.start_verb("upgrade") as order:
        time.sleep(soak.dice.uniform(0, 0.4))
        with contextlib.suppress(ProcessLookupError):
            os.kill(victim, signal.SIGSTOP)
        assert order.wait(PATIENCE) == 0
    with contextlib.suppress(ProcessLookupError):
        os.kill(victim, signal.SIGCONT)
    wait_until(lambda: soak.whole() and victim not in soak.pids("relay"), PATIENCE)


def all_at_once(soak, _):
    """An upgrade, a reload and a death in any order. Any of the orders may be refused or taken back; no session pays for it."""
    soak.deaths += 1
    victim = soak.dice.choice([process["pid"] for process in soak.status()["processes"] if process["kind"] != "supervisor"])
    steps = [lambda: soak.start_verb("upgrade"), lambda: soak.start_verb("reload"), lambda: os.kill(victim, signal.SIGKILL)]
    soak.dice.shuffle(steps)
    orders = []
    for step in steps:
        with contextlib.suppress(ProcessLookupError):
            orders.append(step())
        time.sleep(soak.dice.uniform(0, 0.3))
    for order in filter(None, orders):
        order.wait(PATIENCE)
    wait_until(soak.whole, PATIENCE)


ACTIONS = {
    "kill-relay": lambda soak, mark: kill(soak, "relay", mark),
    "kill-handshaker": lambda soak, mark: kill(soak, "handshaker", mark),
    "kill-control": lambda soak, mark: kill(soak, "control", mark),
    "crash-relay": crash_relay,
    "stop-relay": stop_relay,
    "certificate": certificate,
    "reload": reload,
    "refused-reload": refused_reload,
    "upgrade": upgrade,
    "upgrade-by-signal": upgrade_by_signal,
    "refused-upgrade": refused_upgrade,
    "upgrade-with-stopped-relay": upgrade_with_stopped_relay,
    "all-at-once": all_at_once,
}
# How often what comes in a storm. A stopped relay is left out: the watchdog gives it long to go on.
STORM = {"kill-relay": 8, "crash-relay": 3, "kill-handshaker": 3, "kill-control": 2, "certificate": 2, "reload": 4,
         "refused-reload": 1, "upgrade": 3, "upgrade-by-signal": 1, "refused-upgrade": 1, "all-at-once": 3}


def storm(soak, seconds, actions=None):
    """Each action once in random order, then by chance until the time is over."""
    weights = {name: STORM.get(name, 1) for name in actions or STORM}
    soak.start_churn()
    order = list(weights)
    soak.dice.shuffle(order)
    end = time.monotonic() + seconds
    while order or time.monotonic() < end:
        soak.do(order.pop() if order else soak.dice.choices(list(weights), list(weights.values()))[0])
        time.sleep(soak.dice.uniform(0, 0.3))  # not every fault meets the traces of the one before
