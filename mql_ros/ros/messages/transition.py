"""What the messages `transition` and `context` hold: labelled arrays of float64."""

from __future__ import annotations

import array
from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray
from std_msgs.msg import Float64MultiArray, MultiArrayDimension

from mql_ros.grasping.task.spaces import ACTION_SIZE, OBSERVATION_SIZE
from mql_ros.grasping.types import Array
from mql_ros.ros.messages.encoding import MessageError


@dataclass(frozen=True)
class Transition:
    """One decision of a trial (a step of an episode) and its outcome. Each field is one dimension of the message."""

    sequence: int
    """Number of the decision since policy_server started, over all sessions, from 0."""
    session: int
    """Number of the session, from 1; a session is a row of trials with one object."""
    trial: int
    """Number of the trial in the session, from 0."""
    step: int
    """Number of the decision in the trial, from 0."""
    policy_version: int
    """Version of the policy that decided."""
    stamp: float
    """Driver time at the end of the decision, s."""
    reward: float
    """Reward of the decision."""
    done: bool
    """Whether the trial ended here."""
    terminal: bool
    """Whether no value follows. Grasping has no time limit, at which it would be false, so it equals `done`."""
    observation: Array
    """[1046] what the policy saw before it (names in `grasping.task.spaces`)."""
    action: Array
    """[6] the executed action in [-1, 1]; differs from the policy's if a limit changed it."""
    next_observation: Array
    """[1046] what was seen after it."""


@dataclass(frozen=True)
class ContextAnswer:
    """The context for the decision after a transition."""

    sequence: int
    """Sequence number of that transition; -1 before the first."""
    policy_version: int
    """Version of the policy whose encoder computed it."""
    context: NDArray[np.float32]
    """[C] the context."""


_VECTORS = {"observation": OBSERVATION_SIZE, "action": ACTION_SIZE, "next_observation": OBSERVATION_SIZE}
_TRANSITION = [(field.name, _VECTORS.get(field.name, 1)) for field in fields(Transition)]


def transition_message(transition: Transition) -> Float64MultiArray:
    """Return a message with one dimension for each field: its name as label, its length as size, data in that order."""
    return _message([(name, np.atleast_1d(getattr(transition, name))) for name, _ in _TRANSITION])


def read_transition(message: Float64MultiArray) -> Transition:
    """Return the transition, its fields found by label; MessageError names what is missing or not finite."""
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
    """Return a message with the fields `sequence`, `policy_version` and `context`, laid out as in `transition`."""
    return _message(
        [
            ("sequence", np.atleast_1d(answer.sequence)),
            ("policy_version", np.atleast_1d(answer.policy_version)),
            ("context", answer.context),
        ]
    )


def read_context(message: Float64MultiArray) -> ContextAnswer:
    """Return the context; MessageError names what is missing or not finite."""
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
