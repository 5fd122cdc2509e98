from __future__ import annotations

import stat
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from cluster import addresses as at
from cluster import certificates as certs
from cluster import kubeconfigs


@pytest.fixture(scope="module")
def pki(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("made") / "pki"
    certs.ensure_all(folder)
    return folder


def _load(pki: Path, name: str) -> x509.Certificate:
    return x509.load_pem_x509_certificate(certs.certificate_path(pki, name).read_bytes())


@pytest.mark.parametrize("leaf", certs.LEAVES, ids=lambda leaf: leaf.file)
def test_a_leaf_is_signed_by_its_authority_and_good_for_its_use_alone(pki: Path, leaf: certs.Leaf) -> None:
    made = _load(pki, leaf.file)
    made.verify_directly_issued_by(_load(pki, leaf.authority))
    uses = set(made.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value)
    assert (ExtendedKeyUsageOID.CLIENT_AUTH in uses) == leaf.client
    assert (ExtendedKeyUsageOID.SERVER_AUTH in uses) == bool(leaf.names)
    assert not made.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    groups = {a.value for a in made.subject.get_attributes_for_oid(NameOID.ORGANIZATION_NAME)}
    assert groups == set(leaf.groups)
    assert isinstance(made.public_key(), ec.EllipticCurvePublicKey)


@pytest.mark.parametrize("name", ["127.0.0.1", at.NODE_IP, at.API_SERVICE_IP])
def test_the_api_server_is_known_at_every_address_it_is_called(pki: Path, name: str) -> None:
    names = _load(pki, "apiserver").extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert name in {str(ip) for ip in names.get_values_for_type(x509.IPAddress)}


def test_only_administrators_are_masters() -> None:
    masters = {leaf.file for leaf in certs.LEAVES if "system:masters" in leaf.groups}
    assert masters == {"admin", "apiserver-kubelet", "kwok"}  # kwok only runs where no container does


def test_no_certificate_of_the_cluster_opens_etcd(pki: Path) -> None:
    openers = {leaf.file for leaf in certs.LEAVES if leaf.authority == certs.ETCD_CA}
    assert openers == {"etcd", "apiserver-etcd"}
    with pytest.raises(ValueError, match="Issuer"):
        _load(pki, "admin").verify_directly_issued_by(_load(pki, certs.ETCD_CA))


def test_keys_are_their_owners_alone(pki: Path) -> None:
    keys = list(pki.glob("*.key"))
    assert len(keys) == len(certs.LEAVES) + len(certs.AUTHORITIES) + 1
    assert {stat.S_IMODE(k.stat().st_mode) for k in keys} == {0o600}
    assert stat.S_IMODE(pki.stat().st_mode) == 0o700


def test_a_second_run_makes_nothing(pki: Path) -> None:
    assert certs.ensure_all(pki) == []


def test_leaves_are_renewed_in_their_last_month_and_authorities_stay(tmp_path: Path) -> None:
    certs.ensure_all(tmp_path)
    before = certs.certificate_path(tmp_path, certs.CA).read_bytes()
    later = datetime.now(UTC) + timedelta(days=certs.LEAF_DAYS - certs.RENEW_DAYS + 1)
    assert set(certs.ensure_all(tmp_path, now=later)) == {leaf.file for leaf in certs.LEAVES}
    assert certs.certificate_path(tmp_path, certs.CA).read_bytes() == before
    assert _load(tmp_path, "admin").not_valid_after_utc > later + timedelta(days=300)


def test_a_leaf_whose_names_changed_is_issued_again(tmp_path: Path) -> None:
    first = certs.Leaf("one", "one", names=("127.0.0.1",))
    certs.ensure_all(tmp_path, [first])
    assert certs.ensure_all(tmp_path, [first]) == []
    assert certs.ensure_all(tmp_path, [certs.Leaf("one", "one", names=("127.0.0.1", "10.0.0.1"))]) == ["one"]
    assert certs.ensure_all(tmp_path, [certs.Leaf("one", "other", names=("127.0.0.1", "10.0.0.1"))]) == ["one"]


def test_a_kubeconfig_verifies_the_server_and_is_private(pki: Path, tmp_path: Path) -> None:
    written = kubeconfigs.write(tmp_path / "kubeconfig", pki, "admin", "https://127.0.0.1:16443")
    assert stat.S_IMODE(written.stat().st_mode) == 0o600
    document = kubeconfigs.document(pki, "admin", "https://127.0.0.1:16443")
    cluster = document["clusters"][0]["cluster"]
    assert cluster["certificate-authority-data"]
    assert "insecure-skip-tls-verify" not in cluster
    assert document["current-context"] == "sophia-local"
