"""The `sophia` command: the verbs and flags of `pulumi`, with either engine, and the platform's own."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from engine.backend import BackendError
from engine.checkpoint import CheckpointError
from engine.project import Project, ProjectError, find_project
from engine.secrets import SecretsError
from engine.session import UnknownStack
from ops import operations
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


def _refuse(message: str, status: Exit) -> int:
    for line in message.splitlines():
        print(f"error: {line}", file=sys.stderr)
    return status


def _dispatch(args: argparse.Namespace) -> int:
    if args.verb == "local":
        from ops import local

        root = find_project(args.cwd).root
        return local.run(args, root, main)
    project = find_project(args.cwd)
    machine = Machine(project.root, args.stack)
    os.environ.update(machine.environment())
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
    local = verbs.add_parser("local", help="The platform on this machine: its cluster, deployment and checks")
    local.add_argument("action", choices=["up", "down", "clean", "status"])
    local.add_argument("-s", "--stack", default="dev")
    local.add_argument("-C", "--cwd", type=Path, default=Path())
    local.add_argument("--nodes", choices=["real", "simulated"], default="real", help="simulated: a real API server with kwok nodes")
    return top


def _operation(one: argparse.ArgumentParser, verb: str) -> None:
    add = one.add_argument
    add("-s", "--stack", required=True, help="name of the stack")
    add("-C", "--cwd", type=Path, default=Path(), metavar="DIR", help="folder of the project")
    add("-j", "--json", action="store_true", help="JSON: a digest for preview, one event a line for up and destroy")
    add("--expect-no-changes", action="store_true", help=f"exit with {Exit.CHANGES:d} when anything changes")
    add("--parallel", type=_positive, default=16, metavar="N", help="operations at once (default 16)")
    add("--diff", action="store_true", help="show what changes property by property")
    add("--suppress-outputs", action="store_true", help="do not show the stack's outputs")
    add("-c", "--config", action="append", default=[], metavar="KEY=VALUE", help="configuration for this run only")
    add("--config-path", action="store_true", help="keys of --config are paths into objects")
    add("--config-file", type=Path, metavar="FILE", help="instead of Pulumi.<stack>.yaml")
    add("--color", choices=["always", "never", "auto"], default="auto")
    add("--engine", choices=["auto", "embedded", "pulumi"], default="auto", help="auto: the pulumi CLI if it is on the PATH")
    if verb != "destroy":
        add("--policy-pack", action="append", default=[], metavar="DIR", help="default: the project's policies/, if there is one")
        add("--policy-pack-config", action="append", default=[], metavar="FILE", help="one for each --policy-pack, in order")
        add("--no-policy-pack", action="store_true", help="leave out the project's own pack")
    if verb != "preview":
        add("-y", "--yes", action="store_true", help="do not ask")
        add("-f", "--skip-preview", action="store_true", help="do not show a preview first")


def _positive(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError("must be 1 or more")
    return value


if __name__ == "__main__":
    sys.exit(main())
