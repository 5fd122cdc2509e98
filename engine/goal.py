"""What the program asks for: a resource's desired state with its options, decoded from the wire."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from pulumi.runtime.proto import alias_pb2, resource_pb2

from engine.model import CustomTimeouts
from engine.values import PropertyMap
from engine.wire import dependencies_in, from_struct, from_value, number, to_struct, to_value


@dataclass(frozen=True)
class AliasSpec:
    """A former identity: a whole URN, or the parts that were different."""

    urn: str = ""
    name: str = ""
    type: str = ""
    stack: str = ""
    project: str = ""
    parent: str = ""
    no_parent: bool = False


@dataclass
class Goal:
    """One RegisterResource request, after transforms."""

    type: str
    name: str
    custom: bool
    parent: str = ""
    properties: PropertyMap = field(default_factory=dict)
    dependencies: list[str] = field(default_factory=list)
    property_dependencies: dict[str, list[str]] = field(default_factory=dict)
    provider: str = ""
    providers: dict[str, str] = field(default_factory=dict)
    version: str = ""
    plugin_download_url: str = ""
    protect: bool | None = None
    retain_on_delete: bool | None = None
    delete_before_replace: bool | None = None
    deleted_with: str = ""
    replace_with: list[str] = field(default_factory=list)
    replacement_trigger: Any = None
    ignore_changes: list[str] = field(default_factory=list)
    replace_on_changes: list[str] = field(default_factory=list)
    hide_diffs: list[str] = field(default_factory=list)
    additional_secret_outputs: list[str] = field(default_factory=list)
    aliases: list[AliasSpec] = field(default_factory=list)
    import_id: str = ""
    timeouts: CustomTimeouts = field(default_factory=CustomTimeouts)
    source_position: str = ""

    @property
    def package(self) -> str:
        return package_of(self.type)


def package_of(type_: str) -> str:
    """The package whose provider serves a type or a function token."""
    head, _, rest = type_.partition(":")
    return rest.partition(":")[2] if head == "pulumi" and rest.startswith("providers:") else head


_DURATION = re.compile(r"(\d+(?:\.\d+)?)(ns|us|µs|ms|s|m|h)")
_SECONDS = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}


def parse_duration(text: str) -> float | None:
    """Seconds of a Go duration such as `1h30m`; None for an empty text. Raises ValueError for anything else."""
    if not text:
        return None
    parts = _DURATION.findall(text)
    if "".join(n + u for n, u in parts) != text:
        raise ValueError(f"custom timeout {text!r} is not a duration such as '90s', '15m' or '1h30m'")
    return number(sum(float(n) * _SECONDS[u] for n, u in parts))


def decode_timeouts(message: Any) -> CustomTimeouts:
    return CustomTimeouts(parse_duration(message.create), parse_duration(message.update), parse_duration(message.delete))


def encode_timeouts(timeouts: CustomTimeouts) -> resource_pb2.RegisterResourceRequest.CustomTimeouts:
    def text(seconds: float | None) -> str:
        return "" if seconds is None else f"{seconds:g}s"

    return resource_pb2.RegisterResourceRequest.CustomTimeouts(
        create=text(timeouts.create), update=text(timeouts.update), delete=text(timeouts.delete)
    )


def decode_alias(message: alias_pb2.Alias) -> AliasSpec:
    if message.WhichOneof("alias") == "urn":
        return AliasSpec(urn=message.urn)
    spec = message.spec
    return AliasSpec("", spec.name, spec.type, spec.stack, spec.project, spec.parentUrn, spec.noParent)


def encode_alias(alias: AliasSpec) -> alias_pb2.Alias:
    if alias.urn:
        return alias_pb2.Alias(urn=alias.urn)
    spec = alias_pb2.Alias.Spec(name=alias.name, type=alias.type, stack=alias.stack, project=alias.project)
    if alias.no_parent:
        spec.noParent = True
    elif alias.parent:
        spec.parentUrn = alias.parent
    return alias_pb2.Alias(spec=spec)


def _optional(message: Any, name: str) -> bool | None:
    return getattr(message, name) if message.HasField(name) else None


def decode_goal(request: resource_pb2.RegisterResourceRequest) -> Goal:
    """Decodes a registration. Raises ValueError for malformed options."""
    aliases = [decode_alias(a) for a in request.aliases]
    aliases += [AliasSpec(urn=urn) for urn in request.aliasURNs if urn]
    defined = request.deleteBeforeReplaceDefined or request.deleteBeforeReplace
    position = request.sourcePosition
    return Goal(
        type=request.type,
        name=request.name,
        custom=request.custom,
        parent=request.parent,
        properties=from_struct(request.object, keep_none=False),
        dependencies=unique(request.dependencies),
        property_dependencies={k: sorted(set(v.urns)) for k, v in request.propertyDependencies.items()},
        provider=request.provider,
        providers=dict(request.providers),
        version=request.version,
        plugin_download_url=request.pluginDownloadURL,
        protect=_optional(request, "protect"),
        retain_on_delete=_optional(request, "retainOnDelete"),
        delete_before_replace=request.deleteBeforeReplace if defined else None,
        deleted_with=request.deletedWith,
        replace_with=list(request.replace_with),
        replacement_trigger=from_value(request.replacement_trigger) if request.HasField("replacement_trigger") else None,
        ignore_changes=list(request.ignoreChanges),
        replace_on_changes=list(request.replaceOnChanges),
        hide_diffs=list(request.hideDiffs),
        additional_secret_outputs=list(request.additionalSecretOutputs),
        aliases=aliases,
        import_id=request.importId,
        timeouts=decode_timeouts(request.customTimeouts),
        source_position=f"{position.uri}#{position.line},{position.column}" if position.uri else "",
    )


def unique(items: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(i for i in items if i))


def transform_request(goal: Goal) -> resource_pb2.TransformRequest:
    """The goal as a transform callback sees it."""
    options = resource_pb2.TransformResourceOptions(
        depends_on=goal.dependencies,
        ignore_changes=goal.ignore_changes,
        replace_on_changes=goal.replace_on_changes,
        version=goal.version,
        aliases=[encode_alias(a) for a in goal.aliases],
        provider=goal.provider,
        custom_timeouts=encode_timeouts(goal.timeouts),
        plugin_download_url=goal.plugin_download_url,
        deleted_with=goal.deleted_with,
        additional_secret_outputs=goal.additional_secret_outputs,
        providers=goal.providers,
        hide_diff=goal.hide_diffs,
        replace_with=goal.replace_with,
    )
    setattr(options, "import", goal.import_id)  # a Python keyword
    for name in ("protect", "retain_on_delete", "delete_before_replace"):
        if (value := getattr(goal, name)) is not None:
            setattr(options, name, value)
    if goal.replacement_trigger is not None:
        options.replacement_trigger.CopyFrom(to_value(goal.replacement_trigger))
    return resource_pb2.TransformRequest(
        type=goal.type, name=goal.name, custom=goal.custom, parent=goal.parent, properties=to_struct(goal.properties), options=options
    )


def apply_transform(goal: Goal, response: resource_pb2.TransformResponse) -> None:
    """Takes over what a transform answered. An answer without options leaves them as they were."""
    if response.HasField("properties"):
        goal.properties = from_struct(response.properties, keep_none=False)
        found = {key: dependencies_in(value) for key, value in response.properties.fields.items()}
        goal.property_dependencies = {
            key: sorted({*goal.property_dependencies.get(key, []), *found.get(key, ())}) for key in goal.properties
        }
    if not response.HasField("options"):
        return
    options = response.options
    goal.dependencies = unique(options.depends_on)
    goal.ignore_changes = list(options.ignore_changes)
    goal.replace_on_changes = list(options.replace_on_changes)
    goal.version = options.version
    goal.aliases = [decode_alias(a) for a in options.aliases]
    goal.provider = options.provider
    goal.timeouts = decode_timeouts(options.custom_timeouts)
    goal.plugin_download_url = options.plugin_download_url
    goal.deleted_with = options.deleted_with
    goal.additional_secret_outputs = list(options.additional_secret_outputs)
    goal.providers = dict(options.providers)
    goal.hide_diffs = list(options.hide_diff)
    goal.replace_with = list(options.replace_with)
    goal.import_id = getattr(options, "import")
    goal.protect = _optional(options, "protect")
    goal.retain_on_delete = _optional(options, "retain_on_delete")
    goal.delete_before_replace = _optional(options, "delete_before_replace")
    goal.replacement_trigger = from_value(options.replacement_trigger) if options.HasField("replacement_trigger") else None
