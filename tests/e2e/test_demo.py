"""The demo keeps its promise, and leaves nothing behind."""

import contextlib
import http.client
import os
import re
import signal
import subprocess
import urllib.parse

import pytest

import clients
import daemon
from daemon import BINARY, wait_until

ANSWERS = ["Kelp & <Co>", "12", "Sail", "Ada L.", "3", "Pontoon", "14", "Diesel", "Tromsø", "The cat's name is \"Bosun\"."]
SESSIONS = 60 if daemon.SANITIZED else 300


@pytest.fixture(name="folder_of_demo")
def folder_of_demo_fixture(folder):
    """Where the demo makes its own folder; empty again at the end."""
    path = folder / "demo"
    path.mkdir()
    yield path
    assert not list(path.iterdir()), "the demo left files behind"


def demo(folder, *options):
    return subprocess.Popen([BINARY, "demo", *map(str, options)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                            env={**os.environ, "TMPDIR": str(folder)})


def test_once(folder_of_demo):
    with demo(folder_of_demo, "--once", 10, "--sessions", SESSIONS, "--port", daemon.free_port()) as process:
        output, errors = process.communicate(timeout=110)
    daemon.assert_no_sanitizer_report(errors)
    assert process.returncode == 0, output + errors
    last = output.splitlines()[-1]
    assert last.startswith("Unbroken") and "lost: 0" in last, output
    seen = int(re.search(r"(\d+) certificate replacements seen", last).group(1))
    assert seen >= 2, last
    assert f"sessions {SESSIONS}" in output


class Browser:
    """One connection, a cookie, and forms."""

    def __init__(self, port, root):
        self.connection = http.client.HTTPSConnection("localhost", port, context=clients.context(root))
        self.cookie = {}

    def ask(self, method, path, answer=None):
        headers = dict(self.cookie)
        body = None
        if answer is not None:
            body = "answer=" + urllib.parse.quote_plus(answer)
            headers["Content-Type"] = "application/x-www-form-urlencoded"
        self.connection.request(method, path, body, headers)
        response = self.connection.getresponse()
        text = response.read().decode()
        if response.getheader("Set-Cookie"):
            self.cookie = {"Cookie": response.getheader("Set-Cookie").split(";")[0]}
        return response, text


def survived(browser):
    return int(re.search(r'"survived":(\d+)', browser.ask("GET", "/status.json")[1]).group(1))


def test_form_outlives_the_certificate(folder_of_demo):
    """A visitor fills in ten pages over one connection while the certificate is replaced; Ctrl-C ends everything."""
    port = daemon.free_port()
    with demo(folder_of_demo, "--sessions", 20, "--port", port) as process:
        try:
            assert f"https://localhost:{port}/" in process.stdout.readline()
            while not re.search(r"sessions 20\b", line := process.stdout.readline()):
                assert line or process.poll() is None, process.stderr.read()
            root, = folder_of_demo.glob("*/state/internal-ca.pem")
            browser = Browser(port, root)
            response, _ = browser.ask("GET", "/")
            assert response.status == 303
            socket_at_first = browser.connection.sock
            for number, answer in enumerate(ANSWERS, 1):
                response, text = browser.ask("GET", f"/page/{number}")
                assert response.status == 200 and f"Page {number} of 10" in text
                response, _ = browser.ask("POST", f"/page/{number}", answer)
                assert response.status == 303, number
            wait_until(lambda: survived(browser) >= 1, 20)
            _, text = browser.ask("GET", "/summary")
            for answer in ANSWERS[1:-1]:
                assert f"<dd>{answer}</dd>" in text
            assert "Kelp &amp; &lt;Co&gt;" in text
            assert browser.connection.sock is socket_at_first, "the visitor had to connect again"
            family = {process.pid, *descendants(process.pid)}
        finally:
            process.send_signal(signal.SIGINT)
        output, errors = process.communicate(timeout=40)
    daemon.assert_no_sanitizer_report(errors)
    assert process.returncode == 0, output + errors
    assert "lost: 0" in output.splitlines()[-1]
    wait_until(lambda: not any(daemon._alive(pid) for pid in family), 5, "the demo left processes behind")


def descendants(pid):
    for child in daemon._children(pid):
        yield child
        yield from descendants(child)


@pytest.mark.parametrize("options", [["--once", "0"], ["--sessions", "x"], ["--port", "70000"], ["surplus"], ["--nonsense"]])
def test_wrong_usage(folder_of_demo, options):
    with demo(folder_of_demo, *options) as process:
        _, errors = process.communicate(timeout=20)
    assert process.returncode == 2 and errors


def test_port_in_use(folder_of_demo):
    with contextlib.closing(clients.socket.create_server(("127.0.0.1", 0))) as taken:
        with demo(folder_of_demo, "--once", "1", "--port", taken.getsockname()[1]) as process:
            _, errors = process.communicate(timeout=20)
    assert process.returncode == 3 and "in use" in errors
