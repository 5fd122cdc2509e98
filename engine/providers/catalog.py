"""The packages this engine serves."""

from __future__ import annotations

from collections.abc import Mapping

from engine.plugin_process import LineListener
from engine.project import Project, for_program
from engine.provider import Provider
from engine.providers.builtin import BuiltinProvider, Lookup
from engine.providers.registry import Factory
from engine.values import PropertyMap


def factories(project: Project, config: PropertyMap, lookup: Lookup, on_line: LineListener) -> Mapping[str, Factory]:
    """How to make each provider; they are imported when a program first uses them, for a preview without Docker is quick."""

    def kubernetes() -> Provider:
        from engine.providers.kubernetes import KubernetesProvider

        return KubernetesProvider()

    def docker() -> Provider:
        from engine.providers.docker_image import DockerProvider

        return DockerProvider(project.program)

    def random() -> Provider:
        from engine.providers.random import RandomProvider

        return RandomProvider()

    def dynamic() -> Provider:
        from engine.providers.dynamic import DynamicProvider

        texts, _ = for_program(config)
        return DynamicProvider(project.python, project.program, texts, {}, project=project.name, on_line=on_line)

    return {
        "kubernetes": kubernetes,
        "docker": docker,
        "random": random,
        "pulumi-python": dynamic,
        "pulumi": lambda: BuiltinProvider(lookup),
    }
