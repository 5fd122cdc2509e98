"""Serves the components to every Pulumi language: `pulumi package add <this folder>`."""

import sys
from pathlib import Path

# Pulumi starts this folder as a script, so that it is first on the path; the package `components` is beside it.
HERE = Path(__file__).resolve().parent
sys.path[:] = [str(HERE.parent), *(entry for entry in sys.path if Path(entry or ".").resolve() != HERE)]

from pulumi.provider.experimental import component_provider_host  # noqa: E402

from components import AppImage, ConnectionPoolConfig, McpServer, PostgresDatabase  # noqa: E402

if __name__ == "__main__":
    component_provider_host([AppImage, ConnectionPoolConfig, McpServer, PostgresDatabase], name="sophia")
