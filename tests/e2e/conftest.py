"""Fixtures of the end-to-end tests: the real program, real peers, nothing mocked."""

import contextlib
import os
import pwd
import resource
import shutil
import socket
import ssl
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

import client_trust  # noqa: E402
import clients  # noqa: E402
import daemon  # noqa: E402
import pki  # noqa: E402
import servers  # noqa: E402
from house import House  # noqa: E402

FULL = os.environ.get("HOLDFAST_FULL") == "1"  # long versions of tests


def pytest_configure():
    os.umask(0o022)  # some tests and peers are other users
    os.environ.setdefault("HOME", pwd.getpwuid(os.geteuid()).pw_dir)  # where compilers have their cache
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def pytest_report_header():
    return f"program under test: {daemon.BINARY}"


@pytest.fixture(scope="session", autouse=True)
def binary():
    if not daemon.BINARY.exists():
        pytest.exit(f"{daemon.BINARY} is missing: build first or set HOLDFAST", 2)
    return daemon.BINARY


@pytest.fixture(scope="session")
def authority(tmp_path_factory):
    return pki.Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture
def folder():
    """A folder that unprivileged workers may enter too (Unix sockets stand in it)."""
    path = Path(tempfile.mkdtemp(prefix="holdfast-test-"))
    path.chmod(0o755)
    yield path
    shutil.rmtree(path, ignore_errors=True)


@pytest.fixture
def store(authority, folder):
    """The authority's root as a trust store that everybody may read."""
    path = folder / "root.pem"
    path.write_bytes(authority.root_path.read_bytes())
    path.chmod(0o644)
    return path


@pytest.fixture
def start(folder):
    """start(config) → a running daemon, stopped and checked at the end of the test."""
    running = []

    def start_one(config, subfolder="", ready=True, **options):
        where = folder / subfolder
        where.mkdir(exist_ok=True)
        edge = daemon.Holdfast(where, config, **options)
        running.append(edge)
        return edge.start() if ready else edge.launch()

    yield start_one
    failures = []
    for edge in running:
        try:
            edge.__exit__(None, None, None)
        except BaseException as error:  # every daemon must be ended before the first failure is told
            failures.append(error)
            edge.kill()
    if failures:
        raise failures[0]


@pytest.fixture
def server():
    """server(handler) → a running upstream server, closed at the end of the test."""
    running = []

    def start_one(handler=servers.echo, **options):
        made = servers.Server(handler, **options)
        running.append(made)
        return made

    yield start_one
    for made in running:
        made.close()


class Shop:
    """The usual arrangement: one listener, one certificate for shop.test from files, one echoing upstream."""

    def __init__(self, start, folder, authority, upstream, key_types=("ecdsa",), listener="", upstream_options="",
                 extra="", source="files", **options):
        self.authority, self.folder, self.upstream, self.key_types = authority, folder, upstream, key_types
        self.port = daemon.free_port()
        self.root = authority.root_path
        self.source = source
        self.pairs = {}
        for key_type in key_types:
            self.pairs[key_type] = authority.issue(clients.NAME, key_type=key_type)
            self.pairs[key_type].write(folder, key_type)
        self.edge = start(f"""
            listener "shop" {{
                bind = {{"127.0.0.1:{self.port}"}}
                certificates = {{"{clients.NAME}"}}
                upstream = "app"
                {listener}
                {os.environ.get("HOLDFAST_LISTENER", "")}
            }}
            upstream "app" {{
                servers = {{"{upstream.address}"}}
                {upstream_options}
            }}
            certificate "{clients.NAME}" {{
                names = {{"{clients.NAME}"}}
                from = {source}
                {self._files() if source == "files" else ""}
            }}
            {extra}
        """, ready=source == "files", **options)
        if source == "managed":
            self.edge.wait_event("process-started", process="control")
            self.install(self.pairs["ecdsa"])
            self.edge.wait_event("ready", timeout=daemon.START_TIMEOUT)

    def _files(self):
        chains = ", ".join(f'"{self.folder / kind}.pem"' for kind in self.key_types)
        keys = ", ".join(f'"{self.folder / kind}.key"' for kind in self.key_types)
        return f"chain = {{{chains}}}\n key = {{{keys}}}"

    def install(self, pair):
        chain, key = pair.write(self.folder, "install")
        return self.edge.run("cert", "install", clients.NAME, "--chain", chain, "--key", key)

    def replace(self, key_type="ecdsa"):
        """Puts a new certificate where the edge finds it; returns it without waiting for it to be served."""
        pair = self.authority.issue(clients.NAME, key_type=key_type)
        if self.source == "managed":
            self.install(pair)
        else:
            pair.write(self.folder, key_type)
        self.pairs[key_type] = pair
        return pair

    def leaf(self, **options):
        return clients.leaf(self.port, self.root, **options)

    def client(self, **options):
        return clients.Client(self.port, self.root, **options)

    def wire(self, **options):
        return clients.WireClient(self.port, self.root, **options)


@pytest.fixture
def secure(folder, authority, server):
    """secure(…) → an echo server that speaks TLS itself, and the options that make the edge trust it."""
    def make(pair=None, version=None, handler=servers.echo, client_root=None, name=clients.NAME):
        pair = pair or authority.issue(name)
        chain, key = pair.write(folder, "upstream")
        tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        tls.load_cert_chain(chain, key)
        if version:
            tls.minimum_version = tls.maximum_version = version
        if client_root:
            tls.verify_mode = ssl.CERT_REQUIRED
            tls.load_verify_locations(client_root)
        tls.set_alpn_protocols(["h2", "http/1.1"])
        return server(handler, tls=tls), f'tls = yes\ntls-trust = "{authority.root_path}"\ntls-name = "{name}"'
    return make


@pytest.fixture
def shop(start, folder, authority, server):
    """shop(…) → a Shop; `upstream` defaults to an echo server."""
    def make(upstream=None, **options):
        return Shop(start, folder, authority, upstream or server(), **options)
    return make


@pytest.fixture
def house(start, folder, authority, server):
    return House(start, folder, authority, server)


@pytest.fixture
def later(shop, folder, authority):
    """A listener whose clients may be asked for a certificate later, in either version of TLS."""
    def make(listener="", **options):
        return client_trust.Place(shop, folder, authority, mode=options.pop("mode", "later"),
                                  listener=f"renegotiation = allow\n {listener}", **options)
    return make


def need(program):
    """Skips the test when a peer is not installed."""
    path = shutil.which(program) or shutil.which(program, path="/usr/sbin:/usr/local/sbin")
    if path is None:
        pytest.skip(f"{program} is not installed")
    return path


@pytest.fixture
def ipv6():
    """Skips the test where loopback has no such address."""
    try:
        with socket.socket(socket.AF_INET6) as probe:
            probe.bind(("::1", 0))
    except OSError:
        pytest.skip("this machine has no IPv6")


@pytest.fixture(name="need")
def need_fixture():
    return need


@pytest.fixture
def doomed():
    """with doomed(relay, call): the relay is killed where it enters this system call next, which it has to do meanwhile."""
    strace = need("strace")

    @contextlib.contextmanager
    def attach(pid, call):
        command = [strace, "-p", str(pid), "-e", f"trace={call}", "-e", f"inject={call}:signal=SIGKILL:when=1"]
        with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as tracer:
            try:
                assert "attached" in tracer.stderr.readline()
                yield
                assert "killed by SIGKILL" in tracer.communicate(timeout=20)[1]
            finally:
                tracer.kill()
    return attach
