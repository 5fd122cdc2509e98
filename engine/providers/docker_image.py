"""The docker package in the engine's process: `docker:index/image:Image`, as pulumi-docker 5.2 does it.

Other types of the package (containers, networks, volumes ...) manage a Docker host and need the real provider.
Builds use the classic builder of the Docker API: BuildKit wants a gRPC session that no Python client offers.
"""

from __future__ import annotations

import json
import platform as machine
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import docker.errors
import requests

from engine.model import urn_type
from engine.provider import (
    Call,
    Changes,
    Checked,
    CheckFailure,
    Created,
    Diff,
    PropertyDiff,
    Provider,
    ProviderError,
    Read,
)
from engine.providers.docker_context import Context, ContextError
from engine.providers.docker_engine import Build, Credentials, Engine, registry_of, split_tag
from engine.values import UNKNOWN, PropertyMap, Secret, Value, contains_unknown, equal, leaves, reveal, unwrap

IMAGE = "docker:index/image:Image"
INPUTS_KEY = "__inputs"
"""The inputs of the last build inside the outputs, always secret: what a diff compares with."""
_ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}
_CONFIG = (
    *("host", "certPath", "caMaterial", "certMaterial", "keyMaterial", "registryAuth", "sshOpts", "context"),
    "disableDockerDaemonCheck",
)
_SHORTEST_REDACTED = 3
"""Letters of the shortest secret that is blotted out of messages; shorter ones would blot out half of every word."""


class DockerProvider(Provider):
    """Builds and pushes images. Deleting one removes nothing, here as there: tags are shared."""

    package = "docker"
    accepts_secrets = True

    def __init__(self, cwd: str | Path) -> None:
        """`cwd`: the program's folder, to which contexts and Dockerfiles are relative."""
        self._cwd = Path(cwd)
        self._config: dict[str, str] = {}
        self._logins: list[Credentials] = []

    def check_config(self, inputs: PropertyMap) -> PropertyMap:
        unknown = sorted(set(inputs) - set(_CONFIG))
        if unknown:
            raise ProviderError(f"docker provider: {unknown[0]}: not a setting; possible: {', '.join(sorted(_CONFIG))}")
        return inputs

    def configure(self, config: PropertyMap) -> None:
        self._config = {key: str(value) for key, value in config.items() if isinstance(value, str)}
        self._logins = list(_configured_logins(config.get("registryAuth")))

    def check(self, call: Call, old_inputs: PropertyMap | None, inputs: PropertyMap, random_seed: bytes) -> Checked:
        self._known_type(call)
        checked = {name: value for name, value in inputs.items() if value is not None}
        on_preview = reveal(checked.get("buildOnPreview"))
        checked["buildOnPreview"] = on_preview if isinstance(on_preview, bool) else False
        given = checked.get("build")
        build = unwrap(given) if given is not None else {}
        if build is not UNKNOWN:
            if not isinstance(build, dict):
                return Checked(checked, [CheckFailure("build", "must be an object with context, dockerfile, ...")])
            try:
                completed = self._complete(call, build)
            except ContextError as error:
                return Checked(checked, [CheckFailure("build", str(error))])
            checked["build"] = Secret(completed) if isinstance(given, Secret) else completed
        return Checked(checked, list(_name_failures(reveal(checked))))

    def _complete(self, call: Call, given: PropertyMap) -> PropertyMap:
        """`build` with its defaults and the digest of its context."""
        build = {name: value for name, value in given.items() if value is not None}
        folder = reveal(build.get("context"))
        if folder is None:
            folder = build["context"] = "."
        if reveal(build.get("dockerfile")) is None:
            build["dockerfile"] = UNKNOWN if folder is UNKNOWN else str(Path(folder) / "Dockerfile")
        dockerfile = reveal(build["dockerfile"])
        if reveal(build.get("builderVersion")) not in (None, UNKNOWN, "BuilderV1", "BuilderBuildKit"):
            raise ContextError("builderVersion: must be BuilderV1 or BuilderBuildKit")
        if UNKNOWN not in (folder, dockerfile):
            build["contextDigest"] = self._context(folder, dockerfile).digest()
        if build.get("platform") is None:
            host = f"linux/{_ARCHITECTURES.get(machine.machine(), machine.machine())}"
            build["platform"] = host
            message = (
                f"Building your image for {host} architecture.\n"
                "To ensure you are building for the correct platform, consider explicitly setting the `platform` field."
            )
            call.log("info", message, False)
        return build

    def _context(self, folder: str, dockerfile: str) -> Context:
        context = Context(self._cwd, folder, dockerfile)
        if "://" in folder or folder.startswith("git@"):
            raise ContextError(f"context: {folder}: remote contexts need the pulumi CLI.")
        if not context.path.is_dir():
            raise ContextError(f"context: {folder}: no such folder in {self._cwd}.")
        if not context.dockerfile_path.is_file():
            inside = Path(folder) / dockerfile
            hint = f" Try setting `dockerfile` to {str(inside)!r}." if (self._cwd / inside).is_file() else ""
            raise ContextError(f"dockerfile: {dockerfile}: no such file in {self._cwd}.{hint}")
        return context

    def diff(
        self,
        call: Call,
        id: str,
        old_inputs: PropertyMap,
        old_outputs: PropertyMap,
        inputs: PropertyMap,
        ignore_changes: Sequence[str],
    ) -> Diff:
        old = reveal(unwrap(old_outputs.get(INPUTS_KEY, old_inputs)))
        new = reveal(inputs)
        detailed = {}
        for name in sorted({*old, *new}):
            if name not in old:
                detailed[name] = PropertyDiff("add")
            elif name not in new:
                detailed[name] = PropertyDiff("delete")
            elif not equal(old[name], new[name]) and not (name == "registry" and _same_server(old[name], new[name])):
                detailed[name] = PropertyDiff("update")
        return Diff(Changes.SOME, detailed=detailed) if detailed else Diff(Changes.NONE)

    def create(self, call: Call, inputs: PropertyMap) -> Created:
        self._known_type(call)
        if call.preview and not self._builds_now(call, inputs):
            return Created("", dict(inputs))
        outputs = self._build(call, inputs)
        return Created("" if call.preview else str(unwrap(inputs["imageName"])), outputs)

    def update(
        self,
        call: Call,
        id: str,
        old_inputs: PropertyMap,
        old_outputs: PropertyMap,
        inputs: PropertyMap,
        ignore_changes: Sequence[str],
    ) -> PropertyMap:
        if call.preview and not self._builds_now(call, inputs):
            return dict(inputs)
        return self._build(call, inputs)

    def delete(self, call: Call, id: str, inputs: PropertyMap, outputs: PropertyMap) -> None:
        self._known_type(call)

    def read(self, call: Call, id: str, inputs: PropertyMap | None, outputs: PropertyMap | None) -> Read:
        self._known_type(call)
        return Read(id, dict(inputs or {}), dict(outputs or {}))

    def _known_type(self, call: Call) -> None:
        if urn_type(call.urn) != IMAGE:
            raise self.unsupported(call)

    @staticmethod
    def _builds_now(call: Call, inputs: PropertyMap) -> bool:
        """Whether a preview builds: if asked to, and if all is known."""
        if reveal(inputs.get("buildOnPreview")) is not True:
            return False
        if contains_unknown([inputs.get("imageName"), inputs.get("build")]):
            call.log("warning", "buildOnPreview: image name or build are not known yet; not built in this preview.", False)
            return False
        return True

    def _build(self, call: Call, inputs: PropertyMap) -> PropertyMap:
        redact = _redactor(inputs)
        plain = reveal(inputs)
        name, push = str(plain["imageName"]), not plain.get("skipPush")
        build = _requested(self._cwd, name, plain["build"])

        def status(text: str) -> None:
            call.log("info", redact(text), True)

        try:
            login = self._login(plain, name) if push or build.cache_from else None
            engine = Engine(self._config, [*self._logins, *([login] if login else [])], call.cancelled.is_set)
            try:
                digest = _produce(engine, build, login, push and not call.preview, status)
            finally:
                engine.close()
        except (ProviderError, ContextError) as error:
            raise ProviderError(redact(str(error))) from None
        except requests.RequestException as error:
            raise ProviderError(redact(f"{name}: lost the Docker engine: {error}")) from None
        except docker.errors.DockerException as error:
            explanation = getattr(error, "explanation", None) or error
            raise ProviderError(redact(f"{name}: the Docker engine refused: {explanation}")) from None
        except OSError as error:
            raise ProviderError(redact(f"{name}: cannot read {error.filename}: {error.strerror}")) from None
        outputs = {
            INPUTS_KEY: Secret(plain),
            "baseImageName": name,
            "context": plain["build"]["context"],
            "dockerfile": build.context.relative_dockerfile,
            "imageName": name,
            "platform": build.platform,
            "registryServer": (plain.get("registry") or {}).get("server") or "",
            "repoDigest": UNKNOWN if push and call.preview else digest,
        }
        return _mark(inputs, outputs)

    def _login(self, plain: PropertyMap, image: str) -> Credentials | None:
        """The image's own login, else one of the provider's; None leaves it to the host's docker configuration."""
        registry = plain.get("registry") or {}
        server = registry_of(registry.get("server") or "", image)
        if registry.get("username") and registry.get("password"):
            return Credentials(server, registry["username"], registry["password"])
        return next((login for login in self._logins if login.server == server), None)


def _produce(engine: Engine, build: Build, login: Credentials | None, push: bool, status: Callable[[str], None]) -> str:
    """Builds and, if asked, pushes. Returns the repository digest, or the image's id if it stays local."""
    status("Starting Docker build")
    for image in build.cache_from:
        try:
            engine.pull_cache(image, build.platform, status)
        except (ProviderError, docker.errors.DockerException) as error:
            # A cache that is not there yet is the normal case of a first build.
            status(f"no build cache from {image}: {error}")
    image_id = engine.build(build, status)
    status(f'Image built successfully, local id "{image_id}"')
    if not push:
        return image_id
    status("Pushing Image to the registry")
    digest = engine.push(build.name, login, status)
    status(f"Pushed image with digest {digest}")
    return f"{split_tag(build.name)[0]}@{digest}"


def _requested(root: Path, name: str, build: PropertyMap) -> Build:
    context = Context(root, build["context"], build["dockerfile"])
    return Build(
        context=context,
        name=name,
        platform=build.get("platform") or "",
        args={key: str(value) for key, value in (build.get("args") or {}).items()},
        target=build.get("target") or "",
        cache_from=tuple((build.get("cacheFrom") or {}).get("images") or ()),
        add_hosts=tuple(build.get("addHosts") or ()),
        network=build.get("network") or "",
    )


def _name_failures(plain: PropertyMap) -> Iterable[CheckFailure]:
    """Image names must name their registry where one is contacted."""
    name, registry = plain.get("imageName"), plain.get("registry")
    if name is None:
        yield CheckFailure("imageName", "Missing required property 'imageName'")
        return
    build = plain.get("build")
    cache = (build.get("cacheFrom") if isinstance(build, dict) else None) or {}
    images = cache.get("images") if isinstance(cache, dict) else None
    cached = [image for image in images if isinstance(image, str)] if isinstance(images, list) else []
    server = registry.get("server") if isinstance(registry, dict) else ""
    if not isinstance(name, str) or (plain.get("skipPush") is True and not cached):
        return
    for image in (name, *cached):
        try:
            registry_of(server if isinstance(server, str) else "", image)
        except ValueError as error:
            yield CheckFailure("imageName" if image == name else "build.cacheFrom.images", str(error))


def _same_server(old: Value, new: Value) -> bool:
    """Logins change often (tokens); only another server is a reason to build again."""
    return isinstance(old, dict) and isinstance(new, dict) and old.get("server") == new.get("server")


def _configured_logins(value: Any) -> Iterable[Credentials]:
    # Nested provider settings arrive as JSON text.
    entries = json.loads(value) if isinstance(value, str) else value
    for entry in entries or []:
        if entry.get("username") and entry.get("password"):
            yield Credentials(registry_of(str(entry.get("address", "")), ""), entry["username"], entry["password"])


def _redactor(inputs: PropertyMap) -> Callable[[str], str]:
    """Blots secret inputs out of a text: builders echo arguments, registries echo logins."""
    secrets = {
        str(text)
        for secret in leaves(inputs)
        if isinstance(secret, Secret)
        for text in leaves(reveal(secret.value))
        if isinstance(text, str) and len(text) >= _SHORTEST_REDACTED
    }
    ordered = sorted(secrets, key=len, reverse=True)

    def redact(text: str) -> str:
        for secret in ordered:
            text = text.replace(secret, "[secret]")
        return text

    return redact


def _mark(inputs: PropertyMap, outputs: PropertyMap) -> PropertyMap:
    """Outputs made of secret inputs are secret."""
    build = inputs.get("build")
    parts = build.value if isinstance(build, Secret) else build or {}
    registry = inputs.get("registry")
    server = registry if isinstance(registry, Secret) else (registry or {}).get("server")
    sources = {
        **dict.fromkeys(("baseImageName", "imageName", "repoDigest"), inputs.get("imageName")),
        **{name: build if isinstance(build, Secret) else parts.get(name) for name in ("context", "dockerfile", "platform")},
        "registryServer": server,
    }
    return {
        name: Secret(value) if isinstance(sources.get(name), Secret) and not isinstance(value, Secret) else value
        for name, value in outputs.items()
    }
