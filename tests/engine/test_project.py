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
        ("name: ../p\nruntime: python", "name: '../p'"),
        ("name: p\nruntime: python\nmain: 3", "main: 3 is not a text"),
        ("name: p\nruntime: python\nbackend: file://~", "backend: 'file://~' is not an object"),
        ("name: p\nruntime: {name: python, options: x}", "options: 'x' is not an object"),
        ("name: p\nruntime: {name: python, options: {toolchain: poetry}}", "'poetry' needs the pulumi CLI"),
        ("name: p\nruntime: python\noptions: {refresh: always}", "options.refresh: .* needs the pulumi CLI"),
        ("name: p\nruntime: python\nname: q", "'name' is there already, in line 1"),
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
    assert config == {"p:size": "5", "p:name": "n", "p:pass": Secret("s3cret"), "p:deep": {"er": 1}}
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
        ("config: 3", "config: 3 is not an object"),
        ("encryptionsalt: 3", "encryptionsalt: 3 is not a text"),
        ("config: {p:a: 1, p:a: 2}", r"Pulumi.dev.yaml:1:\d+: is not valid YAML: 'p:a' is there already, in line 1"),
        ("config: {p:a: {secure: v1:bad}}", "p:a: a secret cannot be decrypted"),
    ],
)
def test_stack_files_that_cannot_be_used(tmp_path, crypter, text, message):
    with pytest.raises(ProjectError, match=message):
        resolve_config(project(tmp_path), load_stack_file(write(tmp_path, "Pulumi.dev.yaml", text)), crypter)


def test_overrides_want_key_and_value():
    with pytest.raises(ProjectError, match="is not key=value"):
        parse_overrides(["novalue"], as_path=False)


def test_paths_lead_into_objects_and_give_typed_values():
    given = ["p:a.b=3", "p:a.c=true", "p:a.d=007", "p:a.e.f=x", 'p:a["g.h"]=-1', "p:plain=3"]
    expected = {"p:a": {"b": 3, "c": True, "d": "007", "e": {"f": "x"}, "g.h": -1}, "p:plain": "3"}
    assert parse_overrides(given, as_path=True) == expected


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (["a=1", "a.b=2"], "'a' was given a value of its own"),
        (["a[0]=1"], "into objects only"),
        (["a[=1"], "invalid property path"),
    ],
)
def test_paths_that_lead_nowhere(given, message):
    with pytest.raises(ProjectError, match=message):
        parse_overrides(given, as_path=True)


@pytest.mark.parametrize(
    ("declared", "value", "problem"),
    [
        ("{type: string}", "yes", None),
        ("{type: string}", "3", None),
        ("{type: string}", "[1]", "p:k: must be of type string"),
        ("{type: integer}", "'12'", None),
        ("{type: integer}", "1.5", "p:k: must be of type integer"),
        ("{type: integer}", "true", "p:k: must be of type integer"),
        ("{type: boolean}", "'true'", None),
        ("{type: boolean}", "yes", "p:k: must be of type boolean"),
        ("{type: array, items: {type: array, items: {type: integer}}}", "[[1, 2], [3]]", None),
        ("{type: array, items: {type: array, items: {type: integer}}}", "[[1, 2], [x]]", r"p:k\[1\]\[0\]: must be of type integer"),
        ("{type: object}", "{a: 1}", None),
        ("{type: number}", "1", "config.k.type: 'number' is not one of string, integer"),
        ("{type: string, secret: true}", "plain", "p:k: must be encrypted"),
    ],
)
def test_types_that_the_project_declares(tmp_path, crypter, declared, value, problem):
    owner = project(tmp_path, f"config:\n  k: {declared}\n")
    stack = load_stack_file(write(tmp_path, "Pulumi.dev.yaml", f"config:\n  p:k: {value}\n"))
    if problem is None:
        resolve_config(owner, stack, crypter)
    else:
        with pytest.raises(ProjectError, match=problem):
            resolve_config(owner, stack, crypter)


def test_an_override_of_a_declared_secret_is_secret(tmp_path, crypter):
    owner = project(tmp_path, "config:\n  k: {type: string, secret: true}\n")
    config = resolve_config(owner, load_stack_file(tmp_path / "none.yaml"), crypter, {"k": "given"})
    assert config == {"p:k": Secret("given")}


def test_bare_words_mean_what_they_mean_to_the_cli(tmp_path, crypter):
    text = "config: {p:a: yes, p:b: 2026-01-01, p:c: 12:30, p:d: 1e3, p:e: 0.5, p:f: True, p:g: 0x1f, p:h: '007', p:i: 007}"
    config = resolve_config(project(tmp_path), load_stack_file(write(tmp_path, "Pulumi.dev.yaml", text)), crypter)
    texts, _ = for_program(config)
    assert list(texts.values()) == ["yes", "2026-01-01", "12:30", "1000", "0.5", "true", "31", "007", "007"]


def test_the_old_name_of_the_stack_config_folder_and_the_environment_of_uv(tmp_path):
    write(tmp_path, "Pulumi.yaml", "name: p\nruntime: {name: python, options: {toolchain: uv}}\nconfig: stacks\n")
    owner = find_project(tmp_path)
    assert owner.stack_file("dev") == tmp_path / "stacks" / "Pulumi.dev.yaml" and owner.config == {}
    assert owner.runtime_options["virtualenv"] == ".venv"
