"""What a `watch` section may be told to judge by, in the daemon: files that only root may read and that change on disk, pins, name
servers, the CA that is asked when to renew; and how it is told that something of it is wrong."""

import base64
import json
import os
import struct

import pki
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization

import checks
import daemon
import test_check_mail_exchange
from checks import TlsServer

NAME = "shop.example"
# Of the shape that Google publishes, with one log on P-256 that nobody uses.
LOG_KEY = "MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAELWoHFKdaHmMDrFoJ5bLI+N67g4cHFTY+hs5mmboKAx4hngaxRgQ1TxX4lSI8X+vq0+4uHlBBftqN7XVamJa0gA=="
LOGS = json.dumps({"operators": [{"name": "Somebody", "logs": [
    {"description": "A log", "key": LOG_KEY, "state": {"usable": {"timestamp": "2024-01-01T00:00:00Z"}}}]}]})


@pytest.fixture
def secret_store(authority, folder):
    """The root where only its owner may read it."""
    path = folder / "secret.pem"
    pki.replace_file(path, authority.root_path.read_bytes())
    return path


@pytest.fixture
def serve(folder):
    started = []

    def start_one(pair):
        started.append(TlsServer(folder, pair))
        return int(started[-1].address.rpartition(":")[2])

    yield start_one
    for server in started:
        server.close()


def section(store, port, options="", connect='connect = "127.0.0.1"', name=NAME):
    return f"""workers = none
watch w {{
    targets = "{name}:{port}"
    stores = "{store}"
    {connect}
    {options}
}}
"""


def look(edge):
    """Checks now; the endpoint."""
    result = edge.run("watch", "check", "--json", check=False)
    assert result.returncode in (0, 6), result.stderr
    return json.loads(result.stdout.splitlines()[0])


def trouble(edge):
    """Why nothing could be judged."""
    endpoint = look(edge)
    assert endpoint["verdict"] == "unknown" and endpoint["outcome"] != "seen", endpoint
    return " ".join(finding["text"] for finding in endpoint["findings"])


def pin_of(pair):
    digest = hashes.Hash(hashes.SHA256())
    digest.update(pair.certificate.public_key().public_bytes(serialization.Encoding.DER,
                                                             serialization.PublicFormat.SubjectPublicKeyInfo))
    return base64.b64encode(digest.finalize()).decode()


def test_stores_that_only_root_may_read(start, authority, secret_store, serve, folder):
    """They are opened by the supervisor, and at each check: what lies there counts, not what lay there at the start."""
    edge = start(section(secret_store, serve(authority.issue(NAME))))
    assert look(edge)["outcome"] == "seen"
    assert not checks.ids(look(edge), "critical")
    pki.replace_file(secret_store, pki.Authority(folder, "Somebody else").root_path.read_bytes())
    assert "chain-incomplete" in checks.ids(look(edge), "critical")
    secret_store.write_text("no certificate")
    assert f"{secret_store}" in trouble(edge)
    secret_store.unlink()
    assert "No such file" in trouble(edge)
    pki.replace_file(secret_store, authority.root_path.read_bytes())
    assert not checks.ids(look(edge), "critical")
    edge.run("upgrade")
    daemon.wait_until(lambda: edge.run("watch", check=False).returncode == 0, 20)
    assert not checks.ids(look(edge), "critical")


def test_stores_whose_anchors_have_ended(start, authority, serve, folder):
    """Old devices go on; whoever looks at the ends of anchors does not."""
    old = folder / "old.pem"
    pki.replace_file(old, authority.ended_root_pem())
    port = serve(authority.issue(NAME))
    edge = start(section(old, port))
    assert "chain-expired" in checks.ids(look(edge), "critical")
    edge.write_config(section(old, port).replace("stores =", "stores-ignoring-ends ="))
    edge.run("reload")
    lasting = look(edge)
    assert lasting["outcome"] == "seen" and not checks.ids(lasting, "critical")
    assert [trust["store"] for trust in lasting["trust"]] == ["old.pem"]
    edge.write_config(section(old, port, f'stores-ignoring-ends = "{old}"'))
    edge.run("reload")
    assert [trust["outcome"] for trust in look(edge)["trust"]] == ["expired", "trusted"]


def test_the_systems_store(start, authority, store, serve, folder):
    """A distribution's update counts at the next check."""
    edge = start(section("/x", serve(authority.issue(NAME))).replace('stores = "/x"', ""), environment={"SSL_CERT_FILE": str(store)})
    assert not checks.ids(look(edge), "critical")
    pki.replace_file(store, pki.Authority(folder, "Somebody else").root_path.read_bytes(), mode=0o644)
    assert "chain-incomplete" in checks.ids(look(edge), "critical")


def test_what_a_dead_prober_knew_is_told_again(start, authority, secret_store, serve):
    edge = start(section(secret_store, serve(authority.issue(NAME))))
    look(edge)
    before = edge.json("status")["watch"]["prober"]["pid"]
    os.kill(before, 9)
    edge.wait_event("warning", detail=lambda text: "the process that probes was killed" in text)
    assert not checks.ids(look(edge), "critical")
    assert edge.json("status")["watch"]["prober"]["pid"] != before


def test_revocation_lists_of_the_operator(start, authority, secret_store, serve, folder):
    pair = authority.issue(NAME)
    lists = folder / "a.crl"
    pki.replace_file(lists, authority.revocation_list())
    edge = start(section(secret_store, serve(pair), f'crl = "{lists}"'))
    endpoint = look(edge)
    assert not checks.ids(endpoint, "critical")
    assert {found["status"] for found in endpoint["revocation_lists"]} >= {"good"}
    pki.replace_file(lists, authority.revocation_list(pair, number=2))
    endpoint = look(edge)
    assert "certificate-revoked" in checks.ids(endpoint, "critical")
    assert str(lists) in {found.get("source") for found in endpoint["revocation_lists"]}
    # Another section's lists are its own.
    edge.write_config(section(secret_store, endpoint["target"].rpartition(":")[2]))
    edge.run("reload")
    assert "certificate-revoked" not in checks.ids(look(edge))


def test_the_list_of_logs(start, authority, secret_store, serve, folder):
    """A timestamp of a log that the list does not have is told of, and the list follows the file."""
    timestamp = bytes(1) + b"\x07" * 32 + struct.pack(">QH", 1_700_000_000_000, 0) + b"\4\3" + struct.pack(">H", 8) + bytes(8)
    listed = struct.pack(">HH", len(timestamp) + 2, len(timestamp)) + timestamp
    extension = x509.UnrecognizedExtension(x509.ObjectIdentifier("1.3.6.1.4.1.11129.2.4.2"), b"\x04" + bytes([len(listed)]) + listed)
    port = serve(authority.issue(NAME, more=[extension]))
    edge = start(section(secret_store, port))
    assert "timestamps-unknown-log" not in checks.ids(look(edge))
    logs = folder / "logs.json"
    pki.replace_file(logs, LOGS.encode())
    edge.write_config(section(secret_store, port, f'log-list = "{logs}"'))
    edge.run("reload")
    assert "timestamps-unknown-log" in checks.ids(look(edge))
    pki.replace_file(logs, b"{}")
    assert "no usable log" in trouble(edge)


def test_pins(start, authority, secret_store, serve):
    pair = authority.issue(NAME)
    port = serve(pair)
    edge = start(section(secret_store, port, f'pins = "sha256/{pin_of(authority.issue(NAME))}"'))
    assert "pin-mismatch" in checks.ids(look(edge), "critical")
    edge.write_config(section(secret_store, port, f'pins = {{"{"00" * 32}", "{pin_of(pair)}"}}'))
    edge.run("reload")
    assert not checks.ids(look(edge), "critical")


def test_the_ca_is_asked_when_to_renew(start, authority, secret_store, serve):
    pair = authority.issue(NAME)
    documents = checks.Documents()
    begin, end = pki._now() + 20 * pki.DAY, pki._now() + 22 * pki.DAY
    documents.documents["/directory"] = json.dumps({"renewalInfo": documents.url("/renewal")}).encode()
    documents.documents[f"/renewal/{checks.renewal_name(pair)}"] = json.dumps({"suggestedWindow": {
        "start": f"{begin:%Y-%m-%dT%H:%M:%SZ}", "end": f"{end:%Y-%m-%dT%H:%M:%SZ}"}}).encode()
    edge = start(section(secret_store, serve(pair), f'acme-directory = "{documents.url("/directory")}"'))
    assert look(edge)["renewal"]["window_end"].startswith(f"{end:%Y-%m-%dT%H:%M:%S}")
    documents.close()


def test_name_servers(start, authority, secret_store, serve, folder):
    """Only they know the name."""
    port = serve(authority.issue("hidden.example"))
    with test_check_mail_exchange.name_servers(folder, "hidden A 127.0.0.1") as resolver:
        edge = start(section(secret_store, port, f'name-servers = "{resolver}"', connect="", name="hidden.example"))
        endpoint = look(edge)
        assert endpoint["address"] == f"127.0.0.1:{port}" and not checks.ids(endpoint, "critical")
        edge.write_config(section(secret_store, port, f'name-servers = "127.0.0.1:{daemon.free_port()}"', connect="",
                                  name="hidden.example"))
        edge.run("reload")
        assert look(edge)["outcome"] == "resolver-failed"


@pytest.mark.parametrize("option, content, words", [
    ("crl", None, "No such file"),
    ("crl", b"no list", "crl of watch 'w'"),
    ("stores", b"no certificate", "stores of watch 'w'"),
    ("stores-ignoring-ends", b"no certificate", "stores-ignoring-ends of watch 'w'"),
    ("log-list", b"{}", "no usable log"),
])
def test_files_are_looked_into_before(start, authority, store, serve, folder, option, content, words):
    """By `config test` and by a reload; what has gone bad since does not hold up a reload that leaves it alone."""
    path, port = folder / "file", serve(authority.issue(NAME))
    edge = start(section(store, port))
    good = edge.config_path.read_text()
    given = good.replace(f'stores = "{store}"', "") if option == "stores" else good
    edge.write_config(given.replace("connect =", f'{option} = "{path}"\n    connect ='))
    if content is not None:
        path.write_bytes(content)
    tested = edge.run("config", "test", check=False)
    assert tested.returncode in (3, 6) and words in tested.stderr, tested.stderr
    refused = edge.run("reload", check=False)
    assert refused.returncode in (3, 6) and words in refused.stdout + refused.stderr
    if content is None:
        return
    path.write_bytes({"crl": authority.revocation_list(), "stores": authority.root_path.read_bytes(),
                      "stores-ignoring-ends": authority.root_path.read_bytes(),
                      "log-list": LOGS.encode()}[option])
    edge.run("config", "test")
    edge.run("reload")
    path.write_bytes(content)
    edge.write_config(edge.config_path.read_text().replace("connect =", "owner = me\n    connect ="))
    edge.run("reload")
    assert edge.lines("watch")[0]["owner"] == "me"


def test_a_file_known_as_one_thing_is_not_known_as_another(start, authority, store, serve, folder):
    path, port = folder / "file", serve(authority.issue(NAME))
    path.write_bytes(authority.revocation_list())
    edge = start(section(store, port, f'crl = "{path}"'))
    edge.write_config(section(store, port, f'crl = "{path}" stores-ignoring-ends = "{path}"'))
    refused = edge.run("reload", check=False)
    assert refused.returncode in (3, 6) and "stores-ignoring-ends of watch 'w'" in refused.stdout + refused.stderr
