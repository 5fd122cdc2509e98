"""`sophia stack output|export|ls`: what is recorded, read from the state; nothing is run and nothing changed."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from engine.checkpoint import dumps, encode_deployment, salt_of
from engine.events import REDACTED, render
from engine.model import ROOT_STACK_TYPE, Snapshot
from engine.project import Project
from engine.recovery import StackState
from engine.secrets import PassphraseCrypter, passphrase
from engine.session import UnknownStack, backend_of
from engine.values import PropertyMap, reveal
from ops.exits import Exit


def run(args: argparse.Namespace, project: Project) -> int:
    """Carries out one of the `stack` commands with the embedded engine's backend. Returns the exit status."""
    if args.action == "ls":
        return _list(args, project)
    crypter, snapshot = _state(project, args.stack)
    return _export(args, crypter, snapshot) if args.action == "export" else _output(args, snapshot)


def cli_command(args: argparse.Namespace, project: Project) -> list[str]:
    """The same for the pulumi CLI."""
    command = ["pulumi", "stack", args.action, "--cwd", str(project.root)]
    if args.action == "ls":
        return [*command, *(["--json"] if args.json else [])]
    command += ["--stack", args.stack]
    if args.action == "export":
        return command + (["--file", str(args.file.resolve())] if args.file else [])
    flags = [f"--{flag.replace('_', '-')}" for flag in ("json", "show_secrets") if getattr(args, flag)]
    return [*command, *flags, *([args.name] if args.name else [])]


def _state(project: Project, stack: str) -> tuple[PassphraseCrypter, Snapshot]:
    backend = backend_of(project)
    document = backend.load(project.name, stack)
    if document is None:
        raise UnknownStack(f"no stack named '{stack}' found")
    salt, word = salt_of(document), passphrase()
    crypter = PassphraseCrypter(word, salt) if salt else PassphraseCrypter.new(word)
    return crypter, StackState(backend, project.name, stack, crypter).peek()


def _list(args: argparse.Namespace, project: Project) -> int:
    names = backend_of(project).stacks(project.name)
    print(json.dumps([{"name": name} for name in names], indent=2) if args.json else "\n".join(names))
    return Exit.OK


def _export(args: argparse.Namespace, crypter: PassphraseCrypter, snapshot: Snapshot) -> int:
    text = json.dumps({"version": 3, "deployment": encode_deployment(snapshot, crypter)}, indent=4, ensure_ascii=False)
    if args.file:
        Path(args.file).write_text(text + "\n", encoding="utf-8")
    else:
        print(text)
    return Exit.OK


def _output(args: argparse.Namespace, snapshot: Snapshot) -> int:
    outputs = next((r.outputs for r in snapshot.resources if r.type == ROOT_STACK_TYPE and not r.delete), {})
    shown = {name: _shown(value, show=args.show_secrets) for name, value in outputs.items()}
    if args.name is None:
        print(json.dumps(shown, indent=2, ensure_ascii=False) if args.json else _table(shown))
        return Exit.OK
    if args.name not in shown:
        known = f" There are: {', '.join(sorted(shown))}." if shown else " There are none."
        print(f"error: current stack does not have output property '{args.name}'.{known}", file=sys.stderr)
        return Exit.ERROR
    value = shown[args.name]
    print(value if isinstance(value, str) and not args.json else json.dumps(value, indent=2, ensure_ascii=False))
    return Exit.OK


def _shown(value: Any, *, show: bool) -> Any:
    """A value as JSON; a secret inside it as `[secret]`, unless they may be shown."""
    return render(reveal(value)) if show else _without_secrets(render(value))


def _without_secrets(value: Any) -> Any:
    if value == REDACTED:
        return "[secret]"
    if isinstance(value, dict):
        return {key: _without_secrets(v) for key, v in value.items()}
    return [_without_secrets(v) for v in value] if isinstance(value, list) else value


def _table(shown: PropertyMap) -> str:
    if not shown:
        return "No output values currently in this stack"
    width = max(len("OUTPUT"), *map(len, shown))
    rows = [("OUTPUT", "VALUE"), *((name, value if isinstance(value, str) else dumps(value)) for name, value in sorted(shown.items()))]
    return "\n".join([f"Current stack outputs ({len(shown)}):", *(f"    {name:{width}}  {value}" for name, value in rows)])
