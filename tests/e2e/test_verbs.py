"""What every verb has in common: help, complaints, output that goes nowhere."""

import fcntl
import os
import pty
import re
import struct
import termios

import pytest
from daemon import BINARY, holdfast

VERBS = re.findall(r"^  ([a-z]+) ", holdfast("--help").stdout, re.M) if BINARY.exists() else []
TOPICS = [["keys", topic] for topic in ("traffic", "tickets", "resumption", "exposure")] + [["policy", "lint"]]
WIDTH = 80


def in_terminal(columns, *arguments):
    """What a verb prints in a terminal of this width."""
    pid, terminal = pty.fork()
    if pid == 0:
        fcntl.ioctl(1, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
        os.execv(BINARY, ["holdfast", *arguments])
    text = b""
    try:
        while part := os.read(terminal, 65536):
            text += part
    except OSError:  # the other side is gone
        pass
    os.close(terminal)
    os.waitpid(pid, 0)
    return text.decode().replace("\r\n", "\n")


@pytest.mark.parametrize("words", [[], *([verb] for verb in VERBS), *TOPICS], ids=" ".join)
def test_help_fits_a_terminal(words):
    result = holdfast(*words, "--help")
    assert result.stderr == ""
    assert re.match(r"Usage: holdfast|Holdfast:", result.stdout)
    assert not [line for line in result.stdout.splitlines() if len(line) > WIDTH]


@pytest.mark.parametrize("words", [*([verb] for verb in VERBS if verb != "keys"), *TOPICS[:-1]], ids=" ".join)
def test_unknown_option_is_named(words):
    result = holdfast(*words, "--bogus", check=False)
    assert result.returncode == (3 if words == ["check"] else 2)
    assert result.stdout == ""
    assert result.stderr.startswith(f"holdfast {' '.join(words)}: ") and "--bogus" in result.stderr


@pytest.mark.parametrize("words, message", [
    (["statsu"], "there is no verb 'statsu'; did you mean 'status'?"),
    (["frobnicate"], "there is no verb 'frobnicate'; holdfast --help lists them"),
    (["x"], "there is no verb 'x'; holdfast"),
    (["check", "--store"], "option --store needs a value"),
    (["check", "-4w"], "option -w needs a value"),
    (["check", "-z4"], "there is no option -z"),
    (["check", "smtp+starttls//mail.example"], "expected HOST, HOST:PORT or SCHEME://HOST"),
    (["cert", "install"], "expected `install NAME --chain FILE`"),
])
def test_wrong_words(words, message):
    result = holdfast(*words, check=False)
    assert result.returncode == (3 if words[0] == "check" else 2)
    assert message in result.stderr


def test_help_is_a_word_too():
    assert holdfast("help").stdout == holdfast("--help").stdout


@pytest.mark.parametrize("columns", [60, 80, 200])
def test_texts_are_broken_between_words(columns):
    shown = in_terminal(columns, "explain", "chain-incomplete")
    lines = shown.partition("clients call it")[0].splitlines()
    assert max(map(len, lines)) <= min(columns, 100)
    flat = holdfast("explain", "chain-incomplete").stdout
    assert shown.split() == flat.split()


@pytest.mark.parametrize("columns", [60, 80, 200])
def test_report_fits_the_terminal(folder, columns):
    """Texts are broken; only the words are the same."""
    target = f"file:{folder}/missing.pem"
    lines = re.sub("\033\\[[0-9]*m", "", in_terminal(columns, "check", target)).splitlines()
    assert max(len(line) for line in lines if str(folder) not in line) <= min(columns, 100)
    assert " ".join(lines).split() == holdfast("check", target, check=False).stdout.split()


def test_no_colour(folder, monkeypatch):
    assert "\033" in in_terminal(80, "check", f"file:{folder}/missing.pem")
    monkeypatch.setenv("NO_COLOR", "1")
    assert "\033" not in in_terminal(80, "check", f"file:{folder}/missing.pem")
