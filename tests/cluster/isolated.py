"""A copy of the clone in network and mount namespaces of its own: a second cluster beside the one that may be running."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class IsolatedClone:
    root: Path
    holder: int
    """Process that keeps the namespaces."""

    def inside(self, *command: str, text: str | None = None) -> subprocess.CompletedProcess[str]:
        enter = ["nsenter", "--target", str(self.holder), "--net", "--mount", "env", f"--chdir={self.root}"]
        return subprocess.run([*enter, *command], input=text, capture_output=True, text=True, check=False, timeout=240)

    def cluster(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return self.inside(sys.executable, "-m", "cluster", *arguments)

    def kubectl(self, *arguments: str, text: str | None = None) -> subprocess.CompletedProcess[str]:
        program = json.loads((self.root / ".local/cluster/launch.json").read_text())["programs"]["kubectl"]
        return self.inside(program, f"--kubeconfig={self.root / '.local/kubeconfig'}", *arguments, text=text)

    def until(self, wanted: Callable[[], bool], seconds: float = 60) -> None:
        end = time.monotonic() + seconds
        while not wanted():
            assert time.monotonic() < end, f"not so after {seconds} s"
            time.sleep(0.5)
