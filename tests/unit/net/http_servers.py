"""Servers for test_http_client.c: HTTP, and SMTP with STARTTLS and a password. Prints the ports, the CA's file and the
mail's file, then serves until its input ends."""

import http.server
import logging
import pathlib
import ssl
import subprocess
import sys
import tempfile
import threading
import warnings

try:
    from aiosmtpd.controller import Controller
    from aiosmtpd.smtp import AuthResult
except ImportError:
    Controller = None


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *arguments):
        pass

    def answer(self, status, body=b"", **headers):
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_GET(self):
        path = self.path.split("?")[0]
        if path == "/ok":
            self.answer(200, b"document")
        elif path == "/large":
            self.answer(200, b"x" * 100000)
        elif path == "/endless":
            self.send_response(200)
            self.end_headers()
            try:
                while True:
                    self.wfile.write(b"x" * 65536)
            except OSError:
                self.close_connection = True
        elif path == "/hang":
            over.wait()
        elif path == "/busy":
            self.answer(503, b"later", Retry_After="120")
        elif path == "/to-ok":
            self.answer(302, Location="/ok")
        elif path == "/to-file":
            self.answer(302, Location="file:///etc/passwd")
        elif path == "/round":
            self.answer(302, Location="/round")
        elif path == "/agent":
            self.answer(200, self.headers["User-Agent"].encode())
        else:
            self.answer(404, b"nothing here")

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.answer(200, self.command.encode() + b" " + self.headers.get("X-Test", "").encode() + b" " + body)

    do_PUT = do_POST


class Mailbox:
    async def handle_DATA(self, server, session, envelope):
        mail.write_bytes(f"{envelope.mail_from} {' '.join(envelope.rcpt_tos)} tls={session.ssl is not None}\n".encode() + envelope.content)
        return "250 kept"


def authenticate(server, session, envelope, mechanism, data):
    return AuthResult(success=data.password == b"open sesame", handled=False)


def certificate(folder):
    subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout",
                    folder / "key.pem", "-out", folder / "cert.pem", "-days", "2", "-subj", "/CN=localhost", "-addext",
                    "subjectAltName=DNS:localhost,IP:127.0.0.1"], check=True, capture_output=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "cert.pem", folder / "key.pem")
    return context


def serve_mail(**options):
    """The port that a free one turned out to be."""
    controller = Controller(Mailbox(), hostname="127.0.0.1", port=free_port(), **options)
    controller.start()
    return controller.port


def free_port():
    with http.server.socketserver.socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return sock.getsockname()[1]


warnings.simplefilter("ignore")
logging.getLogger("mail").setLevel(logging.CRITICAL)
over = threading.Event()
with tempfile.TemporaryDirectory() as name:
    folder = pathlib.Path(name)
    mail = folder / "mail"
    context = certificate(folder)
    web = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    web.daemon_threads = True
    web.handle_error = lambda *peer: None  # clients leave in the middle, on purpose
    threading.Thread(target=web.serve_forever, daemon=True).start()
    plain = serve_mail() if Controller else 0
    protected = serve_mail(tls_context=context, require_starttls=True, authenticator=authenticate, auth_required=True) \
        if Controller else 0
    print(web.server_port, plain, protected, folder / "cert.pem", mail, flush=True)
    sys.stdin.read()
    over.set()
