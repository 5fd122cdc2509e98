"""Addresses and ports of the cluster: the only place where they are written.

Ports are in 16000-16500 rather than Kubernetes' own so that a k3s or kubeadm node on the same machine does not clash.
Pods must reach the API server, and nobody outside the machine should: so the host daemons that pods talk to listen on an
address of their own (`NODE_IP`, on an interface without a cable), never on 0.0.0.0, and not on the machine's real
address, which changes with the network it is in.
"""

from __future__ import annotations

from dataclasses import dataclass

LOOPBACK = "127.0.0.1"
NODE_IP = "10.243.0.1"
POD_CIDR = "10.244.0.0/16"
SERVICE_CIDR = "10.96.0.0/16"
API_SERVICE_IP = "10.96.0.1"
DNS_SERVICE_IP = "10.96.0.10"
CLUSTER_DOMAIN = "cluster.local"
NODE_NAME = "sophia"
CONTEXT = "sophia-local"

API_PORT = 16443
ETCD_PORT = 16379
ETCD_PEER_PORT = 16380
KUBELET_PORT = 16250
KUBELET_HEALTH_PORT = 16248
CONTROLLER_MANAGER_PORT = 16257
SCHEDULER_PORT = 16259
PROXY_HEALTH_PORT = 16256
PROXY_METRICS_PORT = 16249
DNS_PORT = 16053
DNS_HEALTH_PORT = 16054
METRICS_SERVER_PORT = 16444
KWOK_PORT = 16247
REGISTRY_PORT = 5000
REGISTRY = f"localhost:{REGISTRY_PORT}"


@dataclass(frozen=True)
class Listener:
    """A TCP port that one of our daemons will listen on."""

    address: str
    port: int
    use: str


_CONTROL_PLANE = (
    Listener(LOOPBACK, API_PORT, "kube-apiserver"),
    Listener(LOOPBACK, ETCD_PORT, "etcd"),
    Listener(LOOPBACK, ETCD_PEER_PORT, "etcd peers"),
    Listener(LOOPBACK, CONTROLLER_MANAGER_PORT, "kube-controller-manager"),
    Listener(LOOPBACK, SCHEDULER_PORT, "kube-scheduler"),
)
REAL_LISTENERS = (
    *_CONTROL_PLANE,
    Listener(NODE_IP, API_PORT, "kube-apiserver"),
    Listener(NODE_IP, KUBELET_PORT, "kubelet"),
    Listener(LOOPBACK, KUBELET_HEALTH_PORT, "kubelet health"),
    Listener(LOOPBACK, PROXY_HEALTH_PORT, "kube-proxy health"),
    Listener(LOOPBACK, PROXY_METRICS_PORT, "kube-proxy metrics"),
    Listener(NODE_IP, DNS_PORT, "CoreDNS"),
    Listener(LOOPBACK, DNS_HEALTH_PORT, "CoreDNS health"),
    Listener(NODE_IP, METRICS_SERVER_PORT, "metrics-server"),
    Listener(LOOPBACK, REGISTRY_PORT, "image registry"),
)
SIMULATED_LISTENERS = (*_CONTROL_PLANE, Listener(LOOPBACK, KWOK_PORT, "kwok"))
