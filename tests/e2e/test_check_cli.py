"""holdfast check and explain as they are called and read: options, exit codes, every form of output."""

import contextlib
import json
import os
import pty
import re
import resource
import signal
import socket
import ssl
import subprocess
import threading
import time
from datetime import timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.x509.oid import NameOID

import pki
from checks import NAME, TlsServer, check, endpoints, hang, ids
from daemon import BINARY, holdfast, wait_until

PROJECT = Path(__file__).resolve().parents[2]
DAY = timedelta(days=1)


@pytest.fixture
def serve(folder):
    """serve(pair, …) → a TlsServer, closed at the end of the test."""
    running = []

    def start(*pairs, **options):
        running.append(TlsServer(folder, *pairs, **options))
        return running[-1]
    yield start
    for server in running:
        server.close()


def at(authority, *running, name=NAME):
    """Arguments that check these servers as addresses of one name."""
    pinned = [word for server in running for word in ("--connect", server.address)]
    return [name, *pinned, "--store", authority.root_path]


def no_control_characters(text):
    assert re.search(r"[\x00-\x09\x0b-\x1f\x7f-\x9f]", text) is None, repr(text)


# ---- how it is called ----

def test_help():
    result = check("--help", code=0)
    assert "Usage: holdfast check" in result.stdout and result.stderr == ""


@pytest.mark.parametrize("arguments, message", [
    ([], "nothing to check"),
    (["--colour", NAME], "see --help"),
    (["--at", "soon", NAME], "--at: found \"soon\"; expected a time in UTC"),
    (["--warning", "many", NAME], "expected days (30), a share"),
    (["-c", "0", NAME], "expected days (30), a share"),
    (["--pin", "abcd", NAME], "expected the SHA-256 of a public key"),
    (["--connect", "shop", NAME], "expected an IP address"),
    (["--name", "", "file:/etc/hostname"], "the host is missing"),
    (["--name", "shop test", NAME], "a name has letters"),
    (["--timeout", "0", NAME], "expected a time up to"),
    (["--store", "/nonexistent.pem", NAME], "/nonexistent.pem"),
    (["--store-ignoring-ends", "/nonexistent.pem", NAME], "/nonexistent.pem"),
    (["--require-policy", "organisation", NAME], "expected an object identifier"),
    (["--log-list", "/nonexistent.json", NAME], "/nonexistent.json"),
    (["--crl", "/nonexistent.pem", NAME], "/nonexistent.pem"),
    (["--name-servers", "ours", NAME], "ours"),
    (["--from", "/nonexistent"], "cannot open /nonexistent"),
    (["--at", "1970-01-01", NAME], "expected a time after 1970-01-01"),
    (["--at", "2027-02-31", NAME], "expected a time in UTC"),
    (["-w", "0.000001", NAME], "expected days (30), a share"),
    (["--from", "/", NAME], "cannot read /: Is a directory"),
    (["--discover", "zone:/", NAME], "cannot read /: Is a directory"),
    (["--require-hsts", NAME, f"smtp://{NAME}"], "no target is asked by HTTP"),
    (["--campaign", "bits<nan", NAME], "\"nan\" is no number"),
    (["--service", "gopher", NAME], "gopher"),
    (["--campaign", "colour=red", NAME], "there is no property \"colour\""),
    (["--campaign", "bits<many", NAME], "\"many\" is no number"),
    (["gopher://shop.test"], "gopher"),
])
def test_wrong_usage(arguments, message):
    result = check(*arguments, code=3)
    assert message in result.stderr and result.stdout == ""
    plugin = check("--nagios", *arguments, code=3)
    assert plugin.stdout.startswith("SSL_CERT UNKNOWN - ") and message in plugin.stdout and plugin.stderr == ""


def test_wrong_line_in_a_file(folder):
    (folder / "targets").write_text("# ours\n  shop.test:443   # comment\n\nshop test\n")
    result = check("--from", folder / "targets", "--json", code=3)
    assert f"{folder}/targets:4: " in result.stderr


# ---- verdicts and exit codes ----

def test_well(authority, serve):
    server = serve(authority.issue(NAME))
    endpoint, = endpoints(*at(authority, server), code=0)
    assert endpoint["verdict"] == "ok" and endpoint["outcome"] == "seen" and endpoint["address"] == server.address
    assert endpoint["tls"]["version"] == "TLS 1.3" and endpoint["key_type"] == "ecdsa"
    leaf, intermediate = endpoint["certificates"]
    assert (leaf["role"], intermediate["role"]) == ("leaf", "intermediate")
    assert leaf["subject_an"] == [NAME] and 88 < leaf["days_left"] < 90 and leaf["needed"] is True
    assert endpoint["trust"][0]["outcome"] == "trusted" and endpoint["breaks_at"] == leaf["not_after"]


@pytest.mark.parametrize("options, code", [
    ([], 0), (["-w", "95"], 1), (["-w", "80"], 0), (["-w", "100%"], 1), (["-w", "50%"], 0), (["-w", "2200h"], 1),
    (["-c", "95"], 2), (["-w", "95", "-c", "14"], 1),
])
def test_thresholds(authority, serve, options, code):
    check(*at(authority, serve(authority.issue(NAME))), *options, code=code)


def test_time_travel(authority, serve):
    arguments = at(authority, serve(authority.issue(NAME)))
    endpoint, = endpoints(*arguments, "--at", "+100d", code=2)
    assert "certificate-expired" in ids(endpoint, "critical") and endpoint["judged_at"] > endpoint["checked_at"]
    assert endpoint["certificates"][0]["days_left"] < 0
    endpoints(*arguments, "--at", "2001-01-01", code=2)


def test_worst_of_several(authority, serve):
    good, bad = serve(authority.issue(NAME)), serve(authority.issue(NAME, not_before=pki._now() - 99 * DAY))
    seen = endpoints(*at(authority, good, bad), code=2)
    assert sorted(endpoint["verdict"] for endpoint in seen) == ["critical", "ok"]


@pytest.mark.parametrize("how", [[], ["-legacy"]], ids=["of today", "of old"])
def test_pkcs12(authority, folder, how):
    """What openssl writes today, and by RC2 as Windows did for long; the password decides."""
    pair = authority.issue(NAME)
    (folder / "all.pem").write_bytes(pair.chain_pem + pair.key_pem)
    subprocess.run(["openssl", "pkcs12", "-export", *how, "-in", folder / "all.pem", "-out", folder / "all.p12", "-passout", "pass:right"],
                   check=True, capture_output=True)

    def look(password, code):
        (folder / "password").write_text(password)
        seen, = endpoints(f"file:{folder}/all.p12", "--name", NAME, "--store", authority.root_path, "--password-file", folder / "password",
                          code=code)
        return seen

    assert look("right", 0)["verdict"] == "ok"
    wrong = look("wrong", 2)
    assert wrong["outcome"] == "unreadable" and "give its password" in json.dumps(wrong)


def test_a_chain_on_disk_is_judged_as_a_served_one(authority, serve, folder):
    pair = authority.issue(NAME)
    (folder / "chain.pem").write_bytes(pair.leaf_pem)
    served, = endpoints(*at(authority, serve(type("Leaf", (), {"write": lambda _, *a: leaf_only(pair, *a)})())), code=2)
    filed, = endpoints(f"file:{folder}/chain.pem", "--name", NAME, "--store", authority.root_path, code=2)
    assert ids(served, "critical") == ids(filed, "critical") == ["chain-incomplete"]
    assert filed["trust"] == served["trust"] and filed["vantage"] == "file"
    endpoints(f"file:{folder}/chain.pem", "--name", "other.test", "--store", authority.root_path, code=2)
    missing, = endpoints(f"file:{folder}/missing.pem")
    assert missing["outcome"] == "unreadable" and missing["verdict"] != "ok"


def leaf_only(pair, folder, name):
    chain, key = pair.write(folder, name)
    chain.write_bytes(pair.leaf_pem)
    return chain, key


def test_revocation_list_of_a_file(authority, serve, folder):
    pair, other = authority.issue(NAME), authority.issue(NAME)
    arguments = at(authority, serve(pair))
    (folder / "good.pem").write_bytes(authority.revocation_list(other))
    (folder / "bad.pem").write_bytes(authority.revocation_list(pair))
    endpoint, = endpoints(*arguments, "--crl", folder / "good.pem", code=0)
    assert [crl["status"] for crl in endpoint["revocation_lists"] if crl["certificate"] == pair.fingerprint] == ["good"]
    endpoint, = endpoints(*arguments, "--crl", folder / "bad.pem", code=2)
    assert "certificate-revoked" in ids(endpoint, "critical")
    result = check(*arguments, "--crl", folder / "missing.pem", code=3)
    assert "missing.pem" in result.stderr


@pytest.mark.parametrize("options", [[], ["--json"], ["--nagios"], ["--prometheus"], ["--trace"]])
def test_what_nobody_can_read_is_not_well(authority, serve, options):
    arguments = at(authority, serve(authority.issue(NAME)))
    with open("/dev/full", "w", encoding="ascii") as full:
        result = subprocess.run([BINARY, "check", *map(str, arguments), *options], stdout=full, stderr=subprocess.PIPE,
                                text=True, timeout=60, check=False)
    assert result.returncode == 3 and result.stderr == "holdfast check: cannot write: No space left on device\n"


def test_many_long_chains(authority, serve):
    """All addresses of a target together may not send more certificates than there is memory for."""
    megabyte = x509.UnrecognizedExtension(x509.ObjectIdentifier("1.3.6.1.4.1.99999.1"), bytes(1000000))
    extra = authority.issue("other.example", more=[megabyte])
    running = []
    for _ in range(12):
        pair = authority.issue(NAME)
        pair.chain_pem += extra.leaf_pem
        running.append(serve(pair))
    found = endpoints(*at(authority, *running))
    assert [endpoint["outcome"] for endpoint in found] == ["seen"] * 12
    assert sum(len(endpoint["certificates"]) == 3 for endpoint in found) == 8  # of eight megabytes
    for endpoint in found:
        assert "chain-large" in ids(endpoint) and "chain-unreadable" not in ids(endpoint)
        assert endpoint["certificates"][0]["subject_an"] == [NAME]


# ---- descriptors ----

@pytest.fixture
def silent():
    """The port of a server at all addresses of loopback that takes connections and says nothing."""
    taken = []

    def take():  # none waits in the queue, which may be short
        with contextlib.suppress(OSError):
            while True:
                taken.append(listener.accept()[0])

    with socket.socket() as listener:
        listener.bind(("0.0.0.0", 0))
        listener.listen(4096)
        taker = threading.Thread(target=take)
        taker.start()
        yield listener.getsockname()[1]
        listener.shutdown(socket.SHUT_RDWR)
        taker.join()
    for connection in taken:
        connection.close()


def many(folder, port, count):
    path = folder / "targets"
    path.write_text("".join(f"127.0.{number // 200}.{number % 200 + 1}:{port}\n" for number in range(count)))
    return path


def outcomes(text):
    return [json.loads(line)["outcome"] for line in text.splitlines()]


@pytest.mark.parametrize("limit", [24, 64])
def test_few_descriptors(folder, silent, limit):
    """What we lack is no finding about others: no more connections at once than there are descriptors for."""
    result = subprocess.run(["/bin/sh", "-c", f'ulimit -n {limit}; exec "$@"', "sh", BINARY, "check", "--json", "--timeout", "1s",
                             "--from", many(folder, silent, 3 * limit)],
                            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, timeout=120, check=False)
    assert outcomes(result.stdout) == ["timeout"] * (3 * limit), result.stderr


def test_soft_limit_is_raised(folder, silent):
    script = 'ulimit -Sn 24; exec "$@"'
    with subprocess.Popen(["/bin/sh", "-c", script, "sh", BINARY, "check", "--json", "--timeout", "60s", "--from",
                           many(folder, silent, 100)], stdout=subprocess.DEVNULL) as process:
        try:
            wait_until(lambda: len(os.listdir(f"/proc/{process.pid}/fd")) > 100, 30, "they are not asked at once")
        finally:
            process.kill()


def test_descriptors_that_are_gone_come_back(folder, silent):
    """A limit that falls meanwhile: what cannot begin waits."""
    output = folder / "output"
    with open(output, "w", encoding="ascii") as file, \
         subprocess.Popen([BINARY, "check", "--json", "--timeout", "5s", "--from", many(folder, silent, 300)], stdout=file) as process:
        def used():
            return len(os.listdir(f"/proc/{process.pid}/fd"))
        try:
            wait_until(lambda: used() > 150, 30, "they are not asked at once")
            _, hard = resource.prlimit(process.pid, resource.RLIMIT_NOFILE)
            resource.prlimit(process.pid, resource.RLIMIT_NOFILE, (8, hard))
            wait_until(lambda: used() < 20, 60, "the first ones do not end")
            resource.prlimit(process.pid, resource.RLIMIT_NOFILE, (hard, hard))
            process.wait(120)
        finally:
            process.kill()
    assert outcomes(output.read_text()) == ["timeout"] * 300


# ---- for plugins ----

def test_nagios(authority, serve):
    arguments = at(authority, serve(authority.issue(NAME)))
    result = check(*arguments, "--nagios", "-w", "30", "-c", "14", code=0)
    line, = result.stdout.splitlines()
    text, _, numbers = line.partition("|")
    assert text.startswith(f"SSL_CERT OK - {NAME}:443: 89 d left, chain ok to ") and len(text) < 200
    assert "'days_chain_elem1'=89;30:;14:;;" in numbers and "'days_chain_elem2'=" in numbers
    assert re.search(r" time=\d\.\d+s;;;0 endpoints_ok=1;;;0;1$", numbers) and result.stderr == ""
    old = check(*arguments, "--nagios", "--check-ssl-cert", "-w", "30", "-c", "14", code=0)
    assert "'days_chain_elem1'=89;30;14;;" in old.stdout


def test_options_of_plugins(authority, serve):
    server = serve(authority.issue(NAME))
    result = check("--nagios", "-H", NAME, "-p", server.port, "-I", "127.0.0.1", "--sni", NAME, "-P", "tls", "-t", "20",
                   "-4", "-w", "95", "-c", "14", "--store", authority.root_path, code=1)
    assert result.stdout.startswith(f"SSL_CERT WARNING - {NAME}:{server.port}: ")
    assert "\n  warning: " in result.stdout


def test_plugin_time_is_over(folder, server):
    """A server that hangs: one line, in time."""
    hanging = server(hang)
    result = check("--nagios", "-H", "127.0.0.1", "-p", hanging.port, "-t", "2", timeout=30)
    assert result.returncode in (2, 3) and result.stdout.startswith("SSL_CERT ") and result.stdout.count("|") <= 1


# ---- for Prometheus ----

def test_prometheus_of_a_bad_certificate(authority, serve):
    """Series of certificates are there when they are needed most."""
    pair = authority.issue(NAME, not_before=pki._now() - 99 * DAY)
    text = check(*at(authority, serve(pair)), "--prometheus", code=2).stdout
    assert "\nprobe_success 0\n" in text and "\nssl_probe_success 0\n" in text
    end = int(time.time()) - 9 * 86400
    series = re.search(r"^ssl_cert_not_after\{.*dnsnames=\",shop\.test,\".*\} (\d+)$", text, re.M)
    assert abs(int(series.group(1)) - end) < 60
    assert "ssl_ocsp_response_status" not in text and "ssl_verified_cert_not_after" not in text
    names = re.findall(r"^# TYPE (\S+)", text, re.M)
    assert len(names) == len(set(names))
    series = [line.rpartition(" ")[0] for line in text.splitlines() if not line.startswith("#")]
    assert len(series) == len(set(series))


# ---- for people ----

def test_table(authority, serve):
    pair = authority.issue(NAME)
    running = [serve(pair, address=(f"127.0.0.{number}", 0)) for number in (1, 2)]
    text = check(*at(authority, *running), code=0).stdout
    assert f"{running[0].address}, {running[1].address}  ecdsa  TLS 1.3" in text  # both say the same
    assert re.search(r"shop\.test +leaf +89 d +9\d %  \d{4}-\d\d-\d\d", text)
    assert max(map(len, text.splitlines())) <= 100 and "\x1b" not in text


def test_trace(authority, serve):
    text = check(*at(authority, serve(authority.issue(NAME))), "--trace", code=0).stdout
    for direction, message in (("->", "ClientHello"), ("<-", "ServerHello"), ("<-", "Certificate"), ("->", "Finished")):
        assert re.search(rf"\d\.\d+ ms  {direction}  {message} +\d+ B  \w", text), text
    assert "sha256    " in text and "subject" not in text.lower().split("sha256")[0].split("finished")[0]
    endpoint, = endpoints(*at(authority, serve(authority.issue(NAME))), "--trace", code=0)
    assert endpoint["messages"][0]["message"] == "ClientHello" and endpoint["messages"][0]["direction"] == "sent"


class Terminal:
    """holdfast check with its errors on a terminal."""

    def __init__(self, *arguments):
        self.master, slave = pty.openpty()
        self.process = subprocess.Popen([BINARY, "check", *map(str, arguments)], stdout=subprocess.PIPE, stderr=slave, text=True)
        os.close(slave)
        os.set_blocking(self.master, False)
        self.seen = ""

    def shows(self, text):
        try:
            self.seen += os.read(self.master, 65536).decode()
        except (BlockingIOError, OSError):
            pass
        return text in self.seen


def test_progress_and_interruption(authority, serve, server):
    """After two seconds a terminal is told how far it is; Ctrl-C prints what is known."""
    good, hanging = serve(authority.issue(NAME)), server(hang)
    terminal = Terminal(f"127.0.0.1:{good.port}", f"127.0.0.1:{hanging.port}", "--name", NAME, "--store", authority.root_path,
                        "--timeout", "300")
    wait_until(lambda: terminal.shows("1 of 2 targets checked"), 30, "no progress is shown")
    terminal.process.send_signal(signal.SIGINT)
    output, _ = terminal.process.communicate(timeout=30)
    assert terminal.process.returncode == 3 and "OK" in output and f"127.0.0.1:{good.port}" in output
    wait_until(lambda: terminal.shows("interrupted: 1 of 2 targets were not finished"), 10, terminal.seen)
    os.close(terminal.master)


# ---- fleets ----

def test_hundreds_of_targets(authority, serve, folder):
    names = [f"host{number}.shop.test" for number in range(300)]
    server = serve(authority.issue("*.shop.test"))
    (folder / "targets").write_text("\n".join([*names, *names]))
    bad = at(authority, server, name="bad.example")
    text = check("--from", folder / "targets", *bad, code=2, timeout=300).stdout
    assert "301 targets: 300 ok 1 critical\n" in text
    assert "name-mismatch" not in text and "the certificate is not for bad.example" in text
    with open(folder / "targets", encoding="ascii") as file:
        seen = endpoints("--from", "-", "--connect", server.address, "--store", authority.root_path, code=0, stdin=file, timeout=300)
    assert sorted(endpoint["host"] for endpoint in seen) == sorted(names)


def test_campaign(authority, serve, folder):
    server = serve(authority.issue("*.shop.test"))
    (folder / "targets").write_text("\n".join(f"host{number}.shop.test" for number in range(5)))
    arguments = ["--from", folder / "targets", "--connect", server.address, "--store", authority.root_path]
    assert check(*arguments, "--campaign", "sig=sha1", code=0).stdout == "sig=sha1: 0 of 5 targets\n"
    text = check(*arguments, "--campaign", "expires<100d,role=leaf", code=1).stdout
    assert text.startswith("expires<100d,role=leaf: 5 of 5 targets\n") and f"  host3.shop.test:443  {server.address}  ecdsa  leaf *.shop.test" in text
    report = json.loads(check(*arguments, "--campaign", "version=1.3", "--json", code=1).stdout)
    assert (report["targets"], report["matching"], report["unseen"], len(report["places"])) == (5, 5, 0, 5)


def test_compare(authority, serve):
    usual, odd = serve(authority.issue("127.0.0.1")), serve(authority.issue("127.0.0.1"), version=ssl.TLSVersion.TLSv1_2)
    like = serve(authority.issue("127.0.0.1"))
    targets = [server.address for server in (usual, odd, like)]
    text = check(*targets, "--store", authority.root_path, "--compare", code=1).stdout
    assert text.startswith("2 targets are configured alike:\n") and "TLS 1.2 instead of TLS 1.3" in text
    groups = [json.loads(line) for line in check(*targets, "--store", authority.root_path, "--compare", "--json", code=1).stdout.splitlines()]
    assert groups[0]["targets"] == [targets[0], targets[2]] and groups[1]["targets"] == [targets[1]]
    check(targets[0], targets[2], "--store", authority.root_path, "--compare", code=0)


# ---- endpoints of one target that differ ----

def test_one_address_still_serves_the_old_certificate(authority, serve):
    old, new = authority.issue(NAME, not_before=pki._now() - 50 * DAY), authority.issue(NAME)
    running = [serve(old if number == 2 else new, address=(f"127.0.0.{number}", 0)) for number in (1, 2, 3)]
    by_address = {endpoint["address"]: endpoint for endpoint in endpoints(*at(authority, *running), code=1)}
    finding, = [finding for finding in by_address[running[1].address]["findings"] if finding["severity"] == "warning"]
    assert finding["id"] == "address-serves-old-certificate"
    assert finding["text"] == "1 of 3 addresses still serves the old certificate"
    assert finding["certificate"] == old.fingerprint
    assert not ids(by_address[running[0].address], "warning")


@pytest.mark.usefixtures("ipv6")
def test_another_box_behind_ipv6(authority, serve):
    import socket
    four = serve(authority.issue(NAME))
    six = serve(authority.issue(NAME, not_before=pki._now() - 30 * DAY), address=("::1", 0), family=socket.AF_INET6)
    seen = endpoints(*at(authority, four, six), code=1)
    assert [endpoint["address"] for endpoint in seen if "families-differ" in ids(endpoint)] == [six.address]


def test_only_one_key_type_was_renewed(authority, serve):
    server = serve(authority.issue(NAME), authority.issue(NAME, key_type="rsa", not_before=pki._now() - 59 * DAY))
    by_type = {endpoint["key_type"]: endpoint for endpoint in endpoints(*at(authority, server), "-w", "14", code=1)}
    assert "key-type-not-renewed" in ids(by_type["rsa"]) and "key-type-not-renewed" not in ids(by_type["ecdsa"])
    same = serve(authority.issue(NAME), authority.issue(NAME, key_type="rsa"))
    endpoints(*at(authority, same), code=0)


def test_one_address_lacks_a_key_type(authority, serve):
    ecdsa, rsa = authority.issue(NAME), authority.issue(NAME, key_type="rsa")
    both, one = serve(ecdsa, rsa), serve(ecdsa)
    seen = endpoints(*at(authority, both, one), code=1)
    assert [endpoint["address"] for endpoint in seen if "address-lacks-key-type" in ids(endpoint)] == [one.address]


def test_names_of_one_key_type_are_missing(authority, serve):
    server = serve(authority.issue(NAME, "www.shop.test"), authority.issue(NAME, key_type="rsa"))
    seen = {endpoint["key_type"]: endpoint for endpoint in endpoints(*at(authority, server), code=1)}
    assert "key-type-lacks-name" in ids(seen["rsa"]) and "key-type-lacks-name" not in ids(seen["ecdsa"])


# ---- what strangers send ----

HOSTILE = "a\x1b[31m|evil'\"\\\n\x9b\x7f" + "<b>{x=\"1\"} 1"


class HostileAuthority(pki.Authority):
    """Its certificates have names that would break terminals, labels and lines."""

    def issue(self, *names, **options):
        subject = pki._subject
        pki._subject = lambda name: x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, HOSTILE),
                                               x509.NameAttribute(NameOID.ORGANIZATION_NAME, HOSTILE)])
        try:
            return super().issue(*names, **options)
        finally:
            pki._subject = subject


def test_hostile_names_are_escaped_everywhere(folder, serve):
    authority = HostileAuthority(folder, "Hostile")
    arguments = at(authority, serve(authority.issue(NAME)))
    for output in ([], ["--json"], ["--nagios"], ["--nagios", "-v"], ["--prometheus"], ["--trace"], ["--compare"],
                   ["--campaign", "subject~evil"]):
        result = check(*arguments, *output)
        assert "evil" in result.stdout or output[:1] in (["--nagios"], ["--compare"])
        no_control_characters(result.stdout + result.stderr)
    endpoint, = endpoints(*arguments)
    assert "\\x1b[31m" in endpoint["certificates"][0]["common_name"]
    assert check(*arguments, "--nagios", "-v").stdout.count("|") == 1
    for line in check(*arguments, "--prometheus").stdout.splitlines():
        assert re.fullmatch(r'#.*|\w+(\{(\w+="([^"\\]|\\[\\"n])*",?)*\})? [-+0-9.e]+', line), line


# ---- the JSON and its manual ----

def documented():
    text = (PROJECT / "doc/check-json.md").read_text()
    return set(re.findall(r"[\"`]([a-z_0-9]+)[\"`]", text))


def members(value):
    if isinstance(value, dict):
        for key, inner in value.items():
            yield key
            yield from members(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from members(inner)


def test_every_member_is_documented(authority, serve, folder):
    (folder / "chain.pem").write_bytes(authority.issue(NAME).chain_pem)
    server = serve(authority.issue(NAME))
    objects = [*endpoints(*at(authority, server), "--trace", "--resumption"), *endpoints(f"file:{folder}/chain.pem"),
               *endpoints("127.0.0.1:1")]
    for endpoint in objects:
        endpoint.get("inventory", {}).pop("versions", None)  # its members are versions
    missing = {key for endpoint in objects for key in members(endpoint)} - documented()
    assert not missing, missing
    assert {"target", "address", "verdict", "outcome", "checked_at", "findings"} <= objects[0].keys()


# ---- explain ----

def test_explain():
    text = holdfast("explain", "NET::ERR_CERT_DATE_INVALID").stdout
    assert text.startswith("Chrome: NET::ERR_CERT_DATE_INVALID") and "certificate-expired" in text
    back = holdfast("explain", "chain-incomplete").stdout
    for client in ("Chrome", "Firefox", "OpenSSL", "Java", "Go", "GnuTLS", "Node.js"):
        assert re.search(rf"^    {re.escape(client)}  +\S", back, re.M), client
    report = json.loads(holdfast("explain", "--json", "alert", "45").stdout)
    assert report["errors"][0]["name"] == "certificate_expired" and report["causes"][0]["id"] == "certificate-expired"


def test_explain_unknown():
    result = holdfast("explain", "chain-incomplet\x1b[31m", check=False)
    assert result.returncode == 2 and '"chain-incomplete"' in result.stderr
    no_control_characters(result.stderr)
    assert holdfast("explain", check=False).returncode == 2
    assert holdfast("explain", "--colour", check=False).returncode == 2


@pytest.mark.parametrize("command", [
    ["curl", "-sS", "--resolve", "{name}:{port}:127.0.0.1", "https://{name}:{port}/"],
    ["openssl", "s_client", "-connect", "127.0.0.1:{port}", "-servername", "{name}", "-verify_return_error"],
    ["gnutls-cli", "--port", "{port}", "--sni-hostname", "{name}", "--verify-hostname", "{name}", "127.0.0.1"],
])
def test_explain_what_clients_really_say(authority, serve, need, command):
    """The server forgets its intermediate: whatever a client prints about that leads to the finding."""
    need(command[0])
    pair = authority.issue(NAME)
    server = serve(type("Leaf", (), {"write": lambda _, *a: leaf_only(pair, *a)})())
    words = [word.format(name=NAME, port=server.port) for word in command]
    result = subprocess.run(words, input="", capture_output=True, text=True, timeout=60, check=False)
    lines = (result.stderr + result.stdout).splitlines()
    causes = []
    for line in lines:
        answer = holdfast("explain", "--json", "--", line, check=False) if line.strip() else None
        if answer is not None and answer.returncode == 0:
            causes += [cause["id"] for cause in json.loads(answer.stdout)["causes"]]
    assert "chain-incomplete" in causes, lines
