"""What runs: every process with its arguments, what it waits for, and how one sees that it works."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from cluster import addresses as at
from cluster import certificates as certs
from cluster.configs import PAUSE_IMAGE
from cluster.paths import Layout

MANIFESTS_TASK = "manifests"
"""Applies the system objects and takes back stale readiness, before a kubelet runs. A name in `after`, not a process."""
PAUSE_IMAGE_TASK = "pause-image"
"""Puts the pause image into containerd."""
TASKS = {MANIFESTS_TASK: ("kube-apiserver",), PAUSE_IMAGE_TASK: ("containerd",)}


@dataclass(frozen=True)
class Health:
    """A check of one process: a URL that answers 200, or a Unix socket that accepts (and answers `path` if given)."""

    url: str = ""
    identity: str = "admin"
    """The certificate to show where the URL is https."""
    socket: str = ""
    path: str = ""


@dataclass(frozen=True)
class Component:
    """One process of ours."""

    name: str
    argv: tuple[str, ...]
    after: tuple[str, ...] = ()
    health: Health = field(default_factory=Health)
    env: Mapping[str, str] = field(default_factory=dict)
    stop_seconds: float = 10
    """How long it may take to end after SIGTERM."""


def plan(layout: Layout, programs: Mapping[str, str], *, simulated: bool) -> list[Component]:
    """All processes in an order in which they can start. `programs` gives the full path of each program."""
    control = _control_plane(layout, programs, at.LOOPBACK if simulated else at.NODE_IP)
    return [*control, _kwok(layout, programs)] if simulated else [*control, *_node(layout, programs)]


def _control_plane(layout: Layout, programs: Mapping[str, str], address: str) -> list[Component]:
    return [_etcd(layout, programs), _apiserver(layout, programs, address), *_controllers(layout, programs)]


def _etcd(layout: Layout, programs: Mapping[str, str]) -> Component:
    pki, url = layout.pki, f"https://{at.LOOPBACK}:{at.ETCD_PORT}"
    peer = f"https://{at.LOOPBACK}:{at.ETCD_PEER_PORT}"
    argv = (
        programs["etcd"],
        "--name=sophia",
        f"--data-dir={layout.state / 'etcd'}",
        f"--listen-client-urls={url}",
        f"--advertise-client-urls={url}",
        f"--listen-peer-urls={peer}",
        f"--initial-advertise-peer-urls={peer}",
        f"--initial-cluster=sophia={peer}",
        f"--cert-file={_crt(pki, 'etcd')}",
        f"--key-file={_key(pki, 'etcd')}",
        f"--trusted-ca-file={_crt(pki, certs.ETCD_CA)}",
        "--client-cert-auth",
        f"--peer-cert-file={_crt(pki, 'etcd')}",
        f"--peer-key-file={_key(pki, 'etcd')}",
        f"--peer-trusted-ca-file={_crt(pki, certs.ETCD_CA)}",
        "--peer-client-cert-auth",
        "--auto-compaction-mode=periodic",
        "--auto-compaction-retention=1h",
        "--quota-backend-bytes=2147483648",
        "--logger=zap",
        "--log-level=warn",
    )
    return Component("etcd", argv, health=Health(url=f"{url}/health", identity="apiserver-etcd"))


def _apiserver(layout: Layout, programs: Mapping[str, str], address: str) -> Component:
    pki = layout.pki
    issuer = f"https://kubernetes.default.svc.{at.CLUSTER_DOMAIN}"
    argv = (
        programs["kube-apiserver"],
        f"--bind-address={address}",
        f"--advertise-address={address}",
        f"--secure-port={at.API_PORT}",
        f"--etcd-servers=https://{at.LOOPBACK}:{at.ETCD_PORT}",
        f"--etcd-cafile={_crt(pki, certs.ETCD_CA)}",
        f"--etcd-certfile={_crt(pki, 'apiserver-etcd')}",
        f"--etcd-keyfile={_key(pki, 'apiserver-etcd')}",
        f"--encryption-provider-config={pki / 'encryption.yaml'}",
        f"--client-ca-file={_crt(pki, certs.CA)}",
        f"--tls-cert-file={_crt(pki, 'apiserver')}",
        f"--tls-private-key-file={_key(pki, 'apiserver')}",
        "--anonymous-auth=false",
        "--authorization-mode=Node,RBAC",
        "--enable-admission-plugins=NodeRestriction",
        "--allow-privileged=true",
        f"--kubelet-certificate-authority={_crt(pki, certs.CA)}",
        f"--kubelet-client-certificate={_crt(pki, 'apiserver-kubelet')}",
        f"--kubelet-client-key={_key(pki, 'apiserver-kubelet')}",
        "--kubelet-preferred-address-types=InternalIP",
        f"--service-cluster-ip-range={at.SERVICE_CIDR}",
        f"--service-account-issuer={issuer}",
        f"--service-account-key-file={pki / f'{certs.SERVICE_ACCOUNT}.pub'}",
        f"--service-account-signing-key-file={_key(pki, certs.SERVICE_ACCOUNT)}",
        f"--requestheader-client-ca-file={_crt(pki, certs.FRONT_PROXY_CA)}",
        "--requestheader-allowed-names=front-proxy-client",
        "--requestheader-username-headers=X-Remote-User",
        "--requestheader-group-headers=X-Remote-Group",
        "--requestheader-extra-headers-prefix=X-Remote-Extra-",
        f"--proxy-client-cert-file={_crt(pki, 'front-proxy')}",
        f"--proxy-client-key-file={_key(pki, 'front-proxy')}",
        "--profiling=false",
        # one server only: no need to keep a seat warm for a successor, and `down` is quicker
        "--shutdown-delay-duration=0s",
        "--event-ttl=1h",
        # needs etcd 3.5; with the distribution's 3.4 it fails every minute and fills the log
        "--feature-gates=SizeBasedListCostEstimate=false",
    )
    health = Health(url=f"https://{address}:{at.API_PORT}/readyz")
    return Component("kube-apiserver", argv, ("etcd",), health, stop_seconds=15)


def _controllers(layout: Layout, programs: Mapping[str, str]) -> list[Component]:
    pki = layout.pki
    manager = (
        programs["kube-controller-manager"],
        *_controller_flags(layout, "controller-manager", at.CONTROLLER_MANAGER_PORT),
        f"--client-ca-file={_crt(pki, certs.CA)}",
        f"--root-ca-file={_crt(pki, certs.CA)}",
        f"--cluster-signing-cert-file={_crt(pki, certs.CA)}",
        f"--cluster-signing-key-file={_key(pki, certs.CA)}",
        f"--service-account-private-key-file={_key(pki, certs.SERVICE_ACCOUNT)}",
        "--use-service-account-credentials=true",
        "--allocate-node-cidrs=false",
        "--horizontal-pod-autoscaler-sync-period=10s",
        "--profiling=false",
    )
    scheduler = (
        programs["kube-scheduler"],
        *_controller_flags(layout, "scheduler", at.SCHEDULER_PORT),
        "--profiling=false",
    )
    return [
        Component("kube-controller-manager", manager, ("kube-apiserver",), _secure(at.CONTROLLER_MANAGER_PORT)),
        Component("kube-scheduler", scheduler, ("kube-apiserver",), _secure(at.SCHEDULER_PORT)),
    ]


def _controller_flags(layout: Layout, name: str, port: int) -> tuple[str, ...]:
    kubeconfig = _kubeconfig(layout, name)
    return (
        f"--kubeconfig={kubeconfig}",
        f"--authentication-kubeconfig={kubeconfig}",
        f"--authorization-kubeconfig={kubeconfig}",
        f"--bind-address={at.LOOPBACK}",
        f"--secure-port={port}",
        f"--tls-cert-file={_crt(layout.pki, name)}",
        f"--tls-private-key-file={_key(layout.pki, name)}",
        "--leader-elect=false",
    )


def _node(layout: Layout, programs: Mapping[str, str]) -> list[Component]:
    config = layout.config
    containerd = (programs["containerd"], "--config", str(config / "containerd.toml"))
    # runc and the CNI plugins' iptables are looked up on PATH by containerd's children
    path = {"PATH": programs["PATH"]}
    kubelet = (
        programs["kubelet"],
        f"--config={config / 'kubelet.yaml'}",
        f"--kubeconfig={_kubeconfig(layout, 'kubelet')}",
        f"--root-dir={layout.data_link / 'kubelet'}",
        f"--cert-dir={layout.state / 'kubelet-pki'}",
        f"--hostname-override={at.NODE_NAME}",
        f"--node-ip={at.NODE_IP}",
    )
    proxy = (programs["kube-proxy"], f"--config={config / 'kube-proxy.yaml'}")
    return [
        Component("containerd", containerd, health=Health(socket=str(layout.containerd_socket)), env=path),
        Component(
            "kubelet",
            kubelet,
            (MANIFESTS_TASK, PAUSE_IMAGE_TASK),
            Health(url=f"http://{at.LOOPBACK}:{at.KUBELET_HEALTH_PORT}/healthz"),
            path,
        ),
        Component(
            "kube-proxy",
            proxy,
            ("kube-apiserver",),
            Health(url=f"http://{at.LOOPBACK}:{at.PROXY_HEALTH_PORT}/livez"),
            path,
        ),
        *_addons(layout, programs),
        *_images(layout, programs, path),
    ]


def _addons(layout: Layout, programs: Mapping[str, str]) -> list[Component]:
    pki = layout.pki
    metrics = (
        programs["metrics-server"],
        *(f"--{prefix}kubeconfig={_kubeconfig(layout, 'metrics-server')}" for prefix in ("", *_DELEGATED)),
        f"--bind-address={at.NODE_IP}",
        f"--secure-port={at.METRICS_SERVER_PORT}",
        f"--tls-cert-file={_crt(pki, 'metrics-server')}",
        f"--tls-private-key-file={_key(pki, 'metrics-server')}",
        f"--client-ca-file={_crt(pki, certs.CA)}",
        f"--requestheader-client-ca-file={_crt(pki, certs.FRONT_PROXY_CA)}",
        f"--kubelet-certificate-authority={_crt(pki, certs.CA)}",
        "--kubelet-preferred-address-types=InternalIP",
        "--kubelet-use-node-status-port",
        "--metric-resolution=15s",
    )
    local_path = (
        programs["local-path-provisioner"],
        "start",
        f"--kubeconfig={_kubeconfig(layout, 'local-path')}",
        "--namespace=local-path-storage",
        "--configmap-name=local-path-config",
        f"--helper-pod-file={layout.config / 'local-path-helper.yaml'}",
        f"--helper-image={PAUSE_IMAGE}",
        f"--config={layout.config / 'local-path.json'}",
        "--service-account-name=default",
        "--provisioner-name=rancher.io/local-path",
        "--worker-threads=4",
    )
    return [
        Component(
            "coredns",
            (programs["coredns"], "-conf", str(layout.config / "Corefile")),
            ("kube-apiserver", MANIFESTS_TASK),
            Health(url=f"http://{at.LOOPBACK}:{at.DNS_HEALTH_PORT}/health"),
        ),
        Component(
            "metrics-server",
            metrics,
            ("kube-apiserver", MANIFESTS_TASK),
            Health(url=f"https://{at.NODE_IP}:{at.METRICS_SERVER_PORT}/livez"),
        ),
        Component("local-path-provisioner", local_path, ("kube-apiserver", MANIFESTS_TASK)),
    ]


_DELEGATED = ("authentication-", "authorization-")


def _images(layout: Layout, programs: Mapping[str, str], path: Mapping[str, str]) -> list[Component]:
    return [
        Component(
            "registry",
            (programs["docker-registry"], "serve", str(layout.config / "registry.yaml")),
            health=Health(url=f"http://{at.LOOPBACK}:{at.REGISTRY_PORT}/v2/"),
            env={"OTEL_TRACES_EXPORTER": "none"},
        ),
        Component(
            "dockerd",
            (programs["dockerd"], f"--config-file={layout.config / 'dockerd.json'}"),
            ("containerd",),
            Health(socket=str(layout.docker_socket), path="/_ping"),
            path,
            stop_seconds=20,
        ),
    ]


def _kwok(layout: Layout, programs: Mapping[str, str]) -> Component:
    argv = (
        programs["kwok"],
        f"--kubeconfig={_kubeconfig(layout, 'kwok')}",
        f"--config={layout.config / 'kwok.yaml'}",
        "--manage-all-nodes=true",
        f"--server-address={at.LOOPBACK}:{at.KWOK_PORT}",
        "--node-lease-duration-seconds=40",
        "--v=WARN",
    )
    return Component("kwok", argv, ("kube-apiserver",), Health(url=f"http://{at.LOOPBACK}:{at.KWOK_PORT}/healthz"))


def _crt(pki: Path, name: str) -> str:
    return str(certs.certificate_path(pki, name))


def _key(pki: Path, name: str) -> str:
    return str(certs.key_path(pki, name))


def _kubeconfig(layout: Layout, name: str) -> str:
    return str(layout.config / f"{name}.kubeconfig")


def _secure(port: int) -> Health:
    return Health(url=f"https://{at.LOOPBACK}:{port}/healthz")
