"""Helpers of the tests of `holdfast check`: servers that show certificates, and what is said of them."""

import base64
import http.server
import json
import ssl
import threading

import servers
from cryptography import x509
from daemon import holdfast

NAME = "shop.test"


def say_nothing(connection):
    """Waits until the client has enough."""
    while connection.socket.recv(4096):
        pass


def hang(connection):
    """A server that accepts and never speaks, not even TLS."""
    say_nothing(connection)


class TlsServer(servers.Server):
    """Serves these pairs (pki.Pair), one for each key type."""

    def __init__(self, folder, *pairs, address=("127.0.0.1", 0), handler=say_nothing, version=None, **options):
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        if version is not None:
            context.minimum_version = context.maximum_version = version
        for number, pair in enumerate(pairs):
            chain, key = pair.write(folder, f"{id(self)}-{number}")
            context.load_cert_chain(chain, key)
        super().__init__(handler, address=address, tls=context, **options)


class Documents:
    """What a CA publishes, over HTTP on loopback."""

    def __init__(self):
        self.documents, self.asked = {}, []
        outer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                outer.asked.append(self.path)
                body = outer.documents.get(self.path)
                self.send_response(404 if body is None else 200)
                self.end_headers()
                self.wfile.write(body or b"")

            def log_message(self, *arguments):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def url(self, path, host="127.0.0.1"):
        return f"http://{host}:{self.server.server_port}{path}"

    def list_extension(self, host="127.0.0.1"):
        """Names /1.crl here."""
        name = x509.UniformResourceIdentifier(self.url("/1.crl", host))
        return x509.CRLDistributionPoints([x509.DistributionPoint([name], None, None, None)])

    def close(self):
        self.server.shutdown()
        self.server.server_close()


def renewal_name(pair):
    """Of its renewal information (RFC 9773 §4.1)."""
    key_id = pair.certificate.extensions.get_extension_for_class(x509.AuthorityKeyIdentifier).value.key_identifier
    number = pair.certificate.serial_number
    serial = number.to_bytes(number.bit_length() // 8 + 1, "big")
    return ".".join(base64.urlsafe_b64encode(part).rstrip(b"=").decode() for part in (key_id, serial))


def check(*arguments, code=None, **options):
    """Runs holdfast check; the exit code is looked at when one is given."""
    result = holdfast("check", *arguments, check=False, **options)
    if code is not None:
        assert result.returncode == code, f"exit code {result.returncode}\n{result.stdout}{result.stderr}"
    return result


def endpoints(*arguments, code=None, **options):
    """What --json says, as objects."""
    return [json.loads(line) for line in check(*arguments, "--json", code=code, **options).stdout.splitlines()]


def ids(endpoint, *severities):
    """The findings' ids, of these severities only."""
    return [finding["id"] for finding in endpoint["findings"] if not severities or finding["severity"] in severities]
