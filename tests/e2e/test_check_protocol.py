"""What `holdfast check` sees of TLS itself, against OpenSSL, nginx and GnuTLS, and against servers that misbehave."""

import contextlib
import json
import re
import socket
import subprocess
import threading
import time

import pytest

import daemon
import pki
import servers

NAME = "shop.example"


def check(authority, port, *options, target="127.0.0.1:{}", name=NAME):
    """The first endpoint as `--json` shows it; with the time that it took."""
    began = time.monotonic()
    result = daemon.holdfast("check", target.format(port), "--name", name, "--store", authority.root_path, "--json",
                             *options, check=False)
    endpoints = [json.loads(line) for line in result.stdout.splitlines()]
    assert endpoints, result.stderr
    endpoints[0]["took_s"] = time.monotonic() - began
    return endpoints[0]


def ids(endpoint, *severities):
    return {finding["id"] for finding in endpoint["findings"] if not severities or finding["severity"] in severities}


@contextlib.contextmanager
def s_server(pair, folder, *options):
    """`openssl s_server` on a port of its own choice."""
    chain, key = pair.write(folder, f"server-{time.monotonic_ns()}")
    issuers = folder / f"{chain.stem}-issuers.pem"
    issuers.write_bytes(pair.chain_pem[len(pair.leaf_pem):])
    process = subprocess.Popen(
        ["openssl", "s_server", "-accept", "127.0.0.1:0", "-cert", chain, "-cert_chain", issuers, "-key", key, "-www",
         *options], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    try:
        said = ""
        for line in process.stdout:
            said += line
            if match := re.match(r"ACCEPT .*:(\d+)$", line):
                break
        else:
            pytest.fail(f"openssl s_server does not start: {said}")
        threading.Thread(target=process.stdout.read, daemon=True).start()
        yield int(match[1])
    finally:
        process.kill()
        process.wait()


@contextlib.contextmanager
def nginx(pair, folder, location):
    port = daemon.free_port()
    chain, key = pair.write(folder, "nginx")
    (folder / "nginx.conf").write_text(f"""
        pid {folder}/nginx.pid; daemon off; error_log stderr; events {{}}
        http {{
            access_log off; client_body_temp_path {folder}; proxy_temp_path {folder}; fastcgi_temp_path {folder};
            uwsgi_temp_path {folder}; scgi_temp_path {folder};
            server {{
                listen 127.0.0.1:{port} ssl; ssl_certificate {chain}; ssl_certificate_key {key};
                ssl_protocols TLSv1.2 TLSv1.3; ssl_session_cache shared:SSL:1m;
                location / {{ {location} }}
            }}
        }}""")
    process = subprocess.Popen(["nginx", "-c", folder / "nginx.conf", "-p", folder], stderr=subprocess.DEVNULL)
    try:
        daemon.wait_until(lambda: listens(port), message="nginx does not listen")
        yield port
    finally:
        process.terminate()
        process.wait()


def listens(port):
    with socket.socket() as sock:
        return sock.connect_ex(("127.0.0.1", port)) == 0


@pytest.fixture(scope="module")
def pair(authority):
    return authority.issue(NAME)


@pytest.fixture(scope="module")
def rsa_pair(authority):
    return authority.issue(NAME, key_type="rsa")


def test_a_good_server(authority, pair, folder):
    with s_server(pair, folder) as port:
        endpoint = check(authority, port, "--deep")
    assert endpoint["outcome"] == "seen"
    assert endpoint["tls"]["version"] == "TLS 1.3" and endpoint["tls"]["forward_secrecy"]
    assert len(endpoint["certificates"]) == 2
    inventory = endpoint["inventory"]
    assert {name for name, answer in inventory["versions"].items() if answer == "yes"} == {"TLS 1.2", "TLS 1.3"}
    assert "TLS_AES_128_GCM_SHA256" in {entry["suite"] for entry in inventory["suites"]}
    assert inventory["resumes_ticket"] == inventory["fallback_protected"] == inventory["downgrade_sentinel"] == "yes"
    assert inventory["client_renegotiation"] == inventory["compression"] == "no"
    assert not ids(endpoint, "warning", "critical") & {"version-old", "suites-weak", "suites-broken", "fallback-unprotected"}


SERVER_HELLO_DONE = b"\x16\x03\x03\x00\x04\x0e\x00\x00\x00"


def relay_changed(port, change):
    """A handler that passes everything on to this port, what comes back of a TLS 1.2 handshake through `change(hello, flight)`."""
    def handler(connection):
        hello = connection.socket.recv(65536)
        with socket.create_connection(("127.0.0.1", port), 60) as upstream:
            upstream.sendall(hello)
            flight = b""
            while not flight.endswith(SERVER_HELLO_DONE) and (more := upstream.recv(65536)):
                flight += more
            connection.socket.sendall(change(hello, flight))
            threading.Thread(target=pass_on, args=(upstream, connection.socket), daemon=True).start()
            pass_on(connection.socket, upstream)
    return handler


def pass_on(source, destination):
    with contextlib.suppress(OSError):
        while data := source.recv(65536):
            destination.sendall(data)
        destination.shutdown(socket.SHUT_WR)


def test_one_key_type_is_broken(authority, pair, rsa_pair, folder):
    """A server whose RSA key does not belong to its certificate: who speaks ECDSA does not see it."""
    chain, key = rsa_pair.write(folder, "second")

    def break_rsa(hello, flight):
        begin = hello.index(b"\x00\x0d\x00") + 6  # signature_algorithms
        ecdsa_offered = b"\x04\x03" in hello[begin:begin + hello[begin - 1]]
        at = len(flight) - len(SERVER_HELLO_DONE) - 16  # in the signature
        return flight if ecdsa_offered else flight[:at] + bytes([flight[at] ^ 1]) + flight[at + 1:]

    with s_server(pair, folder, "-tls1_2", "-dcert", chain, "-dkey", key) as port:
        relay = servers.Server(relay_changed(port, break_rsa))
        try:
            result = daemon.holdfast("check", f"127.0.0.1:{relay.port}", "--name", NAME, "--store", authority.root_path,
                                     "--json", check=False)
        finally:
            relay.close()
    endpoints = [json.loads(line) for line in result.stdout.splitlines()]
    assert [(one["key_type"], one["outcome"]) for one in endpoints] == [("ecdsa", "seen"), ("rsa", "handshake-failed")]
    assert result.returncode == 2


def test_old_versions(authority, rsa_pair, folder):
    with s_server(rsa_pair, folder, "-tls1_1", "-cipher", "ALL:@SECLEVEL=0") as port:
        endpoint = check(authority, port)
    assert endpoint["tls"]["version"] == "TLS 1.1"
    assert "version-obsolete" in ids(endpoint, "critical")


def test_weak_suites(authority, rsa_pair, folder):
    with s_server(rsa_pair, folder, "-no_tls1_3", "-cipher", "ECDHE-RSA-AES128-GCM-SHA256:AES128-SHA:NULL-SHA256:@SECLEVEL=0",
                  "-serverpref", "-client_renegotiation") as port:
        endpoint = check(authority, port, "--deep")
    assert {"suites-broken"} <= ids(endpoint, "critical")
    assert "renegotiation-by-client" in ids(endpoint, "warning")
    assert {"suites-no-forward-secrecy", "version-no-tls13", "post-quantum-missing"} <= ids(endpoint, "info")
    assert endpoint["inventory"]["server_preference"] == "yes"


def test_no_forward_secrecy(authority, rsa_pair, folder):
    with s_server(rsa_pair, folder, "-tls1_2", "-cipher", "AES128-SHA") as port:
        endpoint = check(authority, port)
    assert "forward-secrecy-missing" in ids(endpoint, "warning")
    assert endpoint["tls"]["group"] == "RSA"


@pytest.mark.parametrize("version", ["-tls1_2", "-tls1_3"])
def test_a_server_for_clients_with_certificates(authority, pair, folder, version):
    with s_server(pair, folder, version, "-Verify", "1", "-CAfile", authority.root_path) as port:
        endpoint = check(authority, port)
    assert endpoint["outcome"] == "seen" and len(endpoint["certificates"]) == 2
    assert "client-certificate-required" in ids(endpoint, "info")


def test_strict_transport_security(authority, pair, folder, need):
    need("nginx")
    header = 'add_header Strict-Transport-Security "{}" always; return 404;'
    for value, expected in (("max-age=31536000", set()), ("max-age=60", {"hsts-short"}), ("max-age=soon", {"hsts-malformed"})):
        with nginx(pair, folder, header.format(value)) as port:
            endpoint = check(authority, port, target="https://127.0.0.1:{}")
        assert endpoint["http"]["status"] == 404
        assert {name for name in ids(endpoint) if name.startswith("hsts")} == expected
    with nginx(pair, folder, "return 204;") as port:
        endpoint = check(authority, port, "--require-hsts", "--resumption", target="https://127.0.0.1:{}")
    assert "hsts-missing" in ids(endpoint, "warning")
    assert endpoint["inventory"]["resumes_ticket"] == endpoint["inventory"]["resumes_id"] == "yes"


def test_gnutls(authority, rsa_pair, folder, need):
    need("gnutls-serv")
    port = daemon.free_port()
    chain, key = rsa_pair.write(folder, "gnutls")
    process = subprocess.Popen(["gnutls-serv", "--http", "-p", str(port), "--x509certfile", chain, "--x509keyfile", key],
                               stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        daemon.wait_until(lambda: listens(port), message="gnutls-serv does not listen")
        endpoint = check(authority, port, "--deep")
    finally:
        process.kill()
        process.wait()
    versions = endpoint["inventory"]["versions"]
    assert versions["TLS 1.3"] == versions["TLS 1.2"] == "yes" and versions["SSL 3"] == "no"
    assert endpoint["inventory"]["resumes_ticket"] == "yes"
    assert not endpoint["inventory"].get("cut")


# ---- servers that misbehave ----

def hang(connection):
    connection.socket.recv(65536)
    connection.ended.wait(60)


def say(words):
    def handler(connection):
        connection.socket.recv(65536)
        connection.socket.sendall(words)
    return handler


def trickle(connection):
    """A record that never ends, byte by byte."""
    connection.socket.recv(65536)
    connection.socket.sendall(b"\x16\x03\x03\x40\x00")
    with contextlib.suppress(OSError):
        while not connection.ended.wait(0.05):
            connection.socket.sendall(b"\x02")


@pytest.mark.parametrize("handler, options, outcome, words", [
    (hang, ["-t", "1"], "timeout", "before any answer to the ClientHello"),
    (trickle, ["-t", "1"], "timeout", "before any answer to the ClientHello"),
    (say(b"220 mail ESMTP \x1b[31m\r\n"), [], "not-tls", r"220 mail ESMTP \x1b[31m"),
    (say(b"\x15\x03\x03\0\2\2\x70"), [], "handshake-failed", "alert 112 from the server"),
    (say(b"\x16\x03\x03\0\4\x02\xff\xff\xff"), [], "handshake-failed", "refused"),
    (say(b""), [], "handshake-failed", "was closed before any answer to the ClientHello"),
], ids=["silent", "trickling", "plain", "alert", "garbage", "closing"])
def test_servers_that_misbehave(authority, handler, options, outcome, words):
    server = servers.Server(handler)
    try:
        endpoint = check(authority, server.port, *options)
    finally:
        server.close()
    assert endpoint["outcome"] == outcome
    assert words in endpoint["reason"]
    assert endpoint["verdict"] == "critical"


def test_a_certificate_with_ten_thousand_names(authority, folder):
    pair = authority.issue(NAME, *(f"host-{number}.shop.example" for number in range(10000)))
    with s_server(pair, folder) as port:
        endpoint = check(authority, port)
    assert endpoint["outcome"] == "seen"
    assert endpoint["certificates"][0]["position"] == 0


def test_a_chain_that_does_not_end(authority, folder):
    pair = authority.issue(NAME)
    pair.chain_pem = pair.leaf_pem + pki.many_authorities_pem(100)
    with s_server(pair, folder) as port:
        endpoint = check(authority, port)
    assert endpoint["outcome"] == "seen"
    assert len(endpoint["certificates"]) == 64 and endpoint["certificates_dropped"] == 37


def test_messages_are_traced(authority, pair, folder):
    with s_server(pair, folder) as port:
        endpoint = check(authority, port, "--trace")
    told = [(message["direction"], message["message"]) for message in endpoint["messages"] if message["record"] == "handshake"]
    assert told[:2] == [("sent", "ClientHello"), ("received", "ServerHello")]
    assert ("received", "Certificate") in told and ("sent", "Finished") in told
    assert all(message["size"] > 0 and message["at_s"] >= 0 for message in endpoint["messages"])
