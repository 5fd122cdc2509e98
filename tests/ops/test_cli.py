"""The `sophia` command as a user types it, in a new process."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest

PROGRAM = """
import pulumi, pulumi_random as random
config = pulumi.Config()
token = random.RandomPassword("token", length=int(config.get("length") or 12))
pulumi.export("token", token.result)
pulumi.export("length", token.length)
"""


POLICIES = Path(__file__).resolve().parents[2] / "policies" / ".venv" / "bin" / "python"


class Cli:
    """A project in a folder and the command in it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.write("Pulumi.yaml", "name: proj\nruntime: python\n")
        self.write("__main__.py", PROGRAM)
        self.env = {**os.environ, "PULUMI_BACKEND_URL": f"file://{folder}/backend", "PULUMI_CONFIG_PASSPHRASE": "a passphrase"}

    def write(self, name: str, text: str) -> None:
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(textwrap.dedent(text))

    def command(self, *args: str) -> list[str]:
        return [sys.executable, "-m", "ops.cli", args[0], "-C", str(self.folder), "-s", "dev", "--engine", "embedded", *args[1:]]

    def __call__(self, *args: str, **env: str | None) -> subprocess.CompletedProcess[str]:
        merged = {k: v for k, v in {**self.env, **env}.items() if v is not None}
        return subprocess.run(
            self.command(*args),
            env=merged,
            capture_output=True,
            text=True,
            timeout=120,
            stdin=subprocess.DEVNULL,
            cwd=Path(__file__).parents[2],
        )

    @property
    def state(self) -> dict:
        return json.loads((self.folder / "backend" / ".pulumi" / "stacks" / "proj" / "dev.json").read_text())


@pytest.fixture
def cli(tmp_path):
    return Cli(tmp_path)


def test_a_stack_from_first_preview_to_destroy(cli):
    preview = cli("preview")
    assert preview.returncode == 0 and "random:index:RandomPassword token create" in preview.stdout and "+ 2 to create" in preview.stdout
    assert not (cli.folder / "backend").exists(), "a preview writes nothing"
    up = cli("up", "--yes")
    assert up.returncode == 0 and "token : [secret]" in up.stdout and "+ 2 created" in up.stdout
    assert cli("up", "--yes", "--expect-no-changes").returncode == 0
    changes = cli("preview", "--expect-no-changes", "-c", "proj:length=20")
    assert changes.returncode == 7 and "+-1 to replace" in changes.stdout and "[diff: ~length]" in changes.stdout
    diff = cli("preview", "--diff", "-c", "proj:length=20")
    assert "~ length: 12 => 20" in diff.stdout
    destroy = cli("destroy", "--yes")
    assert destroy.returncode == 0 and "- 2 deleted" in destroy.stdout and "resources" not in cli.state["checkpoint"]["latest"]


def test_secrets_are_in_no_output_and_not_plain_in_the_state(cli):
    cli.write("__main__.py", PROGRAM + 'pulumi.log.info("the token is canary-7c1f9"); print("canary-7c1f9")\n')
    cli.write("Pulumi.yaml", "name: proj\nruntime: python\nconfig:\n  canary: {value: canary-7c1f9, secret: true}\n")
    outputs = [cli("preview", "--diff"), cli("preview", "--json"), cli("up", "--yes", "--json"), cli("destroy", "--yes")]
    assert all(o.returncode == 0 for o in outputs)
    for one in outputs:
        assert "canary-7c1f9" not in one.stdout + one.stderr
    assert "the token is [secret]" in outputs[0].stdout
    for path in cli.folder.rglob("backend/**/*"):
        assert path.is_dir() or "canary-7c1f9" not in path.read_text()


def test_a_secret_of_the_configuration_is_in_no_process_list(cli, tmp_path):
    """Arguments and environments of everything that runs during an update: program, provider, policy pack."""
    cli.write("Pulumi.yaml", "name: proj\nruntime: python\nconfig:\n  canary: {value: canary-7c1f9, secret: true}\n")
    pack = [] if not POLICIES.exists() else ["--policy-pack", str(POLICIES.parent.parent.parent)]
    process = begin_slow(cli, tmp_path, *pack)
    try:
        seen = []
        for folder in Path("/proc").glob("[0-9]*"):
            for name in ("cmdline", "environ"):
                try:
                    content = (folder / name).read_bytes()
                except OSError:
                    continue
                if b"canary-7c1f9" in content:
                    seen.append(f"{folder}/{name}")
        assert seen == []
    finally:
        process.kill()
        process.wait()


def test_json_is_pulumis(cli):
    digest = json.loads(cli("preview", "--json").stdout)
    assert digest["changeSummary"] == {"create": 2} and [s["op"] for s in digest["steps"]] == ["create", "create"]
    streamed = cli("preview", "--json", PULUMI_ENABLE_STREAMING_JSON_PREVIEW="1").stdout
    events = [json.loads(line) for line in streamed.splitlines()]
    assert [e["sequence"] for e in events] == sorted(e["sequence"] for e in events) and "cancelEvent" in events[-1]
    update = [json.loads(line) for line in cli("up", "--yes", "--json").stdout.splitlines()]
    assert any("summaryEvent" in e for e in update)


@pytest.mark.parametrize(
    ("args", "env", "status", "message"),
    [
        (["destroy", "--yes"], {}, 6, "no stack named 'dev' found"),
        (["up"], {}, 1, "must be passed in to proceed when running in non-interactive mode"),
        (["up", "--yes", "-f"], {"PULUMI_CONFIG_PASSPHRASE": None}, 1, "passphrase must be set with PULUMI_CONFIG_PASSPHRASE"),
        (["preview"], {"PULUMI_BACKEND_URL": "s3://bucket"}, 1, "file:// backends only"),
        (["preview", "-c", "novalue"], {}, 2, "is not key=value"),
        (["preview", "--engine", "pulumi"], {"PATH": "/usr/bin:/bin"}, 2, "no pulumi CLI on the PATH"),
        (["preview", "--policy-pack", "/nonexistent"], {}, 1, "/nonexistent"),
    ],
)
def test_what_is_refused_is_one_line_and_a_status(cli, args, env, status, message):
    done = cli(*args, **env)
    assert done.returncode == status and message in done.stderr + done.stdout
    assert "Traceback" not in done.stderr + done.stdout


def test_the_preview_of_a_new_stack_needs_no_passphrase(cli):
    assert cli("preview", PULUMI_CONFIG_PASSPHRASE=None).returncode == 0


def test_a_wrong_passphrase_changes_nothing(cli):
    cli("up", "--yes")
    before = cli.state
    wrong = cli("up", "--yes", PULUMI_CONFIG_PASSPHRASE="another")
    assert wrong.returncode == 1 and "incorrect passphrase" in wrong.stderr and cli.state == before


def test_an_unchanged_up_rewrites_no_secret(cli):
    cli("up", "--yes")
    before = cli.state["checkpoint"]["latest"]["resources"]
    cli("up", "--yes")
    assert cli.state["checkpoint"]["latest"]["resources"] == before


SLOW = """
import os, pathlib, time, pulumi
from pulumi.dynamic import CreateResult, Resource, ResourceProvider
class Slow(ResourceProvider):
    def create(self, props):
        pathlib.Path(props["mark"]).touch()
        time.sleep(60)
        return CreateResult("id", props)
import pulumi_random as random
first = random.RandomId("first", byte_length=4)
class Thing(Resource):
    def __init__(self, name, opts=None):
        super().__init__(Slow(), name, {"mark": os.environ["MARK"]}, opts)
Thing("slow", pulumi.ResourceOptions(depends_on=[first]))
"""


def begin_slow(cli, tmp_path, *flags):
    mark = tmp_path / "mark"
    cli.write("__main__.py", SLOW)
    process = subprocess.Popen(
        cli.command("up", "--yes", "--skip-preview", *flags),
        env={**cli.env, "MARK": str(mark)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        cwd=Path(__file__).parents[2],
    )
    deadline = time.monotonic() + 60
    while not mark.exists():
        assert process.poll() is None and time.monotonic() < deadline, process.communicate()[0]
        time.sleep(0.05)
    return process


def test_kill_in_the_middle_leaves_a_state_that_the_next_run_continues(cli, tmp_path):
    process = begin_slow(cli, tmp_path)
    children = subprocess.run(["pgrep", "-P", str(process.pid)], capture_output=True, text=True).stdout.split()
    process.kill()
    process.wait()
    latest = cli.state["checkpoint"]["latest"]
    assert "first" in [r["urn"].split("::")[-1] for r in latest["resources"]]
    assert [p["type"] for p in latest["pending_operations"]] == ["creating"]
    time.sleep(1)
    alive = [pid for pid in children if Path(f"/proc/{pid}/cmdline").exists() and Path(f"/proc/{pid}/cmdline").read_text()]
    assert len(children) >= 2 and alive == [], "the program and its providers end with the engine"
    cli.write("__main__.py", PROGRAM)
    again = cli("up", "--yes")
    assert again.returncode == 0 and "pending_operations" not in cli.state["checkpoint"]["latest"]
    assert "cut off" in again.stdout + again.stderr, "the user is told that something may exist"


def test_a_second_run_at_the_same_time_is_refused_and_changes_nothing(cli, tmp_path):
    process = begin_slow(cli, tmp_path)
    try:
        second = cli("up", "--yes", "--skip-preview", MARK=str(tmp_path / "other"))
        assert second.returncode == 1 and f"(pid {process.pid})" in second.stderr and "locked" in second.stderr
    finally:
        process.send_signal(signal.SIGINT)
        time.sleep(0.5)
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=30) == 8
