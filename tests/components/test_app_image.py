"""The tag of an image: what changes it and what does not."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from components import AppImage
from components.app_image import AppImageSpec
from components.build_context import content_tag, context_files
from components.spec import problems_of
from tests.components.recording import deploy
from tests.components.samples import image


@pytest.fixture
def context(tmp_path: Path) -> Path:
    write(tmp_path, "Dockerfile", "FROM x")
    write(tmp_path, "app/main.py", "print(1)")
    write(tmp_path, "other/big.bin", "0")
    return tmp_path


def write(root: Path, path: str, text: str) -> None:
    (root / path).parent.mkdir(parents=True, exist_ok=True)
    (root / path).write_text(text)


def tag(context: Path, platform: str = "linux/amd64", **args: str) -> str:
    return content_tag(context, context / "Dockerfile", args, platform)


def test_the_same_files_give_the_same_tag_wherever_and_whenever_they_are(context: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    clone = tmp_path_factory.mktemp("clone")
    for path in ("other/big.bin", "app/main.py", "Dockerfile"):
        write(clone, path, (context / path).read_text())
        os.utime(clone / path, (0, 0))
        (clone / path).chmod(0o600)
    assert tag(clone) == tag(context)
    assert len(tag(context)) == 12


@pytest.mark.parametrize(
    ("path", "text"),
    [("app/main.py", "print(2)"), ("app/new.py", ""), ("Dockerfile", "FROM y"), ("app/main.py ", "print(1)")],
    ids=["changed", "added", "Dockerfile", "other name"],
)
def test_a_change_that_matters_changes_the_tag(context: Path, path: str, text: str) -> None:
    before = tag(context)
    write(context, path, text)
    assert tag(context) != before


def test_an_executable_bit_matters(context: Path) -> None:
    before = tag(context)
    (context / "app/main.py").chmod(0o755)
    assert tag(context) != before


def test_where_a_link_points_matters(context: Path) -> None:
    (context / "link").symlink_to("app")
    before = tag(context)
    (context / "link").unlink()
    (context / "link").symlink_to("other")
    assert tag(context) != before


def test_arguments_and_platform_matter(context: Path) -> None:
    assert len({tag(context), tag(context, BASE="a"), tag(context, BASE="b"), tag(context, OTHER="a"), tag(context, "linux/arm64")}) == 5


@pytest.mark.parametrize("path", ["wheels/x.whl", "app/wheels/x.whl", "app/__pycache__/main.pyc", "app/main.pyc"])
def test_what_tools_make_does_not_matter(context: Path, path: str) -> None:
    before = tag(context)
    write(context, path, "made")
    assert tag(context) == before


IGNORE = [
    ("nothing", "", ["Dockerfile", "app/main.py", "other/big.bin"]),
    ("a folder", "other", ["Dockerfile", "app/main.py"]),
    ("a folder, slashes", "/other/", ["Dockerfile", "app/main.py"]),
    ("a star stays in its folder", "*.py", ["Dockerfile", "app/main.py", "other/big.bin"]),
    ("two stars cross folders", "**/*.py", ["Dockerfile", "other/big.bin"]),
    ("a question mark", "other/b?g.bin", ["Dockerfile", "app/main.py"]),
    ("a set", "other/[a-c]ig.bin", ["Dockerfile", "app/main.py"]),
    ("all but one folder", "*\n!app", ["app/main.py"]),
    ("the last line wins", "*\n!app\napp/main.py", []),
    ("comments and blanks", "# app\n\nother", ["Dockerfile", "app/main.py"]),
    ("a dot", ".", ["Dockerfile", "app/main.py", "other/big.bin"]),
    ("regex characters are literal", "app/main+py", ["Dockerfile", "app/main.py", "other/big.bin"]),
]


@pytest.mark.parametrize(("lines", "files"), [row[1:] for row in IGNORE], ids=[row[0] for row in IGNORE])
def test_ignore_files_are_read_as_docker_reads_them(context: Path, lines: str, files: list[str]) -> None:
    (context / "Dockerfile.dockerignore").write_text(lines)
    found = [path for path in context_files(context, context / "Dockerfile") if not path.endswith("ignore")]
    assert found == files


def test_the_dockerfiles_own_ignore_file_takes_the_place_of_the_contexts(context: Path) -> None:
    write(context, ".dockerignore", "app")
    assert "app/main.py" not in context_files(context, context / "Dockerfile")
    write(context, "Dockerfile.dockerignore", "other")
    assert "app/main.py" in context_files(context, context / "Dockerfile")


def test_an_ignored_file_does_not_matter(context: Path) -> None:
    write(context, ".dockerignore", "other")
    before = tag(context)
    write(context, "other/big.bin", "changed")
    assert tag(context) == before


def test_the_reference_is_known_before_anything_is_built(context: Path) -> None:
    made: list[AppImage] = []
    recorded = deploy(lambda: made.append(AppImage("ai-memory", image(context))))  # type: ignore[arg-type]
    built = recorded.one("Image", "ai-memory")
    assert made[0].plain_reference == built["imageName"]
    assert built["imageName"].startswith("localhost:5000/sophia/ai-memory:")
    assert built["skipPush"] is False


@pytest.mark.parametrize(
    ("args", "line"),
    [
        ({"context": "nowhere"}, "context: 'nowhere' is not a folder."),
        ({"registry": "https://ghcr.io"}, "registry: 'https://ghcr.io' does not match "),
        ({"platform": "arm"}, "platform: 'arm' does not match "),
    ],
    ids=str,
)
def test_bad_arguments_are_refused(context: Path, args: dict[str, str], line: str) -> None:
    (problem,) = problems_of(AppImageSpec, {**image(context), **args})
    assert problem.line().startswith(line)
