"""Sessions that are to outlive their relay."""

import contextlib
import mmap
import os
import ssl
from pathlib import Path

from daemon import wait_until

PROTECT = "protect-after = 100ms"
SLOT_SIZE, HEADER_SIZE, HOT_SIZE, CURRENT_AT, SERIAL_AT = 560, 4096, 168, 336, 352  # session/slot.h


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


@contextlib.contextmanager
def arena(here, relay):
    """The metadata of a relay's sessions, writable, as the supervisor holds it."""
    folder = Path(f"/proc/{here.edge.process.pid}/fd")
    paths = sorted((path for path in folder.iterdir() if "holdfast-metadata" in os.readlink(path)), key=lambda path: int(path.name))
    with open(paths[relay], "r+b") as file, mmap.mmap(file.fileno(), 0) as memory:
        yield memory


def exchanges(client):
    try:
        client.exchange("after")
        return True
    except (OSError, ssl.SSLError, EOFError):
        return False
