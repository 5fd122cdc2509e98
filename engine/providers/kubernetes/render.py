"""Render mode: manifests written to a folder instead of objects made in a cluster (`renderYamlToDirectory`)."""

from __future__ import annotations

import os
from pathlib import Path

import yaml

from engine.provider import ProviderError
from engine.providers.kubernetes.objects import Object, api_version_of, is_crd, kind_of, name_of, namespace_of


def path_of(obj: Object, directory: str) -> Path:
    """Where an object's manifest goes: definitions apart from the rest, because they have to be applied first."""
    version = api_version_of(obj).replace("/", "_").replace(":", "_")
    name = f"{version}-{kind_of(obj).lower()}-{namespace_of(obj) or 'default'}-{name_of(obj)}.yaml"
    return Path(directory) / ("0-crd" if is_crd(obj) else "1-manifest") / name


def write(obj: Object, directory: str) -> Path:
    """Writes a manifest readable by its owner only: it may hold secrets in plain text."""
    path = path_of(obj, directory)
    try:
        for folder in ("0-crd", "1-manifest"):
            (Path(directory) / folder).mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "w") as file:
            yaml.safe_dump(obj, file, sort_keys=True, default_flow_style=False)
    except OSError as error:
        raise ProviderError(f"kubernetes:renderYamlToDirectory: cannot write {path}: {error.strerror}") from None
    return path


def remove(obj: Object, directory: str) -> Path:
    path = path_of(obj, directory)
    path.unlink(missing_ok=True)
    return path
