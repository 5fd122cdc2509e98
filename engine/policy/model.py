"""What goes to a policy pack and what comes back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from engine.model import CustomTimeouts
from engine.values import PropertyMap

LEVELS = ("advisory", "mandatory", "disabled", "remediate")
"""Enforcement levels, in the order of their numbers in Pulumi's protocol."""
SEVERITIES = ("", "low", "medium", "high", "critical")


class PolicyError(Exception):
    """A pack cannot be used: not found, badly configured, broken or dead. The message is for the user."""


@dataclass(frozen=True)
class PolicyOptions:
    """The resource options a policy may judge."""

    protect: bool = False
    ignore_changes: Sequence[str] = ()
    delete_before_replace: bool | None = None
    aliases: Sequence[str] = ()
    custom_timeouts: CustomTimeouts = field(default_factory=CustomTimeouts)
    additional_secret_outputs: Sequence[str] = ()
    parent: str = ""


@dataclass(frozen=True)
class PolicyProvider:
    """The provider resource that manages a resource."""

    urn: str
    type: str
    name: str
    properties: PropertyMap = field(default_factory=dict)


@dataclass(frozen=True)
class PolicyResource:
    """A resource as a policy sees it: inputs before its step, outputs in the analysis of the whole stack.

    `parent`, `dependencies` and `property_dependencies` (URNs) are read in the analysis of the whole stack only.
    """

    urn: str
    type: str
    name: str
    properties: PropertyMap
    options: PolicyOptions = field(default_factory=PolicyOptions)
    provider: PolicyProvider | None = None
    parent: str = ""
    dependencies: Sequence[str] = ()
    property_dependencies: Mapping[str, Sequence[str]] = field(default_factory=dict)


@dataclass(frozen=True)
class PolicyInfo:
    """One policy of a pack. `kind`: resource, stack, or "" from a pack too old to say. `level` is the one in force."""

    name: str
    description: str
    kind: str
    level: str


@dataclass(frozen=True)
class PolicyDiagnostic:
    """One finding. `urn` is empty if the policy named no resource; `message` begins with the policy's description."""

    policy_name: str
    pack: str
    version: str
    description: str
    message: str
    level: str
    urn: str = ""
    severity: str = ""


@dataclass(frozen=True)
class Analysis:
    """What a pack says of a resource or a stack. `not_applicable`: policy name -> reason."""

    diagnostics: Sequence[PolicyDiagnostic] = ()
    not_applicable: Mapping[str, str] = field(default_factory=dict)

    @property
    def mandatory(self) -> bool:
        """Whether this must fail the run."""
        return any(violates(d) for d in self.diagnostics)


@dataclass(frozen=True)
class Remediation:
    """One remediation that ran: new properties, or a diagnostic that tells why it could not."""

    policy: str
    description: str
    properties: PropertyMap | None
    diagnostic: str = ""


@dataclass(frozen=True)
class Remediated:
    """The remediations of one resource in the order they were applied, each on top of the one before."""

    remediations: Sequence[Remediation] = ()
    not_applicable: Mapping[str, str] = field(default_factory=dict)

    def properties(self, before: PropertyMap) -> PropertyMap:
        """The properties after all of them."""
        return next((r.properties for r in reversed(self.remediations) if r.properties is not None), before)


def violates(diagnostic: PolicyDiagnostic) -> bool:
    """Whether a finding is of a level that fails the run."""
    return diagnostic.level in ("mandatory", "remediate")
