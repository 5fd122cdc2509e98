"""What a readiness check sees: the object as it is now, as it was before the change, and the objects around it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from engine.provider import ProviderError
from engine.providers.kubernetes.apply import Writer
from engine.providers.kubernetes.client import ApiError
from engine.providers.kubernetes.kinds import kind_of_type
from engine.providers.kubernetes.objects import Object, metadata, name_of, namespace_of, pluck
from engine.values import Value

Note = tuple[str, str]
"""(severity, text) of a status line."""


@dataclass
class Verdict:
    """What a check finds. `errors`: what to report if waiting ends now; `failed`: waiting longer is pointless."""

    ready: bool = False
    notes: list[Note] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)
    failed: bool = False


@dataclass
class View:
    """One look at the cluster. Lists are asked for once a look, and only when a check wants them."""

    writer: Writer
    live: Object
    last: Object | None = None
    elapsed: float = 0.0
    """Seconds since waiting began."""
    _lists: dict[tuple[str, str, str], list[Object]] = field(default_factory=dict)

    @property
    def namespace(self) -> str:
        return namespace_of(self.live)

    def siblings(self, api_version: str, kind: str, selector: str = "") -> list[Object]:
        """Objects of a kind in the object's namespace; none when they cannot be read (they serve for messages and counts)."""
        key = (api_version, kind, selector)
        if key not in self._lists:
            try:
                resource = self.writer.client.resource(kind_of_type(api_version, kind))
                self._lists[key] = self.writer.client.objects(resource, self.namespace, selector)
            except ProviderError:
                self._lists[key] = []
        return self._lists[key]

    def owned(self, api_version: str, kind: str, owner: Object | None) -> list[Object]:
        """Those that an object owns, by their owner references."""
        uid = metadata(owner or {}).get("uid")
        return [
            o for o in self.siblings(api_version, kind, label_selector(pluck(self.live, "spec", "selector"))) if uid and _owned_by(o, uid)
        ]

    def get(self, api_version: str, kind: str, name: str) -> Object | None:
        try:
            resource = self.writer.client.resource(kind_of_type(api_version, kind))
            return self.writer.client.get(resource, self.namespace if resource.namespaced else "", name)
        except (ApiError, ProviderError):
            return None


Check = Callable[[View], Verdict]
"""A check may keep what it saw between looks; every wait gets a new one."""


def _owned_by(obj: Object, uid: str) -> bool:
    return any(r.get("uid") == uid for r in metadata(obj).get("ownerReferences") or [])


def label_selector(selector: Value) -> str:
    """A LabelSelector as the query parameter of a list."""
    if not isinstance(selector, dict):
        return ""
    parts = [f"{k}={v}" for k, v in (selector.get("matchLabels") or {}).items()]
    for rule in selector.get("matchExpressions") or []:
        key, operator, values = rule.get("key"), rule.get("operator"), ",".join(rule.get("values") or [])
        parts.append({"In": f"{key} in ({values})", "NotIn": f"{key} notin ({values})", "Exists": f"{key}"}.get(operator, f"!{key}"))
    return ",".join(parts)


def display_name(obj: Object) -> str:
    """`namespace/name`, without the namespace `default`."""
    namespace = namespace_of(obj)
    return f"{namespace}/{name_of(obj)}" if namespace not in ("", "default") else name_of(obj)


def conditions(obj: Object) -> dict[str, Object]:
    found = pluck(obj, "status", "conditions")
    return {str(c.get("type")): c for c in found if isinstance(c, dict)} if isinstance(found, list) else {}


def number(obj: Object, *path: str, default: int = 0) -> int:
    value = pluck(obj, *path)
    return value if isinstance(value, int) else default
