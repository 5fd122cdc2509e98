"""Pure rules between a provider's verdict and a step: ignoreChanges, replaceOnChanges, comparison of inputs, secrets."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from engine import paths
from engine.provider import Changes, Diff, PropertyDiff
from engine.values import PropertyMap, Secret, Value, unwrap

INIT_ERROR_KEY = "#initerror"


def apply_ignore_changes(inputs: PropertyMap, old_inputs: PropertyMap, ignore: Sequence[str]) -> PropertyMap:
    """Inputs in which every ignored path has its old value again. Raises ValueError naming the paths that cannot be reached."""
    unreachable = []
    for text in ignore:
        try:
            pattern = paths.parse(text)
        except ValueError:
            continue  # Pulumi ignores what it cannot parse here
        for path in paths.expand(pattern, inputs, old_inputs):
            try:
                inputs = paths.reset(inputs, old_inputs, path)
            except ValueError:
                unreachable.append(text)
    if unreachable:
        named = ", ".join(f'"{p}"' for p in dict.fromkeys(unreachable))
        raise ValueError(f"cannot ignore changes to the following properties because one or more elements of the path are missing: {named}")
    return inputs


def compare_inputs(old: PropertyMap, new: PropertyMap) -> Diff:
    """The engine's own verdict where a provider has none."""
    detailed = {paths.render(path): PropertyDiff(kind, input_diff=True) for path, kind in paths.changed(old, new)}
    keys = sorted({str(paths.parse(path)[0]) for path in detailed})
    return Diff(Changes.SOME, diffs=keys, detailed=detailed) if detailed else Diff(Changes.NONE)


def apply_replace_on_changes(diff: Diff, replace_on: Sequence[str], has_init_errors: bool) -> Diff:
    """Turns changes at the named paths (or any, with `*`) into replacements; `#initerror` stands for a failed start."""
    if diff.changes is not Changes.SOME and not has_init_errors:
        return diff
    patterns = [paths.parse(p) for p in replace_on]

    def forced(path: str) -> bool:
        return any(paths.contains(pattern, paths.parse(path)) for pattern in patterns)

    detailed = None
    if diff.detailed is not None:
        detailed = {path: _to_replace(d) if forced(path) else d for path, d in diff.detailed.items()}
    keys = list(dict.fromkeys([*diff.replaces, *(k for k in diff.diffs if forced(k))]))
    if detailed is not None and not keys:
        keys = [path for path, d in detailed.items() if d.kind.endswith("-replace")]
    elif detailed is not None:
        keys = list(dict.fromkeys([*keys, *(p for p, d in detailed.items() if d.kind.endswith("-replace") and forced(p))]))
    changes = diff.changes
    if has_init_errors and any(pattern in ((paths.WILDCARD,), (INIT_ERROR_KEY,)) for pattern in patterns):
        keys.append(INIT_ERROR_KEY)
        changes = Changes.SOME
        if detailed is not None:
            detailed[INIT_ERROR_KEY] = PropertyDiff("update-replace")
    return dataclasses.replace(diff, replaces=keys, detailed=detailed, changes=changes)


def _to_replace(diff: PropertyDiff) -> PropertyDiff:
    return diff if diff.kind.endswith("-replace") else PropertyDiff(f"{diff.kind}-replace", diff.input_diff)


def must_replace(diff: Diff) -> bool:
    """A provider may say so by keys or by the kind of a detailed difference."""
    return bool(diff.replaces) or any(d.kind.endswith("-replace") for d in (diff.detailed or {}).values())


def annotate_secrets(outputs: Value, inputs: Value) -> Value:
    """Outputs of a provider that does not know secrets, with the marks of the inputs put back path by path."""
    if isinstance(inputs, Secret):
        return outputs if isinstance(outputs, Secret) else Secret(outputs)
    plain = unwrap(outputs)
    if isinstance(plain, dict) and isinstance(inputs, dict):
        marked: Value = {k: annotate_secrets(v, inputs[k]) if k in inputs else v for k, v in plain.items()}
    elif isinstance(plain, list) and isinstance(inputs, list):
        marked = [annotate_secrets(v, inputs[i]) if i < len(inputs) else v for i, v in enumerate(plain)]
    else:
        return outputs
    return Secret(marked) if isinstance(outputs, Secret) else marked


def mark_secret_outputs(outputs: PropertyMap, keys: Sequence[str]) -> PropertyMap:
    return {k: v if isinstance(v, Secret) or k not in keys else Secret(v) for k, v in outputs.items()}
