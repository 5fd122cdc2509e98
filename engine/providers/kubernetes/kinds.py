"""What is known of Kubernetes' own kinds without asking a server: their scope, and which SDK types are lists or patches."""

from __future__ import annotations

import functools
import json
from dataclasses import dataclass
from importlib import resources

from engine.model import urn_type
from engine.provider import ProviderError

Table = dict[str, dict[str, str]]


@dataclass(frozen=True, slots=True)
class Kind:
    group: str
    version: str
    kind: str

    @property
    def api_version(self) -> str:
        return f"{self.group}/{self.version}" if self.group else self.version

    @property
    def key(self) -> str:
        return f"{self.api_version}/{self.kind}"

    def __str__(self) -> str:
        return self.key


@functools.cache
def _tables() -> tuple[dict[str, str], Table]:
    loaded = json.loads(resources.files(__package__).joinpath("fields.json").read_text())
    kinds: dict[str, str] = loaded["kinds"]
    # Served by the API server, but by modules of their own; their fields are not normalized.
    for version in ("v1", "v1beta1"):
        kinds[f"apiextensions.k8s.io/{version}/CustomResourceDefinition"] = "c "
        kinds[f"apiregistration.k8s.io/{version}/APIService"] = "c "
    return kinds, loaded["types"]


def kinds() -> dict[str, str]:
    """`<apiVersion>/<kind>` to `<scope> <type>`; scope n: namespaced, c: cluster."""
    return _tables()[0]


def types() -> Table:
    """Type name to its fields in the notation of `generate_fields`."""
    return _tables()[1]


@functools.cache
def known_api_versions() -> frozenset[str]:
    return frozenset(key.rsplit("/", 1)[0] for key in kinds())


def kind_of_type(api_version: str, kind: str) -> Kind:
    group, slash, version = api_version.partition("/")
    if not slash:
        group, version = "", group
    return Kind("" if group == "core" else group, version, kind)


def kind_of_urn(urn: str) -> Kind:
    """The kind that a resource's type names: `kubernetes:apps/v1:Deployment`. Raises ProviderError for the package's other types."""
    package, _, rest = urn_type(urn).partition(":")
    module, _, name = rest.rpartition(":")
    group, slash, version = module.partition("/")
    if package != "kubernetes" or not slash or group in ("helm.sh", "yaml", "kustomize"):
        raise ProviderError(f"{urn}: the embedded engine has no support for this resource type; it needs the pulumi CLI.")
    return Kind("" if group == "core" else group, version, name)


def _variant(urn: str, suffix: str) -> Kind | None:
    kind = kind_of_urn(urn)
    if kind.kind.endswith(suffix):
        base = Kind(kind.group, kind.version, kind.kind.removesuffix(suffix))
        return base if base.key in kinds() else None
    return None


def is_list(urn: str) -> bool:
    return _variant(urn, "List") is not None


def is_patch(urn: str, kind: str) -> bool:
    """Whether a resource patches an object that something else made (`DeploymentPatch`, sent with kind Deployment)."""
    return not kind.endswith("Patch") and _variant(urn, "Patch") is not None


def is_namespaced(kind: Kind) -> bool | None:
    """Scope of one of Kubernetes' own kinds; None for all others."""
    entry = kinds().get(kind.key) or kinds().get(Kind(kind.group, kind.version, kind.kind.removesuffix("Patch")).key)
    return entry.startswith("n") if entry else None
