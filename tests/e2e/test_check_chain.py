"""Chains and certificates as holdfast check judges them: the paths to each store, and for each defect a good and a bad one."""

from contextlib import closing
from datetime import datetime, timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

import pki
from checks import NAME, TlsServer, check, endpoints, ids

DAY = timedelta(days=1)


def pem(*certificates):
    return b"".join(certificate.public_bytes(serialization.Encoding.PEM) for certificate in certificates)


class Maker:
    """Certificates in which everything can be set; what is not is as it should be."""

    def __init__(self):
        self.keys = {}

    def key(self, name):
        return self.keys.setdefault(name, ec.generate_private_key(ec.SECP256R1()))

    def make(self, name, issuer=None, *, ca=False, key=None, begin=-10 * DAY, end=80 * DAY, names=(NAME,), serial=None,
             usage=ExtendedKeyUsageOID.SERVER_AUTH, extra=(), digest=hashes.SHA256()):
        key, issuer = key or self.key(name), issuer or name
        issuer_key, now = self.key(issuer), pki._now()
        subject, signer = (x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)]) for text in (name, issuer))
        builder = (x509.CertificateBuilder().subject_name(subject).issuer_name(signer).public_key(key.public_key())
                   .serial_number(serial or x509.random_serial_number()).not_valid_before(now + begin).not_valid_after(now + end)
                   .add_extension(x509.BasicConstraints(ca, None), True)
                   .add_extension(x509.KeyUsage(not ca, False, False, False, False, ca, ca, False, False), True)
                   .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), False)
                   .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer_key.public_key()), False))
        if not ca:
            builder = builder.add_extension(x509.SubjectAlternativeName([x509.DNSName(entry) for entry in names]), False)
        if not ca and usage is not None:
            builder = builder.add_extension(x509.ExtendedKeyUsage([usage]), False)
        for value, critical in extra:
            builder = builder.add_extension(value, critical)
        return builder.sign(issuer_key, digest)


@pytest.fixture
def maker():
    return Maker()


@pytest.fixture
def world(maker, folder):
    """leaf <- Middle <- Root: a file to judge, a store to judge it by."""
    root = maker.make("Root", ca=True, end=1000 * DAY)
    (folder / "root.pem").write_bytes(pem(root))
    return maker.make("Middle", "Root", ca=True, end=500 * DAY), root


def judged(folder, *chain, stores=("root.pem",), lasting=(), code=None, **options):
    """By `stores`, and by `lasting` ones, which ignore the ends of their anchors."""
    (folder / "chain.pem").write_bytes(pem(*chain))
    arguments = [word for store in stores for word in ("--store", folder / store)]
    arguments += [word for store in lasting for word in ("--store-ignoring-ends", folder / store)]
    arguments += [word for name, value in options.items() for word in (f"--{name}", value)]
    endpoint, = endpoints(f"file:{folder}/chain.pem", "--name", NAME, *arguments, code=code)
    return endpoint


# ---- certificate policies ----

def test_a_policy_that_is_demanded(maker, folder):
    def policies(*oids):
        return x509.CertificatePolicies([x509.PolicyInformation(x509.ObjectIdentifier(oid), None) for oid in oids]), False

    (folder / "root.pem").write_bytes(pem(maker.make("Root", ca=True, end=1000 * DAY)))
    middle = maker.make("Middle", "Root", ca=True, end=500 * DAY, extra=[policies("1.2.3.1", "1.2.3.2")])
    leaf = maker.make(NAME, "Middle", extra=[policies("1.2.3.2", "1.2.3.3")])
    wanted = {"require-policy": "1.2.3.2"}
    assert not ids(judged(folder, leaf, middle, code=0, **wanted), "critical")
    for other in ("1.2.3.1", "1.2.3.3", "1.2.3.4"):
        wanted = {"require-policy": other}
        assert ids(judged(folder, leaf, middle, code=2, **wanted), "critical") == ["chain-policy"]
    assert not ids(judged(folder, leaf, middle, code=0), "critical")


# ---- 30 September 2021 ----

@pytest.fixture
def cross_signed(maker, folder):
    """The new root, self-signed in a modern store, cross-signed by one that ends in five days for older ones."""
    old = maker.make("Old Root", ca=True, begin=-7000 * DAY, end=5 * DAY)
    root = maker.make("Root", ca=True, end=5000 * DAY)
    (folder / "old.pem").write_bytes(pem(old))
    (folder / "modern.pem").write_bytes(pem(root))
    (folder / "both.pem").write_bytes(pem(old, root))
    return [maker.make(NAME, "Middle"), maker.make("Middle", "Root", ca=True, end=900 * DAY),
            maker.make("Root", "Old Root", ca=True, end=1000 * DAY)]


def test_a_root_ends(cross_signed, folder):
    for store, outcome in (("old", "expired"), ("modern", "trusted"), ("both", "trusted")):
        after = judged(folder, *cross_signed, stores=[f"{store}.pem"], at="+6d", code=2 if store == "old" else 0)
        assert [trust["outcome"] for trust in after["trust"]] == [outcome]
    assert ids(judged(folder, *cross_signed, stores=["old.pem"], at="+6d"), "critical") == ["chain-expired"]


def test_old_devices_ignore_the_end_of_a_root(cross_signed, folder):
    """Android before 7.1.1 went on with DST Root CA X3."""
    after = judged(folder, *cross_signed, stores=[], lasting=["old.pem"], at="+6d", code=0)
    assert [trust["outcome"] for trust in after["trust"]] == ["trusted"]
    assert after["breaks_at"] == after["certificates"][0]["not_after"]
    differing = judged(folder, *cross_signed, stores=["old.pem"], lasting=["old.pem"], at="+6d", code=2)
    assert [trust["outcome"] for trust in differing["trust"]] == ["expired", "trusted"]


def test_what_ends_below_a_root_that_has_ended(maker, folder, cross_signed):
    """Only the anchor's end is ignored."""
    short = maker.make("Root", "Old Root", ca=True, end=10 * DAY)
    told = judged(folder, cross_signed[0], cross_signed[1], short, stores=[], lasting=["old.pem"], at="+6d")
    finding, = [finding for finding in told["findings"] if finding["id"] == "chain-breaks"]
    assert finding["certificate"] == told["certificates"][2]["sha256"]
    after = judged(folder, cross_signed[0], cross_signed[1], short, stores=[], lasting=["old.pem"], at="+11d", code=2)
    assert ids(after, "critical") == ["chain-expired"]


def test_what_will_break_is_told_before(cross_signed, folder):
    now = judged(folder, *cross_signed, stores=["modern.pem", "old.pem"], code=2)
    finding, = [finding for finding in now["findings"] if finding["id"] == "chain-breaks"]
    assert "Old Root" in finding["text"] and "old.pem" in finding["text"] and "+1 d trusted, +7 d expired" in finding["evidence"]
    modern, old = now["trust"]
    assert old["breaks_at"] < modern["breaks_at"] == now["certificates"][0]["not_after"]
    after = judged(folder, *cross_signed, stores=["modern.pem", "old.pem"], at="+6d", code=2)
    assert "chain-stores-differ" in ids(after, "info")


def test_an_expired_cross_sign_that_nobody_needs(maker, folder, world):
    """AddTrust 2020: no alarm for those who have the new root."""
    middle, _ = world
    cross = maker.make("Root", "AddTrust", ca=True, begin=-2000 * DAY, end=-DAY)
    assert ids(judged(folder, maker.make(NAME, "Middle"), middle, cross, code=1)) == ["chain-superfluous-expired"]


def test_four_generations(maker, folder, world):
    """leaf <- YE1 <- Root YE <- X2 <- X1, the last in the store: each link must be sent."""
    chain = [maker.make(NAME, "YE1"), maker.make("YE1", "Root YE", ca=True), maker.make("Root YE", "X2", ca=True),
             maker.make("X2", "Root", ca=True)]
    assert judged(folder, *chain, code=0)["trust"][0]["outcome"] == "trusted"
    for missing in (1, 2, 3):
        endpoint = judged(folder, *chain[:missing], *chain[missing + 1:], code=2)
        assert "chain-incomplete" in ids(endpoint, "critical")


# ---- each defect, beside a chain without any ----

def defects(maker):
    """(finding, certificate of the leaf); Middle is the issuer."""
    unknown = x509.UnrecognizedExtension(x509.ObjectIdentifier("1.2.3.4"), b"\x05\x00")
    broken = x509.UnrecognizedExtension(x509.ObjectIdentifier("1.3.6.1.5.5.7.1.1"), b"\x30\x03\x01")
    return {
        "certificate-expired": maker.make(NAME, "Middle", end=-DAY),
        "certificate-not-yet-valid": maker.make(NAME, "Middle", begin=DAY),
        "certificate-expires-soon": maker.make(NAME, "Middle", end=DAY),
        "name-mismatch": maker.make("other.test", "Middle", names=["other.test"]),
        "key-small": maker.make(NAME, "Middle", key=rsa.generate_private_key(65537, 1024)),
        "key-kind": maker.make(NAME, "Middle", key=ed25519.Ed25519PrivateKey.generate()),
        "key-curve": maker.make(NAME, "Middle", key=ec.generate_private_key(ec.SECP256K1())),
        "signature-weak": maker.make(NAME, "Middle", digest=hashes.SHA1()),
        "usage-extended-missing": maker.make(NAME, "Middle", usage=None),
        "usage-extended-wrong": maker.make(NAME, "Middle", usage=ExtendedKeyUsageOID.CLIENT_AUTH),
        "usage-leaf-is-authority": maker.make(NAME, "Middle", ca=True),
        "extension-unknown": maker.make(NAME, "Middle", extra=[(unknown, True)]),
        "extension-malformed": maker.make(NAME, "Middle", extra=[(broken, False)]),
        "lifetime-long": maker.make(NAME, "Middle", end=900 * DAY),
    }


def test_defects(maker, folder, world):
    middle, _ = world
    assert ids(judged(folder, maker.make(NAME, "Middle"), middle, code=0)) == []
    for finding, leaf in defects(maker).items():
        endpoint = judged(folder, leaf, middle)
        told, = [entry for entry in endpoint["findings"] if entry["id"] == finding]
        assert endpoint["verdict"] in ("warning", "critical") and told["next"]
        assert told["certificate"] == endpoint["certificates"][0]["sha256"], finding


def test_shape_of_the_chain(maker, folder, world):
    middle, root = world
    leaf, deep = maker.make(NAME, "Middle"), maker.make(NAME, "Below")
    below = maker.make("Below", "Middle", ca=True)
    for chain, finding, code in (([leaf, middle, root], "chain-root-sent", 0), ([leaf, middle, middle], "chain-duplicate", 0),
                                 ([deep, middle, below], "chain-order", 1), ([middle, leaf], "chain-leaf-not-first", 2)):
        assert finding in ids(judged(folder, *chain, code=code))


# ---- as served ----

def test_the_system_is_the_public(maker, folder, monkeypatch):
    """Below the system's roots the CA/Browser Forum's limits hold: 200 days for what was issued in April 2026."""
    root, middle = (maker.make(name, "Root", ca=True, begin=-9000 * DAY, end=9000 * DAY) for name in ("Root", "Middle"))
    (folder / "root.pem").write_bytes(pem(root))
    monkeypatch.setenv("SSL_CERT_FILE", str(folder / "root.pem"))
    begin = datetime(2026, 4, 1) - pki._now()
    for life, critical in ((199 * DAY, []), (201 * DAY, ["lifetime-long"])):
        pair = pki.Pair(maker.make(NAME, "Middle", begin=begin, end=begin + life), [middle], maker.key(NAME))
        with closing(TlsServer(folder, pair)) as server:
            endpoint, = endpoints(NAME, "--connect", server.address, "--at", "2026-04-10")
        assert ids(endpoint, "critical") == critical


def test_hostile_names_reach_nobody(maker, folder, world):
    """Ten thousand names, and a subject that would paint the terminal."""
    middle, _ = world
    names = [f"host{number}.example" for number in range(10000)]
    key = maker.key("\x1b[31mred")
    leaf = maker.make("\x1b[31mred", "Middle", key=key, names=[*names, NAME])
    (folder / "chain.pem").write_bytes(pem(leaf, middle))
    result = check(f"file:{folder}/chain.pem", "--name", NAME, "--store", folder / "root.pem", code=0)
    assert "\x1b" not in result.stdout + result.stderr
    endpoint = judged(folder, leaf, middle, code=0)
    assert "\x1b" not in endpoint["certificates"][0]["subject"]
