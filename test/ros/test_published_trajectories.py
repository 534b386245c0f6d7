"""Trajectories that are published, under random and adversarial policies, checked with scipy's splines."""

import os
from collections.abc import Callable, Iterator
from dataclasses import replace

import numpy as np
import pytest
from helpers.grasping import block, broken_limits, carry_out, measured, spline_of

from mql_ros.grasping.motion.kinematics import tool_down
from mql_ros.grasping.motion.spline import motion_through
from mql_ros.grasping.robot.profile import RobotProfile
from mql_ros.grasping.task import spaces
from mql_ros.grasping.task.trial import TrialMachine
from mql_ros.grasping.types import ArmState, Command, Measurement, Motion
from mql_ros.ros.driver.sent_commands import SentPlan


def adversary(rng: np.random.Generator) -> Callable[[int], np.ndarray]:
    """Policies that want the arm to break its limits, or care for nothing."""
    kind = rng.choice(["random", "corners", "huge", "alternating", "still"])
    corner = rng.choice([-1.0, 1.0], size=spaces.ACTION_SIZE)

    def act(step: int) -> np.ndarray:
        if kind == "random":
            return rng.uniform(-1.5, 1.5, size=spaces.ACTION_SIZE)
        if kind == "corners":
            return rng.choice([-1.0, 1.0], size=spaces.ACTION_SIZE)
        if kind == "huge":
            return rng.choice([-1e300, 1e300], size=spaces.ACTION_SIZE)
        return corner * (-1) ** step if kind == "alternating" else corner

    return act


class Reference:
    """Where an arm may be taken to be: as measured, and once that has jumped, as it was sent."""

    def __init__(self, profile: RobotProfile, first: Measurement) -> None:
        self._profile, self._last, self._jumped = profile, first, False
        here = first.joint_positions
        self.send(motion_through(here, here[None], profile.control_period), first.stamp)

    def send(self, motion: Motion, stamp: float) -> None:
        spline = spline_of(motion, self._profile.control_period)
        self._sent, self._sent_at = [spline, spline.derivative(1), spline.derivative(2)], stamp

    def state(self, now: Measurement) -> tuple[Measurement, ArmState]:
        """A measurement, or what it should have been; and what the arm should do as commanded."""
        step = 1.5 * self._profile.velocity * max(self._profile.control_period, now.stamp - self._last.stamp)
        self._jumped |= bool((np.abs(now.joint_positions - self._last.joint_positions) > step).any())
        at = min(now.stamp - self._sent_at, self._sent[0].x[-1])
        sent = ArmState(*(part(at) for part in self._sent))
        if self._jumped:
            return replace(now, joint_positions=sent.positions, joint_velocities=sent.velocities), sent
        self._last = now
        return now, sent


def published(
    panda: RobotProfile, rng: np.random.Generator
) -> Iterator[tuple[Command, Measurement, ArmState, RobotProfile]]:
    """What is sent in one trial, whatever is seen, whatever the arm feels and wherever it is put.

    With each command come where the arm may be taken to be, what it should do by then, and the limits as they are.
    """
    machine, tracker, act = TrialMachine(panda), SentPlan(), adversary(rng)
    if rng.random() < 0.3:
        machine.tighten(float(rng.uniform(0.3, 1.0)), float(rng.uniform(1.0, 40.0)))
    now = measured(panda.home)
    x, y = rng.uniform([0.3, -0.25], [0.72, 0.25])
    machine.begin(now, block(x, y, float(rng.uniform(0.01, 0.3)), float(rng.uniform(0.01, 0.08))))
    if rng.random() < 0.3:  # somebody moves the arm after the trial has begun
        place = rng.uniform([0.32, -0.22, 0.02], [0.68, 0.22, 0.45])
        there = panda.chain.inverse(place, tool_down(0.0), panda.home, iterations=100)[0]
        now = measured(there, stamp=10.0)
    roughness = rng.choice([0.0, 5.0, 100.0])
    tightened = rng.choice([0.0, 0.01])
    pushed, push = rng.choice([0.0, 0.02]), rng.choice([0.03, 0.3])

    limits: list[RobotProfile] = []

    def feel(period: int, joints: np.ndarray) -> dict[str, object]:
        limits.append(machine.profile)
        if rng.random() < tightened:  # in the middle of a motion
            machine.tighten(0.7 * machine.profile.scale, machine.profile.max_force)
        changes: dict[str, object] = {"contact_force": rng.normal(size=3) * roughness}
        if rng.random() < pushed:
            changes["joint_positions"] = np.clip(joints + rng.normal(size=7) * push, panda.lower, panda.upper)
        return changes

    step, follow, reference = 0, float(rng.uniform(0.4, 1.0)), Reference(panda, now)
    while not machine.done:
        limits.clear()
        done, now = carry_out(machine, act(step), now, feel, follow)
        for number, (before, command) in enumerate(done):
            state, sent = reference.state(before)
            if any(tracker.changes(command, number == 0)):
                yield command, state, sent, limits[number]
                reference.send(command.motion, before.stamp)
        step += 1


SAMPLES = int(float(os.environ.get("MQL_SAFETY_SAMPLES", "2e4")))
"""Points of splines to look at; `make test-safety` asks for a million."""


@pytest.mark.slow
def test_no_trajectory_that_is_published_ever_breaks_a_limit(panda: RobotProfile) -> None:
    looked_at = trial = 0
    while looked_at < SAMPLES:
        for command, arm, sent, limits in published(panda, np.random.default_rng(trial)):
            assert broken_limits(panda, command, arm, limits=limits, running=sent) == [], f"trial {trial}"
            looked_at += 8 * len(command.motion.points) + 1
        trial += 1
