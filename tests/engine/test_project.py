"""Project and stack files: what they mean, and one clear line for what is wrong."""

from __future__ import annotations

import pytest

from engine.project import ProjectError, find_project, for_program, load_stack_file, parse_overrides, plaintexts, resolve_config
from engine.secrets import PassphraseCrypter
from engine.values import Secret


@pytest.fixture(scope="module")
def crypter():
    return PassphraseCrypter.new("x")


def write(folder, name, text):
    (folder / name).write_text(text)
    return folder / name


def test_a_project_is_found_from_below(tmp_path):
    write(tmp_path, "Pulumi.yaml", "name: p\nmain: src\nruntime: {name: python, options: {virtualenv: venv}}\nbackend: {url: file://~}\n")
    below = tmp_path / "a" / "b"
    below.mkdir(parents=True)
    project = find_project(below)
    assert (project.name, project.program, project.backend_url) == ("p", tmp_path / "src", "file://~")
    (tmp_path / "venv" / "bin").mkdir(parents=True)
    (tmp_path / "venv" / "bin" / "python").touch()
    assert project.python == str(tmp_path / "venv" / "bin" / "python")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "no Pulumi.yaml project file found"),
        ("runtime: python", "name: is missing"),
        ("name: p\nruntime: nodejs", "'nodejs' is not python"),
        ("name: [", r"Pulumi.yaml:1:\d+: is not valid YAML"),
        ("- a", "is not a YAML object"),
    ],
)
def test_wrong_project_files(tmp_path, text, message):
    if text is not None:
        write(tmp_path, "Pulumi.yaml", text)
    with pytest.raises(ProjectError, match=message):
        find_project(tmp_path)


def project(tmp_path, config=""):
    write(tmp_path, "Pulumi.yaml", f"name: p\nruntime: python\n{config}")
    return find_project(tmp_path)


def test_configuration_reaches_the_program_as_the_sdk_wants_it(tmp_path, crypter):
    sealed = crypter.encrypt("hunter2")
    text = f"""
encryptionsalt: {crypter.state}
config:
  p:plain: text
  p:number: 3
  p:flag: true
  p:object: {{a: [1, {{secure: "{sealed}"}}]}}
  p:token: {{secure: "{sealed}"}}
  kubernetes:context: here
"""
    config = resolve_config(project(tmp_path), load_stack_file(write(tmp_path, "Pulumi.dev.yaml", text)), crypter)
    assert config["p:token"] == Secret("hunter2") and config["p:object"] == {"a": [1, Secret("hunter2")]}
    texts, secret = for_program(config)
    assert texts["p:object"] == '{"a": [1, "hunter2"]}' and texts["p:number"] == "3" and texts["p:flag"] == "true"
    assert sorted(secret) == ["p:object", "p:token"] and plaintexts(config) == {"hunter2"}


def test_project_defaults_types_and_overrides(tmp_path, crypter):
    declared = "config:\n  size: {type: integer, default: 3}\n  name: {type: string}\n  pass: {value: s3cret, secret: true}\n"
    owner = project(tmp_path, declared)
    stack = load_stack_file(write(tmp_path, "Pulumi.dev.yaml", "config:\n  p:name: n\n  p:size: 4\n"))
    config = resolve_config(owner, stack, crypter, parse_overrides(["p:size=5", "p:deep.er=1"], as_path=True))
    assert config == {"p:size": "5", "p:name": "n", "p:pass": Secret("s3cret"), "p:deep": {"er": "1"}}
    empty = load_stack_file(tmp_path / "Pulumi.none.yaml")
    with pytest.raises(ProjectError, match="p:name: is missing and has no default"):
        resolve_config(owner, empty, crypter)
    wrong = load_stack_file(write(tmp_path, "Pulumi.dev.yaml", "config: {p:name: n, p:size: big}"))
    with pytest.raises(ProjectError, match="p:size: must be of type integer"):
        resolve_config(owner, wrong, crypter)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("environment: [sophia/prod]", "ESC environments are evaluated by Pulumi Cloud"),
        ("secretsprovider: awskms://x", "needs the pulumi CLI"),
        ("config: 3", "config: is not an object"),
        ("config: {p:a: {secure: v1:bad}}", "p:a: a secret cannot be decrypted"),
    ],
)
def test_stack_files_that_cannot_be_used(tmp_path, crypter, text, message):
    with pytest.raises(ProjectError, match=message):
        resolve_config(project(tmp_path), load_stack_file(write(tmp_path, "Pulumi.dev.yaml", text)), crypter)


def test_overrides_want_key_and_value():
    with pytest.raises(ProjectError, match="is not key=value"):
        parse_overrides(["novalue"], as_path=False)
