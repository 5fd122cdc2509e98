"""`AppImage`: one of our images, built from its folder and pushed under a tag that is known before the build."""

from collections.abc import Iterable
from pathlib import Path
from typing import NotRequired, TypedDict

import pulumi
import pulumi_docker as docker
from pydantic import Field

from components.build_context import content_tag
from components.objects import NAME_PATTERN
from components.spec import Problem, Spec


class AppImageArgs(TypedDict):
    """One image and where it goes."""

    registry: str
    """Registry that the cluster pulls from, for example "localhost:5000" or "ghcr.io/acme"."""
    context: str
    """Folder of the build context, relative to the program's working directory."""
    dockerfile: str
    """The Dockerfile, relative to the program's working directory."""
    image: NotRequired[str]
    """Last part of the repository name. Default: the component's name."""
    build_args: NotRequired[dict[str, str]]
    """Build arguments of the Dockerfile. They are in the plan, the state and the image: no secrets."""
    platform: NotRequired[str]
    """Platform to build for. Default "linux/amd64"."""


class AppImageSpec(Spec):
    """Checked form of `AppImageArgs`."""

    registry: str = Field(pattern=r"^[a-z0-9.-]+(:\d+)?(/[a-z0-9._-]+)*$")
    """A registry host with port and path, without scheme: "localhost:5000", "ghcr.io/acme"."""
    context: str
    """Path of a folder."""
    dockerfile: str
    """Path of a Dockerfile."""
    image: str | None = Field(default=None, pattern=NAME_PATTERN)
    """Last part of a repository name."""
    build_args: dict[str, str] = Field(default={})
    """An object of texts."""
    platform: str = Field(default="linux/amd64", pattern=r"^[a-z0-9]+/[a-z0-9]+(/[a-z0-9]+)?$")
    """An operating system and architecture: "linux/amd64", "linux/arm64"."""

    def refusals(self) -> Iterable[Problem]:
        if not Path(self.context).is_dir():
            yield Problem(("context",), f"{self.context!r} is not a folder.")
        if not Path(self.dockerfile).is_file():
            yield Problem(("dockerfile",), f"{self.dockerfile!r} is not a file.")

    def reference(self, name: str) -> str:
        """`<registry>/sophia/<name>:<tag>`, reckoned from the files alone."""
        tag = content_tag(Path(self.context), Path(self.dockerfile), self.build_args, self.platform)
        return f"{self.registry}/sophia/{self.image or name}:{tag}"


class AppImage(pulumi.ComponentResource):
    """Builds an image and pushes it, tagged by a hash of what goes into it.

    The tag is reckoned at preview, without Docker: so a plan shows the very reference that will run, an unchanged
    context is no change, and a changed one is a new reference that rolls the pods. The price: whoever pushes other
    contents under one of these tags by hand is believed. `plain_reference` is that reference as a plain text; what
    uses it must also depend on the component, to wait for the push.

    It wraps `docker.Image` and not docker-build: that one needs BuildKit, which Debian's Docker does not have.
    """

    reference: pulumi.Output[str]
    """Image reference with tag; known at preview."""

    def __init__(self, name: str, args: AppImageArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        spec = AppImageSpec.parse(args)
        super().__init__("sophia:platform:AppImage", name, None, opts)
        self.plain_reference = spec.reference(name)
        docker.Image(
            name,
            image_name=self.plain_reference,
            build=docker.DockerBuildArgs(context=spec.context, dockerfile=spec.dockerfile, args=spec.build_args, platform=spec.platform),
            skip_push=False,
            opts=pulumi.ResourceOptions(parent=self),
        )
        self.reference = pulumi.Output.from_input(self.plain_reference)
        self.register_outputs({"reference": self.reference})
