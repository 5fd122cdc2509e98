"""Running a program of the distribution, reading a file of the kernel: the two things every change to the machine needs."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

from cluster.packages import search_path


def read(path: Path) -> str:
    """The text of a file; empty when it cannot be read."""
    try:
        return path.read_text()
    except OSError:
        return ""


def run(argv: list[str]) -> None:
    """Runs a program that must succeed."""
    subprocess.run(argv, check=True, capture_output=True, env=_env())


def succeeds(argv: list[str]) -> bool:
    """Runs a program; whether it succeeded."""
    return subprocess.run(argv, check=False, capture_output=True, env=_env()).returncode == 0


def _env() -> dict[str, str]:
    return {**os.environ, "PATH": search_path()}
