"""What real TLS libraries do when keys are renewed, sessions renegotiated, resumed and closed: every client in every situation,
compared with doc/compatibility.md. HOLDFAST_WRITE_COMPATIBILITY=1 writes the document instead (make compatibility)."""

import contextlib

import pytest

import clients
import daemon
import matrix
from matrix import NO_CALL, Gone, Peer
from scrapes import metrics

OLD_ENOUGH = 2200    # ms: a younger key is not renewed
DECLINE_WITHIN = 10  # seconds after which a client that was declined counts as waiting for ever
DAMAGE = "a byte came back"  # what no outcome excuses


LISTENER = """
listener "{name}" {{
    bind = {{"127.0.0.1:{port}"}}
    certificates = {{"shop.test"}}
    upstream = "app"
    {options}
}}
"""
OPTIONS = {
    "allows": 'renegotiation = allow\n    renegotiation-rate = "1000/1s"',
    "asks": "renegotiate-every = 2s",
}


class Arrangement:
    """One edge, and the client that is tried at it. The listener "shop" has the usual policy, the others allow renegotiation or
    ask for it."""

    def __init__(self, client, version, shop):
        self.client, self.tls = client, version
        self.command = client.command()
        self.admin = daemon.free_port()
        self.ports = {name: daemon.free_port() for name in OPTIONS}
        others = [LISTENER.format(name=name, port=port, options=OPTIONS[name]) for name, port in self.ports.items()]
        self.shop = shop(extra=f'admin {{ bind = {{"127.0.0.1:{self.admin}"}} }}\n' + "".join(others))
        self.ports["shop"] = self.shop.port
        self.library = None

    @contextlib.contextmanager
    def connected(self, listener="shop", willing=True):
        daemon.wait_until(lambda: not self.shop.edge.lines("sessions"), message="the session before is still there")
        arguments = [str(self.ports[listener]), str(self.shop.root), clients.NAME, self.tls]
        with contextlib.closing(Peer([*self.command, *arguments, *(["renegotiates"] if willing else [])])) as peer:
            self.library = peer.version
            peer.ask("echo")  # before it is answered the session need not be in any list
            yield peer

    def count(self, name):
        """A counter of all processes together."""
        return sum(value for key, value in metrics(self.admin).items() if key.startswith(f"holdfast_{name}_total"))

    def wait_grown(self, name, before):
        daemon.wait_until(lambda: self.count(name) > before, 20, f"{name} stays at {before}")

    def wait_moved(self, size):
        before = self.count("client_received_bytes")
        daemon.wait_until(lambda: self.count("client_received_bytes") > before + size, 30, "traffic stands still")

    def session(self):
        """The identifier of the only session."""
        only, = self.shop.edge.lines("sessions")
        return only["id"]

    def key(self):
        """How the key of the only session was used."""
        only, = self.shop.edge.lines("keys", "traffic", "list")
        return only

    def renew_key(self, *options):
        """Returns once the KeyUpdate is out."""
        before = daemon.wait_until(lambda: self.key()["age_ms"] >= OLD_ENOUGH and self.key(), 20)
        self.shop.edge.run("keys", "traffic", "renew", "--session", before["session"], *options)
        daemon.wait_until(lambda: self.key()["epoch"] > before["epoch"], 20, "the key is not renewed")


# ---- the situations; each gives the outcome that stands in the document ----

def carries_data(here):
    with here.connected() as peer:
        peer.ask("echo 20 1000")
        peer.ask("start")
        here.wait_moved(4 << 20)
        peer.ask("stop")
    return "yes"


def resumes(here):
    with here.connected() as peer:
        peer.ask("echo")
        before = here.count("handshakes_resumed")
        peer.ask("reconnect")
        peer.ask("echo")
    return "yes" if here.count("handshakes_resumed") == before + 1 else "no"


def closes(here):
    """close_notify in both directions, whoever begins."""
    for order in ("close", "await-close"):
        with here.connected() as peer:
            peer.ask("echo")
            since = here.shop.edge.mark()
            reason = "both-closed"
            if order == "await-close":
                here.shop.edge.run("sessions", "close", here.session())
                reason = "closed-by-operator"
            peer.ask(order)
            here.shop.edge.wait_event("session-closed", since=since, reason=reason)
    return "yes"


def sends_update(here):
    if here.client.update not in here.client.can:
        return NO_CALL
    with here.connected() as peer:
        for _ in range(3):
            before = here.count("key_updates_received")
            peer.ask(here.client.update)
            peer.ask("echo")
            here.wait_grown("key_updates_received", before)
    return "yes, and asks for ours" if here.client.asks_always else "yes"


def sends_update_under_load(here):
    if here.client.update not in here.client.can:
        return NO_CALL
    with here.connected() as peer:
        peer.ask("echo")
        peer.ask("start")
        for _ in range(3):
            before = here.count("key_updates_received")
            if not here.client.renews_itself:
                peer.ask(here.client.update)
            here.wait_grown("key_updates_received", before)
        peer.ask("stop")
        peer.ask("echo")
    return "yes, by itself" if here.client.renews_itself else "yes"


def gets_answer(here):
    if "request" not in here.client.can:
        return NO_CALL
    with here.connected() as peer:
        for _ in range(3):
            before = here.count("key_updates_sent")
            peer.ask("request")
            peer.ask("echo")
            here.wait_grown("key_updates_sent", before)
    return "yes"


def follows(here):
    """KeyUpdates to an idle session, one every two seconds."""
    with here.connected() as peer:
        peer.ask("echo")
        for _ in range(2):
            here.renew_key("--now")
            peer.ask("echo 3")
    return "yes"


def follows_under_load(here):
    """Of a client that asks for another key all the time ours never gets old enough: we renew it by answering."""
    with here.connected() as peer:
        peer.ask("start")
        for _ in range(2):
            if here.client.renews_itself:
                before = here.key()["epoch"]
                daemon.wait_until(lambda before=before: here.key()["epoch"] > before, 20, "the key is not renewed")
            else:
                here.renew_key()
        peer.ask("stop")
        peer.ask("echo")
    return "yes, in answers" if here.client.renews_itself else "yes"


def answers(here):
    """A KeyUpdate that asks for the client's."""
    with here.connected() as peer:
        peer.ask("echo")
        before = here.count("key_update_requests_answered")
        here.renew_key("--request", "--now")
        daemon.wait_until(lambda: peer.ask("echo") and here.count("key_update_requests_answered") > before, 20,
                          "the request is not answered")
    return "yes"


def is_declined(here):
    """A renegotiation begun by the client where the listener refuses it."""
    if "renegotiate" not in here.client.can:
        return NO_CALL
    before = here.count("renegotiations_refused")
    with here.connected() as peer:
        peer.ask("echo")
        try:
            answer = peer.ask(f"renegotiate {DECLINE_WITHIN}")
            assert answer == "ok declined"
            peer.ask("echo 3")
            outcome = "goes on"
        except Gone as gone:
            outcome = "waits for ever" if "waits" in str(gone) else "gives up"
    here.wait_grown("renegotiations_refused", before)
    return outcome


def renegotiates(here):
    if "renegotiate" not in here.client.can:
        return NO_CALL
    with here.connected("allows") as peer:
        for _ in range(3):
            before = here.count("renegotiations")
            peer.ask("echo")
            assert peer.ask("renegotiate") == "ok done"
            here.wait_grown("renegotiations", before)
        peer.ask("echo")
    return "yes"


def renegotiates_under_load(here):
    if "renegotiate" not in here.client.can:
        return NO_CALL
    may_end = here.client.talks_over or here.client.loses_count
    with here.connected("allows") as peer:
        before = here.count("renegotiations")
        peer.ask("start")
        here.wait_moved(1 << 20)
        try:
            assert peer.ask("renegotiate") == "ok done"
            peer.ask("stop")
        except Gone as gone:
            if may_end and DAMAGE not in str(gone):
                return "may end"
            raise
        here.wait_grown("renegotiations", before)
    return "may end" if may_end else "yes"


def asked(here, peer, under_load=False):
    """What becomes of a session whose client we ask to renegotiate."""
    def told():
        return here.count("renegotiations") + here.count("renegotiations_failed")

    def is_over():
        """Asked and answered, gone, or left alone for three times as long as others are."""
        return told() > before or not here.shop.edge.lines("sessions") or \
            (not here.client.is_asked and here.shop.edge.lines("sessions", "--older", "6s"))

    before, done = told(), here.count("renegotiations")
    try:
        peer.ask("start" if under_load else "echo")
        daemon.wait_until(is_over, 40, "nobody was asked")
        peer.ask("stop" if under_load else "echo")
        peer.ask("echo 3")
    except Gone as gone:
        if DAMAGE in str(gone):
            raise
        return "ends"
    if told() == before:
        return "is not asked"
    return "renegotiates" if here.count("renegotiations") > done else "declines, goes on"


def renegotiates_if_asked(here):
    with here.connected("asks") as peer:
        return asked(here, peer)


def renegotiates_if_asked_under_load(here):
    with here.connected("asks") as peer:
        outcome = asked(here, peer, under_load=True)
    return "may end" if here.client.talks_over and outcome != "declines, goes on" else outcome


def declines_if_told(here):
    if not here.client.may_decline:
        return NO_CALL
    with here.connected("asks", willing=False) as peer:
        return asked(here, peer)


SITUATIONS = {
    "1.3": {
        "data": carries_data,
        "resumes": resumes,
        "sends KeyUpdate": sends_update,
        "sends it under load": sends_update_under_load,
        "asks for ours, gets it": gets_answer,
        "follows ours": follows,
        "follows under load": follows_under_load,
        "asked for its own, sends it": answers,
        "closes": closes,
    },
    "1.2": {
        "data": carries_data,
        "resumes": resumes,
        "is refused a renegotiation": is_declined,
        "renegotiates": renegotiates,
        "renegotiates under load": renegotiates_under_load,
        "asked": renegotiates_if_asked,
        "asked under load": renegotiates_if_asked_under_load,
        "asked, set to decline": declines_if_told,
        "closes": closes,
    },
}


def outcome_of(situation, here):
    try:
        return situation(here)
    except Gone as gone:
        return f"no: {gone}"


@pytest.fixture(scope="session", name="document")
def document_fixture():
    tables = matrix.read_document()
    yield tables
    if matrix.WRITES:
        matrix.write_document(tables, {version: list(situations) for version, situations in SITUATIONS.items()})


@pytest.mark.parametrize("version", ["1.2", "1.3"])
@pytest.mark.parametrize("name", matrix.CLIENTS)
def test_client(shop, document, name, version):
    client = matrix.CLIENTS[name]
    if version not in client.versions:
        pytest.skip(f"{client.title} is not tried with TLS {version}")
    here = Arrangement(client, version, shop)
    outcomes = {title: outcome_of(situation, here) for title, situation in SITUATIONS[version].items()}
    if matrix.WRITES:
        document[version][client.title] = matrix.Row(here.library, outcomes)
    assert outcomes == document[version][client.title].outcomes
