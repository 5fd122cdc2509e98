"""Entry of the Pulumi program: reads the stack's settings and registers the platform."""

import sys
from pathlib import Path

# Pulumi runs this file from its own folder; the packages `infra` and `components` are found from the root above.
sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from infra.program import main

main()
