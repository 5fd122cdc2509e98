"""The plugin's side: runs a module of the SDK, by file and with the project's or the pack's own Python; needs nothing else.

`plugin_main.py MODULE ARGUMENT …` is `python -m MODULE ARGUMENT …` in a process that ends when its standard input closes:
then the engine is gone, killed perhaps, and a provider or a policy pack that nobody talks to must not stay behind.
"""

from __future__ import annotations

import os
import runpy
import sys
import threading
from pathlib import Path


def _end_with_the_engine() -> None:
    while os.read(0, 4096):
        pass
    os._exit(1)


if __name__ == "__main__":
    threading.Thread(target=_end_with_the_engine, daemon=True).start()
    module = sys.argv[1]
    del sys.argv[0]
    sys.path[0] = str(Path.cwd())  # as `python -m` has it, instead of this file's folder
    runpy.run_module(module, run_name="__main__", alter_sys=True)
