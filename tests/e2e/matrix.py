"""The clients of the compatibility matrix, and the document that says what each of them does (doc/compatibility.md)."""

import contextlib
import functools
import os
import re
import subprocess
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

import clients
import daemon
from conftest import need

SOURCES = daemon.REPOSITORY / "tests" / "compatibility"
PROGRAMS = daemon.BINARY.parent / "tests" / "compatibility"
DOCUMENT = daemon.REPOSITORY / "doc" / "compatibility.md"
WRITES = os.environ.get("HOLDFAST_WRITE_COMPATIBILITY") == "1"
NO_CALL = "–"
KEY_LIMIT = "2^16"  # bytes under one key, for the Java that renews its keys by itself


class Gone(Exception):
    """The client's session is over; why."""


class Peer(clients.LineProcess):
    """A client of tests/compatibility, connected."""

    def __init__(self, command):
        super().__init__(command)
        self.version = self.answer().removeprefix("connected ")

    def answer(self, timeout=60):
        line = self.read_line(timeout)
        if line.startswith("failed"):
            raise Gone(line.removeprefix("failed "))
        return line

    def ask(self, order, timeout=60):
        with contextlib.suppress(BrokenPipeError):  # why it has gone it has said already
            self.write(order.encode() + b"\n")
        return self.answer(timeout)


# ---- how the clients are started ----

def compiled(stack):
    return [need(str(PROGRAMS / f"compatibility-{stack}"))]


@functools.cache
def build_folder():
    return tempfile.TemporaryDirectory(prefix="holdfast-compatibility-")  # pylint: disable=consider-using-with


@functools.cache
def go_program():
    program = Path(build_folder().name) / "client"
    subprocess.run([need("go"), "build", "-o", program, SOURCES / "client.go"], check=True, timeout=110,
                   env={**os.environ, "GO111MODULE": "off", "GOFLAGS": ""})
    return program


@functools.cache
def java_classes():
    need("java")
    subprocess.run([need("javac"), "-d", build_folder().name, SOURCES / "Client.java"], check=True, timeout=110)
    return build_folder().name


def java(*options):
    return ["java", "-Xshare:auto", "-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", *options, "-cp", java_classes(), "Client"]


def java_with_key_limit():
    limits = Path(build_folder().name) / "security"
    limits.write_text(f"jdk.tls.keyLimits=AES/GCM/NoPadding KeyUpdate {KEY_LIMIT}, "
                      f"ChaCha20-Poly1305 KeyUpdate {KEY_LIMIT}\n")
    return java(f"-Djava.security.properties={limits}")


@dataclass(frozen=True)
class Client:
    title: str
    command: object                # called, gives the command; skips the test when it is not here
    versions: tuple = ("1.2", "1.3")
    can: frozenset = frozenset()   # orders that its library has a call for
    asks_always: bool = False      # a KeyUpdate that it sends also asks for ours
    renews_itself: bool = False    # without being told
    may_decline: bool = False      # whether it renegotiates when asked is left to its user
    talks_over: bool = False       # it sends data after the ClientHello of a renegotiation, which OpenSSL does not take
    loses_count: bool = False      # data that is still on its way to it upsets a renegotiation that it begins
    is_asked: bool = True          # it speaks RFC 5746, without which nobody is asked

    @property
    def update(self):
        """The order that makes it send a KeyUpdate."""
        return "request" if self.asks_always else "update"


CLIENTS = {
    "openssl": Client("OpenSSL", functools.partial(compiled, "openssl"), can=frozenset({"update", "request", "renegotiate"})),
    "gnutls": Client("GnuTLS", functools.partial(compiled, "gnutls"), can=frozenset({"update", "request", "renegotiate"}),
                     may_decline=True, loses_count=True),
    "nss": Client("NSS", functools.partial(compiled, "nss"), can=frozenset({"update", "request", "renegotiate"}),
                  may_decline=True, talks_over=True),
    "wolfssl": Client("wolfSSL", functools.partial(compiled, "wolfssl"), can=frozenset({"request"}),
                      asks_always=True, is_asked=False),
    "mbedtls": Client("Mbed TLS", functools.partial(compiled, "mbedtls"), versions=("1.2",), can=frozenset({"renegotiate"}),
                      loses_count=True, may_decline=True),
    "java": Client("Java", java, can=frozenset({"request", "renegotiate"}), asks_always=True, talks_over=True),
    "java-key-limit": Client(f"Java, `jdk.tls.keyLimits` {KEY_LIMIT}", java_with_key_limit, versions=("1.3",),
                             can=frozenset({"request"}), asks_always=True, renews_itself=True),
    "node": Client("Node.js", lambda: [need("node"), SOURCES / "client.js"], can=frozenset({"renegotiate"}),
                   loses_count=True),
    "python": Client("Python", lambda: ["/usr/bin/python3", SOURCES / "client.py"]),
    "go": Client("Go", lambda: [go_program()], may_decline=True),
}


# ---- the document ----

@dataclass
class Row:
    version: str = ""                             # of the library
    outcomes: dict = field(default_factory=dict)  # by title of the column


def cells_of(line):
    return [cell.strip() for cell in line.strip().strip("|").split("|")]


def read_document():
    """{TLS version: {title of the client: Row}}"""
    tables, header, current = {}, None, None
    for line in DOCUMENT.read_text(encoding="utf-8").splitlines():
        if match := re.match(r"## TLS (1\.\d)$", line):
            current, header = tables.setdefault(match.group(1), {}), None
        elif not line.startswith("|") or current is None:
            continue
        elif header is None:
            header = cells_of(line)
        elif not line.startswith("|---"):
            title, version, *outcomes = cells_of(line)
            current[title] = Row(version, dict(zip(header[2:], outcomes)))
    return tables


def table_of(rows, columns):
    lines = ["| client | version | " + " | ".join(columns) + " |", "|---" * (len(columns) + 2) + "|"]
    for client in CLIENTS.values():
        if row := rows.get(client.title):
            cells = [client.title, row.version, *(row.outcomes.get(column, "?") for column in columns)]
            lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def write_document(tables, columns):
    """Puts the tables in place of those that stand there; the words around them stay."""
    text = DOCUMENT.read_text(encoding="utf-8")
    for version, rows in tables.items():
        text = re.sub(rf"(\n## TLS {re.escape(version)}\n\n)(\|.*\n)+",
                      lambda match, rows=rows, version=version: match.group(1) + table_of(rows, columns[version]) + "\n",
                      text, count=1)
    DOCUMENT.write_text(text, encoding="utf-8")
