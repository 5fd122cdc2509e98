"""The `sophia` command: the verbs and flags of `pulumi`, with either engine, and the platform's own."""

from __future__ import annotations

import argparse
import os
import sys
import traceback
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path

from engine.checkpoint import CheckpointError
from engine.project import Project, ProjectError, find_project
from engine.secrets import SecretsError
from engine.session import UnknownStack
from engine.storage import BackendError
from ops import operations, stack
from ops.exits import Exit
from ops.machine import Machine


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point; returns the exit status."""
    args = parser().parse_args(argv)
    try:
        return _dispatch(args)
    except UnknownStack as error:
        return _refuse(str(error), Exit.STACK_NOT_FOUND)
    except ProjectError as error:
        return _refuse(str(error), Exit.CONFIGURATION)
    except (BackendError, CheckpointError, SecretsError) as error:
        return _refuse(str(error), Exit.ERROR)
    except KeyboardInterrupt:
        return Exit.CANCELLED
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # whoever read this has gone; the flush at exit must not fail
        return Exit.ERROR
    except Exception:
        traceback.print_exc()
        return _refuse("this is a mistake of ours, please report it with the lines above", Exit.INTERNAL)


def _refuse(message: str, status: Exit) -> int:
    for line in message.splitlines():
        print(f"error: {line}", file=sys.stderr)
    return status


def _dispatch(args: argparse.Namespace) -> int:
    if args.verb == "local":
        from ops import local

        root = find_project(args.cwd).root
        return local.run(args, root, main)
    if args.verb == "version":
        print(_version())
        return Exit.OK
    project = find_project(args.cwd)
    machine = Machine(project.root, args.stack)
    os.environ.update(machine.environment())
    if args.verb == "stack":
        return operations.hand_over(stack.cli_command(args, project)) if operations.uses_cli(args.engine) else stack.run(args, project)
    args.config_file = args.config_file or machine.config_file()
    packs = _packs(args, project)
    if operations.uses_cli(args.engine):
        return operations.with_cli(args, project, packs)
    return operations.embedded(args, project, packs)


def _packs(args: argparse.Namespace, project: Project) -> list[Path]:
    """The packs that were named; else the project's own in `policies/`, so that nothing is deployed unjudged."""
    if args.verb == "destroy":
        return []
    if args.policy_pack:
        return [Path(p) for p in args.policy_pack]
    own = project.root / "policies"
    return [own] if (own / "PulumiPolicy.yaml").exists() and not args.no_policy_pack else []


def parser() -> argparse.ArgumentParser:
    """The command line."""
    top = argparse.ArgumentParser(prog="sophia", description=__doc__, epilog="Exit statuses are pulumi's: " + Exit.table())
    verbs = top.add_subparsers(dest="verb", required=True, metavar="VERB")
    for verb, about in (
        ("preview", "Show what `up` would change, judged by the policy packs; changes nothing"),
        ("up", "Create or update the resources of a stack; the stack is made when it does not exist yet"),
        ("destroy", "Delete all resources of a stack"),
    ):
        _operation(verbs.add_parser(verb, help=about, description=about), verb)
    _stack_commands(verbs.add_parser("stack", help="Read what is recorded of a stack"))
    verbs.add_parser("version", help="Print the version")
    local = verbs.add_parser("local", help="The platform on this machine: its cluster, deployment and checks")
    local.add_argument("action", choices=["up", "down", "clean", "status"])
    local.add_argument("-s", "--stack", default="dev")
    local.add_argument("-C", "--cwd", type=Path, default=Path())
    local.add_argument("--nodes", choices=["real", "simulated"], default="real", help="simulated: a real API server with kwok nodes")
    return top


def _stack_commands(group: argparse.ArgumentParser) -> None:
    actions = group.add_subparsers(dest="action", required=True, metavar="ACTION")
    output = actions.add_parser("output", help="The outputs of a stack, or one of them")
    output.add_argument("name", nargs="?", help="only this one, and only its value")
    output.add_argument("--show-secrets", action="store_true", help="in plain text")
    export = actions.add_parser("export", help="The state, secrets encrypted; `pulumi stack import` takes it")
    export.add_argument("--file", type=Path, help="where to, instead of standard output")
    listing = actions.add_parser("ls", help="The stacks of the project in its backend")
    for one in (output, listing):
        one.add_argument("-j", "--json", action="store_true")
    for one in (output, export, listing):
        _add_stack(one, needed=one is not listing)


def _version() -> str:
    return f"sophia {metadata.version('sophia-platform')} (pulumi {metadata.version('pulumi')})"


def _operation(one: argparse.ArgumentParser, verb: str) -> None:
    add = one.add_argument
    _add_stack(one)
    add("-j", "--json", action="store_true", help="JSON: a digest for preview, one event a line for up and destroy")
    add("--parallel", type=_positive, default=16, metavar="N", help="operations at once (default 16)")
    add("--diff", action="store_true", help="show what changes property by property")
    add("--suppress-outputs", action="store_true", help="do not show the stack's outputs")
    add("--config-file", type=Path, metavar="FILE", help="instead of Pulumi.<stack>.yaml")
    add("--color", choices=["always", "never", "auto"], default="auto")
    if verb != "destroy":
        add("--expect-no-changes", action="store_true", help=f"exit with {Exit.CHANGES:d} when anything changes")
        add("-c", "--config", action="append", default=[], metavar="KEY=VALUE", help="configuration for this run only")
        add("--config-path", action="store_true", help="keys of --config are paths into objects")
        add("--policy-pack", action="append", default=[], metavar="DIR", help="default: the project's policies/, if there is one")
        add("--policy-pack-config", action="append", default=[], metavar="FILE", help="one for each --policy-pack, in order")
        add("--no-policy-pack", action="store_true", help="leave out the project's own pack")
    if verb != "preview":
        add("-y", "--yes", action="store_true", help="do not ask")
        add("-f", "--skip-preview", action="store_true", help="do not show a preview first, and do not ask")


def _add_stack(one: argparse.ArgumentParser, *, needed: bool = True) -> None:
    """What every command on a stack takes."""
    chosen = os.environ.get("PULUMI_STACK", "" if needed else "dev")
    one.add_argument("-s", "--stack", required=not chosen, default=chosen, help="name of the stack (default: PULUMI_STACK)")
    one.add_argument("-C", "--cwd", type=Path, default=Path(), metavar="DIR", help="folder of the project")
    engines = ["auto", "embedded", "pulumi"]
    one.add_argument("--engine", choices=engines, default="auto", help="auto: the pulumi CLI if it is on the PATH")


def _positive(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError("must be 1 or more")
    return value


if __name__ == "__main__":
    sys.exit(main())
