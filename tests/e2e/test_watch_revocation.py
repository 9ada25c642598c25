"""Revocation as the daemon sees it: its prober fetches lists, whatever it is forbidden besides."""

import json
import shutil

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
