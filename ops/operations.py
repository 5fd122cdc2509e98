"""preview, up and destroy: with the embedded engine, or handed over to the `pulumi` CLI."""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from engine.deployment import Result
from engine.display.machine import Digest, EventLines
from engine.display.progress import Progress
from engine.events import Event
from engine.policing import PolicySource
from engine.project import Project, ProjectError, parse_overrides
from engine.session import Request, Session
from ops.exits import Exit

OWN_POLICY_PYTHON = Path(__file__).resolve().parent.parent / "policies" / ".venv" / "bin" / "python"
STREAMING = "PULUMI_ENABLE_STREAMING_JSON_PREVIEW"
NOT_INTERACTIVE = "--yes or --skip-preview must be passed in to proceed when running in non-interactive mode"


def uses_cli(engine: str) -> bool:
    """Whether the `pulumi` CLI runs this. Raises ProjectError when it must and is not there."""
    found = shutil.which("pulumi") is not None
    if engine == "pulumi" and not found:
        raise ProjectError("--engine pulumi: there is no pulumi CLI on the PATH. Install it, or use `--engine embedded`.")
    return engine == "pulumi" or (engine == "auto" and found)


def with_cli(args: argparse.Namespace, project: Project, packs: Sequence[Path]) -> int:
    """The same verb and flags for the CLI; it takes over this terminal."""
    if args.verb != "destroy":
        _ensure_stack(project, args.stack)
    command = ["pulumi", args.verb, "--cwd", str(project.root), "--stack", args.stack, "--parallel", str(args.parallel)]
    for flag in ("json", "expect_no_changes", "diff", "suppress_outputs", "config_path", "yes", "skip_preview"):
        if getattr(args, flag, False) and not (args.verb == "destroy" and flag == "expect_no_changes"):
            command.append("--" + flag.replace("_", "-"))
    command += ["--color", args.color] if args.color != "auto" else []
    command += [part for pair in args.config for part in ("--config", pair)]
    command += ["--config-file", str(args.config_file.resolve())] if args.config_file else []
    command += [part for pack in packs for part in ("--policy-pack", str(pack.resolve()))]
    command += [part for file in getattr(args, "policy_pack_config", []) for part in ("--policy-pack-config", file)]
    return subprocess.run(command, check=False).returncode


def _ensure_stack(project: Project, stack: str) -> None:
    select = ["pulumi", "stack", "select", "--create", "--cwd", str(project.root), "--stack", stack, "--non-interactive"]
    subprocess.run(select, check=False, stdout=subprocess.DEVNULL)


def embedded(args: argparse.Namespace, project: Project, packs: Sequence[Path]) -> int:
    """The embedded engine. Returns the exit status."""
    configs = [Path(p) for p in getattr(args, "policy_pack_config", [])]
    if configs and len(configs) != len(packs):
        raise ProjectError("--policy-pack-config must be specified for each --policy-pack, in the same order")
    sources = [PolicySource(pack, configs[i] if configs else None) for i, pack in enumerate(packs)]
    request = Request(
        kind=args.verb,
        project=project,
        stack=args.stack,
        listener=lambda event: None,
        policies=sources,
        policy_interpreters=[str(OWN_POLICY_PYTHON)],
        parallel=args.parallel,
        config_file=args.config_file,
        overrides=parse_overrides(args.config, as_path=args.config_path),
    )
    if args.verb == "preview":
        return _status(args, _show(args, request, "preview"))
    if not args.yes and not _confirmed(args, request):
        return Exit.CANCELLED if sys.stdin.isatty() else Exit.ERROR
    if args.yes and not args.skip_preview and not args.json:
        first = _preview(args, request)
        if not first.ok:
            return _status(args, first)
    return _status(args, _show(args, request, args.verb))


def _confirmed(args: argparse.Namespace, request: Request) -> bool:
    if not sys.stdin.isatty() or args.json:
        print(f"error: {NOT_INTERACTIVE}", file=sys.stderr)
        return False
    if not args.skip_preview and not _preview(args, request).ok:
        return False
    answer = input(f"Do you want to perform this {'update' if args.verb == 'up' else 'destroy'}? [y/N] ")
    return answer.strip().lower() in ("y", "yes")


def _preview(args: argparse.Namespace, request: Request) -> Result:
    if request.kind == "destroy":
        return _show(args, replace(request, dry=True), "preview-destroy")
    return _show(args, replace(request, kind="preview"), "preview")


def _show(args: argparse.Namespace, request: Request, view: str) -> Result:
    listener = _view(args, request, view)
    return Session(replace(request, listener=listener)).run()


def _view(args: argparse.Namespace, request: Request, view: str) -> Callable[[Event], None]:
    def write(line: str) -> None:
        print(request.redactor(line), flush=True)

    if args.json:
        streaming = view != "preview" or os.environ.get(STREAMING) in ("1", "true")
        return EventLines(write) if streaming else Digest(write)
    options: dict[str, Any] = {"outputs": not args.suppress_outputs, "diff": args.diff}
    if _live(args):
        from engine.display.live import LiveProgress

        progress: Progress = LiveProgress(view, request.stack, redact=request.redactor, **options)
    else:
        progress = Progress(write, view, request.stack, **options)
    progress.begin()
    return progress


def _live(args: argparse.Namespace) -> bool:
    """A moving view for a person at a terminal; plain lines for everything else."""
    if args.color == "never" or "NO_COLOR" in os.environ or os.environ.get("TERM") == "dumb":
        return False
    return sys.stdout.isatty() and os.environ.get("CI") not in ("true", "1")


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
    if args.expect_no_changes and any(result.changes.get(op) for op in _CHANGES):
        print("error: no changes were expected but changes were proposed", file=sys.stderr)
        return Exit.CHANGES
    return Exit.OK
