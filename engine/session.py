"""One operation on a stack, from files to files: project, configuration, state, lock, engine. What the command line calls."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from secrets import token_urlsafe
from typing import Any, Literal

from engine.backend import FileBackend
from engine.checkpoint import decode_deployment, deployment_of, salt_of
from engine.deployment import DEFAULT_PARALLEL, Deployment, Operation, Result
from engine.events import Event
from engine.lock import StackLock
from engine.model import ROOT_STACK_TYPE, ResourceState, Snapshot
from engine.policing import PolicySource
from engine.program import ProgramSpec
from engine.project import Project, for_program, load_stack_file, plaintexts, resolve_config
from engine.providers.catalog import factories
from engine.recovery import StackState
from engine.redaction import Redactor
from engine.secrets import PassphraseCrypter, passphrase
from engine.values import PropertyMap

Kind = Literal["preview", "up", "destroy"]
DEFAULT_BACKEND = "file://.local/state"


LEARNT = 8
"""Characters of a generated text from which on it counts as a password."""


class UnknownStack(Exception):
    """There is no stack of that name."""


@dataclass(frozen=True)
class Request:
    """What the user asked for."""

    kind: Kind
    project: Project
    stack: str
    listener: Callable[[Event], None]
    policies: Sequence[PolicySource] = ()
    policy_interpreters: Sequence[str] = ()
    parallel: int = DEFAULT_PARALLEL
    config_file: Path | None = None
    """Instead of Pulumi.<stack>.yaml."""
    overrides: Mapping[str, Any] = field(default_factory=dict)
    redactor: Redactor = field(default_factory=Redactor)
    dry: bool = False
    """For destroy: show what would be deleted."""


def backend_of(project: Project) -> FileBackend:
    """The backend from PULUMI_BACKEND_URL, Pulumi.yaml, or a folder of the project. Raises BackendError."""
    url = os.environ.get("PULUMI_BACKEND_URL") or project.backend_url or DEFAULT_BACKEND
    return FileBackend(url, project.root)


class Session:
    """The open stack of one request: its key, state and configuration."""

    def __init__(self, request: Request) -> None:
        """Raises ProjectError, BackendError, CheckpointError, SecretsError, UnknownStack."""
        self.request = request
        self.backend = backend_of(request.project)
        project = request.project
        document = self.backend.load(project.name, request.stack)
        if document is None and request.kind == "destroy":
            raise UnknownStack(f"no stack named '{request.stack}' found")
        self.stack_file = load_stack_file(request.config_file or project.stack_file(request.stack))
        recorded = salt_of(document) if document else ""
        self.crypter = self._crypter(recorded or self.stack_file.salt)
        config_key = self.crypter
        if self.stack_file.salt and recorded and self.stack_file.salt != recorded:
            config_key = PassphraseCrypter(passphrase(), self.stack_file.salt)
        self.config = resolve_config(project, self.stack_file, config_key, request.overrides)
        request.redactor.add(plaintexts(self.config))
        self._deployment: Deployment | None = None
        self.state = StackState(self.backend, project.name, request.stack, self.crypter, self._learn)

    def _crypter(self, salt: str) -> PassphraseCrypter:
        if salt:
            return PassphraseCrypter(passphrase(), salt)
        if self.request.kind == "preview":  # a new stack: nothing is encrypted yet, and nothing will be written
            return PassphraseCrypter.new(token_urlsafe())
        return PassphraseCrypter.new(passphrase(new=True))

    def run(self) -> Result:
        """Carries the request out under the stack's lock (a preview takes none and writes nothing)."""
        if self.request.kind == "preview" or self.request.dry:
            return asyncio.run(self._run(self.state.peek(), lock=None))
        with self.backend.stack_lock(self.request.project.name, self.request.stack) as lock:
            return asyncio.run(self._run(self.state.load(), lock=lock))

    async def _run(self, snapshot: Snapshot, *, lock: StackLock | None) -> Result:
        request, project = self.request, self.request.project
        manager = self.state.manager(snapshot) if lock else None
        texts, secret_keys = for_program(self.config)
        program = ProgramSpec(project.root, project.program, project.python, texts, secret_keys)
        operation = Operation(
            kind=request.kind,
            project=project.name,
            stack=request.stack,
            previous=snapshot.resources,
            factories=factories(project, self.config, self._outputs_of, self._log),
            listener=request.listener,
            program=None if request.kind == "destroy" else program,
            config=self.config,
            recorder=manager,
            policies=request.policies,
            policy_interpreters=request.policy_interpreters,
            parallel=request.parallel,
            redact=request.redactor,
            interrupted={p.resource.urn: p.type for p in snapshot.pending_operations},
            destroy_preview=request.dry,
        )
        deployment = self._deployment = Deployment(operation)
        for resource in snapshot.resources:
            self._learn(resource)
        for note in self.state.notes:
            self._log(note, True)
        complete = False

        def save() -> None:
            if manager is not None:
                self.state.finish(manager, complete=complete)

        def leave() -> None:
            save()
            if lock is not None:
                lock.release()
            getattr(request.listener, "close", lambda: None)()  # a moving view gives the terminal back

        with _interrupts(deployment, leave):
            try:
                result = await deployment.run()
                complete = result.ok
                return result
            finally:
                save()

    def _log(self, text: str, is_error: bool) -> None:
        """What the code of dynamic providers prints."""
        if self._deployment is not None:
            self._deployment.log(text, is_error)

    def _learn(self, state: ResourceState) -> None:
        """Generated passwords are filtered from what is printed, too: a failing pod's log may have them.

        Other secrets of the state are not: a user name in a Secret may be a word that every second line has.
        """
        if state.type.startswith("random:"):
            found = plaintexts({**state.inputs, **state.outputs})
            self.request.redactor.add(text for text in found if len(text) >= LEARNT)

    def _outputs_of(self, name: str) -> PropertyMap | None:
        """Outputs of another stack of this backend: `stack`, `project/stack` or `organization/project/stack`."""
        parts = name.split("/")
        project = parts[-2] if len(parts) > 1 else self.request.project.name
        document = self.backend.load(project, parts[-1])
        if document is None:
            return None
        salt = salt_of(document)
        crypter = self.crypter if salt == self.crypter.state else PassphraseCrypter(passphrase(), salt)
        snapshot = decode_deployment(deployment_of(document), crypter)
        return next((r.outputs for r in snapshot.resources if r.type == ROOT_STACK_TYPE), {})


@contextlib.contextmanager
def _interrupts(deployment: Deployment, leave: Callable[[], None]) -> Iterator[None]:
    """First Ctrl-C (or SIGTERM): wind up and save. Second: leave at once; what is in flight is recorded as not known to be done."""
    loop = asyncio.get_running_loop()
    received = 0

    def interrupt() -> None:
        nonlocal received
        received += 1
        if received == 1:
            deployment.cancel()
        else:
            try:
                leave()
            finally:
                os._exit(8)

    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, interrupt)
    try:
        yield
    finally:
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.remove_signal_handler(number)
