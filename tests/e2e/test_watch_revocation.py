"""Revocation as the daemon sees it: its prober fetches lists, whatever it is forbidden besides."""

import datetime
import json
import os
import shutil
import signal
import sqlite3

import checks
import pytest
from checks import NAME, TlsServer
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from daemon import wait_until


@pytest.fixture
def documents():
    started = checks.Documents()
    yield started
    started.close()


def test_the_daemon_fetches_lists(start, folder, authority, documents):
    """By a name that has to be resolved, as lists have."""
    pair = authority.issue(NAME, more=[documents.list_extension("localhost")])
    listed = x509.load_pem_x509_crl(authority.revocation_list(pair))
    documents.documents["/1.crl"] = listed.public_bytes(serialization.Encoding.DER)
    store = folder / "store.pem"
    shutil.copy(authority.root_path, store)
    store.chmod(0o644)
    server = TlsServer(folder, pair)
    target = f"{NAME}:{server.address.rpartition(':')[2]}"
    edge = start(f"""workers = none
watch w {{
    targets = "{target}"
    stores = "{store}"
    connect = "127.0.0.1"
}}
""")
    wait_until(lambda: [line for line in edge.lines("watch") if line.get("verdict") == "critical"], 30,
               "the revoked certificate is not told of")
    endpoint = json.loads(edge.run("watch", "check", target, "--json", check=False).stdout)
    assert "certificate-revoked" in checks.ids(endpoint, "critical")
    assert documents.asked == ["/1.crl"]
    server.close()


def test_no_restart_fetches_again(start, folder, authority, documents):
    """Not of the process that probes, nor of control, nor of the daemon."""
    pair = authority.issue(NAME, more=[documents.list_extension()])
    listed = x509.load_pem_x509_crl(authority.revocation_list(pair))
    documents.documents["/1.crl"] = listed.public_bytes(serialization.Encoding.DER)
    documents.documents["/directory"] = json.dumps({"renewalInfo": documents.url("/renewal")}).encode()
    begin = datetime.datetime.now(datetime.timezone.utc)
    documents.documents[f"/renewal/{checks.renewal_name(pair)}"] = json.dumps({"suggestedWindow": {
        "start": f"{begin:%Y-%m-%dT%H:%M:%SZ}", "end": f"{begin + datetime.timedelta(days=2):%Y-%m-%dT%H:%M:%SZ}"}}).encode()
    server = TlsServer(folder, pair)
    target = f"{NAME}:{server.address.rpartition(':')[2]}"
    text = f"""workers = none
watch w {{
    targets = "{target}"
    stores = "{authority.root_path}"
    connect = "127.0.0.1"
    acme-directory = "{documents.url('/directory')}"
}}
"""
    edge = start(text)

    def look():
        endpoint = json.loads(edge.run("watch", "check", target, "--json", check=False).stdout)
        assert "certificate-revoked" in checks.ids(endpoint, "critical")
        assert endpoint["renewal"]["window_end"]
        return sorted(documents.asked)

    once = sorted(["/1.crl", "/directory", f"/renewal/{checks.renewal_name(pair)}"])
    assert look() == once
    before = edge.json("status")["watch"]["prober"]["pid"]
    os.kill(before, signal.SIGKILL)
    edge.wait_event("warning", detail=lambda words: "the process that probes was killed" in words)
    assert look() == once
    assert edge.json("status")["watch"]["prober"]["pid"] != before
    edge.tolerated = ("killed",)
    os.kill(edge.workers("control")[0], signal.SIGKILL)
    edge.wait_event("process-started", timeout=20, count=2, process="control")
    wait_until(lambda: edge.run("watch", check=False).returncode == 0, 20)
    assert look() == once
    edge.stop()
    with sqlite3.connect(edge.state_folder / "watch.db") as database:
        assert database.execute("SELECT count(*) FROM fetched").fetchone() == (3,)
    edge = start(text)
    assert look() == once
    server.close()
