"""Where alerts arrive: an HTTP receiver that keeps what it was sent, and a mail server (aiosmtpd)."""

import http.server
import json
import threading

from daemon import free_port


class Receiver:
    """Keeps requests; answers `status`, or hangs until it is released."""

    def __init__(self):
        self.requests = []  # (path, headers, body)
        self.status = 200
        self.hangs = threading.Event()  # set: requests wait for `released`
        self.released = threading.Event()
        self._news = threading.Condition()
        receiver = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self):  # pylint: disable=invalid-name
                body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                with receiver._news:
                    receiver.requests.append((self.path, dict(self.headers), body))
                    receiver._news.notify_all()
                if receiver.hangs.is_set():
                    receiver.released.wait(60)
                    return
                self.send_response(receiver.status)
                self.send_header("Content-Length", "2")
                self.end_headers()
                self.wfile.write(b"{}")

            do_GET = do_POST

            def log_message(self, *_):
                pass

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def wait(self, count=1, timeout=30):
        """The first `count` requests."""
        with self._news:
            assert self._news.wait_for(lambda: len(self.requests) >= count, timeout), \
                f"{len(self.requests)} of {count} requests came"
            return self.requests[:count]

    def bodies(self, count=1):
        return [json.loads(body) for _, _, body in self.wait(count)]

    def close(self):
        self.released.set()
        self._server.shutdown()
        self._server.server_close()


class Mailbox:
    """A mail server; with `tls` (an SSLContext) it demands STARTTLS, with `login` this user and password."""

    def __init__(self, tls=None, login=None):
        from aiosmtpd.controller import Controller  # pylint: disable=import-outside-toplevel
        from aiosmtpd.smtp import AuthResult  # pylint: disable=import-outside-toplevel

        self.messages = []  # (sender, receivers, text)
        self._news = threading.Condition()
        mailbox = self

        class Handler:
            async def handle_DATA(self, _server, _session, envelope):  # pylint: disable=invalid-name
                with mailbox._news:
                    mailbox.messages.append((envelope.mail_from, envelope.rcpt_tos, envelope.content.decode()))
                    mailbox._news.notify_all()
                return "250 taken"

        def authenticate(_server, _session, _envelope, _mechanism, data):
            good = (data.login.decode(), data.password.decode()) == login
            return AuthResult(success=good, handled=good)

        options = {"tls_context": tls, "require_starttls": True} if tls else {}
        if login:
            options |= {"authenticator": authenticate, "auth_required": True}
        self._controller = Controller(Handler(), hostname="127.0.0.1", port=free_port(), **options)
        self._controller.start()
        self.port = self._controller.port

    def wait(self, count=1, timeout=30):
        with self._news:
            assert self._news.wait_for(lambda: len(self.messages) >= count, timeout), \
                f"{len(self.messages)} of {count} mails came"
            return self.messages[:count]

    def close(self):
        self._controller.stop()
