"""Talks to a Docker engine: builds, pushes, and turns what it streams into status lines and one clear error."""

from __future__ import annotations

import os
import re
import tempfile
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import docker
import docker.auth
import docker.errors
import docker.tls
import requests

from engine.provider import ProviderError
from engine.providers.docker_context import Context

HUB = "https://index.docker.io/v1/"
"""How credentials for Docker Hub are filed."""
SILENCE_SECONDS = 3600
"""How long an engine may say nothing in the middle of a build step before the connection counts as dead."""
_SHOWN_LINES = 8
_TLS_FILES = {"caMaterial": "ca.pem", "certMaterial": "cert.pem", "keyMaterial": "key.pem"}
_STEP = re.compile(r"^Step \d+/\d+ : ")
_ENVIRONMENT = {
    "host": "DOCKER_HOST",
    "certPath": "DOCKER_CERT_PATH",
    **{k: f"DOCKER_{k[:-8].upper()}_MATERIAL" for k in _TLS_FILES},
}

Status = Callable[[str], None]


@dataclass(frozen=True)
class Credentials:
    """A registry login. `server` as credentials are filed under: a host, or HUB."""

    server: str
    username: str = ""
    password: str = field(default="", repr=False)


@dataclass(frozen=True)
class Build:
    """One build as the user asked for it."""

    context: Context
    name: str
    platform: str = ""
    args: Mapping[str, str] = field(default_factory=dict, repr=False)
    target: str = ""
    cache_from: tuple[str, ...] = ()
    add_hosts: tuple[str, ...] = ()
    network: str = ""


class Engine:
    """A connection to the Docker engine, made for one image so that logins do not leak into another's build."""

    def __init__(self, config: Mapping[str, str], logins: Iterable[Credentials], cancelled: Callable[[], bool]) -> None:
        self._cancelled = cancelled
        settings = {key: config.get(key) or os.environ.get(variable, "") for key, variable in _ENVIRONMENT.items()}
        self.host = settings["host"] or "unix:///var/run/docker.sock"
        self._files: tempfile.TemporaryDirectory[str] | None = None
        try:
            self._client = docker.APIClient(
                base_url=self.host,
                version="auto",
                timeout=SILENCE_SECONDS,
                use_ssh_client=True,
                tls=self._tls(settings) or False,
            )
        except (docker.errors.DockerException, requests.RequestException, OSError) as error:
            self.close()
            raise ProviderError(
                f"cannot reach the Docker engine at {self.host}: {_innermost(error)}. "
                "Start it, or point DOCKER_HOST or the docker provider's `host` to one."
            ) from None
        for login in logins:
            # The engine's client has a login call, but it asks the registry; this only files it for builds and pulls.
            entry = {"username": login.username, "password": login.password, "serveraddress": login.server}
            self._client._auth_configs.add_auth(login.server, entry)  # type: ignore[attr-defined]  # no public way

    def close(self) -> None:
        client = getattr(self, "_client", None)
        if client is not None:
            client.close()
        if self._files is not None:
            self._files.cleanup()

    def _tls(self, settings: Mapping[str, str]) -> docker.tls.TLSConfig | None:
        given = [key for key in _TLS_FILES if settings[key]]
        if given and len(given) < len(_TLS_FILES):
            raise ProviderError("docker provider: certMaterial, keyMaterial and caMaterial must all be set.")
        if given and settings["certPath"]:
            raise ProviderError("docker provider: set either certPath or the three *Material values, not both.")
        folder = Path(settings["certPath"]) if settings["certPath"] else None
        if given:
            self._files = tempfile.TemporaryDirectory(prefix="docker-tls-")
            folder = Path(self._files.name)
            for key in given:
                file = folder / _TLS_FILES[key]
                file.touch(0o600)
                file.write_text(settings[key])
        if folder is None:
            return None
        return docker.tls.TLSConfig(
            ca_cert=str(folder / "ca.pem"),
            client_cert=(str(folder / "cert.pem"), str(folder / "key.pem")),
            verify=True,
        )

    def build(self, build: Build, status: Status) -> str:
        """Builds and tags; returns the image's id (`sha256:...`)."""
        with tempfile.TemporaryFile(prefix="docker-context-") as archive:
            dockerfile = build.context.archive(archive)
            archive.seek(0)
            stream = self._client.build(
                fileobj=archive,
                custom_context=True,
                dockerfile=dockerfile,
                tag=build.name,
                buildargs=dict(build.args),
                target=build.target or None,
                platform=build.platform or None,
                cache_from=list(build.cache_from) or None,
                extra_hosts=list(build.add_hosts) or None,
                network_mode=build.network or None,
                rm=True,
                forcerm=True,
                decode=True,
            )
            self._follow_build(build, stream, status)
        return self.image_id(build.name)

    def _follow_build(self, build: Build, stream: Iterator[dict[str, Any]], status: Status) -> None:
        step, last = "", deque[str](maxlen=_SHOWN_LINES)
        for message in self._messages(stream, f"building {build.name}"):
            if "error" in message:
                raise _build_error(build, step, str(message["error"]), last)
            text = str(message.get("stream") or _status_line(message)).strip()
            if not text:
                continue
            if _STEP.match(text):
                step = text
                last.clear()
            else:
                last.append(text)
            status(text)

    def pull_cache(self, image: str, platform: str, status: Status) -> None:
        """Fetches an image for the build to take layers from. Raises ProviderError."""
        stream = self._client.pull(image, stream=True, decode=True, platform=platform or None)
        self._follow(stream, f"pulling {image}", status)

    def push(self, name: str, login: Credentials | None, status: Status) -> str:
        """Pushes a tag; returns the digest the registry gave it."""
        repository, tag = split_tag(name)
        auth = {"username": login.username, "password": login.password} if login and login.username else None
        stream = self._client.push(repository, tag=tag, stream=True, decode=True, auth_config=auth)
        aux = self._follow(stream, f"pushing {name}", status)
        digest = str(aux.get("Digest") or "")
        if not digest:
            raise ProviderError(f"pushing {name}: the registry confirmed no digest.")
        return digest

    def _follow(self, stream: Iterator[dict[str, Any]], doing: str, status: Status) -> dict[str, Any]:
        aux: dict[str, Any] = {}
        for message in self._messages(stream, doing):
            if "error" in message:
                raise ProviderError(f"{doing} failed: {_registry_reason(str(message['error']))}")
            aux = {**aux, **message["aux"]} if isinstance(message.get("aux"), dict) else aux
            if text := _status_line(message).strip():
                status(text)
        return aux

    def _messages(self, stream: Iterator[dict[str, Any]], doing: str) -> Iterator[dict[str, Any]]:
        try:
            for message in stream:
                if self._cancelled():
                    raise ProviderError(f"{doing}: stopped, as asked.")
                yield message
        except (docker.errors.DockerException, requests.RequestException) as error:
            raise ProviderError(f"{doing} failed: {_innermost(error)}") from None

    def image_id(self, name: str) -> str:
        image: Any = self._client.inspect_image(name)  # type: ignore[no-untyped-call]
        return str(image["Id"])


def _status_line(message: Mapping[str, Any]) -> str:
    progress = f" {message['progress']}" if message.get("progress") else ""
    return f"{message.get('status') or ''}{progress}"


def _build_error(build: Build, step: str, reason: str, last: Iterable[str]) -> ProviderError:
    place = f" at {step}" if step else ""
    hint = ""
    if re.search(r"requires BuildKit|Unknown flag: (mount|link|chmod)|unknown instruction: [^A-Z]*EOF", reason):
        hint = " The embedded engine builds with the classic builder; what needs BuildKit needs the pulumi CLI."
    lines = "".join(f"\n  {line}" for line in last if line != reason)
    return ProviderError(f"building {build.name} failed{place}: {reason.strip()}{hint}{lines}")


def _registry_reason(reason: str) -> str:
    if re.search(r"unauthorized|authentication required|denied|no basic auth", reason, re.IGNORECASE):
        return f"{reason}. Check `registry.username` and `registry.password`, or log in with `docker login`."
    return reason


def _innermost(error: BaseException) -> str:
    """The reason at the bottom of a chain of wrappers, without the wrappers' noise."""
    if isinstance(error, docker.errors.APIError):
        return str(error.explanation or error)
    while True:
        inner = error.__cause__ or error.__context__ or next((a for a in error.args if isinstance(a, BaseException)), None)
        if inner is None:
            break
        error = inner
    return (error.strerror if isinstance(error, OSError) else None) or str(error) or type(error).__name__


def split_tag(name: str) -> tuple[str, str]:
    """(repository, tag) of an image name; the tag defaults to latest, as it does for docker."""
    head, _, tail = name.rpartition("/")
    base, _, tag = tail.partition(":")
    return f"{head}/{base}" if head else base, tag or "latest"


def registry_of(server: str, image: str) -> str:
    """Under which server the login for an image is filed. Raises ValueError for an image without a registry's name."""
    host = _hostname(server) if server else _domain(image)
    return HUB if host in ("docker.io", "index.docker.io", "registry-1.docker.io") else host


def _hostname(server: str) -> str:
    return urlsplit(server if "://" in server else f"//{server}").netloc or server


def _domain(image: str) -> str:
    host, slash, rest = image.partition("/")
    if not slash or not rest or not ("." in host or ":" in host or host == "localhost"):
        raise ValueError(f"{image!r} names no registry. Write it in full, e.g. `docker.io/repository/image:tag` for Docker Hub.")
    return host
