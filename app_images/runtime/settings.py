"""A service's settings: `settings.json` beside a folder of secrets, checked as a whole before anything starts.

The file is written by the deployment; `components/` holds the other half of the contract and a test compares them.
Unknown keys are refused, because a misspelt key that is silently ignored is found in production.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from app_images.runtime import redaction

SETTINGS_DIR_VARIABLE = "SOPHIA_SETTINGS_DIR"
SECRETS_DIR_VARIABLE = "SOPHIA_SECRETS_DIR"
DEFAULT_SETTINGS_DIR = Path("/etc/sophia/config")
DEFAULT_SECRETS_DIR = Path("/etc/sophia/secrets")
SETTINGS_FILE = "settings.json"

Port = Annotated[int, Field(ge=1024, le=65535, description="a port from 1024 to 65535, for the process is not root")]
Name = Annotated[str, Field(pattern=r"^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$", description="a DNS label")]


class SettingsError(Exception):
    """Settings a service cannot start with: one line for each problem, each naming file, key and fix."""

    def __init__(self, lines: Iterable[str]) -> None:
        self.lines = tuple(lines)
        super().__init__("\n".join(self.lines))


class Section(BaseModel):
    """Base of every part of the settings: frozen, no unknown keys, no silent conversion of text to numbers."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class BreakerSettings(Section):
    """When a client stops calling a failing backend."""

    failures: int = Field(default=5, ge=1)
    """Consecutive failures that open the circuit. Default 5."""
    recovery_seconds: float = Field(default=60, gt=0)
    """Seconds until one call is let through to try again. Default 60."""


class PoolSection(Section):
    """What the pools of all backends have in common."""

    min: int = Field(ge=0)
    """Connections that are kept open."""
    max: int = Field(ge=1)
    """Connections at most; further callers wait."""
    timeout_seconds: float = Field(gt=0)
    """Seconds to wait for a connection, and for one answer on it."""
    breaker: BreakerSettings = BreakerSettings()
    """Circuit breaker of this replica."""
    health_interval_seconds: float = Field(default=30, gt=0)
    """Seconds between checks of a healthy backend. Default 30."""


class PostgresPoolSettings(PoolSection):
    """The pool to Postgres. Its password is the secret `postgres-password`."""

    host: str = Field(min_length=1)
    """Service name or address of the server."""
    port: int = Field(default=5432, ge=1, le=65535)
    """Port of the server. Default 5432."""
    database: str = Field(default="sophia", min_length=1)
    """Database to connect to. Default "sophia"."""
    user: str = Field(default="sophia", min_length=1)
    """Role to log in as. Default "sophia"."""
    min: int = Field(default=2, ge=0)
    """Connections that are kept open. Default 2."""
    max: int = Field(default=10, ge=1)
    """Connections at most. Default 10."""
    timeout_seconds: float = Field(default=20, gt=0)
    """Seconds to wait for a connection, and for one answer on it. Default 20."""


class PoolSettings(Section):
    """The pools this service opens; a backend that is left out is not used."""

    postgres: PostgresPoolSettings | None = None
    """Pool to Postgres."""


class ServiceSettings(Section):
    """Who the service is and how it is reached."""

    name: Name
    """Name in logs, metrics and the protocol; the same on all replicas."""
    namespace: Name
    """Namespace it is deployed to."""
    port: Port
    """Port of `/mcp`, `/health` and `/ready`."""
    metrics_port: Port = 9464
    """Port of `/metrics`. Default 9464, the OpenTelemetry convention for a Prometheus exporter."""
    allowed_hosts: tuple[str, ...] = Field(min_length=1)
    """Values of the `Host` header that are served, exact or `name:*` for any port; all others are answered 421."""
    max_in_flight: int = Field(default=64, ge=1)
    """Requests taken at once before the service answers 503. Default 64."""
    shutdown_grace_seconds: int = Field(default=25, ge=1)
    """Seconds that requests in flight have after SIGTERM. Default 25."""


class Settings(Section):
    """Everything a service is told by its deployment, except secrets."""

    service: ServiceSettings
    """Who the service is and how it is reached."""
    pools: PoolSettings = PoolSettings()
    """Connection pools."""


class Secrets:
    """A folder with one file for each secret.

    Files are read at each use: a rotated secret is seen by the next connection without a restart. The price is a read
    of a few bytes for each new connection. Every value read is from then on replaced in all logs.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def read(self, key: str) -> str:
        """The secret without a trailing line break. Raises `SettingsError` where it is missing or empty."""
        path = self._directory / key
        try:
            value = path.read_text(encoding="utf-8").rstrip("\r\n")
        except (OSError, UnicodeDecodeError) as error:
            reason = error.strerror if isinstance(error, OSError) else "not UTF-8"
            raise SettingsError([f"{path}: cannot be read ({reason}). Mount the secret {key!r} there."]) from None
        if not value:
            raise SettingsError([f"{path}: is empty. Put the value of the secret {key!r} into it."])
        redaction.hide(value)
        return value

    def optional(self, key: str) -> str | None:
        """The secret, or None where its file does not exist."""
        return self.read(key) if (self._directory / key).exists() else None


def load(environ: Mapping[str, str] = os.environ) -> tuple[Settings, Secrets]:
    """The settings and secrets this process is deployed with. Raises `SettingsError`."""
    directory = Path(environ.get(SETTINGS_DIR_VARIABLE) or DEFAULT_SETTINGS_DIR)
    secrets = Path(environ.get(SECRETS_DIR_VARIABLE) or DEFAULT_SECRETS_DIR)
    return read_settings(directory / SETTINGS_FILE), Secrets(secrets)


def read_settings(path: Path) -> Settings:
    """The checked contents of `path`. Raises `SettingsError` with every problem at once."""
    try:
        text = path.read_bytes()
    except OSError as error:
        fix = f"Mount the service's settings there, or name their folder in {SETTINGS_DIR_VARIABLE}."
        raise SettingsError([f"{path}: cannot be read ({error.strerror}). {fix}"]) from None
    try:
        settings = Settings.model_validate_json(text)
    except ValidationError as error:
        raise SettingsError(_line(path, problem) for problem in error.errors(include_url=False)) from None
    problems = list(_contradictions(path, settings))
    if problems:
        raise SettingsError(problems)
    return settings


def _contradictions(path: Path, settings: Settings) -> Iterable[str]:
    if settings.service.port == settings.service.metrics_port:
        yield f"{path}: service.metrics_port: {settings.service.port} is the service's own port. Choose another one."
    postgres = settings.pools.postgres
    if postgres and postgres.min > postgres.max:
        yield f"{path}: pools.postgres.min: {postgres.min} is above max {postgres.max}. Lower min or raise max."


def _line(path: Path, problem: Mapping[str, object]) -> str:
    location, kind = problem["loc"], problem["type"]
    key = ".".join(str(part) for part in location) if isinstance(location, tuple) else ""
    prefix = f"{path}: {key}: " if key else f"{path}: "
    if kind == "missing":
        return f"{prefix}is missing. Add it."
    if kind == "extra_forbidden":
        return f"{prefix}is not a known key. Correct its spelling or remove it."
    if kind == "json_invalid":
        return f"{prefix}{problem['msg']}. Correct the file."
    return f"{prefix}{problem['input']!r} is refused: {problem['msg']}. Correct the value."
