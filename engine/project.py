"""Pulumi.yaml and Pulumi.<stack>.yaml: what to run and with which configuration."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from engine.checkpoint import Crypter
from engine.secrets import SecretsError
from engine.values import PropertyMap, Secret, contains_secret, map_leaves, reveal


class ProjectError(Exception):
    """A project or stack file is wrong. The message names file, key and what is expected; several problems, several lines."""


@dataclass(frozen=True)
class Project:
    """A project: the folder of Pulumi.yaml and what it says."""

    root: Path
    name: str
    main: str = ""
    runtime_options: dict[str, Any] = field(default_factory=dict)
    backend_url: str = ""
    stack_config_dir: str = ""
    config: dict[str, Any] = field(default_factory=dict)
    """The `config:` block: defaults and types."""

    @property
    def program(self) -> Path:
        """The program's folder (or file), `main` relative to the project."""
        return (self.root / self.main).resolve() if self.main else self.root

    @property
    def python(self) -> str:
        """The interpreter of the project's virtual environment; this one where none is named or made."""
        name = self.runtime_options.get("virtualenv")
        if name:
            candidate = self.root / str(name) / "bin" / "python"
            if candidate.exists():
                return str(candidate)
        return sys.executable

    def stack_file(self, stack: str) -> Path:
        return self.root / self.stack_config_dir / f"Pulumi.{stack}.yaml"


def find_project(cwd: Path) -> Project:
    """The project of a folder: its own Pulumi.yaml or the nearest above. Raises ProjectError."""
    folder = cwd.resolve()
    for candidate in (folder, *folder.parents):
        for name in ("Pulumi.yaml", "Pulumi.yml"):
            if (candidate / name).is_file():
                return load_project(candidate / name)
    raise ProjectError(
        f"no Pulumi.yaml project file found (searching upwards from {folder}). "
        "If you have not created a project yet, use `pulumi new` to do so"
    )


def load_project(path: Path) -> Project:
    raw = load_yaml(path)
    name = raw.get("name")
    if not isinstance(name, str) or not name:
        raise ProjectError(f"{path}: name: is missing. Give the project a name.")
    runtime = raw.get("runtime")
    kind = runtime.get("name") if isinstance(runtime, dict) else runtime
    if kind != "python":
        raise ProjectError(
            f"{path}: runtime: {kind!r} is not python; the embedded engine runs Python programs only, others need the pulumi CLI."
        )
    options = runtime.get("options") if isinstance(runtime, dict) else None
    backend = raw.get("backend") or {}
    return Project(
        root=path.parent,
        name=name,
        main=str(raw.get("main") or ""),
        runtime_options=dict(options or {}),
        backend_url=str(backend.get("url") or ""),
        stack_config_dir=str(raw.get("stackConfigDir") or ""),
        config=dict(raw.get("config") or {}),
    )


def load_yaml(path: Path) -> dict[str, Any]:
    """A YAML object from a file. Raises ProjectError with file and line."""
    try:
        loaded = yaml.safe_load(path.read_text())
    except OSError as error:
        raise ProjectError(f"{path}: cannot be read: {error.strerror}") from None
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f":{mark.line + 1}:{mark.column + 1}" if mark else ""
        raise ProjectError(f"{path}{where}: is not valid YAML: {getattr(error, 'problem', None) or error}") from None
    if loaded is None:
        return {}
    if not isinstance(loaded, dict):
        raise ProjectError(f"{path}: is not a YAML object.")
    return loaded


@dataclass(frozen=True)
class StackFile:
    """Pulumi.<stack>.yaml as written: still encrypted."""

    path: Path
    salt: str = ""
    config: dict[str, Any] = field(default_factory=dict)

    @property
    def needs_key(self) -> bool:
        return _any_secure(self.config)


def load_stack_file(path: Path) -> StackFile:
    """A stack file; an absent one is an empty one. Raises ProjectError."""
    if not path.exists():
        return StackFile(path)
    raw = load_yaml(path)
    if raw.get("environment"):
        raise ProjectError(
            f"{path}: environment: ESC environments are evaluated by Pulumi Cloud, not by this engine. "
            "Use `--engine pulumi` with that backend."
        )
    provider = str(raw.get("secretsprovider") or "")
    if provider and not provider.startswith("passphrase"):
        raise ProjectError(f"{path}: secretsprovider: {provider!r} needs the pulumi CLI; the embedded engine has `passphrase` only.")
    config = raw.get("config") or {}
    if not isinstance(config, dict):
        raise ProjectError(f"{path}: config: is not an object.")
    return StackFile(path, str(raw.get("encryptionsalt") or ""), config)


def resolve_config(
    project: Project, stack_file: StackFile, crypter: Crypter | None, overrides: Mapping[str, Any] | None = None
) -> PropertyMap:
    """The stack's configuration as `namespace:key` to value, secrets marked. Raises ProjectError with every problem."""
    problems: list[str] = []
    config: PropertyMap = {}
    for key, value in _defaults(project).items():
        config[key] = value
    for key, value in merged(_qualified(project, stack_file.config), _qualified(project, overrides or {})).items():
        try:
            config[key] = _decrypt(value, crypter)
        except SecretsError as error:
            problems.append(f"{stack_file.path}: {key}: {error}")
    problems += _schema_problems(project, config, stack_file.path)
    if problems:
        raise ProjectError("\n".join(problems))
    return config


def _qualified(project: Project, config: Mapping[str, Any]) -> dict[str, Any]:
    return {key if ":" in key else f"{project.name}:{key}": value for key, value in config.items()}


def merged(base: Any, over: Any) -> Any:
    """`over` on `base`: objects deeply, everything else replaced."""
    if isinstance(base, dict) and isinstance(over, dict):
        return {**base, **{k: merged(base.get(k), v) for k, v in over.items()}}
    return over


def for_program(config: PropertyMap) -> tuple[dict[str, str], list[str]]:
    """What the SDK wants: every value as text (objects as JSON), and the keys of those that are secret."""
    texts = {key: _text(reveal(value)) for key, value in config.items()}
    return texts, [key for key, value in config.items() if contains_secret(value)]


def plaintexts(config: PropertyMap) -> set[str]:
    """Every secret text in a configuration, for the filter of what is printed."""
    found: set[str] = set()

    def note(value: Any) -> Any:
        if isinstance(value, Secret):
            inner = reveal(value.value)
            map_leaves(inner, lambda v: found.add(str(v)))
        return value

    for value in config.values():
        map_leaves(value, note)
    return found


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def _defaults(project: Project) -> PropertyMap:
    """`config:` of Pulumi.yaml: `key: value`, `key: {default: …}` or, for other namespaces, `ns:key: {value: …}`."""
    defaults: PropertyMap = {}
    for key, declared in project.config.items():
        full = key if ":" in key else f"{project.name}:{key}"
        if not isinstance(declared, dict):
            defaults[full] = declared
        elif "value" in declared:
            defaults[full] = Secret(declared["value"]) if declared.get("secret") else declared["value"]
        elif "default" in declared:
            defaults[full] = Secret(declared["default"]) if declared.get("secret") else declared["default"]
    return defaults


_TYPES: dict[str, tuple[type, ...]] = {"string": (str,), "integer": (int,), "boolean": (bool,), "array": (list,), "object": (dict,)}


def _schema_problems(project: Project, config: PropertyMap, path: Path) -> list[str]:
    problems = []
    for key, declared in project.config.items():
        full = key if ":" in key else f"{project.name}:{key}"
        if not isinstance(declared, dict) or full.split(":")[0] != project.name:
            continue
        if full not in config:
            if declared.get("type"):
                problems.append(f"{path}: {full}: is missing and has no default. Set it: pulumi config set {key} <value>")
        elif declared.get("type") in _TYPES and not _is_of_type(reveal(config[full]), declared["type"]):
            problems.append(f"{path}: {full}: must be of type {declared['type']}")
    return problems


def _is_of_type(value: Any, type_: str) -> bool:
    if isinstance(value, str) and type_ in ("integer", "boolean"):
        return value in ("true", "false") if type_ == "boolean" else value.lstrip("-").isdigit()
    if type_ == "integer" and isinstance(value, bool):
        return False
    return isinstance(value, _TYPES[type_])


def _decrypt(value: Any, crypter: Crypter | None) -> Any:
    if isinstance(value, dict):
        if set(value) == {"secure"} and isinstance(value["secure"], str):
            if crypter is None:
                raise SecretsError("is encrypted, and there is no key")
            return Secret(crypter.decrypt(value["secure"]))
        return {str(k): _decrypt(v, crypter) for k, v in value.items()}
    if isinstance(value, list):
        return [_decrypt(v, crypter) for v in value]
    return value


def _any_secure(value: Any) -> bool:
    if isinstance(value, dict):
        return (set(value) == {"secure"}) or any(_any_secure(v) for v in value.values())
    return isinstance(value, list) and any(_any_secure(v) for v in value)


def parse_overrides(pairs: Sequence[str], *, as_path: bool) -> dict[str, Any]:
    """`--config key=value`, with `--config-path` as a path into an object. Raises ProjectError."""
    overrides: dict[str, Any] = {}
    for pair in pairs:
        key, separator, value = pair.partition("=")
        if not separator or not key:
            raise ProjectError(f"--config {pair!r}: is not key=value.")
        if not as_path or "." not in key:
            overrides[key] = value
            continue
        head, *rest = key.split(".")
        target = overrides.setdefault(head, {})
        for part in rest[:-1]:
            target = target.setdefault(part, {})
        target[rest[-1]] = value
    return overrides
