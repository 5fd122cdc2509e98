"""What a person or a program sees, from the events that the real CLI recorded."""

from __future__ import annotations

import io
import json
import re

import pytest
from rich.console import Console

from engine.display import tree
from engine.display.color import paint, style
from engine.display.diff import property_lines
from engine.display.live import LiveProgress
from engine.display.machine import Digest, EventLines
from engine.display.progress import Progress
from engine.display.words import value_text
from engine.redaction import Redactor
from engine.values import SECRET_SIGNATURE, SIGNATURE_KEY, UNKNOWN_STRING
from tests.engine.recordings import load, runs

SECRET = {SIGNATURE_KEY: SECRET_SIGNATURE, "ciphertext": "[secret]"}


def shown(events, kind="preview", **options):
    lines = []
    view = Progress(lines.append, kind, "dev", **options)
    for event in events:
        view(event)
    view.close()
    return lines


def section(lines, heading):
    if heading not in lines:
        return []
    start = lines.index(heading)
    end = next((i for i in range(start, len(lines)) if not lines[i].strip()), len(lines))
    return lines[start + 1 : end]


WHOLE = [(p, r) for p, r in runs() if load(p, r)["up_exit"] == 0]


@pytest.mark.parametrize(("program", "run"), WHOLE)
def test_the_counts_are_those_that_the_cli_showed_for_the_update(program, run):
    """The preview says the same with other verbs, and for these programs all came as it said."""
    recorded = load(program, run)
    planned = section(shown(recorded["preview_events"]), "Resources:")
    assert [re.sub(r"to (\w+?)e?$", r"\1ed", line) for line in planned] == section(recorded["up_stdout"].splitlines(), "Resources:")


@pytest.mark.parametrize("run", ["1", "2"])
def test_policy_findings_look_as_the_cli_shows_them(run):
    recorded = load("policy", run)
    ours = section(shown(recorded["preview_events"]), "Policies:")
    theirs = section(recorded["up_stdout"].splitlines(), "Policies:")
    assert ours[: len(theirs)][:2] == theirs[:2] and set(theirs) <= set(ours)


@pytest.mark.parametrize(("program", "run"), [("kubernetes-basics", "2"), ("failed-rollout", "3"), ("docker-image", "2"), ("options", "1")])
def test_outputs_that_are_known_look_as_the_cli_shows_them(program, run):
    recorded = load(program, run)
    assert section(shown(recorded["preview_events"]), "Outputs:") == section(recorded["up_stdout"].splitlines(), "Outputs:")


def test_outputs_can_be_left_out():
    assert "Outputs:" not in shown(load("kubernetes-basics", "2")["preview_events"], outputs=False)


def test_a_plan_is_a_tree_with_one_row_a_resource():
    lines = shown(load("options", "2")["preview_events"])
    assert lines[2] == "    pulumi:pulumi:Stack golden-options-dev"
    assert " +- ├─ random:index:RandomString dbr replace [diff: ~length]" in lines
    assert " -  └─ kubernetes:core/v1:ConfigMap retained delete" in lines
    assert len([line for line in lines if line.endswith("dbr") or " dbr " in line]) == 1


def step(urn, parent="", op="create", **new):
    return {"op": op, "urn": urn, "old": None, "new": {"parent": parent, "inputs": new}}


def test_children_stand_below_their_parents_whatever_the_order():
    kinds = {"a": "A", "b": "A$x:y:B", "c": "A$x:y:B$x:y:C", "d": "A$x:y:D"}
    a, b, c, d = (f"urn:pulumi:s::p::x:y:{kind}::{name}" for name, kind in kinds.items())
    rows = tree.rows([step(a), step(d, a), step(b, a), step(c, b, size=1)], diff=True)
    assert rows == [
        " +  x:y:A a create",
        " +  ├─ x:y:D d create",
        " +  └─ x:y:B b create",
        " +     └─ x:y:C c create",
        "               + size: 1",
    ]


# -- an update, as it happens ------------------------------------------------------------------------------------------

URN = "urn:pulumi:dev::p::kubernetes:apps/v1:Deployment::web"


def an_update(op="update", old=None, new=None, *, fails=None, status=()):
    metadata = {"op": op, "urn": URN, "old": {"inputs": old or {}}, "new": {"inputs": new or {}, "outputs": {}}}
    yield {"resourcePreEvent": {"metadata": metadata}}
    for message in status:
        yield {"diagnosticEvent": {"urn": URN, "message": message, "severity": "info", "ephemeral": True}}
    if fails:
        yield {"resOpFailedEvent": {"metadata": metadata}}
        yield {"diagnosticEvent": {"urn": URN, "prefix": "error: ", "message": fails, "severity": "error"}}
    else:
        yield {"resOutputsEvent": {"metadata": metadata}}
    changes = {} if fails else {op: 1}
    summary = {
        "durationSeconds": 1,
        "resourceChanges": changes,
        "isPreview": False,
        "PolicyPacks": {},
        "result": "failed" if fails else "succeeded",
    }
    yield {"summaryEvent": summary}


def test_an_update_tells_beginning_status_and_end():
    lines = shown(an_update(old={"a": 1}, new={"a": 2}, status=["waiting\n", "waiting", "", "ready soon"]), "up")
    assert lines[:6] == [
        "Updating (dev):",
        "",
        " ~  kubernetes:apps/v1:Deployment web updating (0s) [diff: ~a]",
        " ~  kubernetes:apps/v1:Deployment web updating (0s) waiting",
        " ~  kubernetes:apps/v1:Deployment web updating (0s) ready soon",
        " ~  kubernetes:apps/v1:Deployment web updated (0.00s) [diff: ~a]",
    ]
    assert section(lines, "Resources:") == ["    ~ 1 updated"]


def test_a_failure_tells_its_reason_once():
    lines = shown(an_update(fails="the pods do not start:\nCrashLoopBackOff\n"), "up")
    assert " ~  kubernetes:apps/v1:Deployment web **updating failed**" in lines
    assert section(lines, "Diagnostics:") == [
        "  kubernetes:apps/v1:Deployment (web):",
        "    error: the pods do not start:",
        "    CrashLoopBackOff",
    ]
    assert section(lines, "Resources:") == ["    1 errored"] and "\n".join(lines).count("CrashLoopBackOff") == 1


def test_details_are_told_when_asked_for():
    lines = shown(an_update(old={"a": {"b": 1}}, new={"a": {"b": 2}}), "up", diff=True)
    assert lines.count("      ~ a.b: 1 => 2") == 1


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ({"a": 1}, {"a": 2}, ["~ a: 1 => 2"]),
        ({"a": SECRET}, {"a": SECRET}, []),
        ({"a": "x"}, {"a": SECRET}, ['~ a: "x" => [secret]']),
        ({"a": "x"}, {"a": UNKNOWN_STRING}, ['~ a: "x" => [unknown]']),
        ({"a": [1, 2]}, {"a": [1]}, ["- a[1]: 2"]),
        ({}, {"a": {"b.c": 1}}, ['+ a: {"b.c": 1}']),
        ({"a": {"b.c": 1}}, {"a": {"b.c": 2}}, ['~ a["b.c"]: 1 => 2']),
        ({"a": "one\ntwo\nthree\nfour"}, {"a": "one\ntwo\n3\nfour"}, ["~ a:", "    …", "     two", "    -three", "    +3", "     four"]),
    ],
)
def test_what_differs_property_by_property(old, new, expected):
    assert property_lines({"op": "update", "old": {"inputs": old}, "new": {"inputs": new}}) == expected


def test_long_values_are_shortened():
    (line,) = property_lines(step(URN, dashboard="x" * 5000))
    assert line.endswith("… (5002 characters)") and len(line) < 400
    numbers = "\n".join(map(str, range(500)))
    lines = property_lines({"op": "update", "old": {"inputs": {"a": numbers}}, "new": {"inputs": {"a": numbers.replace("\n", "0\n")}}})
    assert len(lines) < 70 and "more lines" in lines[-1]


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (SECRET, "[secret]"),
        (UNKNOWN_STRING, "[unknown]"),
        ({"a": [SECRET, UNKNOWN_STRING, "[secret]"]}, '{"a": [[secret], [unknown], "[secret]"]}'),
        ("é", '"é"'),
        (3, "3"),
        (None, "null"),
    ],
)
def test_values_on_one_line(value, text):
    assert value_text(value) == text


# -- terminals ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        (" +  ├─ x:y:Z a create", "green"),
        (" +- x:y:Z a replace", "green"),
        (" ~  x:y:Z a updating (0s)", "yellow"),
        ("    - 2 deleted", "red"),
        ("    +-1 to replace", "green"),
        ("      ~ spec.replicas: 1 => 2", "yellow"),
        ("    x:y:Z a", ""),
        ("    9 unchanged", ""),
        ("Resources:", "bold"),
        (" +  x:y:Z a **creating failed**", "bold red"),
        ("        - [mandatory]  ports  (x:y:Z: a)", "red"),
        ("        - [advisory]  ports  (x:y:Z: a)", "yellow"),
        ("    error: update failed", "red"),
        ("", ""),
    ],
)
def test_colors(line, expected):
    assert style(line) == expected
    assert re.sub(r"\x1b\[[0-9;]*m", "", paint(line)) == line
    assert (paint(line) != line) == bool(expected)


@pytest.mark.parametrize(("program", "run"), runs())
def test_the_moving_view_ends_with_the_same_lines(program, run):
    """Whatever is redrawn meanwhile: what stays is what a log would have, and nothing is cut to the width of the terminal."""
    screen = io.StringIO()
    view = LiveProgress("preview", "dev", console=Console(file=screen, force_terminal=True, width=40, highlight=False, soft_wrap=True))
    for event in load(program, run)["preview_events"]:
        view(event)
    view.close()
    text = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", screen.getvalue()).replace("\r", "")
    for line in shown(load(program, run)["preview_events"]):
        assert line in text
    assert screen.getvalue().count("\x1b[?25l") == screen.getvalue().count("\x1b[?25h"), "the cursor is back"


def test_the_moving_view_shows_what_is_in_progress_and_gives_the_terminal_back_on_the_way_out():
    screen = io.StringIO()
    view = LiveProgress(
        "up", "dev", console=Console(file=screen, force_terminal=True, width=120), redact=lambda t: t.replace("hunter2", "[secret]")
    )
    events = list(an_update(status=["2 of 3 pods, password hunter2"]))
    for event in events[:2]:
        view(event)
    view._live.refresh()
    assert "Deployment web updating (0s) 2 of 3 pods, password [secret]" in screen.getvalue()
    view.close()
    assert screen.getvalue().count("\x1b[?25l") == screen.getvalue().count("\x1b[?25h") == 1


# -- programs ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("program", "run"), runs())
def test_the_digest_has_every_step_and_the_counts(program, run):
    events = load(program, run)["preview_events"]
    written = []
    view = Digest(written.append)
    for event in events:
        view(event)
    (text,) = written
    digest = json.loads(text)
    pre = [e["resourcePreEvent"]["metadata"] for e in events if "resourcePreEvent" in e]
    summary = next(e["summaryEvent"] for e in events if "summaryEvent" in e)
    assert [(s["op"], s["urn"]) for s in digest["steps"]] == [(m["op"], m["urn"]) for m in pre]
    assert digest["changeSummary"] == summary["resourceChanges"] and digest["duration"] == summary["durationSeconds"] * 10**9
    for one, metadata in zip(digest["steps"], pre, strict=True):
        assert set(one.get("detailedDiff", {})) == set(metadata.get("detailedDiff") or {})


def test_the_digest_has_policy_findings_and_no_debug_lines():
    written = []
    view = Digest(written.append)
    for event in [*load("policy", "1")["preview_events"][:-2], {"diagnosticEvent": {"severity": "debug", "message": "noise"}}]:
        view(event)
    view(load("policy", "1")["preview_events"][-2])
    diagnostics = json.loads(written[0])["diagnostics"]
    assert any(d["severity"] == "error" and "port-range" in d["message"] for d in diagnostics)
    assert not any("noise" in d["message"] for d in diagnostics)


# -- secrets -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("secret", "text"),
    [
        ("hunter2", "login with hunter2!"),
        ("first\nlines", "one of them: first"),
        ('quo"te\\d', json.dumps({"x": 'quo"te\\d'})),
        ("hunter2", "password: aHVudGVyMg=="),
    ],
)
def test_a_known_secret_is_found_in_every_form(secret, text):
    redact = Redactor()
    redact.add([secret, "abc"])
    assert "[secret]" in redact(text) and secret not in redact(text)


def test_a_secret_inside_another_leaves_no_remains():
    redact = Redactor()
    redact.add(["hunter2", "hunter2-and-more"])
    assert redact("x hunter2-and-more y") == "x [secret] y"


def test_short_words_are_no_secrets():
    redact = Redactor()
    redact.add(["yes", "a", "", "   \n "])
    assert redact("yes, a   \n b") == "yes, a   \n b"


def test_json_stays_json_when_a_secret_looks_like_a_part_of_it():
    redact = Redactor()
    redact.add(["true", "1234", "null"])
    lines = []
    EventLines(lines.append, redact.within)({"a": True, "b": 1234, "c": None, "d": ["is true", {"e": "1234"}]})
    assert json.loads(lines[0]) == {"a": True, "b": 1234, "c": None, "d": ["is [secret]", {"e": "[secret]"}]}
