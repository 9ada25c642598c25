"""TLS clients: Python's ssl over a socket, the same over memory (for tests that touch the wire), and openssl s_client."""

import contextlib
import ctypes
import hashlib
import os
import pathlib
import re
import select
import socket
import ssl
import subprocess
import threading
import time

NAME = "shop.test"
LIBSSL = ctypes.CDLL("libssl.so.3")


def pointer(connection):
    """OpenSSL's SSL object below Python's: it can do more than Python offers."""
    below = getattr(connection, "_sslobj")
    return ctypes.c_void_p(ctypes.c_void_p.from_address(id(below) + object.__basicsize__ + 8).value)


def renegotiate(connection):
    """Asks for another handshake (TLS 1.2)."""
    assert LIBSSL.SSL_renegotiate(pointer(connection)) == 1


def set_suites(made, suites):
    """TLS 1.3 suites, which Python's ssl cannot choose: behind the head of the object lies OpenSSL's SSL_CTX pointer."""
    below = ctypes.c_void_p.from_address(id(made) + object.__basicsize__)
    assert LIBSSL.SSL_CTX_set_ciphersuites(below, suites.encode()) == 1


def context(root=None, version=None, alpn=None, ciphers=None, keylog=None, suites=None, identity=None, later=False):
    """A client context that trusts `root` (None: verifies nothing); `identity`: paths of a certificate chain and its key;
    `later`: offers to be asked for them after the handshake."""
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    if root is None:
        made.check_hostname = False
        made.verify_mode = ssl.CERT_NONE
    else:
        made.load_verify_locations(root)
    if version:
        made.minimum_version = made.maximum_version = {"1.2": ssl.TLSVersion.TLSv1_2, "1.3": ssl.TLSVersion.TLSv1_3}[version]
    if alpn:
        made.set_alpn_protocols(alpn)
    if ciphers:
        made.set_ciphers(ciphers)
    if suites:
        set_suites(made, suites)
    if identity:
        made.load_cert_chain(*identity)
    made.post_handshake_auth = later
    if keylog:
        made.keylog_filename = str(keylog)
    return made


class Client:
    """A blocking TLS client with checked, numbered messages."""

    def __init__(self, port, root=None, name=NAME, host="127.0.0.1", timeout=60, tls=None, session=None, preamble=b"",
                 source=None, **options):
        self.raw = socket.create_connection((host, port), timeout, source_address=source)
        self.raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if preamble:
            self.raw.sendall(preamble)
        self.tls = tls or context(root, **options)
        try:
            self.socket = self.tls.wrap_socket(self.raw, server_hostname=name, session=session,
                                               suppress_ragged_eofs=False)
        except BaseException:
            self.raw.close()
            raise
        self.raw = self.socket  # wrapping has taken the descriptor over
        self.count = 0

    def fingerprint(self):
        return hashlib.sha256(self.socket.getpeercert(True)).hexdigest()

    def send(self, data):
        self.socket.sendall(data)

    def receive(self, size):
        """Exactly `size` bytes."""
        data = bytearray()
        while len(data) < size:
            piece = self.socket.recv(size - len(data))
            if not piece:
                raise EOFError(f"the session ended after {len(data)} of {size} bytes")
            data += piece
        return bytes(data)

    def read_line(self):
        line = bytearray()
        while not line.endswith(b"\n"):
            line += self.receive(1)
        return bytes(line)

    def read_to_end(self):
        data = bytearray()
        while piece := self.socket.recv(65536):
            data += piece
        return bytes(data)

    def exchange(self, text="message"):
        """Sends a numbered message to an echoing upstream and checks what comes back."""
        self.count += 1
        message = f"{self.count} {text} {os.urandom(8).hex()}\n".encode()
        self.send(message)
        answer = self.receive(len(message))
        assert answer == message, f"sent {message!r}, got {answer!r}"

    def close(self):
        with contextlib.suppress(OSError, ssl.SSLError):
            self.socket.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


class WireClient:
    """A TLS client whose records pass through the test: it can hold, repeat, damage or add bytes."""

    def __init__(self, port, root=None, name=NAME, timeout=60, handshake=True, host="127.0.0.1", preamble=b"",
                 receive_buffer=None, **options):
        self.raw = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
        self.raw.settimeout(timeout)
        if receive_buffer:  # later the window has been promised, and what exceeds the buffer is dropped
            self.raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        self.raw.connect((host, port))
        self.raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.raw.sendall(preamble)
        self.incoming, self.outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.object = context(root, **options).wrap_bio(self.incoming, self.outgoing, server_hostname=name)
        if handshake:
            self._drive(self.object.do_handshake)

    def flush(self):
        data = self.outgoing.read()
        if data:
            self.raw.sendall(data)

    def _drive(self, function, *arguments):
        while True:
            try:
                result = function(*arguments)
                self.flush()
                return result
            except ssl.SSLWantReadError:
                self.flush()
                data = self.raw.recv(65536)
                if data:
                    self.incoming.write(data)
                else:
                    self.incoming.write_eof()
            except ssl.SSLError:
                with contextlib.suppress(OSError):
                    self.flush()
                raise

    def seal(self, data):
        """The records for `data`, not yet sent."""
        self.object.write(data)
        return self.outgoing.read()

    def send(self, data):
        self.raw.sendall(self.seal(data))

    def send_raw(self, data):
        self.raw.sendall(data)

    def receive(self, size=65536):
        """Some bytes; b"" after close_notify; ssl.SSLError for an alert or a truncation."""
        try:
            return self._drive(self.object.read, size)
        except ssl.SSLZeroReturnError:
            return b""

    def receive_exactly(self, size):
        data = b""
        while len(data) < size:
            piece = self.receive(size - len(data))
            assert piece, f"the session ended after {len(data)} of {size} bytes"
            data += piece
        return data

    def read_to_end(self):
        data = bytearray()
        while piece := self.receive():
            data += piece
        return bytes(data)

    def close_notify(self):
        """Ends our direction; reading goes on."""
        with contextlib.suppress(ssl.SSLWantReadError, ssl.SSLSyscallError):
            self.object.unwrap()
        self.flush()

    def alert(self):
        """Reads until the session ends; the name of the alert that the edge sent ("close_notify" for a clean end)."""
        try:
            while self.receive():
                pass
        except ssl.SSLError as error:
            return alert_name(error)
        except ConnectionError:
            return "reset"
        return "close_notify"

    def close(self):
        self.raw.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


def kernel_lines(sock):
    """What /proc/net/tcp says of this end of a connection and of the edge's (IPv4), as fields."""
    def end(name):
        host, port = name
        return f"{int.from_bytes(socket.inet_aton(host), 'little'):08X}:{port:04X}"
    ours, theirs = end(sock.getsockname()), end(sock.getpeername())
    with open("/proc/net/tcp", encoding="ascii") as lines:
        found = {tuple(fields[1:3]): fields for fields in map(str.split, lines)}
    return found[ours, theirs], found[theirs, ours]


def is_taken(sock):
    """Has the edge read all that was sent to it?"""
    ours, theirs = kernel_lines(sock)
    return int(ours[4].split(":")[0], 16) == 0 and int(theirs[4].split(":")[1], 16) == 0


def holders(sock, processes):
    """Those that have the edge's end open."""
    target = f"socket:[{kernel_lines(sock)[1][9]}]"

    def links(pid):
        for path in pathlib.Path(f"/proc/{pid}/fd").iterdir():
            with contextlib.suppress(FileNotFoundError):
                yield os.readlink(path)
    return [pid for pid in processes if target in links(pid)]


def waiting_bytes(sock, most=1 << 20):
    """What waits in the socket's buffer, as it came from the wire, without taking it."""
    timeout = sock.gettimeout()
    sock.setblocking(False)
    try:
        return socket.socket.recv(sock, most, socket.MSG_PEEK)
    except BlockingIOError:
        return b""
    finally:
        sock.settimeout(timeout)


def alert_name(error):
    """OpenSSL's TLSV1_ALERT_DECODE_ERROR → "decode_error"."""
    if isinstance(error, ssl.SSLEOFError) or "EOF" in str(error):
        return "truncated"
    match = re.search(r"(?:TLSV1_ALERT_|SSLV3_ALERT_|TLSV13_ALERT_|TLSV1_)(\w+)", error.reason or str(error))
    return match.group(1).lower() if match else str(error)


def connect_quietly(*arguments, **options):
    """A client, or the exception that refused it."""
    try:
        return Client(*arguments, **options)
    except (OSError, ssl.SSLError) as error:
        return error


def leaf(port, root=None, name=NAME, **options):
    """Fingerprint of the certificate that a new connection is shown."""
    with Client(port, root, name, **options) as client:
        return client.fingerprint()


def s_client(port, *options, text=b"", timeout=60, name=NAME, until=None):
    """Runs openssl s_client with `text` as input, to its own end or until its output holds `until` (bytes, or a function of the
    output); returns the whole output."""
    command = ["openssl", "s_client", "-connect", f"127.0.0.1:{port}", *options]
    if name and "-noservername" not in options:
        command += ["-servername", name]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as process:
        timer = threading.Timer(timeout, process.kill)
        timer.start()
        try:
            if until is None:
                output, _ = process.communicate(text)
                return output.decode(errors="replace")
            process.stdin.write(text)
            process.stdin.flush()
            output = b""
            found = until if callable(until) else lambda output: until in output
            while not found(output):
                piece = os.read(process.stdout.fileno(), 65536)
                if not piece:
                    break
                output += piece
            process.stdin.close()
            output += process.stdout.read()
            return output.decode(errors="replace")
        finally:
            timer.cancel()


class LineProcess:
    """A client program that sends each line of its input and prints each line that comes back."""

    def __init__(self, command, environment=None, strip=b"", cwd=None):
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                                        env={**os.environ, **(environment or {})}, cwd=cwd)
        self.output = bytearray()
        self.errors = bytearray()
        self._taken = 0
        self.count = 0
        threading.Thread(target=self._collect_errors, daemon=True).start()

    def _collect_errors(self):
        with contextlib.suppress(ValueError, OSError):
            while data := self.process.stderr.read1(65536):
                self.errors += data

    def write(self, data):
        self.process.stdin.write(data)
        self.process.stdin.flush()

    def wait_output(self, expected, timeout=30):
        """Reads until `expected` has been printed after the last match."""
        deadline = time.monotonic() + timeout
        stream = self.process.stdout
        while (at := self.output.find(expected, self._taken)) < 0:
            left = deadline - time.monotonic()
            ready, _, _ = select.select([stream], [], [], max(left, 0))
            data = os.read(stream.fileno(), 65536) if ready else b""
            assert data, (f"{self.process.args[0]}: no {expected!r} in {bytes(self.output[self._taken:])!r}; "
                          f"standard error: {bytes(self.errors[-2000:])!r}; exit code {self.process.poll()}")
            self.output += data
        self._taken = at + len(expected)

    def read_line(self, timeout=30):
        """The line after the last match."""
        begin = self._taken
        self.wait_output(b"\n", timeout)
        return self.output[begin:self._taken].decode().rstrip("\n")

    def exchange(self, text="message"):
        self.count += 1
        line = f"{self.count} {text} {os.urandom(6).hex()}".encode()
        self.write(line + b"\n")
        self.wait_output(line)

    def close(self):
        with contextlib.suppress(OSError):
            self.process.stdin.close()
        try:
            self.process.wait(5)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait(5)
        self.process.stdout.close()
