"""What the real CLI did with small programs: recorded runs, as tests see them.

The recordings are a condensed copy, so that the tests stand on their own: per run the exit statuses, the exported state and
the preview's events.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parent / "recorded"
PASSPHRASE = "golden"


def runs() -> list[tuple[str, str]]:
    """(program, run) of everything recorded."""
    return [(p.parent.parent.name, p.stem) for p in sorted(FOLDER.glob("*/observed/*.json"))]


def load(program: str, run: str) -> dict[str, Any]:
    return json.loads((FOLDER / program / "observed" / f"{run}.json").read_text())


def events(program: str, run: str) -> list[dict[str, Any]]:
    return load(program, run)["preview_events"]
