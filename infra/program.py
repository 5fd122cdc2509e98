"""The program behind `__main__`: a user's mistake ends it with one line for each problem, ours with a traceback."""

from __future__ import annotations

from typing import Any

import pulumi

from components.spec import Problem
from infra.composition import Platform
from infra.settings import SettingsError, parse_settings


def main() -> None:
    """Deploys the stack that Pulumi selected. Raises `pulumi.RunError`, which Pulumi prints without a traceback."""
    stack = pulumi.get_stack()
    try:
        platform = Platform(parse_settings(_configured(stack), stack), stack)
    except SettingsError as error:
        raise pulumi.RunError(str(error)) from None
    for name, value in platform.exports().items():
        pulumi.export(name, value)


def _configured(stack: str) -> Any:
    try:
        return pulumi.Config("sophia").get_object("platform")
    except pulumi.ConfigTypeError:
        raise SettingsError(stack, [Problem((), "is not an object. Set it in the stack file, as a YAML object.")]) from None
