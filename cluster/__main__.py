"""`python -m cluster up|down|status|clean`."""

from __future__ import annotations

import argparse
import json
import os
import sys
import time

from cluster import api
from cluster.errors import ClusterError
from cluster.launch import REAL, SIMULATED


def main(arguments: list[str] | None = None) -> int:
    """Runs one command; returns the exit code: 0, or 1 with one line on standard error. `status` is 0 only when running."""
    options = _parser().parse_args(arguments)
    began = time.monotonic()

    def progress(text: str) -> None:
        print(f"{time.monotonic() - began:6.1f} s  {text}", flush=True)

    try:
        code = _run(options, progress)
        sys.stdout.flush()
        return code
    except ClusterError as error:
        print(f"cluster: {error}", file=sys.stderr)
        return 1
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # the reader (`| head`) has seen enough
        return 0
    except KeyboardInterrupt:
        print("cluster: interrupted; `python -m cluster status` shows what runs.", file=sys.stderr)
        return 130
    except PermissionError as error:
        print(f"cluster: no permission for {error.filename}: run as the user who started it (root).", file=sys.stderr)
        return 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="cluster", description="The one-machine Kubernetes of this clone.")
    commands = parser.add_subparsers(dest="command", required=True)
    start = commands.add_parser("up", help="start it, or do nothing when it runs")
    start.add_argument("--nodes", choices=(REAL, SIMULATED), default=REAL, help="simulated: pods become Ready without running")
    start.add_argument("--count", type=int, default=1, metavar="N", help="how many simulated nodes (default 1)")
    commands.add_parser("down", help="stop it; data stays")
    commands.add_parser("clean", help="stop it and remove its data")
    commands.add_parser("status", help="what runs").add_argument("--json", action="store_true")
    return parser


def _run(options: argparse.Namespace, progress: api.Progress) -> int:
    if options.command == "up":
        _show(api.up(options.nodes, progress, count=options.count))
    elif options.command == "status":
        return _status(as_json=options.json)
    else:
        (api.down if options.command == "down" else api.clean)(progress)
    return 0


def _status(*, as_json: bool) -> int:
    now = api.status()
    if as_json:
        print(json.dumps(now.as_dict(), indent=2))
    else:
        _show(now)
    return 0 if now.running else 1


def _show(now: api.ClusterStatus) -> None:
    print(f"cluster     {now.phase} ({now.nodes} nodes), {now.memory_mib} MiB")
    if now.phase == "stopped":
        return
    for part in now.components:
        state = "works" if part.ready else part.error or "starting"
        again = f", restarted {part.restarts} times" if part.restarts else ""
        print(f"  {part.name:<24} {state}{again}" + (f"  (pid {part.pid}, {part.memory_mib} MiB)" if part.pid else ""))
    print(f"kubeconfig  {now.kubeconfig}  (context {now.context})")
    if now.registry:
        print(f"registry    {now.registry}\nDOCKER_HOST {now.docker_host}")
    print(f"logs        {now.logs}")


if __name__ == "__main__":
    sys.exit(main())
