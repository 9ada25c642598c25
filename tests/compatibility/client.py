#!/usr/bin/python3
"""The client of client.c with Python's ssl, which has no call for a KeyUpdate or a renegotiation. The same arguments, orders
and answers."""

import select
import socket
import ssl
import sys
import time

PERIOD, CHUNK, AHEAD, PATIENCE = 251, 16384, 512 << 10, 30
PATTERN = bytes(i % PERIOD for i in range(PERIOD + 65536))


class Failed(Exception):
    """Why the session is over."""


class Session:
    def __init__(self, context=None, kept=None):
        port, root, name, version = sys.argv[1:5]
        context = context or ssl.create_default_context(cafile=root)
        chosen = ssl.TLSVersion.TLSv1_3 if version == "1.3" else ssl.TLSVersion.TLSv1_2
        context.minimum_version = context.maximum_version = chosen
        plain = socket.create_connection(("127.0.0.1", int(port)), PATIENCE)
        plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.context = context
        self.socket = context.wrap_socket(plain, server_hostname=name, session=kept, suppress_ragged_eofs=False)
        self.socket.setblocking(False)
        self.sent = self.received = self.end = 0
        self.running = self.ended = False

    def write(self):
        if self.running and self.sent - self.received < AHEAD:
            self.end = self.sent + CHUNK
        try:
            while self.sent < self.end and not self.ended:
                at = self.sent % PERIOD
                self.sent += self.socket.send(PATTERN[at:at + min(self.end - self.sent, CHUNK)])
        except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
            pass

    def read(self):
        try:
            while not self.ended:
                data = self.socket.recv(65536)
                at = self.received % PERIOD
                if self.received + len(data) > self.sent or data != PATTERN[at:at + len(data)]:
                    raise Failed("a byte came back that was not sent")
                self.received += len(data)
                self.ended = not data
        except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
            pass

    def turn(self):
        self.write()
        select.select([self.socket], [], [], 0.002)
        self.read()

    def turn_until(self, condition, what):
        deadline = time.monotonic() + PATIENCE
        while not condition():
            if time.monotonic() > deadline:
                raise Failed(what)
            self.turn()

    def catch_up(self):
        self.turn_until(lambda: self.received >= self.end or self.ended, "what was sent does not come back")
        if self.ended:
            raise Failed("the edge ended the session")

    def echo(self, count=1, size=100):
        for _ in range(int(count)):
            self.end += int(size)
            self.catch_up()

    def close(self):
        self.socket.setblocking(True)
        self.socket.unwrap().close()


def obey(session, order, *arguments):
    """Carries one order out; returns the session from then on."""
    if order == "echo":
        session.echo(*arguments)
    elif order == "start":
        session.running = True
    elif order == "stop":
        session.running = False
        session.catch_up()
    elif order == "reconnect":
        kept = session.socket.session
        session.close()
        return Session(session.context, kept)
    elif order == "close":
        session.close()
    elif order == "await-close":
        session.turn_until(lambda: session.ended, "no close_notify came")
        session.socket.close()
    else:
        raise Failed("this library cannot")
    return session


def main():
    session = Session()
    print("connected", f"{sys.version.split()[0]} with {ssl.OPENSSL_VERSION.split()[1]}", flush=True)
    while True:
        session.write()
        watched = [sys.stdin] if session.socket.fileno() < 0 or session.ended else [sys.stdin, session.socket]
        readable, _, _ = select.select(watched, [], [], 0.002 if session.running else None)
        if session.socket in readable:
            session.read()
        if sys.stdin in readable:
            order = sys.stdin.readline().split()
            if not order:
                return
            session = obey(session, *order)
            print("ok", flush=True)


try:
    main()
except (Failed, OSError) as error:
    print("failed", error, flush=True)
    sys.exit(1)
