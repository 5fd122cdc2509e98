"""preview, up and destroy: with the embedded engine, or handed over to the `pulumi` CLI."""

from __future__ import annotations

import argparse
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from engine.deployment import Result
from engine.display.color import paint
from engine.display.machine import Digest, EventLines
from engine.display.progress import Progress
from engine.events import Event
from engine.policing import PolicySource
from engine.project import Project, ProjectError, parse_overrides
from engine.session import Request, Session
from ops.exits import Exit

OWN_POLICY_PYTHON = Path(__file__).resolve().parent.parent / "policies" / ".venv" / "bin" / "python"
STREAMING = "PULUMI_ENABLE_STREAMING_JSON_PREVIEW"
SKIP_CONFIRMATIONS = "PULUMI_SKIP_CONFIRMATIONS"
NOT_INTERACTIVE = "--yes or --skip-preview must be passed in to proceed when running in non-interactive mode"


def uses_cli(engine: str) -> bool:
    """Whether the `pulumi` CLI runs this. Raises ProjectError when it must and is not there."""
    found = shutil.which("pulumi") is not None
    if engine == "pulumi" and not found:
        raise ProjectError("--engine pulumi: there is no pulumi CLI on the PATH. Install it, or use `--engine embedded`.")
    return engine == "pulumi" or (engine == "auto" and found)


def with_cli(args: argparse.Namespace, project: Project, packs: Sequence[Path]) -> int:
    """The same verb and flags for the CLI; it takes over this terminal."""
    if args.verb == "up":
        _ensure_stack(project, args.stack)
    command = ["pulumi", args.verb, "--cwd", str(project.root), "--stack", args.stack, "--parallel", str(args.parallel)]
    for flag in ("json", "expect_no_changes", "diff", "suppress_outputs", "config_path", "yes", "skip_preview"):
        if getattr(args, flag, False):
            command.append("--" + flag.replace("_", "-"))
    command += ["--color", args.color] if args.color != "auto" else []
    command += [part for pair in getattr(args, "config", []) for part in ("--config", pair)]
    command += ["--config-file", str(args.config_file.resolve())] if args.config_file else []
    command += [part for pack in packs for part in ("--policy-pack", str(pack.resolve()))]
    configs = [str(Path(file).resolve()) for file in getattr(args, "policy_pack_config", [])]
    command += [part for file in configs for part in ("--policy-pack-config", file)]
    return hand_over(command)


def hand_over(command: Sequence[str]) -> int:
    """Runs the CLI in the foreground. Ctrl-C is its business: it gets the signal itself, and this waits until it has wound up."""
    process = subprocess.Popen(command)
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    terminate = signal.signal(signal.SIGTERM, lambda number, frame: process.send_signal(signal.SIGINT))
    try:
        return process.wait()
    finally:
        signal.signal(signal.SIGINT, before)
        signal.signal(signal.SIGTERM, terminate)


def _ensure_stack(project: Project, stack: str) -> None:
    select = ["pulumi", "stack", "select", "--create", "--cwd", str(project.root), "--stack", stack, "--non-interactive"]
    if subprocess.run(select, check=False, stdout=subprocess.DEVNULL).returncode:
        raise ProjectError(f"the pulumi CLI could not select or create stack {stack!r}; its message is above.")


def embedded(args: argparse.Namespace, project: Project, packs: Sequence[Path]) -> int:
    """The embedded engine. Returns the exit status."""
    configs = [Path(p) for p in getattr(args, "policy_pack_config", [])]
    if configs and len(configs) != len(packs):
        raise ProjectError("--policy-pack-config must be specified for each --policy-pack, in the same order")
    sources = [PolicySource(pack, configs[i] if configs else None) for i, pack in enumerate(packs)]
    if args.verb != "preview" and not os.environ.get("PULUMI_BACKEND_URL") and not project.backend_url:
        print(
            f"state: {project.root / '.local' / 'state'} (PULUMI_BACKEND_URL or backend.url in Pulumi.yaml choose another)", file=sys.stderr
        )
    request = Request(
        kind=args.verb,
        project=project,
        stack=args.stack,
        listener=lambda event: None,
        policies=sources,
        policy_interpreters=[str(OWN_POLICY_PYTHON)],
        parallel=args.parallel,
        config_file=args.config_file,
        overrides=parse_overrides(getattr(args, "config", []), as_path=getattr(args, "config_path", False)),
    )
    if args.verb == "preview":
        return _status(args, _show(args, request, "preview"))
    yes = args.yes or args.skip_preview or os.environ.get(SKIP_CONFIRMATIONS) in ("1", "true")
    if not yes and (args.json or not sys.stdin.isatty()):
        print(f"error: {NOT_INTERACTIVE}", file=sys.stderr)
        return Exit.ERROR
    if not args.skip_preview and not args.json:
        first = _preview(args, request)
        if not first.ok:
            return _status(args, first)
    if not yes and not _confirmed(args.verb):
        print("error: confirmation declined, not proceeding", file=sys.stderr)
        return Exit.CANCELLED
    return _status(args, _show(args, request, args.verb))


def _confirmed(verb: str) -> bool:
    try:
        answer = input(f"Do you want to perform this {'update' if verb == 'up' else 'destroy'}? [y/N] ")
    except EOFError:
        return False
    return answer.strip().lower() in ("y", "yes")


def _preview(args: argparse.Namespace, request: Request) -> Result:
    if request.kind == "destroy":
        return _show(args, replace(request, dry=True), "preview-destroy")
    return _show(args, replace(request, kind="preview"), "preview")


def _show(args: argparse.Namespace, request: Request, view: str) -> Result:
    listener = _view(args, request, view)
    try:
        return Session(replace(request, listener=listener)).run()
    finally:
        if isinstance(listener, Progress):
            listener.close()


def _view(args: argparse.Namespace, request: Request, view: str) -> Callable[[Event], None]:
    if args.json:
        streaming = view != "preview" or os.environ.get(STREAMING) in ("1", "true")
        shape = EventLines if streaming else Digest
        return shape(lambda line: print(line, flush=True), request.redactor.within)
    colored = _colored(args)

    def write(line: str) -> None:
        line = request.redactor(line)
        print(paint(line) if colored else line, flush=True)

    options: dict[str, Any] = {"outputs": not args.suppress_outputs, "diff": args.diff}
    if _live(args):
        from engine.display.live import LiveProgress

        return LiveProgress(view, request.stack, redact=request.redactor, **options)
    return Progress(write, view, request.stack, **options)


def _live(args: argparse.Namespace) -> bool:
    """A moving view for a person at a terminal; plain lines for everything else."""
    return sys.stdout.isatty() and _colored(args) and os.environ.get("TERM") != "dumb" and os.environ.get("CI") not in ("true", "1")


def _colored(args: argparse.Namespace) -> bool:
    """NO_COLOR decides unless --color does (no-color.org)."""
    if args.color == "auto":
        return sys.stdout.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"
    return bool(args.color == "always")


_CHANGES = frozenset({"create", "update", "delete", "replace", "import"})


def _status(args: argparse.Namespace, result: Result) -> int:
    if result.defect:
        return Exit.INTERNAL
    if result.cancelled:
        return Exit.CANCELLED
    if result.policy_violation:
        return Exit.POLICY
    if not result.ok:
        return Exit.ERROR
    if getattr(args, "expect_no_changes", False) and any(result.changes.get(op) for op in _CHANGES):
        print("error: no changes were expected but changes were proposed", file=sys.stderr)
        return Exit.CHANGES
    return Exit.OK
