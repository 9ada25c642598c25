"""Revocation: OCSP staples of openssl and nginx, revocation lists over HTTP and from files, renewal information; each
good and bad."""

import datetime
import functools
import json
import shutil
import socket
import subprocess

import pki
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.x509 import ocsp
from daemon import wait_until

import checks
from checks import NAME, TlsServer

HOUR = datetime.timedelta(hours=1)


@pytest.fixture
def documents():
    started = checks.Documents()
    yield started
    started.close()


@pytest.fixture
def serve(tmp_path):
    started = []

    def start(*pairs, **options):
        started.append(TlsServer(tmp_path, *pairs, **options))
        return started[-1].address

    yield start
    for server in started:
        server.close()


@pytest.fixture
def authority(tmp_path):
    return pki.Authority(tmp_path)


def der_of(pem):
    return x509.load_pem_x509_crl(pem).public_bytes(serialization.Encoding.DER)


def look(authority, address, *options, code=None):
    return checks.endpoints(address, "--name", NAME, "--store", str(authority.root_path), *options, code=code)[0]


# ---- revocation lists ----

def test_revoked_by_a_list(authority, documents, serve):
    pair = authority.issue(NAME, more=[documents.list_extension()])
    documents.documents["/1.crl"] = der_of(authority.revocation_list(pair))
    endpoint = look(authority, serve(pair), code=2)
    finding = next(finding for finding in endpoint["findings"] if finding["id"] == "certificate-revoked")
    assert finding["severity"] == "critical" and finding["hard"]
    assert finding["evidence"] == documents.url("/1.crl")
    assert finding["certificate"] == endpoint["certificates"][0]["sha256"]


def test_not_revoked(authority, documents, serve):
    pair = authority.issue(NAME, more=[documents.list_extension()])
    documents.documents["/1.crl"] = der_of(authority.revocation_list(authority.issue("other.test")))
    endpoint = look(authority, serve(pair), code=0)
    assert documents.asked == ["/1.crl"]
    assert not [name for name in checks.ids(endpoint) if name.startswith(("crl", "certificate-revoked"))]


def test_a_list_is_fetched_once_for_all(authority, documents, serve):
    pair = authority.issue(NAME, more=[documents.list_extension()])
    documents.documents["/1.crl"] = der_of(authority.revocation_list(pair))
    addresses = [serve(pair) for _ in range(5)]
    found = checks.endpoints(*addresses, "--name", NAME, "--store", str(authority.root_path), code=2)
    assert len(found) == 5 and all("certificate-revoked" in checks.ids(endpoint) for endpoint in found)
    assert documents.asked == ["/1.crl"]


@pytest.mark.parametrize("document, finding", [(None, "crl-unreachable"), (b"<html>", "crl-invalid")])
def test_what_cannot_be_fetched_alarms_nobody(authority, documents, serve, document, finding):
    pair = authority.issue(NAME, more=[documents.list_extension()])
    documents.documents["/1.crl"] = document
    assert finding in checks.ids(look(authority, serve(pair), code=0), "info")


def test_a_list_that_proves_nothing(authority, documents, serve):
    pair = authority.issue(NAME, more=[documents.list_extension()])
    address = serve(pair)
    documents.documents["/1.crl"] = der_of(authority.revocation_list(pair, key=pki.new_key()))
    assert "crl-invalid" in checks.ids(look(authority, address, code=0), "info")
    documents.documents["/1.crl"] = der_of(authority.revocation_list(begin=pki._now() - 2 * pki.DAY, lifetime=pki.DAY))
    assert "crl-stale" in checks.ids(look(authority, address, code=0), "info")


def test_nothing_is_fetched_when_told_so(authority, documents, serve):
    pair = authority.issue(NAME, more=[documents.list_extension()])
    documents.documents["/1.crl"] = der_of(authority.revocation_list(pair))
    look(authority, serve(pair), "--no-fetch", code=0)
    assert documents.asked == []


def test_lists_of_the_operator(authority, serve, tmp_path):
    pair, other = authority.issue(NAME), authority.issue("other.test")
    address, path = serve(pair), tmp_path / "lists.pem"
    path.write_bytes(authority.revocation_list(other))
    look(authority, address, "--crl", str(path), code=0)
    path.write_bytes(authority.revocation_list(other, pair))
    assert "certificate-revoked" in checks.ids(look(authority, address, "--crl", str(path), code=2))
    chain, _ = pair.write(tmp_path, "on-disk")
    on_disk = checks.endpoints(f"file:{chain}", "--name", NAME, "--store", str(authority.root_path), "--crl", str(path),
                               code=2)[0]
    assert "certificate-revoked" in checks.ids(on_disk)
    path.write_bytes(b"no list")
    assert "no revocation list" in checks.check(address, "--crl", str(path), code=3).stderr


def test_lists_signed_by_another_key(authority, serve, tmp_path):
    """The certificate of that key stands beside the list, or is sent by the server."""
    key, pair = pki.new_key(), authority.issue(NAME)
    signer, stranger = authority.issue_list_signer(key), pki.Authority(tmp_path, "Other").issue_list_signer(
        key, authority.intermediate.subject)
    address, path = serve(pair), tmp_path / "lists.pem"

    def judged(*certificates, revoked=(), address=address, code=0):
        path.write_bytes(b"".join(certificates) + authority.revocation_list(*revoked, key=key))
        return look(authority, address, "--crl", str(path), code=code)

    assert status(judged()) == "untrusted"
    assert status(judged(stranger, revoked=[pair])) == "untrusted"
    assert status(judged(signer)) == "good"
    assert "certificate-revoked" in checks.ids(judged(signer, revoked=[pair], code=2))
    sent = serve(pki.Pair(pair.certificate, [authority.intermediate, x509.load_pem_x509_certificate(signer)], pair.key))
    assert status(judged(address=sent)) == "good"
    assert "lists.pem" in checks.check(address, "--crl", str(broken_beside(path)), code=3).stderr


def broken_beside(path):
    path.write_bytes(path.read_bytes() + b"-----BEGIN CERTIFICATE-----\nMAA=\n-----END CERTIFICATE-----\n")
    return path


# ---- changes of revocation lists (delta lists) ----

HOLD, REMOVED = x509.ReasonFlags.certificate_hold, x509.ReasonFlags.remove_from_crl


def status(endpoint):
    """Of the leaf."""
    return endpoint["revocation_lists"][0]["status"]


def test_changes_of_the_operator(authority, serve, tmp_path):
    """A certificate that only the changes list, one that they lift, and what they cannot be counted on."""
    pair = authority.issue(NAME)
    address, path = serve(pair), tmp_path / "lists.pem"

    def judged(*lists, code):
        path.write_bytes(b"".join(lists))
        return look(authority, address, "--crl", str(path), "--no-fetch", code=code)

    complete, held = authority.revocation_list(), authority.revocation_list(pair, reason=HOLD)
    revoking = authority.revocation_list(pair, number=2, changes=1)
    lifting = authority.revocation_list(pair, number=2, changes=1, reason=REMOVED)
    assert "certificate-revoked" in checks.ids(judged(complete, revoking, code=2))
    assert "certificate-revoked" in checks.ids(judged(revoking, code=2))
    assert "certificate-revoked" in checks.ids(judged(held, code=2))
    counted = judged(held, lifting, code=0)
    assert status(counted) == "good" and counted["revocation_lists"][0]["changes"] == str(path)
    assert status(judged(lifting, code=0)) == "unsupported"

    ended = authority.revocation_list(begin=pki._now() - 2 * pki.DAY, lifetime=pki.DAY)
    assert status(judged(ended, lifting, code=0)) == "good"
    later = authority.revocation_list(number=9, changes=8)
    assert status(judged(ended, later, code=0)) == "stale"
    unused = judged(complete, later, code=0)
    finding, = [finding for finding in unused["findings"] if finding["id"] == "crl-changes-unused"]
    assert finding["severity"] == "info" and "changes a later complete list" in finding["evidence"]
    assert str(path) in finding["evidence"]


def freshest(documents, path="/changes.crl"):
    name = x509.UniformResourceIdentifier(documents.url(path))
    return x509.FreshestCRL([x509.DistributionPoint([name], None, None, None)])


@pytest.mark.parametrize("named_by", ["certificate", "list"])
def test_changes_are_fetched(authority, documents, serve, named_by):
    more = [freshest(documents)]
    pair = authority.issue(NAME, more=[documents.list_extension(), *(more if named_by == "certificate" else [])])
    address = serve(pair)
    documents.documents["/1.crl"] = der_of(authority.revocation_list(more=more if named_by == "list" else ()))

    documents.documents["/changes.crl"] = der_of(authority.revocation_list(pair, number=2, changes=1))
    revoked = look(authority, address, code=2)
    finding, = [finding for finding in revoked["findings"] if finding["id"] == "certificate-revoked"]
    assert finding["evidence"] == documents.url("/changes.crl")
    assert documents.asked == ["/1.crl", "/changes.crl"]

    documents.documents["/changes.crl"] = der_of(authority.revocation_list(number=2, changes=1))
    good = look(authority, address, code=0)
    assert good["revocation_lists"][0]["changes"] == documents.url("/changes.crl")
    assert not [name for name in checks.ids(good) if name.startswith("crl")]

    for document, words in ((None, "404"), (der_of(authority.revocation_list(number=2, changes=1, key=pki.new_key())),
                                            "is not signed by")):
        documents.documents["/changes.crl"] = document
        unused = look(authority, address, code=0)
        finding, = [finding for finding in unused["findings"] if finding["id"] == "crl-changes-unused"]
        assert words in finding["evidence"] and status(unused) == "good"


def test_changes_of_the_operators_list_are_fetched(authority, documents, serve, tmp_path):
    """Its list names where; one that has ended lives on with them."""
    pair, path = authority.issue(NAME), tmp_path / "list.pem"
    address = serve(pair)
    path.write_bytes(authority.revocation_list(more=[freshest(documents)], begin=pki._now() - 2 * pki.DAY, lifetime=pki.DAY))
    documents.documents["/changes.crl"] = der_of(authority.revocation_list(number=2, changes=1))
    assert status(look(authority, address, "--crl", str(path), code=0)) == "good"
    documents.documents["/changes.crl"] = der_of(authority.revocation_list(pair, number=2, changes=1))
    assert "certificate-revoked" in checks.ids(look(authority, address, "--crl", str(path), code=2))
    assert documents.asked == ["/changes.crl"] * 2
    assert status(look(authority, address, "--crl", str(path), "--no-fetch", code=0)) == "stale"


# ---- staples ----

def staple(authority, pair, *, status=ocsp.OCSPCertStatus.GOOD, begin=None, lifetime=24 * HOUR, signer=None):
    begin, signer = begin or pki._now() - HOUR, signer or authority
    is_revoked = status == ocsp.OCSPCertStatus.REVOKED
    return (ocsp.OCSPResponseBuilder()
            .add_response(cert=pair.certificate, issuer=authority.intermediate, algorithm=hashes.SHA1(), cert_status=status,
                          this_update=begin, next_update=begin + lifetime,
                          revocation_time=begin if is_revoked else None,
                          revocation_reason=x509.ReasonFlags.key_compromise if is_revoked else None)
            .responder_id(ocsp.OCSPResponderEncoding.HASH, signer.intermediate)
            .sign(signer.key, hashes.SHA256()).public_bytes(serialization.Encoding.DER))


def free_port():
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return sock.getsockname()[1]


def accepts(port):
    with socket.socket() as sock:
        return sock.connect_ex(("127.0.0.1", port)) == 0


@pytest.fixture
def stapling(tmp_path):
    """Starts openssl s_server or nginx with a response on disk; gives the address."""
    running = []

    def openssl(pair, response):
        chain, key = pair.write(tmp_path, f"staple-{len(running)}")
        path, port = tmp_path / f"{len(running)}.ocsp", free_port()
        path.write_bytes(response)
        return port, ["openssl", "s_server", "-accept", f"127.0.0.1:{port}", "-cert", chain, "-cert_chain", chain,
                      "-key", key, "-status_file", path, "-quiet"]

    def nginx(pair, response):
        chain, key = pair.write(tmp_path, f"staple-{len(running)}")
        path, port, folder = tmp_path / f"{len(running)}.ocsp", free_port(), tmp_path / f"nginx-{len(running)}"
        folder.mkdir()
        path.write_bytes(response)
        (folder / "nginx.conf").write_text(f"""
            daemon off; pid {folder}/pid; error_log {folder}/error.log;
            events {{}}
            http {{
                access_log off;
                client_body_temp_path {folder}/1; proxy_temp_path {folder}/2; fastcgi_temp_path {folder}/3;
                uwsgi_temp_path {folder}/4; scgi_temp_path {folder}/5;
                server {{
                    listen 127.0.0.1:{port} ssl; ssl_certificate {chain}; ssl_certificate_key {key};
                    ssl_stapling on; ssl_stapling_file {path};
                }}
            }}""")
        return port, ["nginx", "-c", folder / "nginx.conf", "-p", folder, "-e", folder / "error.log"]

    def start(pair, response, server="openssl"):
        if shutil.which(server) is None:
            pytest.skip(f"{server} is not installed")
        port, command = {"openssl": openssl, "nginx": nginx}[server](pair, response)
        running.append(subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL,
                                        stderr=subprocess.DEVNULL))
        wait_until(functools.partial(accepts, port), message=f"{server} does not listen")
        return f"127.0.0.1:{port}"

    yield start
    for process in running:
        process.terminate()
        process.wait()


@pytest.mark.parametrize("server", ["openssl", "nginx"])
def test_a_good_staple(authority, stapling, server):
    pair = authority.issue(NAME)
    endpoint = look(authority, stapling(pair, staple(authority, pair), server), "--require-staple", code=0)
    assert endpoint["staple"]["present"] and endpoint["staple"]["status"] == "good"
    assert not [name for name in checks.ids(endpoint) if name.startswith("staple")]


@pytest.mark.parametrize("server", ["openssl", "nginx"])
def test_a_revoked_staple(authority, stapling, server):
    pair = authority.issue(NAME)
    endpoint = look(authority, stapling(pair, staple(authority, pair, status=ocsp.OCSPCertStatus.REVOKED), server), code=2)
    assert "certificate-revoked" in checks.ids(endpoint, "critical")


@pytest.mark.parametrize("options, finding", [
    ({"begin": pki._now() - 3 * pki.DAY, "lifetime": pki.DAY}, "staple-stale"),
    ({"begin": pki._now() - 6 * HOUR, "lifetime": 8 * HOUR}, "staple-ageing"),
    ({"status": ocsp.OCSPCertStatus.UNKNOWN}, "staple-unknown"),
])
def test_bad_staples(authority, stapling, options, finding):
    pair = authority.issue(NAME)
    address = stapling(pair, staple(authority, pair, **options))
    assert finding in checks.ids(look(authority, address, code=1), "warning")
    if finding != "staple-ageing":
        assert finding in checks.ids(look(authority, address, "--require-staple", code=2), "critical")


def test_staples_of_others(authority, stapling, tmp_path):
    pair, other = authority.issue(NAME), authority.issue(NAME)
    stranger = staple(authority, pair, signer=pki.Authority(tmp_path, "Other"))
    assert "staple-invalid" in checks.ids(look(authority, stapling(pair, stranger), code=1), "warning")
    assert "staple-invalid" in checks.ids(look(authority, stapling(pair, staple(authority, other)), code=1), "warning")


def test_must_staple(authority, serve, stapling):
    pair = authority.issue(NAME, more=[x509.TLSFeature([x509.TLSFeatureType.status_request])])
    assert "staple-missing" in checks.ids(look(authority, serve(pair), code=2), "critical")
    look(authority, stapling(pair, staple(authority, pair)), code=0)


def test_no_staple_is_normal(authority, serve):
    assert not [name for name in checks.ids(look(authority, serve(authority.issue(NAME)), code=0))
                if name.startswith("staple")]


# ---- the rest ----

def test_a_browser_fetches_what_is_missing(authority, documents, serve):
    where = x509.AuthorityInformationAccess([x509.AccessDescription(
        x509.AuthorityInformationAccessOID.CA_ISSUERS, x509.UniformResourceIdentifier(documents.url("/ca.der")))])
    pair = authority.issue(NAME, more=[where])
    documents.documents["/ca.der"] = authority.intermediate.public_bytes(serialization.Encoding.DER)
    address = serve(pki.Pair(pair.certificate, [], pair.key))
    assert "chain-browsers-only" not in checks.ids(look(authority, address, code=2))
    assert documents.asked == []
    endpoint = look(authority, address, "--browser", code=2)
    assert "chain-browsers-only" in checks.ids(endpoint) and "chain-incomplete" in checks.ids(endpoint, "critical")


def test_the_renewal_window(authority, documents, serve):
    pair = authority.issue(NAME)
    begin, end = pki._now() + 20 * pki.DAY, pki._now() + 22 * pki.DAY
    documents.documents["/directory"] = json.dumps({"renewalInfo": documents.url("/renewal")}).encode()
    documents.documents[f"/renewal/{checks.renewal_name(pair)}"] = json.dumps({"suggestedWindow": {
        "start": f"{begin:%Y-%m-%dT%H:%M:%SZ}", "end": f"{end:%Y-%m-%dT%H:%M:%SZ}"}}).encode()
    endpoint = look(authority, serve(pair), "--ari", documents.url("/directory"), code=0)
    assert endpoint["renewal"]["window_end"].startswith(f"{end:%Y-%m-%dT%H:%M:%S}")


def test_wrong_list_of_logs(tmp_path):
    path = tmp_path / "logs.json"
    path.write_text("{}")
    assert "no usable log" in checks.check(NAME, "--log-list", str(path), code=3).stderr
