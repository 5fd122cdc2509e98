"""The engine's own package, `pulumi`: references to other stacks."""

from __future__ import annotations

from collections.abc import Callable

from engine.provider import Call, Provider, ProviderError, Read
from engine.values import PropertyMap, Secret, contains_secret

Lookup = Callable[[str], PropertyMap | None]
"""Outputs of a stack by its name as the user wrote it; None when there is no such stack."""


class BuiltinProvider(Provider):
    """Serves `pulumi:pulumi:StackReference`."""

    accepts_secrets = True
    package = "pulumi"

    def __init__(self, lookup: Lookup | None) -> None:
        self._lookup = lookup

    def read(self, call: Call, id: str, inputs: PropertyMap | None, outputs: PropertyMap | None) -> Read:
        name = (outputs or inputs or {}).get("name", id)
        name = name.value if isinstance(name, Secret) else name
        found = self._lookup(name) if self._lookup else None
        if found is None:
            raise ProviderError(f"unknown stack {name!r}")
        secret = sorted(k for k, v in found.items() if contains_secret(v))
        return Read(id, {"name": name}, {"name": name, "outputs": found, "secretOutputNames": secret})
