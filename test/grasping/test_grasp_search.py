"""The search for a first grasp: it goes where old grasps and the policy suggest, away from what failed."""

import numpy as np
import pytest

from mql_ros.algorithm.experience.session import Session
from mql_ros.grasping.learning.grasp_search import GraspSearch, GraspSearchConfig, successful_grasps
from mql_ros.grasping.task import spaces
from mql_ros.grasping.task.reward import SUCCESS_RETURN
from mql_ros.grasping.task.spaces import FORCE

OLD = np.random.default_rng(5).uniform((-0.6, -0.6, -0.2), (0.6, 0.6, 0.6), size=(60, 3))
POLICY = np.array([-0.2, 0.1, 0.2, 0.0])


def observation(phase: int, x: float = 0.0, z: float = 0.0, width: float = -1.0, stopped: bool = False) -> np.ndarray:
    seen = np.zeros(spaces.OBSERVATION_SIZE)
    seen[spaces.OBSERVATION_NAMES.index("guard_stop")] = stopped
    seen[phase] = 1.0
    seen[spaces.OBSERVATION_NAMES.index("tool_x")] = x
    seen[spaces.OBSERVATION_NAMES.index("tool_z")] = z
    seen[spaces.OBSERVATION_NAMES.index("finger_width")] = width
    return seen


def run_trial(search: GraspSearch, wanted: np.ndarray, reach: float = 0.17) -> tuple[np.ndarray, bool]:
    """A trial with an object that is lifted by grasps near `wanted` [3]; the grasp tried and whether it lifted."""
    place = np.clip(search.propose(observation(0), POLICY, POLICY), -1.0, 1.0)
    search.learn(place, -0.03, observation(1, *place[:2]), False)
    close = np.clip(search.propose(observation(1, *place[:2]), POLICY, POLICY), -1.0, 1.0)
    x, z = place[:2] + close[:2] * spaces.CORRECTION / np.array([spaces.X_RANGE, spaces.Z_RANGE])
    there = bool(np.all(np.abs((x, z) - wanted[:2]) < reach))
    search.learn(close, 0.09 if there else -0.01, observation(2, x, z, 0.0 if there else -1.0), False)
    lift = np.clip(search.propose(observation(2, x, z), POLICY, POLICY), -1.0, 1.0)
    lifted = there and abs(lift[FORCE] - wanted[2]) < reach
    search.learn(lift, 0.9 if lifted else -0.3 if there else -0.02, observation(0), True)
    return np.array([x, z, lift[FORCE]]), lifted


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(5))
def test_a_grasp_that_the_policy_misses_is_found_and_kept(seed: int) -> None:
    wanted = np.array([-0.75, 0.2, 0.5])  # beyond every old grasp in x
    search = GraspSearch(OLD, seed, GraspSearchConfig(share=1.0))
    lifted = [run_trial(search, wanted)[1] for _ in range(60)]
    assert not any(lifted[:2]), "the policy comes first"
    first = lifted.index(True)
    assert sum(lifted[first:]) > 0.4 * len(lifted[first:])


def test_grasp_search_avoids_where_nothing_was_found() -> None:
    search = GraspSearch(OLD, 1)
    nowhere = np.array([9.0, 9.0, 0.0])
    tried = [run_trial(search, nowhere)[0][:2] for _ in range(16)]
    apart = [np.linalg.norm(tried[k] - np.array(tried[2:k]), axis=1).min() for k in range(3, len(tried))]
    assert np.median(apart) > 0.1


def test_grasp_search_varies_the_force_where_something_was_held() -> None:
    search = GraspSearch(OLD, 1)
    wanted = np.array([*POLICY[:2], 0.7])  # where the policy goes, with another force
    tried = [run_trial(search, wanted) for _ in range(12)]
    places = np.array([grasp[:2] for grasp, _ in tried[4:]])
    assert np.mean(np.abs(places - wanted[:2]).max(axis=1) < 0.3) > 0.6
    assert any(lifted for _, lifted in tried)


@pytest.mark.parametrize("gives_way", [False, True])
def test_what_slips_is_held_harder_and_what_gives_way_more_gently(gives_way: bool) -> None:
    search, tried = GraspSearch(OLD, 2, GraspSearchConfig(share=1.0)), []
    for _ in range(10):
        place = np.clip(search.propose(observation(0), POLICY, POLICY), -1.0, 1.0)
        search.learn(place, -0.03, observation(1, *place[:2]), False)
        close = np.clip(search.propose(observation(1, *place[:2]), POLICY, POLICY), -1.0, 1.0)
        there = np.abs(place[:2] - POLICY[:2]).max() < 0.17
        reward = (-0.21 if gives_way else 0.09) if there else -0.01
        width = 0.0 if there and not gives_way else -1.0
        search.learn(close, reward, observation(2, *place[:2], width), False)
        lift = np.clip(search.propose(observation(2, *place[:2]), POLICY, POLICY), -1.0, 1.0)
        search.learn(lift, -0.32 if there and not gives_way else -0.02, observation(0), True)
        if there:
            tried.append(lift[FORCE])
    assert len(tried) > 4 and tried[0] == tried[1] == POLICY[FORCE]
    further = np.sign(np.array(tried[2:]) - POLICY[FORCE])
    assert (further == (-1.0 if gives_way else 1.0)).mean() > 0.7


def test_grasp_search_stays_above_where_the_guard_stopped() -> None:
    below = {False: 0, True: 0}
    for stopped in below:
        for seed in range(20):
            search = GraspSearch(OLD, seed, GraspSearchConfig(share=1.0))
            for _ in range(2):
                search.learn(POLICY, -0.05, observation(1, POLICY[0], 0.6, stopped=stopped), False)
                search.learn(POLICY, -0.01, observation(2, POLICY[0], 0.6), False)
                search.learn(POLICY, -0.02, observation(0), True)
            x, z = search.propose(observation(0), POLICY, POLICY)[:2]
            below[stopped] += abs(x - POLICY[0]) < 0.17 and z < 0.4
    assert below[True] <= 1 < 5 <= below[False]


def test_the_policy_leads_before_failures_and_its_action_is_left_alone() -> None:
    search = GraspSearch(OLD, 1)
    action = POLICY + 0.05
    for phase in range(spaces.DECISIONS_PER_TRIAL):
        assert search.propose(observation(phase), POLICY, action) is action


def related_session(place: tuple[float, float], lifted: bool) -> Session:
    """Three trials at one place with another object of the kind: held and lifted, or nothing there."""
    seen = [observation(phase, *(place if phase else (0.0, 0.0))) for _ in range(3) for phase in range(3)]
    after = [observation(phase, *place, 0.0 if lifted else -1.0) for _ in range(3) for phase in (1, 2, 2)]
    action = np.tile(np.array([[*place, 0.0, 0.0], [0.0, 0.0, 0.5, 0.0], [0.0, 0.0, 0.5, 0.0]]), (3, 1))
    reward = np.tile([-0.03, 0.09, 0.9] if lifted else [-0.03, -0.01, -0.02], 3)
    done = np.arange(9) % 3 == 2
    return Session("related", np.array(seen), action, reward, np.array(after), done, done, np.arange(9) // 3)


def test_grasp_search_first_tries_where_a_related_object_was_lifted() -> None:
    place = np.array([-0.9, 0.7])  # where neither old grasps nor the policy are
    first = {}
    for known in (False, True):
        searches = [GraspSearch(OLD, seed, GraspSearchConfig(share=1.0)) for seed in range(10)]
        for search in searches if known else ():
            for _ in range(3):
                search.remember_related(related_session((-0.9, 0.7), lifted=True))
        proposed = [search.propose(observation(0), POLICY, POLICY)[:2] for search in searches]
        first[known] = np.mean([np.abs(at - place).max() < 0.3 for at in proposed])
    assert first[True] > 0.7 and first[False] == 0.0


def test_grasp_search_avoids_where_a_related_object_was_missed() -> None:
    near = {}
    for known in (False, True):
        searches = [GraspSearch(OLD, seed, GraspSearchConfig(share=1.0, after_failures=0)) for seed in range(30)]
        for search in searches if known else ():
            for x in (-0.2, 0.0):
                search.remember_related(related_session((x, 0.1), lifted=False))
        proposed = np.array([search.propose(observation(0), POLICY, POLICY)[:2] for search in searches])
        near[known] = np.mean(np.abs(proposed - (-0.1, 0.1)).max(axis=1) < 0.15)
    assert near[False] > 0.4 and near[True] < 0.1


def test_grasp_search_with_the_same_seed_proposes_the_same() -> None:
    one, two = (
        [run_trial(search, np.array([-0.7, 0.3, 0.4]))[0].tolist() for _ in range(8)]
        for search in (GraspSearch(OLD, 3), GraspSearch(OLD, 3))
    )
    assert one == two


def test_old_grasps_are_the_mean_of_a_sessions_successes() -> None:
    def session(rewards: list[float]) -> Session:
        n = 3 * len(rewards)
        seen = np.concatenate([[observation(0), observation(1), observation(2, 0.1 * k, 0.2)] for k in range(n // 3)])
        action = np.zeros((n, 4))
        action[2::3, FORCE] = np.linspace(0.0, 0.4, n // 3)
        reward = np.zeros(n)
        reward[2::3] = rewards
        done = np.arange(n) % 3 == 2
        return Session("thing", seen, action, reward, seen, done, done, np.arange(n) // 3)

    found = successful_grasps([session([SUCCESS_RETURN, 0.0, 0.9]), session([0.0, 0.0])])
    assert np.allclose(found, [[0.1, 0.2, 0.2]])


def test_without_old_grasps_there_is_nothing_to_search_by() -> None:
    with pytest.raises(ValueError, match="No old grasp"):
        GraspSearch(np.zeros((0, 3)), 1)
