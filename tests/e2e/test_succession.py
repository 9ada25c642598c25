"""Sessions outlive their relay: crash, planned hand-over, upgrade."""

import contextlib
import json
import os
import shutil
import signal
import socket
import ssl
from pathlib import Path

import pytest

import daemon
from daemon import wait_until
from sessions import CURRENT_AT, HEADER_SIZE, HOT_SIZE, PROTECT, SERIAL_AT, SLOT_SIZE, arena, exchanges, open_sessions, protected


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGILL])
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


# ---- upgrades that fail ----

def upgrade_outcome(here, *arguments):
    result = here.edge.run("upgrade", *arguments, "--json", check=False)
    return result.returncode, json.loads(result.stdout)


@pytest.fixture
def sessions_unharmed(shop):
    """A shop whose environment names a fault of the other program, and sessions that must not notice anything."""
    with contextlib.ExitStack() as stack:
        def make(fault):
            here = shop(extra=PROTECT, environment={"HOLDFAST_FAULT": fault})
            here.held = open_sessions(stack, here, 8)
            here.before = here.edge.processes()
            return here
        yield make


def check_unharmed(here):
    for client in here.held:
        client.exchange("after the attempt")
    with here.client() as client:
        client.exchange("new")
    assert not here.edge.events_named("session-closed", reason="lost-with-its-relay")


@pytest.mark.parametrize("fault, reason", [
    ("rehearsal:crash", "Illegal instruction"),
    ("rehearsal:exit", "exit code 1"),
    ("version:yes", "it takes a restart"),
])
def test_rehearsal_fails(sessions_unharmed, fault, reason):
    here = sessions_unharmed(fault)
    code, outcome = upgrade_outcome(here, daemon.FAULTY)
    assert code == 6 and outcome["stage"] == "refused" and reason in outcome["detail"], outcome
    assert here.edge.processes() == here.before, "something was replaced"
    check_unharmed(here)


def test_rehearsal_hangs(sessions_unharmed):
    here = sessions_unharmed("rehearsal:hang")
    code, outcome = upgrade_outcome(here, daemon.FAULTY)
    assert code == 6 and outcome["stage"] == "refused" and "did not end in time" in outcome["detail"]
    wait_until(lambda: here.edge.processes() == here.before)
    check_unharmed(here)


def test_not_a_holdfast(sessions_unharmed, folder):
    here = sessions_unharmed("none")
    empty = folder / "empty"
    empty.write_text("")
    open_to_all = folder / "open"
    shutil.copy(daemon.BINARY, open_to_all)
    open_to_all.chmod(0o777)
    for path, reason in (("/bin/true", "is it a holdfast?"), (empty, "no executable file"),
                         (open_to_all, "could be written by others"), (folder, "no executable file")):
        code, outcome = upgrade_outcome(here, path)
        assert code == 6 and reason in outcome["detail"], outcome
    assert "no file" in here.edge.run("upgrade", folder / "nothing", check=False).stderr
    assert here.edge.processes() == here.before
    check_unharmed(here)


@pytest.mark.parametrize("fault, reason", [
    ("upgrade-resumed:crash", "crashed"),
    ("upgrade-resumed:abort", "crashed"),
    ("relay-go:crash", "relay 0 of the new binary"),
    ("relay-go:exit", "relay 0 of the new binary"),
    ("handshaker-go:crash", "handshaker 0 of the new binary"),
])
def test_new_program_fails(sessions_unharmed, fault, reason):
    """It passed its rehearsal and fails when it is in place: the old one comes back, and every session is there."""
    here = sessions_unharmed(fault)
    pid = here.edge.process.pid
    code, outcome = upgrade_outcome(here, daemon.FAULTY)
    assert code == 6 and outcome["stage"] == "rolled-back" and reason in outcome["detail"], outcome
    here.edge.wait_event("upgrade-rolled-back")
    assert here.edge.process.poll() is None and here.edge.workers("supervisor") == [pid]
    here.edge.tolerated = ("failed upgrade",)
    assert all(Path(f"/proc/{process}/exe").samefile(daemon.BINARY) for process in here.edge.processes())
    check_unharmed(here)
    assert upgrade_outcome(here)[1]["stage"] == "done"  # and a good one still works
    check_unharmed(here)


def test_new_program_hangs(sessions_unharmed):
    here = sessions_unharmed("upgrade-resumed:hang")
    code, outcome = upgrade_outcome(here, daemon.FAULTY)
    assert code == 6 and outcome["stage"] == "rolled-back" and "hung" in outcome["detail"], outcome
    check_unharmed(here)


def test_dry_run_changes_nothing(sessions_unharmed):
    here = sessions_unharmed("none")
    code, outcome = upgrade_outcome(here, "--dry-run")
    assert code == 0 and outcome["stage"] == "rehearsed" and "8 sessions would move" in outcome["detail"]
    assert here.edge.processes() == here.before
    check_unharmed(here)


def test_to_another_program_and_back(sessions_unharmed):
    """Upgrade and downgrade are the same thing."""
    here = sessions_unharmed("none")
    for program in (daemon.FAULTY, daemon.BINARY):
        assert upgrade_outcome(here, program)[1]["stage"] == "done"
        assert all(Path(f"/proc/{process}/exe").samefile(program) for process in here.edge.processes())
        check_unharmed(here)


# ---- sessions that are at fault themselves ----

def test_poisonous_session(shop):
    """It kills the relay that serves it, and is ended; the others at that relay go on."""
    here = shop(extra=f"{PROTECT}\nworkers = 1", binary=daemon.FAULTY,
                environment={"HOLDFAST_FAULT_INPUT": "this kills"})
    here.edge.tolerated = ("killed by its session",)
    with contextlib.ExitStack() as stack:
        held = open_sessions(stack, here, 8)
        for poisoner in held[:2]:
            mark = here.edge.mark()
            poisoner.send(b"this kills whoever opens it")
            with pytest.raises((OSError, ssl.SSLError, EOFError)):
                poisoner.receive(1)
            here.edge.wait_event("session-closed", since=mark, reason="crashed-its-relay")
            for client in held[2:]:
                client.exchange("after the crash")
        here.edge.wait_event("sessions-adopted", count=2)
        assert len(here.edge.events_named("sessions-adopted")) == 2


def test_supervisor_killed_says_goodbye(shop):
    """Its death is the one that is not survived, but the house ends cleanly."""
    here = shop(extra=PROTECT)
    with here.wire(version="1.2") as old, here.wire(version="1.3") as new:
        for client in (old, new):
            client.send(b"x")
            client.receive_exactly(1)
        family = here.edge.processes()
        os.kill(here.edge.process.pid, signal.SIGKILL)
        here.edge.process.wait(10)
        assert [client.alert() for client in (old, new)] == ["close_notify", "close_notify"]
    wait_until(lambda: not any(daemon._alive(pid) for pid in family), 10, "workers outlive the supervisor")
    with pytest.raises(OSError):
        socket.create_connection(("127.0.0.1", here.port), 2)
    here.edge.process.returncode = 0


# ---- what could be mixed up ----


def test_corrupt_slot_is_closed(shop):
    """A sequence number is never guessed: a session whose slot does not check ends, all others go on."""
    here = shop(extra=f"{PROTECT}\nworkers = 1")
    here.edge.tolerated = ("killed",)
    with contextlib.ExitStack() as stack:
        held = open_sessions(stack, here, 8)
        victim, = here.edge.workers("relay")
        with arena(here, 0) as memory:
            serials = {int.from_bytes(memory[at + SERIAL_AT:at + SERIAL_AT + 8], "little"): at
                       for at in range(HEADER_SIZE, HEADER_SIZE + 16 * SLOT_SIZE, SLOT_SIZE)}
            at = serials[int(here.edge.lines("sessions", "--client", "127.0.0.1")[0]["id"].split("-")[1])]
            os.kill(victim, signal.SIGSTOP)
            memory[at + HOT_SIZE * memory[at + CURRENT_AT]] ^= 1  # the low byte of a sequence number
            os.kill(victim, signal.SIGKILL)
        here.edge.wait_event("session-closed", reason="corrupt-slot")
        broken = [client for client in held if not exchanges(client)]
        assert len(broken) == 1


def test_slot_number_given_to_another_session(shop):
    """The supervisor has not heard that a session ended when its slot is used again and the relay dies."""
    here = shop(extra=f"{PROTECT}\nworkers = 1")
    here.edge.tolerated = ("killed",)
    with contextlib.ExitStack() as stack:
        held = open_sessions(stack, here, 8)
        here.edge.write_config(here.edge.config_path.read_text().replace(PROTECT, "protect-after = 1h"))
        here.edge.run("reload")
        victim, = here.edge.workers("relay")
        os.kill(here.edge.process.pid, signal.SIGSTOP)
        held[0].close()
        here.edge.wait_event("session-closed")
        young = stack.enter_context(here.client())
        young.exchange()
        os.kill(victim, signal.SIGKILL)
        os.kill(here.edge.process.pid, signal.SIGCONT)
        here.edge.wait_event("sessions-adopted")
        for client in held[1:]:
            client.exchange("after")
        assert not exchanges(young)  # it was too young; above all, it did not get the other's socket
        wait_until(lambda: here.edge.descriptors()[here.edge.process.pid] - here.edge.baseline_descriptors <= 2 * 7 + 1)


def test_full_queue_to_the_supervisor(shop):
    """It hears of ended sessions late, but of all."""
    here = shop(extra=f"{PROTECT}\nworkers = 1")
    with contextlib.ExitStack() as stack:
        held = open_sessions(stack, here, 1500)
        os.kill(here.edge.process.pid, signal.SIGSTOP)
        for client in held[8:]:
            client.close()
        wait_until(lambda: here.edge.json("status")["sessions"] == 8, 30)
        for client in held[:8]:
            client.exchange("while the supervisor hears nothing")
        os.kill(here.edge.process.pid, signal.SIGCONT)
        wait_until(lambda: here.edge.descriptors()[here.edge.process.pid] - here.edge.baseline_descriptors <= 2 * 8 + 1)


@pytest.mark.parametrize("version", ["1.2", "1.3"])
def test_urgent_bytes(shop, version):
    """They stand in the stream like all others, also for the counters that a successor goes by."""
    here = shop(extra=f"{PROTECT}\nworkers = 1")
    here.edge.tolerated = ("killed",)
    with contextlib.ExitStack() as stack:
        here.edge.baseline_descriptors = here.edge.descriptors()[here.edge.process.pid]
        client = stack.enter_context(here.wire(version=version))
        client.send(b"x")
        assert client.receive_exactly(1) == b"x"
        protected(here.edge, 1)
        for round_ in range(4):
            message = b"urgent %d" % round_
            record = client.seal(message)
            cut = 1 + round_ * 7
            client.raw.sendall(record[:cut - 1])
            client.raw.send(record[cut - 1:cut], socket.MSG_OOB)
            mark = here.edge.mark()
            os.kill(here.edge.workers("relay")[0], signal.SIGKILL)
            here.edge.wait_event("sessions-adopted", since=mark)
            client.raw.sendall(record[cut:])
            assert client.receive_exactly(len(message)) == message


def test_stopped_relay_is_replaced(shop):
    """It cannot take its hands off, so it is killed; what it does not do any more its successor does."""
    here = shop(extra=PROTECT)
    here.edge.tolerated = ("killed",)
    with contextlib.ExitStack() as stack:
        held = open_sessions(stack, here, 8)
        victim = here.edge.workers("relay")[0]
        os.kill(victim, signal.SIGSTOP)
        for client in held:
            client.send(b"while one relay stands still\n")
        assert upgrade_outcome(here)[1]["stage"] == "done"
        assert not daemon._alive(victim)
        for client in held:
            assert client.read_line() == b"while one relay stands still\n"
            client.exchange("after")


def test_as_many_sessions_as_fit(shop):
    """At the descriptor limit both crash and upgrade find room for everything."""
    here = shop(extra=PROTECT, descriptor_limit=700)
    here.edge.tolerated = ("killed",)
    capacity = here.edge.json("status")["capacity"]
    with contextlib.ExitStack() as stack:
        held = open_sessions(stack, here, capacity)
        for index in range(2):
            mark = here.edge.mark()
            os.kill(here.edge.workers("relay")[index], signal.SIGKILL)
            here.edge.wait_event("sessions-adopted", since=mark, detail=lambda text: text.endswith(" 0 ended"))
        assert upgrade_outcome(here)[1]["stage"] == "done"
        for client in held:
            client.exchange("after")
