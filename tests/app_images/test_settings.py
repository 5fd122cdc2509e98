"""Settings of a service: what is read, and the one line each mistake gets."""

from __future__ import annotations

import json

import pytest

from app_images.runtime import redaction
from app_images.runtime.settings import Secrets, SettingsError, load, read_settings

GOOD = {
    "service": {
        "name": "ai-memory",
        "namespace": "sophia-dev",
        "port": 9001,
        "metrics_port": 9464,
        "allowed_hosts": ["ai-memory", "ai-memory:*"],
        "max_in_flight": 64,
        "shutdown_grace_seconds": 25,
    },
    "pools": {
        "postgres": {
            "host": "postgres",
            "port": 5432,
            "database": "sophia",
            "user": "sophia",
            "min": 2,
            "max": 10,
            "timeout_seconds": 20,
            "breaker": {"failures": 5, "recovery_seconds": 60},
            "health_interval_seconds": 30,
        }
    },
}


def changed(**paths):
    """GOOD with `a__b=value` set, or removed where the value is ..."""
    result = json.loads(json.dumps(GOOD))
    for path, value in paths.items():
        *parents, last = path.split("__")
        node = result
        for parent in parents:
            node = node[parent]
        if value is ...:
            del node[last]
        else:
            node[last] = value
    return result


def written(tmp_path, content):
    path = tmp_path / "settings.json"
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path


def test_the_deployments_file_is_read(tmp_path):
    settings = read_settings(written(tmp_path, GOOD))
    assert settings.service.allowed_hosts == ("ai-memory", "ai-memory:*")
    assert settings.pools.postgres.breaker.recovery_seconds == 60


@pytest.mark.parametrize("pool", [{}, {"postgres": {"host": "db"}}])
def test_what_is_left_out_has_a_default(tmp_path, pool):
    settings = read_settings(written(tmp_path, changed(pools=pool, service__metrics_port=..., service__max_in_flight=...)))
    assert settings.service.metrics_port == 9464
    assert settings.pools.postgres is None or (settings.pools.postgres.min, settings.pools.postgres.max) == (2, 10)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (changed(service__port=80), ["service.port: 80 is refused", "1024"]),
        (changed(service__port="9001"), ["service.port: '9001' is refused", "integer"]),
        (changed(service__name=...), ["service.name: is missing"]),
        (changed(service__prot=9001), ["service.prot: is not a known key"]),
        (changed(service__allowed_hosts=[]), ["service.allowed_hosts"]),
        (changed(pools__postgres__max=0), ["pools.postgres.max: 0 is refused"]),
        (changed(pools__postgres__min=11), ["pools.postgres.min: 11 is above max 10"]),
        (changed(pools__redis={}), ["pools.redis: is not a known key"]),
        (changed(service__metrics_port=9001), ["service.metrics_port: 9001 is the service's own port"]),
        ("{", ["Invalid JSON"]),
        ("[]", ["is refused"]),
    ],
)
def test_each_mistake_is_one_line_that_names_file_key_and_fix(tmp_path, content, words):
    path = written(tmp_path, content)
    with pytest.raises(SettingsError) as error:
        read_settings(path)
    (line,) = error.value.lines
    assert line.startswith(f"{path}: ")
    assert "\n" not in line
    for word in words:
        assert word in line


def test_all_mistakes_are_named_at_once(tmp_path):
    with pytest.raises(SettingsError) as error:
        read_settings(written(tmp_path, changed(service__port=1, pools__postgres__host=...)))
    assert len(error.value.lines) == 2


def test_a_missing_file_names_the_variable_that_says_where_it_is(tmp_path):
    with pytest.raises(SettingsError, match=r"settings\.json: cannot be read.*SOPHIA_SETTINGS_DIR"):
        load({"SOPHIA_SETTINGS_DIR": str(tmp_path)})


@pytest.mark.parametrize(("content", "words"), [(None, "cannot be read"), ("", "is empty"), ("\n", "is empty"), (b"\xff\xfe", "not UTF-8")])
def test_a_secret_that_is_not_there_is_named_with_its_path(tmp_path, content, words):
    if content is not None:
        (tmp_path / "postgres-password").write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(SettingsError, match=words) as error:
        Secrets(tmp_path).read("postgres-password")
    assert str(tmp_path / "postgres-password") in error.value.lines[0]


def test_a_rotated_secret_is_seen_at_the_next_read(tmp_path):
    secrets = Secrets(tmp_path)
    (tmp_path / "key").write_text("first-value\n")
    assert secrets.read("key") == "first-value"
    (tmp_path / "key").write_text("second-value\n")
    assert secrets.read("key") == "second-value"
    assert secrets.optional("other") is None


@pytest.mark.parametrize("value", ["simple-secret", 'quo"te\\and\ttab', "ünïcödé-secret"])
def test_a_secret_that_was_read_is_replaced_also_in_its_escaped_forms(tmp_path, value):
    (tmp_path / "key").write_text(value)
    Secrets(tmp_path).read("key")
    for form in (value, json.dumps({"x": value}), repr({"x": value})):
        assert value not in redaction.clean(form)
        assert redaction.PLACEHOLDER in redaction.clean(form)
