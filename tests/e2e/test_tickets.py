"""Ticket keys: rotation, storage, sharing; what resumes over what, and what does not."""

import contextlib
import datetime
import os
import re
import shutil
import signal
import ssl
import subprocess
import time

import pytest

import clients
import daemon
from client_trust import VERSIONS
from daemon import free_port, wait_until
from scrapes import metrics


def connect(port, tls, session=None):
    """One exchange; returns whether it was resumed, and the session to resume next time."""
    with clients.Client(port, tls=tls, session=session) as client:
        client.exchange("fetches the ticket of TLS 1.3, too")
        return client.socket.session_reused, client.socket.session


def keys(edge):
    """The ids of the keys by role, oldest first, and what stands above them."""
    head, *rows = edge.lines("keys", "tickets", "list")
    roles = {"previous": [], "current": [], "next": []}
    for row in reversed(rows):
        roles[row["role"]].append(row["id"])
    assert len(roles["current"]) == 1
    return roles, head


def current(edge):
    return keys(edge)[0]["current"][0]


def rotate(edge, *options):
    return edge.lines("keys", "tickets", "rotate", *options)


def restart(edge):
    edge.stop()
    edge.events.clear()
    edge.start()


@pytest.fixture
def kek(folder):
    """A key-encryption key as its file."""
    path = folder / "key-encryption-key"
    path.write_text(os.urandom(32).hex() + "\n")
    path.chmod(0o600)
    return path


# ---- what is refused ----

@pytest.mark.parametrize("content, mode, said", [
    (b"short", 0o600, "found 5 bytes that are no key; expected 32 bytes or 64 hexadecimal digits; make one with"),
    (b"k" * 33, 0o600, "found 33 bytes"),
    (b"k" * 32, 0o640, "found mode 0640; expected no rights for group and others; chmod 0600"),
    (b"k" * 32, 0o604, "found mode 0604"),
    (None, 0, "No such file"),
])
def test_bad_key_encryption_key_is_refused(shop, folder, content, mode, said):
    """By the test of the configuration, by a reload, and at the start."""
    here = shop()
    path = folder / "bad-key"
    if content is not None:
        path.write_bytes(content)
        path.chmod(mode)
    text = f'key-encryption-key = "{path}"\n' + here.edge.config_path.read_text()
    elsewhere = folder / "bad.conf"
    elsewhere.write_text(text)
    tested = daemon.holdfast("config", "test", "-c", elsewhere, check=False)
    assert tested.returncode in (2, 3) and said in tested.stderr, tested
    before = current(here.edge)
    here.edge.write_config(text)
    reloaded = here.edge.run("reload", check=False)
    assert reloaded.returncode != 0 and said in reloaded.stdout + reloaded.stderr, reloaded
    assert current(here.edge) == before
    started = daemon.holdfast("run", "-c", elsewhere, check=False)
    assert started.returncode == tested.returncode and said in started.stderr, started


def test_credential_without_a_folder_is_refused(shop):
    here = shop()
    elsewhere = here.folder / "bad.conf"
    elsewhere.write_text('key-encryption-key = "credential:kek"\n' + here.edge.config_path.read_text())
    tested = daemon.holdfast("config", "test", "-c", elsewhere, check=False)
    assert tested.returncode == 3 and "CREDENTIALS_DIRECTORY is not set" in tested.stderr
    elsewhere.write_text('ticket-keys-file = "/tmp/x"\n' + here.edge.config_path.read_text())
    tested = daemon.holdfast("config", "test", "-c", elsewhere, check=False)
    assert tested.returncode == 2 and "without key-encryption-key" in tested.stderr


def test_wrong_words_are_refused(shop):
    here = shop()
    for words in (("tickets",), ("tickets", "burn"), ("tickets", "list", "x"), ("tickets", "list", "--drop-previous"), ("ticket",)):
        result = here.edge.run("keys", *words, check=False)
        assert result.returncode == 2, words


# ---- rotation ----

@VERSIONS
def test_tickets_resume_across_rotations(shop, version):
    here = shop()
    tls = clients.context(here.root, version)
    _, session = connect(here.port, tls)
    before, head = keys(here.edge)
    assert head["storage"] == "memory" and before["previous"] == [] and len(before["next"]) == 1
    for _ in range(5):
        rotate(here.edge)
        assert connect(here.port, tls, session)[0]
    after, _ = keys(here.edge)
    assert after["previous"][:2] == before["current"] + before["next"] and len(after["previous"]) == 5
    here.edge.wait_event("ticket-keys-rotated", count=5)


@VERSIONS
def test_a_ticket_of_an_old_key_is_renewed(shop, version):
    """Resumed with an old key, the client gets a ticket of the current one, which goes on when the old one ends."""
    here = shop()
    tls = clients.context(here.root, version)
    _, session = connect(here.port, tls)
    for _ in range(3):
        rotate(here.edge)
        resumed, session = connect(here.port, tls, session)
        assert resumed


@pytest.mark.parametrize("version", ["tls1_2", "tls1_3"])
def test_s_client_resumes(shop, folder, version):
    here = shop()
    ticket = folder / "session"

    def hello(*options):
        return clients.s_client(here.port, f"-{version}", *options, text=b"hello there\n", until=b"\nhello there")

    def key_name(output):
        return re.findall(r"TLS session ticket:\s+0000 - ([0-9a-f -]{47})", output)[-1]

    first = hello("-sess_out", str(ticket))
    rotate(here.edge)
    second = hello("-sess_in", str(ticket))
    assert "New, TLS" in first and "Reused, TLS" in second
    assert key_name(first) != key_name(second)  # the current key's
    rotate(here.edge, "--drop-previous")
    output = hello("-sess_in", str(ticket))
    assert "New, TLS" in output and "\nhello there" in output


def test_rotation_by_time(shop):
    here = shop(extra="ticket-key-lifetime = 1s\n")
    tls = clients.context(here.root, "1.3")
    _, session = connect(here.port, tls)
    first = current(here.edge)
    here.edge.wait_event("ticket-keys-rotated", count=3, timeout=20)
    assert first in keys(here.edge)[0]["previous"]
    assert connect(here.port, tls, session)[0]


@VERSIONS
def test_drop_previous_makes_full_handshakes(shop, version):
    here = shop()
    tls = clients.context(here.root, version)
    _, session = connect(here.port, tls)
    before, _ = keys(here.edge)
    with here.client(version=version) as live:
        live.exchange()
        done = rotate(here.edge, "--drop-previous")[0]
        assert done["done"] == "replaced"
        after, _ = keys(here.edge)
        assert after["previous"] == [] and not set(sum(before.values(), [])) & set(sum(after.values(), []))
        resumed, session = connect(here.port, tls, session)
        assert not resumed
        assert connect(here.port, tls, session)[0]
        live.exchange("live sessions stay")


def test_drop_previous_ends_resumption_by_id(shop):
    """What a client without tickets is resumed from is thrown away, too."""
    here = shop()
    tls = clients.context(here.root, "1.2")
    tls.options |= ssl.OP_NO_TICKET
    _, session = connect(here.port, tls)
    rotate(here.edge)
    assert connect(here.port, tls, session)[0]
    rotate(here.edge, "--drop-previous")
    resumed, session = connect(here.port, tls, session)
    assert not resumed
    assert connect(here.port, tls, session)[0]


def test_sessions_hang_on_their_ticket_key(shop):
    here = shop()
    with here.client() as client:
        client.exchange()
        assert here.edge.lines("sessions", "--superseded=ticket-key") == []
        rotate(here.edge)
        superseded, = here.edge.lines("sessions", "--superseded=ticket-key")
        assert superseded["superseded"] == ["ticket-key"]
        with here.client() as later:
            later.exchange()
            assert len(here.edge.lines("sessions", "--superseded=ticket-key")) == 1


def test_a_key_brought_forward_is_current_from_then_on(shop):
    """Its age counts from its use, not from the time that was meant for it."""
    here = shop()
    before = time.time()
    rotate(here.edge)
    rotate(here.edge)

    def rows():
        head, *rows = here.edge.lines("keys", "tickets", "list")
        return head["current_age_s"], {row["role"]: row for row in rows}
    wait_until(lambda: rows()[0] >= 1)
    age, by_role = rows()
    since = datetime.datetime.fromisoformat(by_role["current"]["since"].replace("Z", "+00:00")).timestamp()
    assert before - 2 <= since <= time.time() and age <= time.time() - before + 2


def test_metrics_and_status(shop):
    admin = free_port()
    here = shop(extra=f'admin {{ bind = {{"127.0.0.1:{admin}"}} }}')
    rotate(here.edge)
    rotate(here.edge)
    samples = metrics(admin)
    assert [samples[f'holdfast_ticket_keys{{role="{role}"}}'] for role in ("previous", "current", "next")] == [2, 1, 1]
    assert samples["holdfast_ticket_keys_storage_error"] == 0 and samples["holdfast_ticket_key_age_seconds"] >= 0
    assert samples['holdfast_ticket_keys_rotated_total{process="control"}'] == 2
    assert here.edge.json("status")["ticket_keys"]["storage"] == "memory"
    listed = here.edge.run("keys", "tickets", "list").stdout
    assert "in memory only" in listed and "current" in listed and "previous" in listed


# ---- what they outlive ----

@VERSIONS
def test_keys_outlive_processes(shop, version):
    """A killed handshaker, a killed control, a reload, an upgrade: with keys that are stored nowhere."""
    here = shop()
    here.edge.tolerated = ("killed",)
    tls = clients.context(here.root, version)
    _, session = connect(here.port, tls)
    rotate(here.edge)
    roles, _ = keys(here.edge)

    def check():
        nonlocal session
        for _ in range(4):  # both handshakers
            resumed, session = connect(here.port, tls, session)
            assert resumed
        assert keys(here.edge)[0] == roles

    for kind in ("handshaker", "control"):
        mark = here.edge.mark()
        victims = here.edge.workers(kind)
        for pid in victims:
            os.kill(pid, signal.SIGKILL)
        here.edge.wait_event("process-started", since=mark, count=len(victims), timeout=20)
        wait_until(lambda: here.edge.run("status", check=False).returncode == 0, 20)
        wait_until(lambda: here.edge.run("keys", "tickets", "list", check=False).returncode == 0, 20)
        check()
    here.edge.write_config(here.edge.config_path.read_text() + "\nlog-sessions = no\n")
    here.edge.run("reload")
    check()
    here.edge.run("upgrade")
    wait_until(lambda: here.edge.run("keys", "tickets", "list", check=False).returncode == 0, 20)
    check()


@VERSIONS
def test_stored_keys_outlive_a_restart(shop, kek, version):
    here = shop(extra=f'key-encryption-key = "{kek}"\n')
    tls = clients.context(here.root, version)
    _, old = connect(here.port, tls)
    rotate(here.edge)
    _, session = connect(here.port, tls)
    roles, head = keys(here.edge)
    assert head["storage"] == "file"
    for _ in range(2):
        restart(here.edge)
        assert keys(here.edge)[0] == roles
        assert connect(here.port, tls, old)[0]
        resumed, session = connect(here.port, tls, session)
        assert resumed
    rotate(here.edge, "--drop-previous")
    restart(here.edge)
    assert not connect(here.port, tls, session)[0]


def test_credential_of_the_service_manager(shop, kek):
    here = shop(extra='key-encryption-key = "credential:key-encryption-key"\n',
                environment={"CREDENTIALS_DIRECTORY": str(kek.parent)})
    tls = clients.context(here.root, "1.3")
    _, session = connect(here.port, tls)
    assert keys(here.edge)[1]["storage"] == "file"
    restart(here.edge)
    assert connect(here.port, tls, session)[0]


def test_keys_in_memory_end_with_the_daemon(shop):
    here = shop()
    assert "in memory only" in here.edge.wait_event("ticket-keys-ready")["detail"]
    tls = clients.context(here.root, "1.3")
    _, session = connect(here.port, tls)
    restart(here.edge)
    assert not connect(here.port, tls, session)[0]


def test_storage_by_reload(shop, kek):
    """Keys that were in memory only are stored from then on, and rotation follows the new lifetime."""
    here = shop()
    tls = clients.context(here.root, "1.3")
    _, session = connect(here.port, tls)
    here.edge.write_config(f'key-encryption-key = "{kek}"\nticket-key-lifetime = 1h\n' + here.edge.config_path.read_text())
    here.edge.run("reload")
    stored = here.edge.state_folder / "ticket-keys"
    wait_until(stored.exists)
    assert stored.stat().st_mode & 0o777 == 0o600 and keys(here.edge)[1]["key_lifetime_s"] == 3600
    restart(here.edge)
    assert connect(here.port, tls, session)[0]


def test_another_key_encryption_key_by_reload(shop, folder, kek):
    here = shop(extra=f'key-encryption-key = "{kek}"\n')
    roles, _ = keys(here.edge)
    stored = here.edge.state_folder / "ticket-keys"
    before = stored.read_bytes()
    other = folder / "other-key"
    other.write_bytes(os.urandom(32))
    other.chmod(0o400)
    here.edge.write_config(here.edge.config_path.read_text().replace(str(kek), str(other)))
    here.edge.run("reload")
    wait_until(lambda: stored.read_bytes() != before)
    restart(here.edge)
    assert keys(here.edge)[0] == roles
    assert not here.edge.events_named("ticket-keys-storage-failed")


# ---- sharing ----

@VERSIONS
def test_two_instances_share_a_ring(shop, start, folder, kek, version):
    """Every connection goes to the other instance, with rotations by both, and each resumes."""
    shared = folder / "shared"
    shared.mkdir()
    shared.chmod(0o777)
    options = f'key-encryption-key = "{kek}"\nticket-keys-file = "{shared}/ring"\n'
    here = shop(extra=options)
    port = free_port()
    text = here.edge.config_path.read_text()
    there = start(text.replace(f"127.0.0.1:{here.port}", f"127.0.0.1:{port}").replace(f'"{folder}/state"', f'"{folder}/there/state"'),
                  subfolder="there")
    tls = clients.context(here.root, version)
    _, session = connect(here.port, tls)
    ports = (port, here.port)
    edges = (there, here.edge)
    for turn in range(10):
        if turn % 3 == 0:
            rotate(edges[turn % 2])
            wait_until(lambda: current(there) == current(here.edge), 10)
        resumed, session = connect(ports[turn % 2], tls, session)
        assert resumed, turn
    assert keys(there)[0] == keys(here.edge)[0]
    rotate(there, "--drop-previous")
    wait_until(lambda: current(there) == current(here.edge), 10)
    assert keys(there)[0] == keys(here.edge)[0]
    assert not connect(here.port, tls, session)[0]


@VERSIONS
def test_everything_changes_and_all_resume(shop, start, folder, kek, version):
    """Two instances with one ring, a client that goes from one to the other; between any two visits something is replaced."""
    shared = folder / "shared"
    shared.mkdir()
    shared.chmod(0o777)
    here = shop(extra=f'key-encryption-key = "{kek}"\nticket-keys-file = "{shared}/ring"\n')
    port = free_port()
    text = here.edge.config_path.read_text()
    there = start(text.replace(f"127.0.0.1:{here.port}", f"127.0.0.1:{port}").replace(f'"{folder}/state"', f'"{folder}/there/state"'),
                  subfolder="there")
    here.edge.tolerated = there.tolerated = ("killed",)
    tls = clients.context(here.root, version)
    _, session = connect(here.port, tls)

    def renew_certificate(_):
        pair = here.replace()
        wait_until(lambda: here.leaf() == clients.leaf(port, here.root) == pair.fingerprint, 20)

    def reload(edge):
        edge.write_config(edge.config_path.read_text() + f"\n# {os.urandom(4).hex()}\n")
        edge.run("reload")

    def kill_handshakers(edge):
        mark = edge.mark()
        victims = edge.workers("handshaker")
        for pid in victims:
            os.kill(pid, signal.SIGKILL)
        edge.wait_event("process-started", since=mark, count=len(victims), timeout=20)

    changes = (renew_certificate, rotate, reload, kill_handshakers, restart, lambda edge: edge.run("upgrade"))
    resumed = []
    for number, change in enumerate(changes * 2):
        change((here.edge, there)[number % 2])
        for visited in (here.port, port):
            again, session = connect(visited, tls, session)
            resumed.append(again)
    assert resumed == [True] * 2 * 2 * len(changes)


# ---- storage that fails ----

@contextlib.contextmanager
def _in_the_way(state, _):
    (state / "ticket-keys.new").mkdir()
    yield
    (state / "ticket-keys.new").rmdir()


@contextlib.contextmanager
def _read_only(state, edge):
    if os.geteuid() == 0 and state.stat().st_uid == 0:
        pytest.skip("root writes everywhere")
    del edge
    state.chmod(0o500)
    yield
    state.chmod(0o700)


@pytest.mark.parametrize("trouble", [_in_the_way, _read_only])
def test_rotation_goes_on_without_storage(shop, kek, trouble):
    admin = free_port()
    here = shop(extra=f'key-encryption-key = "{kek}"\nadmin {{ bind = {{"127.0.0.1:{admin}"}} }}')
    tls = clients.context(here.root, "1.3")
    _, session = connect(here.port, tls)
    with trouble(here.edge.state_folder, here.edge):
        before = current(here.edge)
        rotate(here.edge)
        here.edge.wait_event("ticket-keys-storage-failed")
        assert current(here.edge) != before
        status = here.edge.json("status")["ticket_keys"]
        assert status["storage"] == "failed" and "ticket-keys" in status["storage_error"]
        assert "TICKET KEYS NOT STORED" in here.edge.run("status").stdout
        assert metrics(admin)["holdfast_ticket_keys_storage_error"] == 1
        rotate(here.edge)
        assert connect(here.port, tls, session)[0]
    here.edge.wait_event("ticket-keys-storage-healed", timeout=70)
    assert len(here.edge.events_named("ticket-keys-storage-failed")) == 1
    assert metrics(admin)["holdfast_ticket_keys_storage_error"] == 0
    roles, _ = keys(here.edge)
    restart(here.edge)
    assert keys(here.edge)[0] == roles and connect(here.port, tls, session)[0]


@pytest.fixture
def small_disk(folder):
    """A folder on a file system of 16 KiB."""
    path = folder / "disk"
    path.mkdir()
    mounted = os.geteuid() == 0 and subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=16k,mode=777", "tmpfs", path], check=False, capture_output=True).returncode == 0
    if not mounted:
        pytest.skip("no file system can be mounted here")
    yield path
    subprocess.run(["umount", "-l", path], check=True)


def test_rotation_goes_on_with_a_full_disk(shop, kek, small_disk):
    here = shop(extra=f'key-encryption-key = "{kek}"\nticket-keys-file = "{small_disk}/ring"\n')
    tls = clients.context(here.root, "1.3")
    _, session = connect(here.port, tls)
    with contextlib.suppress(OSError), open(small_disk / "filler", "wb", buffering=0) as filler:
        while True:
            filler.write(bytes(1024))
    before = current(here.edge)
    rotate(here.edge)
    assert "No space left" in here.edge.wait_event("ticket-keys-storage-failed")["detail"]
    assert current(here.edge) != before and connect(here.port, tls, session)[0]
    assert (small_disk / "ring").stat().st_size > 0  # what was there is whole
    (small_disk / "filler").unlink()
    here.edge.wait_event("ticket-keys-storage-healed", timeout=70)
    roles, _ = keys(here.edge)
    restart(here.edge)
    assert keys(here.edge)[0] == roles


@pytest.mark.parametrize("spoil", ["damaged", "truncated", "foreign", "version"])
def test_unusable_file_is_kept(shop, kek, spoil):
    """A start with it makes new keys, says so, and leaves it to be looked at."""
    here = shop(extra=f'key-encryption-key = "{kek}"\n')
    stored = here.edge.state_folder / "ticket-keys"
    tls = clients.context(here.root, "1.3")
    _, session = connect(here.port, tls)
    here.edge.stop()
    content = bytearray(stored.read_bytes())
    if spoil == "damaged":
        content[100] ^= 1
    elif spoil == "version":
        content[4] = 9
    elif spoil == "truncated":
        content = content[:-1]
    else:
        kek.write_text(os.urandom(32).hex())
    stored.write_bytes(content)
    here.edge.events.clear()
    here.edge.start()
    assert "ticket-keys.unusable-1" in here.edge.wait_event("ticket-keys-storage-failed")["detail"]
    here.edge.wait_event("ticket-keys-storage-healed")
    assert (here.edge.state_folder / "ticket-keys.unusable-1").read_bytes() == content
    resumed, session = connect(here.port, tls, session)
    assert not resumed
    restart(here.edge)
    assert connect(here.port, tls, session)[0]
    assert not here.edge.events_named("ticket-keys-storage-failed")


def test_damaged_while_running(shop, kek):
    here = shop(extra=f'key-encryption-key = "{kek}"\n')
    stored = here.edge.state_folder / "ticket-keys"
    before = current(here.edge)
    stored.write_bytes(b"nonsense")
    here.edge.wait_event("ticket-keys-storage-failed")
    here.edge.wait_event("ticket-keys-storage-healed")
    assert current(here.edge) == before
    restart(here.edge)
    assert current(here.edge) == before


# ---- who knows secrets ----

def _memory(pid):
    """(name, bytes) of what the process has mapped."""
    with open(f"/proc/{pid}/maps", encoding="utf-8") as maps, open(f"/proc/{pid}/mem", "rb", buffering=0) as memory:
        for line in maps:
            places, rights, _, _, _, *name = line.split(None, 5)
            begin, end = (int(place, 16) for place in places.split("-"))
            if "r" not in rights or (daemon.SANITIZED and end - begin > 1 << 28):  # its shadow memory has terabytes
                continue
            with contextlib.suppress(OSError, ValueError, OverflowError):  # pages of the kernel
                memory.seek(begin)
                for at in range(begin, end, 1 << 24):
                    yield "".join(name).strip(), memory.read(min(1 << 24, end - at))


def _holds(pid, *secrets):
    return any(secret in piece for _, piece in _memory(pid) for secret in secrets)


def _ticket_secrets(pid):
    """The secret halves of the first key in the ring, as the process has it mapped (tls/ticket_ring.h)."""
    ring = next(piece for name, piece in _memory(pid) if "holdfast-ticket-keys" in name)
    copy = ring[8:]
    cipher, mac = copy[32 + 16:32 + 48], copy[32 + 48:32 + 80]
    assert len(set(cipher)) > 10 and len(set(mac)) > 10
    return cipher, mac


@pytest.mark.skipif(os.geteuid() != 0, reason="memory of hardened processes is visible to root only")
@pytest.mark.parametrize("key_type", ["ecdsa", "rsa"])
def test_relays_hold_no_private_key(shop, key_type):
    """Found in handshakers, which proves that the search would find it; in no relay."""
    here = shop(key_types=(key_type,))
    numbers = here.pairs[key_type].key.private_numbers()
    secret = numbers.private_value if key_type == "ecdsa" else numbers.p
    size = 32 if key_type == "ecdsa" else 128
    private = [secret.to_bytes(size, order) for order in ("big", "little")]  # in DER, and as OpenSSL computes with it
    with here.client() as client:
        client.exchange()
        handshakers, relays = here.edge.workers("handshaker"), here.edge.workers("relay")
        tickets = _ticket_secrets(handshakers[0])
        assert len(handshakers) == len(relays) == 2
        for pid in handshakers:
            assert _holds(pid, *private) and _holds(pid, *tickets)
        for pid in relays:
            assert not _holds(pid, *private, *tickets)
            assert not any("holdfast-ticket-keys" in name for name, _ in _memory(pid))


@pytest.mark.skipif(os.geteuid() != 0, reason="limits of hardened processes are visible to root only")
def test_no_process_can_be_dumped(shop):
    here = shop()
    for pid in here.edge.processes():
        limits = open(f"/proc/{pid}/limits", encoding="utf-8").read()
        line = next(line for line in limits.splitlines() if line.startswith("Max core file size"))
        assert line.split()[4:6] == ["0", "0"], line
        # What cannot be dumped belongs to root in /proc, whoever runs it.
        assert os.stat(f"/proc/{pid}/environ").st_uid == 0


def test_too_little_memory_to_lock_is_told(start, folder, server):
    """By every process that holds secrets; the daemon runs as a user who may not raise the limit."""
    program = folder / "limited"
    user = "--reuid=nobody --regid=nogroup --clear-groups" if os.geteuid() == 0 else ""
    command = f"setpriv {user} prlimit --memlock=0:0" if user else "prlimit --memlock=0:0"
    copy = folder / "holdfast"
    shutil.copy(daemon.BINARY, copy)
    program.write_text(f'#!/bin/sh\nexec {command} {copy} "$@"\n')
    program.chmod(0o755)
    folder.chmod(0o777)
    (folder / "as-user").mkdir()
    (folder / "as-user").chmod(0o777)
    edge = start(f"""
        listener "l" {{ bind = {{"127.0.0.1:{free_port()}"}} certificates = {{"c"}} upstream = "app" }}
        upstream "app" {{ servers = {{"{server().address}"}} }}
        certificate "c" {{ names = {{"localhost"}} from = internal }}
    """, subfolder="as-user", binary=program)
    for process in ("relay/0", "handshaker/0", "control"):
        edge.wait_event("warning", process=process, detail=lambda text: "not locked in memory" in text and "RLIMIT_MEMLOCK" in text)
