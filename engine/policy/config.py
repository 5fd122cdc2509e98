"""Configuration of a policy pack: its own defaults, then its initial configuration, then the user's file.

A pack never validates what it is given, so it is done here, before the pack sees it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import jsonschema
import yaml

from engine.policy.model import LEVELS, PolicyError

LEVEL_KEY = "enforcementLevel"
ALL = "all"


@dataclass(frozen=True)
class Setting:
    """One policy's level ("" = leave as it is) and properties."""

    level: str = ""
    properties: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Schema:
    """One policy with what it accepts: `properties` maps a key to its JSON schema."""

    policy: str
    level: str
    properties: Mapping[str, Any] = field(default_factory=dict)
    required: Sequence[str] = ()


Config = dict[str, Setting]


def load(path: Path) -> Config:
    """Reads a JSON or YAML file that maps a policy to a level, or to an object with enforcementLevel and properties."""
    try:
        text = path.read_text()
    except OSError as error:
        raise PolicyError(f"{path}: cannot read the policy pack configuration: {error.strerror}") from None
    document = _parse(path, text)
    if document is None:
        return {}
    if not isinstance(document, dict):
        raise PolicyError(f"{path}: must map policy names to a level or an object, got {_kind(document)}.")
    return {str(name): _setting(path, str(name), value) for name, value in document.items()}


def _parse(path: Path, text: str) -> Any:
    try:
        # JSON first: YAML is almost a superset of it, but refuses tabs.
        return json.loads(text) if text.strip() else None
    except json.JSONDecodeError as json_error:
        if path.suffix.lower() == ".json":
            raise PolicyError(f"{path}:{json_error.lineno}: not valid JSON: {json_error.msg}") from None
    try:
        return yaml.safe_load(text)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        place = f"{path}:{mark.line + 1}" if mark else str(path)
        raise PolicyError(f"{place}: not valid YAML: {getattr(error, 'problem', None) or error}") from None


def _setting(path: Path, policy: str, value: Any) -> Setting:
    if isinstance(value, str):
        return Setting(_level(f"{path}: {policy}", value))
    if not isinstance(value, dict):
        raise PolicyError(f"{path}: {policy}: must be a level or an object, got {_kind(value)}.")
    level = _level(f"{path}: {policy}.{LEVEL_KEY}", value[LEVEL_KEY]) if LEVEL_KEY in value else ""
    return Setting(level, {k: v for k, v in value.items() if k != LEVEL_KEY})


def _level(place: str, value: Any) -> str:
    if value not in LEVELS:
        raise PolicyError(f"{place}: {value!r} is not an enforcement level; use one of {', '.join(sorted(LEVELS))}.")
    return str(value)


def _kind(value: Any) -> str:
    return {"list": "a list", "NoneType": "nothing", "bool": "a boolean", "str": "a text"}.get(type(value).__name__, "a number")


def reconcile(schemas: Sequence[Schema], initial: Config, given: Config, source: str) -> Config:
    """What is in force for every policy. Raises PolicyError naming `source`, policy and key of all that is wrong."""
    config = {s.policy: Setting(s.level, _defaults(s)) for s in schemas}
    for layer in (initial, given):
        config = _apply(config, layer)
    wrong = [line for schema in schemas for line in _violations(schema, config[schema.policy].properties)]
    if wrong:
        raise PolicyError("\n".join(f"{source}: {line}" for line in wrong))
    return config


def unknown_policies(schemas: Sequence[Schema], given: Config) -> list[str]:
    """Names in a configuration that no policy of the pack has; they have no effect."""
    return sorted(set(given) - {s.policy for s in schemas} - {ALL})


def _defaults(schema: Schema) -> dict[str, Any]:
    return {k: v["default"] for k, v in schema.properties.items() if isinstance(v, dict) and "default" in v}


def _apply(config: Config, layer: Config) -> Config:
    everyone = layer.get(ALL, Setting()).level
    result = {name: Setting(everyone or old.level, old.properties) for name, old in config.items()}
    for name, new in layer.items():
        if name in result:
            old = result[name]
            result[name] = Setting(new.level or old.level, {**old.properties, **new.properties})
    return result


def _violations(schema: Schema, properties: Mapping[str, Any]) -> list[str]:
    if not schema.properties and not schema.required:
        return []
    document = {"type": "object", "properties": dict(schema.properties), "required": list(schema.required)}
    try:
        errors = sorted(jsonschema.Draft7Validator(document).iter_errors(dict(properties)), key=lambda e: str(e.path))
    except jsonschema.exceptions.SchemaError as error:
        return [f"{schema.policy}: the pack's own schema is invalid: {error.message}"]
    return [f"{'.'.join(map(str, (schema.policy, *error.absolute_path)))}: {error.message}" for error in errors]
