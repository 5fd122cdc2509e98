"""What an operation does with a program and a state: Pulumi's semantics, case by case."""

from __future__ import annotations

import textwrap

import pytest

from engine.checkpoint import integrity_errors
from engine.model import Snapshot
from engine.values import Secret


def test_create_same_update_delete(engine):
    first = engine('a = Thing("a", x=1); Thing("b", y=a.size); pulumi.export("size", a.size)')
    assert first.steps == [("create", "a"), ("create", "b")]
    assert first.result.ok and first.result.outputs == {"size": 1}
    assert first.result.changes == {"create": 3}
    assert [r.name for r in first.resources] == ["proj-dev", "default", "a", "b"]
    assert first.named("b").property_dependencies == {"y": [first.named("a").urn]}
    again = engine('a = Thing("a", x=1); Thing("b", y=a.size); pulumi.export("size", a.size)')
    assert {op for op, _ in again.steps} == {"same"} and again.result.changes == {"same": 3}
    changed = engine('a = Thing("a", x=2)')
    assert changed.steps == [("update", "a"), ("delete", "b")]
    assert engine.world.things == {"thing-0": {"x": 2}}
    gone = engine.destroy()
    assert gone.steps == [("delete", "a")] and gone.resources == [] and engine.world.things == {}


def test_preview_touches_nothing_and_knows_what_it_does_not_know(engine):
    seen = engine.preview('a = Thing("a", x=1); Thing("b", y=a.size); pulumi.export("size", a.size)')
    assert seen.steps == [("create", "a"), ("create", "b")]
    assert engine.world.calls == [] and engine.resources == []
    new = [e["metadata"]["new"] for e in seen.of("resourcePreEvent")][-1]
    assert new["inputs"] == {"y": "04da6b54-80e4-46f7-96ec-b56ff0331ba9"} and new["id"] == ""
    assert all(e.get("planning") for e in seen.of("resourcePreEvent"))


def test_replacement_creates_first_and_deletes_last(engine):
    engine('a = Thing("a", key="1"); Thing("b", y=a.id)')
    replaced = engine('a = Thing("a", key="2"); Thing("b", y=a.id)')
    assert replaced.steps == [("create-replacement", "a"), ("replace", "a"), ("update", "b"), ("delete-replaced", "a")]
    assert replaced.result.changes == {"replace": 1, "update": 1, "same": 1}
    assert [c for c in engine.world.calls][-3:] == [("create", "a"), ("update", "b"), ("delete", "a")]
    assert [r.name for r in replaced.resources] == ["proj-dev", "default", "a", "b"]


def test_delete_before_replace_takes_dependents_with_it(engine):
    program = """
    a = Thing("a", fixed="{}")
    Thing("uses", key=a.id)
    Thing("mentions", y=a.id)
    Thing("after", opts=ResourceOptions(depends_on=[a]))
    """
    engine(program.format(1))
    replaced = engine(program.format(2))
    assert replaced.steps[:4] == [("delete-replaced", "uses"), ("delete-replaced", "a"), ("replace", "a"), ("create-replacement", "a")]
    assert ("replace", "uses") in replaced.steps and ("create-replacement", "uses") in replaced.steps
    assert ("update", "mentions") in replaced.steps and ("same", "after") in replaced.steps
    assert replaced.result.ok and len(engine.world.things) == 4
    assert not [r for r in replaced.resources if r.pending_replacement or r.delete]


@pytest.mark.parametrize(
    ("option", "steps"),
    [
        ("", [("create-replacement", "a"), ("replace", "a"), ("delete-replaced", "a")]),
        ("delete_before_replace=True", [("delete-replaced", "a"), ("replace", "a"), ("create-replacement", "a")]),
        ('ignore_changes=["key"]', [("same", "a")]),
        ('ignore_changes=["*"]', [("same", "a")]),
    ],
)
def test_options_of_replacement(engine, option, steps):
    for value in (1, 2):
        outcome = engine(f'Thing("a", key="{value}", opts=ResourceOptions({option}))')
    assert outcome.steps == steps


def test_replace_on_changes(engine):
    engine('Thing("a", nested={"x": [1, 2]}, opts=ResourceOptions(replace_on_changes=["nested.x[*]"]))')
    outcome = engine('Thing("a", nested={"x": [1, 3]}, opts=ResourceOptions(replace_on_changes=["nested"]))')
    assert outcome.steps == [("create-replacement", "a"), ("replace", "a"), ("delete-replaced", "a")]


def test_protected_resources_are_neither_deleted_nor_replaced(engine):
    engine('Thing("a", key="1", opts=ResourceOptions(protect=True))')
    replaced = engine('Thing("a", key="2", opts=ResourceOptions(protect=True))')
    assert not replaced.result.ok and "marked for protection" in replaced.errors
    removed = engine("pass")
    assert not removed.result.ok and "protected" in removed.errors and engine.world.things
    assert not engine.destroy().result.ok
    engine('Thing("a", key="1", opts=ResourceOptions(protect=False))')
    assert engine.destroy().result.ok and not engine.world.things


def test_unprotecting_and_replacing_in_one_run(engine):
    engine('Thing("a", key="1", opts=ResourceOptions(protect=True))')
    outcome = engine('Thing("a", key="2")')
    assert outcome.result.ok and len(engine.world.things) == 1


RENAMED = 'a = Thing("{a}", {kind}="{v}", opts=ResourceOptions(aliases=[Alias(name="a")]))\n'


def test_a_renamed_resource_takes_its_dependents_along_when_it_is_deleted_first(engine):
    engine('a = Thing("a", fixed="1"); Thing("b", key=a.id)')
    engine.world.calls.clear()
    outcome = engine(RENAMED.format(a="a2", kind="fixed", v="2") + 'Thing("b", key=a.id)')
    assert outcome.result.ok and engine.world.calls == [("delete", "b"), ("delete", "a"), ("create", "a2"), ("create", "b")]


def test_a_removed_dependent_goes_before_the_old_half_of_what_was_renamed(engine):
    engine('a = Thing("a", key="1"); Thing("b", y=a.id)')
    engine.world.calls.clear()
    assert engine(RENAMED.format(a="a2", kind="key", v="2")).result.ok
    assert engine.world.calls == [("create", "a2"), ("delete", "b"), ("delete", "a")]


def test_delete_first_uses_the_provider_that_made_it(engine):
    program = """
    class Fake(pulumi.ProviderResource):
        def __init__(self, name, **props):
            super().__init__("fake", name, props)
    Thing("a", fixed="{}", opts=ResourceOptions(provider=Fake("{}")))
    """
    engine(program.format(1, "p1"))
    outcome = engine(program.format(2, "p2"))
    assert outcome.result.ok, outcome.errors
    assert len(engine.world.things) == 1


def test_tainted_resources_are_made_anew(engine):
    engine('Thing("a", x=1)')
    engine.resources[-1].taint = True
    outcome = engine('Thing("a", x=1)')
    assert ("create-replacement", "a") in outcome.steps and not outcome.named("a").taint


def test_an_updated_provider_serves_with_its_new_configuration(engine):
    program = """
    class Fake(pulumi.ProviderResource):
        def __init__(self, name, **props):
            super().__init__("fake", name, props)
    Thing("a", x={x}, opts=ResourceOptions(provider=Fake("p", note="{note}")))
    """
    engine(program.format(x=1, note="old"))
    engine(program.format(x=2, note="new"))
    assert engine.world.notes[-1] == "new"


def test_protection_is_inherited_from_the_parent(engine):
    outcome = engine(
        'g = Group("g", opts=ResourceOptions(protect=True, retain_on_delete=True)); Thing("a", opts=ResourceOptions(parent=g))'
    )
    assert outcome.named("a").protect and outcome.named("a").retain_on_delete


def test_retain_on_delete_and_deleted_with_spare_the_provider(engine):
    engine(
        """
        Thing("kept", opts=ResourceOptions(retain_on_delete=True))
        host = Thing("host")
        Thing("inside", opts=ResourceOptions(deleted_with=host))
        """
    )
    engine.world.calls.clear()
    outcome = engine.destroy()
    assert outcome.result.ok and outcome.resources == []
    assert engine.world.calls == [("delete", "host")] and len(engine.world.things) == 2


def test_read_resources_are_never_deleted(engine):
    engine.world.things["existing"] = {"x": 1}
    program = """
    class Read(CustomResource):
        def __init__(self, name, id):
            super().__init__("fake:index:Thing", name, {"size": None}, ResourceOptions(id=id))
    """
    engine(textwrap.dedent(program) + '\nRead("there", "existing")')
    assert engine.resources[-1].external
    missing = engine(textwrap.dedent(program) + '\nRead("gone", "nowhere")')
    assert not missing.result.ok and "does not exist" in missing.errors
    assert engine.destroy().result.ok and "existing" in engine.world.things


def test_aliases_rename_without_touching_anything(engine):
    engine('g = Group("old"); Thing("old-child", x=1, opts=ResourceOptions(parent=g))')
    engine.world.calls.clear()
    outcome = engine(
        'g = Group("new", opts=ResourceOptions(aliases=[Alias(name="old")])); Thing("new-child", x=1, opts=ResourceOptions(parent=g))'
    )
    assert outcome.steps == [("same", "new"), ("same", "new-child")] and engine.world.calls == []
    assert {r.name for r in outcome.resources} == {"proj-dev", "default", "new", "new-child"}
    assert outcome.named("new-child").parent == outcome.named("new").urn and outcome.named("new").aliases == []
    assert engine('g = Group("new"); Thing("new-child", x=1, opts=ResourceOptions(parent=g))').result.changes == {"same": 3}


def test_a_deletion_that_fails_after_a_rename_leaves_a_valid_state(engine):
    engine('g = Group("old"); Thing("child", fail="delete", opts=ResourceOptions(parent=g))')
    outcome = engine('Group("new", opts=ResourceOptions(aliases=[Alias(name="old")]))')
    assert not outcome.result.ok and integrity_errors(Snapshot(outcome.resources)) == []


def test_failed_creation_records_nothing_and_shows_one_reason(engine):
    outcome = engine('a = Thing("a"); b = Thing("b", fail="create", w=a.id); Thing("c", y=b.id)')
    assert not outcome.result.ok and outcome.steps == [("create", "a"), ("create", "b")]
    assert "cannot create: asked to fail" in outcome.errors and "Traceback" not in str(outcome.events)
    assert [r.name for r in outcome.resources] == ["proj-dev", "default", "a"]
    repaired = engine('a = Thing("a"); b = Thing("b", w=a.id); Thing("c", y=b.id)')
    assert repaired.result.ok and repaired.steps == [("same", "a"), ("create", "b"), ("create", "c")]


def test_failed_replacement_deletion_is_tried_again_by_the_next_run(engine):
    engine('Thing("a", key="1", fail="delete")')
    outcome = engine('Thing("a", key="2")')
    assert not outcome.result.ok and [r.delete for r in outcome.resources if r.name == "a"] == [False, True]
    for thing in outcome.resources:
        thing.inputs.pop("fail", None)
    again = engine('Thing("a", key="2")')
    assert again.result.ok and again.steps == [("same", "a"), ("delete-replaced", "a")] and len(engine.world.things) == 1


def test_interrupted_delete_before_replace_goes_on(engine):
    engine('Thing("a", fixed="1")')
    broken = engine('Thing("a", fixed="2", fail="create")')
    assert not broken.result.ok and [r.pending_replacement for r in broken.resources if r.name == "a"] == [True]
    repaired = engine('Thing("a", fixed="2")')
    assert repaired.result.ok and repaired.steps == [("replace", "a"), ("create-replacement", "a")]
    assert [r.pending_replacement for r in repaired.resources if r.name == "a"] == [False]


def test_removed_while_pending_replacement(engine):
    engine('Thing("a", fixed="1")')
    engine('Thing("a", fixed="2", fail="create")')
    engine.world.calls.clear()
    outcome = engine("pass")
    assert outcome.result.ok and outcome.steps == [("remove-pending-replace", "a")] and engine.world.calls == []


def test_unready_resources_are_recorded_and_continued(engine):
    outcome = engine('Thing("a", unready=True)')
    assert not outcome.result.ok and outcome.named("a").init_errors == ["it did not start"] and outcome.named("a").id
    again = engine('Thing("a", unready=True)')
    assert again.steps == [("update", "a")] and not again.result.ok
    repaired = engine('Thing("a")')
    assert repaired.result.ok and repaired.named("a").init_errors == []


def test_secrets_stay_secret_through_inputs_outputs_and_events(engine):
    engine.config = {"proj:password": Secret("hunter2hunter2")}
    program = """
    p = pulumi.Config().require_secret("password")
    a = Thing("a", password=p, plain={"inner": [p, 1]})
    Thing("b", additional="shown-nowhere", opts=ResourceOptions(additional_secret_outputs=["additional"]))
    pulumi.export("password", p)
    """
    outcome = engine(program)
    assert isinstance(outcome.named("a").inputs["password"], Secret)
    assert outcome.named("a").inputs["plain"] == {"inner": [Secret("hunter2hunter2"), 1]}
    assert outcome.named("b").outputs["additional"] == Secret("shown-nowhere")
    assert outcome.result.outputs == {"password": Secret("hunter2hunter2")}
    assert "hunter2" not in str(outcome.events)


def test_program_errors_are_shown_without_ours(engine):
    failed = engine('Thing("a"); raise ValueError("no such luck")')
    assert not failed.result.ok and "no such luck" in failed.errors and "__main__.py" in failed.errors
    assert "runner.py" not in failed.errors
    polite = engine('raise pulumi.RunError("config.yaml: port: 1 is too low")')
    assert "config.yaml: port: 1 is too low" in polite.errors and "Traceback" not in polite.errors
    exited = engine("import sys; sys.exit(7)")
    assert not exited.result.ok and "status 7" in exited.errors
    assert engine.world.things, "a failing program deletes nothing"


@pytest.mark.parametrize(
    ("program", "message"),
    [
        ('Thing("a"); Thing("a")', "Duplicate resource URN"),
        ('Thing("a", invalid=True)', "'invalid' is invalid: must not be set"),
        ('CustomResource("nope:index:Thing", "a", {})', "needs the pulumi CLI|resources of it need the pulumi CLI"),
        ('Thing("a", opts=ResourceOptions(custom_timeouts=CustomTimeouts(create="soon")))', "custom timeout 'soon'"),
    ],
)
def test_mistakes_get_one_clear_error(engine, program, message):
    import re

    outcome = engine(program)
    assert not outcome.result.ok and re.search(message, outcome.errors), outcome.errors


def test_transforms_run_own_first_then_ancestors_then_the_stack(engine):
    outcome = engine(
        """
        def add(mark):
            def transform(args):
                if args.type_ != "fake:index:Thing":
                    return None
                return pulumi.ResourceTransformResult({**args.props, "trail": args.props.get("trail", "") + mark}, args.opts)
            return transform
        pulumi.runtime.register_resource_transform(add("s"))
        g = Group("g", opts=ResourceOptions(transforms=[add("g")]))
        h = Group("h", opts=ResourceOptions(parent=g, transforms=[add("h")]))
        Thing("a", opts=ResourceOptions(parent=h, transforms=[add("a")]))
        """
    )
    assert outcome.named("a").inputs["trail"] == "ahgs"


def test_explicit_providers_and_their_replacement(engine):
    program = """
    class Fake(pulumi.ProviderResource):
        def __init__(self, name, **props):
            super().__init__("fake", name, props)
    p = Fake("p", region="{}", note="{}")
    Thing("a", x=1, opts=ResourceOptions(provider=p))
    """
    first = engine(program.format("east", 1))
    assert first.named("a").provider.startswith(first.named("p").urn + "::")
    assert engine(program.format("east", 2)).steps == [("update", "p"), ("same", "a")]
    moved = engine(program.format("west", 2))
    assert ("replace", "p") in moved.steps and ("replace", "a") in moved.steps and moved.result.ok
    assert len(engine.world.things) == 1


def test_invokes_and_stack_references(engine):
    engine.stacks = {"organization/other/dev": {"url": "http://there", "token": Secret("s3cr3t")}}
    outcome = engine(
        """
        from pulumi.runtime import invoke
        ref = pulumi.StackReference("organization/other/dev")
        pulumi.export("twice", invoke("fake:index:double", {"value": 21}).value["result"])
        pulumi.export("url", ref.require_output("url"))
        pulumi.export("token", ref.get_output("token"))
        """
    )
    assert outcome.result.outputs == {"twice": 42, "url": "http://there", "token": Secret("s3cr3t")}
    failed = engine('from pulumi.runtime import invoke\ninvoke("fake:index:nope", {})')
    assert not failed.result.ok and "unknown function" in failed.errors
    assert "unknown stack" in engine('pulumi.StackReference("organization/none/dev")').errors


def test_import_adopts_what_exists(engine):
    engine.world.things["here"] = {"x": 1}
    outcome = engine('Thing("a", x=1, opts=ResourceOptions(import_="here"))')
    assert outcome.result.ok and outcome.steps == [("import", "a")] and outcome.named("a").id == "here"
    assert engine('Thing("a", x=1)').steps == [("same", "a")]
    engine.world.things["other"] = {"x": 5}
    differs = engine('Thing("b", x=1, opts=ResourceOptions(import_="other"))')
    assert not differs.result.ok and "do not match the existing resource" in differs.errors


def test_cancel_finishes_what_is_in_flight_and_begins_nothing(engine):
    engine.during = lambda deployment: deployment._context.loop.call_later(2.5, deployment.cancel)
    outcome = engine('a = Thing("a", delay=30); Thing("b", y=a.id)')
    assert outcome.result.cancelled and not outcome.result.ok and outcome.seconds < 20
    assert outcome.steps == [("create", "a")] and [r.name for r in outcome.resources][-1] == "a"


def test_parallelism_is_bounded(engine):
    engine.parallel = 3
    assert engine('for i in range(9): Thing(f"t{i}", delay=0.05)').result.ok
    assert 1 < engine.world.most_running <= 3


def test_deletions_go_in_reverse_dependency_order(engine):
    engine('a = Thing("a"); b = Thing("b", y=a.id); c = Thing("c", opts=ResourceOptions(parent=b)); Thing("d", y=[c.id, a.id])')
    engine.world.calls.clear()
    engine.destroy()
    assert engine.world.calls == [("delete", n) for n in "dcba"]


def test_outputs_of_components_and_of_the_stack_are_recorded(engine):
    outcome = engine('g = Group("g", x=1); g.register_outputs({"y": 2}); pulumi.export("n", None); pulumi.export("z", {"a": [1, "b"]})')
    assert outcome.named("g").outputs == {"y": 2} and outcome.named("g").inputs == {"x": 1}
    assert outcome.result.outputs["z"] == {"a": [1, "b"]}


def test_an_alias_that_two_claim_is_an_error(engine):
    engine('Thing("old")')
    outcome = engine(
        'Thing("a", opts=ResourceOptions(aliases=[Alias(name="old")])); Thing("b", opts=ResourceOptions(aliases=[Alias(name="old")]))'
    )
    assert not outcome.result.ok and "Duplicate resource alias" in outcome.errors


def test_many_resources_and_deep_chains(engine):
    assert engine('for i in range(300): Thing(f"t{i}", x=i)').result.changes["create"] == 301
    chain = 'a = None\nfor i in range(120): a = Thing(f"c{i}", y=a.id if a else "")'
    assert engine(chain).result.ok
