"""Fetches the Python packages of our images onto this machine: `python -m ops.wheels`.

A build has no network of its own, or no trust in the certificates of the network it has, and pip needs both. So the
packages are fetched on the host, where pip works as the user set it up, into `app_images/<image>/wheels/`; the Dockerfile
installs from there, checking every hash in `requirements.txt` again. What was fetched once is kept in the cache that all
clones of the user share.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import platform as host
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path

from filelock import FileLock

from cluster.paths import cache_dir

IMAGES = Path(__file__).resolve().parent.parent / "app_images"

PYTHON = "3.11"
"""Version of Python in the images."""

# The newest glibc the images have (Debian 12: 2.36), and the oldest that wheels are still made for.
_GLIBC_MINORS = range(36, 4, -1)
_LEGACY = {17: "manylinux2014", 12: "manylinux2010", 5: "manylinux1"}

_MACHINES = {"linux/amd64": "x86_64", "linux/arm64": "aarch64"}
_DOCKER_NAMES = {"x86_64": "linux/amd64", "amd64": "linux/amd64", "aarch64": "linux/arm64", "arm64": "linux/arm64"}

# Part of the cache key: raised when the way of fetching changes.
_RECIPE = "1"

Say = Callable[[str], None]
Download = Callable[[Path, Path, str], None]
"""Fetches what a requirements file names into a folder, for a platform."""


class WheelsError(Exception):
    """Packages that cannot be had. One line: what, why, what to do."""


def fill(say: Say, platform: str | None = None, images: Path = IMAGES, download: Download | None = None) -> bool:
    """Makes `wheels/` of every image hold exactly what its requirements name. Returns whether there was work.

    `platform` as Docker names it ("linux/amd64", the default is this machine's). Raises `WheelsError`.
    """
    target = platform or _DOCKER_NAMES.get(host.machine(), host.machine())
    if target not in _MACHINES:
        raise WheelsError(f"there are no images for {target!r}. Known platforms: {', '.join(_MACHINES)}.")
    results = [_fill_image(path, target, say, download or pip_download) for path in sorted(images.glob("*/requirements.txt"))]
    return any(results)


def key(requirements: bytes, platform: str) -> str:
    """Name of the cache folder: the same for the same packages, other for another platform or Python."""
    digest = hashlib.sha256()
    for part in (_RECIPE.encode(), PYTHON.encode(), platform.encode(), requirements):
        digest.update(len(part).to_bytes(8, "big") + part)
    return digest.hexdigest()[:24]


def _fill_image(requirements: Path, platform: str, say: Say, download: Download) -> bool:
    image = requirements.parent.name
    store = cache_dir() / "wheels"
    store.mkdir(parents=True, exist_ok=True)
    cached = store / key(requirements.read_bytes(), platform)
    with FileLock(f"{cached}.lock"):
        if not cached.is_dir():
            say(f"fetching the packages of {image} for {platform}")
            _fetch(requirements, cached, platform, download)
    return _mirror(cached, requirements.parent / "wheels")


def _fetch(requirements: Path, cached: Path, platform: str, download: Download) -> None:
    """Into a folder beside, renamed when complete: an interrupted download is never taken for a whole one."""
    unfinished = Path(tempfile.mkdtemp(prefix=f"{cached.name}.", dir=cached.parent))
    try:
        download(requirements, unfinished, platform)
        unfinished.chmod(0o755)
        unfinished.rename(cached)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)


def _mirror(source: Path, target: Path) -> bool:
    """Makes `target` hold the files of `source` and no others, sharing their blocks where the file system allows."""
    target.mkdir(exist_ok=True)
    wanted = {path.name: path for path in source.iterdir()}
    stale = [path for path in target.iterdir() if path.name not in wanted or not _same(path, wanted[path.name])]
    for path in stale:
        shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()
    missing = [name for name in wanted if not (target / name).exists()]
    for name in missing:
        _link(wanted[name], target / name)
    return bool(stale or missing)


def _same(path: Path, wanted: Path) -> bool:
    """Whether `path` is `wanted` itself, or a copy of it: copies keep the time."""
    if not path.is_file() or path.is_symlink():
        return False
    have, want = path.stat(), wanted.stat()
    return (have.st_size, have.st_mtime_ns) == (want.st_size, want.st_mtime_ns)


def _link(source: Path, target: Path) -> None:
    try:
        os.link(source, target)
    except OSError:  # another file system, or one without hard links
        shutil.copy2(source, target)


def platform_tags(platform: str) -> list[str]:
    """The wheel platforms that run there, newest first."""
    machine = _MACHINES[platform]
    tags = []
    for minor in _GLIBC_MINORS:
        tags.append(f"manylinux_2_{minor}_{machine}")
        if minor in _LEGACY:
            tags.append(f"{_LEGACY[minor]}_{machine}")
    return [*tags, f"linux_{machine}"]


def pip_download(requirements: Path, folder: Path, platform: str) -> None:
    """Fetches with this environment's pip, wheels only: building one would run code of the package on this machine.

    `--no-deps`, because the requirements are complete and some declared dependencies are left out on purpose.
    """
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps", "--require-hashes"]
    command += ["--only-binary", ":all:", "--implementation", "cp", "--python-version", PYTHON]
    command += _options("--abi", ["cp311", "abi3", "none"]) + _options("--platform", platform_tags(platform))
    command += ["--dest", str(folder), "--requirement", str(requirements)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        lines = (done.stderr or done.stdout).strip().splitlines()
        reason = next((line.removeprefix("ERROR: ") for line in reversed(lines) if line.startswith("ERROR")), "pip failed")
        raise WheelsError(f"{requirements}: {reason} Check the network, or what pip is configured to use (pip config list).")


def _options(flag: str, values: Iterable[str]) -> list[str]:
    return [item for value in values for item in (flag, value)]


def main(arguments: list[str] | None = None) -> int:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m ops.wheels", description="Fetch the Python packages of the images.")
    parser.add_argument("--platform", choices=sorted(_MACHINES), help="platform of the images; default: this machine's")
    try:
        if not fill(print, parser.parse_args(arguments).platform):
            print("up to date")
    except WheelsError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
