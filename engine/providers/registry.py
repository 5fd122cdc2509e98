"""Which provider serves a resource: default and explicit provider resources, loaded and configured on first need."""

from __future__ import annotations

import re
import threading
import uuid
from collections.abc import Callable, Mapping, Sequence

from engine.goal import package_of
from engine.model import ResourceState, split_provider_ref
from engine.provider import Call, Changes, Checked, CheckFailure, Created, Diff, PropertyDiff, Provider, ProviderError
from engine.values import UNKNOWN_STRING, PropertyMap, Value, contains_unknown, equal, reveal

Factory = Callable[[], Provider]
INTERNAL_KEY = "__internal"


def default_provider_name(version: str) -> str:
    """`default_4_34_2` for 4.34.2: the name carries the version, so that two SDK versions get two providers."""
    return f"default_{re.sub(r'[^0-9A-Za-z]+', '_', version.removeprefix('v'))}" if version else "default"


def configuration(inputs: PropertyMap) -> PropertyMap:
    """A provider resource's inputs without what is the engine's own."""
    return {k: v for k, v in inputs.items() if k not in (INTERNAL_KEY, "version", "pluginDownloadURL")}


class ProviderRegistry(Provider):
    """Itself the provider of provider resources (`pulumi:providers:*`)."""

    accepts_secrets = True

    def __init__(self, factories: Mapping[str, Factory]) -> None:
        self._factories = factories
        self._loaded: dict[str, Provider] = {}
        self._lock = threading.Lock()

    def known(self, package: str) -> bool:
        return package in self._factories

    def get(self, ref: str) -> Provider | None:
        return self._loaded.get(ref)

    def load(self, ref: str, inputs: PropertyMap) -> Provider:
        """Configures the provider of a reference, once. Raises ProviderError."""
        with self._lock:
            if ref not in self._loaded:
                provider = self._make(package_of(split_provider_ref(ref)[0].split("::", 3)[2]))
                config = configuration(inputs)
                if contains_unknown(config):
                    provider = _Unconfigured(provider)
                else:
                    provider.configure(reveal(config))
                self._loaded[ref] = provider
            return self._loaded[ref]

    def alias(self, ref: str, old_ref: str) -> None:
        if ref in self._loaded:
            self._loaded.setdefault(old_ref, self._loaded[ref])

    def _make(self, package: str) -> Provider:
        factory = self._factories.get(package)
        if factory is None:
            raise ProviderError(
                f"the embedded engine has no provider for package {package!r} (it has {', '.join(sorted(self._factories))}); "
                "it needs the pulumi CLI."
            )
        return factory()

    def check(self, call: Call, old_inputs: PropertyMap | None, inputs: PropertyMap, random_seed: bytes) -> Checked:
        config = configuration(inputs)
        own = {k: v for k, v in inputs.items() if k not in config}
        try:
            return Checked({**self._make(package_of(call.urn.split("::", 3)[2])).check_config(config), **own})
        except ProviderError as error:
            return Checked(inputs, [CheckFailure("", str(error))])

    def diff(
        self, call: Call, id: str, old_inputs: PropertyMap, old_outputs: PropertyMap, inputs: PropertyMap, ignore_changes: Sequence[str]
    ) -> Diff:
        old, new = dict(old_inputs), dict(inputs)
        changed = [k for k in sorted({*old, *new}) if k != INTERNAL_KEY and not equal(old.get(k), new.get(k))]
        if not changed:
            return Diff(Changes.NONE)
        replaces = self._make(package_of(call.urn.split("::", 3)[2])).diff_config(configuration(old), configuration(new))
        detailed = {k: _kind(k, old, new, k in replaces) for k in changed}
        return Diff(Changes.SOME, replaces=replaces, diffs=changed, detailed=detailed)

    def replaces(self, ref: str, old: PropertyMap, new: PropertyMap) -> bool:
        """Whether moving a resource from a provider with one configuration to one with another forces its replacement."""
        package = package_of(split_provider_ref(ref)[0].split("::", 3)[2])
        return bool(self._make(package).diff_config(configuration(old), configuration(new)))

    def create(self, call: Call, inputs: PropertyMap) -> Created:
        id_ = "" if call.preview else str(uuid.uuid4())
        self.load(f"{call.urn}::{id_ or UNKNOWN_STRING}", inputs)
        return Created(id_, self.outputs(inputs))

    def update(
        self, call: Call, id: str, old_inputs: PropertyMap, old_outputs: PropertyMap, inputs: PropertyMap, ignore_changes: Sequence[str]
    ) -> PropertyMap:
        with self._lock:
            self._loaded.pop(f"{call.urn}::{id}", None)  # loaded with the old configuration, for a deletion perhaps
        self.load(f"{call.urn}::{id}", inputs)
        return self.outputs(inputs)

    def same(self, state: ResourceState) -> None:
        self.load(f"{state.urn}::{state.id}", state.inputs)

    def delete(self, call: Call, id: str, inputs: PropertyMap, outputs: PropertyMap) -> None:
        """A provider has nothing outside the state."""

    @staticmethod
    def outputs(inputs: PropertyMap) -> PropertyMap:
        return {k: v for k, v in inputs.items() if k != INTERNAL_KEY}

    def close(self) -> None:
        for provider in {id(p): p for p in self._loaded.values()}.values():
            provider.close()


def _kind(key: str, old: PropertyMap, new: PropertyMap, replace: bool) -> PropertyDiff:
    kind = "add" if key not in old else "delete" if key not in new else "update"
    return PropertyDiff(f"{kind}-replace" if replace else kind, input_diff=True)


_NOT_CONFIGURED = (
    "The provider for this resource has inputs that are not known during preview.\n"
    "This preview may not correctly represent the changes that will be applied during an update."
)


class _Unconfigured(Provider):
    """Stands in during a preview for a provider whose configuration is not known yet: everything it would say is unknown."""

    accepts_secrets = True

    def __init__(self, inner: Provider) -> None:
        self._inner = inner

    def check(self, call: Call, old_inputs: PropertyMap | None, inputs: PropertyMap, random_seed: bytes) -> Checked:
        return Checked(inputs)

    def diff(
        self, call: Call, id: str, old_inputs: PropertyMap, old_outputs: PropertyMap, inputs: PropertyMap, ignore_changes: Sequence[str]
    ) -> Diff:
        call.log(
            "warning",
            _NOT_CONFIGURED,
            False,
        )
        return Diff(Changes.UNKNOWN)

    def create(self, call: Call, inputs: PropertyMap) -> Created:
        return Created("", {})

    def update(
        self, call: Call, id: str, old_inputs: PropertyMap, old_outputs: PropertyMap, inputs: PropertyMap, ignore_changes: Sequence[str]
    ) -> PropertyMap:
        return {}

    def invoke(self, call: Call, token: str, args: PropertyMap) -> Value:
        raise ProviderError(f"{token}: its provider's configuration is not known during preview")

    def close(self) -> None:
        self._inner.close()
