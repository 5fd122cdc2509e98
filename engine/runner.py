"""The program's side: run by the project's own Python, as a file; needs nothing but the `pulumi` package.

Does what Pulumi's language host does. Settings arrive on standard input rather than in arguments or environment, because
they hold secrets. The pipe stays open: when it closes, the engine is gone and the program ends itself.

Three departures from the official executor, none visible to a program, all measured with 3000 resources: debug lines are
dropped here instead of sent one blocking call each (a third of the time), outstanding outputs are awaited together instead
of one at a time (quadratic there), and the garbage collector runs less often.
"""

from __future__ import annotations

import asyncio
import gc
import json
import os
import runpy
import sys
import threading
import traceback
import types
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

ALREADY_REPORTED = 32
"""Exit status that tells the engine that the user has seen the error."""
RECURSION_LIMIT = 20_000
"""The SDK's cycle check recurses along dependency chains; the default of 1000 ends at a chain of about 990 resources."""


class _QuietEngine:
    """The engine service without debug lines, each of which would be a blocking call on the program's event loop."""

    def __init__(self, stub: Any, debug: int) -> None:
        self._stub = stub
        self._debug = debug

    def Log(self, request: Any, *args: Any, **kwargs: Any) -> Any:  # noqa: N802 - the service's name
        if request.severity == self._debug:
            return None
        return self._stub.Log(request, *args, **kwargs)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stub, name)


def _end_with_the_engine() -> None:
    def watch() -> None:
        while os.read(0, 4096):
            pass
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


async def _drain(manager: Any, settings: Any) -> None:
    """Awaits everything outstanding in bulk; hands failures back, so that the SDK reports them as ever."""
    while True:
        rpcs = list(manager.rpcs)
        waiting = {*rpcs, *(task for task in settings.outputs if not task.done())}
        pending = {item for item in waiting if not item.done()}
        if not pending:
            return
        done, _ = await asyncio.wait(pending, return_when=asyncio.FIRST_EXCEPTION)
        if any(item.cancelled() or item.exception() for item in done):
            return
        manager.rpcs[:] = [rpc for rpc in manager.rpcs if not rpc.done()]
        await asyncio.sleep(0)


def _run(spec: dict[str, Any]) -> None:
    import pulumi.runtime.stack as stack
    from pulumi.runtime import Settings, configure
    from pulumi.runtime.config import set_all_config
    from pulumi.runtime.proto import engine_pb2
    from pulumi.runtime.settings import SETTINGS, _get_rpc_manager

    set_all_config(spec["config"], spec["secret_keys"])
    settings = Settings(
        monitor=spec["monitor"],
        engine=spec["engine"],
        project=spec["project"],
        stack=spec["stack"],
        organization=spec["organization"],
        parallel=spec["parallel"],
        dry_run=spec["dry_run"],
        root_directory=spec["root"],
    )
    settings.engine = _QuietEngine(settings.engine, engine_pb2.DEBUG)
    configure(settings)
    wait_for_rpcs = stack.wait_for_rpcs

    async def wait(await_all_outstanding_tasks: bool = True) -> None:
        await _drain(_get_rpc_manager(), SETTINGS)
        await wait_for_rpcs(await_all_outstanding_tasks)

    stack.wait_for_rpcs = wait
    loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)
    loop.set_default_executor(ThreadPoolExecutor(max_workers=4 * spec["parallel"]))
    loop.run_until_complete(stack.run_in_stack(lambda: _execute(spec["program"])))


def _execute(program: str) -> None:
    result = runpy.run_path(program, run_name="__main__")
    del result


def _report(error: BaseException) -> None:
    """Shows the user's own error without a traceback, and any other with the traceback of the program alone."""
    import pulumi

    if isinstance(error, pulumi.RunError):
        pulumi.log.error(str(error))
        return
    text = "".join(traceback.format_exception(type(error), error, _users_frames(error.__traceback__)))
    pulumi.log.error(f"Program failed with an unhandled exception:\n{text}")


def _users_frames(frames: types.TracebackType | None) -> types.TracebackType | None:
    """The part of a traceback from the program's first frame on; all of it where the program has none."""
    import pulumi

    ours = (__file__, "<frozen", *(str(Path(str(m.__file__)).parent) for m in (asyncio, pulumi) if m.__file__), runpy.__file__)
    rest = frames
    while rest is not None and rest.tb_frame.f_code.co_filename.startswith(ours):
        rest = rest.tb_next
    return rest or frames


def main() -> None:
    spec = json.loads(sys.stdin.buffer.readline())
    _end_with_the_engine()
    sys.setrecursionlimit(RECURSION_LIMIT)
    gc.freeze()
    gc.set_threshold(50_000, 50, 50)
    os.chdir(spec["directory"])
    sys.path.insert(0, spec["directory"])
    sys.argv = [spec["program"]]
    try:
        _run(spec)
    except SystemExit:
        raise
    except BaseException as error:  # whatever the program did, the user is told
        _report(error)
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(ALREADY_REPORTED)


if __name__ == "__main__":
    main()
