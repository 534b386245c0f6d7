"""Steps and contexts as labelled arrays: what `transition` and `context` carry."""

from __future__ import annotations

import array
from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray
from std_msgs.msg import Float64MultiArray, MultiArrayDimension

from mql_ros.grasping.task.spaces import ACTION_SIZE, OBSERVATION_SIZE
from mql_ros.grasping.types import Array
from mql_ros.ros.messages.conversions import MessageError


@dataclass(frozen=True)
class Transition:
    """One decision and what came of it. Numbers without a unit in the name are plain counts."""

    sequence: int
    """Rises by one with each decision of a policy_server, over all sessions."""
    session: int
    trial: int
    """In the session, from 0."""
    step: int
    """Decision in the trial, from 0."""
    policy_version: int
    stamp: float
    """Driver time at the decision's end, s."""
    reward: float
    done: bool
    """The trial ended here."""
    terminal: bool
    """and no value follows."""
    observation: Array
    """[15] what the policy saw."""
    action: Array
    """[4] what was executed."""
    next_observation: Array
    """[15] what followed."""


@dataclass(frozen=True)
class ContextAnswer:
    """The context of the step after a transition."""

    sequence: int
    """That of the transition that it answers; -1 before the first."""
    policy_version: int
    """Version of the policy whose encoder made it."""
    context: NDArray[np.float32]


_VECTORS = {"observation": OBSERVATION_SIZE, "action": ACTION_SIZE, "next_observation": OBSERVATION_SIZE}
_TRANSITION = [(field.name, _VECTORS.get(field.name, 1)) for field in fields(Transition)]


def transition_message(transition: Transition) -> Float64MultiArray:
    """One dimension for each field, labelled with its name, with the field's length as size; data in that order."""
    return _message([(name, np.atleast_1d(getattr(transition, name))) for name, _ in _TRANSITION])


def read_transition(message: Float64MultiArray) -> Transition:
    """The transition of a message, its fields found by label; MessageError says what is missing or not finite."""
    values = _read(message)
    for name, size in _TRANSITION:
        if name not in values or len(values[name]) != size:
            raise MessageError(f"transition needs a field '{name}' of length {size}; it has {sorted(values)}")
        if not np.isfinite(values[name]).all():
            raise MessageError(f"transition's field '{name}' holds a number that is not finite")
    whole = {n: int(values[n][0]) for n in ("sequence", "session", "trial", "step", "policy_version")}
    return Transition(
        **whole,
        stamp=float(values["stamp"][0]),
        reward=float(values["reward"][0]),
        done=bool(values["done"][0]),
        terminal=bool(values["terminal"][0]),
        observation=values["observation"],
        action=values["action"],
        next_observation=values["next_observation"],
    )


def context_message(answer: ContextAnswer) -> Float64MultiArray:
    """Fields `sequence`, `policy_version` and `context`, laid out as in `transition`."""
    return _message(
        [
            ("sequence", np.atleast_1d(answer.sequence)),
            ("policy_version", np.atleast_1d(answer.policy_version)),
            ("context", answer.context),
        ]
    )


def read_context(message: Float64MultiArray) -> ContextAnswer:
    """The context of a message; MessageError says what is missing or not finite."""
    values = _read(message)
    missing = [name for name in ("sequence", "policy_version", "context") if name not in values]
    if missing:
        raise MessageError(f"context lacks {', '.join(missing)}; it has {', '.join(sorted(values)) or 'no fields'}")
    if not all(np.isfinite(v).all() for v in values.values()):
        raise MessageError("context holds a number that is not finite")
    sequence, version = int(values["sequence"][0]), int(values["policy_version"][0])
    return ContextAnswer(sequence, version, values["context"].astype(np.float32))


def _message(parts: list[tuple[str, NDArray]]) -> Float64MultiArray:
    message = Float64MultiArray()
    message.layout.dim = [MultiArrayDimension(label=name, size=len(v), stride=len(v)) for name, v in parts]
    data = np.concatenate([np.asarray(v, dtype=np.float64) for _, v in parts])
    message.data = array.array("d", data.tobytes())
    return message


def _read(message: Float64MultiArray) -> dict[str, Array]:
    data = np.array(message.data, dtype=np.float64)
    values, begin = {}, int(message.layout.data_offset)
    for dimension in message.layout.dim:
        values[dimension.label] = data[begin : begin + dimension.size]
        begin += int(dimension.size)
    if begin != len(data) or any(len(v) == 0 for v in values.values()):
        raise MessageError(f"the layout describes {begin} numbers, the message has {len(data)}")
    return values
