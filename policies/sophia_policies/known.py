"""Reading properties of which some are not known yet.

At preview a value may depend on something that does not exist so far. A rule reads properties as if all were known; the
first unknown one it touches ends that one judgement, and only that one.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any


class Unknown:
    """Stands for a value that is not known at preview."""


UNKNOWN = Unknown()


class NotKnownError(Exception):
    """A rule needed a value that is not known yet."""

    def __init__(self, path: str) -> None:
        self.path = path
        super().__init__(f"{path} is not known yet")


class Node(Mapping[str, Any]):
    """A read-only view of an object that knows its path and refuses to make unknown values up."""

    def __init__(self, value: Mapping[str, Any], path: str = "") -> None:
        self._value, self.path = value, path

    def __getitem__(self, key: str) -> Any:
        return _view(self._value[key], self.at(key))

    def __iter__(self) -> Iterator[str]:
        return iter(self._value)

    def __len__(self) -> int:
        return len(self._value)

    def __repr__(self) -> str:
        return f"Node({self.path or '.'})"

    def at(self, *keys: str | int) -> str:
        """Path of something below this object: `at("ports", 0)` is "….ports[0]"."""
        path = self.path
        for key in keys:
            path = f"{path}[{key}]" if isinstance(key, int) else _joined(path, key)
        return path

    def child(self, *keys: str) -> Node:
        """The object below `keys`; an empty one where it is absent or not an object."""
        node = self
        for key in keys:
            value = node.get(key)
            node = value if isinstance(value, Node) else Node({}, node.at(key))
        return node

    def shown(self, key: str) -> str:
        """The value as a message names it: empty where it is absent, and a question mark where it is not known."""
        try:
            value = self.get(key)
        except NotKnownError:
            return "?"
        return "" if value is None else str(value)

    def nodes(self, key: str) -> list[Node]:
        """The objects in a list; none where it is absent."""
        value = self.get(key)
        return [item for item in value if isinstance(item, Node)] if isinstance(value, list) else []

    def plain(self) -> dict[str, Any]:
        """The object itself, all of it known."""
        return {key: _plain(self[key]) for key in self}


def _joined(path: str, key: str) -> str:
    text = f'["{key}"]' if "." in key or "/" in key else key
    return f"{path}{text}" if not path or text.startswith("[") else f"{path}.{text}"


def _view(value: Any, path: str) -> Any:
    if isinstance(value, Unknown):
        raise NotKnownError(path)
    if isinstance(value, Mapping):
        return Node(value, path)
    if isinstance(value, (list, tuple)):
        return [_view(item, f"{path}[{index}]") for index, item in enumerate(value)]
    return value


def _plain(value: Any) -> Any:
    if isinstance(value, Node):
        return value.plain()
    return [_plain(item) for item in value] if isinstance(value, list) else value
