"""The cluster's own certificate authorities and certificates.

Three authorities: one for everything; one for the API server's identity towards extension servers (whoever it signs may
speak in any user's name) and one for etcd (whoever it signs reads everything), so that no ordinary certificate opens
those. Leaves are valid for a year and reissued by the next `up` in their last month, or when their names change; the
authorities stay, so a kubeconfig handed out keeps working.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from cluster import addresses as at

LEAF_DAYS = 365
AUTHORITY_DAYS = 3650
RENEW_DAYS = 30
CA = "ca"
FRONT_PROXY_CA = "front-proxy-ca"
ETCD_CA = "etcd-ca"
AUTHORITIES = (CA, FRONT_PROXY_CA, ETCD_CA)
SERVICE_ACCOUNT = "service-account"
"""The key that signs service account tokens; a pair of keys without a certificate."""


@dataclass(frozen=True)
class Leaf:
    """A certificate to be issued. With `names` it serves; with `client` it may be shown to a server."""

    file: str
    common_name: str
    groups: tuple[str, ...] = ()
    names: tuple[str, ...] = ()
    client: bool = True
    authority: str = CA


_LOCAL = (at.LOOPBACK, "localhost")
LEAVES = (
    Leaf("admin", "sophia-admin", ("system:masters",)),
    Leaf(
        "apiserver",
        "kube-apiserver",
        names=(
            *_LOCAL,
            at.NODE_IP,
            at.API_SERVICE_IP,
            "kubernetes",
            "kubernetes.default",
            "kubernetes.default.svc",
            f"kubernetes.default.svc.{at.CLUSTER_DOMAIN}",
        ),
        client=False,
    ),
    Leaf("apiserver-kubelet", "kube-apiserver-kubelet-client", ("system:masters",)),
    Leaf("apiserver-etcd", "kube-apiserver-etcd-client", authority=ETCD_CA),
    Leaf("etcd", "etcd", names=_LOCAL, authority=ETCD_CA),
    Leaf("controller-manager", "system:kube-controller-manager", names=_LOCAL),
    Leaf("scheduler", "system:kube-scheduler", names=_LOCAL),
    Leaf("kubelet", f"system:node:{at.NODE_NAME}", ("system:nodes",)),
    Leaf("kubelet-serving", f"system:node:{at.NODE_NAME}", ("system:nodes",), (at.NODE_NAME, at.NODE_IP), client=False),
    Leaf("kube-proxy", "system:kube-proxy"),
    Leaf("coredns", "sophia:coredns"),
    Leaf("local-path", "sophia:local-path"),
    Leaf("kwok", "sophia:kwok", ("system:masters",)),
    Leaf(
        "metrics-server",
        "sophia:metrics-server",
        names=(at.NODE_IP, "metrics-server.kube-system", "metrics-server.kube-system.svc"),
    ),
    Leaf("front-proxy", "front-proxy-client", authority=FRONT_PROXY_CA),
)


def ensure_all(pki: Path, leaves: Sequence[Leaf] = LEAVES, now: datetime | None = None) -> list[str]:
    """Makes what is missing or due below `pki` (0700; keys 0600). Returns the names of what was made."""
    moment = now or datetime.now(UTC)
    pki.mkdir(parents=True, exist_ok=True)
    pki.chmod(0o700)
    made = [name for name in AUTHORITIES if _ensure_authority(pki, name, moment)]
    for leaf in leaves:
        if leaf.authority in made or _is_due(pki, leaf, moment):
            _issue(pki, leaf, moment)
            made.append(leaf.file)
    if not key_path(pki, SERVICE_ACCOUNT).exists():
        _write_service_account_key(pki)
        made.append(SERVICE_ACCOUNT)
    return made


def certificate_path(pki: Path, name: str) -> Path:
    return pki / f"{name}.crt"


def key_path(pki: Path, name: str) -> Path:
    return pki / f"{name}.key"


def write_private(path: Path, content: bytes) -> None:
    """Writes a file that only its owner can read, complete or not at all."""
    part = path.with_name(path.name + ".part")
    part.unlink(missing_ok=True)
    with os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as out:
        out.write(content)
    part.replace(path)


def _name(common_name: str, groups: Sequence[str] = ()) -> x509.Name:
    parts = [x509.NameAttribute(NameOID.ORGANIZATION_NAME, g) for g in groups]
    return x509.Name([*parts, x509.NameAttribute(NameOID.COMMON_NAME, common_name)])


def _general_names(names: Sequence[str]) -> list[x509.GeneralName]:
    return [_general_name(n) for n in names]


def _general_name(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def _ensure_authority(pki: Path, name: str, now: datetime) -> bool:
    if certificate_path(pki, name).exists() and key_path(pki, name).exists():
        return False
    key = ec.generate_private_key(ec.SECP256R1())
    subject = _name(f"sophia {name}")
    builder = _builder(subject, subject, key.public_key(), now, AUTHORITY_DAYS)
    builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
    builder = builder.add_extension(_key_usage(authority=True), critical=True)
    _store(pki, name, key, builder.sign(key, hashes.SHA256()))
    return True


def _is_due(pki: Path, leaf: Leaf, now: datetime) -> bool:
    if not (certificate_path(pki, leaf.file).exists() and key_path(pki, leaf.file).exists()):
        return True
    have = x509.load_pem_x509_certificate(certificate_path(pki, leaf.file).read_bytes())
    if have.not_valid_after_utc - now < timedelta(days=RENEW_DAYS):
        return True
    return have.subject != _name(leaf.common_name, leaf.groups) or _names_in(have) != set(_general_names(leaf.names))


def _names_in(certificate: x509.Certificate) -> set[x509.GeneralName]:
    try:
        return set(certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value)
    except x509.ExtensionNotFound:
        return set()


def _issue(pki: Path, leaf: Leaf, now: datetime) -> None:
    authority = x509.load_pem_x509_certificate(certificate_path(pki, leaf.authority).read_bytes())
    signer = serialization.load_pem_private_key(key_path(pki, leaf.authority).read_bytes(), password=None)
    if not isinstance(signer, ec.EllipticCurvePrivateKey):
        raise TypeError(f"{key_path(pki, leaf.authority)} is not an elliptic curve key")
    key = ec.generate_private_key(ec.SECP256R1())
    builder = _builder(_name(leaf.common_name, leaf.groups), authority.subject, key.public_key(), now, LEAF_DAYS)
    builder = builder.add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
    builder = builder.add_extension(_key_usage(authority=False), critical=True)
    uses = [ExtendedKeyUsageOID.CLIENT_AUTH] if leaf.client else []
    if leaf.names:
        uses.append(ExtendedKeyUsageOID.SERVER_AUTH)
        builder = builder.add_extension(x509.SubjectAlternativeName(_general_names(leaf.names)), critical=False)
    builder = builder.add_extension(x509.ExtendedKeyUsage(uses), critical=False)
    builder = builder.add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key()), critical=False)
    _store(pki, leaf.file, key, builder.sign(signer, hashes.SHA256()))


def _builder(subject: x509.Name, issuer: x509.Name, public: ec.EllipticCurvePublicKey, now: datetime, days: int) -> x509.CertificateBuilder:
    # an hour back: clocks of a container or a virtual machine may lag behind the host's
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(public)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(days=days))
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)
    )


def _key_usage(*, authority: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=True,
        content_commitment=False,
        key_encipherment=not authority,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=authority,
        crl_sign=authority,
        encipher_only=False,
        decipher_only=False,
    )


def _pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())


def _store(pki: Path, name: str, key: ec.EllipticCurvePrivateKey, certificate: x509.Certificate) -> None:
    write_private(key_path(pki, name), _pem(key))
    certificate_path(pki, name).write_bytes(certificate.public_bytes(serialization.Encoding.PEM))


def _write_service_account_key(pki: Path) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    public = key.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    (pki / f"{SERVICE_ACCOUNT}.pub").write_bytes(public)
    write_private(key_path(pki, SERVICE_ACCOUNT), _pem(key))
