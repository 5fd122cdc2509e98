"""A local address for a Service of a cluster whose network this machine is not part of."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from kubernetes import client
from kubernetes.stream import portforward

CHUNK = 65536


class PortForwardError(Exception):
    """There is no pod to forward to."""


@contextmanager
def forwarded(namespace: str, service: str, port: int) -> Iterator[str]:
    """`127.0.0.1:<free port>` leading to a ready pod behind the Service, through the API server. Raises PortForwardError.

    To one pod, as `kubectl port-forward` does: it is a way in for a check, not a load balancer.
    """
    pod = _ready_pod(namespace, service)
    with socket.create_server(("127.0.0.1", 0)) as server:
        threading.Thread(target=_accept, args=(server, namespace, pod, port), daemon=True).start()
        yield f"127.0.0.1:{server.getsockname()[1]}"


def _ready_pod(namespace: str, service: str) -> str:
    core = client.CoreV1Api()
    selector = core.read_namespaced_service(service, namespace).spec.selector or {}
    labels = ",".join(f"{k}={v}" for k, v in selector.items())
    for pod in core.list_namespaced_pod(namespace, label_selector=labels).items:
        conditions = {c.type: c.status for c in pod.status.conditions or []}
        if conditions.get("Ready") == "True" and pod.metadata.deletion_timestamp is None:
            return str(pod.metadata.name)
    raise PortForwardError(f"{service}: no pod behind the Service is ready")


def _accept(server: socket.socket, namespace: str, pod: str, port: int) -> None:
    with contextlib.suppress(OSError):  # the listener is closed when the forwarding ends
        while True:
            local, _ = server.accept()
            threading.Thread(target=_serve, args=(local, namespace, pod, port), daemon=True).start()


def _serve(local: socket.socket, namespace: str, pod: str, port: int) -> None:
    # A client of its own for each connection: the package switches its client to websockets while it connects.
    core = client.CoreV1Api(client.ApiClient())
    forward = portforward(core.connect_get_namespaced_pod_portforward, pod, namespace, ports=str(port))
    remote = forward.socket(port)
    remote.setblocking(True)
    back = threading.Thread(target=_pump, args=(remote, local), daemon=True)
    back.start()
    _pump(local, remote)
    back.join()
    local.close()


def _pump(source: socket.socket, target: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while data := source.recv(CHUNK):
            target.sendall(data)
    with contextlib.suppress(OSError):
        target.shutdown(socket.SHUT_WR)
