"""Typed settings: what fits is read, and what does not is one sentence that names it."""

from dataclasses import dataclass, field
from pathlib import Path

import pytest

from mql_ros.core.errors import UserError
from mql_ros.core.settings import build, check_values, descriptions, read_yaml, setting, with_overrides


@dataclass(frozen=True)
class Inner:
    size: float = setting(above=0)
    """Edge length,
    m."""


@dataclass(frozen=True)
class Outer:
    count: int = setting(1, low=0, high=5)
    share: float = setting(0.5, low=0)
    kind: str = setting("a", choices=("a", "b"))
    weight: float | str = setting("auto", low=0, choices=("auto",))
    rate: float | None = None
    corner: tuple[float, float] = (0.0, 0.0)
    inner: Inner | None = None
    parts: tuple[Inner, ...] = ()
    some: dict = field(default_factory=dict, metadata={"overrides": Inner})

    def __post_init__(self) -> None:
        check_values(self)


def test_what_fits_becomes_typed_values() -> None:
    data = {"share": 1, "weight": 2, "rate": None, "corner": [1, 2], "inner": {"size": 3}, "parts": [{"size": 4}]}
    outer = build(Outer, data | {"some": {"size": 5}}, "file")
    assert (outer.share, outer.weight, outer.rate, outer.corner) == (1.0, 2.0, None, (1.0, 2.0))
    assert all(type(value) is float for value in (outer.share, outer.weight, *outer.corner))
    assert (outer.inner, outer.parts, outer.some) == (Inner(3.0), (Inner(4.0),), {"size": 5.0})
    assert build(Outer, {}, "file") == Outer()


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({"cuont": 1}, "file: unknown key 'cuont'; did you mean 'count'?"),
        ({"zzz": 1}, "file: unknown key 'zzz'; known are corner, count, .*"),
        ({"count": 1.0}, "file: 'count' is 1.0; expected an integer"),
        ({"count": True}, "file: 'count' is True; expected an integer"),
        ({"count": 6}, "file: 'count' is 6; expected 0 to 5"),
        ({"share": -1}, "file: 'share' is -1.0; expected 0 or more"),
        ({"share": float("inf")}, "file: 'share' is inf; expected a finite number"),
        ({"kind": "c"}, "file: 'kind' is 'c'; expected a or b"),
        ({"weight": "much"}, "file: 'weight' is 'much'; expected auto or 0 or more"),
        ({"weight": -1}, "file: 'weight' is -1.0; expected auto or 0 or more"),
        ({"corner": [1]}, r"file: 'corner' is \[1\]; expected a list of 2 finite numbers"),
        ({"inner": 3}, "file: 'inner' is 3; expected keys size below it"),
        ({"inner": {}}, "file: the key 'inner.size' is missing"),
        ({"parts": [{"size": 1}, {"size": 0}]}, r"file: 'parts\[1\].size' is 0.0; expected more than 0"),
        ({"some": {"sise": 1}}, "file: some: unknown key 'sise'; did you mean 'size'?"),
        ({"some": {"size": "x"}}, "file: 'some.size' is 'x'; expected a finite number"),
    ],
)
def test_what_does_not_fit_is_named(data: dict, message: str) -> None:
    with pytest.raises(UserError, match=message):
        build(Outer, data, "file")


def test_values_out_of_range_are_refused_in_code_too() -> None:
    with pytest.raises(ValueError, match="count is 6; expected 0 to 5"):
        Outer(count=6)


def test_words_override_the_file_as_yaml_values() -> None:
    assert with_overrides({"a": 1, "b": 2}, ["a=0.5", "c=[1, x]"], "file") == {"a": 0.5, "b": 2, "c": [1, "x"]}
    with pytest.raises(UserError, match="file: 'a' sets nothing; expected KEY=VALUE"):
        with_overrides({}, ["a"], "file")


def test_attribute_docstrings_are_one_line_descriptions() -> None:
    assert descriptions(Inner) == {"size": "Edge length, m."}


@pytest.mark.parametrize(("text", "message"), [("a: [", "file is not YAML"), ("- a", "expected `key: value` lines")])
def test_a_file_that_is_no_mapping_is_one_sentence(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "a.yaml"
    path.write_text(text)
    with pytest.raises(UserError, match=message) as error:
        read_yaml(path, "file", "b.yaml")
    assert "\n" not in str(error.value)
    with pytest.raises(UserError, match=r"file cannot be read .*; give a file such as b.yaml"):
        read_yaml(tmp_path / "missing.yaml", "file", "b.yaml")
