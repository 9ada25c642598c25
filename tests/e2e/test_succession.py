"""Sessions outlive their relay: crash, planned hand-over, upgrade."""

import contextlib
import os
import random
import signal
import threading
import time

import pytest

import clients
import daemon
from daemon import wait_until

PROTECT = "protect-after = 100ms"


def protected(edge, count):
    """Waits until so many sessions are registered with the supervisor (two descriptors each)."""
    before = edge.baseline_descriptors
    wait_until(lambda: edge.descriptors()[edge.process.pid] - before >= 2 * count, 20,
               lambda: f"{edge.descriptors()[edge.process.pid]} descriptors, {before} before")


def open_sessions(stack, here, count, **options):
    here.edge.baseline_descriptors = here.edge.descriptors()[here.edge.process.pid]
    held = [stack.enter_context(here.client(version=("1.2", "1.3")[i % 2], **options)) for i in range(count)]
    for client in held:
        client.exchange()
    protected(here.edge, count)
    return held


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSEGV])
def test_relay_dies(shop, number):
    here = shop(extra=PROTECT)
    here.edge.tolerated = ("killed",)
    with contextlib.ExitStack() as stack:
        held = open_sessions(stack, here, 16)
        for round_ in range(5):
            for index in range(2):
                mark = here.edge.mark()
                victim = here.edge.workers("relay")[index]
                os.kill(victim, number)
                here.edge.wait_event("sessions-adopted", since=mark, process=f"relay/{index}")
                for client in held:
                    client.exchange(f"round {round_}")
    assert not here.edge.events_named("session-closed", reason="lost-with-its-relay")


def test_upgrade_to_itself(shop):
    here = shop(extra=PROTECT)
    with contextlib.ExitStack() as stack:
        held = open_sessions(stack, here, 16)
        pid = here.edge.process.pid
        for round_ in range(3):
            mark = here.edge.mark()
            workers = {kind: here.edge.workers(kind) for kind in ("relay", "handshaker", "control")}
            assert "done" in here.edge.run("upgrade").stdout
            here.edge.wait_event("upgraded", since=mark)
            assert here.edge.process.poll() is None and here.edge.workers("supervisor") == [pid]
            for kind, before in workers.items():
                assert not set(before) & set(here.edge.workers(kind)), f"{kind} was not replaced"
            for client in held:
                client.exchange(f"round {round_}")
            with here.client() as client:
                client.exchange("new")
    assert not here.edge.events_named("process-ended", detail=lambda text: "restarting" in text)
