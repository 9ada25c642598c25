"""The resumption measure: clients that hold tickets come back after nothing, after a reload, and after the certificate was
renewed. Beside nginx and HAProxy as they come, and with a file of ticket keys, which alone lets tickets outlive their reload."""

import base64
import dataclasses
import hashlib
import os
import shutil
import signal
import socket
import ssl
import subprocess
import sys

from contestants import CONTESTANTS
from edges import COMMANDS, PATIENCE, WORKERS, Client, wait_for

STEPS = ("nothing", "reload", "renewal")
TICKETS, QUICK_TICKETS = 500, 50
PEERS = ("nginx-stream", "haproxy")


def leaf_of(port):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    with socket.create_connection(("127.0.0.1", port), timeout=5) as plain:
        with context.wrap_socket(plain, server_hostname="localhost") as connection:
            return hashlib.sha256(connection.getpeercert(True)).digest()


class Edge:
    """A started contestant with certificate files of its own."""

    def __init__(self, bench, contestant, ticket_keys):
        self.bench, self.contestant = bench, contestant
        upstream = bench.start_upstream(realtime=False)
        self.program, self.port = bench.start_contestant(
            contestant, upstream, core=None, workers=WORKERS, own_files=True,
            ticket_key=self.write_key() if ticket_keys else "")
        self.client = Client(bench, self.port, bench.suite, 600, tool="resumption")

    def write_key(self):
        """80 bytes, as nginx wants them; HAProxy reads three in base64, of which it writes with the last but one."""
        path = os.path.join(self.bench.folder, self.contestant.name + "-ticket-key")
        with open(path, "wb") as file:
            key = os.urandom(80)
            file.write(key if "nginx" in self.contestant.name else b"\n".join([base64.b64encode(key)] * 3) + b"\n")
        return path

    def reload(self):
        """Until every process of the old configuration has stopped accepting."""
        if self.contestant.ours:
            subprocess.run([self.bench.arguments.holdfast, "reload", "-c", self.program.config], check=True, timeout=PATIENCE,
                           capture_output=True)
            return
        old = set(self.program.processes()) - {self.program.pid}
        os.kill(self.program.pid, signal.SIGHUP if "nginx" in self.contestant.name else signal.SIGUSR2)
        wait_for(lambda: not old & set(self.program.processes()), f"{self.contestant.name}: the end of the old workers")
        self.program.wait_tls(self.port)

    def renew(self):
        """The files change; until all new connections are shown the new certificate."""
        before = leaf_of(self.port)
        for name in ("chain.pem", "leaf.key", "combined.pem"):
            fresh = os.path.join(self.program.folder, name + ".new")
            shutil.copy(os.path.join(self.bench.folder, "renewed-" + name), fresh)
            os.rename(fresh, os.path.join(self.program.folder, name))
        if not self.contestant.ours:  # Holdfast watches its files
            self.reload()
        wait_for(lambda: all(leaf_of(self.port) != before for _ in range(4 * WORKERS)), "the renewed certificate", 0.05)

    def measure(self, count):
        """{step: share of the tickets that resumed}"""
        actions = {"nothing": lambda: None, "reload": self.reload, "renewal": self.renew}
        shares = {}
        for step in STEPS:
            self.client.order(f"collect {count}")
            actions[step]()
            shares[step] = self.client.order("use")["resumed"] / count
        return shares


def rows_of(bench):
    """(title, contestant, with ticket keys?)"""
    for contestant in CONTESTANTS:
        if contestant.name not in bench.arguments.contestants:
            continue
        if contestant.ours:
            yield contestant.name, contestant, False
        elif contestant.name in PEERS and shutil.which(contestant.version[0]):
            command = COMMANDS["haproxy"] if contestant.name == "haproxy" else contestant.command
            made = dataclasses.replace(contestant, command=command)
            yield contestant.name, made, False
            yield contestant.name + ", ticket key file", made, True


def measure(bench, quick, progress):
    """{title: {step: share}}; what fails is told and left out."""
    result = {}
    for title, contestant, ticket_keys in rows_of(bench):
        progress(f"resumption: {title}")
        try:
            result[title] = Edge(bench, contestant, ticket_keys).measure(QUICK_TICKETS if quick else TICKETS)
        except (RuntimeError, OSError, subprocess.SubprocessError) as error:
            progress("")
            print(f"bench: {title}, resumption: {error}", file=sys.stderr)
        finally:
            bench.stop_all()
    progress("")
    return result


def table(result):
    header = ["tickets that resume", "after nothing", "after a reload", "after a certificate renewal", "target", ""]
    lines = []
    for title, shares in result.items():
        ours = title == "holdfast"
        lines.append([title, *(f"{shares[step] * 100:.0f} %" for step in STEPS), "100 %" if ours else "",
                      ("met" if all(share == 1 for share in shares.values()) else "missed") if ours else ""])
    return header, lines


CONDITIONS = f"""{WORKERS} workers each; TLS 1.3; for each column {TICKETS} clients make a full handshake and a request, and come back with
their ticket afterwards. A renewal is another key and certificate of the same authority in the same files: Holdfast sees it by itself,
nginx gets SIGHUP, HAProxy (master-worker) SIGUSR2, as for the reload without a change. The second row of each peer has a file of
ticket keys (`ssl_session_ticket_key`, `tls-ticket-keys`): without one its keys are random and die with every reload.
nginx binds tickets to the certificate, HAProxy does not."""
