import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env
from helpers.sim import grasp

from mql_ros.grasping.robot.profile import RobotProfile
from mql_ros.grasping.task import spaces
from mql_ros.grasping.task.reward import SUCCESS_RETURN
from mql_sim.benches import BENCHES
from mql_sim.environment import PLACE_JITTER, GraspEnv, GraspTask, placement
from mql_sim.objects.catalogue import find_thing, thing_of_session
from mql_sim.oracle import adequate_force


@pytest.mark.filterwarnings("ignore:.*Not able to test alternative render modes.*")
def test_the_environment_passes_gymnasiums_checker() -> None:
    environment = GraspEnv(render_mode="rgb_array")
    check_env(environment)
    environment.close()


def test_an_episode_is_a_trial_that_repeats_with_its_seed() -> None:
    environment = GraspEnv("can")

    def episode(seed: int) -> list[bytes]:
        observation, _ = environment.reset(seed=seed)
        seen, terminated, rng = [observation.tobytes()], False, np.random.default_rng(seed)
        while not terminated:
            action = rng.uniform(-1, 1, size=spaces.ACTION_SIZE)
            observation, reward, terminated, truncated, information = environment.step(action)
            assert environment.observation_space.contains(observation) and not truncated
            seen += [observation.tobytes(), np.array([reward, information["is_success"]], dtype=float).tobytes()]
        return seen

    first, other, again = episode(1), episode(2), episode(1)
    assert len(first) == 1 + 2 * spaces.DECISIONS_PER_TRIAL
    assert first == again != other
    environment.reset(options={"object": "mug"})
    assert environment.task.world.thing.name == "mug"
    environment.close()


def test_objects_lie_where_the_session_says(panda: RobotProfile) -> None:
    places = [placement(panda, 7, number) for number in range(50)]
    assert places == [placement(panda, 7, number) for number in range(50)]
    assert len(set(places)) == 50
    for (x, y), yaw in places:
        assert abs(x - 0.5) <= PLACE_JITTER and abs(y) <= PLACE_JITTER and abs(yaw) <= np.pi


@pytest.mark.parametrize("name", ["can", "random-004", "hard-0003"])
def test_an_object_is_seen_where_it_was_placed(task: GraspTask, name: str) -> None:
    assert task.set_thing(thing_of_session(name, 4), 4)
    for number in range(3):
        task.begin_trial()
        points = task.world.surface().vertices
        middle = (points.min(axis=0) + points.max(axis=0))[:2] / 2
        (x, y), _ = placement(task.world.profile, 4, number)
        assert np.abs(middle - [x, y]).max() < 0.002
        assert np.abs(task.view.centre - middle).max() < 0.015


@pytest.mark.slow
@pytest.mark.parametrize("bench", ["usual", "no-effort", "no-wrench"])
def test_the_reward_agrees_with_the_truth(task: GraspTask, bench: str) -> None:
    lifted = []
    for number, name in enumerate(("hard-0000", "random-017", "hard-0002", "random-051", "hard-0004", "random-085")):
        thing = thing_of_session(name, number)
        assert task.set_thing(thing, number, BENCHES[bench])
        for rank, factor in enumerate((1.0, 0.3, 1.0, 3.0)):
            total, truly = grasp(task, thing, factor * adequate_force(thing), rank)
            assert (total >= SUCCESS_RETURN) == truly
            lifted.append(truly)
    assert 0.2 < np.mean(lifted) < 0.9


@pytest.mark.parametrize("name", ["mug", "bottle", "can"])
def test_a_good_candidate_with_an_adequate_force_lifts_a_household_object(task: GraspTask, name: str) -> None:
    thing = find_thing(name)
    assert task.set_thing(thing, 11)
    outcomes = [grasp(task, thing) for _ in range(3)]
    assert sum(lifted for _, lifted in outcomes) >= 2
    assert all(total > 0.8 for total, lifted in outcomes if lifted)


def test_no_random_decision_is_refused_for_more_than_its_end(task: GraspTask) -> None:
    """Corners of the action space end in a trial like any other."""
    rng = np.random.default_rng(0)
    for seed, name in enumerate(["mug", "random-001"]):
        assert task.set_thing(thing_of_session(name, seed), seed)
        for corner in rng.choice([-1.0, 1.0], size=(3, spaces.ACTION_SIZE)):
            task.begin_trial()
            steps = 0
            while not task.decide(corner)[2]:
                steps += 1
            assert steps < spaces.DECISIONS_PER_TRIAL


@pytest.mark.parametrize("bench", ["usual", "no-effort", "no-wrench"])
def test_a_bench_hides_what_its_arm_does_not_report(task: GraspTask, bench: str) -> None:
    thing = find_thing("can")
    assert task.set_thing(thing, 11, BENCHES[bench])
    force = spaces.force_from_action(spaces.lifting_action(adequate_force(thing), 0.2))
    assert grasp(task, thing) == (pytest.approx(1.0, abs=0.1), True)
    measurement = task.scene.measurement
    assert (measurement.finger_effort == force) == (bench == "no-effort"), "an estimate is what was commanded"
    assert measurement.contact_force.any() == measurement.contact_torque.any() == (bench != "no-wrench")
