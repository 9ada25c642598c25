"""What cannot be written fails, whatever the verb: /dev/full refuses every byte."""

import subprocess

import pytest

from daemon import BINARY, free_port, wait_until

CONFIG = 'workers = none\nwatch shop {{ targets = {{"127.0.0.1:{port}"}} interval = 1d timeout = 2s }}\n'


def refused(*words):
    with open("/dev/full", "w", encoding="ascii") as full:
        return subprocess.run([BINARY, *map(str, words)], stdout=full, stderr=subprocess.PIPE, text=True, timeout=60, check=False)


def assert_refused(*words, name=None):
    result = refused(*words)
    said = f"holdfast {name or words[0]}: cannot write: No space left on device\n"
    assert (result.returncode, result.stderr) == (3, said), words


def test_without_daemon(folder):
    path = folder / "holdfast.conf"
    path.write_text(CONFIG.format(port=443))
    for words in (["config", "show", "-c", path], ["config", "--help"], ["keylife"], ["explain", "alert 45"], ["check", "--help"]):
        assert_refused(*words)
    for word in ("--help", "--version"):
        result = refused(word)
        assert (result.returncode, result.stderr) == (3, "holdfast: cannot write: No space left on device\n")


def test_graver_exit_codes_stay(folder):
    path = folder / "holdfast.conf"
    path.write_text("nonsense")
    assert refused("config", "show", "-c", path).returncode == 2


def test_with_daemon(start):
    edge = start(CONFIG.format(port=free_port()))
    wait_until(lambda: edge.lines("watch") and edge.lines("watch")[0]["verdict"] != "pending", 30, "nothing is checked")
    for words in (["status"], ["status", "--json"], ["watch"], ["watch", "--json"], ["alerts"], ["policy"], ["config", "history"]):
        assert_refused(*words, "-c", edge.config_path)


@pytest.mark.parametrize("options", [[], ["--json"]])
def test_following_ends(shop, options):
    """Nobody follows what cannot be read: `trace` would go on for ever."""
    here = shop()
    with open("/dev/full", "w", encoding="ascii") as full, \
         subprocess.Popen([BINARY, "trace", "-c", here.edge.config_path, *options], stdout=full, stderr=subprocess.PIPE, text=True) as trace:
        def ended():
            with here.client() as client:
                client.exchange()
            return trace.poll() is not None
        try:
            wait_until(ended, 60, "it goes on")
        finally:
            trace.terminate()
        assert trace.returncode == 3 and "cannot write" in trace.stderr.read()
