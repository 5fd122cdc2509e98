"""The provider's configuration: what `kubernetes:*` settings and environment variables mean, and which cluster they name.

Names, defaults and precedence (setting before environment variable) are pulumi-kubernetes 4.34's (provider.go: Configure).
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from engine.provider import ProviderError
from engine.values import PropertyMap, Value

KubeConfig = dict[str, Any]
SERVICE_ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")
_FILE_KEYS = {"clusters": ("certificate-authority",), "users": ("client-certificate", "client-key", "tokenFile")}
_FLAGS = {
    "enableServerSideApply": "PULUMI_K8S_ENABLE_SERVER_SIDE_APPLY",
    "enableConfigMapMutable": "PULUMI_K8S_ENABLE_CONFIGMAP_MUTABLE",
    "enableSecretMutable": "PULUMI_K8S_ENABLE_SECRET_MUTABLE",
    "enablePatchForce": "PULUMI_K8S_ENABLE_PATCH_FORCE",
    "upsertExistingObjects": "PULUMI_K8S_UPSERT_EXISTING_OBJECTS",
    "suppressDeprecationWarnings": "PULUMI_K8S_SUPPRESS_DEPRECATION_WARNINGS",
    "suppressHelmHookWarnings": "PULUMI_K8S_SUPPRESS_HELM_HOOK_WARNINGS",
    "deleteUnreachable": "PULUMI_K8S_DELETE_UNREACHABLE",
    "skipUpdateUnreachable": "PULUMI_K8S_SKIP_UPDATE_UNREACHABLE",
}


@dataclass(frozen=True)
class Settings:
    """One provider's configuration, read once."""

    kubeconfig: str = ""
    """Path of a kubeconfig, or its text; empty: KUBECONFIG, ~/.kube/config, then the service account of the Pod we run in."""
    context: str = ""
    cluster: str = ""
    namespace: str = ""
    render_directory: str = ""
    """Write manifests there instead of talking to a cluster."""
    flags: Mapping[str, bool] = field(default_factory=dict)
    qps: float | None = None
    """Requests a second at most; None: unlimited (the API server limits fairly by itself)."""
    burst: int = 120
    timeout: float | None = None
    """Seconds for a single request; None: 60."""

    def flag(self, name: str) -> bool:
        return self.flags[name]


def read(config: PropertyMap) -> Settings:
    """Settings from provider configuration; values may be text, as configuration files give them. Raises ProviderError."""
    client = _mapping(config, "kubeClientSettings")
    qps = _number(client.get("qps"), os.environ.get("PULUMI_K8S_CLIENT_QPS"), "kubeClientSettings.qps")
    burst = _number(client.get("burst"), os.environ.get("PULUMI_K8S_CLIENT_BURST"), "kubeClientSettings.burst")
    return Settings(
        kubeconfig=_kubeconfig_text(config.get("kubeconfig")),
        context=str(config.get("context") or ""),
        cluster=str(config.get("cluster") or ""),
        namespace=str(config.get("namespace") or ""),
        render_directory=str(config.get("renderYamlToDirectory") or ""),
        flags={name: _flag(config.get(name), variable, name == "enableServerSideApply") for name, variable in _FLAGS.items()},
        qps=qps,
        burst=int(burst or 120),
        timeout=_number(client.get("timeout"), os.environ.get("PULUMI_K8S_CLIENT_TIMEOUT"), "kubeClientSettings.timeout"),
    )


def _kubeconfig_text(value: Value) -> str:
    return json.dumps(value) if isinstance(value, dict) else str(value or "")


def _flag(value: Value, variable: str, default: bool) -> bool:
    if value is not None:
        return value is True or value == "true"
    found = os.environ.get(variable)
    return default if found is None else found == "true"


def _mapping(config: PropertyMap, key: str) -> Mapping[str, Any]:
    value = config.get(key)
    if isinstance(value, str) and value:
        try:
            value = json.loads(value)
        except ValueError as error:
            raise ProviderError(f"kubernetes:{key}: not valid JSON ({error}); write an object such as {{qps: 50, burst: 120}}.") from None
    return value if isinstance(value, Mapping) else {}


def _number(value: Value, fallback: str | None, key: str) -> float | None:
    value = fallback if value is None else value
    if value in (None, ""):
        return None
    try:
        return float(value)
    except (TypeError, ValueError):
        raise ProviderError(f"kubernetes:{key}: {value!r} is not a number.") from None


@dataclass(frozen=True)
class Target:
    """The cluster that the settings name. `error` says why there is none."""

    config: KubeConfig | None
    """Merged kubeconfig with the chosen context as current; None: the service account of the Pod we run in."""
    namespace: str
    """For namespaced objects that name no namespace."""
    error: str = ""


def locate(settings: Settings) -> Target:
    """Finds the cluster's address and credentials in files. Does not touch the network."""
    try:
        config = parse(settings.kubeconfig) if settings.kubeconfig else _ambient()
    except (OSError, yaml.YAMLError, ValueError) as error:
        reason = f"failed to parse kubeconfig data in `kubernetes:config:kubeconfig`- {error}"
        return Target(None, settings.namespace, reason)
    if not config.get("clusters") and not settings.kubeconfig and (SERVICE_ACCOUNT / "token").exists():
        return Target(None, settings.namespace or _read_text(SERVICE_ACCOUNT / "namespace") or "default")
    return _select(config, settings)


def _select(config: KubeConfig, settings: Settings) -> Target:
    name = settings.context or config.get("current-context") or ""
    context = dict(entry(config, "contexts", name, "context") or {})
    namespace = settings.namespace or context.get("namespace") or "default"
    if settings.cluster:
        context["cluster"] = settings.cluster
    problem = ""
    if not config.get("clusters"):
        problem = "invalid configuration: no configuration has been provided; set KUBECONFIG or kubernetes:kubeconfig"
    elif not context:
        problem = f"context {name!r} does not exist" if name else "the kubeconfig has no current-context; set kubernetes:context"
    elif entry(config, "clusters", str(context.get("cluster")), "cluster") is None:
        problem = f"cluster {context.get('cluster')!r} does not exist in the kubeconfig"
    if problem:
        return Target(None, namespace, f"unable to load Kubernetes client configuration from kubeconfig file: {problem}")
    others = [c for c in config.get("contexts") or [] if c.get("name") != name]
    chosen = {**config, "current-context": name, "contexts": [*others, {"name": name, "context": context}]}
    return Target(chosen, namespace)


def entry(config: KubeConfig, section: str, name: str, key: str) -> dict[str, Any] | None:
    """The named entry of a kubeconfig's list, None where there is none."""
    for item in config.get(section) or []:
        if isinstance(item, dict) and item.get("name") == name:
            found = item.get(key)
            return found if isinstance(found, dict) else None
    return None


def parse(path_or_text: str) -> KubeConfig:
    """A kubeconfig from a file (`~` is the home folder) or from its text. Raises OSError, yaml.YAMLError or ValueError."""
    path = Path(path_or_text).expanduser() if "\n" not in path_or_text and len(path_or_text) < 4096 else None
    if path is not None and path.exists():
        return _from_file(path)
    return _checked(yaml.safe_load(path_or_text), "the text")


def _from_file(path: Path) -> KubeConfig:
    config = _checked(yaml.safe_load(path.read_text()), str(path))
    for section, keys in _FILE_KEYS.items():
        for item in config.get(section) or []:
            body = item.get(section[:-1]) if isinstance(item, dict) else None
            for key in keys:
                if isinstance(body, dict) and body.get(key):
                    body[key] = str((path.parent / body[key]).absolute())
    return config


def _checked(loaded: Value, origin: str) -> KubeConfig:
    if not isinstance(loaded, dict):
        raise ValueError(f"{origin} is neither an existing file nor a kubeconfig")
    return loaded


def _ambient() -> KubeConfig:
    """KUBECONFIG (several paths: the first to name a thing wins) or ~/.kube/config."""
    variable = os.environ.get("KUBECONFIG", "")
    paths = [Path(p) for p in variable.split(os.pathsep) if p] or [Path.home() / ".kube" / "config"]
    merged: KubeConfig = {}
    for path in paths:
        if not path.exists():
            continue
        for key, value in _from_file(path).items():
            if isinstance(value, list):
                names = {i.get("name") for i in merged.get(key, [])}
                merged[key] = [*merged.get(key, []), *(i for i in value if i.get("name") not in names)]
            elif not merged.get(key):
                merged[key] = value
    return merged


def _read_text(path: Path) -> str:
    try:
        return path.read_text().strip()
    except OSError:
        return ""


def active_cluster(config: PropertyMap) -> dict[str, Any] | None:
    """The cluster entry that a provider's configuration selects, None when it names none that can be found."""
    text = _kubeconfig_text(config.get("kubeconfig"))
    if not text:
        return None
    try:
        loaded = parse(text)
    except (OSError, yaml.YAMLError, ValueError) as error:
        raise ProviderError(f"kubernetes:kubeconfig: failed to parse kubeconfig: {error}") from None
    context = entry(loaded, "contexts", str(config.get("context") or loaded.get("current-context") or ""), "context")
    if context is None:
        return None
    return entry(loaded, "clusters", str(config.get("cluster") or context.get("cluster") or ""), "cluster")
