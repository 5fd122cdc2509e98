"""The process of the server: `python -m app_images.ai_memory`."""

from __future__ import annotations

import os
import sys

# One thread in BLAS: it counts the CPUs of the node and not those of the pod, and threads beyond a pod's limit make each
# other wait. It reads this once, when numpy is imported.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

from app_images.ai_memory.service import assemble
from app_images.runtime.process import main

if __name__ == "__main__":
    sys.exit(main(assemble))
