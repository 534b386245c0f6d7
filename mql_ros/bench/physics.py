"""How the physics engine's settings change grasps and their cost: `python -m mql_ros.bench.physics` prints a table.

Good grasps are found with a fine reference first, and repeated with each setting: the same objects at rest in the same
poses, the same actions. docs/physics.md holds the table and what follows from it.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np

from mql_ros.grasping.learning.candidates import antipodal
from mql_ros.grasping.perception.camera import PerceptionError
from mql_ros.grasping.robot.profile import RobotProfile, load_profile
from mql_ros.grasping.task import spaces
from mql_ros.grasping.types import Array, Measurement
from mql_ros.reporting.text_table import table
from mql_sim.environment import GraspTask
from mql_sim.objects.catalogue import thing_of_session, training_names
from mql_sim.objects.hidden import slip_force
from mql_sim.objects.solid import cylinder
from mql_sim.objects.thing import Thing, thing_from_solid
from mql_sim.world.world import UPRIGHT, Physics, Rest

REFERENCE = Physics(step=1 / 240, iterations=100, residual=1e-7)
SETTINGS = [
    Physics(step=1 / rate, iterations=iterations, residual=residual)
    for rate in (120, 240)
    for iterations, residual in ((200, 1e-7), (50, 1e-7), (50, 1e-5), (50, 1e-4), (50, 1e-3), (25, 1e-4))
]
COUNT = 60
"""Good grasps."""
CANDIDATES = 3
"""Grasps tried on each object with the reference."""
DIAMETERS = (0.079, 0.084, 0.100)
"""Diameters of the cylinders that are pushed between the fingers of a hand that opens to 80 mm, m."""


@dataclass
class GoodGrasp:
    """A grasp that lifts its object with the reference settings."""

    thing: Thing
    seed: int
    rest: Rest
    actions: list[Array]


@dataclass
class Figures:
    """What a grasp came to."""

    lifted: bool
    slip: float
    """How far the object moved within the hand while it was lifted, m."""
    depth: float
    """Deepest contact at the end, m."""
    physics: float
    """CPU time of the simulated control periods, s."""
    cpu: float
    """CPU time of the trial, s."""


@contextmanager
def watched(task: GraspTask) -> Iterator[list[tuple[Measurement, float]]]:
    """Measurement and CPU time (s) of each control period that is simulated in the meantime."""
    periods: list[tuple[Measurement, float]] = []
    advance = task.world.advance

    def recorded(target: Array, velocity: Array, finger_target: float, finger_force: float) -> Measurement:
        start = time.process_time()
        measurement = advance(target, velocity, finger_target, finger_force)
        periods.append((measurement, time.process_time() - start))
        return measurement

    task.world.advance = recorded  # type: ignore[method-assign]
    try:
        yield periods
    finally:
        del task.world.advance


def good_grasps(profile: RobotProfile) -> list[GoodGrasp]:
    """Grasps found with the reference settings, one for an object."""
    task, names, found = GraspTask(profile, REFERENCE), training_names(), []
    for number in range(len(names)):
        thing = thing_of_session(names[number * 37 % len(names)], number)
        if not task.set_thing(thing, number):
            continue
        force = float(np.sqrt(slip_force(thing.mass, thing.friction) * thing.crush_force))
        try:
            task.begin_trial()
        except (PerceptionError, ValueError):
            continue
        for grasp in antipodal(task.view.heights, np.random.default_rng(number))[0][:CANDIDATES]:
            good = GoodGrasp(thing, number, task.world.rest, spaces.trial_actions(grasp, force))
            if repeat(task, good).lifted:
                found.append(good)
                break
        if len(found) == COUNT:
            break
    task.world.close()
    return found


def repeat(task: GraspTask, grasp: GoodGrasp) -> Figures:
    """Carry out a grasp from the resting pose in which it was found."""
    task.set_thing(grasp.thing, grasp.seed)
    task.world.rest = grasp.rest
    start = time.process_time()
    with watched(task) as periods:
        task.begin_trial()
        task.decide(grasp.actions[0])
        task.decide(grasp.actions[1])
        before = _in_hand(task)
        task.decide(grasp.actions[2])
    cpu = time.process_time() - start
    slip = float(np.linalg.norm(_in_hand(task) - before))
    depth = -min((contact[8] for contact in task.world.client.getContactPoints()), default=0.0)
    return Figures(task.truly_lifted, slip, depth, sum(seconds for _, seconds in periods), cpu)


def _in_hand(task: GraspTask) -> Array:
    """Middle of the object along the tool's axes [3], m."""
    position, turn = task.world.profile.chain.forward(task.world.measure().joint_positions)
    return np.asarray((task.world.surface().vertices.mean(axis=0) - position) @ turn)


def widest(profile: RobotProfile, physics: Physics) -> tuple[float, int]:
    """Widest opening of the fingers around wide cylinders, m, and how many that are too wide were lifted."""
    task, widths, lifted = GraspTask(profile, physics), [], 0
    for diameter in DIAMETERS:
        task.set_thing(thing_from_solid("cylinder", cylinder(diameter / 2, 0.08), mass=0.3, friction=1.0), 0)
        task.world.rest = Rest(UPRIGHT, 0.0)
        with watched(task) as periods:
            task.begin_trial()
            for action in spaces.trial_actions(np.array([0.0, 0.0, 0.05, 0.3]), profile.max_force, deeper=0.02):
                task.decide(action)
        widths += [measurement.finger_width for measurement, _ in periods]
        lifted += task.truly_lifted and diameter > profile.max_width
    task.world.close()
    return max(widths), lifted


def main(settings: list[Physics] = SETTINGS) -> None:
    """Print the table."""
    profiles = [load_profile(name) for name in ("panda", "ur5e")]
    grasps = good_grasps(profiles[0])
    rows = [
        ["step", "iterations", "residual", "fingers", "lifted", "slip mm", "95 %", "depth mm", "widest mm", "lifted",
         "physics ms", "trial ms"]
    ]  # fmt: skip
    for physics in settings:
        task = GraspTask(profiles[0], physics)
        figures = [repeat(task, grasp) for grasp in grasps]
        task.world.close()
        slips = [1000 * f.slip for f in figures if f.lifted]
        width, too_wide = (max(pair) for pair in zip(*(widest(p, physics) for p in profiles), strict=True))
        rows.append(
            [
                f"1/{1 / physics.step:.0f}", str(physics.iterations), f"{physics.residual:g}",
                "coupled" if physics.coupled else "free", f"{sum(f.lifted for f in figures)} of {len(figures)}",
                f"{np.median(slips):.2f}", f"{np.quantile(slips, 0.95):.2f}",
                f"{1000 * np.median([f.depth for f in figures]):.2f}", f"{1000 * width:.2f}", str(too_wide),
                f"{1000 * np.mean([f.physics for f in figures]):.0f}",
                f"{1000 * np.mean([f.cpu for f in figures]):.0f}",
            ]
        )  # fmt: skip
        print(table([rows[0], rows[-1]]), flush=True)
    print(table(rows))


if __name__ == "__main__":
    main()
