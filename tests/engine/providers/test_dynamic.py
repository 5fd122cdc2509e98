"""DynamicProvider with the SDK's real provider process and pickled providers."""

from __future__ import annotations

import base64
import pickle
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from engine.provider import Call, Changes, ProviderError
from engine.providers.dynamic import PROVIDER_KEY, DynamicProvider, explain
from engine.values import UNKNOWN, Secret

STORE = """
import json, os, pathlib
from pulumi.dynamic import *

class FileProvider(ResourceProvider):
    def configure(self, request):
        self.region = request.config.get("region")
    def check(self, _olds, news):
        text = news["text"]
        failures = [CheckFailure("text", "must not be bad")] if text == "bad" else []
        return CheckResult({**news, "text": text.strip() if isinstance(text, str) else text}, failures)
    def create(self, props):
        if props["text"] == "boom":
            helper()
        print("creating", props["text"])
        return CreateResult("id-1", {**props, "size": len(props["text"]), "region": self.region, "none": None})
    def diff(self, _id, olds, news):
        replaces = ["kind"] if olds["kind"] != news["kind"] else []
        return DiffResult(changes=olds["text"] != news["text"], replaces=replaces, delete_before_replace=True)
    def update(self, id_, olds, news):
        return UpdateResult({**news, "size": len(news["text"]), "was": olds["text"]})
    def delete(self, id_, props):
        pathlib.Path("deleted").write_text(id_ + json.dumps(props["text"]))
    def read(self, id_, props):
        return ReadResult(id_ if props["text"] != "gone" else "", {**props, "size": 3}, {"text": "drifted"})

class Plain(ResourceProvider):
    def create(self, props):
        if props.get("die"):
            os.write(2, b"out of memory, say\\n")
            os._exit(7)
        return CreateResult("", {})

def helper():
    raise ValueError("the disk is full\\nreally")
"""
URN = "urn:pulumi:dev::p::pulumi-python:dynamic:Resource::note"


def call(*, preview: bool = False) -> Call:
    return Call(URN, preview, threading.Event())


@pytest.fixture
def program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "store_of_test.py").write_text(STORE)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "store_of_test", raising=False)
    return tmp_path


@pytest.fixture
def lines() -> list[str]:
    return []


@pytest.fixture
def provider(program: Path, lines: list[str]) -> Iterator[DynamicProvider]:
    made = DynamicProvider(sys.executable, program, {"p:region": "north"}, {}, project="p", on_line=lambda text, _: lines.append(text))
    yield made
    made.close()


def pickled(name: str) -> Secret:
    module = __import__("store_of_test")
    # As the SDK does for a provider in a module of its own: by reference.
    return Secret(base64.b64encode(pickle.dumps(getattr(module, name)())).decode())


def inputs(name: str = "FileProvider", **values: Any) -> dict[str, Any]:
    return {PROVIDER_KEY: pickled(name), **values}


def plain(values: dict[str, Any]) -> dict[str, Any]:
    return {k: v for k, v in values.items() if k != PROVIDER_KEY}


def test_check_create_update_delete(provider: DynamicProvider, program: Path, lines: list[str]) -> None:
    checked = provider.check(call(), None, inputs(text="  hello ", kind="a"), b"")
    assert plain(checked.inputs) == {"text": "hello", "kind": "a"}
    assert not checked.failures
    created = provider.create(call(), checked.inputs)
    assert created.id == "id-1"
    # A whole number comes back as one, a property that is None not at all; the engine marks secrets again.
    assert plain(created.outputs) == {"text": "hello", "kind": "a", "size": 5, "region": "north"}
    assert isinstance(created.outputs["size"], int)
    assert created.outputs[PROVIDER_KEY] == pickled("FileProvider").value
    updated = provider.update(call(), "id-1", checked.inputs, created.outputs, inputs(text="hi", kind="a"), [])
    assert plain(updated) == {"text": "hi", "kind": "a", "size": 2, "was": "hello"}
    provider.delete(call(), "id-1", {}, updated)
    assert (program / "deleted").read_text() == 'id-1"hi"'
    assert lines == ["creating hello"]


def test_check_failures(provider: DynamicProvider) -> None:
    [failure] = provider.check(call(), None, inputs(text="bad"), b"").failures
    assert (failure.property, failure.reason) == ("text", "must not be bad")


def test_unknowns_reach_check_and_come_back(provider: DynamicProvider) -> None:
    checked = provider.check(call(preview=True), {}, inputs(text=UNKNOWN, deep={"x": [UNKNOWN]}), b"")
    assert plain(checked.inputs) == {"text": UNKNOWN, "deep": {"x": [UNKNOWN]}}


def test_diff_compares_with_old_outputs(provider: DynamicProvider) -> None:
    old = inputs(text="a", kind="x")
    same = provider.diff(call(), "i", {}, {**old, "size": 1}, old, [])
    changed = provider.diff(call(), "i", {}, old, inputs(text="b", kind="y"), [])
    assert same.changes is Changes.NONE
    assert (changed.changes, changed.replaces, changed.delete_before_replace) == (Changes.SOME, ["kind"], True)


def test_a_provider_without_diff_leaves_it_to_the_engine(provider: DynamicProvider) -> None:
    assert provider.diff(call(), "i", {}, inputs("Plain"), inputs("Plain"), []).changes is Changes.UNKNOWN


def test_preview_does_not_create(provider: DynamicProvider, lines: list[str]) -> None:
    given = inputs(text="hello")
    assert provider.create(call(preview=True), given).outputs == given
    assert provider.update(call(preview=True), "i", given, {}, given, []) == given
    assert provider._process is None


def test_read(provider: DynamicProvider) -> None:
    found = provider.read(call(), "id-1", inputs(text="x"), inputs(text="x", size=1))
    assert (found.id, plain(found.inputs), plain(found.outputs)) == (
        "id-1",
        {"text": "drifted"},
        {"text": "x", "size": 3},
    )
    assert provider.read(call(), "id-1", inputs(text="x"), None).outputs["size"] == 3
    assert provider.read(call(), "id-1", {}, inputs(text="gone")).id == ""
    with pytest.raises(ProviderError, match="cannot be imported"):
        provider.read(call(), "id-1", None, None)


def test_an_exception_is_told_in_its_own_words_with_its_place(provider: DynamicProvider) -> None:
    line = 1 + STORE[: STORE.index("raise ValueError")].count("\n")
    with pytest.raises(ProviderError) as caught:
        provider.create(call(), inputs(text="boom"))
    assert str(caught.value) == (
        f"pulumi-python:dynamic:Resource 'note': create failed: the disk is full\nreally (ValueError at store_of_test.py:{line} in helper)"
    )


def test_a_result_without_id(provider: DynamicProvider) -> None:
    with pytest.raises(ProviderError, match="create returned no id"):
        provider.create(call(), inputs("Plain"))


def test_a_process_that_dies(provider: DynamicProvider) -> None:
    with pytest.raises(ProviderError, match=r"(?s)'note': create: .*exit code 7\)\n  out of memory, say"):
        provider.create(call(), inputs("Plain", die=True))


def test_the_process_ends_with_the_engine_even_if_nobody_closes_it(program: Path) -> None:
    code = (
        "import os, sys, pathlib\n"
        "from engine.plugin_process import PluginProcess\n"
        "process = PluginProcess([sys.executable, '-u', '-m', 'pulumi.dynamic'], cwd=pathlib.Path('.'), env={}, name='x')\n"
        "print(process._process.pid)\n"
    )
    root = Path(__file__).parents[3]
    done = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=True, timeout=60)
    assert not Path(f"/proc/{int(done.stdout)}").exists()


def test_an_interpreter_that_is_not_there(program: Path) -> None:
    provider = DynamicProvider("/nonexistent/python", program, {}, {}, project="p")
    with pytest.raises(ProviderError, match="cannot run /nonexistent/python: No such file"):
        provider.create(call(), inputs(text="x"))


TRACE = """Traceback (most recent call last):
  File "/usr/lib/site-packages/pulumi/dynamic/__main__.py", line 80, in wrapper
    return fn(self, request, context)
  File "{root}/main.py", line 5, in create
    call(1)
  File "/usr/lib/x.py", line 9, in call
    raise E
{error}
"""


@pytest.mark.parametrize(
    ("details", "expected"),
    [
        (TRACE.format(root="/prog", error="KeyError: 'name'"), "'name' (KeyError at main.py:5 in create)"),
        (TRACE.format(root="/prog", error="AssertionError"), "AssertionError (at main.py:5 in create)"),
        (TRACE.format(root="/other", error="lib.Error: no"), "no (lib.Error)"),
        (
            TRACE.format(root="/prog", error="KeyError: 1")
            + "\nDuring handling of the above exception, another exception occurred:\n\n"
            + TRACE.format(root="/prog", error="OSError: two: parts"),
            "two: parts (OSError at main.py:5 in create)",
        ),
        ("Exception calling application: odd", "odd"),
    ],
)
def test_explain(details: str, expected: str) -> None:
    assert explain(details, Path("/prog")) == expected
