"""The base image of our images where no public registry can be reached: Debian and its Python, from apt's own mirror.

Made by debootstrap, so that every package is checked against the distribution's signing keys; kept as a tarball in the
user's cache, so that another clone imports it in seconds. Its tag is a hash of the recipe; the price of that is that two
machines may have different security updates under one tag. Who needs one image everywhere uses a registry.
"""

from __future__ import annotations

import hashlib
import os
import subprocess
import tarfile
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import docker
from docker.errors import APIError, DockerException, ImageNotFound
from filelock import FileLock

from cluster import packages
from cluster.errors import ClusterError
from cluster.paths import cache_dir
from ops.apt_sources import APT, Source, sources

PUBLIC_BASE = "python:3.11-slim-bookworm"
"""The base image where a public registry can be reached; also the default of the stack settings."""

SUITE = "bookworm"
"""The Debian release whose Python is the one our packages are pinned for (3.11)."""

PACKAGES = ("ca-certificates", "python3", "python3-venv", "tzdata")

# Raised when the way of making the image changes, so that caches are not used for the new recipe.
_RECIPE = "1"

# What is not needed to run. Copyright files stay: their licences ask for that.
_LEFT_OUT = (
    "dev/",
    "proc/",
    "sys/",
    "run/",
    "tmp/",
    "root/.",
    "var/cache/apt/",
    "var/cache/debconf/",
    "var/cache/ldconfig/",
    "var/lib/apt/lists/",
    "var/log/",
    "usr/share/doc/",
    "usr/share/info/",
    "usr/share/lintian/",
    "usr/share/locale/",
    "usr/share/man/",
    "etc/hostname",
    "etc/resolv.conf",
    "etc/machine-id",
)

# Seconds that asking a registry for an image may take; without a network, the name is refused at once.
_ASK_SECONDS = 8

# Seconds of any other single answer of the Docker engine; importing 150 MB is the longest.
_ENGINE_SECONDS = 300

Say = Callable[[str], None]


class BaseImageError(ClusterError):
    """A base image that cannot be made. One line: what, why, what to do."""


def for_stack(docker_host: str | None, say: Say, registry: str = "localhost:5000") -> str | None:
    """The base image to build on: None for the public one, else the reference of our own.

    Our own, once made, stays: asking a registry that is not there would cost seconds of every run.
    """
    if _has(docker_host, reference(registry)):
        return ensure_base_image(docker_host, registry, say)
    if public_registry_reachable(docker_host, PUBLIC_BASE):
        return None
    say(f"no registry has {PUBLIC_BASE}; the base image is made from Debian packages")
    return ensure_base_image(docker_host, registry, say)


def public_registry_reachable(docker_host: str | None, image: str = PUBLIC_BASE) -> bool:
    """Whether the engine has `image` or can get it. Downloads nothing; answers within seconds."""
    if _has(docker_host, image):
        return True
    client = _client(docker_host, _ASK_SECONDS)
    try:
        client.images.get_registry_data(image)
    except (DockerException, OSError):
        return False
    finally:
        client.close()
    return True


def reference(registry: str) -> str:
    """The reference of our own base image: `<registry>/sophia/debian-python:<hash of the recipe>`."""
    return f"{registry}/sophia/debian-python:{recipe_hash(_architecture())}"


def recipe_hash(architecture: str) -> str:
    """First 12 hex digits of SHA-256 over what decides about the contents."""
    recipe = "\n".join([_RECIPE, SUITE, architecture, *PACKAGES, "", *_LEFT_OUT])
    return hashlib.sha256(recipe.encode()).hexdigest()[:12]


def ensure_base_image(docker_host: str | None, registry: str, say: Say) -> str:
    """Makes sure that the engine and the registry have our base image, and returns its reference.

    Raises `BaseImageError`; needs root and debootstrap only where the cache has no tarball yet.
    """
    wanted = reference(registry)
    repository, _, tag = wanted.rpartition(":")
    client = _client(docker_host, _ENGINE_SECONDS)
    try:
        if not _has(docker_host, wanted):
            tarball = _tarball(say)
            say(f"importing {tarball.name} ({tarball.stat().st_size // 2**20} MB)")
            _import(client, tarball, repository, tag)
        if not _pushed(client, wanted):
            _push(client, repository, tag)
    except DockerException as error:
        raise BaseImageError(f"the Docker engine refused {wanted}: {error}") from None
    finally:
        client.close()
    return wanted


def _client(docker_host: str | None, seconds: int) -> Any:
    try:
        return docker.DockerClient(base_url=docker_host, timeout=seconds) if docker_host else docker.from_env(timeout=seconds)
    except DockerException as error:
        raise BaseImageError(f"no Docker engine answers at {docker_host or 'the default address'}: {error}") from None


def _has(docker_host: str | None, image: str) -> bool:
    client = _client(docker_host, _ENGINE_SECONDS)
    try:
        client.images.get(image)
    except ImageNotFound:
        return False
    except (DockerException, OSError) as error:
        raise BaseImageError(f"no Docker engine answers at {docker_host or 'the default address'}: {error}") from None
    finally:
        client.close()
    return True


def _import(client: Any, tarball: Path, repository: str, tag: str) -> None:
    changes = ["ENV PATH=/usr/local/bin:/usr/bin:/bin", "ENV LANG=C.UTF-8", 'CMD ["python3"]']
    answer = client.api.import_image(str(tarball), repository=repository, tag=tag, changes=changes)
    if "error" in str(answer):
        raise BaseImageError(f"the Docker engine did not import {tarball}: {answer}")


def _pushed(client: Any, image: str) -> bool:
    try:
        client.images.get_registry_data(image)
    except APIError:
        return False
    return True


def _push(client: Any, repository: str, tag: str) -> None:
    for event in client.api.push(repository, tag=tag, stream=True, decode=True):
        if "error" in event:
            raise BaseImageError(f"{repository}:{tag} could not be pushed: {event['error']}. Is the registry running?")


# -- making the tarball ------------------------------------------------------------------------------------------------


def _tarball(say: Say) -> Path:
    """The root file system, from the cache or made anew."""
    architecture = _architecture()
    folder = cache_dir() / "base"
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{SUITE}-{architecture}-{recipe_hash(architecture)}.tar"
    with FileLock(f"{path}.lock"):
        if not path.is_file():
            _make(path, architecture, say)
    return path


def _make(path: Path, architecture: str, say: Say) -> None:
    if os.geteuid() != 0:
        raise BaseImageError(
            "making the base image needs root. Run as root once, set images.base of the stack to an image you can pull, "
            "or give this machine access to a registry."
        )
    source = _source()
    log = path.with_suffix(".log")
    packages.install(packages.IMAGES, say, log)
    say(f"debootstrap {SUITE} with {', '.join(PACKAGES)} (about a minute; log in {log})")
    with tempfile.TemporaryDirectory(prefix="sophia-base-", dir=path.parent) as work:
        root = Path(work) / "root"
        include = f"--include={','.join(PACKAGES)}"
        keyring = [f"--keyring={source.keyring}"] if source.keyring else []
        command = ["debootstrap", "--variant=minbase", f"--arch={architecture}", include, *keyring, SUITE, str(root), source.uri]
        _run(command, log)
        _update(root, log, say)
        unfinished = Path(work) / "root.tar"
        pack(root, unfinished)
        unfinished.rename(path)


def _source() -> Source:
    """The mirror. Another release of Debian on this machine does not matter: one mirror carries them all."""
    if "ID=debian" not in _os_release():
        raise BaseImageError(
            f"this machine is not a Debian, so its apt has no mirror with {SUITE}. Set images.base of the stack to an image "
            f"with Python 3.11 that you can pull, for example {PUBLIC_BASE}."
        )
    found = [source for source in sources() if source.is_release]
    if not found:
        raise BaseImageError(f"{APT}/sources.list and {APT}/sources.list.d name no archive of packages. Add one.")
    exact = [source for source in found if source.suite == SUITE]
    return (exact or found)[0]


def _update(root: Path, log: Path, say: Say) -> None:
    """Security updates, from the same sources as this machine's. Without them the image is as old as the release."""
    extra = [source for source in sources() if source.suite in {f"{SUITE}-security", f"{SUITE}-updates"}]
    if not extra:
        return
    lines = [f"deb {source.uri} {source.suite} main" for source in extra]
    before = (root / "etc/apt/sources.list").read_text()
    (root / "etc/apt/sources.list").write_text(before.rstrip("\n") + "\n" + "\n".join(lines) + "\n")
    try:
        _run(["chroot", str(root), "apt-get", "-qq", "update"], log)
        _run(["chroot", str(root), "apt-get", "-qq", "-y", "--no-install-recommends", "upgrade"], log)
    except BaseImageError as error:
        say(f"security updates were not applied: {error}")


def pack(root: Path, tarball: Path) -> None:
    """Writes the file system below `root` as a tar that depends on the packages alone.

    Names are sorted and owners are numbers. Times of files from packages stay, because Python's compiled files name the
    time of their source; times of what was made just now become that of the newest file from a package.
    """
    newest = max((path.lstat().st_mtime for path in (root / "usr/bin").iterdir()), default=0.0)

    def settle(member: tarfile.TarInfo) -> tarfile.TarInfo | None:
        if left_out(member.name, member.isdir()):
            return None
        member.mtime = int(min(member.mtime, newest))
        member.uname = member.gname = ""
        return member

    with tarfile.open(tarball, "w", format=tarfile.GNU_FORMAT) as archive:
        for path in sorted(root.rglob("*")):
            archive.add(path, arcname=str(path.relative_to(root)), recursive=False, filter=settle)


def left_out(name: str, is_folder: bool) -> bool:
    """Whether a path stays out of the image. Folders themselves stay in: programs expect them."""
    if name.startswith("usr/share/doc/"):
        return not (is_folder or name.endswith("/copyright"))
    return not (is_folder and f"{name}/" in _LEFT_OUT) and any(name.startswith(prefix) for prefix in _LEFT_OUT)


def _run(command: list[str], log: Path) -> None:
    environment = {**os.environ, "PATH": packages.search_path(), "DEBIAN_FRONTEND": "noninteractive", "LC_ALL": "C.UTF-8"}
    with log.open("a") as output:
        done = subprocess.run(command, stdout=output, stderr=subprocess.STDOUT, env=environment, check=False)
    if done.returncode:
        last = [line for line in log.read_text(errors="replace").splitlines() if line.strip()][-1:]
        raise BaseImageError(f"{command[0]} failed ({done.returncode}): {' '.join(last)} The whole log is in {log}.")


def _architecture() -> str:
    """The architecture as Debian names it."""
    names = {"x86_64": "amd64", "aarch64": "arm64"}
    return names.get(os.uname().machine, os.uname().machine)


def _os_release() -> list[str]:
    path = Path("/etc/os-release")
    return path.read_text(encoding="utf-8").splitlines() if path.is_file() else []
