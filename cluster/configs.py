"""The configuration files of the daemons, as text or data, from values. Pure; `write_all` puts them on disk."""

from __future__ import annotations

import base64
import json
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from cluster import addresses as at
from cluster import certificates as certs
from cluster.paths import Layout

PAUSE_IMAGE = "sophia.local/busybox:1"
"""Image of the pause container and of the storage provisioner's helper; see `cluster.image`."""
SANDBOX_COMMAND = ("/bin/sh", "-c", "trap 'exit 0' TERM INT; while :; do sleep 2147483647 & wait; done")


@dataclass(frozen=True)
class Host:
    """What the configuration depends on that differs between machines."""

    snapshotter: str = "overlayfs"
    """`native` (copies) where the clone's file system cannot carry an overlay, for example inside a container."""
    may_lower_oom_score: bool = True
    """False without CAP_SYS_RESOURCE: then no process of ours asks for a lower score than it was born with."""
    name_servers: bool = True
    """Whether the machine has a resolver to forward foreign names to."""
    resolv_conf: str = "/etc/resolv.conf"
    cni_plugins: str = "/usr/lib/cni"


def containerd_toml(layout: Layout, host: Host) -> str:
    """containerd's configuration, version 2 (1.6 and later 1.x).

    Everything is below our own directories, also what has a global default: the `opt` plugin would make /opt/containerd,
    network namespaces would be mounted below /run/netns.
    """
    cri = 'plugins."io.containerd.grpc.v1.cri"'
    return f"""version = 2
root = {json.dumps(str(layout.state / "containerd"))}
state = {json.dumps(str(layout.run / "containerd"))}
oom_score = 0
disabled_plugins = [
  "io.containerd.snapshotter.v1.aufs", "io.containerd.snapshotter.v1.btrfs",
  "io.containerd.snapshotter.v1.devmapper", "io.containerd.snapshotter.v1.zfs",
]

[grpc]
  address = {json.dumps(str(layout.containerd_socket))}

[plugins."io.containerd.internal.v1.opt"]
  path = {json.dumps(str(layout.state / "containerd-opt"))}

[{cri}]
  sandbox_image = {json.dumps(PAUSE_IMAGE)}
  restrict_oom_score_adj = {json.dumps(not host.may_lower_oom_score)}
  netns_mounts_under_state_dir = true
  [{cri}.cni]
    bin_dir = {json.dumps(host.cni_plugins)}
    conf_dir = {json.dumps(str(layout.config / "cni"))}
  [{cri}.containerd]
    snapshotter = {json.dumps(host.snapshotter)}
    default_runtime_name = "runc"
    [{cri}.containerd.runtimes.runc]
      runtime_type = "io.containerd.runc.v2"
      [{cri}.containerd.runtimes.runc.options]
        SystemdCgroup = false
        Root = {json.dumps(str(layout.run / "runc"))}
  [{cri}.registry]
    config_path = {json.dumps(str(layout.config / "registries"))}
"""


def registry_hosts_toml() -> str:
    """Tells containerd that the local registry speaks plain HTTP."""
    url = json.dumps(f"http://{at.LOOPBACK}:{at.REGISTRY_PORT}")
    return f'server = {url}\n\n[host.{url}]\n  capabilities = ["pull", "resolve"]\n'


def cni_conflist(layout: Layout) -> dict[str, Any]:
    """Pod network: a cable from each pod to the machine (`ptp`), not a bridge.

    With a bridge, the answer of a pod to its neighbour behind a Service address goes past iptables unless the whole
    machine's bridges are told to call it (`bridge-nf-call-iptables`), which changes the user's other bridges. A routed
    cable needs no such thing, and every packet between pods passes the machine's filter, where policies can be enforced.
    No `portmap`: a hostPort would open on every address of the machine, and restricted pods may not ask for one.
    """
    return {
        "cniVersion": "0.4.0",
        "name": "sophia",
        "plugins": [
            {
                "type": "ptp",
                "ipMasq": False,
                "ipam": {
                    "type": "host-local",
                    "ranges": [[{"subnet": at.POD_CIDR}]],
                    "routes": [{"dst": "0.0.0.0/0"}],
                    "dataDir": str(layout.run / "pod-addresses"),
                },
            }
        ],
    }


def kubelet_config(layout: Layout, host: Host) -> dict[str, Any]:
    """The kubelet's configuration: its own cgroup, port, logs, and no iptables chains of its own."""
    return {
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "address": at.NODE_IP,
        "port": at.KUBELET_PORT,
        "readOnlyPort": 0,
        "healthzBindAddress": at.LOOPBACK,
        "healthzPort": at.KUBELET_HEALTH_PORT,
        "tlsCertFile": str(certs.certificate_path(layout.pki, "kubelet-serving")),
        "tlsPrivateKeyFile": str(certs.key_path(layout.pki, "kubelet-serving")),
        "authentication": {
            "anonymous": {"enabled": False},
            "webhook": {"enabled": True},
            "x509": {"clientCAFile": str(certs.certificate_path(layout.pki, certs.CA))},
        },
        "authorization": {"mode": "Webhook"},
        "containerRuntimeEndpoint": f"unix://{layout.containerd_socket}",
        "cgroupDriver": "cgroupfs",
        "cgroupRoot": layout.cgroup,
        "clusterDNS": [at.DNS_SERVICE_IP],
        "clusterDomain": at.CLUSTER_DOMAIN,
        "resolvConf": host.resolv_conf,
        "podLogsDir": str(layout.logs / "pods"),
        "volumePluginDir": str(layout.state / "volume-plugins"),
        "failSwapOn": False,
        "makeIPTablesUtilChains": False,
        "oomScoreAdj": -999 if host.may_lower_oom_score else 0,
        "seccompDefault": True,
        "serializeImagePulls": False,
        "maxParallelImagePulls": 3,
        "maxPods": 250,
        # absolute, not a share: 10 % of a large disk may be more than a laptop ever has free
        "evictionHard": {"memory.available": "100Mi", "nodefs.available": "1Gi", "imagefs.available": "1Gi"},
        "imageGCHighThresholdPercent": 97,
        "imageGCLowThresholdPercent": 95,
        "containerLogMaxSize": "10Mi",
        "containerLogMaxFiles": 3,
    }


def kube_proxy_config(layout: Layout) -> dict[str, Any]:
    """kube-proxy: iptables mode, node ports on the node's own address only, kernel limits left as they are."""
    return {
        "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
        "kind": "KubeProxyConfiguration",
        "mode": "iptables",
        "hostnameOverride": at.NODE_NAME,
        "bindAddress": at.NODE_IP,
        "clusterCIDR": at.POD_CIDR,
        "detectLocalMode": "ClusterCIDR",
        "nodePortAddresses": [f"{at.NODE_IP}/32"],
        "healthzBindAddress": f"{at.LOOPBACK}:{at.PROXY_HEALTH_PORT}",
        "metricsBindAddress": f"{at.LOOPBACK}:{at.PROXY_METRICS_PORT}",
        "clientConnection": {"kubeconfig": str(layout.config / "kube-proxy.kubeconfig")},
        "conntrack": {"maxPerCore": 0, "min": 0, "tcpEstablishedTimeout": "0s", "tcpCloseWaitTimeout": "0s"},
        "iptables": {"localhostNodePorts": False, "minSyncPeriod": "0s"},
    }


def corefile(layout: Layout, host: Host) -> str:
    """CoreDNS as a process of the machine, listening where pods reach it. Foreign names go where the machine's go."""
    forward = f"    forward . {host.resolv_conf}\n" if host.name_servers else ""
    return f""".:{at.DNS_PORT} {{
    bind {at.NODE_IP}
    errors
    health {at.LOOPBACK}:{at.DNS_HEALTH_PORT} {{
        lameduck 0s
    }}
    kubernetes {at.CLUSTER_DOMAIN} in-addr.arpa {{
        kubeconfig "{layout.config / "coredns.kubeconfig"}"
        pods insecure
        fallthrough in-addr.arpa
        ttl 5
    }}
{forward}    cache 10
}}
"""


def registry_config(layout: Layout) -> dict[str, Any]:
    """The image registry: files below the clone, loopback only."""
    return {
        "version": "0.1",
        "log": {"level": "warn", "accesslog": {"disabled": True}},
        "storage": {
            "filesystem": {"rootdirectory": str(layout.state / "registry")},
            "delete": {"enabled": True},
            "maintenance": {"uploadpurging": {"enabled": False}},
        },
        "http": {"addr": f"{at.LOOPBACK}:{at.REGISTRY_PORT}"},
    }


def dockerd_config(layout: Layout, host: Host) -> dict[str, Any]:
    """A Docker daemon for builds alone: no bridge, no iptables, no forwarding; runs through our containerd."""
    return {
        "hosts": [layout.docker_host],
        "containerd": str(layout.containerd_socket),
        "containerd-namespace": "sophia-docker",
        "containerd-plugins-namespace": "sophia-docker-plugins",
        "data-root": str(layout.state / "docker"),
        "exec-root": str(layout.run / "docker"),
        "pidfile": str(layout.run / "docker.pid"),
        "deprecated-key-path": str(layout.state / "docker-key.json"),
        "bridge": "none",
        "iptables": False,
        "ip6tables": False,
        "ip-forward": False,
        "ip-masq": False,
        "userland-proxy": False,
        "cgroup-parent": f"{layout.cgroup}/docker",
        "exec-opts": ["native.cgroupdriver=cgroupfs"],
        "oom-score-adjust": -500 if host.may_lower_oom_score else 0,
        "insecure-registries": [at.REGISTRY, f"{at.LOOPBACK}:{at.REGISTRY_PORT}"],
        "max-concurrent-uploads": 3,
    }


def local_path_config(layout: Layout) -> dict[str, Any]:
    """Where persistent volumes are: one directory each below the clone."""
    return {"nodePathMap": [{"node": "DEFAULT_PATH_FOR_NON_LISTED_NODES", "paths": [str(layout.volumes)]}]}


def local_path_helper() -> dict[str, Any]:
    """The pod that makes and removes a volume's directory; the image is in containerd already, so it is never pulled."""
    container = {
        "name": "helper-pod",
        "image": PAUSE_IMAGE,
        "imagePullPolicy": "Never",
        "securityContext": {"runAsUser": 0, "capabilities": {"drop": ["ALL"], "add": ["DAC_OVERRIDE", "FOWNER"]}},
        "resources": {"requests": {"cpu": "10m", "memory": "16Mi"}, "limits": {"memory": "64Mi"}},
    }
    spec = {
        "containers": [container],
        "automountServiceAccountToken": False,
        "priorityClassName": "system-node-critical",
    }
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "helper-pod"}, "spec": spec}


def encryption_config(key: bytes) -> dict[str, Any]:
    """Secrets are encrypted in etcd's files: a copy of the data directory, or a search through it, shows none."""
    return {
        "apiVersion": "apiserver.config.k8s.io/v1",
        "kind": "EncryptionConfiguration",
        "resources": [
            {
                "resources": ["secrets"],
                "providers": [
                    {"secretbox": {"keys": [{"name": "key1", "secret": base64.b64encode(key).decode()}]}},
                    {"identity": {}},
                ],
            }
        ],
    }


def rendered(layout: Layout, host: Host) -> dict[str, str]:
    """Every configuration file of the real cluster: name below `layout.config` and content."""
    return {
        "containerd.toml": containerd_toml(layout, host),
        f"registries/{at.REGISTRY}/hosts.toml": registry_hosts_toml(),
        "cni/10-sophia.conflist": _json(cni_conflist(layout)),
        "kubelet.yaml": _yaml(kubelet_config(layout, host)),
        "kube-proxy.yaml": _yaml(kube_proxy_config(layout)),
        "Corefile": corefile(layout, host),
        "registry.yaml": _yaml(registry_config(layout)),
        "dockerd.json": _json(dockerd_config(layout, host)),
        "local-path.json": _json(local_path_config(layout)),
        "local-path-helper.yaml": _yaml(local_path_helper()),
    }


def write_all(layout: Layout, host: Host) -> None:
    """Writes what `rendered` gives."""
    for name, text in rendered(layout, host).items():
        path = layout.config / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


def ensure_encryption_key(layout: Layout) -> Path:
    """The file with the key that encrypts Secrets in etcd; made once, kept as long as the data."""
    path = layout.pki / "encryption.yaml"
    if not path.exists():
        certs.write_private(path, _yaml(encryption_config(secrets.token_bytes(32))).encode())
    return path


def _yaml(data: Mapping[str, Any]) -> str:
    return yaml.safe_dump(dict(data), sort_keys=False)


def _json(data: Mapping[str, Any]) -> str:
    return json.dumps(data, indent=2) + "\n"
