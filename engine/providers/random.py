"""The random package in the engine's process: same inputs, outputs and state as `pulumi-resource-random` 4.21."""

from __future__ import annotations

import json
from collections.abc import Sequence

from engine.model import urn_type
from engine.provider import Call, Changes, Checked, CheckFailure, Created, Diff, Provider, ProviderError, Read
from engine.providers.random_kinds import KINDS, Kind
from engine.values import UNKNOWN, PropertyMap, Secret, Value, contains_secret, contains_unknown, equal, is_number, reveal

META_KEY = "__meta"
DELTA_KEY = "__pulumi_raw_state_delta"
"""How a bridged provider finds its own form of the state again."""

_TYPE_NAMES = {
    "int": "a whole number",
    "bool": "true or false",
    "str": "a string",
    "list": "a list of strings",
    "map": "a map of strings",
}


class RandomProvider(Provider):
    """Creates values once and keeps them in state. Any change of what a value was made from replaces it."""

    package = "random"
    accepts_secrets = True

    def check(self, call: Call, old_inputs: PropertyMap | None, inputs: PropertyMap, random_seed: bytes) -> Checked:
        kind = _kind(self, call)
        given = {name: value for name, value in inputs.items() if value is not None}
        plain = reveal(given)
        failures = [CheckFailure(n, f"Missing required property '{n}'") for n in kind.required if n not in plain]
        failures += [CheckFailure(name, _unknown_property(kind, name)) for name in plain if name not in kind.options]
        wrong = {n for n, v in plain.items() if n in kind.options and not _has_type(v, kind.options[n][0])}
        failures += [CheckFailure(name, f"expected {_TYPE_NAMES[kind.options[name][0]]}") for name in sorted(wrong)]
        number, numeric = plain.get("number"), plain.get("numeric")
        if isinstance(number, bool) and isinstance(numeric, bool) and number != numeric:
            failures.append(CheckFailure("number", "differs from numeric, whose deprecated name it is; set numeric alone"))
        if not failures:
            known = {name: value for name, value in _complete(kind, plain).items() if not contains_unknown(value)}
            failures = [CheckFailure(name, reason) for name, reason in kind.check(known)]
        return Checked(given, failures)

    def diff(
        self,
        call: Call,
        id: str,
        old_inputs: PropertyMap,
        old_outputs: PropertyMap,
        inputs: PropertyMap,
        ignore_changes: Sequence[str],
    ) -> Diff:
        kind = _kind(self, call)
        planned, old = _complete(kind, reveal(inputs)), _complete(kind, reveal(old_outputs))
        changed = sorted(name for name in kind.options if not equal(planned.get(name), old.get(name)))
        replaces = [name for name in changed if not _harmless(name, old.get(name), planned.get(name))]
        return Diff(changes=Changes.SOME if changed else Changes.NONE, replaces=replaces, diffs=changed)

    def create(self, call: Call, inputs: PropertyMap) -> Created:
        kind = _kind(self, call)
        given = _complete(kind, reveal(inputs))
        if call.preview:
            outputs = {**given, **dict.fromkeys(kind.computed, UNKNOWN)}
            return Created("", _mark(kind, outputs, inputs))
        outputs = {**given, **kind.make(given)}
        return Created(kind.resource_id(outputs), _state(kind, outputs, inputs))

    def update(
        self,
        call: Call,
        id: str,
        old_inputs: PropertyMap,
        old_outputs: PropertyMap,
        inputs: PropertyMap,
        ignore_changes: Sequence[str],
    ) -> PropertyMap:
        kind = _kind(self, call)
        kept = {name: value for name, value in reveal(old_outputs).items() if name in kind.computed}
        outputs = {**_complete(kind, reveal(inputs)), **kept}
        return _mark(kind, outputs, inputs) if call.preview else _state(kind, outputs, inputs)

    def delete(self, call: Call, id: str, inputs: PropertyMap, outputs: PropertyMap) -> None:
        """A random value exists in state only, so there is nothing to remove."""

    def read(self, call: Call, id: str, inputs: PropertyMap | None, outputs: PropertyMap | None) -> Read:
        kind = _kind(self, call)
        if outputs:
            found = {name: value for name, value in reveal(outputs).items() if name not in (META_KEY, DELTA_KEY)}
            names = inputs if inputs is not None else kind.options
            state = _state(kind, found, outputs)
            return Read(id, {name: state[name] for name in names if name in found}, state)
        if kind.import_ is None:
            name = urn_type(call.urn).rsplit(":", 1)[-1]
            raise ProviderError(f"{call.urn}: a {name} cannot be imported or read by id; its value is in state only.")
        found = kind.import_(id)
        options = {name: found[name] for name in kind.options if name in found}
        return Read(kind.resource_id(found), options, _state(kind, found, {}))


def _kind(provider: Provider, call: Call) -> Kind:
    kind = KINDS.get(urn_type(call.urn))
    if kind is None:
        raise provider.unsupported(call)
    return kind


def _unknown_property(kind: Kind, name: str) -> str:
    known = ", ".join(sorted(kind.options))
    verb = "is set by the provider" if name in kind.computed else "is not a property of this resource"
    return f"{name} {verb}; possible: {known}"


def _has_type(value: Value, type_: str) -> bool:
    if value is UNKNOWN:
        return True
    match type_:
        case "int":
            return is_number(value) and float(value).is_integer()
        case "bool":
            return isinstance(value, bool)
        case "str":
            return isinstance(value, str)
        case "list":
            return isinstance(value, list) and all(_has_type(v, "str") for v in value)
        case _:
            return isinstance(value, dict) and all(v is None or _has_type(v, "str") for v in value.values())


def _complete(kind: Kind, given: PropertyMap) -> PropertyMap:
    """The options with their defaults. `number` and `numeric` are two names of one option, `numeric` leading."""
    complete = {name: default for name, (_, default) in kind.options.items() if default is not None}
    complete.update({name: value for name, value in given.items() if name in kind.options and value is not None})
    if "numeric" in complete:
        leading = "number" if given.get("numeric") is None and given.get("number") is not None else "numeric"
        complete["number"] = complete["numeric"] = complete[leading]
    return complete


def _harmless(name: str, old: Value, new: Value) -> bool:
    """Changes that mean nothing to the value: an empty text for none, or keepers that hold no value."""
    if name == "overrideSpecial":
        return not old and not new
    if name == "keepers" and isinstance(old or {}, dict) and isinstance(new or {}, dict):
        return not any(v is not None for v in [*(old or {}).values(), *(new or {}).values()])
    return False


def _mark(kind: Kind, outputs: PropertyMap, source: PropertyMap) -> PropertyMap:
    """Outputs with their marks: options as they are in `source`, and what is made of a secret option is secret too.

    The real provider leaves the latter in plain text (a RandomId with a secret prefix, a RandomShuffle of secrets).
    """
    tainted = any(contains_secret(source.get(name)) for name in kind.options if name != "keepers")
    marked = {}
    for name, value in outputs.items():
        if name in kind.sensitive or (tainted and name in kind.computed and name != "id"):
            marked[name] = Secret(value)
        else:
            marked[name] = source[name] if name in kind.options and source.get(name) is not None else value
    return marked


def _state(kind: Kind, outputs: PropertyMap, source: PropertyMap) -> PropertyMap:
    state = _mark(kind, outputs, source)
    if kind.schema_version:
        state[META_KEY] = json.dumps({"schema_version": str(kind.schema_version)}, separators=(",", ":"))
    state[DELTA_KEY] = {"obj": _delta(kind, outputs)}
    return state


def _delta(kind: Kind, outputs: PropertyMap) -> PropertyMap:
    """What the outputs alone do not tell: types of collections, absent values, properties with another name inside."""
    properties: PropertyMap = {}
    for name, (type_, _) in kind.options.items():
        value = outputs.get(name)
        if value is None:
            properties[name] = Secret({"replace": {"raw": None}})
        elif type_ == "map":
            properties[name] = {"map": {}}
    for name in (*kind.options, *kind.computed):
        if isinstance(outputs.get(name), list):
            properties[name] = {"arr": {}}
    return {**({"renamed": dict(kind.renamed)} if kind.renamed else {}), **({"ps": properties} if properties else {})}
