"""Kubernetes objects: checked, compared, applied and awaited as pulumi-kubernetes does it."""

from engine.providers.kubernetes.provider import KubernetesProvider

__all__ = ["KubernetesProvider"]
