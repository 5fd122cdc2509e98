"""How a component checks its arguments: one frozen pydantic model, every problem at once, one line each.

A component takes a `TypedDict` (that is what other Pulumi languages see) and turns it into a `Spec`. The component
host hands over a plain dict and sends every number as a float, so the same model also puts types right.
"""

import difflib
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple, Self, get_args

from pydantic import BaseModel, ConfigDict, ValidationError
from pydantic_core import ErrorDetails


class Problem(NamedTuple):
    """One thing wrong with the arguments: where it is, and what is allowed instead."""

    path: tuple[str, ...]
    """Keys from the outermost object inwards, for example `("autoscaling", "min_replicas")`."""
    message: str
    """The value, why it is refused and what to do, in one line that follows "<path>: "."""

    def under(self, *prefix: str) -> "Problem":
        """The same problem seen from further out."""
        return Problem((*prefix, *self.path), self.message)

    def line(self) -> str:
        """`path: message`, or the message alone where the whole object is meant."""
        return f"{'.'.join(self.path)}: {self.message}" if self.path else self.message


class InvalidArgsError(ValueError):
    """Arguments that cannot work. Carries all problems, so that the user fixes them in one go."""

    def __init__(self, problems: Iterable[Problem], where: str = "") -> None:
        self.problems = tuple(problems)
        prefix = f"{where}: " if where else ""
        super().__init__("\n".join(prefix + problem.line() for problem in self.problems))


class Spec(BaseModel):
    """Base of the models behind component arguments: frozen, and an unknown key is an error, not a surprise."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    @classmethod
    def parse(cls, args: Mapping[str, Any]) -> Self:
        """The checked model of `args`. Raises `InvalidArgsError` with everything that is wrong."""
        try:
            spec = cls.model_validate(dict(args))
        except ValidationError as error:
            raise InvalidArgsError(explain(error, cls)) from None
        problems = list(_all_refusals(spec))
        if problems:
            raise InvalidArgsError(problems)
        return spec

    def refusals(self) -> Iterable[Problem]:
        """Combinations of well-formed values that are known not to work. Subclasses add theirs."""
        return ()


def _all_refusals(value: object) -> Iterator[Problem]:
    """The refusals of a model and of every model inside it, each with its full path."""
    children: Iterable[tuple[object, object]] = ()
    if isinstance(value, Spec):
        yield from value.refusals()
        children = value
    elif isinstance(value, Mapping):
        children = value.items()
    elif isinstance(value, (list, tuple)):
        children = enumerate(value)
    for key, child in children:
        yield from (problem.under(str(key)) for problem in _all_refusals(child))


def problems_of(model: type[Spec], args: Mapping[str, Any]) -> tuple[Problem, ...]:
    """Everything wrong with `args`, nothing raised: for callers that check several objects before they build one."""
    try:
        model.parse(args)
    except InvalidArgsError as error:
        return error.problems
    return ()


def explain(error: ValidationError, model: type[BaseModel]) -> list[Problem]:
    """Pydantic's findings as problems in our words, in the order of the file."""
    return [_explain_one(detail, model) for detail in error.errors(include_url=False)]


def _explain_one(detail: ErrorDetails, model: type[BaseModel]) -> Problem:
    path = tuple(str(part) for part in detail["loc"] if part != "[key]")
    kind = detail["type"]
    owner = _model_at(model, path[:-1])
    if kind == "extra_forbidden":
        return Problem(path, _unknown_key(path[-1], owner))
    if kind == "missing":
        return Problem(path, f"is missing. {_meaning(owner, path)}".rstrip())
    if kind == "value_error":
        return Problem(path, str(detail["ctx"]["error"]))
    context = detail.get("ctx", {})
    reason = _REASONS.get(kind, "is not valid: {msg}").format(msg=detail["msg"], **context)
    return Problem(path, f"{_shown(detail['input'])} {reason}. {_meaning(owner, path)}".rstrip())


_REASONS = {
    "greater_than_equal": "is below the minimum of {ge}",
    "greater_than": "is not greater than {gt}",
    "less_than_equal": "is above the maximum of {le}",
    "less_than": "is not less than {lt}",
    "int_type": "is not a whole number",
    "int_parsing": "is not a whole number",
    "int_from_float": "is not a whole number",
    "float_type": "is not a number",
    "float_parsing": "is not a number",
    "bool_type": "is neither true nor false",
    "bool_parsing": "is neither true nor false",
    "string_type": "is not a text",
    "string_too_short": "is shorter than {min_length} characters",
    "string_too_long": "is longer than {max_length} characters",
    "string_pattern_mismatch": "does not match {pattern}",
    "enum": "is none of {expected}",
    "dict_type": "is not an object with keys",
    "model_type": "is not an object with keys",
    "model_attributes_type": "is not an object with keys",
    "list_type": "is not a list",
}


def _shown(value: Any) -> str:
    text = repr(value) if isinstance(value, str) else str(value)
    return text if len(text) <= 80 else f"{text[:77]}..."


def _unknown_key(key: str, owner: type[BaseModel] | None) -> str:
    known = sorted(owner.model_fields) if owner else []
    close = difflib.get_close_matches(key, known, n=1)
    hint = f"Did you mean {close[0]}?" if close else f"Known keys: {', '.join(known)}."
    return f"is not a known key. {hint}"


def _meaning(owner: type[BaseModel] | None, path: tuple[str, ...]) -> str:
    """The field's own description, which says what is allowed. A list item or map value borrows its field's."""
    field = owner.model_fields.get(path[-1]) if owner and path else None
    return " ".join((field.description or "").split()) if field else ""


def _model_at(model: type[BaseModel], path: tuple[str, ...]) -> type[BaseModel] | None:
    """The model that owns the key after `path`; map keys and list indexes are stepped over."""
    current: Any = model
    for part in path:
        if isinstance(current, type) and issubclass(current, BaseModel):
            field = current.model_fields.get(part)
            current = field.annotation if field else None
        else:
            current = _values_of(current)
        current = _without_optional(current)
    return current if isinstance(current, type) and issubclass(current, BaseModel) else None


def _without_optional(annotation: Any) -> Any:
    options = [option for option in get_args(annotation) if option is not type(None)]
    return options[0] if type(None) in get_args(annotation) and options else annotation


def _values_of(annotation: Any) -> Any:
    """The type of the values of a mapping or of the items of a sequence."""
    parts = [part for part in get_args(annotation) if part is not Ellipsis]
    return parts[-1] if parts else None
