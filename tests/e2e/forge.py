"""Records that no honest library sends: TLS 1.3 and 1.2 clients whose records after the handshake are sealed by the test itself."""

import ctypes
import hashlib
import hmac
import ssl
import struct

from cryptography.hazmat.primitives.ciphers.aead import AESGCM

import clients
from clients import LIBSSL

ALERT, HANDSHAKE, APPLICATION_DATA = 21, 22, 23
KEY_UPDATE, KEY_UPDATE_REQUESTED = b"\x18\x00\x00\x01\x00", b"\x18\x00\x00\x01\x01"


def expand_label(secret, label, size, digest):
    """HKDF-Expand-Label with an empty context (RFC 8446 §7.1)."""
    name = b"tls13 " + label
    info = struct.pack(">HB", size, len(name)) + name + b"\0"
    output, block, counter = b"", b"", 1
    while len(output) < size:
        block = hmac.new(secret, block + info + bytes([counter]), digest).digest()
        output, counter = output + block, counter + 1
    return output[:size]


def expand(secret, label, seed, size, digest):
    """PRF (RFC 5246 §5)."""
    output, chain = b"", label + seed
    while len(output) < size:
        chain = hmac.new(secret, chain, digest).digest()
        output += hmac.new(secret, chain + label + seed, digest).digest()
    return output[:size]


class Keys:
    def __init__(self, secret, key_size, digest):
        self.secret, self.key_size, self.digest = secret, key_size, digest
        self.aead = AESGCM(expand_label(secret, b"key", key_size, digest))
        self.iv = expand_label(secret, b"iv", 12, digest)
        self.sequence = 0

    def next(self):
        return Keys(expand_label(self.secret, b"traffic upd", len(self.secret), self.digest), self.key_size, self.digest)

    def nonce(self):
        number = int.from_bytes(self.iv, "big") ^ self.sequence
        self.sequence += 1
        return number.to_bytes(12, "big")

    def seal(self, inner_type, data, padding=0):
        plain = data + (bytes([inner_type]) if inner_type is not None else b"") + bytes(padding)
        header = struct.pack(">BHH", APPLICATION_DATA, 0x0303, len(plain) + 16)
        return header + self.aead.encrypt(self.nonce(), plain, header)

    def open(self, record):
        """(inner type, data)"""
        plain = self.aead.decrypt(self.nonce(), record[5:], record[:5]).rstrip(b"\0")
        return plain[-1], plain[:-1]


class Keys12:
    """One direction of AES-GCM (RFC 5288), behind its Finished."""

    def __init__(self, key, salt):
        self.aead, self.salt, self.sequence = AESGCM(key), salt, 1

    def _header(self, kind, size):
        self.sequence += 1
        return struct.pack(">QBHH", self.sequence - 1, kind, 0x0303, size)

    def seal(self, kind, data, _padding=0):
        nonce = struct.pack(">Q", self.sequence)
        sealed = nonce + self.aead.encrypt(self.salt + nonce, data, self._header(kind, len(data)))
        return struct.pack(">BHH", kind, 0x0303, len(sealed)) + sealed

    def open(self, record):
        """(type, data)"""
        header = self._header(record[0], len(record) - 5 - 8 - 16)
        return record[0], self.aead.decrypt(self.salt + record[5:13], record[13:], header)


class RecordForger(clients.WireClient):
    """After the handshake use seal_as() and read_record() only; OpenSSL knows nothing of them."""

    def take_over(self, write_keys, read_keys):
        self.write_keys, self.read_keys = write_keys, read_keys
        self.buffer = b""
        try:  # what OpenSSL has taken from the socket beyond the handshake
            self.buffer = self.incoming.read()
        except ssl.SSLError:
            pass

    def seal_as(self, inner_type, data, padding=0):
        return self.write_keys.seal(inner_type, data, padding)

    def send_as(self, inner_type, data):
        self.send_raw(self.seal_as(inner_type, data))

    def read_record(self):
        """The next (type, data) that the edge sent; None at the end of the stream."""
        while len(self.buffer) < 5 or len(self.buffer) < 5 + int.from_bytes(self.buffer[3:5], "big"):
            data = self.raw.recv(65536)
            if not data:
                return None
            self.buffer += data
        size = 5 + int.from_bytes(self.buffer[3:5], "big")
        record, self.buffer = self.buffer[:size], self.buffer[size:]
        return self.read_keys.open(record)

    def read_until(self, kind):
        """Data of the next record of this type; tickets and key updates on the way are passed over."""
        while True:
            record = self.read_record()
            assert record is not None, "the session ended"
            if record[0] == kind:
                return record[1]
            assert record[0] == HANDSHAKE or kind == ALERT, record


class Forger(RecordForger):
    """TLS 1.3."""

    def __init__(self, port, folder, **options):
        keylog = folder / f"keys-{id(self)}"
        super().__init__(port, version="1.3", keylog=keylog, **options)
        secrets = dict((line.split()[0], bytes.fromhex(line.split()[2]))
                       for line in keylog.read_text().splitlines() if not line.startswith("#"))
        suite = self.object.cipher()[0]
        key_size, digest = (16, hashlib.sha256) if "AES_128" in suite else (32, hashlib.sha384)
        assert "GCM" in suite
        self.take_over(Keys(secrets["CLIENT_TRAFFIC_SECRET_0"], key_size, digest),
                       Keys(secrets["SERVER_TRAFFIC_SECRET_0"], key_size, digest))

    def update_keys(self, request=False):
        record = self.seal_as(HANDSHAKE, KEY_UPDATE_REQUESTED if request else KEY_UPDATE)
        self.write_keys = self.write_keys.next()
        return record

    def read_record(self):
        record = super().read_record()
        if record and record[0] == HANDSHAKE and record[1][:1] == b"\x18":
            self.read_keys = self.read_keys.next()
        return record


class Forger12(RecordForger):
    """TLS 1.2 with AES-128-GCM."""

    def __init__(self, port, **options):
        super().__init__(port, version="1.2", ciphers="ECDHE-ECDSA-AES128-GCM-SHA256", **options)
        connection = clients.pointer(self.object)
        client, server = self._read(LIBSSL.SSL_get_client_random, connection, 32), \
            self._read(LIBSSL.SSL_get_server_random, connection, 32)
        LIBSSL.SSL_get_session.restype = ctypes.c_void_p
        session = ctypes.c_void_p(LIBSSL.SSL_get_session(connection))
        master = self._read(LIBSSL.SSL_SESSION_get_master_key, session, 48)
        keys = expand(master, b"key expansion", server + client, 40, hashlib.sha256)
        self.take_over(Keys12(keys[:16], keys[32:36]), Keys12(keys[16:32], keys[36:40]))

    @staticmethod
    def _read(function, thing, size):
        output = ctypes.create_string_buffer(size)
        function.restype = ctypes.c_size_t
        assert function(thing, output, ctypes.c_size_t(size)) == size
        return output.raw
