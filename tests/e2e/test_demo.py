"""The demo keeps its promise, and leaves nothing behind."""

import contextlib
import http.client
import json
import os
import re
import signal
import ssl
import subprocess
import urllib.parse

import pytest

import clients
import daemon
from daemon import BINARY, wait_until

ANSWERS = ["Kelp & <Co>", "12", "Sail", "Ada L.", "3", "Pontoon", "14", "Diesel", "Tromsø", "The cat's name is \"Bosun\"."]
SESSIONS = 60 if daemon.SANITIZED else 300
KINDS = ["certificates replaced", "relays killed", "reloads", "upgrades"]
SECONDS = 30 if daemon.SANITIZED else 16  # each kind of change has its turn


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
    with demo(folder_of_demo, "--once", SECONDS, "--sessions", SESSIONS, "--port", daemon.free_port()) as process:
        output, errors = process.communicate(timeout=140)
    daemon.assert_no_sanitizer_report(errors)
    assert process.returncode == 0, output + errors
    last = output.splitlines()[-1]
    assert last.startswith("Unbroken") and "lost: 0" in last, output
    for kind in KINDS:
        assert int(re.search(rf"{kind}: (\d+)", last).group(1)) >= 1, last
    assert int(re.search(r"\((\d+) seen\)", last).group(1)) >= 1, last
    assert f"sessions {SESSIONS}" in output


@pytest.mark.parametrize("end", [signal.SIGHUP, signal.SIGINT, None], ids=["hang-up", "interrupt", "no-reader"])
def test_early_end(folder_of_demo, end):
    """Its terminal or its reader goes while it starts: it ends and cleans up."""
    with demo(folder_of_demo, "--sessions", 20, "--port", daemon.free_port()) as process:
        assert process.stdout.readline().startswith("Open https://")
        if end is None:
            process.stdout.close()
        else:
            process.send_signal(end)
        assert process.wait(60) >= 0, "killed by the signal"
        daemon.assert_no_sanitizer_report(process.stderr.read())


def test_failed_change(folder_of_demo):
    """A change that the edge refuses breaks the demo, in the words of the command."""
    with demo(folder_of_demo, "--sessions", 20, "--port", daemon.free_port()) as process:
        try:
            while "sessions 20" not in (line := process.stdout.readline()):
                assert line or process.poll() is None, process.stderr.read()
            program, = folder_of_demo.glob("*/holdfast")
            program.chmod(0o777)  # what everybody may write is not executed
            while "changes that failed: 1" not in (line := process.stdout.readline()):
                assert line or process.poll() is None, process.stderr.read()
        finally:
            process.send_signal(signal.SIGINT)
        output, errors = process.communicate(timeout=40)
    daemon.assert_no_sanitizer_report(errors)
    last = output.splitlines()[-1]
    assert process.returncode == 6, output + errors
    assert last.startswith("Broken") and "lost: 0: holdfast upgrade: refused: " in last, last


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


def status(browser):
    return json.loads(browser.ask("GET", "/status.json")[1])


def settled_browser(port, root):
    """On a connection that is old enough to survive its relay; a younger one may die with it."""
    while True:
        browser = Browser(port, root)
        try:
            wait_until(lambda: status(browser)["age_s"] >= 1, 20)
            return browser
        except (ConnectionError, http.client.HTTPException, ssl.SSLError):
            continue


def test_form_outlives_every_change(folder_of_demo):
    """A visitor fills in ten pages over one connection while everything under it changes; Ctrl-C ends everything."""
    port = daemon.free_port()
    with demo(folder_of_demo, "--sessions", 20, "--port", port) as process:
        try:
            assert f"https://localhost:{port}/" in process.stdout.readline()
            while not re.search(r"sessions 20\b", line := process.stdout.readline()):
                assert line or process.poll() is None, process.stderr.read()
            root, = folder_of_demo.glob("*/state/internal-ca.pem")
            browser = settled_browser(port, root)
            response, _ = browser.ask("GET", "/")
            assert response.status == 303
            assert status(browser)["survived"] >= 0 and status(browser)["upgrades"] == 0, "the visit has just begun"
            socket_at_first = browser.connection.sock
            for number, answer in enumerate(ANSWERS, 1):
                response, text = browser.ask("GET", f"/page/{number}")
                assert response.status == 200 and f"Page {number} of 10" in text
                response, _ = browser.ask("POST", f"/page/{number}", answer)
                assert response.status == 303, number
            wait_until(lambda: all(status(browser)[kind] >= 1 for kind in ["certificates", "relays", "reloads", "upgrades"]), 60)
            assert status(browser)["survived"] >= 4 and status(browser)["lost"] == 0
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
    wait_until(lambda: not any(daemon._alive(pid) for pid in family), message="the demo left processes behind")


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
