"""Upstream servers behind the edge. One thread per connection; a handler gets the accepted socket and its record."""

import contextlib
import socket
import ssl
import threading


class Connection:
    """What a test may look at afterwards: the peer's address, what was received, how it ended."""

    def __init__(self, sock, address):
        self.socket = sock
        self.address = address
        self.received = bytearray()
        self.ended = threading.Event()
        self.error = None


class Server:
    """Listens on loopback (or on a Unix socket) from construction to close()."""

    def __init__(self, handler, address=("127.0.0.1", 0), family=socket.AF_INET, tls=None):
        self.handler, self.tls = handler, tls
        self.connections = []
        self._arrived = threading.Condition()
        self._closing = False
        self.listener = socket.socket(family)
        self.listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.listener.bind(address)
        self.listener.listen(4096)
        self.port = None if family == socket.AF_UNIX else self.listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    @property
    def address(self):
        """As an upstream's server is written in the configuration."""
        host = self.listener.getsockname()
        if self.listener.family == socket.AF_UNIX:
            return f"unix:{host}"
        return f"[{host[0]}]:{host[1]}" if self.listener.family == socket.AF_INET6 else f"{host[0]}:{host[1]}"

    def _accept(self):
        while not self._closing:
            try:
                sock, address = self.listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(sock, address), daemon=True).start()

    def _serve(self, sock, address):
        with contextlib.suppress(OSError):
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        try:
            if self.tls:
                sock = self.tls.wrap_socket(sock, server_side=True)
        except (OSError, ssl.SSLError) as error:
            connection = Connection(sock, address)
            connection.error = error
        else:
            connection = Connection(sock, address)
        with self._arrived:
            self.connections.append(connection)
            self._arrived.notify_all()
        if connection.error is None:
            try:
                self.handler(connection)
            except OSError as error:
                connection.error = error
        with contextlib.suppress(OSError):
            sock.close()
        connection.ended.set()

    def wait_connections(self, count, timeout=30):
        """The first `count` connections, once they have arrived."""
        with self._arrived:
            assert self._arrived.wait_for(lambda: len(self.connections) >= count, timeout), \
                f"{len(self.connections)} of {count} connections reached the upstream server"
            return self.connections[:count]

    def close(self):
        self._closing = True
        with contextlib.suppress(OSError):
            self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()
        for connection in list(self.connections):
            with contextlib.suppress(OSError):
                connection.socket.shutdown(socket.SHUT_RDWR)


def echo(connection):
    """Sends back what arrives; passes the end of the stream on."""
    while data := connection.socket.recv(65536):
        connection.received += data
        connection.socket.sendall(data)
    connection.socket.shutdown(socket.SHUT_WR)


def quiet_echo(connection):
    """The same without keeping what passed."""
    while data := connection.socket.recv(1 << 18):
        connection.socket.sendall(data)
    connection.socket.shutdown(socket.SHUT_WR)


def record(connection):
    """Only keeps what arrives."""
    while data := connection.socket.recv(65536):
        connection.received += data


def greeter(name):
    """Says its name first, then echoes."""
    def handler(connection):
        connection.socket.sendall(name.encode() + b"\n")
        echo(connection)
    return handler


def never_reading(connection):
    """Accepts and then waits until the test closes it."""
    connection.release = getattr(connection, "release", threading.Event())
    connection.release.wait(120)


def read_head(connection):
    """Reads up to and with the empty line of an HTTP head; returns (head, what follows)."""
    data = bytearray()
    while b"\r\n\r\n" not in data:
        piece = connection.socket.recv(65536)
        if not piece:
            return bytes(data), b""
        data += piece
    head, rest = bytes(data).split(b"\r\n\r\n", 1)
    return head, rest
