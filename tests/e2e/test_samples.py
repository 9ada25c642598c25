"""Every sample configuration of the documents passes `config test` where the files that it names are there."""

import os
import pwd
import re

import pytest
from daemon import REPOSITORY, holdfast

USER = "nobody" if os.geteuid() == 0 else pwd.getpwuid(os.geteuid()).pw_name
PATH = re.compile(r'"((?:file:)?)(/(?:etc|srv|var|home)/[^"]*)"')


def blocks(markdown):
    """The configurations among the fenced blocks: those that open a section."""
    text = (REPOSITORY / markdown).read_text()
    fenced = re.findall(r"^```\n(.*?)^```$", text, re.M | re.S)
    return [block for block in fenced if re.search(r"^(?:listener|watch) [\w.-]+ \{$", block, re.M)]


def manual_example():
    roff = (REPOSITORY / "doc/man/holdfast.conf.5").read_text()
    example = roff.partition("\n.SH EXAMPLE\n")[2].partition("\n.nf\n")[2].partition("\n.fi\n")[0]
    return example.replace("\\-", "-").replace("\\(dq", '"')


def samples():
    """{name: text}"""
    found = {path.name: path.read_text() for path in sorted((REPOSITORY / "doc/examples").glob("*.conf"))}
    first, watch = blocks("README.md")
    added = first + re.sub(r"^state-folder = .*\n", "", watch, flags=re.M)
    return found | {"README": first, "README watch alone": watch, "README watch added": added,
                    "holdfast.conf.5": manual_example()}


SAMPLES = samples()


def provide(folder, authority, text):
    """Puts below `folder` what the configuration names; returns it with the paths of there."""
    for certificate in re.findall(r"^certificate [\w.-]+ \{$(.*?)^\}$", text, re.M | re.S):
        options = {name: re.findall(r'"([^"]*)"', value) for name, value in
                   re.findall(r"^\s*([\w-]+)\s*=\s*(.*)$", certificate, re.M)}
        for number, (chain, key) in enumerate(zip(options.get("chain", []), options.get("key", []))):
            pair = authority.issue(*options["names"], key_type=("ecdsa", "rsa")[number])
            for path, content in ((chain, pair.chain_pem), (key, pair.key_pem)):
                target = folder / path[1:]
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_bytes(content)
        for path in options.get("folder", []):
            (folder / path[1:]).mkdir(parents=True, exist_ok=True)
    files = re.findall(r'^\s*(?:tls-trust|client-ca|stores|trust)\s*=\s*\{?"(/[^"]*)"', text, re.M)
    for path in files + re.findall(r'"file:(/[^"]*)"', text):
        (folder / path[1:]).parent.mkdir(parents=True, exist_ok=True)
        (folder / path[1:]).write_bytes(authority.authorities_pem())
    text = PATH.sub(lambda match: f'"{match[1]}{folder}{match[2]}"', text)
    text = re.sub(r"^state-folder\s*=.*\n", "", text, flags=re.M)
    return f'state-folder = "{folder}/state"\nuser = {USER}\n{text}'


@pytest.mark.parametrize("name", SAMPLES)
def test_sample_is_right(name, folder, authority):
    path = folder / "holdfast.conf"
    path.write_text(provide(folder, authority, SAMPLES[name]))
    result = holdfast("config", "test", "-c", path)
    assert f"{path}: ok (" in result.stdout
    assert result.stderr == "", "a sample is not warned about"
