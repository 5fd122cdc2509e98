"""What a component writes is what the services' runtime reads: two models of one file, held together here."""

from __future__ import annotations

from pathlib import Path

from app_images.runtime import settings
from app_images.runtime.settings import PostgresPoolSettings, ServiceSettings, read_settings
from components.connection_pool_config import PostgresPoolSpec
from components.mcp_server import McpServerSpec
from components.mcp_server_objects import CONFIG_DIR, SECRETS_DIR, Server
from tests.components.samples import pool_binding, server


def test_the_runtime_reads_the_rendered_settings(tmp_path: Path) -> None:
    rendered = Server("ai-memory", McpServerSpec.parse(server(pools=pool_binding(), max_in_flight=7)))
    (tmp_path / "settings.json").write_text(rendered.config_map()["data"]["settings.json"])
    read = read_settings(tmp_path / "settings.json")
    assert read.model_dump(mode="json") == rendered.settings()


def test_both_sides_know_the_same_keys() -> None:
    rendered = Server("ai-memory", McpServerSpec.parse(server(pools=pool_binding()))).settings()
    assert set(rendered["service"]) == set(ServiceSettings.model_fields)
    assert set(rendered["pools"]["postgres"]) == set(PostgresPoolSettings.model_fields)


def test_both_sides_have_the_same_defaults() -> None:
    for name, field in PostgresPoolSettings.model_fields.items():
        ours = PostgresPoolSpec.model_fields[name]
        assert ours.is_required() == field.is_required(), name
        if name == "breaker":
            assert ours.default.model_dump() == field.default.model_dump()
        elif not field.is_required():
            assert ours.default == field.default, name


def test_the_folders_are_the_runtimes_own() -> None:
    assert Path(CONFIG_DIR) == settings.DEFAULT_SETTINGS_DIR
    assert Path(SECRETS_DIR) == settings.DEFAULT_SECRETS_DIR
