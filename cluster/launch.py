"""What the supervisor is told by `up`, and what it tells everybody: two small JSON files below the state directory."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path

from cluster import configs
from cluster.components import Component, plan
from cluster.configs import Host
from cluster.paths import Layout

REAL = "real"
SIMULATED = "simulated"


@dataclass(frozen=True)
class Launch:
    """How this clone's cluster is to run."""

    nodes: str
    """`real` or `simulated`."""
    programs: Mapping[str, str]
    """Full path of every program, and `PATH` for their children."""
    host: Host = field(default_factory=Host)
    count: int = 1
    """How many simulated nodes."""

    @property
    def simulated(self) -> bool:
        return self.nodes == SIMULATED

    def components(self, layout: Layout) -> list[Component]:
        return plan(layout, self.programs, simulated=self.simulated)

    def fingerprint(self, layout: Layout) -> str:
        """Changes when what would be started is not what was: arguments, binaries, configuration."""
        started = [[c.name, c.argv, sorted(c.env.items())] for c in self.components(layout)]
        files = {} if self.simulated else configs.rendered(layout, self.host)
        return hashlib.sha256(json.dumps([started, files]).encode()).hexdigest()[:16]

    def save(self, layout: Layout) -> None:
        (layout.state / "launch.json").write_text(json.dumps(asdict(self), indent=2))

    @classmethod
    def load(cls, layout: Layout) -> Launch | None:
        """The last launch, None when there was none."""
        try:
            data = json.loads((layout.state / "launch.json").read_text())
            return cls(**{**data, "host": Host(**data["host"])})
        except (OSError, ValueError, TypeError, KeyError):
            return None


@dataclass
class ComponentState:
    """What the supervisor knows of one component."""

    ready: bool = False
    pid: int = 0
    restarts: int = 0
    error: str = ""
    """Why it is not running or not ready, in one line; empty when there is nothing to say."""


@dataclass
class Report:
    """The supervisor's account, written at every change."""

    fingerprint: str = ""
    phase: str = "starting"
    """`starting`, `running`, `stopping`."""
    components: dict[str, ComponentState] = field(default_factory=dict)

    def save(self, path: Path) -> None:
        part = path.with_suffix(".part")
        part.write_text(json.dumps(asdict(self), indent=2))
        part.replace(path)

    @classmethod
    def load(cls, path: Path) -> Report | None:
        """The last account; None when there is none that can be read."""
        try:
            data = json.loads(path.read_text())
            components = {n: ComponentState(**c) for n, c in data.pop("components").items()}
            return cls(**data, components=components)
        except (OSError, ValueError, TypeError, KeyError):
            return None
