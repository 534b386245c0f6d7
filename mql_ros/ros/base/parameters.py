"""The parameters of the nodes, as config/nodes.yaml describes them: defaults, descriptions, ranges (knows no rclpy)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from mql_ros.algorithm.adaptation.config import AdaptationConfig, load_adaptation
from mql_ros.core.errors import UserError
from mql_ros.core.resources import share_path
from mql_ros.core.settings import TYPE_WORDS, Allowed, allowed, check_keys, descriptions, nearest

Value = bool | int | float | str

_SECTION_KEYS = {"uses", "parameters"}
_PARAMETER_KEYS = {"default", "description", "range", "choices", "fixed"}
ADAPTATION = "adaptation."
"""Prefix of the parameters that mirror AdaptationConfig."""
LONGEST_DEADLINE = 1.0
"""Largest `context_deadline` on a real arm, s; it bounds the wait for rewards and the one for the context."""
_EVERY_NODE = ("use_sim_time", "start_type_description_service")
"""Parameters that rclpy declares itself."""


@dataclass(frozen=True)
class ParameterSpec:
    """One parameter of a node."""

    name: str
    default: Value
    description: str
    range: tuple[float, float] | None = None
    """Smallest and largest value of a number."""
    choices: tuple[str, ...] = ()
    """The values that a word may have; empty for any."""
    fixed: bool = False
    """Whether it can be chosen at start only."""

    def coerced(self, value: Any) -> Any:
        """The value in the parameter's type where nothing is lost: an int for a float, a number for a word."""
        if isinstance(self.default, float) and isinstance(value, int) and not isinstance(value, bool):
            return float(value)
        if isinstance(self.default, str) and isinstance(value, int | float) and not isinstance(value, bool):
            return str(value)
        return value

    def complaint(self, value: Any) -> str | None:
        """What is wrong with a value, in one sentence; None when nothing is."""
        if type(value) is not type(self.default):
            return f"parameter '{self.name}' is {value!r}; expected {TYPE_WORDS[type(self.default)]}"
        low, high = self.range or (None, None)
        expected = Allowed(low, high, choices=self.choices).expected(value)
        shown = repr(value) if isinstance(value, str) else value
        return None if expected is None else f"parameter '{self.name}' is {shown}; expected {expected}"


@cache
def parameter_table() -> dict[str, dict[str, ParameterSpec]]:
    """Return the parameters by node and name: those of config/nodes.yaml, and of AdaptationConfig for its node."""
    table = read_table(share_path("config", "nodes.yaml"))
    table["adaptation_manager"] |= _adaptation_specs(load_adaptation())
    return table


def _adaptation_specs(config: AdaptationConfig) -> dict[str, ParameterSpec]:
    """Return a parameter for each setting: a number that may be a word as a word, and 0 for None."""
    specs, described = {}, descriptions(AdaptationConfig)
    for one in fields(config):
        value, allows = getattr(config, one.name), allowed(one)
        is_word = isinstance(one.default, str)
        limits = None if is_word or allows.low is None or allows.high is None else (allows.low, allows.high)
        choices = allows.choices if is_word and limits is None and allows.low is None else ()
        default = str(value) if is_word else 0.0 if value is None else value
        name = ADAPTATION + one.name
        specs[name] = ParameterSpec(name, default, described[one.name], limits, choices)
    return specs


def read_table(path: Path) -> dict[str, dict[str, ParameterSpec]]:
    """Parameters by node and name, as a file in the form of config/nodes.yaml gives them."""
    try:
        data = yaml.safe_load(path.read_text())
        common = {name: _spec(name, entry) for name, entry in data.pop("common", {}).items()}
        table: dict[str, dict[str, ParameterSpec]] = {}
        for node, section in data.items():
            check_keys(f"{path.name}, node {node}", section, _SECTION_KEYS)
            table[node] = {name: common[name] for name in section.get("uses", [])}
            table[node] |= {name: _spec(name, entry) for name, entry in section["parameters"].items()}
        return table
    except (OSError, KeyError, TypeError, ValueError, AttributeError, yaml.YAMLError) as error:
        raise UserError(
            f"{path} cannot be used ({type(error).__name__}: {error}); compare the one that comes with the package"
        ) from error


def _spec(name: str, entry: dict[str, Any]) -> ParameterSpec:
    check_keys(f"parameter '{name}'", entry, _PARAMETER_KEYS)
    limits = entry.get("range")
    spec = ParameterSpec(
        name,
        entry["default"],
        str(entry["description"]),
        None if limits is None else (limits[0], limits[1]),
        tuple(entry.get("choices", ())),
        bool(entry.get("fixed", False)),
    )
    if (complaint := spec.complaint(spec.default)) is not None:
        raise ValueError(f"the default does not fit: {complaint}")
    return spec


def parameters_of(name: str, given: Mapping[str, Value]) -> dict[str, Value]:
    """Return those of the given parameters that a node has; raise UserError for a value that is not allowed."""
    chosen = {}
    for spec in parameter_table()[name].values():
        if spec.name in given:
            chosen[spec.name] = spec.coerced(given[spec.name])
            if (complaint := spec.complaint(chosen[spec.name])) is not None:
                raise UserError(complaint)
    return chosen


def parameters_from_words(name: str, words: Mapping[str, str]) -> dict[str, Value]:
    """Those of the given parameters that a node has, from words as launch arguments are; UserError for a wrong one."""
    values: dict[str, Value] = {}
    for spec in parameter_table()[name].values():
        if spec.name in words:
            value = words[spec.name] if isinstance(spec.default, str) else yaml.safe_load(words[spec.name])
            values[spec.name] = value
    return parameters_of(name, values)


def unknown_parameter(given: Iterable[str]) -> str | None:
    """A sentence about the first name that no node of the table knows; None when all are known.

    A file for `/**` reaches every node, so a name that another node knows is no mistake.
    """
    known = {name for node in parameter_table().values() for name in node}
    for name in given:
        if name in known or name in _EVERY_NODE or name.startswith("qos_overrides."):
            continue
        return f"unknown parameter '{name}'; {nearest(name, known)}"
    return None


def parameters_of_file(file: str) -> set[str]:
    """Names of the parameters that a file for a launch file sets for all nodes; UserError where it must not be used."""
    try:
        data = yaml.safe_load(Path(file).read_text())
        for_all = set(data["/**"]["ros__parameters"])
    except (OSError, yaml.YAMLError, KeyError, TypeError) as error:
        raise UserError(f"params_file {file} holds no section `/**: {{ros__parameters: {{...}}}}`") from error
    if "sim" in _names_in(data):
        raise UserError(f"params_file {file} sets 'sim'; leave it out: the launch argument sim:= alone sets it")
    return for_all


def _names_in(data: Any) -> set[str]:
    """Of all sections, however deep."""
    if not isinstance(data, dict):
        return set()
    inner = (_names_in(part) for key, part in data.items() if key != "ros__parameters")
    return set(data.get("ros__parameters") or ()).union(*inner)


def contradiction(sim: bool, given: Mapping[str, Any]) -> str | None:
    """A sentence about parameters of the graph that cannot go together; None when they can."""
    if not sim and given.get("lockstep"):
        return "lockstep:=true needs the simulator, for a real arm does not wait; leave it out, or set sim:=true"
    if not sim and given.get("context_deadline", 0.0) > LONGEST_DEADLINE:
        return f"context_deadline can be at most {LONGEST_DEADLINE:g} s on a real arm, which may be moved meanwhile"
    return None
