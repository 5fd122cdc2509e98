"""Dynamic providers: resources whose provider is Python code of the program, pickled into the resource.

The code runs in a process of its own (`python -m pulumi.dynamic`, part of the SDK), with the program's interpreter and
folder, so that it can import what the program can. It is started on first need, once a run.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import grpc
from pulumi.runtime.proto import provider_pb2, provider_pb2_grpc

from engine.model import urn_name, urn_type
from engine.plugin_process import PLUGIN_MAIN, LineListener, PluginError, PluginProcess
from engine.provider import Call, Changes, Checked, CheckFailure, Created, Diff, Provider, ProviderError, Read
from engine.values import PropertyMap
from engine.wire import from_struct, to_struct

PROVIDER_KEY = "__provider"
"""The pickled code, in the inputs and outputs of each dynamic resource."""
_FRAME = re.compile(r'^  File "(?P<file>.+)", line (?P<line>\d+), in (?P<function>.+)$')
_TRACEBACK = "Traceback (most recent call last):"
_CHANGES = {
    provider_pb2.DiffResponse.DIFF_UNKNOWN: Changes.UNKNOWN,
    provider_pb2.DiffResponse.DIFF_NONE: Changes.NONE,
    provider_pb2.DiffResponse.DIFF_SOME: Changes.SOME,
}


class DynamicProvider(Provider):
    """Relays every operation to the user's code. Numbers arrive there as floats, as with the CLI."""

    package = "pulumi-python"

    def __init__(
        self,
        python: str,
        cwd: str | Path,
        config: Mapping[str, str],
        env: Mapping[str, str],
        *,
        project: str,
        on_line: LineListener | None = None,
    ) -> None:
        """`config`: the stack's, `namespace:key` -> text, secrets in plain; providers read it in `configure`.

        `on_line(text, is_error)` gets what the user's code prints.
        """
        self._python, self._cwd, self._config = python, Path(cwd), dict(config)
        path = [str(self._cwd), *filter(None, [env.get("PYTHONPATH", "")])]
        self._env = {**env, "PULUMI_PROJECT": project, "PYTHONPATH": ":".join(path)}
        self._on_line = on_line
        self._lock = threading.Lock()
        self._process: PluginProcess | None = None
        self._stub: Any = None

    def check(self, call: Call, old_inputs: PropertyMap | None, inputs: PropertyMap, random_seed: bytes) -> Checked:
        request = provider_pb2.CheckRequest(urn=call.urn, olds=_plain(old_inputs or {}), news=_plain(inputs))
        response = self._ask(call, "check", "Check", request)
        failures = [CheckFailure(f.property, f.reason) for f in response.failures]
        return Checked(from_struct(response.inputs), failures)

    def diff(
        self,
        call: Call,
        id: str,
        old_inputs: PropertyMap,
        old_outputs: PropertyMap,
        inputs: PropertyMap,
        ignore_changes: Sequence[str],
    ) -> Diff:
        # UNKNOWN (a provider without `diff`) leaves the comparison of all inputs to the engine, the pickled code among
        # them: changed code has to get into the state, since the state's code is what deletes the resource one day.
        request = provider_pb2.DiffRequest(
            id=id,
            urn=call.urn,
            olds=_plain(old_outputs),
            news=_plain(inputs),
            ignoreChanges=ignore_changes,
            old_inputs=_plain(old_inputs),
        )
        response = self._ask(call, "diff", "Diff", request)
        return Diff(
            changes=_CHANGES[response.changes],
            replaces=list(response.replaces),
            delete_before_replace=response.deleteBeforeReplace,
        )

    def create(self, call: Call, inputs: PropertyMap) -> Created:
        if call.preview:
            return Created("", dict(inputs))
        request = provider_pb2.CreateRequest(urn=call.urn, properties=_plain(inputs), timeout=call.timeout or 0)
        response = self._ask(call, "create", "Create", request)
        if not response.id:
            raise ProviderError(f"{_label(call)}: create returned no id; CreateResult needs a text that is not empty")
        return Created(response.id, from_struct(response.properties))

    def update(
        self,
        call: Call,
        id: str,
        old_inputs: PropertyMap,
        old_outputs: PropertyMap,
        inputs: PropertyMap,
        ignore_changes: Sequence[str],
    ) -> PropertyMap:
        if call.preview:
            return dict(inputs)
        request = provider_pb2.UpdateRequest(
            id=id,
            urn=call.urn,
            olds=_plain(old_outputs),
            news=_plain(inputs),
            timeout=call.timeout or 0,
            ignoreChanges=ignore_changes,
            old_inputs=_plain(old_inputs),
        )
        return from_struct(self._ask(call, "update", "Update", request).properties)

    def delete(self, call: Call, id: str, inputs: PropertyMap, outputs: PropertyMap) -> None:
        request = provider_pb2.DeleteRequest(
            id=id, urn=call.urn, properties=_plain(outputs), timeout=call.timeout or 0, old_inputs=_plain(inputs)
        )
        self._ask(call, "delete", "Delete", request)

    def read(self, call: Call, id: str, inputs: PropertyMap | None, outputs: PropertyMap | None) -> Read:
        if PROVIDER_KEY not in {**(inputs or {}), **(outputs or {})}:
            raise ProviderError(
                f"{_label(call)}: cannot be imported: the code of a dynamic provider is in the program, "
                "and reading needs it. Read it by opts.id in the program."
            )
        request = provider_pb2.ReadRequest(id=id, urn=call.urn, properties=_plain(outputs or {}), inputs=_plain(inputs or {}))
        response = self._ask(call, "read", "Read", request)
        known = from_struct(response.inputs) if response.HasField("inputs") else dict(inputs or {})
        return Read(response.id, known, from_struct(response.properties))

    def close(self) -> None:
        with self._lock:
            if self._process is not None:
                self._process.close()
                self._process = None

    def _ask(self, call: Call, operation: str, method: str, request: Any) -> Any:
        try:
            process, stub = self._started()
            return process.call(getattr(stub, method), request)
        except PluginError as error:
            raise ProviderError(f"{_label(call)}: {operation}: {error}") from None
        except grpc.RpcError as error:
            reason = explain(error.details() or error.code().name, self._cwd)
            raise ProviderError(f"{_label(call)}: {operation} failed: {reason}") from None

    def _started(self) -> tuple[PluginProcess, Any]:
        with self._lock:
            if self._process is None:
                command = [self._python, "-u", str(PLUGIN_MAIN), "pulumi.dynamic"]
                hint = "A module that a dynamic provider needs prints something when it is imported; move that out."
                process = PluginProcess(command, cwd=self._cwd, env=self._env, name="dynamic provider", on_line=self._on_line, hint=hint)
                stub: Any = provider_pb2_grpc.ResourceProviderStub(process.channel)
                configuration: PropertyMap = dict(self._config)
                process.call(stub.Configure, provider_pb2.ConfigureRequest(args=to_struct(configuration)))
                self._process, self._stub = process, stub
            return self._process, self._stub


def _plain(properties: PropertyMap) -> Any:
    return to_struct(properties, keep_secrets=False)


def _label(call: Call) -> str:
    return f"{urn_type(call.urn)} {urn_name(call.urn)!r}"


def explain(details: str, root: Path) -> str:
    """The exception of the user's code in one message: its words, its type, and the deepest place in the user's files.

    `details` is a traceback as text; anything else is passed through.
    """
    start = details.rfind(_TRACEBACK)
    if start < 0:
        return details.removeprefix("Exception calling application: ").strip()
    lines = details[start:].splitlines()[1:]
    frames = [match for line in lines if (match := _FRAME.match(line))]
    end = next((i for i, line in enumerate(lines) if line and not line.startswith(" ")), len(lines))
    kind, _, message = "\n".join(lines[end:]).strip().partition(": ")
    own = [frame for frame in frames if _is_own(frame["file"], root)]
    text = message or kind or "no reason given"
    if not own:
        return f"{text} ({kind})" if message else text
    place = f"{_relative(own[-1]['file'], root)}:{own[-1]['line']} in {own[-1]['function']}"
    return f"{text} ({kind} at {place})" if message else f"{text} (at {place})"


def _is_own(file: str, root: Path) -> bool:
    return Path(file).is_relative_to(root) and "site-packages" not in Path(file).parts


def _relative(file: str, root: Path) -> str:
    return str(Path(file).relative_to(root))
