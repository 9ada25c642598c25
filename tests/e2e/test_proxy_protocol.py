"""The PROXY protocol (versions 1 and 2) in both directions."""

import contextlib
import socket
import ssl

import pytest

import clients
import servers
from clients import NAME
from daemon import wait_until
from proxy_header import (SIGNATURE, TLV_ALPN, TLV_AUTHORITY, TLV_TLS, TLV_TLS_CIPHER, TLV_TLS_VERSION, parse_version2, received,
                          version2)


# ---- to the upstream ----

def test_version_1_out(shop, server):
    upstream = server(servers.record)
    here = shop(upstream, upstream_options="proxy = v1")
    with here.client() as client:
        client.send(b"hello")
        host, port = client.raw.getsockname()
        expected = f"PROXY TCP4 {host} 127.0.0.1 {port} {here.port}\r\nhello".encode()
        assert received(upstream, len(expected)) == expected


@pytest.mark.parametrize("version", ["1.2", "1.3"])
def test_version_2_out(shop, server, version):
    upstream = server(servers.record)
    here = shop(upstream, upstream_options="proxy = v2", listener='alpn = {"http/1.1"}')
    with here.client(version=version, alpn=["http/1.1"]) as client:
        client.send(b"hello")
        cipher = client.socket.cipher()[0]
        local = client.raw.getsockname()
        data = received(upstream, 60)
        source, destination, tlvs, inner, used = parse_version2(data)
        assert source == local and destination == ("127.0.0.1", here.port)
        assert tlvs[TLV_ALPN] == b"http/1.1"
        assert tlvs[TLV_AUTHORITY] == NAME.encode()
        assert tlvs[TLV_TLS][0] & 1, "the bit that says: the client came over TLS"
        assert inner[TLV_TLS_VERSION] == f"TLSv{version}".encode()
        assert inner[TLV_TLS_CIPHER].decode() == cipher
        connection, = upstream.wait_connections(1)
        wait_until(lambda: bytes(connection.received)[used:] == b"hello")


def test_out_before_anything_is_said(shop, server):
    """The header goes out with the connection, not with the first byte of the client."""
    upstream = server(servers.record)
    here = shop(upstream, upstream_options="proxy = v2")
    with here.client():
        parse_version2(received(upstream, 28))


# ---- from a load balancer in front ----

@pytest.mark.parametrize("preamble, source", [
    (b"PROXY TCP4 192.0.2.7 198.51.100.1 40000 443\r\n", ("192.0.2.7", 40000)),
    (version2(("192.0.2.8", 40001), ("198.51.100.1", 443)), ("192.0.2.8", 40001)),
    (version2(("192.0.2.9", 40002), ("198.51.100.1", 443), tlvs=b"\x04\x00\x20" + bytes(32)), ("192.0.2.9", 40002)),
], ids=["v1", "v2", "v2-padded"])
@pytest.mark.parametrize("version", ["1.2", "1.3"])
def test_in(shop, server, preamble, source, version):
    """The address in the header is the client's everywhere: in events and for the upstream."""
    upstream = server(servers.record)
    here = shop(upstream, listener='proxy-from = {"127.0.0.0/8"}', upstream_options="proxy = v2", extra="log-handshakes = all")
    with here.client(preamble=preamble, version=version) as client:
        client.send(b"hello")
        assert parse_version2(received(upstream, 28))[0] == source
    done = here.edge.wait_event("handshake-done")
    assert done["client"] == f"{source[0]}:{source[1]}", done


def test_in_ipv6(shop, server):
    upstream = server(servers.record)
    here = shop(upstream, listener='proxy-from = {"127.0.0.0/8"}', upstream_options="proxy = v2")
    preamble = version2(("2001:db8::7", 40000), ("2001:db8::1", 443), socket.AF_INET6)
    with here.client(preamble=preamble):
        source, destination, *_ = parse_version2(received(upstream, 52))
    assert source == ("2001:db8::7", 40000) and destination == ("2001:db8::1", 443)


def test_in_local_and_unknown(shop):
    """Health checks of the balancer: LOCAL and UNKNOWN keep the address of the connection itself."""
    here = shop(listener='proxy-from = {"127.0.0.0/8"}')
    for preamble in (SIGNATURE + b"\x20\x00\x00\x00", b"PROXY UNKNOWN\r\n"):
        with here.client(preamble=preamble) as client:
            client.exchange()
            session, = here.edge.lines("sessions")
            assert session["client"].startswith("127.0.0.1:")
        here.edge.wait_event("session-closed")
        wait_until(lambda: not here.edge.lines("sessions"))


def test_in_byte_by_byte(shop):
    here = shop(listener='proxy-from = {"127.0.0.0/8"}')
    with clients.WireClient(here.port, here.root, handshake=False) as client:
        for byte in version2(("192.0.2.8", 40001), ("198.51.100.1", 443)):
            client.send_raw(bytes([byte]))
        client._drive(client.object.do_handshake)
        client.send(b"slow header")
        assert client.receive_exactly(11) == b"slow header"


@pytest.mark.parametrize("preamble", [
    b"PROXY TCP4 192.0.2.7\r\n", b"PROXY TCP4 999.0.2.7 198.51.100.1 40000 443\r\n", b"PROXY TCP4 " + b"1" * 200,
    b"PROXY TCP4 192.0.2.7 198.51.100.1 70000 443\r\n", SIGNATURE + b"\x31\x11\x00\x0c" + bytes(12),
    SIGNATURE + b"\x21\x11\x00\x04" + bytes(4), SIGNATURE + b"\x21\x11\xff\xff" + bytes(70000), b"\r\n\r\n\0\r\nQUAT\n" + bytes(16),
], ids=["short", "address", "endless", "port", "version", "length", "huge", "signature"])
def test_in_malformed(shop, preamble):
    here = shop(listener='proxy-from = {"127.0.0.0/8"}')
    with here.client(preamble=b"PROXY UNKNOWN\r\n") as bystander:
        with pytest.raises((ssl.SSLError, OSError)):
            here.client(preamble=preamble)
        bystander.exchange()


def test_in_required(shop):
    """From a listed network the header must come."""
    here = shop(listener='proxy-from = {"127.0.0.0/8"}')
    with pytest.raises((ssl.SSLError, OSError)):
        here.client()


def test_in_time_out(shop):
    here = shop(listener='proxy-from = {"127.0.0.0/8"}\nproxy-timeout = 300ms')
    with socket.create_connection(("127.0.0.1", here.port), 10) as connection, contextlib.suppress(ConnectionError):
        connection.sendall(b"PROXY TCP4 192")
        assert connection.recv(1) == b""


def test_in_from_elsewhere_is_garbage(shop):
    """Who is not listed cannot give himself another address."""
    here = shop(listener='proxy-from = {"10.0.0.0/8"}')
    with pytest.raises((ssl.SSLError, OSError)):
        here.client(preamble=b"PROXY TCP4 192.0.2.7 198.51.100.1 40000 443\r\n")
    with here.client() as client:
        client.exchange()


def test_in_decides_allow_and_deny(shop):
    here = shop(listener='proxy-from = {"127.0.0.0/8"}\ndeny = {"192.0.2.0/24"}')
    with pytest.raises((ssl.SSLError, OSError)):
        here.client(preamble=b"PROXY TCP4 192.0.2.7 198.51.100.1 40000 443\r\n")
    with here.client(preamble=b"PROXY TCP4 203.0.113.7 198.51.100.1 40000 443\r\n") as client:
        client.exchange()
