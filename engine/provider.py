"""The contract between the engine and a provider, in the words of Pulumi's ResourceProvider service.

Methods are synchronous and are called on worker threads, several at once. They may block, but must watch `Call.cancelled`.
Unless `accepts_secrets` is set, a provider sees plain values and the engine puts secretness back on what it returns.
"""

from __future__ import annotations

import enum
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from engine.values import PropertyMap, Value


class ProviderError(Exception):
    """An operation failed; nothing was changed. The message is for the user: what, why, what to do."""


class InitError(ProviderError):
    """The resource exists (id and outputs are known) but did not become ready; recorded as `initErrors` in state."""

    def __init__(self, message: str, *, id: str, inputs: PropertyMap | None, outputs: PropertyMap, reasons: Sequence[str]):
        super().__init__(message)
        self.id, self.inputs, self.outputs, self.reasons = id, inputs, outputs, list(reasons)


@dataclass(frozen=True)
class Call:
    """What every operation is told besides its values."""

    urn: str
    preview: bool
    cancelled: threading.Event
    """Set when the user asked to stop: wind up soon, leaving a state that can be continued from."""
    log: Callable[[str, str, bool], None] = lambda severity, message, ephemeral: None
    """log(severity, message, ephemeral). Severity: debug, info, info#err, warning, error. Ephemeral messages are live status only."""
    adopt: bool = False
    """Creating this was cut off in the last run: if it exists, with the same name, it is ours and is taken over."""
    timeout: float | None = None
    """Seconds from the resource's customTimeouts for this operation; None: the provider's default."""


class Changes(enum.Enum):
    """A provider's verdict. UNKNOWN: it cannot tell, the engine compares the inputs itself."""

    UNKNOWN = "unknown"
    NONE = "none"
    SOME = "some"


@dataclass(frozen=True)
class PropertyDiff:
    """One property that differs.

    kind: add, delete, update, each also with `-replace`. input_diff: between inputs rather than old outputs and new inputs.
    """

    kind: str
    input_diff: bool = False


@dataclass(frozen=True)
class Diff:
    """What would change. `replaces`: property paths that force a replacement; `diffs`: top-level keys that differ."""

    changes: Changes = Changes.UNKNOWN
    replaces: Sequence[str] = ()
    stables: Sequence[str] = ()
    diffs: Sequence[str] = ()
    detailed: dict[str, PropertyDiff] | None = None
    delete_before_replace: bool = False


@dataclass(frozen=True)
class CheckFailure:
    property: str
    reason: str


@dataclass(frozen=True)
class Checked:
    inputs: PropertyMap
    failures: Sequence[CheckFailure] = ()


@dataclass(frozen=True)
class Created:
    """In preview `id` is "" unless it is known already; outputs hold UNKNOWN where the update will decide."""

    id: str
    outputs: PropertyMap


@dataclass(frozen=True)
class Read:
    """A resource as it is now; `id` "" means that it is gone."""

    id: str
    inputs: PropertyMap
    outputs: PropertyMap
    init_errors: Sequence[str] = field(default_factory=tuple)


class Provider:
    """Base of all providers: every operation refuses, checks accept."""

    accepts_secrets = False
    package = ""

    def check_config(self, inputs: PropertyMap) -> PropertyMap:
        """Validates the configuration of a provider resource (values may be UNKNOWN in preview). Raises ProviderError."""
        return inputs

    def diff_config(self, old: PropertyMap, new: PropertyMap) -> Sequence[str]:
        """Paths of configuration whose change means that the provider, and all it made, has to be replaced."""
        return ()

    def configure(self, config: PropertyMap) -> None:
        """Called once before anything else, with `reveal`ed values. Must not touch the network (do it on first use)."""

    def check(self, call: Call, old_inputs: PropertyMap | None, inputs: PropertyMap, random_seed: bytes) -> Checked:
        """Validates and completes inputs (defaults, auto-naming from `random_seed`). `old_inputs` is None on create and on replacement."""
        return Checked(inputs)

    def diff(
        self, call: Call, id: str, old_inputs: PropertyMap, old_outputs: PropertyMap, inputs: PropertyMap, ignore_changes: Sequence[str]
    ) -> Diff:
        return Diff()

    def create(self, call: Call, inputs: PropertyMap) -> Created:
        raise self.unsupported(call)

    def update(
        self, call: Call, id: str, old_inputs: PropertyMap, old_outputs: PropertyMap, inputs: PropertyMap, ignore_changes: Sequence[str]
    ) -> PropertyMap:
        raise self.unsupported(call)

    def delete(self, call: Call, id: str, inputs: PropertyMap, outputs: PropertyMap) -> None:
        raise self.unsupported(call)

    def read(self, call: Call, id: str, inputs: PropertyMap | None, outputs: PropertyMap | None) -> Read:
        raise self.unsupported(call)

    def invoke(self, call: Call, token: str, args: PropertyMap) -> Value:
        """A function call; returns its result. `call.urn` is empty."""
        raise ProviderError(f"{token}: the embedded engine cannot call this function; it needs the pulumi CLI.")

    def close(self) -> None:
        """Called once at the end of the run."""

    def unsupported(self, call: Call) -> ProviderError:
        return ProviderError(f"{call.urn}: the embedded engine has no support for this resource type; it needs the pulumi CLI.")
