"""Listeners that ask for client certificates."""

import datetime
import ssl

import pytest

import clients
import pki

HOUR = datetime.timedelta(hours=1)
SECOND = datetime.timedelta(seconds=1)
VERSIONS = pytest.mark.parametrize("version", ["1.2", "1.3"])


class Place:
    """A listener that asks for client certificates, with its CA file, its revocation list and clients of its CA."""

    def __init__(self, shop, folder, authority, mode="required", crl=True, listener="", **options):
        self.folder, self.authority = folder, authority
        self.ca_path, self.crl_path = folder / "client-ca.pem", folder / "clients.crl"
        pki.replace_file(self.ca_path, authority.authorities_pem())
        if crl:
            self.revoke()
        lists = f'client-crl = {{"{self.crl_path}"}}' if crl else ""
        spread = "" if "client-end-spread" in listener or "ended = keep" in listener else "client-end-spread = none"
        self.here = shop(listener=f'client-certificate = {mode}\nclient-ca = "{self.ca_path}"\n{lists}\n{spread}\n{listener}',
                         **options)
        self.edge = self.here.edge
        self.number = 1
        self.count = 0

    def revoke(self, *pairs, **options):
        pki.replace_file(self.crl_path, self.authority.revocation_list(*pairs, **options))

    def trust(self, *authorities):
        pki.replace_file(self.ca_path, b"".join(authority.authorities_pem() for authority in authorities))

    def identity(self, pair):
        self.count += 1
        return tuple(map(str, pair.write(self.folder, f"client{self.count}")))

    def client(self, pair=None, **options):
        """A client that is let in: the first message goes through."""
        made = self.here.client(identity=pair and self.identity(pair), **options)
        made.exchange()
        return made

    def refused(self, pair=None, **options):
        """The alert that a client is refused with, and the event about it."""
        mark = self.edge.mark()
        with self.here.wire(identity=pair and self.identity(pair), handshake=False, **options) as client:
            try:
                client._drive(client.object.do_handshake)
            except ssl.SSLError as error:
                alert = clients.alert_name(error)
            else:
                alert = client.alert()
        return alert, self.edge.wait_event("handshake-failed", since=mark)

    def state(self):
        listener, = (it for it in self.edge.json("status")["listeners"] if it["listener"] == "shop")
        return listener["client_trust"]
