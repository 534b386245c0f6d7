"""Labels from a session's own successes, in place of a teacher's: what worked once would have worked in every trial.

All trials of a session are with one object, so a grasp that lifted it tells what the trials before and after it should
have done. Nothing but actions, observations and rewards is used.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from mql_ros.algorithm.experience.session import Session
from mql_ros.grasping.task import spaces
from mql_ros.grasping.task.reward import SUCCESS_RETURN
from mql_ros.grasping.task.spaces import Phase, Place


@dataclass(frozen=True)
class SuccessfulGrasp:
    """The mean of a session's successes. Forces are in units of actions: logarithmic, so that is a geometric mean."""

    tool: NDArray[np.float32]
    """Where the tool was when it lifted [2], in units of observations."""
    closing: NDArray[np.float32]
    """Its CLOSE action [4]."""
    lifting: NDArray[np.float32]
    """Its LIFT action [4]."""

    def action(self, observation: NDArray[np.floating]) -> NDArray[np.float32]:
        """The action [4] that leads from an observation [15] to this grasp."""
        phase, place = Phase(int(np.argmax(observation[:3]))), _place(self.tool)
        if phase is Phase.PLACE:
            return spaces.action_for(place=place).astype(np.float32)
        if phase is Phase.LIFT:
            return np.array([0.0, 0.0, *self.lifting[2:]], dtype=np.float32)
        now = _place(observation[spaces.TOOL])
        action = spaces.action_for(correction=Place(place.x - now.x, place.z - now.z)).astype(np.float32)
        action[2] = self.closing[2]
        return action


def successful_trials(session: Session) -> NDArray[np.int64]:
    """[n, 3] rows of the decisions of each trial that lifted the object."""
    steps = np.arange(len(session.block)).reshape(-1, spaces.DECISIONS_PER_TRIAL)
    return steps[session.reward[steps].sum(axis=1) >= SUCCESS_RETURN]


def successful_grasp(session: Session) -> SuccessfulGrasp | None:
    """The mean of a session's successes; None where it has none."""
    steps = successful_trials(session)
    if len(steps) == 0:
        return None
    lifts, closes = steps[:, Phase.LIFT], steps[:, Phase.CLOSE]
    tool = session.observation[lifts, spaces.TOOL].mean(axis=0)
    return SuccessfulGrasp(tool, session.action[closes].mean(axis=0), session.action[lifts].mean(axis=0))


def mean_grasp(sessions: Iterable[Session]) -> SuccessfulGrasp | None:
    """The mean of the sessions' successful grasps, each session counting once; None where none has any."""
    grasps = [grasp for session in sessions if (grasp := successful_grasp(session)) is not None]
    if not grasps:
        return None
    columns = ([grasp.tool for grasp in grasps], [g.closing for g in grasps], [g.lifting for g in grasps])
    return SuccessfulGrasp(*(np.mean(column, axis=0) for column in columns))


def hindsight_labels(session: Session) -> NDArray[np.float32]:
    """The action [n, 4] of each decision that the mean of the session's successes asks for; NaN where there is none."""
    grasp = successful_grasp(session)
    if grasp is None:
        return np.full_like(session.action, np.nan)
    return np.stack([grasp.action(observation) for observation in session.observation])


def labelled(session: Session) -> Session:
    """The session with these labels in the teacher's place."""
    return replace(session, teacher_action=hindsight_labels(session))


def _place(tool: NDArray[np.floating]) -> Place:
    """A place of the tool, in units of observations [2], in the object's frame."""
    return Place(spaces.X_MIDDLE + spaces.X_RANGE * float(tool[0]), spaces.Z_MIDDLE + spaces.Z_RANGE * float(tool[1]))
