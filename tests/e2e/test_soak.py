"""Sessions of many makes of client that check every byte, while what carries them is killed, stopped, reloaded and upgraded.
The long version is `make soak`; the seed that a failure prints repeats its order of events: SOAK_SEED=…"""

import os
import random
import sys
import warnings
from pathlib import Path

import pytest

import clients
import daemon
import servers
from conftest import FULL

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "soak"))
import soak  # noqa: E402 (knows where the other modules are)
import faults  # noqa: E402
import load  # noqa: E402

STORM_SECONDS = 20 if daemon.SANITIZED else 45
STORM_SESSIONS = 120 if daemon.SANITIZED else 1024


@pytest.fixture
def arrange(folder, authority):
    """arrange(sessions, …) → a Soak to be entered."""
    def make(sessions, **options):
        seed = int(os.environ.get("SOAK_SEED", 0)) or random.randrange(1 << 31)
        print(f"seed {seed}")
        made = soak.Soak(folder, authority, sessions, seed, **options)
        return made
    return make


def tell(run, summary):
    print(summary)
    for reason in run.skipped:
        warnings.warn(f"left out {reason}")


# ---- do the clients notice at all? ----

def alter(data):
    return data[:-1] + bytes([data[-1] ^ 1])


def swap(data):
    half = len(data) // 2
    return data[half:] + data[:half]


def echo_with(fault, after=3000):
    """Echoes `after` bytes or more faithfully and the next piece of more than one byte not."""
    def handler(connection):
        count, spoilt = 0, False
        while data := connection.socket.recv(65536):
            if count >= after and len(data) > 1 and not spoilt:
                data, spoilt = fault(data), True
            count += len(data)
            connection.socket.sendall(data)
    return handler


@pytest.mark.parametrize("fault", [alter, swap, lambda data: data[1:], lambda data: data + data[:1]],
                         ids=["altered", "swapped", "missing", "repeated"])
@pytest.mark.parametrize("kind", load.KINDS, ids=lambda kind: kind.name)
def test_client_notices_a_wrong_byte(shop, server, folder, kind, fault):
    if kind.missing():
        pytest.skip(kind.missing())
    here = shop(server(echo_with(fault)))
    client = load.Client(kind, folder, 0, 8, ports=here.port, root=here.root, name=clients.NAME, seed=5, pace=1)
    try:
        assert client.process.wait(60) == 2
        assert "byte " in client.errors()
    finally:
        client.close()


@pytest.mark.parametrize("kind", load.KINDS, ids=lambda kind: kind.name)
def test_client_counts_lost_sessions(shop, server, folder, kind):
    if kind.missing():
        pytest.skip(kind.missing())
    upstream = server(servers.quiet_echo)
    here = shop(upstream)
    client = load.Client(kind, folder, 0, 6, ports=here.port, root=here.root, name=clients.NAME, seed=6, pace=1)
    try:
        client.wait_line("ready")
        for connection in upstream.connections[:2]:
            connection.socket.shutdown(2)
        for session in here.edge.lines("sessions")[:1]:
            here.edge.run("sessions", "close", session["id"], check=False)
        daemon.wait_until(lambda: client.errors().count(" lost: ") >= 2, 30, client.errors)
        client.order("finish")
        client.read_line(60)
        assert client.process.wait(10) == 1
    finally:
        client.close()


# ---- storms ----

def test_storm(arrange):
    """All at once: killed and crashed relays, handshakers, control, reloads, upgrades, certificates."""
    with arrange(STORM_SESSIONS, pace=300) as run:
        memory = run.quiet_memory()
        faults.storm(run, STORM_SECONDS * (10 if FULL else 1))
        tell(run, run.finish(memory))


@pytest.mark.parametrize("kind", ["relay", "handshaker", "control"])
def test_one_kind_shot_again_and_again(arrange, kind):
    with arrange(60, kinds=("openssl", "gnutls")) as run:
        for _ in range(100 if FULL else 10):
            run.do(f"kill-{kind}")
        tell(run, run.finish())


def test_stopped_relay_writes_no_more(arrange):
    """Its sessions go on elsewhere. Were it to go on as well, clients would see repeated records, or ones that do not open."""
    with arrange(60, kinds=("openssl", "gnutls")) as run:
        victims = run.pids("relay")
        run.do("stop-relay")
        run.do("kill-relay")
        run.do("upgrade")
        assert not set(victims) & set(run.pids("relay"))
        tell(run, run.finish())


def test_relay_stopped_during_an_upgrade(arrange):
    """It answers nothing and must be killed, not waited for; when it can go on before that, it must not write."""
    with arrange(60, kinds=("openssl", "gnutls")) as run:
        for _ in range(30 if FULL else 3):
            run.do("upgrade-with-stopped-relay")
        tell(run, run.finish())


def test_everything_at_once(arrange):
    with arrange(60, kinds=("openssl", "gnutls")) as run:
        for _ in range(100 if FULL else 6):
            run.do("all-at-once")
        tell(run, run.finish())


@pytest.mark.timeout(3600 if FULL else 400)
def test_reloads_and_upgrades_in_a_row(arrange):
    """Nobody is dropped, no process is left over, and the memory at the end is that of the beginning."""
    sessions, reloads, upgrades = (2000, 1000, 100) if FULL else (60, 10, 3) if daemon.SANITIZED else (500, 40, 8)
    with arrange(sessions, kinds=("openssl", "gnutls"), pace=300) as run:
        memory = run.quiet_memory()
        for number in range(reloads):
            run.do("reload")
            if number % (reloads // upgrades) == 0 and run.done.get("upgrade", 0) < upgrades:
                run.do("upgrade")
        tell(run, run.finish(memory))
