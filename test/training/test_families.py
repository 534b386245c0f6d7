"""Task families: what they reward, that tasks are fixed and disjoint, and what ends an episode."""

import numpy as np
import pytest

pytest.importorskip("mujoco", reason="the benchmarks need mujoco: pip install 'mql_ros[benchmarks]'")

from mql_ros.core.errors import UserError
from mql_ros.training.locomotion.families import FAMILIES, HORIZON, VARIED, Task, TaskEnvironment, find_family


def environment(name, parameters, seed=3):
    made = TaskEnvironment(FAMILIES[name])
    made.set_task(Task("task", np.asarray(parameters, dtype=float)))
    made.reset(seed=seed)
    return made


def rewards(name, parameters, steps=8):
    """Rewards and infos of the same random actions from the same start."""
    made, rng = environment(name, parameters), np.random.default_rng(5)
    actions = rng.uniform(-1.0, 1.0, (steps, *made.action_space.shape))
    outcomes = [made.step(action) for action in actions]
    return np.array([o[1] for o in outcomes]), [o[4] for o in outcomes], np.square(actions).sum(axis=1)


def test_half_cheetah_is_paid_for_its_direction_less_the_control_cost():
    forward, infos, effort = rewards("half-cheetah-dir", [1.0])
    backward, _, _ = rewards("half-cheetah-dir", [-1.0])
    velocity = np.array([info["x_velocity"] for info in infos])
    np.testing.assert_allclose(forward, velocity - 0.05 * effort)
    np.testing.assert_allclose(backward, -velocity - 0.05 * effort)


def test_half_cheetah_is_paid_for_keeping_a_velocity():
    earned, infos, effort = rewards("half-cheetah-vel", [1.7])
    velocity = np.array([info["x_velocity"] for info in infos])
    np.testing.assert_allclose(earned, -np.abs(velocity - 1.7) - 0.05 * effort)


def test_ant_is_paid_for_being_at_its_goal():
    near, infos, _ = rewards("ant-goal", [0.0, 0.0])
    far, _, _ = rewards("ant-goal", [3.0, -2.0])
    x, y = np.array([[info["x_position"], info["y_position"]] for info in infos]).T
    away = np.abs(x - 3.0) + np.abs(y + 2.0) - np.abs(x) - np.abs(y)
    np.testing.assert_allclose(near - far, away)


def test_the_directions_of_ant_and_humanoid_change_only_the_forward_part():
    for name, here, there in (("ant-dir", [1.0], [-1.0]), ("humanoid-dir", [0.0, 1.0], [0.0, -1.0])):
        one, infos, _ = rewards(name, here)
        other, _, _ = rewards(name, there)
        axis, factor = ("x_velocity", 2.0) if name == "ant-dir" else ("y_velocity", 2.5)
        np.testing.assert_allclose(one - other, [factor * info[axis] for info in infos], atol=1e-9)


def test_a_walker_with_the_usual_body_is_paid_as_gymnasium_does():
    earned, infos, effort = rewards("walker-params", np.zeros(64))
    velocity = np.array([info["x_velocity"] for info in infos])
    np.testing.assert_allclose(earned, velocity + 1.0 - 1e-3 * effort, rtol=1e-6)


def test_bodies_are_multiplied_from_the_original_within_their_ranges():
    family = FAMILIES["walker-params"]
    made = TaskEnvironment(family)
    base = {name: getattr(made.unwrapped.model, name).copy() for name in VARIED}
    training, _ = family.tasks(1)
    for task in (training[0], training[1], training[0]):
        made.set_task(task)
        for name, factor in VARIED.items():
            now, was = getattr(made.unwrapped.model, name), base[name]
            ratio = now[was > 0] / was[was > 0]
            assert np.all((ratio >= factor**-3) & (ratio <= factor**3))
            assert np.ptp(ratio) > 0.1
    again = TaskEnvironment(family)
    again.set_task(training[0])
    for name in VARIED:
        np.testing.assert_array_equal(getattr(made.unwrapped.model, name), getattr(again.unwrapped.model, name))


@pytest.mark.parametrize("name", FAMILIES)
def test_tasks_are_fixed_by_the_seed_and_disjoint(name):
    training, test = FAMILIES[name].tasks(1)
    again = FAMILIES[name].tasks(1)
    for one, other in zip((*training, *test), (*again[0], *again[1]), strict=True):
        assert one.name == other.name
        np.testing.assert_array_equal(one.parameters, other.parameters)
    if FAMILIES[name].test_tasks:
        assert not {t.parameters.tobytes() for t in training} & {t.parameters.tobytes() for t in test}
        assert len({t.name for t in (*training, *test)}) == len(training) + len(test)
        assert not np.array_equal(training[0].parameters, FAMILIES[name].tasks(2)[0][0].parameters)
    else:  # only two directions: published as tested on both
        assert [t.name for t in training] == [t.name for t in test]
    largest = {"half-cheetah-vel": 3.0, "ant-goal": 3.0, "humanoid-dir": 1.0}.get(name, 3.0)
    assert all(np.linalg.norm(t.parameters, ord=np.inf) <= largest for t in (*training, *test))


@pytest.mark.parametrize("name", FAMILIES)
def test_the_observation_does_not_hold_the_task(name):
    training, _ = FAMILIES[name].tasks(1)
    made = TaskEnvironment(FAMILIES[name])
    seen = []
    for task in training[:2]:
        made.set_task(task)
        seen.append(made.reset(seed=7)[0])
        assert seen[-1].shape == made.observation_space.shape
    np.testing.assert_array_equal(*seen)


def test_the_time_limit_is_not_terminal_and_a_fall_is():
    made = environment("half-cheetah-dir", [1.0])
    ends = [made.step(np.zeros(6))[2:4] for _ in range(HORIZON)]
    assert ends[:-1] == [(False, False)] * (HORIZON - 1)
    assert ends[-1] == (False, True)
    made = environment("walker-params", np.zeros(64))
    rng = np.random.default_rng(0)
    fell = False
    for _ in range(HORIZON - 1):
        _, _, fell, late, _ = made.step(rng.uniform(-1.0, 1.0, 6))
        assert not late
        if fell:
            break
    assert fell


def test_actions_from_minus_one_to_one_use_the_whole_range_of_the_motors():
    made = environment("humanoid-dir", [1.0, 0.0])
    made.step(np.ones(17, dtype=np.float32))
    np.testing.assert_allclose(made.unwrapped.data.ctrl, 0.4, rtol=1e-6)


def test_an_unknown_family_is_named_with_those_there_are():
    with pytest.raises(UserError, match=r"no benchmark family 'half-cheetah'; choose one of half-cheetah-dir, .*"):
        find_family("half-cheetah")
