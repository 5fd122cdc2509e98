"""The Kubernetes objects of one MCP server, as plain data: no Pulumi resource is made here."""

from __future__ import annotations

import hashlib
import json
import math
from typing import TYPE_CHECKING, NamedTuple

from components.network import DNS_EDGES, egress, ingress, network_policy
from components.objects import (
    ANNOTATION_PREFIX,
    Manifest,
    container_security_context,
    image_version,
    labels,
    metadata,
    pod_security_context,
    scratch_volume,
    selector,
)
from components.workload import AutoscalingSpec, autoscaler, cluster_service, disruption_budget, service_account

if TYPE_CHECKING:
    from components.mcp_server import McpServerSpec

CONFIG_DIR = "/etc/sophia/config"
SECRETS_DIR = "/etc/sophia/secrets"
COMPONENT = "mcp-server"

# Seconds between the end of the grace the server gives its requests and the kubelet's SIGKILL: closing pools and
# flushing logs and traces.
FLUSH_SECONDS = 5

STARTUP_PERIOD_SECONDS = 2


class Server(NamedTuple):
    """A server's name and checked arguments, and every object made of them."""

    name: str
    spec: McpServerSpec

    @property
    def config_name(self) -> str:
        """Name of the ConfigMap with the server's settings."""
        return f"{self.name}-config"

    @property
    def labels(self) -> dict[str, str]:
        """Labels of all its objects."""
        return labels(self.name, COMPONENT)

    @property
    def workload_labels(self) -> dict[str, str]:
        """Labels of the Deployment and its pods. Only these have a version, so that new code changes nothing else."""
        return labels(self.name, COMPONENT, image_version(self.spec.image))

    @property
    def url(self) -> str:
        """Address of the MCP endpoint inside the cluster."""
        return f"http://{self.name}.{self.spec.namespace}.svc:{self.spec.port}/mcp"

    @property
    def allowed_hosts(self) -> list[str]:
        """Every name by which the server may be called, bare and with a port.

        Loopback is for `kubectl port-forward`; a rebinding attack carries its own name there, not loopback's.
        """
        service = [self.name, f"{self.name}.{self.spec.namespace}"]
        qualified = [f"{service[1]}.svc", f"{service[1]}.svc.cluster.local"]
        names = [*service, *qualified, *self.spec.hosts, "localhost", "127.0.0.1"]
        return [form for name in dict.fromkeys(names) for form in (name, f"{name}:*")]

    def settings(self) -> Manifest:
        """Contents of settings.json, as the server reads it."""
        return {
            "service": {
                "name": self.name,
                "namespace": self.spec.namespace,
                "port": self.spec.port,
                "metrics_port": self.spec.metrics_port,
                "allowed_hosts": self.allowed_hosts,
                "max_in_flight": self.spec.max_in_flight,
                "shutdown_grace_seconds": self.spec.shutdown_grace_seconds,
            },
            "pools": json.loads(self.spec.pools.settings_json) if self.spec.pools else {},
        }

    def config_map(self) -> Manifest:
        """The settings as a file. A fixed name; the hash on the pods is what makes a change a rollout."""
        return {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": metadata(self.config_name, self.spec.namespace, self.labels),
            "data": {"settings.json": json.dumps(self.settings(), indent=2, sort_keys=True) + "\n"},
        }

    def service_account(self) -> Manifest:
        """Identity of the pods."""
        return service_account(self.name, self.spec.namespace, self.labels)

    def disruption_budget(self) -> Manifest:
        """One pod at a time."""
        return disruption_budget(self.name, self.spec.namespace, self.labels)

    def autoscaler(self, scaling: AutoscalingSpec) -> Manifest:
        """Replicas that follow load."""
        return autoscaler(self.name, self.spec.namespace, self.labels, scaling)

    def network_policy(self) -> Manifest:
        """Clients on the port, monitoring on the metrics port; out to DNS, the pools and what is declared."""
        spec = self.spec
        edges = [*spec.egress, *(spec.pools.edges if spec.pools else ())]
        incoming = [*ingress(spec.clients, spec.port), *ingress(spec.scrapers, spec.metrics_port)]
        return network_policy(self.name, spec.namespace, self.labels, incoming, [*DNS_EDGES, *egress(edges)])

    def service(self) -> Manifest:
        """Both ports under the server's name, with its objective beside them."""
        ports = [
            {"name": "mcp", "port": self.spec.port, "targetPort": "mcp", "protocol": "TCP", "appProtocol": "http"},
            {"name": "metrics", "port": self.spec.metrics_port, "targetPort": "metrics", "protocol": "TCP"},
        ]
        annotations = self.spec.slo.annotations()
        return cluster_service(self.name, self.spec.namespace, self.labels, selector(self.name), ports, **annotations)

    def deployment(self) -> Manifest:
        """The workload. `replicas` is absent where the autoscaler owns it."""
        body: Manifest = {
            "selector": {"matchLabels": selector(self.name)},
            "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 0, "maxSurge": 1}},
            "minReadySeconds": 5,
            "progressDeadlineSeconds": 600,
            "revisionHistoryLimit": 5,
            "template": {
                "metadata": {
                    "labels": self.workload_labels,
                    "annotations": {f"{ANNOTATION_PREFIX}/config-hash": self._config_hash()},
                },
                "spec": self._pod(),
            },
        }
        if not self.spec.autoscaling:
            body["replicas"] = self.spec.fixed_replicas
        return {
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": metadata(self.name, self.spec.namespace, self.workload_labels, **self.spec.slo.annotations()),
            "spec": body,
        }

    def _config_hash(self) -> str:
        text = json.dumps(self.settings(), sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    def _pod(self) -> Manifest:
        grace = self.spec.drain_seconds + self.spec.shutdown_grace_seconds + FLUSH_SECONDS
        return {
            "serviceAccountName": self.name,
            "automountServiceAccountToken": False,
            "enableServiceLinks": False,
            "securityContext": pod_security_context(),
            "terminationGracePeriodSeconds": grace,
            "topologySpreadConstraints": self._spread(),
            "containers": [self._container()],
            "volumes": self._volumes(),
        }

    def _spread(self) -> list[Manifest]:
        """Over zones where there are some, over nodes as far as they go.

        From three replicas on, two on one node is refused rather than regretted: a pod then waits for a node. Cordoned
        and tainted nodes do not count, so that a drain does not block it.
        """
        replicas = self.spec.autoscaling.min_replicas if self.spec.autoscaling else self.spec.fixed_replicas
        strict = "DoNotSchedule" if replicas >= 3 else "ScheduleAnyway"
        keys = [("topology.kubernetes.io/zone", "ScheduleAnyway"), ("kubernetes.io/hostname", strict)]
        return [
            {
                "maxSkew": 1,
                "topologyKey": key,
                "whenUnsatisfiable": action,
                "nodeTaintsPolicy": "Honor",
                "labelSelector": {"matchLabels": selector(self.name)},
                "matchLabelKeys": ["pod-template-hash"],
            }
            for key, action in keys
        ]

    def _container(self) -> Manifest:
        environment = {"SOPHIA_SETTINGS_DIR": CONFIG_DIR, "SOPHIA_SECRETS_DIR": SECRETS_DIR}
        mounts: list[Manifest] = [
            {"name": "tmp", "mountPath": "/tmp"},  # noqa: S108 - the container's own, an emptyDir
            {"name": "config", "mountPath": CONFIG_DIR, "readOnly": True},
        ]
        if self.spec.pools:
            mounts.append({"name": "secrets", "mountPath": SECRETS_DIR, "readOnly": True})
        return {
            "name": self.name,
            "image": self.spec.image,
            # A tag is a hash of its contents and never moves, so there is nothing to ask the registry again.
            "imagePullPolicy": "IfNotPresent",
            "env": [{"name": key, "value": value} for key, value in environment.items()],
            "ports": [
                {"name": "mcp", "containerPort": self.spec.port, "protocol": "TCP"},
                {"name": "metrics", "containerPort": self.spec.metrics_port, "protocol": "TCP"},
            ],
            "resources": self.spec.resources.manifest(),
            "securityContext": container_security_context(),
            "lifecycle": {"preStop": {"sleep": {"seconds": self.spec.drain_seconds}}},
            **self._probes(),
            "volumeMounts": mounts,
        }

    def _probes(self) -> Manifest:
        check = self.spec.health_check
        return {
            "startupProbe": {
                "httpGet": {"path": "/health", "port": "mcp"},
                "periodSeconds": STARTUP_PERIOD_SECONDS,
                "timeoutSeconds": STARTUP_PERIOD_SECONDS,
                "failureThreshold": math.ceil(self.spec.startup_seconds / STARTUP_PERIOD_SECONDS),
            },
            "readinessProbe": {
                "httpGet": {"path": "/ready", "port": "mcp"},
                "periodSeconds": 5,
                "timeoutSeconds": 3,
                "failureThreshold": 3,
            },
            "livenessProbe": {
                "tcpSocket": {"port": "mcp"},
                "periodSeconds": check.interval_seconds,
                "timeoutSeconds": check.timeout_seconds,
                "failureThreshold": check.retries,
            },
        }

    def _volumes(self) -> list[Manifest]:
        volumes = [
            scratch_volume("tmp", self.spec.scratch_size),
            {
                "name": "config",
                "configMap": {"name": self.config_name, "items": [{"key": "settings.json", "path": "settings.json"}]},
            },
        ]
        if self.spec.pools:
            keys = [{"key": key, "path": key} for key in self.spec.pools.secret_keys]
            secret = {"secretName": self.spec.pools.secret_name, "defaultMode": 0o440, "items": keys}
            volumes.append({"name": "secrets", "secret": secret})
        return volumes
