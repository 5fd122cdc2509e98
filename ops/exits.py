"""Exit statuses, the `pulumi` CLI's own (pkg/cmd/pulumi/cmd/exit_codes.go)."""

from __future__ import annotations

import enum


class Exit(enum.IntEnum):
    """What a command's status says."""

    OK = 0
    ERROR = 1
    CONFIGURATION = 2
    AUTHENTICATION = 3
    RESOURCE = 4
    POLICY = 5
    STACK_NOT_FOUND = 6
    CHANGES = 7
    CANCELLED = 8
    TIMEOUT = 9
    INTERNAL = 255

    @classmethod
    def table(cls) -> str:
        return ", ".join(f"{e.value} {e.name.lower().replace('_', ' ')}" for e in cls)
