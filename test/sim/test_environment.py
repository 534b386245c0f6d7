import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env
from helpers.sim import grasp

from mql_ros.grasping.robot.profile import RobotProfile
from mql_ros.grasping.task import spaces
from mql_sim.environment import PLACE_JITTER, YAW_JITTER, GraspEnv, GraspTask, placement
from mql_sim.objects.catalogue import find_object


@pytest.mark.filterwarnings("ignore:.*Not able to test alternative render modes.*")
def test_the_environment_passes_gymnasiums_checker() -> None:
    environment = GraspEnv(render_mode="rgb_array")
    check_env(environment)
    environment.close()


def test_an_episode_is_a_trial_that_repeats_with_its_seed() -> None:
    environment = GraspEnv(find_object("can"))

    def episode(seed: int) -> list[np.ndarray]:
        observation, _ = environment.reset(seed=seed)
        seen, terminated, rng = [observation], False, np.random.default_rng(seed)
        while not terminated:
            observation, reward, terminated, truncated, information = environment.step(rng.uniform(-1, 1, size=4))
            assert environment.observation_space.contains(observation)
            assert isinstance(reward, float) and not truncated
            seen += [observation, np.array([reward, information["is_success"]], dtype=float)]
        return seen

    first, other, again = episode(1), episode(2), episode(1)
    assert len(first) == 1 + 2 * spaces.DECISIONS_PER_TRIAL
    assert [a.tobytes() for a in first] == [b.tobytes() for b in again]
    assert [a.tobytes() for a in first] != [b.tobytes() for b in other]
    environment.reset(options={"object": find_object("mug")})
    assert environment.task.world.spec.name == "mug"
    environment.close()


def test_objects_stand_where_the_session_says(panda: RobotProfile) -> None:
    places = [placement(panda, 7, number) for number in range(50)]
    assert places == [placement(panda, 7, number) for number in range(50)]
    assert len(set(places)) == 50
    for (x, y), yaw in places:
        assert abs(x - 0.5) <= PLACE_JITTER and abs(y) <= PLACE_JITTER and abs(yaw) <= YAW_JITTER


@pytest.mark.parametrize("name", ["mug", "bottle", "procedural-0005"])
def test_the_scripted_expert_lifts_an_object_that_it_knows(task: GraspTask, name: str) -> None:
    spec = find_object(name)
    task.set_object(spec, 11)
    for _ in range(3):
        rewards, success = grasp(task, spec)
        assert success and sum(rewards) > 0.8


@pytest.mark.parametrize(("name", "assumed"), [("mug", "bottle"), ("bottle", "mug"), ("can", "jug"), ("jug", "can")])
def test_the_scripted_expert_fails_with_an_object_that_it_takes_for_another(
    task: GraspTask, name: str, assumed: str
) -> None:
    task.set_object(find_object(name), 11)
    for _ in range(2):
        rewards, success = grasp(task, find_object(assumed))
        assert not success and sum(rewards) < 0.5


@pytest.mark.slow
def test_no_trial_of_the_teacher_is_refused(panda: RobotProfile, task: GraspTask) -> None:
    rng = np.random.default_rng(0)
    before = task.machine.refusals
    for seed, name in enumerate(["mug", "carafe", "procedural-0001"]):
        task.set_object(find_object(name), seed)
        grasp(task, find_object(name))
        for corner in rng.choice([-1.0, 1.0], size=(2, 4)):
            task.begin_trial()
            while not task.decide(corner)[2]:
                pass
    assert task.machine.refusals == before, task.machine.last_refusal
