"""`holdfast check` where TLS begins in the middle of a conversation: real servers of every protocol, and peers that lie,
hang or speak something else."""

import json
import socket

import pytest

import daemon
import starttls_servers

NAME = "mail.example"


@pytest.fixture(name="pair")
def pair_fixture(authority):
    return authority.issue(NAME)


@pytest.fixture(name="check")
def check_fixture(authority):
    """check(scheme, port, …) → the first endpoint of `--json`."""
    def run(scheme, port, *options, name=NAME, connect=True):
        pinned = ("--connect", "127.0.0.1") if connect else ()
        result = daemon.holdfast("check", f"{scheme}+starttls://{NAME}:{port}", *pinned, "--name", name, "--store",
                                 authority.root_path, "--json", *options, check=False)
        lines = result.stdout.splitlines()
        assert lines, result.stderr
        return json.loads(lines[0]) | {"exit": result.returncode}
    return run


def ids(endpoint, *severities):
    return {finding["id"] for finding in endpoint["findings"] if not severities or finding["severity"] in severities}


def evidence(endpoint, identity):
    return next(finding["evidence"] for finding in endpoint["findings"] if finding["id"] == identity)


# ---- real servers ----

@pytest.mark.parametrize("start", ["postfix", "dovecot", "postgres", "mariadb", "slapd", "proftpd", "prosody"])
def test_real_servers(start, pair, check, folder):
    """The certificate behind each protocol's beginning is seen and judged as any other: good, and wrong for another name."""
    options = {"name": NAME} if start == "prosody" else {}
    with getattr(starttls_servers, start)(pair, folder, **options) as ports:
        for scheme, port in ports.items():
            endpoint = check(scheme, port)
            assert endpoint["outcome"] == "seen", endpoint
            assert endpoint["protocol"] == scheme
            assert not ids(endpoint, "critical", "unknown"), endpoint["findings"]
            assert endpoint["certificates"][0]["subject_an"] == [NAME]
            assert endpoint["times"]["starttls_s"] > 0
            wrong = check(scheme, port, name="other.example")
            assert wrong["verdict"] == "critical" and wrong["exit"] == 2, wrong


def test_servers_without_tls(pair, check, folder):
    with starttls_servers.postfix(pair, folder, level="none") as ports:
        endpoint = check("smtp", ports["smtp"])
        assert endpoint["outcome"] == "starttls-refused"
        assert evidence(endpoint, "starttls-refused") == "does not offer STARTTLS"
        assert endpoint["exit"] == 2
    with starttls_servers.postgres(pair, folder, tls=False) as ports:
        assert "\"ssl\" is off" in evidence(check("postgres", ports["postgres"]), "starttls-refused").replace("\\", "")


def test_another_protocol_behind_the_port(pair, check, folder):
    with starttls_servers.dovecot(pair, folder) as ports:
        endpoint = check("smtp", ports["imap"])
        assert endpoint["outcome"] == "starttls-failed"
        assert "three digits, not: * OK" in evidence(endpoint, "starttls-failed")
        endpoint = check("mysql", ports["pop3"])
        assert endpoint["outcome"] == "starttls-failed"
        assert "+OK" in evidence(endpoint, "starttls-failed")


# ---- peers that misbehave ----

def talker(*turns):
    """Says the first, then one more for each line that comes; holds the connection afterwards."""
    def talk(connection):
        stream = connection.socket.makefile("rb")
        connection.socket.sendall(turns[0])
        for turn in turns[1:]:
            if not stream.readline():
                return
            connection.socket.sendall(turn)
        while connection.socket.recv(4096):
            pass
    return talk


def reader(size, answer):
    """Reads so many bytes, then says its word."""
    def talk(connection):
        while size > len(connection.received):
            connection.received += connection.socket.recv(size)
        connection.socket.sendall(answer)
        while connection.socket.recv(4096):
            pass
    return talk


SMTP = (b"220 x ESMTP\r\n", b"250-x\r\n250 STARTTLS\r\n")
INJECTORS = {
    "smtp": talker(*SMTP, b"220 go\r\n250 AUTH PLAIN\r\n"),
    "imap": talker(b"* OK\r\n", b"* CAPABILITY STARTTLS\r\na1 OK\r\n", b"a2 OK go\r\n* PREAUTH hi\r\n"),
    "pop3": talker(b"+OK\r\n", b"+OK\r\nSTLS\r\n.\r\n", b"+OK go\r\n+OK hi\r\n"),
    "ftp": talker(b"220 x\r\n", b"234 go\r\n230 in\r\n"),
    "nntp": talker(b"200 x\r\n", b"101 x\r\nSTARTTLS\r\n.\r\n", b"382 go\r\n200 x\r\n"),
    "sieve": talker(b'"STARTTLS"\r\nOK\r\n', b'OK\r\n"SASL" "PLAIN"\r\n'),
    "postgres": reader(8, b"SR\0\0\0\x08\0\0\0\0"),
    "ldap": reader(31, b"\x30\x0c\x02\x01\x01\x78\x07\x0a\x01\0\x04\0\x04\0\x30\x0c"),
}


@pytest.mark.parametrize("scheme", INJECTORS)
def test_injected_plaintext_is_named(scheme, check, server):
    endpoint = check(scheme, server(INJECTORS[scheme]).port)
    assert endpoint["outcome"] == "starttls-injected", endpoint
    assert ids(endpoint, "critical") == {"starttls-injected"}
    assert "behind its consent" in evidence(endpoint, "starttls-injected")


@pytest.mark.parametrize("turns", [(b"",), SMTP[:1], SMTP, (*SMTP, b"220 go\r\n")],
                         ids=["silent", "greets", "offers", "consents"])
def test_hanging_at_each_stage(turns, check, server):
    endpoint = check("smtp", server(talker(*turns)).port, "--timeout", "1s")
    assert endpoint["outcome"] == "timeout", endpoint
    assert endpoint["stage"] != "connect"
    assert ids(endpoint, "critical") == {"timeout"}


def test_closing_in_the_middle(check, server):
    def close_after_greeting(connection):
        connection.socket.sendall(b"220 x\r\n")
        connection.socket.recv(100)
    endpoint = check("smtp", server(close_after_greeting).port)
    assert endpoint["outcome"] == "starttls-failed", endpoint


def test_garbage_and_escapes_are_shown_safely(check, server):
    port = server(talker(b"554 \x1b]0;owned\x07 \"quoted\" <b>\r\n")).port
    endpoint = check("smtp", port)
    assert endpoint["outcome"] == "starttls-refused"
    assert "\\x1b]0;owned\\x07" in evidence(endpoint, "starttls-refused")
    people = daemon.holdfast("check", f"smtp+starttls://127.0.0.1:{port}", check=False)
    assert "\x1b]" not in people.stdout and "owned" in people.stdout


def test_endless_talk_is_ended(check, server):
    def talk(connection):
        while True:
            connection.socket.sendall(b"220-still not done\r\n" * 1000)
    endpoint = check("smtp", server(talk).port)
    assert endpoint["outcome"] == "starttls-failed"
    assert "more than" in evidence(endpoint, "starttls-failed")


def test_nobody_there(check):
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        endpoint = check("imap", unused.getsockname()[1])
    assert endpoint["outcome"] == "refused"
    assert ids(endpoint, "critical") == {"connection-refused"}
    assert endpoint["exit"] == 2


def test_bad_targets_say_what_was_expected():
    for target, words in (("htps://x", "did you mean https://?"), ("http://x", "write https://"),
                          ("smtp+startls://x", "smtp+starttls"), ("x:99999", "1 to 65535"),
                          ("/etc/hosts", "file:/etc/hosts")):
        result = daemon.holdfast("check", target, check=False)
        assert words in result.stderr, result.stderr
