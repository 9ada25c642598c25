"""Behind the edge: choosing a server, doing without one, health checks, encrypted upstreams, and pass-through by name."""

import collections
import contextlib
import socket
import ssl

import pytest

import clients
import servers
from clients import NAME
from daemon import free_port, wait_until


def pool(shop, upstreams, options="", **more):
    """A shop in front of several servers; `upstreams` are servers or addresses as text."""
    class Many:
        address = '", "'.join(each if isinstance(each, str) else each.address for each in upstreams)
    return shop(Many, upstream_options=options, **more)


def greeting(here, **options):
    with here.client(**options) as client:
        return client.read_line().decode().strip()


def tally(here, count, **options):
    return collections.Counter(greeting(here, **options) for _ in range(count))


def named(server, *names):
    return [server(servers.greeter(name)) for name in names]


# ---- balance ----

def test_round_robin(shop, server):
    here = pool(shop, named(server, "a", "b", "c"))
    counts = tally(here, 30)
    assert set(counts) == {"a", "b", "c"} and max(counts.values()) - min(counts.values()) <= 4, counts


def test_weights(shop, server):
    a, b = named(server, "a", "b")
    here = pool(shop, [f"{a.address} weight=3", b])
    counts = tally(here, 40)
    assert 24 <= counts["a"] <= 36, counts


def test_least_sessions(shop, server):
    """Held sessions count: whoever has fewer gets the next."""
    here = pool(shop, named(server, "a", "b"), "balance = least-sessions")
    with contextlib.ExitStack() as stack:
        counts = collections.Counter()
        for _ in range(20):
            client = stack.enter_context(here.client())
            counts[client.read_line()] += 1
        assert abs(counts[b"a\n"] - counts[b"b\n"]) <= 4, counts


def test_source_hash(shop, server):
    here = pool(shop, named(server, "a", "b", "c"), "balance = source-hash")
    chosen = {}
    for host in range(2, 102):  # the scores hang on the servers' ports, which no run has twice
        source = (f"127.0.0.{host}", 0)
        first = greeting(here, source=source)
        assert all(greeting(here, source=source) == first for _ in range(2))
        chosen[host] = first
        if len(chosen) >= 20 and len(set(chosen.values())) == 3:
            break
    assert len(set(chosen.values())) == 3, chosen


def test_max_connections_of_a_server(shop, server):
    a, b = named(server, "a", "b")
    here = pool(shop, [f"{a.address} max-connections=2", b], extra="workers = 1")
    with contextlib.ExitStack() as stack:
        counts = collections.Counter(stack.enter_context(here.client()).read_line() for _ in range(10))
    assert counts[b"a\n"] <= 2 and counts[b"b\n"] >= 8, counts


def test_routes_by_name(start, folder, authority, server):
    one, two, rest = named(server, "one", "two", "rest")
    authority.issue("one.test", "*.two.test", NAME).write(folder)
    port = free_port()
    start(f"""
        listener "shop" {{
            bind = {{"127.0.0.1:{port}"}}
            certificates = {{"leaf"}}
            upstream = "rest"
            routes = {{"one.test=one", "*.two.test=two"}}
        }}
        upstream "one" {{ servers = {{"{one.address}"}} }}
        upstream "two" {{ servers = {{"{two.address}"}} }}
        upstream "rest" {{ servers = {{"{rest.address}"}} }}
        certificate "leaf" {{
            names = {{"one.test", "*.two.test", "{NAME}"}}
            from = files
            chain = "{folder}/leaf.pem"
            key = "{folder}/leaf.key"
        }}""")
    for name, expected in (("one.test", b"one\n"), ("a.two.test", b"two\n"), (NAME, b"rest\n")):
        with clients.Client(port, authority.root_path, name) as client:
            assert client.read_line() == expected


# ---- servers that are down ----

def test_down_upstream(shop):
    """The client gets a clean close, the event says why, and when the server comes the next session works."""
    port = free_port()
    here = pool(shop, [f"127.0.0.1:{port}"])
    with here.wire() as client:
        assert client.alert() == "close_notify"
    closed = here.edge.wait_event("session-closed")
    assert closed["reason"] == "no-upstream", closed
    failed = here.edge.wait_event("upstream-failed")
    assert "refused" in failed["detail"].lower() and failed["server"] == f"127.0.0.1:{port}", failed
    late = servers.Server(servers.echo, ("127.0.0.1", port))
    with contextlib.closing(late), here.client() as client:
        client.exchange()


def test_retry_on_the_next_server(shop, server):
    up, = named(server, "up")
    here = pool(shop, [f"127.0.0.1:{free_port()}", up, f"127.0.0.1:{free_port()}"])
    assert tally(here, 12) == {"up": 12}


def test_data_sent_before_the_connection_stands(shop, server):
    """What the client says while servers are being tried reaches the one that answers, once."""
    up = server()
    here = pool(shop, [f"127.0.0.1:{free_port()}", f"127.0.0.1:{free_port()}", up])
    for _ in range(6):
        with here.client() as client:
            client.exchange("at once " * 2000)


def test_connect_time_out(shop, server):
    """A server that does not answer at all (its queue is full) is given up after the time-out."""
    up, = named(server, "up")
    with contextlib.ExitStack() as stack:
        full = stack.enter_context(socket.create_server(("127.0.0.1", 0), backlog=0))
        for _ in range(4):
            filler = stack.enter_context(socket.socket())
            filler.setblocking(False)
            filler.connect_ex(full.getsockname())
        here = pool(shop, [f"127.0.0.1:{full.getsockname()[1]}", up], "connect-timeout = 1s")
        assert tally(here, 4) == {"up": 4}


def test_health_check(shop, server):
    """A server that goes down is left out, and taken in again when it is back."""
    # Not a port that an outgoing connection may have meanwhile.
    a, b = [server(servers.greeter(name), address=("127.0.0.1", free_port())) for name in ("a", "b")]
    here = pool(shop, [a, b], "check-interval = 500ms\ncheck-timeout = 500ms\ncheck-rise = 2\ncheck-fall = 2")
    assert set(tally(here, 8)) == {"a", "b"}
    address = a.address
    mark = here.edge.mark()
    a.close()
    here.edge.wait_event("upstream-down", since=mark, server=address)
    failures = len(here.edge.events_named("upstream-failed"))
    assert tally(here, 8) == {"b": 8}
    assert len(here.edge.events_named("upstream-failed")) == failures, "a server known to be down was tried"
    with contextlib.closing(servers.Server(servers.greeter("again"), ("127.0.0.1", a.port))):
        here.edge.wait_event("upstream-up", since=mark, server=address)
        assert set(tally(here, 8)) == {"again", "b"}


def test_drain_and_ready_at_run_time(shop, server):
    a, b = named(server, "a", "b")
    here = pool(shop, [a, b])
    with contextlib.ExitStack() as stack:
        held = [stack.enter_context(here.client()) for _ in range(8)]
        for client in held:
            client.read_line()
        here.edge.run("upstream", "drain", f"app/{a.address}")
        assert tally(here, 8) == {"b": 8}
        for client in held:
            client.exchange("sessions of a drained server go on")
        here.edge.run("upstream", "ready", f"app/{a.address}")
        assert set(tally(here, 8)) == {"a", "b"}


def test_unix_socket(shop, folder, server):
    path = str(folder / "app.sock")
    upstream = server(servers.echo, family=socket.AF_UNIX, address=path)
    (folder / "app.sock").chmod(0o666)
    here = shop(upstream)
    with here.client() as client:
        client.exchange()


@pytest.mark.usefixtures("ipv6")
def test_ipv6_server(shop, server):
    here = shop(server(servers.echo, family=socket.AF_INET6, address=("::1", 0)))
    with here.client() as client:
        client.exchange()


def test_server_by_name(shop, server):
    upstream = server()

    class ByName:
        address = f"localhost:{upstream.port}"

    here = shop(ByName)
    with here.client() as client:
        client.exchange()


def test_source_addresses(shop, server):
    upstream = server()
    here = shop(upstream, upstream_options='source-addresses = {"127.0.0.31", "127.0.0.32"}')
    for _ in range(8):
        with here.client() as client:
            client.exchange()
    assert {connection.address[0] for connection in upstream.connections} == {"127.0.0.31", "127.0.0.32"}


# ---- encrypted upstreams ----

@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3], ids=["1.2", "1.3"])
@pytest.mark.parametrize("client_version", ["1.2", "1.3"])
def test_tls_upstream(shop, secure, version, client_version):
    upstream, options = secure(version=version)
    here = shop(upstream, upstream_options=options)
    with here.client(version=client_version) as client:
        for number in range(20):
            client.exchange("x" * 5000)
        pair = here.replace()
        wait_until(lambda: here.leaf() == pair.fingerprint)
        client.exchange("after")
    session_version = upstream.connections[0].socket.version() if upstream.connections[0].socket.fileno() >= 0 else None
    assert session_version in (None, "TLSv1.2" if version == ssl.TLSVersion.TLSv1_2 else "TLSv1.3")


def test_tls_upstream_half_close(shop, secure):
    def talk(connection):
        data = bytearray()
        while piece := connection.socket.recv(65536):
            data += piece
        connection.socket.sendall(b"%d bytes" % len(data))
        connection.socket.unwrap()

    upstream, options = secure(handler=talk)
    here = shop(upstream, upstream_options=options)
    with here.wire() as client:
        client.send(b"y" * 100000)
        client.close_notify()
        assert client.read_to_end() == b"100000 bytes"


def test_tls_upstream_alpn(shop, secure):
    seen = []

    def note(connection):
        seen.append(connection.socket.selected_alpn_protocol())
        servers.echo(connection)

    upstream, options = secure(handler=note)
    here = shop(upstream, upstream_options=options + '\ntls-alpn = {"http/1.1"}')
    with here.client() as client:
        client.exchange()
    assert seen == ["http/1.1"]


def test_tls_upstream_with_client_certificate(shop, secure, folder, authority):
    chain, key = authority.issue_client("edge.test").write(folder, "identity")
    upstream, options = secure(client_root=authority.root_path)
    here = shop(upstream, upstream_options=options + f'\ntls-certificate = "{chain}"\ntls-key = "{key}"')
    with here.client() as client:
        client.exchange()


@pytest.mark.parametrize("fault", ["other-name", "expired", "untrusted", "not-tls"])
def test_tls_upstream_that_fails_verification(shop, secure, server, authority, folder, fault):
    """Nothing that the client says reaches an upstream that is not who it should be."""
    from pki import DAY, Authority, _now
    pair = {"other-name": lambda: authority.issue("other.test"),
            "expired": lambda: authority.issue(NAME, not_before=_now() - 90 * DAY, lifetime=30 * DAY),
            "untrusted": lambda: Authority(folder, "stranger").issue(NAME),
            "not-tls": lambda: None}[fault]()
    upstream, options = secure(pair=pair)
    if fault == "not-tls":
        upstream = server(servers.record)
    here = shop(upstream, upstream_options=options)
    with here.wire() as client:
        with contextlib.suppress(OSError):
            client.send(b"secret of the client")
        client.alert()
    closed = here.edge.wait_event("session-closed")
    assert closed["reason"] in ("no-upstream", "upstream-protocol-error"), closed
    failed = here.edge.wait_event("upstream-failed")
    assert failed["detail"], failed
    assert all(b"secret" not in connection.received for connection in upstream.connections)


def test_tls_upstream_unverified(shop, secure, folder):
    from pki import Authority
    upstream, options = secure(pair=Authority(folder, "stranger").issue("whoever.test"))
    here = shop(upstream, upstream_options=options + "\ntls-verify = no")
    with here.client() as client:
        client.exchange()


# ---- pass-through ----

@pytest.fixture(name="passing")
def passing_fixture(start, folder, authority, server):
    def make(listener=""):
        upstreams = {}
        for name in ("one.test", "other.test"):
            tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            tls.load_cert_chain(*authority.issue("one.test", "other.test", "x.many.test").write(folder, name))
            upstreams[name] = server(servers.greeter(name), tls=tls)
        port = free_port()
        edge = start(f"""
            listener "pass" {{
                bind = {{"127.0.0.1:{port}"}}
                mode = pass-through
                {listener or 'upstream = "rest"'}
                routes = {{"one.test=one", "*.many.test=one"}}
            }}
            upstream "one" {{ servers = {{"{upstreams["one.test"].address}"}} }}
            upstream "rest" {{ servers = {{"{upstreams["other.test"].address}"}} }}
            """)
        return port, edge
    return make


@pytest.mark.parametrize("version", ["1.2", "1.3"])
def test_pass_through(passing, authority, version):
    """The server's own certificate and session reach the client; the edge only reads the name."""
    port, edge = passing()
    for name, expected in (("one.test", b"one.test\n"), ("x.many.test", b"one.test\n"), ("other.test", b"other.test\n")):
        with clients.Client(port, authority.root_path, name, version=version) as client:
            assert client.read_line() == expected
            client.exchange("passed through " * 5000)
            session, = edge.lines("sessions")
            assert session["pass_through"] is True and session["sni"] == name
        wait_until(lambda: not edge.lines("sessions"))


def test_pass_through_strict(passing, authority):
    port, _ = passing("strict-sni = yes")
    with pytest.raises((ssl.SSLError, OSError)):
        clients.Client(port, authority.root_path, "other.test")
    with clients.Client(port, authority.root_path, "one.test") as client:
        assert client.read_line() == b"one.test\n"


def test_pass_through_client_hello_in_pieces(passing, authority):
    port, _ = passing()
    with clients.WireClient(port, authority.root_path, "one.test", handshake=False) as client:
        with contextlib.suppress(ssl.SSLWantReadError):
            client.object.do_handshake()
        for byte in client.outgoing.read():
            client.send_raw(bytes([byte]))
        client._drive(client.object.do_handshake)
        assert client.receive_exactly(9) == b"one.test\n"


def test_pass_through_garbage(passing):
    port, _ = passing()
    with socket.create_connection(("127.0.0.1", port), 10) as connection, contextlib.suppress(ConnectionError):
        connection.sendall(b"GET / HTTP/1.1\r\n\r\n")
        while connection.recv(4096):
            pass
