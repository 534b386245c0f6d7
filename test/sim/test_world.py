import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest
from helpers.sim import Recorded, grasp, numbers, trajectory

from mql_ros.grasping.robot.profile import RobotProfile
from mql_sim.environment import GraspTask
from mql_sim.objects.catalogue import find_object
from mql_sim.world.world import CRUSHED_AFTER, World


@pytest.fixture
def recorded(panda: RobotProfile) -> Iterator[Recorded]:
    made = Recorded(GraspTask(panda))
    yield made
    made.close()


@pytest.mark.slow
@pytest.mark.parametrize("name", ["mug", "bottle"])
def test_a_simulation_with_the_same_seed_repeats_byte_for_byte(
    panda: RobotProfile, recorded: Recorded, name: str
) -> None:
    spec = find_object(name)
    reference = trajectory(recorded, spec, 1)
    contacts = np.frombuffer(reference).reshape(-1, 29)[:, 15]
    assert (contacts > 0).any(), "the fingers held the object at some time"
    assert trajectory(recorded, spec, 2) != reference
    assert trajectory(recorded, spec, 1) == reference
    for other in ("jug", "can", "procedural-0003"):
        trajectory(recorded, find_object(other), 2)
    assert trajectory(recorded, spec, 1) == reference, "whatever was on the table before"
    second = Recorded(GraspTask(panda))
    assert trajectory(second, spec, 1) == reference, "in another world, too"
    second.close()


@pytest.mark.slow
def test_a_simulation_with_the_same_seed_repeats_byte_for_byte_in_another_process(recorded: Recorded) -> None:
    import hashlib
    from pathlib import Path

    program = (
        "import hashlib, sys\n"
        f"sys.path.insert(0, {str(Path(__file__).parents[1])!r})\n"
        "from helpers.sim import Recorded, trajectory\n"
        "from mql_ros.grasping.robot.profile import load_profile\n"
        "from mql_sim.objects.catalogue import find_object\n"
        "from mql_sim.environment import GraspTask\n"
        "recorded = Recorded(GraspTask(load_profile('panda')))\n"
        "print(hashlib.sha256(trajectory(recorded, find_object('can'), 4)).hexdigest())\n"
    )
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=120)
    assert result.returncode == 0, result.stderr
    assert result.stdout.split() == [hashlib.sha256(trajectory(recorded, find_object("can"), 4)).hexdigest()]


@pytest.mark.slow
def test_two_worlds_in_turns_do_not_disturb_each_other(panda: RobotProfile) -> None:
    def moves(seed: int) -> np.ndarray:
        return panda.home + np.random.default_rng(seed).uniform(-0.2, 0.2, size=(40, 7)).cumsum(axis=0) * 0.2

    def alone(name: str, seed: int) -> list[bytes]:
        world = World(panda)
        world.set_object(find_object(name))
        world.reset((0.5, 0.01), 0.1)
        rows = [numbers(world.advance(target, np.zeros(7), 0.0, 10.0)).tobytes() for target in moves(seed)]
        world.close()
        return rows

    worlds = {name: World(panda) for name in ("mug", "can")}
    for name, world in worlds.items():
        world.set_object(find_object(name))
        world.reset((0.5, 0.01), 0.1)
    rows: dict[str, list[bytes]] = {"mug": [], "can": []}
    for first, second in zip(moves(1), moves(2), strict=True):
        for name, target in (("mug", first), ("can", second)):
            rows[name].append(numbers(worlds[name].advance(target, np.zeros(7), 0.0, 10.0)).tobytes())
    for world in worlds.values():
        world.close()
    assert rows == {"mug": alone("mug", 1), "can": alone("can", 2)}


@pytest.mark.parametrize("name", ["mug", "bottle", "can", "soccer-ball"])
def test_a_grasp_that_is_held_for_two_seconds_does_not_slip(task: GraspTask, name: str) -> None:
    spec = find_object(name)
    task.set_object(spec, 5)
    _, success = grasp(task, spec)
    assert success
    before = task.world.measure()
    rest = before.joint_positions
    for _ in range(round(2.0 / task.world.profile.control_period)):
        after = task.world.advance(rest, np.zeros(7), 0.0, spec.grasp_force)
    # Along the pads; the object may still swing a little about the line between them.
    tool = task.world.profile.chain.forward
    before_z = before.object_position[2] - tool(before.joint_positions)[0][2]
    after_z = after.object_position[2] - tool(after.joint_positions)[0][2]
    assert abs(after_z - before_z) < 5e-4
    assert after.finger_effort > 0.5 * spec.grasp_force


def test_an_object_gripped_with_too_much_force_is_crushed(task: GraspTask) -> None:
    spec = find_object("can")
    firm = replace(spec, grasp_force=1.2 * spec.crush_force)
    task.set_object(spec, 3)
    rewards, success = grasp(task, firm)
    assert task.world.crushed and not success
    assert sum(rewards) < 0.0
    last = task.world.measure()
    assert last.object_position[2] < 0.02, "it fell"
    assert last.finger_width < 0.003, "the fingers closed through it"
    rewards, success = grasp(task, spec)
    assert success and not task.world.crushed, "the next trial has a new one"


def test_a_moment_of_too_much_force_does_not_crush_the_object(task: GraspTask) -> None:
    spec = find_object("can")
    task.set_object(spec, 3)
    grasp(task, spec)
    world = task.world
    rest = world.measure().joint_positions
    for _ in range(CRUSHED_AFTER - 1):
        world.advance(rest, np.zeros(7), 0.0, 1.2 * spec.crush_force)
    world.advance(rest, np.zeros(7), 0.0, spec.grasp_force)
    assert not world.crushed
    for _ in range(CRUSHED_AFTER):
        world.advance(rest, np.zeros(7), 0.0, 1.2 * spec.crush_force)
    assert world.crushed


def test_an_object_gripped_with_too_little_force_slips(task: GraspTask) -> None:
    spec = find_object("bottle")
    task.set_object(spec, 3)
    _, success = grasp(task, replace(spec, grasp_force=0.3 * spec.grasp_force))
    assert not success and not task.world.crushed


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
