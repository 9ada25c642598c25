"""The governor of traffic keys at limits made small by the configuration: real clients follow every KeyUpdate, none comes sooner
than two seconds after the one before, and a TLS 1.2 session ends in good time."""

import contextlib
import os
import select
import signal
import ssl
import time

import pytest

import clients
import forge
import servers
from daemon import BINARY, free_port, wait_until
from scrapes import metrics
from line_clients import line_command

PATIENCE = 60
PATTERN = bytes(range(256)) * 4096  # 1 MiB


@pytest.fixture
def edge(shop):
    """edge(…) → a Shop whose counters the test can read."""
    def make(*arguments, extra="", **options):
        port = free_port()
        here = shop(*arguments, extra=f'{extra}\nadmin {{ bind = "127.0.0.1:{port}" }}', **options)
        here.admin = port
        return here
    return make


def counter(here, name):
    return metrics(here.admin)[f'holdfast_{name}{{process="relay"}}']


def exchange_until(client, condition, timeout=PATIENCE):
    """Exchanges checked messages until the condition holds; looks at it after every few of them."""
    deadline = time.monotonic() + timeout
    while not condition():
        assert time.monotonic() < deadline, "condition not met"
        for _ in range(20):
            client.exchange()


def updates(here, cause):
    return counter(here, f"key_updates_{cause}_total")


# ---- renewed in time ----

@pytest.mark.parametrize("kind", ["python", "openssl", "gnutls", "node", "java", "go"])
def test_real_clients_follow(edge, folder, kind):
    """Two key changes, each as soon as the rule of two seconds allows it."""
    here = edge(listener="traffic-key-records = 16")
    begin = time.monotonic()
    made = here.client(version="1.3") if kind == "python" else clients.LineProcess(line_command(kind, here, "1.3", folder))
    with contextlib.closing(made) as client:
        exchange_until(client, lambda: updates(here, "records") >= 2)
        client.exchange("after")
    assert time.monotonic() - begin >= 4
    assert counter(here, "key_updates_sent_total") == updates(here, "records") + updates(here, "peer") + updates(here, "answers")
    assert counter(here, "key_update_requests_answered_total") >= counter(here, "key_update_requests_total") - 1


@pytest.mark.parametrize("suite", ["TLS_AES_128_GCM_SHA256", "TLS_AES_256_GCM_SHA384"])
@pytest.mark.parametrize("option, cause", [("traffic-key-bytes = 64k", "bytes"), ("traffic-key-age = 3s", "age"),
                                           ("traffic-key-records = 100", "records")])
def test_each_limit(edge, folder, option, cause, suite):
    here = edge(listener=option)
    with forge.Forger(here.port, folder, root=here.root, suites=suite) as client:
        deadline = time.monotonic() + PATIENCE
        changes, number = 0, 0
        while changes < 2:
            assert time.monotonic() < deadline
            number += 1
            fresh = client.update_keys() if number % 20 == 0 else b""  # lest it be asked for
            client.send_raw(fresh + client.seal_as(forge.APPLICATION_DATA, PATTERN[:1000]))
            left = 1000
            while left:
                kind, data = client.read_record()
                if kind == forge.APPLICATION_DATA:
                    left -= len(data)
                elif data[:1] == b"\x18":
                    assert data == forge.KEY_UPDATE  # whole, and asks for nothing
                    assert left == 1000  # before the data, not amid it
                    changes += 1
    assert updates(here, cause) == 2
    assert counter(here, "key_updates_sent_total") == 2


def test_blocks_of_a_fleet(edge):
    """A budget of many keys that leaves a key some hundred KiB."""
    here = edge(extra="traffic-key-fleet-volume = 1024p\ntraffic-key-fleet-probability = 58")
    with here.client(version="1.3") as client:
        def moved():
            client.send(PATTERN[:65536])
            assert client.receive(65536) == PATTERN[:65536]
            return updates(here, "blocks") >= 2
        wait_until(moved, PATIENCE)


def test_chacha20_has_no_limit_of_blocks(edge):
    here = edge(listener="traffic-key-records = none", extra="traffic-key-fleet-volume = 1024p\ntraffic-key-fleet-probability = 58")
    with here.client(version="1.3", suites="TLS_CHACHA20_POLY1305_SHA256") as client:
        begin = time.monotonic()
        while time.monotonic() - begin < 3:  # longer than the two seconds for which a key is too young in any case
            client.send(PATTERN[:65536])
            assert client.receive(65536) == PATTERN[:65536]
    assert counter(here, "key_updates_sent_total") == 0


def pour(connection):
    """The pattern without end, to whoever asks."""
    connection.socket.recv(1)
    while True:
        connection.socket.sendall(PATTERN)


def test_bulk(edge, server):
    """Data at full speed, in which the key changes every two seconds and no oftener."""
    here = edge(server(pour), listener="traffic-key-records = 64")
    begin = time.monotonic()
    with here.client(version="1.3") as client:
        client.send(b"x")
        taken = 0
        while time.monotonic() - begin < PATIENCE and (taken % (64 << 20) or updates(here, "records") < 4):
            assert client.receive(1 << 20) == PATTERN
            taken += 1 << 20
        lasted = time.monotonic() - begin
    assert 4 <= updates(here, "records") <= lasted / 2


def test_client_asked_for_its_key(edge, folder):
    """It has used its key for twice as long as we do ours: asked once, and not again before it answers."""
    here = edge(listener="traffic-key-records = 64")

    def exchange(client):
        client.send_raw(client.seal_as(forge.APPLICATION_DATA, b"z"))
        while True:
            kind, data = client.read_record()
            if kind == forge.APPLICATION_DATA:
                return
            if data[:1] == b"\x18":
                seen.append(data)

    seen = []
    with forge.Forger(here.port, folder, root=here.root) as client:
        deadline = time.monotonic() + PATIENCE
        while forge.KEY_UPDATE_REQUESTED not in seen or len(seen) < 4:
            assert time.monotonic() < deadline
            exchange(client)
        assert seen.count(forge.KEY_UPDATE_REQUESTED) == 1
        assert counter(here, "key_update_requests_total") == 1
        assert counter(here, "key_update_requests_answered_total") == 0
        assert here.edge.lines("sessions", "--superseded", "traffic-key")
        client.send_raw(client.update_keys())
        exchange(client)
        assert counter(here, "key_update_requests_answered_total") == 1
        while seen.count(forge.KEY_UPDATE_REQUESTED) < 2:
            assert time.monotonic() < deadline
            exchange(client)
    wait_until(lambda: counter(here, "key_update_requests_unanswered_total") == 1)


def test_key_towards_the_server(edge, authority, folder):
    """We are the client of a TLS upstream: our key there is renewed, too."""
    chain, key = authority.issue("app.test").write(folder, "upstream")
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(chain, key)
    tls.minimum_version = ssl.TLSVersion.TLSv1_3
    upstream = servers.Server(servers.quiet_echo, tls=tls)
    try:
        here = edge(upstream, listener="traffic-key-records = 16\ntls-max = 1.2",
                    upstream_options=f'tls = yes\ntls-trust = "{authority.root_path}"\ntls-name = "app.test"')
        here.edge.write_config(here.edge.config_path.read_text().replace("traffic-key-records = 16", "traffic-key-records = 200"))
        here.edge.run("reload")  # a changed limit counts for sessions, too
        with here.client(version="1.2") as client:
            wait_until(lambda: [client.send(b"x" * 10), client.receive(10)] and updates(here, "records") >= 1, PATIENCE)
    finally:
        upstream.close()


# ---- storms of requests (JDK-8329548) ----

@pytest.mark.parametrize("window", [None, 1 << 16], ids=["wide", "full"])
def test_storm(edge, server, folder, window):
    """As Java: once it has taken 32 records under one key, the client asks for another with every record more, until it comes. The
    server pours on, whether the window is full or not: requests are read meanwhile and answered at once."""
    here = edge(server(pour))
    with forge.Forger(here.port, folder, root=here.root, receive_buffer=window) as client:
        client.send_raw(client.seal_as(forge.APPLICATION_DATA, b"x"))
        taken = records = asked = answers = 0
        while taken < 32 << 20:
            kind, data = client.read_record()
            if kind == forge.APPLICATION_DATA:
                at = taken % len(PATTERN)
                assert data == (PATTERN + PATTERN)[at:at + len(data)]
                taken += len(data)
                records += 1
            elif data[:1] == b"\x18":
                assert data == forge.KEY_UPDATE
                answers += 1
                records = 0
            if records > 32:
                client.send_raw(client.update_keys(request=True))
                asked += 1
        assert answers >= 10
        assert answers <= asked
        wait_until(lambda: counter(here, "key_updates_received_total") == asked)
    assert answers <= updates(here, "answers") <= asked
    assert updates(here, "records") == 0


def test_storm_by_java(edge, server, folder, need):
    def verbose(connection):
        lines = connection.socket.makefile("rb")
        while line := lines.readline():
            connection.socket.sendall(b"y" * (4 << 20) + line)

    here = edge(server(verbose))
    limits = folder / "java.security"
    limits.write_text("jdk.tls.keyLimits=AES/GCM/NoPadding KeyUpdate 2^16\n")
    java, *rest = line_command("java", here, "1.3", folder)
    with contextlib.closing(clients.LineProcess([java, f"-Djava.security.properties={limits}", *rest])) as client:
        for number in range(5):
            client.write(b"end of %d\n" % number)
            client.wait_output(b"yend of %d\n" % number)
    assert counter(here, "key_updates_received_total") >= 5 * 4 * 16 / 2
    assert updates(here, "answers") >= 5


def test_trace_tells_of_renewals(edge):
    here = edge(listener="traffic-key-records = 16")
    with contextlib.closing(clients.LineProcess([BINARY, "trace", "--client", "127.0.0.1", "-c", here.edge.config_path,
                                                 "--json"])) as trace, contextlib.ExitStack() as stack:
        def traced():  # from when on it counts, nobody tells
            client = stack.enter_context(here.client(version="1.3"))
            client.exchange()
            return trace.output or select.select([trace.process.stdout], [], [], 0.05)[0] and client
        client = wait_until(traced, 20)
        exchange_until(client, lambda: updates(here, "records") >= 1)
        trace.wait_output(b"key 0 towards the client is renewed: records")


# ---- TLS 1.2: the end in good time ----

@pytest.mark.parametrize("cipher", ["ECDHE-ECDSA-AES128-GCM-SHA256", "ECDHE-ECDSA-CHACHA20-POLY1305"])
def test_tls12_ends_in_good_time(edge, cipher):
    here = edge(listener="traffic-key-records = 400")
    with here.wire(version="1.2", ciphers=cipher) as client:
        number = 0
        try:
            while True:
                client.send(b"%06d" % number)
                answer = client.receive(6)
                if answer == b"":
                    break
                assert answer == b"%06d" % number
                number += 1
                assert number < 800, "beyond the hard limit"
        except (ssl.SSLError, OSError) as error:
            assert clients.alert_name(error) == "close_notify", error
        assert 400 <= number < 800
    told = here.edge.wait_event("traffic-key-exhausting", listener="shop")
    ended = here.edge.wait_event("session-closed", reason="traffic-key-limit")
    assert told["session"] == ended["session"]
    assert "records left" in told["detail"]
    assert here.edge.events.index(told) < here.edge.events.index(ended)
    assert counter(here, "sessions_closed_key_limit_total") == 1


def test_tls12_bulk_ends_before_the_hard_limit(edge, server):
    here = edge(server(pour), listener="traffic-key-records = 3000")
    with here.client(version="1.2") as client:
        client.send(b"x")
        received = client.read_to_end()  # to a close_notify
    assert received == (PATTERN * (len(received) // len(PATTERN) + 1))[:len(received)]
    assert 3000 <= len(received) / 16384 <= 6000
    here.edge.wait_event("session-closed", reason="traffic-key-limit")


def test_tls12_age(edge):
    here = edge(listener="traffic-key-age = 3s")
    with here.wire(version="1.2") as client:
        client.send(b"hello")
        assert client.receive_exactly(5) == b"hello"
        assert client.alert() == "close_notify"
    here.edge.wait_event("traffic-key-exhausting")
    here.edge.wait_event("session-closed", reason="traffic-key-limit")


# ---- succession ----

@pytest.mark.parametrize("how", ["kill", "upgrade"])
def test_usage_and_owed_updates_survive(edge, server, folder, how):
    """The relay goes again and again while keys are due: counts go on, an owed KeyUpdate comes once, and every byte fits."""
    here = edge(listener="traffic-key-records = 100", extra="workers = 1\nprotect-after = 50ms")
    here.edge.tolerated = ("killed",)
    with forge.Forger(here.port, folder, root=here.root) as client:
        epoch, number = 0, 0

        def exchange(size):
            nonlocal epoch, number
            data = PATTERN[number % 251:][:size]
            number += 1
            fresh = client.update_keys() if number % 20 == 0 else b""
            client.send_raw(fresh + client.seal_as(forge.APPLICATION_DATA, data))
            got = b""
            while len(got) < size:
                kind, piece = client.read_record()
                if kind == forge.APPLICATION_DATA:
                    got += piece
                elif piece[:1] == b"\x18":
                    epoch += 1
            assert got == data

        exchange(10)
        wait_until(lambda: not here.edge.lines("sessions", "--younger", "500ms"), 20)
        for _ in range(3):
            for _ in range(60):
                exchange(100)
            succeed(here, how)
        deadline = time.monotonic() + PATIENCE
        while epoch < 2:
            assert time.monotonic() < deadline
            exchange(3000)
    assert updates(here, "records") == epoch


@pytest.mark.parametrize("how", ["kill", "upgrade"])
def test_own_update_pending_behind_held_data(edge, server, folder, how):
    """The client takes nothing while its key is renewed and the relay goes: the KeyUpdate comes once, behind what was sealed before."""
    size = 12 << 20

    def flood(connection):
        connection.socket.recv(1)
        connection.socket.sendall(PATTERN * (size // len(PATTERN)))
        connection.socket.recv(1)

    here = edge(server(flood), extra="workers = 1\nprotect-after = 50ms")
    here.edge.tolerated = ("killed",)
    with forge.Forger(here.port, folder, root=here.root, receive_buffer=1 << 16) as client:
        client.send_raw(client.seal_as(forge.APPLICATION_DATA, b"x"))
        wait_until(lambda: counter(here, "sessions_blocked_total") >= 1, PATIENCE)
        old_enough(here)
        here.edge.run("keys", "traffic", "renew", "--all", "--now", "--request")
        wait_until(lambda: updates(here, "operator") == 1)
        succeed(here, how)
        received, seen = bytearray(), []
        while len(received) < size:
            kind, data = client.read_record()
            if kind == forge.APPLICATION_DATA:
                received += data
            elif data[:1] == b"\x18":
                seen.append(data)
        assert received == PATTERN * (size // len(PATTERN))
        assert seen == [forge.KEY_UPDATE_REQUESTED]


def succeed(here, how):
    relays = here.edge.workers("relay")
    if how == "upgrade":
        here.edge.run("upgrade", timeout=PATIENCE)
    else:
        mark = here.edge.mark()
        os.kill(relays[0], signal.SIGKILL)
        here.edge.wait_event("sessions-adopted", since=mark, timeout=PATIENCE)

    def replaced():
        result = here.edge.run("status", "--json", check=False)
        return result.returncode == 0 and not set(here.edge.workers("relay")) & set(relays)
    wait_until(replaced, PATIENCE)


# ---- clients that do not know KeyUpdate ----

class Unable(forge.Forger):
    """As mbedTLS: a KeyUpdate is the end."""

    def exchange(self, text=b"telemetry"):
        """False when the session ended with a KeyUpdate."""
        self.send_raw(self.seal_as(forge.APPLICATION_DATA, text))
        while True:
            kind, data = self.read_record()
            if kind == forge.APPLICATION_DATA:
                assert data == text
                return True
            if data[:1] == b"\x18":
                self.close()
                return False


def fingerprint(here, folder):
    with forge.Forger(here.port, folder, root=here.root):
        return here.edge.wait_event("handshake-done")["ja4"]


@pytest.mark.parametrize("part", [10, 23, 36])
def test_unable_client_survives_the_soft_limit(edge, folder, part):
    known = folder / "unable.txt"
    known.write_text("# nobody yet\n")
    here = edge(listener="traffic-key-records = 500", extra=f'log-handshakes = all\nkey-update-unable = "{known}"')
    with Unable(here.port, folder, root=here.root) as client:  # not in the file: it does not survive
        assert client.exchange()
        old_enough(here)
        assert not all(client.exchange() for _ in range(501))
    known.write_text(f"{fingerprint(here, folder)[:part]}  test client\n")
    here.edge.run("reload")
    with Unable(here.port, folder, root=here.root) as client:
        assert client.exchange()
        old_enough(here)
        assert all(client.exchange() for _ in range(900))
        line, = listed(here)
        assert line["unable"] and line["records"] >= 900 and line["client_records"] >= 900 and line["epoch"] == 0
        assert not all(client.exchange() for _ in range(110))  # the hard limit is not passed
    here.edge.config_path.write_text(here.edge.config_path.read_text().replace("key-update-unable", "#"))
    here.edge.run("reload")
    with Unable(here.port, folder, root=here.root) as client:
        assert client.exchange()
        assert not listed(here)[0]["unable"]


def test_bad_fingerprints(edge, folder):
    """A wrong line is refused with its number, in a reload and in `config test`; what was known goes on."""
    known = folder / "unable.txt"
    known.write_text("t13d00\n")
    here = edge()
    here.edge.config_path.write_text(f'key-update-unable = "{known}"\n{here.edge.config_path.read_text()}')
    for verb in (["config", "test"], ["reload"]):
        result = here.edge.run(*verb, check=False)
        assert result.returncode in (2, 6)
        assert f"key-update-unable: {known}:1: found 't13d00'; expected a JA4 fingerprint" in result.stdout + result.stderr
    known.unlink()
    result = here.edge.run("reload", check=False)
    assert result.returncode == 3 and "key-update-unable: cannot open" in result.stdout + result.stderr
    known.write_text("t13d0000h2\n")
    here.edge.run("reload")
    known.write_text("what is this\n")
    count = len(here.edge.workers("handshaker"))
    here.edge.tolerated = ("killed",)
    os.kill(here.edge.workers("handshaker")[0], signal.SIGKILL)
    here.edge.wait_event("warning", detail=lambda text: f"{known}:1: found 'what'" in text)
    wait_until(lambda: len(here.edge.workers("handshaker")) == count)
    with here.client(version="1.3") as client:
        client.exchange()


# ---- an operator's wish ----

def listed(here, *arguments):
    return here.edge.lines("keys", "traffic", "list", *arguments)


def epochs(here):
    return sorted(line["epoch"] for line in listed(here))


def old_enough(here):
    """No key is too young any more."""
    wait_until(lambda: all(line["age_ms"] >= 2200 for line in listed(here, "--limit", "100")))


def test_list(edge):
    here = edge(listener="traffic-key-records = 1000")
    with here.client(version="1.3") as much, here.client(version="1.2") as little, here.client(version="1.3") as idle:
        idle.exchange()
        little.exchange()
        for _ in range(100):
            much.exchange()
        first, second, third = listed(here)
        assert first["used_permille"] >= 50 > second["used_permille"] >= third["used_permille"]
        assert first["limit"] == "records" and 100 <= first["records"] <= 110
        assert first["blocks"] >= 3 * 100 and first["bytes"] > 16 * 100
        assert 100 <= first["client_records"] <= 110
        assert first["epoch"] == 0 and not first["wanted"] and first["listener"] == "shop"
        assert listed(here, "--limit", "1")[0]["session"] == first["session"]
        sealed = metrics(here.admin)
        assert sealed['holdfast_listener_sealed_records_total{listener="shop"}'] == 102
        assert sealed['holdfast_listener_sealed_blocks_total{listener="shop"}'] >= 3 * 102
        assert len(listed(here, "--listener", "shop")) == 3
        assert first["session"] in here.edge.run("keys", "traffic", "list").stdout
    wait_until(lambda: not listed(here))
    assert here.edge.run("keys", "traffic", "list").stdout.endswith("no TLS session is open\n")


def test_renewal_with_the_next_data(edge):
    here = edge()
    with here.client(version="1.3") as client, here.client(version="1.3") as other, here.client(version="1.2") as old:
        for each in (client, other, old):
            each.exchange()
        named, = (line["session"] for line in listed(here) if line["client"].endswith(f":{client.socket.getsockname()[1]}"))
        old_enough(here)
        assert here.edge.json("keys", "traffic", "renew", "--session", named, "--request") == {"sessions": 1, "skipped": 0}
        wait_until(lambda: any(line["wanted"] for line in listed(here)))
        assert len(here.edge.lines("sessions", "--superseded", "traffic-key")) == 1
        client.exchange()
        assert epochs(here) == [0, 0, 1]
        client.exchange()  # brings the client's answer
        client.exchange()
        line, = (line for line in listed(here) if line["session"] == named)
        assert line["client_epoch"] == 1 and not line["asked"] and not line["wanted"]
        old_enough(here)
        assert here.edge.json("keys", "traffic", "renew", "--listener", "shop") == {"sessions": 2, "skipped": 1}
        wait_until(lambda: sum(line["wanted"] for line in listed(here)) == 2)
        for each in (client, other, old):
            each.exchange()
        assert epochs(here) == [0, 1, 2]
        assert updates(here, "operator") == 3


def test_renewal_at_once(edge, folder):
    """Nothing is to be sent, and the KeyUpdate comes by itself."""
    here = edge()
    with forge.Forger(here.port, folder, root=here.root) as client:
        client.send_raw(client.seal_as(forge.APPLICATION_DATA, b"hello"))
        assert client.read_until(forge.APPLICATION_DATA) == b"hello"
        old_enough(here)
        here.edge.run("keys", "traffic", "renew", "--all", "--now")
        assert client.read_record() == (forge.HANDSHAKE, forge.KEY_UPDATE)
        here.edge.run("keys", "traffic", "renew", "--all", "--now")  # too young, unless that took long: waits for data
        wait_until(lambda: listed(here)[0]["wanted"] or listed(here)[0]["epoch"] == 2)
        old_enough(here)
        client.send_raw(client.seal_as(forge.APPLICATION_DATA, b"hello"))
        assert client.read_record() == (forge.HANDSHAKE, forge.KEY_UPDATE)
        assert client.read_record() == (forge.APPLICATION_DATA, b"hello")


def test_renewal_spread_over_time(edge):
    here = edge()
    with contextlib.ExitStack() as stack:
        made = [stack.enter_context(here.client(version="1.3")) for _ in range(30)]
        for client in made:
            client.exchange()
        old_enough(here)
        begin = time.monotonic()
        assert here.edge.json("keys", "traffic", "renew", "--all", "--now", "--over", "3s") == {"sessions": 30, "skipped": 0}
        assert time.monotonic() - begin >= 3
        ages = [line["age_ms"] for line in listed(here, "--limit", "100")]
        assert max(ages) - min(ages) >= 1000, ages
        for client in made:
            client.exchange()
        assert epochs_of(here, 100) == [1] * 30


def epochs_of(here, limit):
    return [line["epoch"] for line in listed(here, "--limit", str(limit))]


@pytest.mark.parametrize("arguments, code, message", [
    (["renew"], 2, "expected one of"),
    (["renew", "--all", "--listener", "shop"], 2, "expected one of"),
    (["renew", "--session", "0-999"], 2, "there is no session 0-999"),
    (["renew", "--listener", "nowhere"], 2, 'there is no listener "nowhere"'),
    (["renew", "--all", "--over", "8d"], 2, "at most 604800000"),
    (["list", "--listener", "nowhere"], 2, 'there is no listener "nowhere"'),
    (["list", "--limit", "0"], 2, "from 1 to 1000"),
    (["list", "--limit", "1001"], 2, "1000"),
    (["change"], 2, 'found "change"'),
    ([], 2, "expected list or renew"),
    (["list", "shop"], 2, 'expected nothing more, found "shop"'),
    (["list", "--session", "0-1"], 2, "expected renew with --session"),
    (["list", "--over", "1min"], 2, "expected renew with"),
    (["renew", "--all", "--limit", "3"], 2, "expected list with --limit"),
])
def test_wrong_requests(shop, arguments, code, message):
    result = shop().edge.run("keys", "traffic", *arguments, check=False)
    assert result.returncode == code
    assert message in result.stderr


def test_tls12_cannot_be_renewed(edge):
    here = edge()
    with here.client(version="1.2") as client:
        client.exchange()
        line, = listed(here)
        result = here.edge.run("keys", "traffic", "renew", "--session", line["session"], check=False)
        assert result.returncode == 2 and "is not TLS 1.3" in result.stderr
        client.exchange()


# ---- configuration ----

def test_config_show_says_how_much_that_is(edge):
    here = edge()
    shown = here.edge.run("config", "show").stdout
    assert "# listener shop: AES-GCM keys are renewed after 12148001999 blocks (" in shown
    here.edge.config_path.write_text(shown)
    assert here.edge.run("config", "show").stdout == shown


def test_every_probability_of_the_manual_is_taken(shop):
    """Without a fleet's budget there is none to blame, however little a listener leaves its keys."""
    here = shop(listener="traffic-key-probability = 100")
    assert here.edge.run("config", "test").returncode == 0


def test_budget_that_leaves_nothing_is_refused(shop):
    here = shop()
    text = here.edge.config_path.read_text()
    here.edge.config_path.write_text(f"traffic-key-fleet-volume = 4096p\ntraffic-key-fleet-probability = 80\n{text}")
    result = here.edge.run("reload", check=False)
    assert result.returncode == 6
    assert "leave a key 0 KiB; expected a budget that leaves it 1024 KiB or more" in result.stdout + result.stderr
