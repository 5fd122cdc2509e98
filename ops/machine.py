"""What is particular to this machine about a stack that runs on it: where its cluster is, which base image it has.

Such values are neither in the program nor in the repository. `sophia` merges them over the stack's own configuration, in
a file of its own under `.local/`, so that preview, up and destroy see the same with either engine.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from engine.project import load_yaml, merged


@dataclass(frozen=True)
class Machine:
    """One stack on this machine."""

    root: Path
    """The project's folder."""
    stack: str

    @property
    def local(self) -> Path:
        return self.root / ".local"

    @property
    def overlay(self) -> Path:
        """Configuration and environment that only hold here; absent for a stack that does not run here."""
        return self.local / "machine" / f"{self.stack}.yaml"

    @property
    def stack_file(self) -> Path:
        return self.root / f"Pulumi.{self.stack}.yaml"

    def own_cluster(self) -> bool:
        """Whether the stack names a cluster itself (`kubernetes:context` or `kubernetes:kubeconfig`)."""
        config = _load(self.stack_file).get("config") or {}
        return any(config.get(f"kubernetes:{key}") for key in ("context", "kubeconfig"))

    def remember(self, config: Mapping[str, Any], environment: Mapping[str, str]) -> None:
        """Keeps what this machine adds for later runs."""
        self.overlay.parent.mkdir(parents=True, exist_ok=True)
        self.overlay.write_text(yaml.safe_dump({"config": dict(config), "environment": dict(environment)}))

    def forget(self) -> None:
        self.overlay.unlink(missing_ok=True)
        self._merged.unlink(missing_ok=True)

    @property
    def _merged(self) -> Path:
        return self.local / "machine" / f"Pulumi.{self.stack}.yaml"

    def config_file(self) -> Path | None:
        """The stack's configuration with this machine's values merged over it; None where there is nothing to merge."""
        added = _load(self.overlay).get("config")
        if not added:
            return None
        whole = _load(self.stack_file)
        whole["config"] = merged(whole.get("config") or {}, added)
        self._merged.write_text(yaml.safe_dump(whole, sort_keys=False))
        return self._merged

    def environment(self) -> dict[str, str]:
        """Variables for a run on this machine: its cluster, its Docker engine, its backend and passphrase.

        Cluster and Docker engine always win over the shell's: a stack that was deployed here is not to be destroyed on
        another cluster. A backend and a passphrase of the user's own win over the ones made here.
        """
        if not self.overlay.exists():
            return {}
        wanted = {str(k): str(v) for k, v in (_load(self.overlay).get("environment") or {}).items()}
        (self.local / "state").mkdir(mode=0o700, parents=True, exist_ok=True)  # the CLI wants it to exist
        wanted["PULUMI_BACKEND_URL"] = f"file://{self.local / 'state'}"
        if "PULUMI_CONFIG_PASSPHRASE" not in os.environ:
            wanted["PULUMI_CONFIG_PASSPHRASE_FILE"] = str(self._passphrase_file())
        here = set(_load(self.overlay).get("environment") or {})  # the cluster the stack runs on, whatever the shell points to
        return {k: v for k, v in wanted.items() if k in here or k not in os.environ}

    def _passphrase_file(self) -> Path:
        """A generated passphrase, readable by its owner only: a stack of this machine needs no secret from anybody."""
        path = self.local / "passphrase"
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with os.fdopen(descriptor, "w") as file:
                file.write(secrets.token_urlsafe(32))
        return path


def _load(path: Path) -> dict[str, Any]:
    return load_yaml(path) if path.exists() else {}
