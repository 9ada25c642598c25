"""Reloads on trial, the history of configurations, and going back."""

import contextlib
import os
import socket
import ssl

import pytest

import clients
import daemon
from daemon import free_port
from house import House


def test_confirmed(house):
    house.listener_options["shop"] = "idle-timeout = 5m"
    house.reload("--confirm", "1h")
    result = house.reload(check=False)
    assert result.returncode == 3 and "holdfast config confirm" in result.stderr
    house.run("config", "confirm")
    house.edge.wait_event("config-confirmed")
    house.reload()
    assert house.run("config", "confirm", check=False).returncode == 2


def test_not_confirmed_goes_back(house):
    house.ports["second"] = free_port()
    house.reload("--confirm", "1s")
    with house.client("second") as held:
        held.exchange()
        event = house.edge.wait_event("config-returned", timeout=20)
        assert "nobody confirmed" in event["detail"]
        held.exchange()
        assert house.json("status")["config_generation"] == 3
        with pytest.raises(OSError):
            socket.create_connection(("127.0.0.1", house.ports["second"]), 2)
    with house.client() as client:
        client.exchange()


def test_failing_handshakes_bring_it_back(house):
    for _ in range(30):
        with house.client() as client:
            client.exchange()
    house.listener_options["shop"] = "tls-min = 1.3"
    house.reload("--confirm", "1h")
    old = clients.context(house.root, version="1.2")
    for _ in range(30):
        with contextlib.suppress(OSError, ssl.SSLError), house.client(tls=old) as client:
            client.exchange()
    event = house.edge.wait_event("config-returned", timeout=20)
    assert "of 3" in event["detail"] or "handshakes failed" in event["detail"]
    with house.client(tls=old) as client:
        client.exchange()


def test_history_and_rollback(house):
    original = house.edge.config_path.read_text()
    for minutes in range(1, 13):
        house.listener_options["shop"] = f"idle-timeout = {minutes}m"
        house.reload()
    entries = house.lines("config", "history")
    assert len(entries) == 10 and [entry["entry"] for entry in entries if entry["in_force"]] == [13]
    house.run("config", "rollback")
    assert "entry 12" in house.json("status")["config_source"]
    house.run("config", "rollback", "5")
    assert "entry 5" in house.json("status")["config_source"]
    result = house.run("config", "rollback", "1", check=False)
    assert result.returncode == 2 and "no entry 1" in result.stderr
    assert house.edge.config_path.read_text() != original
    assert len(house.lines("config", "history")) == 10
    text = house.run("config", "history").stdout
    assert "in force" in text


def test_history_outlives_the_daemon(house):
    house.listener_options["shop"] = "idle-timeout = 5m"
    house.reload()
    house.edge.stop()
    mark = house.edge.mark()
    house.edge.launch().wait_event("ready", since=mark, timeout=daemon.START_TIMEOUT)
    assert [entry["entry"] for entry in house.lines("config", "history")] == [1, 2]
    house.run("config", "rollback")
    assert house.lines("config", "history")[0]["in_force"]


def test_history_that_cannot_be_trusted_is_kept_in_memory(start, folder, authority, server):
    (folder / "state").mkdir()
    (folder / "state" / "history").mkdir()
    (folder / "state" / "history").chmod(0o777)
    if os.geteuid() == 0:
        (folder / "state").chmod(0o755)
    house = House(start, folder, authority, server)
    house.edge.wait_event("warning", detail=lambda text: "history" in text)
    house.listener_options["shop"] = "idle-timeout = 5m"
    house.reload()
    house.run("config", "rollback")
    assert not list((folder / "state" / "history").iterdir())


def test_history_belongs_to_the_supervisor(house):
    history = house.edge.state_folder / "history"
    assert history.stat().st_uid == os.geteuid() and history.stat().st_mode & 0o777 == 0o700
    assert all(file.stat().st_uid == os.geteuid() and file.stat().st_mode & 0o777 == 0o600
               for file in history.iterdir())
