"""A workload that breaks no rule, and ways to make another one of it."""

from __future__ import annotations

import copy
from typing import Any

from policies.sophia_policies.rule import Rule, Verdict, judge

DEPLOYMENT = "kubernetes:apps/v1:Deployment"
LABELS = {"app.kubernetes.io/name": "ai-memory", "app.kubernetes.io/component": "mcp-server"}


def container(**changes: Any) -> dict[str, Any]:
    """A container in order; None removes a key."""
    spec: dict[str, Any] = {
        "name": "main",
        "ports": [{"name": "mcp", "containerPort": 9001}, {"name": "metrics", "containerPort": 9464}],
        "resources": {"requests": {"cpu": "250m", "memory": "512Mi"}, "limits": {"cpu": "1", "memory": "1Gi"}},
        "startupProbe": {"httpGet": {"path": "/health", "port": "mcp"}},
        "readinessProbe": {"httpGet": {"path": "/ready", "port": "mcp"}},
        "livenessProbe": {"tcpSocket": {"port": "mcp"}},
        **changes,
    }
    return {key: value for key, value in copy.deepcopy(spec).items() if value is not None}


def pod(*containers: dict[str, Any], labels: dict[str, str] | None = None, **spec: Any) -> dict[str, Any]:
    """A pod template."""
    marks = LABELS if labels is None else labels
    return {"metadata": {"labels": marks}, "spec": {"containers": list(containers or [container()]), **spec}}


def workload(kind: str, template: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    """Type token and properties of a workload of this kind with this pod."""
    name = {"name": "x", "namespace": "ns"}
    group = {"Job": "batch/v1", "CronJob": "batch/v1", "Pod": "core/v1", "ReplicationController": "core/v1", "PodTemplate": "core/v1"}
    token = f"kubernetes:{group.get(kind, 'apps/v1')}:{kind}"
    if kind == "Pod":
        return token, {"metadata": {**name, "labels": template["metadata"]["labels"]}, "spec": template["spec"]}
    if kind == "PodTemplate":
        return token, {"metadata": name, "template": template}
    if kind == "CronJob":
        return token, {"metadata": name, "spec": {"jobTemplate": {"spec": {"template": template}}}}
    return token, {"metadata": name, "spec": {"template": template}}


def verdict(
    rule: Rule, *containers: dict[str, Any], kind: str = "Deployment", config: dict[str, Any] | None = None, **spec: Any
) -> Verdict:
    """What `rule` says of a workload with these containers."""
    token, props = workload(kind, pod(*containers, **spec))
    return judge(rule, token, props, config or {})
