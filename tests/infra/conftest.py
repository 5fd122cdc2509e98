"""A checkout with images to build, for programs that run without the real ones."""

from __future__ import annotations

from pathlib import Path

import pytest

from infra import plan


@pytest.fixture
def images(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Folder app_images of a checkout that has a Dockerfile for each image of the stacks in the repository."""
    folder = tmp_path / plan.IMAGES_FOLDER
    for name in ("ai_memory", "postgres"):
        (folder / name).mkdir(parents=True)
        (folder / name / "Dockerfile").write_text(f"ARG BASE\nFROM ${{BASE}}\n# {name}\n")
    monkeypatch.setattr(plan, "ROOT", tmp_path)
    return folder
