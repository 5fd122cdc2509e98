"""Pulumi.yaml and Pulumi.<stack>.yaml: what to run and with which configuration."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from engine import paths, yaml_file
from engine.checkpoint import Crypter
from engine.secrets import SecretsError
from engine.values import PropertyMap, Secret, contains_secret, is_number, map_leaves, reveal
from engine.wire import number

_PROJECT_NAME = re.compile(r"[A-Za-z0-9_.-]{1,100}")
_NAME_RULE = "letters, digits, `-`, `_` and `.`, at most 100"


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
    """What a Pulumi.yaml says. Raises ProjectError."""
    raw = load_yaml(path)
    name = raw.get("name")
    if not isinstance(name, str) or not _PROJECT_NAME.fullmatch(name):
        raise ProjectError(f"{path}: name: {'is missing' if name is None else f'{name!r}'}. Give the project a name of {_NAME_RULE}.")
    config = raw.get("config")
    old_config_dir = config if isinstance(config, str) else ""  # `config: folder` once meant what `stackConfigDir: folder` does
    if str(_object(path, raw, "options").get("refresh") or "never") != "never":
        raise ProjectError(f"{path}: options.refresh: the embedded engine does not refresh before an update; this needs the pulumi CLI.")
    return Project(
        root=path.parent,
        name=name,
        main=_text_at(path, raw, "main"),
        runtime_options=_runtime_options(path, raw.get("runtime")),
        backend_url=_text_at(path, _object(path, raw, "backend"), "url"),
        stack_config_dir=_text_at(path, raw, "stackConfigDir") or old_config_dir,
        config={} if old_config_dir else _object(path, raw, "config"),
    )


def _runtime_options(path: Path, runtime: Any) -> dict[str, Any]:
    kind = runtime.get("name") if isinstance(runtime, dict) else runtime
    if kind != "python":
        raise ProjectError(
            f"{path}: runtime: {kind!r} is not python; the embedded engine runs Python programs only, others need the pulumi CLI."
        )
    options = _object(path, runtime, "options") if isinstance(runtime, dict) else {}
    toolchain = options.get("toolchain", "pip")
    if toolchain not in ("pip", "uv"):
        raise ProjectError(f"{path}: runtime.options.toolchain: {toolchain!r} needs the pulumi CLI; the embedded engine knows pip and uv.")
    return {"virtualenv": ".venv", **options} if toolchain == "uv" else options


def _object(path: Path, raw: dict[str, Any], key: str) -> dict[str, Any]:
    value = raw.get(key)
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise ProjectError(f"{path}: {key}: {value!r} is not an object.")
    return {str(k): v for k, v in value.items()}


def _text_at(path: Path, raw: dict[str, Any], key: str) -> str:
    value = raw.get(key)
    if value is not None and not isinstance(value, str):
        raise ProjectError(f"{path}: {key}: {value!r} is not a text.")
    return value or ""


def load_yaml(path: Path) -> dict[str, Any]:
    """A YAML object from a file. Raises ProjectError with file and line."""
    try:
        return yaml_file.load(path)
    except yaml_file.YamlFileError as error:
        raise ProjectError(str(error)) from None


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
    if provider not in ("", "default", "passphrase"):
        raise ProjectError(f"{path}: secretsprovider: {provider!r} needs the pulumi CLI; the embedded engine has `passphrase` only.")
    return StackFile(path, _text_at(path, raw, "encryptionsalt"), _object(path, raw, "config"))


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
    for key in _qualified(project, overrides or {}):
        if key in _declared_secret(project):
            config[key] = Secret(reveal(config[key]))
    problems += _schema_problems(project, config, stack_file.path)
    if problems:
        raise ProjectError("\n".join(problems))
    return config


def _declared_secret(project: Project) -> set[str]:
    secret = {key: d for key, d in project.config.items() if isinstance(d, dict) and d.get("secret")}
    return set(_qualified(project, secret))


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
            map_leaves(inner, lambda v: found.add(str(v)) if isinstance(v, str | int | float) and not isinstance(v, bool) else None)
        return value

    for value in config.values():
        map_leaves(value, note)
    return found


def _text(value: Any) -> str:
    """As the SDK wants it: texts as they are, everything else as JSON, whole numbers without a fraction."""
    whole = map_leaves(value, lambda v: number(v) if isinstance(v, float) else v)
    return whole if isinstance(whole, str) else json.dumps(whole)


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
        type_ = declared.get("type")
        if type_ is not None and type_ not in _TYPES:
            problems.append(f"Pulumi.yaml: config.{key}.type: {type_!r} is not one of {', '.join(_TYPES)}.")
        elif full not in config:
            if type_:
                problems.append(f"{path}: {full}: is missing and has no default. Set it: pulumi config set {key} <value>")
        elif declared.get("secret") and not contains_secret(config[full]):
            problems.append(f"{path}: {full}: must be encrypted, because it is a secret. Set it: pulumi config set --secret {key} <value>")
        elif type_:
            problems += [f"{path}: {full}{problem}" for problem in _type_problems(reveal(config[full]), declared)]
    return problems


def _type_problems(value: Any, declared: dict[str, Any], where: str = "") -> list[str]:
    type_ = declared.get("type")
    if type_ in _TYPES and not _is_of_type(value, type_):
        return [f"{where}: must be of type {type_}"]
    items = declared.get("items")
    if isinstance(value, list) and isinstance(items, dict):
        return [problem for i, item in enumerate(value) for problem in _type_problems(item, items, f"{where}[{i}]")]
    return []


def _is_of_type(value: Any, type_: str) -> bool:
    if isinstance(value, str) and type_ in ("integer", "boolean"):
        return value in ("true", "false") if type_ == "boolean" else re.fullmatch(r"[-+]?[0-9]+", value) is not None
    if type_ == "string" and is_number(value):
        return True
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
        path = _override_path(pair, key) if as_path else (key,)
        target = overrides
        for step in path[:-1]:
            target = target.setdefault(step, {})
            if not isinstance(target, dict):
                raise ProjectError(f"--config {pair!r}: {step!r} was given a value of its own already.")
        target[path[-1]] = value if len(path) == 1 else _typed(value)
    return overrides


def _override_path(pair: str, key: str) -> tuple[str, ...]:
    """`ns:outer.inner` as (`ns:outer`, `inner`)."""
    namespace, colon, inner = key.rpartition(":")
    try:
        steps = paths.parse(inner)
    except ValueError as error:
        raise ProjectError(f"--config {pair!r}: {error}.") from None
    if not all(isinstance(step, str) for step in steps):
        raise ProjectError(f"--config {pair!r}: a path leads into objects only; give a list as a whole, in a --config-file.")
    return (f"{namespace}{colon}{steps[0]}", *map(str, steps[1:]))


def _typed(text: str) -> Any:
    """Inside an object `true` and `3` are what they look like, as for `pulumi config set --path`; `007` is a text."""
    if text in ("true", "false"):
        return text == "true"
    return int(text) if re.fullmatch(r"-?(0|[1-9][0-9]*)", text) else text
