"""Old sessions moved to a new object: a moved session holds what happens with an object of that size."""

import numpy as np
import pytest

from mql_ros.algorithm.experience.replay import Replay
from mql_ros.algorithm.experience.session import Session
from mql_ros.grasping.learning.hindsight import labelled, successful_grasp
from mql_ros.grasping.learning.symmetry import move, shifted_sessions
from mql_ros.grasping.robot.profile import RobotProfile
from mql_ros.grasping.task import spaces
from mql_ros.grasping.types import Array
from mql_ros.rollouts.rollout import Demonstrator, run_session, successes
from mql_sim.environment import GraspTask
from mql_sim.objects.catalogue import find_object
from mql_sim.objects.spec import ObjectSpec, make_object

pytestmark = pytest.mark.slow

HIGHER, HEAVIER = 0.03, 1.5
WAY = np.array([0.0, HIGHER / spaces.Z_RANGE, 2 * np.log(HEAVIER) / np.log(40.0), np.log(HEAVIER)])


def necked(height: float, mass: float) -> ObjectSpec:
    return make_object(
        "necked", "top", body_radius=0.05, body_height=height, mass=mass, friction=0.6, window=3.0, neck_offset=0.02
    )


class Replayed:
    """Does what was done in another session."""

    def __init__(self, session: Session) -> None:
        self._actions = iter(session.action.astype(np.float64))

    def act(self, observation: Array, trial: int) -> Array:
        return next(self._actions)

    def learn(self, action: Array, reward: float, observation: Array, done: bool) -> None:
        pass


@pytest.fixture(scope="module")
def sessions(panda: RobotProfile) -> tuple[Session, Session, Session]:
    """With a low and light object; the same moved to a high and heavy one; and what really happens with that."""
    task, low = GraspTask(panda), necked(0.10, 0.3)
    wrong = find_object("can")
    old = run_session(task, low, 3, 8, Demonstrator(low, lambda rng: wrong, 3))
    there = move(old, WAY)
    assert there is not None and len(there) == len(old), "every trial can be moved"
    real = run_session(task, necked(0.10 + HIGHER, 0.3 * HEAVIER), 3, 8, Replayed(there))
    task.world.close()
    return old, there, real


def test_a_moved_session_is_what_happens_with_such_an_object(sessions: tuple[Session, Session, Session]) -> None:
    old, there, real = sessions
    won = successes(old)
    assert 1 < won.sum() < len(won), "the session holds both"
    assert np.array_equal(successes(there), won)
    assert np.mean(successes(real) == won) > 0.8
    alike = np.repeat(successes(real) == won, spaces.DECISIONS_PER_TRIAL)
    moved, seen, before = (np.stack([s.observation, s.next_observation])[:, alike] for s in (there, real, old))
    error, shift = np.abs(moved - seen), np.abs(before - seen)
    assert np.median(error.max(axis=-1)) < 0.02
    for name in ("tool_z", "last_force", "finger_effort", "lifted_weight"):
        column = spaces.OBSERVATION_NAMES.index(name)
        assert error[..., column].mean() < 0.35 * shift[..., column].mean(), name
    assert np.median(np.abs(there.reward - real.reward)[alike]) < 0.005


def test_there_and_back_changes_nothing_and_the_original_stays(sessions: tuple[Session, Session, Session]) -> None:
    old, there, _ = sessions
    back = move(there, -WAY)
    assert back is not None
    for name in ("observation", "action", "next_observation"):
        assert np.allclose(getattr(back, name), getattr(old, name), atol=1e-5), name
        assert not np.allclose(getattr(there, name), getattr(old, name), atol=0.05), name
    assert np.array_equal(back.block, old.block)


def test_trials_that_could_not_have_been_are_left_out(sessions: tuple[Session, Session, Session]) -> None:
    old = sessions[0]
    highest = old.action[0::3, 1].max()
    there = move(old, np.array([0.0, 1.001 - highest, 0.0, 0.0]))
    assert there is not None and len(there) < len(old)
    assert np.abs(there.action).max() <= 1.0
    assert there.block.tolist() == np.repeat(np.arange(len(there) // 3), 3).tolist()
    assert move(old, np.array([2.5, 0.0, 0.0, 0.0])) is None


def replay_of(*sessions: Session) -> Replay:
    return Replay.of(sessions, spaces.OBSERVATION_SIZE, spaces.ACTION_SIZE, 2)


def test_old_sessions_go_where_the_new_ones_succeeded(sessions: tuple[Session, Session, Session]) -> None:
    old, _, new = sessions
    target = successful_grasp(new)
    assert target is not None
    two = replay_of(new, new)
    made = [shifted_sessions(replay_of(old), two, 30, np.random.default_rng(seed)) for seed in (1, 1, 2)]
    assert made[0] is not None and made[1] is not None and made[2] is not None
    first, again, other = (list(replay.sessions()) for replay in made)
    assert len(first) == 30
    assert all(np.array_equal(a.action, b.action) for a, b in zip(first, again, strict=True))
    assert not all(len(a) == len(b) and np.array_equal(a.action, b.action) for a, b in zip(first, other, strict=True))
    grasps = [successful_grasp(session) for session in first]
    tools = np.array([grasp.tool for grasp in grasps if grasp is not None])
    assert len(tools) == 30
    assert np.abs(tools.mean(axis=0) - target.tool).max() < 0.1 and tools.std(axis=0).min() > 0.02
    for session in first[:5]:
        assert session.teacher_action is not None
        assert np.array_equal(session.teacher_action, labelled(session).teacher_action)


def test_with_one_new_object_they_go_right_there(sessions: tuple[Session, Session, Session]) -> None:
    old, _, new = sessions
    target = successful_grasp(new)
    made = shifted_sessions(replay_of(old), replay_of(new), 3, np.random.default_rng(0))
    assert made is not None and target is not None
    for session in made.sessions():
        grasp = successful_grasp(session)
        assert grasp is not None and np.allclose(grasp.tool, target.tool, atol=1e-4)


def test_without_a_success_there_is_nowhere_to_go(sessions: tuple[Session, Session, Session]) -> None:
    old, _, new = sessions
    failed = Session(**{**vars(new), "reward": np.minimum(new.reward, 0.0)})
    rng = np.random.default_rng(0)
    assert shifted_sessions(replay_of(old), replay_of(failed), 5, rng) is None
    assert shifted_sessions(replay_of(failed), replay_of(new), 5, rng) is None
