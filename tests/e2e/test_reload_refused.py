"""Reloads that are refused: what is wrong is said, and nothing has changed."""

import os
import socket

import pytest

import clients
from daemon import free_port
from house import kinds


def test_broken_file(house):
    house.write("listener { ")
    house.refused(write=False, code=2, says="holdfast.conf:")


def test_unknown_option(house):
    house.listener_options["shop"] = "idle-timout = 5m"
    house.refused(code=2, says="did you mean 'idle-timeout'")


def test_file_vanishes(house):
    house.edge.config_path.rename(house.folder / "gone.conf")
    mark = house.edge.mark()
    result = house.run("reload", check=False)
    assert result.returncode == 3 and "No such file" in result.stderr
    assert "No such file" in house.edge.wait_event("config-refused", since=mark)["detail"]
    (house.folder / "gone.conf").rename(house.edge.config_path)
    assert house.json("status")["config_generation"] == 1


def test_file_is_a_pipe(house):
    """Nobody waits for what never comes."""
    house.edge.config_path.unlink()
    os.mkfifo(house.edge.config_path)
    result = house.run("reload", check=False)
    assert result.returncode == 3 and "no regular file" in result.stderr
    with house.client() as client:
        client.exchange()


def test_huge_file(house):
    house.write(house.text() + "#" * (5 << 20))
    house.refused(write=False, code=2, says="larger than 4 MiB")


def test_port_taken(house):
    with socket.socket() as taken:
        taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        taken.bind(("127.0.0.1", free_port()))  # not one that an outgoing connection may have afterwards
        taken.listen()
        house.ports["first"] = free_port()
        house.ports["second"] = taken.getsockname()[1]
        house.refused(says="in use")
        with pytest.raises(OSError):  # the one before it was taken back
            socket.create_connection(("127.0.0.1", house.ports["first"]), 2)
    house.reload()
    with house.client("second") as client:
        client.exchange()


def test_wildcard_over_an_address_in_force(house):
    text = house.text().replace(f'"127.0.0.1:{house.ports["shop"]}"', f'"*:{house.ports["shop"]}"')
    house.write(text)
    house.refused(write=False, says="remove it in one reload and add this one in the next")


def test_certificate_missing(house):
    house.certificates["other.test"] = None
    house.refused(code=3, says="other.test.pem: No such file")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_key_unreadable(house):
    house.certificates["other.test"] = house.authority.issue("other.test")
    house.certificates["other.test"].write(house.folder, "other.test")
    (house.folder / "other.test.key").chmod(0)
    house.refused(code=3, says="Permission denied")


def test_key_of_another_certificate(house):
    house.certificates["other.test"] = house.authority.issue("other.test")
    house.certificates["other.test"].write(house.folder, "other.test")
    house.authority.issue("other.test").write(house.folder, "wrong")
    (house.folder / "wrong.key").replace(house.folder / "other.test.key")
    house.refused(code=6, says="key-mismatch")


def test_certificate_for_another_name(house):
    house.authority.issue("elsewhere.test").write(house.folder, "other.test")
    house.certificates["other.test"] = None
    house.refused(code=6, says="name-missing")


def test_groups_that_the_library_does_not_know(house):
    house.listener_options["shop"] = 'groups = "X25519:nonsense"'
    house.refused(code=6, says="listener 'shop' cannot use certificate")


def test_trust_that_is_no_certificate(house):
    (house.folder / "trust.pem").write_text("nothing\n")
    house.upstream_options["app"] = f'tls = yes\ntls-name = "app.test"\ntls-trust = "{house.folder}/trust.pem"'
    house.refused(says="TLS of upstream 'app'")


def test_trouble_that_was_there_before_is_only_a_warning(house):
    """A certificate whose files went bad is no reason to refuse a change elsewhere."""
    (house.folder / f"{clients.NAME}.pem").write_text("nothing\n")
    house.listener_options["shop"] = "idle-timeout = 5m"
    lines = house.reload()
    assert any("certificate-unparsable" in line["text"] for line in kinds(lines, "warning"))
    with house.client() as client:
        client.exchange()
