"""Labels from a session's own successes."""

import numpy as np
import pytest

from mql_ros.algorithm.experience.session import Session
from mql_ros.grasping.learning.hindsight import hindsight_labels
from mql_ros.grasping.robot.profile import RobotProfile
from mql_ros.grasping.task import spaces
from mql_ros.grasping.task.spaces import Phase
from mql_ros.rollouts.rollout import Demonstrator, run_session, successes
from mql_sim.environment import GraspTask
from mql_sim.objects.catalogue import find_object, training_names

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def session(panda: RobotProfile) -> Session:
    task, spec = GraspTask(panda), find_object("procedural-0007")
    other = find_object(training_names()[3])
    found = run_session(task, spec, 5, 8, Demonstrator(spec, lambda rng: other, 5), with_teacher=True)
    task.world.close()
    assert 1 < successes(found).sum() < 8
    return found


def test_they_are_nearly_what_a_teacher_who_knows_the_object_says(session: Session) -> None:
    labels, teacher = hindsight_labels(session), session.teacher_action
    assert teacher is not None
    place, close = slice(Phase.PLACE, None, 3), slice(Phase.CLOSE, None, 3)
    span = np.array([spaces.X_RANGE, spaces.Z_RANGE])
    assert (np.abs(labels[place, :2] - teacher[place, :2]) * span < 0.015).all()
    inside = np.abs(teacher[close, :2]) < 0.9
    assert (np.abs(labels[close, :2] - teacher[close, :2])[inside] * spaces.CORRECTION < 0.015).all()
    assert (np.abs(labels[:, 2:]) <= 1.0).all()


def test_without_a_success_there_are_none_and_nothing_else_is_looked_at(session: Session) -> None:
    blind = Session(**{**vars(session), "teacher_action": None, "task": "unknown"})
    assert np.array_equal(hindsight_labels(blind), hindsight_labels(session))
    failed = Session(**{**vars(session), "reward": np.minimum(session.reward, 0.0)})
    assert np.isnan(hindsight_labels(failed)).all()
