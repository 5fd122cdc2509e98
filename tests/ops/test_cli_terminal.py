"""The `sophia` command at a terminal, in a pipe, and handed over to the pulumi CLI."""

from __future__ import annotations

import fcntl
import json
import os
import pty
import re
import select
import signal
import subprocess
import sys
import termios
import time
from pathlib import Path

import pytest

from ops import cli as command_line
from ops import operations
from tests.ops.test_cli import SLOW, Cli, begin_slow

ROOT = Path(__file__).parents[2]


@pytest.fixture
def cli(tmp_path):
    return Cli(tmp_path)


class Terminal:
    """The command with a terminal of its own."""

    def __init__(self, cli, *args, **env):
        self._master, slave = pty.openpty()
        merged = {k: v for k, v in {**cli.env, "TERM": "xterm", "CI": None, "NO_COLOR": None, **env}.items() if v is not None}
        self.process = subprocess.Popen(
            cli.command(*args),
            env=merged,
            stdin=slave,
            stdout=slave,
            stderr=slave,
            cwd=ROOT,
            start_new_session=True,
            preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),  # so that Ctrl-C is a signal and a passphrase is asked for here
        )
        os.close(slave)
        self.raw = ""

    def until(self, text, seconds=30):
        """Reads until a text appears, or the end. Returns everything so far without the terminal's codes."""
        deadline = time.monotonic() + seconds
        while text not in self.text:
            assert time.monotonic() < deadline, self.text
            if not select.select([self._master], [], [], 0.2)[0]:
                continue
            try:
                part = os.read(self._master, 65536)
            except OSError:  # the other side is closed
                break
            self.raw += part.decode()
        return self.text

    @property
    def text(self):
        return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", self.raw).replace("\r", "")

    def type(self, text):
        os.write(self._master, text.encode())

    def end(self):
        self.until("\0never\0")
        return self.process.wait(timeout=30)


def test_a_terminal_is_shown_the_plan_and_asked(cli):
    terminal = Terminal(cli, "up")
    assert "+ 2 to create" in terminal.until("[y/N] ")
    terminal.type("y\n")
    assert terminal.end() == 0 and "+ 2 created" in terminal.text and "\x1b[32m" in terminal.raw
    assert terminal.raw.count("\x1b[?25l") == terminal.raw.count("\x1b[?25h") > 0, "the cursor is back"
    assert len(cli.state["checkpoint"]["latest"]["resources"]) == 3


@pytest.mark.parametrize("answer", ["n\n", "\n", "\x04", "\x03"])
def test_what_is_not_yes_is_no(cli, answer):
    terminal = Terminal(cli, "up")
    terminal.until("[y/N] ")
    time.sleep(0.5)  # nobody answers in the instant between the question and the reading of the answer
    terminal.type(answer)
    assert terminal.end() == 8 and "Traceback" not in terminal.text and not (cli.folder / "backend").exists()


def test_a_plan_that_fails_is_not_asked_about(cli):
    cli.write("__main__.py", "raise ValueError('no such thing')")
    terminal = Terminal(cli, "up")
    assert terminal.end() == 1 and "no such thing" in terminal.text and "[y/N]" not in terminal.text


def test_a_passphrase_is_asked_for_once_and_shown_nowhere(cli):
    terminal = Terminal(cli, "up", PULUMI_CONFIG_PASSPHRASE=None)
    terminal.until("[y/N] ")
    terminal.type("y\n")
    for prompt in ("Enter your passphrase to protect", "Re-enter your passphrase"):
        terminal.until(prompt)
        time.sleep(0.3)  # the prompt switches echoing off after it is shown
        terminal.type("typed-secret\n")
    assert terminal.end() == 0 and terminal.text.count("passphrase to protect") == 1 and "typed-secret" not in terminal.raw
    assert cli("preview", "--expect-no-changes", PULUMI_CONFIG_PASSPHRASE="typed-secret").returncode == 0


def test_colors_are_for_terminals_unless_asked_for(cli):
    assert "\x1b" not in cli("preview").stdout
    assert "\x1b[32m +  pulumi" in cli("preview", "--color", "always", NO_COLOR="1").stdout
    for args, env in ((["--color", "never"], {}), ([], {"NO_COLOR": "1"})):
        terminal = Terminal(cli, "preview", *args, **env)
        assert terminal.end() == 0 and "\x1b" not in terminal.raw


def test_skip_preview_does_not_ask(cli):
    done = cli("up", "--skip-preview")
    assert done.returncode == 0 and "Previewing" not in done.stdout and "+ 2 created" in done.stdout


def test_a_reader_that_goes_away_is_no_error_of_ours(cli):
    done = subprocess.run(
        f"{' '.join(cli.command('preview'))} | head -1", shell=True, env=cli.env, capture_output=True, text=True, cwd=ROOT, timeout=60
    )
    assert done.stdout == "Previewing update (dev):\n" and done.stderr == ""


def test_a_mistake_of_ours_is_told_as_such(monkeypatch, capsys, cli):
    monkeypatch.setattr(operations, "embedded", lambda *args: 1 / 0)
    assert command_line.main(["preview", "-C", str(cli.folder), "-s", "dev", "--engine", "embedded"]) == 255
    assert "ZeroDivisionError" in (err := capsys.readouterr().err) and "please report it" in err


def test_a_second_interrupt_leaves_at_once_with_the_state_saved_and_the_stack_free(cli, tmp_path):
    process = begin_slow(cli, tmp_path)
    process.send_signal(signal.SIGINT)
    time.sleep(0.5)
    assert process.poll() is None, "the first lets what is in flight finish"
    process.send_signal(signal.SIGINT)
    assert process.wait(timeout=20) == 8
    latest = cli.state["checkpoint"]["latest"]
    assert "first" in [r["urn"].split("::")[-1] for r in latest["resources"]]
    assert [p["type"] for p in latest["pending_operations"]] == ["creating"]
    assert not list((cli.folder / "backend").rglob("locks/**/*.json")), "the CLI would take a file there for a lock"


def test_two_interrupts_give_the_terminal_back(cli, tmp_path):
    mark = tmp_path / "mark"
    cli.write("__main__.py", SLOW)
    terminal = Terminal(cli, "up", "--skip-preview", MARK=str(mark))
    terminal.until("creating")
    while not mark.exists():
        time.sleep(0.05)
    terminal.type("\x03")
    time.sleep(0.5)
    terminal.type("\x03")
    assert terminal.end() == 8 and terminal.raw.count("\x1b[?25l") == terminal.raw.count("\x1b[?25h") == 1


def test_what_was_cut_off_is_remembered_until_it_is_settled(cli, tmp_path):
    """A run that is stopped before it gets there must not forget it."""
    process = begin_slow(cli, tmp_path)
    process.kill()
    process.wait()
    program = (cli.folder / "__main__.py").read_text()
    cli.write("__main__.py", "raise ValueError('not today')")
    assert cli("up", "--skip-preview").returncode == 1
    assert [p["type"] for p in cli.state["checkpoint"]["latest"]["pending_operations"]] == ["creating"]
    cli.write("__main__.py", program.replace("time.sleep(60)", "pass"))
    assert cli("up", "--skip-preview", MARK=str(tmp_path / "mark")).returncode == 0
    assert "pending_operations" not in cli.state["checkpoint"]["latest"]


def test_a_generated_password_that_the_program_prints_is_filtered(cli):
    cli.write("__main__.py", (cli.folder / "__main__.py").read_text() + "token.result.apply(lambda t: print('the password is', t))\n")
    for verb in ("up", "preview"):  # made in this run, and known from the state
        done = cli(verb, *(["--skip-preview"] if verb == "up" else []))
        assert done.returncode == 0 and "the password is [secret]" in done.stdout


# -- what is recorded --------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def deployed(tmp_path_factory):
    cli = Cli(tmp_path_factory.mktemp("deployed"))
    assert cli("up", "--yes", "--skip-preview").returncode == 0
    return cli


def stack(cli, *args, **env):
    command = [sys.executable, "-m", "ops.cli", "stack", *args, "-C", str(cli.folder), "--engine", "embedded"]
    merged = {k: v for k, v in {**cli.env, **env}.items() if v is not None}
    return subprocess.run(command, env=merged, capture_output=True, text=True, timeout=60, stdin=subprocess.DEVNULL, cwd=ROOT)


def test_outputs(deployed):
    secret = json.loads(stack(deployed, "output", "--json", "--show-secrets", "-s", "dev").stdout)["token"]
    assert len(secret) == 12
    assert json.loads(stack(deployed, "output", "--json", "-s", "dev").stdout) == {"token": "[secret]", "length": 12}
    assert stack(deployed, "output", "-s", "dev").stdout.splitlines()[0] == "Current stack outputs (2):"
    assert stack(deployed, "output", "token", "-s", "dev").stdout == "[secret]\n"
    assert stack(deployed, "output", "token", "--show-secrets", PULUMI_STACK="dev").stdout == f"{secret}\n"
    missing = stack(deployed, "output", "other", "-s", "dev")
    assert missing.returncode == 1 and "does not have output property 'other'. There are: length, token." in missing.stderr
    for args in (["output"], ["output", "--json"], ["export"]):
        assert secret not in stack(deployed, *args, "-s", "dev").stdout


def test_an_export_is_what_is_stored(deployed, tmp_path):
    exported = json.loads(stack(deployed, "export", "-s", "dev").stdout)
    assert exported["version"] == 3 and exported["deployment"]["resources"] == deployed.state["checkpoint"]["latest"]["resources"]
    assert stack(deployed, "export", "-s", "dev", "--file", str(tmp_path / "state.json")).stdout == ""
    assert json.loads((tmp_path / "state.json").read_text())["deployment"]["resources"] == exported["deployment"]["resources"]


def test_the_stacks_of_a_project(deployed):
    assert stack(deployed, "ls").stdout == "dev\n" and json.loads(stack(deployed, "ls", "--json").stdout) == [{"name": "dev"}]


def test_a_stack_that_is_not_there(deployed):
    done = stack(deployed, "output", "-s", "other")
    assert done.returncode == 6 and done.stderr == "error: no stack named 'other' found\n"


@pytest.mark.parametrize("name", ["../dev", "a b", ""])
def test_a_name_that_is_none(deployed, name):
    done = stack(deployed, "output", "-s", name)
    assert done.returncode == 1 and "stack name" in done.stderr and "Traceback" not in done.stderr


# -- the pulumi CLI ----------------------------------------------------------------------------------------------------

FAKE = """#!{python}
import json, os, sys, time
with open(os.environ["CALLS"], "a") as file:
    file.write(json.dumps(sys.argv[1:]) + "\\n")
if sys.argv[1] == "up" and os.environ.get("SLOW"):
    try:
        print("running", flush=True)
        time.sleep(60)
    except KeyboardInterrupt:
        time.sleep(1)
        sys.exit(8)
sys.exit(0 if sys.argv[1] == 'stack' else int(os.environ.get("STATUS", "0")))
"""


@pytest.fixture
def with_cli(cli, tmp_path):
    """A stand-in for the CLI that notes how it was called."""
    (tmp_path / "bin").mkdir()
    fake = tmp_path / "bin" / "pulumi"
    fake.write_text(FAKE.format(python=sys.executable))
    fake.chmod(0o755)
    calls = tmp_path / "calls"
    env = {**cli.env, "PATH": f"{fake.parent}:{os.environ['PATH']}", "CALLS": str(calls)}

    def run(*args, **more):
        command = [sys.executable, "-m", "ops.cli", *args, "-C", str(cli.folder), "-s", "dev"]
        done = subprocess.run(command, env={**env, **more}, capture_output=True, text=True, timeout=60, stdin=subprocess.DEVNULL, cwd=ROOT)
        return done.returncode, [json.loads(line) for line in calls.read_text().splitlines()] if calls.exists() else []

    run.env = env
    return run


def test_the_cli_is_preferred_and_gets_the_same_verb_and_flags(cli, with_cli):
    flags = ["--yes", "--diff", "-c", "proj:length=3", "--expect-no-changes", "--parallel", "4", "--color", "never"]
    status, calls = with_cli("up", *flags, STATUS="7")
    assert status == 7 and calls[0][:2] == ["stack", "select"]
    expected = ["up", "--cwd", str(cli.folder), "--stack", "dev", "--parallel", "4", "--expect-no-changes", "--diff", "--yes"]
    assert calls[1] == [*expected, "--color", "never", "--config", "proj:length=3"]


def test_the_cli_is_given_the_projects_policies(cli, with_cli):
    cli.write("policies/PulumiPolicy.yaml", "runtime: python")
    pack = ["--policy-pack", str(cli.folder / "policies")]
    assert with_cli("preview")[1][-1][-2:] == pack
    assert "--policy-pack" not in with_cli("preview", "--no-policy-pack")[1][-1]
    assert "--policy-pack" not in with_cli("destroy", "--yes")[1][-1]


def test_the_cli_answers_what_is_recorded(cli, with_cli):
    base = ["--cwd", str(cli.folder), "--stack", "dev"]
    assert with_cli("stack", "output", "token", "--show-secrets")[1] == [["stack", "output", *base, "--show-secrets", "token"]]
    assert with_cli("stack", "export")[1][-1] == ["stack", "export", *base]


def test_embedded_means_embedded(with_cli):
    assert with_cli("preview", "--engine", "embedded") == (0, [])


def test_an_interrupt_is_the_clis_business(cli, with_cli):
    command = [sys.executable, "-m", "ops.cli", "up", "--yes", "-C", str(cli.folder), "-s", "dev"]
    process = subprocess.Popen(
        command, env={**with_cli.env, "SLOW": "1"}, stdout=subprocess.PIPE, text=True, cwd=ROOT, start_new_session=True
    )
    assert process.stdout is not None and process.stdout.readline() == "running\n"
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does: to both
    assert process.wait(timeout=20) == 8, "waits until the CLI has wound up, and passes its status on"


@pytest.mark.parametrize("flag", [["-c", "a=b"], ["--expect-no-changes"], ["--policy-pack", "x"]])
def test_destroy_takes_only_what_the_cli_takes_too(cli, flag):
    done = cli("destroy", "--yes", *flag)
    assert done.returncode == 2 and "unrecognized arguments" in done.stderr


def test_the_help_names_the_exit_statuses():
    done = subprocess.run([sys.executable, "-m", "ops.cli", "--help"], capture_output=True, text=True, cwd=ROOT)
    text = " ".join(done.stdout.split())
    for part in ("5 policy", "6 stack not found", "7 changes", "8 cancelled", "255 internal"):
        assert part in text
    version = subprocess.run([sys.executable, "-m", "ops.cli", "version"], capture_output=True, text=True, cwd=ROOT).stdout
    assert re.fullmatch(r"sophia \d\S+ \(pulumi \d\S+\)\n", version)
