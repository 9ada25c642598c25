"""`holdfast check mx://domain`: the MX records of a signed zone (Knot) as a validating resolver (Unbound) gives them, with
MTA-STS and DANE judged."""

import hashlib
import json
import re

import pytest
from cryptography.hazmat.primitives import serialization

import daemon
import pki
import starttls_servers
from checks import ids
from name_servers import name_servers
from programs import running
from conftest import need


def check(authority, resolver, domain, port, *options):
    """{host: endpoint}; port 25 is led to the test's server."""
    result = daemon.holdfast("check", f"mx://{domain}", "--name-servers", resolver, "--connect", f"127.0.0.1:{port}",
                             "--store", authority.root_path, "--json", *options, check=False)
    assert result.stdout, result.stderr
    endpoints = [json.loads(line) for line in result.stdout.splitlines()]
    return {endpoint["host"]: endpoint for endpoint in endpoints}


def digest(pair):
    return hashlib.sha256(pair.certificate.public_key().public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)).hexdigest()


def test_every_host_with_dane_and_mta_sts(authority, folder):
    pair = authority.issue("mx1.example", "mx2.example", "plain.example")
    records = "\n".join(["@ MX 20 mx2", "@ MX 10 mx1", "mx1 A 127.0.0.1", "mx2 A 127.0.0.1", "plain A 127.0.0.1",
                         f"_25._tcp.mx1 TLSA 3 1 1 {digest(pair)}", f"_25._tcp.mx2 TLSA 3 1 1 {'00' * 32}",
                         '_mta-sts TXT "v=STSv1;"', "quiet MX 0 ."])
    with starttls_servers.postfix(pair, folder) as ports, name_servers(folder, records) as resolver:
        hosts = check(authority, resolver, "example", ports["smtp"])
        assert set(hosts) == {"mx1.example", "mx2.example"}
        assert all(host["outcome"] == "seen" and host["protocol"] == "smtp" for host in hosts.values()), hosts
        assert {"dane", "mta-sts-record"} <= set(ids(hosts["mx1.example"]))
        assert not ids(hosts["mx1.example"], "critical"), hosts["mx1.example"]["findings"]
        assert set(ids(hosts["mx2.example"], "critical")) == {"dane-mismatch"}

        plain = check(authority, resolver, "plain.example", ports["smtp"])
        assert {"mta-sts-absent"} == {name for name in ids(plain["plain.example"]) if name.startswith(("mta", "dane"))}

        for domain, words in (("quiet.example", "null MX"), ("nowhere.example", "no such name")):
            (endpoint,) = check(authority, resolver, domain, ports["smtp"]).values()
            assert endpoint["outcome"] == "not-resolved"
            assert words in endpoint["reason"]


def test_a_matching_record_stands_for_the_chain(authority, folder):
    """DANE-EE(3): a CA that nobody knows, another name, an end long ago; all that is no defect of the host whose key is in
    the DNS, and one of the host whose is not."""
    stranger = pki.Authority(folder, "Stranger")
    pair = stranger.issue("other.test", not_before=pki._now() - 100 * pki.DAY, lifetime=30 * pki.DAY)
    records = "\n".join(["@ MX 10 mx1", "@ MX 20 mx2", "mx1 A 127.0.0.1", "mx2 A 127.0.0.1",
                         f"_25._tcp.mx1 TLSA 3 1 1 {digest(pair)}"])
    with starttls_servers.postfix(pair, folder) as ports, name_servers(folder, records) as resolver:
        hosts = check(authority, resolver, "example", ports["smtp"])
    told = {"chain-incomplete", "name-mismatch", "certificate-expired"}
    assert told | {"dane"} <= set(ids(hosts["mx1.example"], "info")), hosts["mx1.example"]["findings"]
    assert not ids(hosts["mx1.example"], "critical")
    assert hosts["mx1.example"]["verdict"] != "critical"
    assert told <= set(ids(hosts["mx2.example"], "critical"))


def test_a_zone_that_does_not_validate(authority, folder):
    """The resolver refuses forged answers: that is not knowing, not a defect of the mail server."""
    with name_servers(folder, "@ MX 10 mx1\nmx1 A 127.0.0.1") as resolver:
        port = daemon.free_port()
        wrong = re.sub(r"13 2 [0-9a-f]+", "13 2 " + "0" * 64, (folder / "dns/unbound.conf").read_text())
        (folder / "dns/wrong.conf").write_text(wrong.replace(f"interface: 127.0.0.1@{resolver.split(':')[1]}",
                                                             f"interface: 127.0.0.1@{port}"))
        with running([need("unbound"), "-d", "-c", folder / "dns/wrong.conf"], port):
            (endpoint,) = check(authority, f"127.0.0.1:{port}", "example", 1).values()
    assert endpoint["outcome"] == "resolver-failed"
    assert endpoint["verdict"] == "unknown"


def test_no_name_server(authority):
    (endpoint,) = check(authority, f"127.0.0.1:{daemon.free_port()}", "example", 1).values()
    assert endpoint["outcome"] == "resolver-failed"
    assert set(ids(endpoint, "unknown")) == {"resolver-failed"}


def test_wrong_name_servers_are_refused():
    result = daemon.holdfast("check", "shop.example", "--name-servers", "dns.example:53", check=False)
    assert result.returncode == 3
    assert "expected addresses" in result.stderr


@pytest.mark.parametrize("where, words", [("192.0.2.0/8:443", "4096 addresses"), ("192.0.2.1", "expected a range"),
                                          ("zone:/nowhere", "cannot open"), ("zone:/dev/null", "expected a zone file")])
def test_wrong_places_to_discover(where, words):
    result = daemon.holdfast("check", "--discover", where, check=False)
    assert result.returncode == 3
    assert words in result.stderr


def test_discover(authority, folder):
    """What speaks TLS is shown, what does not is left out."""
    pair = authority.issue("127.0.0.2")
    with starttls_servers.s_server(pair, folder, "127.0.0.2") as port:
        result = daemon.holdfast("check", "--discover", f"127.0.0.0/29:{port}", "--store", authority.root_path, "--json",
                                 "-t", "5s", check=False)
    endpoints = [json.loads(line) for line in result.stdout.splitlines()]
    assert [endpoint["address"] for endpoint in endpoints] == [f"127.0.0.2:{port}"]
    assert result.returncode == 0, endpoints


def test_discover_nothing():
    where = ("check", "--discover", "127.0.0.1/32:1")
    result = daemon.holdfast(*where)
    assert result.stdout == "" and result.stderr == "holdfast check: nothing there speaks TLS\n"
    plugin = daemon.holdfast(*where, "--nagios", check=False)
    assert plugin.returncode == 3 and plugin.stdout.startswith("SSL_CERT UNKNOWN - nothing was checked|")
