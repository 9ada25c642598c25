"""What `holdfast keys exposure` says of secrets, compared with the memory of the processes and with the disk."""

import contextlib
import datetime
import hashlib
import os
import re
import ssl
from pathlib import Path

import pytest

import clients
import daemon
import forge
from cryptography.hazmat.primitives.serialization import load_pem_private_key

REGION_MAX = 256 << 20
SMALL = "max-sessions = 100\nbuffer-memory = 16m"

pytestmark = [pytest.mark.skipif(os.geteuid() != 0, reason="memory of hardened processes is visible to root only"),
              pytest.mark.skipif(daemon.SANITIZED, reason="the sanitizer's shadow memory is too large to be searched")]


def holds(pid, needles):
    """Whether one of these bytes stands somewhere in the memory of a process."""
    with open(f"/proc/{pid}/maps", encoding="utf-8") as maps, open(f"/proc/{pid}/mem", "rb", buffering=0) as memory:
        for line in maps:
            begin, end, mode = re.match(r"([0-9a-f]+)-([0-9a-f]+) (\S+)", line).groups()
            begin, end = int(begin, 16), int(end, 16)
            if "r" not in mode or "[v" in line or end - begin > REGION_MAX:
                continue
            with contextlib.suppress(OSError, ValueError):
                memory.seek(begin)
                data = memory.read(end - begin)
                if any(needle in data for needle in needles):
                    return True
    return False


def holders(edge, needles):
    return {process["kind"] for process in edge.json("status")["processes"] if holds(process["pid"], needles)}


def said(edge, secret, name=""):
    line, = [line for line in edge.lines("keys", "exposure") if line["secret"] == secret and line.get("name", "") == name]
    return line


def kinds(line):
    return {process["kind"] for process in line["processes"]}


def private_number(pem):
    """An EC key as in files, as OpenSSL calculates with it, and as text."""
    number = load_pem_private_key(pem, None).private_numbers().private_value
    return [number.to_bytes(32, "big"), number.to_bytes(32, "little"), pem.splitlines()[2]]


def files_that_hold(folder, needles):
    return {str(path) for path in Path(folder).rglob("*") if path.is_file() and any(n in path.read_bytes() for n in needles)}


def on_disk(path, places):
    return any(path == place["path"] or path.startswith(place["path"] + "/") for place in places)


def test_key_of_a_certificate(shop):
    here = shop(extra=SMALL)
    with here.client() as client:
        client.exchange()
    line = said(here.edge, "certificate-key", clients.NAME)
    needles = private_number((here.folder / "ecdsa.key").read_bytes())
    found = holders(here.edge, needles)
    assert "handshaker" in found and found <= kinds(line) == {"handshaker", "control"}
    assert "until" not in line and "nothing recorded" in line["decrypts"]
    here.edge.stop()
    assert files_that_hold(here.folder, needles) == {place["path"] for place in line["disk"]} == {str(here.folder / "ecdsa.key")}


def test_key_of_the_internal_ca(shop):
    here = shop(extra=SMALL + """
        certificate "inside" {
            names = {"inside.test"}
            from = internal
        }
        listener "inside" {
            bind = {"127.0.0.1:%d"}
            certificates = {"inside"}
            upstream = "app"
        }""" % daemon.free_port())
    for secret, name, expected in (("internal-ca-key", "", {"control"}), ("certificate-key", "inside", {"control", "handshaker"})):
        line = said(here.edge, secret, name)
        path, = line["disk"]
        files = [Path(path["path"])] if name == "" else list(Path(path["path"]).glob("*.pem"))
        key = re.search(rb"-----BEGIN (?:EC )?PRIVATE KEY-----.*?-----END (?:EC )?PRIVATE KEY-----\n", files[0].read_bytes(), re.S)
        needles = private_number(key.group(0))
        found = holders(here.edge, needles)
        assert found and found <= kinds(line) == expected
        held = files_that_hold(here.edge.state_folder, needles)
        assert held and all(on_disk(place, line["disk"]) for place in held)


def traffic_key(secret):
    """The AES key of a traffic secret (RFC 9846 §7.3); the hash tells the suite."""
    digest, size = (hashlib.sha256, 16) if len(secret) == 32 else (hashlib.sha384, 32)
    return forge.expand_label(secret, b"key", size, digest)


@pytest.mark.parametrize("version", ["1.2", "1.3"])
def test_traffic_keys(shop, version):
    """Those of a live session are in relays alone; and nowhere after its end."""
    here = shop(extra=SMALL)
    keylog = here.folder / "keylog"
    with here.client(version=version, keylog=keylog) as client:
        client.exchange()
        label = "CLIENT_RANDOM" if version == "1.2" else "SERVER_TRAFFIC_SECRET_0"
        secret = [bytes.fromhex(line.split()[2]) for line in keylog.read_text().splitlines() if line.startswith(label)]
        line = said(here.edge, "traffic-keys")
        found = holders(here.edge, secret)
        if version == "1.3":
            key = traffic_key(secret[0])
            assert "relay" in holders(here.edge, [key]) <= {"relay"}
        assert found <= kinds(line) == {"relay"}
        assert found == ({"relay"} if version == "1.3" else set())  # TLS 1.2: its keys are kept, not the master secret
        assert f"of {int(version == '1.3')} in TLS 1.3" in line["decrypts"]
    daemon.wait_until(lambda: here.edge.json("status")["sessions"] == 0)
    assert not holders(here.edge, secret)
    here.edge.stop()
    assert not files_that_hold(here.edge.state_folder, secret)


def test_traffic_keys_that_were_renewed(shop, folder):
    """Both directions: the keys before are nowhere, though the session lives and nothing else has used its relay since."""
    here = shop(extra=SMALL)
    with forge.Forger(here.port, folder, root=here.root) as client:
        def needles():
            secrets = [client.write_keys.secret, client.read_keys.secret]
            return secrets + [traffic_key(secret) for secret in secrets]

        def say(prefix=b""):
            client.send_raw(prefix + client.seal_as(forge.APPLICATION_DATA, b"anything\n"))
            return client.read_until(forge.APPLICATION_DATA)

        say()
        before = needles()
        assert all(holders(here.edge, [needle]) == {"relay"} for needle in before)
        say(client.update_keys(request=True))
        after = needles()
        assert not set(before) & set(after)
        assert not holders(here.edge, before)
        assert all(holders(here.edge, [needle]) == {"relay"} for needle in after)


def test_session_cache(shop):
    """A TLS 1.2 session without a ticket can be resumed: its master secret stays where the report says, and on no disk."""
    here = shop(extra=SMALL)
    keylog = here.folder / "keylog"
    without_tickets = clients.context(here.root, version="1.2", keylog=keylog)
    without_tickets.options |= ssl.OP_NO_TICKET
    with here.client(tls=without_tickets) as client:
        client.exchange()
    line = said(here.edge, "session-cache")
    master = [bytes.fromhex(keylog.read_text().splitlines()[-1].split()[2])]
    assert holders(here.edge, master) <= kinds(line) == {"handshaker"}
    assert line["disk"] == [] and line["until"]
    here.edge.stop()
    assert not files_that_hold(here.edge.state_folder, master)


def test_ticket_keys(shop):
    """With TLS 1.2 until the last key is gone, with TLS 1.3 alone never; encrypted on disk, if at all."""
    here = shop(extra=SMALL)
    line = said(here.edge, "ticket-keys")
    assert line["disk"] == [] and line["after_stop"] == "nothing"
    until = datetime.datetime.fromisoformat(line["until"].replace("Z", "+00:00"))
    left = until - datetime.datetime.now(datetime.timezone.utc)
    # The next key becomes current after 12 h, stays so for 12 h, and opens tickets for 12 h more.
    assert datetime.timedelta(hours=35) < left <= datetime.timedelta(hours=37)
    config = here.edge.config_path.read_text()
    here.edge.config_path.write_text(config.replace('upstream = "app"', 'upstream = "app"\n tls-min = 1.3', 1))
    here.edge.run("reload")
    line = said(here.edge, "ticket-keys")
    assert "until" not in line and "nothing recorded" in line["decrypts"]


def test_key_encryption_key(shop, folder):
    kek = folder / "kek"
    kek.write_bytes(os.urandom(32))
    kek.chmod(0o600)
    here = shop(extra=f'{SMALL}\nkey-encryption-key = "{kek}"')
    line = said(here.edge, "key-encryption-key")
    assert [place["path"] for place in line["disk"]] == [str(kek)]
    assert holders(here.edge, [kek.read_bytes()]) <= kinds(line) == {"control"}
    tickets = said(here.edge, "ticket-keys")
    place, = tickets["disk"]
    assert place["encrypted"] and Path(place["path"]).exists() and "every copy" in tickets["after_stop"]


def test_for_people(shop):
    here = shop()
    text = here.edge.run("keys", "exposure").stdout
    assert f"certificate-key {clients.NAME}\n" in text and "  in          handshaker (" in text and "after stop" in text
    result = here.edge.run("keys", "exposure", "all", check=False)
    assert result.returncode == 2 and "takes no argument" in result.stderr
