"""libcurl and libmicrohttpd are loaded by the processes that use them, and by no other; without them the rest works."""

import os
import re
import urllib.request

import pytest

import checks
from checks import Documents, TlsServer
from daemon import free_port
from receivers import Receiver

LAZY = {"libcurl", "libmicrohttpd", "libgnutls", "libldap", "libkrb5", "libssh2", "librtmp"}


def mapped(pid):
    """Those of these libraries whose code the process has."""
    try:
        with open(f"/proc/{pid}/maps", encoding="utf-8") as maps:
            return LAZY & set(re.findall(r"/(lib[a-z0-9]+)[^/\n]*\.so", maps.read()))
    except PermissionError:
        pytest.skip("memory of hardened processes is visible to root only")


@pytest.fixture
def receiver():
    made = Receiver()
    yield made
    made.close()


@pytest.fixture
def broken(folder):
    """broken(file) → the environment of a machine where this library is not one."""
    def make(file):
        (folder / file).write_text("not a library\n")
        return {"LD_LIBRARY_PATH": str(folder)}
    return make


def get(port, path):
    with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=30) as answer:
        return answer.status


def watch(port, rest=""):
    return f'watch w {{ targets = {{"127.0.0.1:{port}"}} interval = 1h timeout = 2s }}\n{rest}'


# ---- who maps what ----

def test_an_edge_maps_none(shop):
    here = shop()
    with here.client() as client:
        client.exchange()
        assert {pid: mapped(pid) for pid in here.edge.processes()} == {pid: set() for pid in here.edge.processes()}


def test_each_is_mapped_where_it_is_used(shop, receiver):
    admin = free_port()
    here = shop(extra=f'admin {{ bind = "127.0.0.1:{admin}" }}\nalert-channels = {{"hook"}}\n'
                      f'channel hook {{ type = webhook url = "{receiver.url}" }}\n{watch(free_port())}')
    assert get(admin, "/metrics") == 200
    for kind in ("handshaker", "relay"):
        assert not set().union(*map(mapped, here.edge.workers(kind)))
    control, = here.edge.workers("control")
    assert {"libcurl", "libmicrohttpd"} <= mapped(control)
    prober = here.edge.json("status")["watch"]["prober"]["pid"]
    assert "libcurl" in mapped(prober) and "libmicrohttpd" not in mapped(prober)


# ---- where one is missing ----

def test_alerts_without_libcurl(start, broken):
    """Said at the start, and in the record of each message; the watch goes on."""
    edge = start(f'workers = none\nalert-channels = {{"hook"}}\nalert-open-after = 1\n'
                 f'channel hook {{ type = webhook url = "http://127.0.0.1:{free_port()}" }}\n{watch(free_port())}',
                 environment=broken("libcurl.so.4"))
    edge.wait_event("warning", detail=lambda text: "alerts cannot be sent" in text and "libcurl4" in text)
    edge.wait_event("delivery-failing", detail=lambda text: "libcurl4" in text)
    assert edge.lines("alerts")


def test_a_check_without_libcurl(authority, broken, folder):
    """All but what had to be fetched."""
    documents = Documents()
    pair = authority.issue(checks.NAME, more=[documents.list_extension()])
    server = TlsServer(folder, pair)
    try:
        endpoint, = checks.endpoints(server.address, "--name", checks.NAME, "--store", authority.root_path,
                                     env={**os.environ, **broken("libcurl.so.4")})
    finally:
        server.close()
        documents.close()
    finding, = [finding for finding in endpoint["findings"] if finding["id"] == "crl-unreachable"]
    assert "libcurl4" in str(finding)
    assert not documents.asked


def test_an_admin_page_without_libmicrohttpd(shop, broken):
    """Traffic goes on."""
    here = shop(extra=f'admin {{ bind = "127.0.0.1:{free_port()}" }}', environment=broken("libmicrohttpd.so.12"))
    here.edge.wait_event("warning", detail=lambda text: "cannot serve HTTP" in text and "libmicrohttpd12" in text)
    with here.client() as client:
        client.exchange()
