import hashlib
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from helpers.sim import grasp, numbers, recorded, trajectory

from mql_ros.grasping.robot.profile import RobotProfile, load_profile
from mql_ros.grasping.task import spaces
from mql_ros.grasping.task.reward import SUCCESS_RETURN
from mql_sim.environment import GraspTask
from mql_sim.objects.catalogue import find_thing, thing_of_session
from mql_sim.objects.solid import cylinder
from mql_sim.objects.thing import thing_from_solid
from mql_sim.oracle import adequate_force
from mql_sim.world.rendering import picture
from mql_sim.world.world import CRUSHED_AFTER, UPRIGHT, Rest, World


def test_a_simulation_with_the_same_seed_repeats_byte_for_byte(panda: RobotProfile, task: GraspTask) -> None:
    reference = trajectory(task, "random-004", 1)
    assert trajectory(task, "random-004", 2) != reference
    assert trajectory(task, "random-004", 1) == reference, "whatever was on the table before"
    second = GraspTask(panda)
    assert trajectory(second, "random-004", 1) == reference, "in another world, too"
    second.world.close()


@pytest.mark.slow
def test_a_simulation_with_the_same_seed_repeats_byte_for_byte_in_another_process(task: GraspTask) -> None:
    program = (
        "import hashlib, sys\n"
        f"sys.path.insert(0, {str(Path(__file__).parents[1])!r})\n"
        "from helpers.sim import trajectory\n"
        "from mql_ros.grasping.robot.profile import load_profile\n"
        "from mql_sim.environment import GraspTask\n"
        "task = GraspTask(load_profile('panda'))\n"
        "print(hashlib.sha256(trajectory(task, 'random-005', 4)).hexdigest())\n"
    )
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=120)
    assert result.returncode == 0, result.stderr
    assert result.stdout.split() == [hashlib.sha256(trajectory(task, "random-005", 4)).hexdigest()]


@pytest.mark.slow
def test_two_worlds_in_turns_do_not_disturb_each_other(panda: RobotProfile) -> None:
    moves = panda.home + np.random.default_rng(1).uniform(-0.2, 0.2, size=(15, 7)).cumsum(axis=0) * 0.2

    def world_with(name: str) -> World:
        world = World(panda)
        assert world.set_thing(find_thing(name), np.random.default_rng(0))
        world.reset((0.5, 0.01), 0.1)
        return world

    def step(world: World, target: np.ndarray) -> bytes:
        return numbers(world.advance(target, np.zeros(7), 0.0, 10.0)).tobytes()

    names = ("mug", "can")
    worlds = [world_with(name) for name in names]
    rows = list(zip(*([step(world, target) for world in worlds] for target in moves), strict=True))
    for name, together in zip(names, rows, strict=True):
        alone = world_with(name)
        assert [step(alone, target) for target in moves] == list(together)
        alone.close()
    for world in worlds:
        world.close()


@pytest.mark.parametrize("name", ["random-002", "hard-0005", "hard-0007", "bottle"])
def test_an_object_at_rest_stays_where_it_lies(task: GraspTask, name: str) -> None:
    world = task.world
    assert task.set_thing(thing_of_session(name, 1), 1)
    world.reset((0.52, -0.03), 2.0)
    before = world.surface().vertices
    low = world.profile.home + np.array([0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.3])
    for _ in range(40):  # fingers that are told to move let time pass for the object too
        world.advance(low, np.zeros(7), 0.07, 10.0)
    assert np.abs(world.surface().vertices - before).max() < 0.008, "it may rock a little"
    assert before[:, 2].min() > -0.002


@pytest.mark.parametrize("robot", ["panda", "ur5e"])
def test_an_object_wider_than_the_hand_neither_opens_it_further_nor_is_lifted(robot: str) -> None:
    task = GraspTask(load_profile(robot))
    profile = task.world.profile
    for diameter in (0.084, 0.100):
        assert task.set_thing(thing_from_solid("wide", cylinder(diameter / 2, 0.08), mass=0.3, friction=1.0), 0)
        task.world.rest = Rest(UPRIGHT, 0.0)
        with recorded(task) as rows:
            task.begin_trial()
            total = 0.0
            for action in (
                spaces.grasp_action(0.0, 0.0, 0.05, 0.3), spaces.closing_action(0.0, 0.0, -0.02, 40.0),
                spaces.lifting_action(40.0, 0.2),
            ):  # fmt: skip
                total += task.decide(action)[1]
        assert np.array(rows)[:, 2 * len(profile.home)].max() <= profile.max_width + 0.001
        assert total < SUCCESS_RETURN
    task.world.close()


def test_a_grasp_that_is_held_for_two_seconds_does_not_slip(task: GraspTask) -> None:
    thing = find_thing("can")
    assert task.set_thing(thing, 5)
    assert grasp(task, thing)[1]
    world = task.world
    rest, before = world.measure().joint_positions, world.height
    for _ in range(40):
        after = world.advance(rest, np.zeros(7), 0.0, adequate_force(thing))
    assert abs(world.height - before) < 0.003
    assert after.finger_effort > 0.5 * adequate_force(thing)


def test_an_object_gripped_with_too_much_force_is_crushed(task: GraspTask) -> None:
    thing = find_thing("can")
    assert task.set_thing(thing, 3)
    total, lifted = grasp(task, thing, 1.2 * thing.crush_force)
    assert task.world.crushed and not lifted and total < 0.0
    assert task.world.height < 0.08, "it fell"
    assert task.world.measure().finger_width < 0.003, "the fingers closed through it"
    assert grasp(task, thing)[1] and not task.world.crushed, "the next trial has a new one"


def test_a_moment_of_too_much_force_does_not_crush_the_object(task: GraspTask) -> None:
    thing = find_thing("can")
    assert task.set_thing(thing, 3)
    assert grasp(task, thing)[1]
    world = task.world
    rest, held = world.measure().joint_positions, adequate_force(thing)
    for force, periods in ((1.2 * thing.crush_force, CRUSHED_AFTER - 1), (held, 1)):
        for _ in range(periods):
            world.advance(rest, np.zeros(7), 0.0, force)
    assert not world.crushed
    for _ in range(CRUSHED_AFTER):
        world.advance(rest, np.zeros(7), 0.0, 1.2 * thing.crush_force)
    assert world.crushed


@pytest.mark.parametrize("name", ["bottle", "can"])
def test_an_object_gripped_with_too_little_force_slips(task: GraspTask, name: str) -> None:
    thing = find_thing(name)
    assert task.set_thing(thing, 3)
    _, lifted = grasp(task, thing, 0.25 * adequate_force(thing))
    assert not lifted and not task.world.crushed


def test_a_picture_shows_the_object_and_changes_nothing(task: GraspTask) -> None:
    thing, heights, pictures = find_thing("mug"), [], []
    for looks in (0, 1):
        assert task.set_thing(thing, 2)
        task.begin_trial()
        pictures += [picture(task.world, 120, 90) for _ in range(looks)]
        grasp(task, thing)
        heights.append(task.world.height)
    assert heights[0] == heights[1]
    red = pictures[0].astype(int)
    assert ((red[..., 0] - red[..., 2]) > 60).sum() > 20


def test_a_world_can_be_closed_twice(panda: RobotProfile) -> None:
    world = World(panda)
    world.close()
    world.close()


def test_pybullet_keeps_quiet_but_errors_do_not() -> None:
    program = (
        "import os\n"
        "from mql_sim.world.bullet import silenced\n"
        "from mql_sim.world.world import World\n"
        "from mql_ros.grasping.robot.profile import load_profile\n"
        "World(load_profile('panda')).close()\n"
        "with silenced():\n    os.write(2, b'an error\\n'); print('argv[0]=')\n"
        "print('done')\n"
    )
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60)
    assert (result.returncode, result.stdout, result.stderr) == (0, "done\n", "an error\n")
