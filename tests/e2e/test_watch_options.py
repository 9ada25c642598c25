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
from checks import TlsServer
from name_servers import name_servers

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

    def start_one(pair, **options):
        started.append(TlsServer(folder, pair, **options))
        return int(started[-1].address.rpartition(":")[2])

    yield start_one
    for server in started:
        server.close()


@pytest.fixture
def documents():
    started = checks.Documents()
    yield started
    started.close()


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


def renewal_of(pair, documents):
    """The CA suggests a window; its end, and the address of the directory."""
    begin, end = pki._now() + 20 * pki.DAY, pki._now() + 22 * pki.DAY
    documents.documents["/directory"] = json.dumps({"renewalInfo": documents.url("/renewal")}).encode()
    documents.documents[f"/renewal/{checks.renewal_name(pair)}"] = json.dumps({"suggestedWindow": {
        "start": f"{begin:%Y-%m-%dT%H:%M:%SZ}", "end": f"{end:%Y-%m-%dT%H:%M:%SZ}"}}).encode()
    return f"{end:%Y-%m-%dT%H:%M:%S}", documents.url("/directory")


def test_the_ca_is_asked_when_to_renew(start, authority, secret_store, serve, documents):
    pair = authority.issue(NAME)
    end, directory = renewal_of(pair, documents)
    edge = start(section(secret_store, serve(pair), f'acme-directory = "{directory}"'))
    assert look(edge)["renewal"]["window_end"].startswith(end)


def test_nothing_is_fetched(start, authority, secret_store, serve, documents):
    """What is told of is what is known without. Together with a CA that is to be asked it is refused."""
    pair = authority.issue(NAME, more=[documents.list_extension()])
    documents.documents["/1.crl"] = authority.revocation_list(pair)
    port = serve(pair)
    edge = start(section(secret_store, port, "no-fetch = yes"))
    assert "certificate-revoked" not in checks.ids(look(edge))
    assert documents.asked == []
    edge.write_config(section(secret_store, port, "no-fetch = no"))
    edge.run("reload")
    assert "certificate-revoked" in checks.ids(look(edge), "critical")
    edge.write_config(section(secret_store, port, f'no-fetch = yes acme-directory = "{documents.url("/directory")}"'))
    assert "found it with no-fetch = yes" in edge.run("reload", check=False).stderr


def test_as_a_browser_does(start, authority, secret_store, serve, documents):
    """An intermediate that was not sent is fetched, and the verdict of strict clients stays."""
    where = x509.AuthorityInformationAccess([x509.AccessDescription(
        x509.AuthorityInformationAccessOID.CA_ISSUERS, x509.UniformResourceIdentifier(documents.url("/ca.der")))])
    pair = authority.issue(NAME, more=[where])
    documents.documents["/ca.der"] = authority.intermediate.public_bytes(serialization.Encoding.DER)
    port = serve(pki.Pair(pair.certificate, [], pair.key))
    edge = start(section(secret_store, port))
    assert "chain-browsers-only" not in checks.ids(look(edge)) and documents.asked == []
    edge.write_config(section(secret_store, port, "browser = yes"))
    edge.run("reload")
    endpoint = look(edge)
    assert "chain-browsers-only" in checks.ids(endpoint) and "chain-incomplete" in checks.ids(endpoint, "critical")


def test_a_staple_that_is_required(start, authority, secret_store, serve):
    port = serve(authority.issue(NAME))
    edge = start(section(secret_store, port))
    assert "staple-missing" not in checks.ids(look(edge))
    edge.write_config(section(secret_store, port, "require-staple = yes"))
    edge.run("reload")
    assert "staple-missing" in checks.ids(look(edge), "critical")


def answer_http(connection):
    if connection.socket.recv(65536):
        connection.socket.sendall(b"HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n")


def test_hsts_that_is_required(start, authority, secret_store, serve):
    """Of targets that are asked by HTTP: without any, nobody could fulfil it."""
    port = serve(authority.issue(NAME), handler=answer_http)
    plain = section(secret_store, port, "require-hsts = yes")
    asked = plain.replace(f"{NAME}:{port}", f"https://{NAME}:{port}/")
    edge = start(asked.replace("require-hsts = yes", ""))
    assert look(edge)["http"]["status"] == 204 and "hsts-missing" not in checks.ids(look(edge), "warning")
    edge.write_config(plain)
    for verb in (("config", "test"), ("reload",)):
        refused = edge.run(*verb, check=False)
        assert refused.returncode != 0 and "require-hsts in watch 'w': no target is asked by HTTP" in refused.stdout + refused.stderr
    edge.write_config(asked)
    edge.run("reload")
    assert "hsts-missing" in checks.ids(look(edge), "warning")


def test_a_policy_that_is_required(start, authority, secret_store, serve):
    policy = x509.CertificatePolicies([x509.PolicyInformation(x509.ObjectIdentifier("1.2.3.2"), None)])
    middle = authority._sign(authority.intermediate.subject, authority.key.public_key(), authority.root.subject, authority.root_key,
                             [(x509.BasicConstraints(True, 0), True), (policy, False)])
    leaf = authority.issue(NAME, more=[policy])
    port = serve(pki.Pair(leaf.certificate, [middle], leaf.key))
    edge = start(section(secret_store, port, 'require-policy = {"1.2.3.1", "1.2.3.2"}'))
    assert not checks.ids(look(edge), "critical")
    edge.write_config(section(secret_store, port, 'require-policy = "1.2.3.1"'))
    edge.run("reload")
    assert checks.ids(look(edge), "critical") == ["chain-policy"]


def test_parts_of_what_is_deep(start, authority, secret_store, serve):
    port = serve(authority.issue(NAME))
    edge = start(section(secret_store, port))
    assert "inventory" not in look(edge)
    edge.write_config(section(secret_store, port, "ciphers = yes"))
    edge.run("reload")
    inventory = look(edge)["inventory"]
    assert inventory["versions"]["TLS 1.3"] == "yes" and "resumes_ticket" not in inventory
    edge.write_config(section(secret_store, port, "resumption = yes renegotiation = yes"))
    edge.run("reload")
    inventory = look(edge)["inventory"]
    assert inventory["resumes_ticket"] == "yes" and "versions" not in inventory


def test_name_servers(start, authority, secret_store, serve, folder):
    """Only they know the name."""
    port = serve(authority.issue("hidden.example"))
    with name_servers(folder, "hidden A 127.0.0.1") as resolver:
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
