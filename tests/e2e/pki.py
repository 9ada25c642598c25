"""Certificates for the tests: a root, an intermediate, and leaves of any names, key type and time window."""

import datetime
import hashlib
import ipaddress
import os
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

DAY = datetime.timedelta(days=1)
_rsa_keys = []


def _now():
    return datetime.datetime.utcnow().replace(microsecond=0)


def new_key(key_type="ecdsa", bits=2048):
    if key_type == "ecdsa":
        return ec.generate_private_key(ec.SECP256R1())
    if bits != 2048:
        return rsa.generate_private_key(65537, bits)
    # RSA keys are slow to make; two that take turns are enough to tell a replacement from its predecessor.
    if len(_rsa_keys) < 2:
        _rsa_keys.append(rsa.generate_private_key(65537, 2048))
    else:
        _rsa_keys.append(_rsa_keys.pop(0))
    return _rsa_keys[-1]


def _pem(certificate):
    return certificate.public_bytes(serialization.Encoding.PEM)


def _subject(name):
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])


def _general_name(name):
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)


class Pair:
    """One leaf with its chain and its key."""

    def __init__(self, certificate, issuers, key):
        self.certificate = certificate
        self.key = key
        self.leaf_pem = _pem(certificate)
        self.chain_pem = self.leaf_pem + b"".join(_pem(issuer) for issuer in issuers)
        self.key_pem = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        self.fingerprint = hashlib.sha256(certificate.public_bytes(serialization.Encoding.DER)).hexdigest()

    def write(self, folder, name="leaf"):
        """Writes NAME.pem and NAME.key, each by atomic rename; returns both paths."""
        chain, key = Path(folder) / f"{name}.pem", Path(folder) / f"{name}.key"
        replace_file(key, self.key_pem)
        replace_file(chain, self.chain_pem)
        return chain, key


def replace_file(path, data, mode=0o600):
    """Writes a file beside `path` and renames it over `path`."""
    temporary = Path(f"{path}.new")
    temporary.write_bytes(data)
    temporary.chmod(mode)
    os.rename(temporary, path)


def many_authorities_pem(count):
    """So many roots, each with a name of about 240 bytes."""
    key = new_key()
    pem = b""
    for number in range(count):
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"root {number}"),
                          *(x509.NameAttribute(kind, "x" * 64) for kind in (
                              NameOID.ORGANIZATION_NAME, NameOID.ORGANIZATIONAL_UNIT_NAME, NameOID.LOCALITY_NAME))])
        pem += _pem(x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
                    .serial_number(number + 1).not_valid_before(_now() - DAY).not_valid_after(_now() + DAY)
                    .add_extension(x509.BasicConstraints(True, None), True).sign(key, hashes.SHA256()))
    return pem


class Authority:
    """A root that clients trust and an intermediate that signs leaves."""

    def __init__(self, folder, name="Holdfast test"):
        self.root_key, self.key = new_key(), new_key()
        self.root = self._sign(_subject(f"{name} root"), self.root_key.public_key(), _subject(f"{name} root"),
                               self.root_key, [(x509.BasicConstraints(True, 1), True)])
        self.intermediate = self._sign(_subject(f"{name} intermediate"), self.key.public_key(), self.root.subject,
                                       self.root_key, [(x509.BasicConstraints(True, 0), True)])
        self.root_path = Path(folder) / f"{name.replace(' ', '-').lower()}-root.pem"
        self.root_path.write_bytes(_pem(self.root))
        self.root_path.chmod(0o644)

    def _sign(self, subject, public_key, issuer, issuer_key, extensions, not_before=None, lifetime=3650 * DAY):
        not_before = not_before or _now() - DAY
        authority = any(isinstance(value, x509.BasicConstraints) and value.ca for value, _ in extensions)
        builder = (x509.CertificateBuilder()
                   .subject_name(subject)
                   .issuer_name(issuer)
                   .public_key(public_key)
                   .serial_number(x509.random_serial_number())
                   .not_valid_before(not_before)
                   .not_valid_after(not_before + lifetime)
                   .add_extension(x509.SubjectKeyIdentifier.from_public_key(public_key), False)
                   .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer_key.public_key()), False)
                   .add_extension(x509.KeyUsage(not authority, False, False, False, False, authority, authority,
                                                False, False), True))
        for value, critical in extensions:
            builder = builder.add_extension(value, critical)
        return builder.sign(issuer_key, hashes.SHA256())

    def issue(self, *names, key_type="ecdsa", key=None, not_before=None, lifetime=90 * DAY,
              usage=ExtendedKeyUsageOID.SERVER_AUTH, bits=2048, more=()):
        """A fresh leaf for `names` (DNS names or IP addresses), with `more` extensions that are not critical."""
        key = key or new_key(key_type, bits)
        extensions = [(x509.BasicConstraints(False, None), True),
                      (x509.ExtendedKeyUsage([usage]), False),
                      (x509.SubjectAlternativeName([_general_name(name) for name in names]), False),
                      *((value, False) for value in more)]
        leaf = self._sign(_subject(names[0]), key.public_key(), self.intermediate.subject, self.key, extensions,
                          not_before, lifetime)
        return Pair(leaf, [self.intermediate], key)

    def issue_client(self, name, **options):
        return self.issue(name, usage=ExtendedKeyUsageOID.CLIENT_AUTH, **options)

    def issue_list_signer(self, key, name=None):
        """In PEM: a certificate of the intermediate's name (or `name`), by the root, of a key for revocation lists alone."""
        name = name or self.intermediate.subject
        builder = (x509.CertificateBuilder()
                   .subject_name(name)
                   .issuer_name(self.root.subject)
                   .public_key(key.public_key())
                   .serial_number(x509.random_serial_number())
                   .not_valid_before(_now() - DAY)
                   .not_valid_after(_now() + 90 * DAY)
                   .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), False)
                   .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(self.root_key.public_key()), False)
                   .add_extension(x509.KeyUsage(False, False, False, False, False, False, True, False, False), True))
        return _pem(builder.sign(self.root_key, hashes.SHA256()))

    def authorities_pem(self):
        """What a listener trusts clients by: the root, and the intermediate because it signs revocation lists."""
        return _pem(self.root) + _pem(self.intermediate)

    def renewed_authorities_pem(self):
        """The same CAs with fresh certificates."""
        root = self._sign(self.root.subject, self.root_key.public_key(), self.root.subject, self.root_key,
                          [(x509.BasicConstraints(True, 1), True)])
        intermediate = self._sign(self.intermediate.subject, self.key.public_key(), self.root.subject, self.root_key,
                                  [(x509.BasicConstraints(True, 0), True)])
        return _pem(root) + _pem(intermediate)

    def ended_root_pem(self):
        """The root as old devices have it: it has ended."""
        return _pem(self._sign(self.root.subject, self.root_key.public_key(), self.root.subject, self.root_key,
                               [(x509.BasicConstraints(True, 1), True)], _now() - 400 * DAY, 399 * DAY))

    def revocation_list(self, *revoked, number=1, begin=None, lifetime=30 * DAY, key=None, changes=None, reason=None, more=()):
        """A list of the intermediate's, in PEM, of these pairs; signed with `key` instead of its own. With `changes` a delta
        list of the one with that number."""
        begin = begin or _now() - datetime.timedelta(hours=1)
        builder = (x509.CertificateRevocationListBuilder()
                   .issuer_name(self.intermediate.subject)
                   .last_update(begin)
                   .next_update(begin + lifetime)
                   .add_extension(x509.CRLNumber(number), False)
                   .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key((key or self.key).public_key()), False))
        if changes is not None:
            builder = builder.add_extension(x509.DeltaCRLIndicator(changes), True)
        for extension in more:
            builder = builder.add_extension(extension, False)
        for pair in revoked:
            entry = x509.RevokedCertificateBuilder().serial_number(pair.certificate.serial_number).revocation_date(begin)
            if reason is not None:
                entry = entry.add_extension(x509.CRLReason(reason), False)
            builder = builder.add_revoked_certificate(entry.build())
        return builder.sign(key or self.key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)
