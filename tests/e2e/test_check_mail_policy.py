"""`holdfast check mx://domain`: the policy of MTA-STS as it is fetched from https://mta-sts.DOMAIN/ (RFC 8461 §3.3)."""

import contextlib
import json
import os
import subprocess

import pytest

import daemon
import pki
from checks import TlsServer
from conftest import need
from name_servers import name_servers

ADDRESS = f"127.77.{os.getpid() // 250 % 250}.{os.getpid() % 250 + 1}"  # tests that run at the same time have others
POLICY = "version: STSv1\r\nmode: {}\r\nmx: mx1.example\r\nmx: *.mail.example\r\nmax_age: 86400\r\n"
RECORDS = "\n".join(["@ MX 10 mx1", "@ MX 20 mx2", "mx1 A 127.0.0.1", "mx2 A 127.0.0.1", f"mta-sts A {ADDRESS}",
                     '_mta-sts TXT "v=STSv1; id=1;"'])


class PolicyServer(TlsServer):
    """Answers every request with `status` and `body`."""

    def __init__(self, folder, pair):
        self.status, self.body, self.asked = "200 OK", "", []
        super().__init__(folder, pair, address=(ADDRESS, 443), handler=self.answer)

    def answer(self, connection):
        request = connection.socket.recv(65536).decode()
        self.asked.append(request.partition("\r\n")[0])
        connection.socket.sendall(f"HTTP/1.1 {self.status}\r\nContent-Type: text/plain\r\nLocation: /other\r\n"
                                  f"Content-Length: {len(self.body)}\r\nConnection: close\r\n\r\n{self.body}".encode())


@pytest.fixture
def web(authority, folder):
    """web(pair) → the server of mta-sts.example."""
    started = []

    def start(pair):
        try:
            started.append(PolicyServer(folder, pair))
        except PermissionError:
            pytest.skip("port 443 cannot be bound: needs root or CAP_NET_BIND_SERVICE")
        return started[-1]

    yield start
    for server in started:
        server.close()


@pytest.fixture
def machine(authority):
    """A command that begins another with a machine's view in which the authority is trusted."""
    unshare = need("unshare")
    script = f'mount --bind {authority.root_path} /etc/ssl/certs/ca-certificates.crt && exec "$0" "$@"'
    command = [unshare, "--mount", "sh", "-c", script]
    if subprocess.run([*command, "true"], capture_output=True, check=False).returncode != 0:
        pytest.skip("no mount namespace of its own: needs root or CAP_SYS_ADMIN")
    return command


@contextlib.contextmanager
def asking(machine, folder, records=RECORDS):
    """→ a function: {host: endpoint} of mx://example. That nobody is there on port 25 is no matter here."""
    with name_servers(folder, records) as resolver:
        def ask():
            result = subprocess.run([*machine, daemon.BINARY, "check", "mx://example", "--name-servers", resolver, "--connect",
                                     f"127.0.0.1:{daemon.free_port()}", "--json"], capture_output=True, text=True, check=False)
            daemon.assert_no_sanitizer_report(result.stderr)
            endpoints = [json.loads(line) for line in result.stdout.splitlines()]
            return {endpoint["host"]: endpoint for endpoint in endpoints}

        yield ask


def said(endpoint):
    """What is told of MTA-STS: {id: (severity, evidence)}."""
    return {finding["id"]: (finding["severity"], finding.get("evidence", "")) for finding in endpoint["findings"]
            if finding["id"].startswith("mta-sts")}


def test_a_policy_that_names_one_host(authority, folder, web, machine):
    server = web(authority.issue("mta-sts.example"))
    with asking(machine, folder) as ask:
        for mode, severity in (("enforce", "critical"), ("testing", "warning")):
            server.body = POLICY.format(mode)
            hosts = ask()
            assert said(hosts["mx1.example"]) == {"mta-sts": ("info", "max_age 86400, mx mx1.example, …")}
            assert said(hosts["mx2.example"]) == {"mta-sts-mismatch": (severity, "max_age 86400, mx mx1.example, …")}
        assert server.asked == ["GET /.well-known/mta-sts.txt HTTP/1.1"] * 2
        server.body = POLICY.format("none")
        assert all(set(said(host)) == {"mta-sts"} for host in ask().values())


def test_policies_that_do_not_count(authority, folder, web, machine):
    server = web(authority.issue("mta-sts.example"))
    with asking(machine, folder) as ask:
        for status, body, name, words in (("200 OK", "mode: enforce\r\n", "mta-sts-policy", "version"),
                                          ("404 Not Found", POLICY.format("enforce"), "mta-sts-unreachable", "HTTP status 404"),
                                          ("302 Found", "", "mta-sts-unreachable", "HTTP status 302"),
                                          ("200 OK", "x" * 100_000, "mta-sts-unreachable", "65536")):
            server.status, server.body = status, body
            for host in ask().values():
                (found, (severity, evidence)), = said(host).items()
                assert (found, severity) == (name, "warning") and words in evidence, (found, evidence)


@pytest.mark.parametrize("wrong", ["name", "issuer"])
def test_a_policy_of_somebody_else(authority, folder, web, machine, wrong):
    """Whoever is in between must not be able to give another one."""
    other = pki.Authority(folder, "Somebody else") if wrong == "issuer" else authority
    server = web(other.issue("mta-sts.example" if wrong == "issuer" else "www.example"))
    server.body = POLICY.format("none")
    with asking(machine, folder) as ask:
        assert all(set(said(host)) == {"mta-sts-unreachable"} for host in ask().values())
    assert not any(server.asked)


def test_a_policy_without_a_host(folder, machine):
    with asking(machine, folder, RECORDS.replace("mta-sts A", "elsewhere A")) as ask:
        assert all(said(host) == {"mta-sts-unreachable": ("warning", "there is no such name in the DNS")} for host in ask().values())
