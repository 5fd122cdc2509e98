"""What a stack's state consists of, as objects. How it is stored is `checkpoint`'s business."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

from engine.values import PropertyMap

ROOT_STACK_TYPE = "pulumi:pulumi:Stack"
PROVIDER_TYPE_PREFIX = "pulumi:providers:"


@dataclass(frozen=True, slots=True)
class CustomTimeouts:
    """Seconds an operation may take; None means the provider's default."""

    create: float | None = None
    update: float | None = None
    delete: float | None = None


@dataclass(slots=True)
class ResourceState:
    """One resource as recorded in state. Field names follow Pulumi's checkpoint (camelCase there)."""

    urn: str
    type: str
    custom: bool = False
    id: str = ""
    inputs: PropertyMap = field(default_factory=dict)
    outputs: PropertyMap = field(default_factory=dict)
    parent: str = ""
    protect: bool = False
    taint: bool = False
    external: bool = False
    delete: bool = False
    """The old half of a replacement, waiting to be deleted."""
    pending_replacement: bool = False
    """Deleted already, its replacement was not created yet (delete-before-replace that was interrupted)."""
    dependencies: list[str] = field(default_factory=list)
    property_dependencies: dict[str, list[str]] = field(default_factory=dict)
    init_errors: list[str] = field(default_factory=list)
    provider: str = ""
    """`<provider urn>::<provider id>`, empty for components and providers themselves."""
    additional_secret_outputs: list[str] = field(default_factory=list)
    aliases: list[str] = field(default_factory=list)
    custom_timeouts: CustomTimeouts = field(default_factory=CustomTimeouts)
    import_id: str = ""
    retain_on_delete: bool = False
    deleted_with: str = ""
    replace_with: list[str] = field(default_factory=list)
    created: str = ""
    """RFC 3339 time of creation, UTC."""
    modified: str = ""
    source_position: str = ""
    ignore_changes: list[str] = field(default_factory=list)
    hide_diff: list[str] = field(default_factory=list)
    replace_on_changes: list[str] = field(default_factory=list)
    replacement_trigger: Any = None
    refresh_before_update: bool = False
    view_of: str = ""
    resource_hooks: dict[str, list[str]] = field(default_factory=dict)
    extra: dict[str, Any] = field(default_factory=dict)
    """Fields of a newer Pulumi that this engine does not know: kept as they were, so that nothing is lost by a round trip."""

    @property
    def name(self) -> str:
        return urn_name(self.urn)

    def copy(self, **changes: Any) -> ResourceState:
        return replace(self, **changes)


@dataclass(slots=True)
class PendingOperation:
    """An operation that was begun and whose outcome is not known (creating, updating, deleting, reading, importing)."""

    resource: ResourceState
    type: str


@dataclass(slots=True)
class Snapshot:
    """The state of a stack: resources in an order in which everything comes after what it refers to."""

    resources: list[ResourceState] = field(default_factory=list)
    pending_operations: list[PendingOperation] = field(default_factory=list)
    metadata: dict[str, Any] = field(default_factory=dict)


def make_urn(stack: str, project: str, parent: str, type_: str, name: str) -> str:
    """`urn:pulumi:<stack>::<project>::<parent types$>type::name`; the root stack is not part of the type chain."""
    qualified = type_
    if parent:
        parent_type = urn_qualified_type(parent)
        if parent_type != ROOT_STACK_TYPE:
            qualified = f"{parent_type}${type_}"
    return f"urn:pulumi:{stack}::{project}::{qualified}::{name}"


def urn_qualified_type(urn: str) -> str:
    return urn.split("::", 3)[2]


def urn_type(urn: str) -> str:
    return urn_qualified_type(urn).rsplit("$", 1)[-1]


def urn_name(urn: str) -> str:
    return urn.split("::", 3)[3]


def is_provider(type_: str) -> bool:
    return type_.startswith(PROVIDER_TYPE_PREFIX)


def split_provider_ref(ref: str) -> tuple[str, str]:
    """(provider urn, provider id) of a reference."""
    urn, _, id_ = ref.rpartition("::")
    return urn, id_


def display_type(type_: str) -> str:
    """A type as Pulumi displays it: `random:index:RandomString` for `random:index/randomString:RandomString`."""
    package, _, rest = type_.partition(":")
    module, _, name = rest.rpartition(":")
    head, slash, tail = module.rpartition("/")
    if slash and name and tail == name[:1].lower() + name[1:]:
        module = head
    return f"{package}:{module}:{name}" if module else type_
