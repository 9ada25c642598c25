"""Headers of the PROXY protocol, made and read by hand."""

import socket
import struct

from daemon import wait_until

SIGNATURE = b"\r\n\r\n\0\r\nQUIT\n"
TLV_ALPN, TLV_AUTHORITY, TLV_TLS = 0x01, 0x02, 0x20
TLV_TLS_VERSION, TLV_TLS_CN, TLV_TLS_CIPHER, TLV_TLS_KEY = 0x21, 0x22, 0x23, 0x25


def version2(source, destination, family=socket.AF_INET, command=1, tlvs=b""):
    addresses = socket.inet_pton(family, source[0]) + socket.inet_pton(family, destination[0]) + \
        struct.pack(">HH", source[1], destination[1])
    kind = 0x11 if family == socket.AF_INET else 0x21
    return SIGNATURE + bytes([0x20 | command, kind]) + struct.pack(">H", len(addresses) + len(tlvs)) + addresses + tlvs


def parse_tlvs(data):
    found = {}
    while data:
        kind, size = struct.unpack(">BH", data[:3])
        found[kind] = data[3:3 + size]
        data = data[3 + size:]
    return found


def parse_version2(data):
    """(source, destination, TLVs, TLS TLVs, bytes used)"""
    assert data[:12] == SIGNATURE and data[12] == 0x21
    size = struct.unpack(">H", data[14:16])[0]
    body = data[16:16 + size]
    family, width = {0x11: (socket.AF_INET, 4), 0x21: (socket.AF_INET6, 16)}[data[13]]
    source, destination = (socket.inet_ntop(family, body[i * width:(i + 1) * width]) for i in range(2))
    ports = struct.unpack(">HH", body[2 * width:2 * width + 4])
    tlvs = parse_tlvs(body[2 * width + 4:])
    inner = parse_tlvs(tlvs[TLV_TLS][5:]) if TLV_TLS in tlvs else {}
    return (source, ports[0]), (destination, ports[1]), tlvs, inner, 16 + size


def received(upstream, size=1):
    """What the upstream's first connection has got, once it is `size` bytes or more."""
    connection, = upstream.wait_connections(1)
    wait_until(lambda: len(connection.received) >= size)
    return bytes(connection.received)
