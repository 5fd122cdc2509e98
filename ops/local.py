"""`sophia local`: the platform on this machine, from nothing to answering tools, and back to nothing."""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import yaml
from kubernetes import client, config

from cluster import api as cluster
from cluster.errors import ClusterError
from engine.project import load_stack_file
from infra.settings import SettingsError, parse_settings
from ops import base_image, wheels
from ops.machine import Machine
from ops.mcp_check import CheckError, Endpoint, check_memory
from ops.port_forward import PortForwardError, forwarded

Sophia = Callable[[list[str]], int]
"""Runs another `sophia` command and returns its exit status."""
NOT_DEPLOYED = 1
SIMULATED = "simulated"
AMD64 = "linux/amd64"
"""The settings' default; another machine's own platform is part of what it adds to them."""
_PLATFORMS = {"x86_64": AMD64, "aarch64": "linux/arm64"}


class Phases:
    """Tells what is being done and how long it took."""

    def __init__(self) -> None:
        self._started = time.monotonic()

    @contextmanager
    def phase(self, name: str) -> Iterator[Callable[[str], None]]:
        started = time.monotonic()
        print(f"==> {name}", flush=True)
        yield lambda text: print(f"    {text}", flush=True)
        print(f"    {name} took {time.monotonic() - started:.1f} s", flush=True)

    @property
    def total(self) -> float:
        return time.monotonic() - self._started


def up(root: Path, stack: str, sophia: Sophia, nodes: str = "real") -> int:
    """Brings the stack up on this machine and calls its servers' tools. Returns an exit status as `pulumi up` would."""
    machine, phases = Machine(root, stack), Phases()
    own = machine.own_cluster()
    environment: dict[str, str] = {}
    if not own:
        with phases.phase("cluster") as say:
            now = cluster.up(nodes=nodes, progress=say)
            environment = {"KUBECONFIG": now.kubeconfig}
            if now.docker_host:
                environment["DOCKER_HOST"] = now.docker_host
            os.environ.update(environment)
            say(f"{len(now.components)} components, {now.memory_mib} MiB; kubeconfig {_relative(now.kubeconfig)}")
    with phases.phase("images") as say:
        registry = parse_settings(_raw_settings(machine), stack).images.registry
        machine.remember(_simulated(machine) if nodes == SIMULATED else _images(root, registry, say), environment)
    with phases.phase("preview and policy"):
        status = sophia(["preview", "--stack", stack, "--cwd", str(root)])
    if status:
        return status
    with phases.phase("deploy"):
        status = sophia(["up", "--stack", stack, "--cwd", str(root), "--yes", "--skip-preview"])
    if status:
        return status
    with phases.phase("check") as say:
        if nodes == SIMULATED:
            say("simulated nodes: the API server is real and the pods are ready, but nothing runs in them; there are no tools to call")
        checked = nodes == SIMULATED or _check(machine, say)
    print(f"\n{stack} is {'up' if checked else 'deployed, but a check failed'} after {phases.total:.1f} s.", flush=True)
    return 0 if checked else NOT_DEPLOYED


def _images(root: Path, registry: str, say: Callable[[str], None]) -> dict[str, Any]:
    """Prepares what the images are built from; the configuration that is particular to it."""
    base = base_image.for_stack(os.environ.get("DOCKER_HOST"), say, registry)
    platform = _PLATFORMS.get(os.uname().machine, AMD64)
    wheels.fill(say, platform, images=root / "app_images")
    images = ({"base": base} if base else {}) | ({"platform": platform} if platform != AMD64 else {})
    return {"sophia:platform": {"images": images}} if images else {}


def _simulated(machine: Machine) -> dict[str, Any]:
    """Configuration for nodes that run nothing: a name for every image, so that none is built (there may be no Docker)."""
    names = parse_settings(_raw_settings(machine), machine.stack).mcp_servers
    image = "localhost/simulated:1"
    return {"sophia:platform": {"images": {"postgres": image}, "mcp_servers": {name: {"image": image} for name in names}}}


def down(root: Path, stack: str, sophia: Sophia) -> int:
    """Removes the platform and stops the cluster. The platform's data goes with it, as with `pulumi destroy`."""
    machine, phases = Machine(root, stack), Phases()
    own, status = machine.own_cluster(), 0
    if machine.overlay.exists() or own:
        with phases.phase("destroy") as say:
            if not own:
                now = cluster.up(nodes=cluster.status().nodes, progress=say)
                os.environ["KUBECONFIG"] = now.kubeconfig
            status = sophia(["destroy", "--stack", stack, "--cwd", str(root), "--yes"])
            status = 0 if status == NO_STACK else status
    if not own:
        with phases.phase("stop the cluster") as say:
            cluster.down(progress=say)
    return status


NO_STACK = 6
"""`sophia destroy` of a stack that does not exist; nothing to remove is fine here."""


def clean(root: Path, stack: str, sophia: Sophia) -> int:
    """`down`, and removes everything that was made on this machine by this clone, state included."""
    machine = Machine(root, stack)
    own, phases = machine.own_cluster(), Phases()
    status = down(root, stack, sophia) if own else 0
    with phases.phase("remove the cluster and its data") as say:
        cluster.clean(progress=say)
    if status == 0:
        machine.forget()
        if not own:  # the resources went with the cluster, so the record of them is void
            shutil.rmtree(machine.local / "state", ignore_errors=True)
            (machine.local / "passphrase").unlink(missing_ok=True)
    return status


def status(root: Path, stack: str) -> int:
    """Prints the components of the cluster and the addresses of the servers."""
    now = cluster.status()
    print(f"cluster: {now.phase}" + (f", {now.memory_mib} MiB" if now.components else ""))
    for part in now.components:
        print(f"  {'ok ' if part.ready else 'BAD'} {part.name:24} pid {part.pid:<8} {part.memory_mib:>5} MiB {part.error}")
    if now.running:
        os.environ["KUBECONFIG"] = now.kubeconfig
        machine = Machine(root, stack)
        _connect(machine)
        for endpoint in endpoints(_namespace(machine)):
            print(f"  {endpoint.name:28} {endpoint.url}")
    return 0


# -- what runs ---------------------------------------------------------------------------------------------------------


def _connect(machine: Machine) -> None:
    """Makes the stack's cluster the one that the Kubernetes client talks to."""
    given = load_stack_file(machine.stack_file).config
    kubeconfig, context = given.get("kubernetes:kubeconfig"), given.get("kubernetes:context")
    if isinstance(kubeconfig, str) and kubeconfig.lstrip().startswith(("{", "apiVersion")):
        config.load_kube_config_from_dict(yaml.safe_load(kubeconfig), context=context)
    else:
        config.load_kube_config(kubeconfig or os.environ.get("KUBECONFIG"), context=context)


@contextmanager
def _reach(machine: Machine, namespace: str, endpoint: Endpoint) -> Iterator[Endpoint]:
    """The endpoint as it can be reached from here: directly on the one-machine cluster, else forwarded by the API server."""
    if not machine.own_cluster():
        yield endpoint
        return
    port = int(endpoint.address.rpartition(":")[2])
    with forwarded(namespace, endpoint.name, port) as address:
        yield replace(endpoint, address=address)


def _namespace(machine: Machine) -> str:
    """Where the stack's settings put the platform."""
    return parse_settings(_raw_settings(machine), machine.stack).namespace_of(machine.stack)


def _raw_settings(machine: Machine) -> Any:
    return load_stack_file(machine.config_file() or machine.stack_file).config.get("sophia:platform")


def endpoints(namespace: str) -> list[Endpoint]:
    """The MCP servers of a namespace, by their Services' labels."""
    selector = "app.kubernetes.io/part-of=sophia,app.kubernetes.io/component=mcp-server"
    found = client.CoreV1Api().list_namespaced_service(namespace, label_selector=selector).items
    servers = []
    for service in found:
        port = next(p.port for p in service.spec.ports if p.name != "metrics")
        host = f"{service.metadata.name}.{service.metadata.namespace}.svc"
        servers.append(Endpoint(service.metadata.name, f"{service.spec.cluster_ip}:{port}", f"{host}:{port}"))
    return servers


def _check(machine: Machine, say: Callable[[str], None]) -> bool:
    """Calls tools of every server and prints what came back."""
    healthy = True
    _connect(machine)
    namespace = _namespace(machine)
    for endpoint in endpoints(namespace):
        try:
            with _reach(machine, namespace, endpoint) as reached:
                answer = check_memory(reached)
        except (CheckError, PortForwardError) as error:
            healthy = False
            say(f"{endpoint.name}: FAILED: {error}")
            continue
        say(f"{endpoint.name} at {endpoint.url}")
        memory, match = answer.stored["memory"], answer.recalled[0]
        say(f"  store  -> memory {memory['id']} {'created' if answer.stored['created'] else 'updated'} ({answer.store_ms:.0f} ms)")
        say(f"  recall -> {match['memory']['content']!r}, score {match['score']:.2f} ({answer.recall_ms:.0f} ms)")
    return healthy


def _relative(path: str) -> str:
    return os.path.relpath(path) if path.startswith(str(Path.cwd())) else path


def _give_back(root: Path) -> None:
    """After `sudo make up` what is for people (state, passphrase, overlay) belongs to whoever owns the clone, not to root."""
    owner, local = root.stat(), root / ".local"
    if os.geteuid() != 0 or owner.st_uid == 0 or not local.exists():
        return
    for path in (local, *(local / name for name in ("machine", "state", "passphrase", "cluster.lock"))):
        for each in [path, *(path.rglob("*") if path is not local else ())]:
            if each.exists():
                os.chown(each, owner.st_uid, owner.st_gid)


def run(args: argparse.Namespace, root: Path, sophia: Sophia) -> int:
    """Entry from the command line."""
    try:
        if args.action == "up":
            return up(root, args.stack, sophia, args.nodes)
        if args.action == "down":
            return down(root, args.stack, sophia)
        if args.action == "clean":
            return clean(root, args.stack, sophia)
        return status(root, args.stack)
    except (ClusterError, base_image.BaseImageError, wheels.WheelsError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except SettingsError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    finally:
        _give_back(root)
