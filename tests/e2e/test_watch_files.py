"""Files on disk as the daemon watches them: `file:` targets, and what should be served. The supervisor opens them at each check, so
that the daemon's user need not be able to read them, and keys beside the certificates go no further than control."""

import os
import stat

import pki
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.serialization import pkcs12

import checks
import daemon
import test_exposure
from checks import NAME, TlsServer
from test_watch_exporter import get, series
from test_watch_options import look


def section(path, store, options=""):
    return f"""workers = none
watch w {{
    targets = "file:{path}"
    stores = "{store}"
    name = "{NAME}"
    {options}
}}
"""


@pytest.fixture
def secret_file(authority, folder):
    """secret_file(pair) puts chain and key where only root may read them."""
    path = folder / "shop.pem"

    def put(pair):
        pki.replace_file(path, pair.chain_pem + pair.key_pem)
        return path

    return put


def uid_of(pid):
    with open(f"/proc/{pid}/status", encoding="ascii") as status:
        return next(int(line.split()[1]) for line in status if line.startswith("Uid:"))


def test_a_target_that_only_root_may_read(start, authority, store, secret_file):
    """What lies there when a check begins is what is judged; what cannot be read is a finding, and passes."""
    path = secret_file(authority.issue(NAME))
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    edge = start(section(path, store))
    endpoint = look(edge)
    assert endpoint["outcome"] == "seen" and endpoint["vantage"] == "file" and not checks.ids(endpoint, "critical")
    assert len(endpoint["certificates"]) == 2
    if os.geteuid() == 0:
        assert uid_of(edge.json("status")["watch"]["prober"]["pid"]) != 0
    secret_file(authority.issue(NAME, not_before=pki._now() - 40 * pki.DAY, lifetime=39 * pki.DAY))
    assert "certificate-expired" in checks.ids(look(edge), "critical")
    for content, words in ((b"no certificate", "shop.pem"), (b"", "shop.pem"), (None, "No such file or directory")):
        if content is None:
            path.unlink()
        else:
            pki.replace_file(path, content)
        endpoint = look(edge)
        assert checks.ids(endpoint, "critical") == ["file-unreadable"] and endpoint["outcome"] == "unreadable"
        assert words in endpoint["reason"]
    path.mkdir()
    assert "no regular file" in look(edge)["reason"]
    path.rmdir()
    os.mkfifo(path, 0o600)
    assert "no regular file" in look(edge)["reason"]
    secret_file(authority.issue(NAME))
    assert not checks.ids(look(edge), "critical")


def test_other_forms(start, authority, store, folder):
    pair = authority.issue(NAME)
    path = folder / "shop"
    forms = (pair.certificate.public_bytes(serialization.Encoding.DER),
             pkcs12.serialize_key_and_certificates(b"shop", pair.key, pair.certificate, [authority.intermediate],
                                                   serialization.NoEncryption()))
    pki.replace_file(path, forms[0])
    edge = start(section(f"//{path}", store))  # as a URL: file:///path
    assert len(look(edge)["certificates"]) == 1
    pki.replace_file(path, forms[1])
    endpoint = look(edge)
    assert len(endpoint["certificates"]) == 2 and not checks.ids(endpoint, "critical")
    assert endpoint["target"] == f"file:{path}"


@pytest.mark.skipif(os.geteuid() != 0, reason="memory of hardened processes is visible to root only")
@pytest.mark.skipif(daemon.SANITIZED, reason="the sanitizer's shadow memory is too large to be searched")
def test_the_key_stays_with_control(start, authority, store, secret_file):
    """The process that talks to strangers is told the certificates and nothing else of the file."""
    pair = authority.issue(NAME)
    edge = start(section(secret_file(pair), store))
    assert look(edge)["outcome"] == "seen"
    prober = edge.json("status")["watch"]["prober"]["pid"]
    der = pair.certificate.public_bytes(serialization.Encoding.DER)
    assert test_exposure.holds(prober, [der])
    assert not test_exposure.holds(prober, test_exposure.private_number(pair.key_pem))


def test_what_a_dead_prober_knew_is_told_again(start, authority, store, secret_file):
    edge = start(section(secret_file(authority.issue(NAME)), store))
    look(edge)
    os.kill(edge.json("status")["watch"]["prober"]["pid"], 9)
    edge.wait_event("warning", detail=lambda text: "the process that probes was killed" in text)
    assert look(edge)["outcome"] == "seen"


def test_targets_that_come_and_go(start, authority, store, folder):
    """By reloads; each target is its own file, also where two sections share one."""
    paths = [folder / f"{name}.pem" for name in ("a", "b")]
    good, other = authority.issue(NAME), authority.issue("other.example")
    pki.replace_file(paths[0], good.chain_pem)
    pki.replace_file(paths[1], other.chain_pem)
    edge = start(section(paths[0], store))
    look(edge)
    both = section(paths[0], store).replace("targets =", f'targets = {{"file:{paths[1]}", ') .replace('"\n    stores', '"}\n    stores')
    edge.write_config(both + section(paths[1], store).replace("workers = none", "").replace("watch w", "watch v"))
    edge.run("reload")
    edge.run("watch", "check", check=False)
    verdicts = {(line["watch"], line["target"]): line["verdict"] for line in edge.lines("watch")}
    assert verdicts == {("w", f"file:{paths[0]}"): "ok", ("w", f"file:{paths[1]}"): "critical",
                        ("v", f"file:{paths[1]}"): "critical"}
    edge.write_config(section(paths[0], store))
    edge.run("reload")
    assert [line["target"] for line in edge.lines("watch")] == [f"file:{paths[0]}"]
    assert not checks.ids(look(edge), "critical")


def test_files_are_looked_into_before(start, authority, store, folder, secret_file):
    """By `config test` and by a reload. What is gone since may be just what was found: no reload is held up by it."""
    path = secret_file(authority.issue(NAME))
    edge = start(section(path, store))
    other = folder / "other.pem"

    def refused(config, words):
        edge.write_config(config)
        for verb in (("config", "test"), ("reload",)):
            result = edge.run(*verb, check=False)
            assert result.returncode != 0 and words in result.stdout + result.stderr, result

    refused(section(other, store), "No such file")
    refused(section("shop.pem", store), "expected an absolute path behind file:")
    other.write_bytes(b"no certificate")
    refused(section(other, store), "targets of watch 'w'")
    refused(section(path, store, f'file = "{other}"'), "file of watch 'w'")
    other.write_bytes(authority.issue(NAME).chain_pem)
    edge.write_config(section(other, store, f'file = "{other}"'))
    edge.run("config", "test")
    edge.run("reload")
    for content in (b"no certificate", None):
        other.unlink()
        if content is not None:
            other.write_bytes(content)
        edge.write_config(section(other, store, f'file = "{other}" owner = "{content}"'))
        edge.run("reload")
        assert edge.lines("watch")[0]["owner"] == str(content)
        assert checks.ids(look(edge), "critical") == ["file-unreadable"]


def test_what_should_be_served(start, authority, store, folder, secret_file):
    """Of a file that only root may read, and that is renewed while the server goes on."""
    pair = authority.issue(NAME)
    path = secret_file(pair)
    server = TlsServer(folder, pair)
    config = section("/x", store, f'file = "{path}" connect = "127.0.0.1"')
    edge = start(config.replace("file:/x", f"{NAME}:{server.address.rpartition(':')[2]}"))
    compared = {"renewed-not-served", "served-not-on-disk", "file-unreadable"}
    assert not compared & set(checks.ids(look(edge)))
    secret_file(authority.issue(NAME, not_before=pki._now() - pki.DAY / 2))
    assert compared & set(checks.ids(look(edge))) == {"renewed-not-served"}
    path.unlink()
    assert compared & set(checks.ids(look(edge))) == {"file-unreadable"}
    server.close()


def test_a_probe_of_a_file_that_is_watched(start, authority, store, secret_file):
    """It is judged by what was read last; no other file can be asked for."""
    port = daemon.free_port()
    path = secret_file(authority.issue(NAME))
    edge = start(section(path, store) + f'exporter {{ bind = "127.0.0.1:{port}" }}\n')
    look(edge)
    status, _, text = get(port, f"/probe?target=file:{path}")
    assert status == 200 and series(text)["probe_success"] == 1
    assert get(port, f"/probe?target=file:{store}")[0] == 403
