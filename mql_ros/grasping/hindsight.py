"""Labels from a session's own successes, in place of a teacher's: what worked once would have worked in every trial.

All trials of a session are with one object, so a grasp that lifted it tells what the trials before and after it should
have done. Nothing but actions, observations and rewards is used.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from mql_ros.algorithm.replay import Replay
from mql_ros.algorithm.session import Session
from mql_ros.grasping import spaces
from mql_ros.grasping.reward import SUCCESS_RETURN
from mql_ros.grasping.spaces import Phase, Place


def hindsight_labels(session: Session) -> NDArray[np.float32]:
    """The action [n, 4] of each decision that the mean of the session's successes asks for; NaN where there is none."""
    labels = np.full_like(session.action, np.nan)
    steps = np.arange(len(session.block)).reshape(-1, spaces.DECISIONS_PER_TRIAL)
    won = session.reward[steps].sum(axis=1) >= SUCCESS_RETURN
    if not won.any():
        return labels
    lifts, closes = steps[won, Phase.LIFT], steps[won, Phase.CLOSE]
    # Where the tool was when it lifted, and forces in units of actions: logarithmic, so that is a geometric mean.
    held_at = _place(session.observation[lifts].mean(axis=0))
    closing = session.action[closes].mean(axis=0)
    lifting = session.action[lifts].mean(axis=0)
    labels[steps[:, Phase.PLACE]] = spaces.action_for(place=held_at)
    for close in steps[:, Phase.CLOSE]:
        now = _place(session.observation[close])
        labels[close] = spaces.action_for(correction=Place(held_at.x - now.x, held_at.z - now.z))
        labels[close, 2] = closing[2]
    labels[steps[:, Phase.LIFT]] = 0.0
    labels[steps[:, Phase.LIFT], 2:] = lifting[2:]
    return labels


def labelled(session: Session) -> Session:
    """The session with these labels in the teacher's place."""
    return replace(session, teacher_action=hindsight_labels(session))


def with_hindsight_labels(replay: Replay) -> Replay:
    """The same sessions, each with the labels of its own successes, for an adaptation that clones them."""
    copy = Replay(replay.observation_size, replay.action_size, replay.history_blocks, capacity=max(1, len(replay)))
    for session in replay.sessions():
        copy.add(labelled(session))
    return copy


def _place(observation: NDArray[np.float32]) -> Place:
    """Where the tool is in the object's frame, by an observation [15]."""
    tool_x, tool_z = (float(observation[spaces.OBSERVATION_NAMES.index(name)]) for name in ("tool_x", "tool_z"))
    return Place(spaces.X_MIDDLE + spaces.X_RANGE * tool_x, spaces.Z_MIDDLE + spaces.Z_RANGE * tool_z)
