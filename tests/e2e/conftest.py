"""The whole platform on the real cluster: a copy of this clone, so that tests can edit it, deployed as stack `e2e`."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from kubernetes import client, config

from cluster.api import ClusterStatus
from ops.local import endpoints
from ops.mcp_check import Endpoint

ROOT = Path(__file__).resolve().parents[2]
ROOMS = ["app_images", "components", "infra", "policies", "Pulumi.yaml"]
STACK = "e2e"
NAMESPACE = f"sophia-{STACK}"


class Platform:
    """The copy, the commands on it, and a view of the cluster."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        for room in ROOMS:
            source = ROOT / room
            ignore = shutil.ignore_patterns("__pycache__", ".venv")
            shutil.copytree(source, folder / room, ignore=ignore) if source.is_dir() else shutil.copy(source, folder / room)
        self.stack_file = folder / f"Pulumi.{STACK}.yaml"
        self.stack_file.write_text((ROOT / "Pulumi.dev.yaml").read_text())
        self.printed: list[str] = []
        """Everything that any command printed, for the canary."""
        config.load_kube_config(os.environ["KUBECONFIG"])
        self.core, self.apps = client.CoreV1Api(), client.AppsV1Api()

    def start(self, *args: str) -> subprocess.Popen[str]:
        command = [sys.executable, "-m", "ops.cli", *args, "-C", str(self.folder), "-s", STACK]
        env = {k: v for k, v in os.environ.items() if not k.startswith("PULUMI_")}
        return subprocess.Popen(
            command, cwd=ROOT, env=env, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )

    def sophia(self, *args: str, timeout: int = 400) -> subprocess.CompletedProcess[str]:
        process = self.start(*args)
        output, _ = process.communicate(timeout=timeout)
        self.printed.append(output)
        return subprocess.CompletedProcess(args, process.returncode, output, "")

    def operation(self, verb: str, *flags: str) -> tuple[int, list[tuple[str, str]], str]:
        """Runs preview or up with the embedded engine; exit status, (op, `Kind name`) of every change, and all it printed."""
        yes = ["--yes", "--skip-preview"] if verb == "up" else []
        streaming = "PULUMI_ENABLE_STREAMING_JSON_PREVIEW"
        os.environ[streaming] = "1"
        try:
            done = self.sophia(verb, "--engine", "embedded", "--json", *yes, *flags)
        finally:
            os.environ.pop(streaming)
        changes = []
        for line in done.stdout.splitlines():
            event = json.loads(line) if line.startswith("{") else {}
            metadata = event.get("resourcePreEvent", {}).get("metadata")
            if metadata and metadata["op"] not in ("same", "read"):
                changes.append((metadata["op"], f"{metadata['type'].rsplit(':', 1)[1]} {metadata['urn'].rsplit('::', 1)[1]}"))
        return done.returncode, sorted(changes), done.stdout

    def edit(self, name: str, old: str, new: str) -> None:
        path = self.folder / name
        text = path.read_text()
        assert old in text, f"{name} has no {old!r}"
        path.write_text(text.replace(old, new))

    def endpoint(self, server: str = "ai-memory") -> Endpoint:
        return next(e for e in endpoints(NAMESPACE) if e.name == server)

    def pods(self, name: str) -> list[Any]:
        selector = f"app.kubernetes.io/name={name}"
        found = self.core.list_namespaced_pod(NAMESPACE, label_selector=selector).items
        return [pod for pod in found if pod.metadata.deletion_timestamp is None]

    @property
    def state(self) -> dict[str, Any]:
        path = self.folder / ".local" / "state" / ".pulumi" / "stacks" / "sophia" / f"{STACK}.json"
        return json.loads(path.read_text())["checkpoint"]["latest"]


@pytest.fixture(scope="session")
def platform(real_cluster: ClusterStatus, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Platform]:
    """Deployed once, as a user would with `make up`."""
    deployed = Platform(tmp_path_factory.mktemp("clone"))
    deployed.first = deployed.sophia("local", "up")  # type: ignore[attr-defined]
    yield deployed
    deployed.sophia("destroy", "--yes", "--skip-preview", "--engine", "embedded")
