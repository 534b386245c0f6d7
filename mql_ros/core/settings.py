"""Settings: typed YAML into frozen dataclasses, whose fields define what is allowed (`setting`).

Every error names the key, its value and what was expected.
"""

from __future__ import annotations

import ast
import difflib
import inspect
import math
import textwrap
import types
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import MISSING, dataclass, field, fields, is_dataclass
from pathlib import Path
from typing import Any, TypeVar, Union, get_args, get_origin, get_type_hints

import yaml

from mql_ros.core.errors import UserError

_Settings = TypeVar("_Settings")
TYPE_WORDS = {bool: "true or false", int: "an integer", float: "a finite number", str: "a name"}
_PLURALS = {int: "integers", float: "finite numbers", str: "names"}
_NONE = type(None)


@dataclass(frozen=True)
class Allowed:
    """Allowed values of a setting, within its type."""

    low: float | None = None
    """Smallest value of a number, None for any."""
    high: float | None = None
    """Largest value of a number, None for any."""
    above: float | None = None
    """Exclusive lower bound of a number, None for any."""
    choices: tuple[str, ...] = ()
    """Allowed words; empty for any."""

    def expected(self, value: Any) -> str | None:
        """Return what was expected instead of a value of the right type; None if it is allowed."""
        if isinstance(value, str):
            fits = not self.choices or value in self.choices
        elif isinstance(value, bool) or not isinstance(value, int | float):
            fits = True
        else:
            low = -math.inf if self.low is None else self.low
            high = math.inf if self.high is None else self.high
            fits = low <= value <= high and (self.above is None or value > self.above)
        return None if fits else " or ".join([*self.choices, *self._range()])

    def _range(self) -> list[str]:
        if self.above is not None:
            return [f"more than {self.above:g}"]
        if self.high is not None:
            return [f"{self.low} to {self.high}"]
        if self.low is not None:
            return ["0 or more" if self.low == 0 else f"at least {self.low}"]
        return []


def setting(
    default: Any = MISSING,
    *,
    low: float | None = None,
    high: float | None = None,
    above: float | None = None,
    choices: Sequence[str] = (),
) -> Any:
    """Return a dataclass field with its allowed values, see `Allowed`."""
    return field(default=default, metadata={"allowed": Allowed(low, high, above, tuple(choices))})


def allowed(one: Any) -> Allowed:
    """Return the allowed values of a dataclass field."""
    return one.metadata.get("allowed", Allowed())


def check_values(settings: Any) -> None:
    """Raise ValueError for the first field of a dataclass instance with a value that is not allowed."""
    for one in fields(settings):
        value = getattr(settings, one.name)
        if (expected := allowed(one).expected(value)) is not None:
            raise ValueError(f"{one.name} is {value!r}; expected {expected}")


def descriptions(kind: type) -> dict[str, str]:
    """Return the docstring of each attribute of a class, in one line, by name."""
    body = ast.parse(textwrap.dedent(inspect.getsource(kind))).body[0]
    assert isinstance(body, ast.ClassDef)
    found = {}
    for one, after in zip(body.body, body.body[1:], strict=False):
        if isinstance(one, ast.AnnAssign) and isinstance(after, ast.Expr) and isinstance(after.value, ast.Constant):
            assert isinstance(one.target, ast.Name)
            found[one.target.id] = " ".join(str(after.value.value).split())
    return found


def read_yaml(path: Path, what: str, example: str) -> dict[str, Any]:
    """Read the mapping of a YAML file; raise UserError that names `what` and an `example` file."""
    try:
        return parse_yaml(path.read_bytes(), what)
    except OSError as error:
        raise UserError(f"{what} cannot be read ({error.strerror}); give a file such as {example}") from error


def parse_yaml(content: bytes, what: str) -> dict[str, Any]:
    """Return the mapping of YAML text; raise UserError that names `what`."""
    try:
        data = yaml.safe_load(content)
        data = {} if data is None else data
    except yaml.YAMLError as error:
        raise UserError(f"{what} is not YAML: {' '.join(str(error).split())}") from error
    if not isinstance(data, dict):
        raise UserError(f"{what}: expected `key: value` lines")
    return data


def with_overrides(data: Mapping[str, Any], overrides: Iterable[str], what: str) -> dict[str, Any]:
    """Return the mapping with the values of `KEY=VALUE` words, read as YAML."""
    changed = dict(data)
    for override in overrides:
        key, given, value = override.partition("=")
        if not given:
            raise UserError(f"{what}: '{override}' sets nothing; expected KEY=VALUE")
        changed[key] = yaml.safe_load(value)
    return changed


def nearest(name: str, known: Collection[str]) -> str:
    """Return the hint for an unknown name: the nearest known one, else all of them."""
    near = difflib.get_close_matches(str(name), sorted(known), n=1)
    return f"did you mean '{near[0]}'?" if near else f"known are {', '.join(sorted(known))}"


def check_keys(what: str, data: Mapping[str, Any], known: Collection[str]) -> None:
    """Raise UserError for an unknown key, with the nearest known one."""
    for key in data:
        if key not in known:
            raise UserError(f"{what}: unknown key '{key}'; {nearest(key, known)}")


def build(kind: type[_Settings], data: Mapping[str, Any], what: str, path: str = "") -> _Settings:
    """Return the dataclass that a mapping describes, with nested ones and lists of them.

    A field with the metadata `overrides`, a dataclass, is a mapping with some settings of that dataclass. `what` names
    the mapping in messages; `path` is the place of `data` within it. Raises UserError for unknown or missing keys, for
    values of another type or not allowed, and for what the dataclass refuses.
    """
    hints = get_type_hints(kind)
    names = {one.name: one for one in fields(kind) if one.init}  # type: ignore[arg-type]
    check_keys(f"{what}: '{path}'" if path else what, data, names)
    values = {}
    for name, one in names.items():
        label = f"{path}.{name}" if path else name
        if name not in data:
            if one.default is MISSING and one.default_factory is MISSING:
                raise UserError(f"{what}: the key '{label}' is missing")
            continue
        if (other := one.metadata.get("overrides")) is not None:
            values[name] = _overrides(other, data[name], what, label)
        else:
            values[name] = _converted(hints[name], data[name], allowed(one), what, label)
    try:
        return kind(**values)
    except ValueError as error:
        raise UserError(f"{what}: {error}") from error


def _overrides(kind: type, data: Any, what: str, label: str) -> dict[str, Any]:
    known, hints = {one.name: one for one in fields(kind)}, get_type_hints(kind)
    _check_mapping(data, known, what, label)
    check_keys(f"{what}: {label}", data, known)
    return {
        name: _converted(hints[name], value, allowed(known[name]), what, f"{label}.{name}")
        for name, value in data.items()
    }


def _check_mapping(data: Any, known: Collection[str], what: str, label: str) -> None:
    if not isinstance(data, dict):
        raise UserError(f"{what}: '{label}' is {data!r}; expected keys {', '.join(sorted(known))} below it")


def _refusal(what: str, label: str, value: Any, expected: str) -> UserError:
    return UserError(f"{what}: '{label}' is {value!r}; expected {expected}")


def _converted(kind: Any, value: Any, allows: Allowed, what: str, label: str) -> Any:
    """Return a value in the type of its field."""
    kinds = get_args(kind) if get_origin(kind) in (Union, types.UnionType) else (kind,)
    if value is None and _NONE in kinds:
        return None
    kinds = tuple(one for one in kinds if one is not _NONE)
    if is_dataclass(kinds[0]):
        _check_mapping(value, [one.name for one in fields(kinds[0])], what, label)
        return build(kinds[0], value, what, label)  # type: ignore[arg-type]
    if get_origin(kinds[0]) is tuple:
        return _converted_list(get_args(kinds[0]), value, allows, what, label)
    for one in kinds:
        if _fits(one, value):
            if (expected := allows.expected(one(value))) is not None:
                raise _refusal(what, label, one(value), expected)
            return one(value)
    raise _refusal(what, label, value, " or ".join(TYPE_WORDS[one] for one in kinds))


def _converted_list(kinds: tuple[Any, ...], value: Any, allows: Allowed, what: str, label: str) -> tuple[Any, ...]:
    """Return a list as a tuple: of any length if the last of its kinds is `...`, else one value a kind."""
    inner, count = kinds[0], None if kinds[-1] is ... else len(kinds)
    if is_dataclass(inner):
        if not isinstance(value, list) or not value:
            raise _refusal(what, label, value, f"a list of keys {', '.join(one.name for one in fields(inner))}")
        return tuple(_converted(inner, one, allows, what, f"{label}[{n}]") for n, one in enumerate(value))
    wanted = f"a list of {'' if count is None else f'{count} '}{_PLURALS[inner]}"
    is_list = isinstance(value, list | tuple) and count in (None, len(value))
    if not is_list or not all(_fits(inner, one) for one in value):
        raise _refusal(what, label, value, wanted)
    return tuple(map(inner, value))


def _fits(kind: type, value: Any) -> bool:
    """Return whether a value converts to the type without loss: an int is a float too, a bool neither."""
    if kind is float:
        return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    return type(value) is kind
