"""`kubernetes:yaml:decode`: manifests as text to objects, for yaml.ConfigFile and yaml.ConfigGroup (version 1)."""

from __future__ import annotations

from collections.abc import Callable

import yaml

from engine.provider import ProviderError
from engine.providers.kubernetes.kinds import Kind, kind_of_type
from engine.providers.kubernetes.objects import Object, api_version_of, kind_of, namespace_of, set_metadata


class _Loader(yaml.SafeLoader):
    """YAML 1.1 as Kubernetes reads it: dates stay text."""


_Loader.yaml_implicit_resolvers = {
    key: [(tag, pattern) for tag, pattern in resolvers if tag != "tag:yaml.org,2002:timestamp"]
    for key, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}


def decode(text: str, default_namespace: str, namespaced: Callable[[Kind], bool]) -> list[Object]:
    """The objects of a YAML stream; what has no kind is skipped. Raises ProviderError naming line and column of a mistake."""
    try:
        documents = list(yaml.load_all(text, Loader=_Loader))
    except yaml.MarkedYAMLError as error:
        place = f"line {error.problem_mark.line + 1}, column {error.problem_mark.column + 1}: " if error.problem_mark else ""
        raise ProviderError(f"kubernetes:yaml:decode: {place}{error.problem or error}") from None
    found = [d for d in documents if isinstance(d, dict) and kind_of(d) and api_version_of(d)]
    for obj in found:
        if default_namespace and not namespace_of(obj) and namespaced(kind_of_type(api_version_of(obj), kind_of(obj))):
            set_metadata(obj, "namespace", default_namespace)
    return found
