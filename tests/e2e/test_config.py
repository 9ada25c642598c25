"""holdfast config test|show: messages, warnings, exit codes, files and folders."""

import datetime
import os
import pwd
import re

import pki
import pytest
from daemon import BINARY, REPOSITORY, holdfast

ROOT = os.geteuid() == 0
USER = "nobody" if ROOT else pwd.getpwuid(os.geteuid()).pw_name

GOOD = """
state-folder = "{folder}/state"
user = {user}
listener shop {{
    bind = {{"127.0.0.1:8443"}}
    certificates = {{"shop.example"}}
    upstream = "app"
}}
upstream app {{
    servers = {{"127.0.0.1:8080", "127.0.0.1:8081"}}
}}
certificate shop.example {{
    names = {{"shop.example"}}
    from = files
    chain = "{folder}/shop.pem"
    key = "{folder}/shop.key"
}}
"""


@pytest.fixture
def site(folder, authority):
    """A folder with files that a configuration names; site(text) writes the configuration and returns its path."""
    pair = authority.issue("shop.example")
    (folder / "shop.pem").write_bytes(pair.chain_pem)
    (folder / "shop.key").write_bytes(pair.key_pem)
    (folder / "shop.key").chmod(0o600)

    def write(text=GOOD):
        path = folder / "holdfast.conf"
        path.write_text(text.format(folder=folder, user=USER))
        return path

    write.folder = folder
    return write


def test_right_configuration(site):
    path = site()
    result = holdfast("config", "test", "-c", path)
    assert result.stdout.startswith(f"{path}: ok (1 listener, 1 upstream with 2 servers, 1 certificate)\n")
    assert f"user {USER}" in result.stdout
    assert result.stderr == ""
    assert not (site.folder / "state").exists(), "a check changes nothing"


@pytest.mark.parametrize("finding", ["key-mismatch", "expired", "name-missing", "certificate-unparsable"])
def test_unusable_pair(site, authority, finding):
    path = site()
    if finding == "key-mismatch":
        (site.folder / "shop.key").write_bytes(authority.issue("shop.example").key_pem)
    elif finding == "expired":
        old = authority.issue("shop.example", not_before=datetime.datetime.utcnow() - 90 * pki.DAY, lifetime=30 * pki.DAY)
        (site.folder / "shop.pem").write_bytes(old.chain_pem)
        (site.folder / "shop.key").write_bytes(old.key_pem)
    elif finding == "name-missing":
        other = authority.issue("other.example")
        (site.folder / "shop.pem").write_bytes(other.chain_pem)
        (site.folder / "shop.key").write_bytes(other.key_pem)
    else:
        (site.folder / "shop.pem").write_text("no certificate")
    result = holdfast("config", "test", "-c", path, check=False)
    assert result.returncode == 6
    assert f"certificate 'shop.example': {site.folder}/shop.pem: {finding}: " in result.stderr
    assert result.stdout == ""
    assert result.stderr.count("\n") == 1 and "what to do" in holdfast("explain", result.stderr).stdout


def test_warning_with_line_does_not_fail(site):
    path = site(GOOD.replace('upstream = "app"', 'upstream = "app"\n    idle-timeout = 30s'))
    result = holdfast("config", "test", "-c", path)
    assert f"{path}:8: warning: idle-timeout of listener 'shop'" in result.stderr
    assert "ok (" in result.stdout


@pytest.mark.parametrize("before, after, line, message", [
    ("upstream = ", "upstraem = ", 7, "unknown option 'upstraem' in listener 'shop'; did you mean 'upstream'?"),
    ('upstream = "app"', 'upstream = "ap"', 7, "found 'ap'; expected the name of an upstream section; did you mean 'app'?"),
    ('"127.0.0.1:8081"', '"127.0.0.1"', 10, "servers in upstream 'app': found '127.0.0.1'; expected a server such as"),
    ("from = files", "from = internal", 15, "chain in certificate 'shop.example': found it without from = files"),
    ("certificate shop.example {{", "certificate shop.example", 17, "unexpected '}'; no section is open here"),
])
def test_mistake(site, before, after, line, message):
    path = site(GOOD.replace(before, after))
    for verb in ("test", "show"):
        result = holdfast("config", verb, "-c", path, check=False)
        assert result.returncode == 2
        assert result.stdout == ""
        assert result.stderr.count("\n") == 1
        assert result.stderr.startswith(f"{path}:{line}: ")
        assert message in result.stderr


def test_show_gives_a_configuration_that_shows_the_same(site):
    shown = holdfast("config", "show", "-c", site()).stdout
    assert "handshake-timeout = 10s" in shown
    again = site.folder / "again.conf"
    again.write_text(shown)
    assert holdfast("config", "show", "-c", again).stdout == shown


def test_missing_files_are_all_named(site):
    path = site()
    (site.folder / "shop.pem").unlink()
    (site.folder / "shop.key").unlink()
    (site.folder / "shop.key").mkdir()
    result = holdfast("config", "test", "-c", path, check=False)
    assert result.returncode == 3
    assert f"chain of certificate shop.example: cannot open {site.folder}/shop.pem: No such file" in result.stderr
    assert f"key of certificate shop.example: cannot open {site.folder}/shop.key: it is no regular file" in result.stderr


def test_missing_configuration(folder):
    result = holdfast("config", "test", "-c", folder / "none.conf", check=False)
    assert result.returncode == 3
    assert "none.conf: No such file" in result.stderr


@pytest.mark.parametrize("make, message", [
    (lambda state: state.write_text(""), "is no folder"),
    (lambda state: (state.mkdir(), state.chmod(0o555)), f"user {USER} may not write into"),
])
def test_unusable_state_folder(site, make, message):
    make(site.folder / "state")
    result = holdfast("config", "test", "-c", site(), check=False)
    assert result.returncode == 3
    assert message in result.stderr


def test_state_folder_without_parent(site):
    path = site(GOOD.replace("{folder}/state", "{folder}/none/state"))
    result = holdfast("config", "test", "-c", path, check=False)
    assert result.returncode == 3
    assert "does not exist and cannot be made" in result.stderr


@pytest.mark.skipif(not ROOT, reason="needs root to become another user")
def test_unprivileged_check_says_whom_it_holds_for(site):
    path = site()
    if os.system(f"setpriv --reuid={USER} --clear-groups test -x '{BINARY}'") != 0:
        pytest.skip(f"{USER} may not run {BINARY}")
    result = holdfast("config", "test", "-c", path, check=False, user=USER, extra_groups=[])
    assert result.returncode == 3, "the key is readable by root only, and the folder writable by root only"
    assert "shop.key: Permission denied" in result.stderr
    (site.folder / "shop.key").chmod(0o644)
    site.folder.chmod(0o777)
    result = holdfast("config", "test", "-c", path, user=USER, extra_groups=[])
    assert f"checked for user {USER}: valid when the same user starts the daemon" in result.stdout


@pytest.mark.skipif(not ROOT, reason="the user matters only when the daemon is started as root")
def test_unprivileged(folder):
    """Who is not root checks for himself, also where his number has no name (as in containers)."""
    state = folder / "state"
    state.mkdir()
    path = folder / "watch.conf"
    path.write_text(f'state-folder = "{state}"\nwatch shop {{ targets = {{"shop.example:443"}} }}\n')
    who = {"user": 54321, "group": 54321, "extra_groups": []} if ROOT else {}
    if ROOT:
        refused = holdfast("config", "test", "-c", path, check=False, **who)
        assert refused.returncode == 3
        assert f"user 54321 may not write into {state}; give it to this user" in refused.stderr
        os.chown(state, 54321, 54321)
    assert holdfast("config", "test", "-c", path, **who).stdout.startswith(f"{path}: ok (1 watch with 1 target)\n")


def test_unknown_user(site):
    path = site(GOOD.replace("user = {user}", "user = nobody-of-this-name"))
    result = holdfast("config", "test", "-c", path, check=False)
    assert result.returncode == 2
    assert "there is no user 'nobody-of-this-name' on this machine" in result.stderr


@pytest.mark.parametrize("arguments, message", [
    ([], "expected test, show"),
    (["tset", "-c", "x"], "expected test, show"),
    (["test", "show", "-c", "x"], "expected one of test and show"),
    (["test", "--unknown"], "unrecognized option"),
])
def test_usage(arguments, message):
    result = holdfast("config", *arguments, check=False)
    assert result.returncode == 2
    assert message in result.stderr


@pytest.mark.skipif(os.path.exists("/etc/holdfast/holdfast.conf"), reason="there is a configuration at the usual place")
@pytest.mark.parametrize("verb", [["config", "test"], ["config", "show"], ["run"]])
def test_usual_place(verb):
    result = holdfast(*verb, check=False)
    assert result.returncode != 0 and "/etc/holdfast/holdfast.conf: No such file" in result.stderr


def test_help():
    result = holdfast("config", "--help")
    assert "Usage: holdfast config test [-c FILE]" in result.stdout
    assert "Exit codes:" in result.stdout


def test_reference_names_every_option():
    reference = (REPOSITORY / "doc" / "configuration.md").read_text()
    everything = REPOSITORY / "tests" / "fuzz" / "corpus" / "conf" / "everything"
    shown = holdfast("config", "show", "-c", everything).stdout
    options = set(re.findall(r"^ *([a-z-]+) = ", shown, re.MULTILINE))
    assert len(options) > 50
    assert not [option for option in sorted(options) if f"`{option}`" not in reference]
