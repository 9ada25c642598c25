"""Client authentication after the handshake: clients that can be asked, and asking them."""

from clients import NAME
from daemon import wait_until

AT_ONCE = f'client-authenticate-names = {{"{NAME}"}}'
SHORT = "client-authenticate-timeout = 300ms"


def able(here, pair=None, **options):
    """A client that can be asked."""
    made = here.here.client(identity=pair and here.identity(pair), later=True, **options)
    made.exchange()
    return made


def wire(here, pair=None, **options):
    """A client that can be asked, over bytes."""
    made = here.here.wire(identity=pair and here.identity(pair), later=True, **options)
    made.send(b"x")
    made.receive_exactly(1)
    return made


def ask(here, *which):
    """What `sessions authenticate` says, one line per session."""
    return here.edge.lines("sessions", "authenticate", *(which or ("--listener", "shop")))


def converse(client, here, event, **fields):
    """Messages go to and fro until the event."""
    def look():
        client.exchange()
        found = here.edge.events_named(event, **fields)
        return found and found[-1]
    return wait_until(look, 20)


def subject(here):
    """Of the only session, as the list of sessions shows it."""
    sessions = here.edge.lines("sessions")
    return len(sessions) == 1 and sessions[0].get("client_certificate", {}).get("subject")


def counters(here):
    found = here.edge.json("status")["counters"]
    return found["client_authentications"], found["client_authentications_failed"]
