"""Policy packs: hosts them as analyzer processes, as the Pulumi CLI does, and says what they found in its events."""

from engine.policy.events import (
    analysis_events,
    remediation_events,
    stack_analysis_events,
    violates,
)
from engine.policy.model import (
    Analysis,
    PolicyDiagnostic,
    PolicyError,
    PolicyInfo,
    PolicyOptions,
    PolicyProvider,
    PolicyResource,
    Remediated,
    Remediation,
)
from engine.policy.pack import PolicyPack

__all__ = [
    "Analysis",
    "PolicyDiagnostic",
    "PolicyError",
    "PolicyInfo",
    "PolicyOptions",
    "PolicyPack",
    "PolicyProvider",
    "PolicyResource",
    "Remediated",
    "Remediation",
    "analysis_events",
    "remediation_events",
    "stack_analysis_events",
    "violates",
]
