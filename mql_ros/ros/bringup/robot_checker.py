"""Moves an arm a little through the safety filter and records its motion; the verdicts are pure functions."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from rclpy.duration import Duration
from trajectory_msgs.msg import JointTrajectory

from mql_ros.grasping.driver_check import motion_checks as motions
from mql_ros.grasping.driver_check.checks import Verdict
from mql_ros.grasping.motion.joint_motion import stop
from mql_ros.grasping.motion.spline import extent
from mql_ros.grasping.robot.profile import RobotProfile
from mql_ros.grasping.safety.filter import SafetyFilter, measured_state
from mql_ros.grasping.types import Array, Command, Measurement, Motion
from mql_ros.ros.base.qos import RELIABLE
from mql_ros.ros.bringup.node_table import usual_watchdog
from mql_ros.ros.bringup.robot_recorder import RobotRecorder
from mql_ros.ros.driver.permission import has_simulator
from mql_ros.ros.driver.sent_commands import SentMotion
from mql_ros.ros.messages.sensors import measurement_from
from mql_ros.ros.messages.trajectories import GRIPPER_MESSAGES, arm_message

OFF_COURSE = 0.05
"""Distance of a joint from its motion at which the arm is held, rad."""
SILENT = 0.25
"""Age of joint states that ends a motion, s; at least the watchdog of the policy server."""
SETTLE = 0.4
"""Time from the end of a motion until the arm is assumed to rest, s."""
SLOW_WAY = 0.15
"""Length of the slow motion that is held half-way, rad."""
REST = 1.0
"""Time from a hold until the arm must rest, s."""
CLOSED, FORCE = 0.3, 10.0
"""Share of the widest opening to which the fingers close, and their force limit, N."""


@dataclass(frozen=True)
class CheckTimes:
    """Duration of each check, s; shorter in tests."""

    listen: float = 5.0
    """Before anything moves."""
    nudge: float = 0.8
    """Of one direction."""
    silence: float = 2.0
    slow_motion: float = 2.0
    gripper: float = 4.0
    """Time limit for one opening."""


class HeldError(Exception):
    """The arm must not be moved, or left its course and was held; the message is the reason."""


class RobotChecker(RobotRecorder):
    """A node that checks one driver; a context manager. It passes each motion's description to `announce` first."""

    def __init__(
        self,
        profile: RobotProfile,
        namespace: str = "",
        times: CheckTimes | None = None,
        announce: Callable[[str], None] = lambda text: None,
    ) -> None:
        super().__init__(profile, namespace)
        self._times, self._announce = times or CheckTimes(), announce
        self._filter, self._silence_limit = SafetyFilter(profile), SILENT
        self._sent = SentMotion(profile.control_period)
        self._arm = self.node.create_publisher(JointTrajectory, profile.topics.arm_command, RELIABLE)
        kind, self._gripper_message = GRIPPER_MESSAGES[profile.gripper_command]
        self._gripper = self.node.create_publisher(kind, profile.topics.gripper_command, RELIABLE)

    def listen(self) -> list[Verdict]:
        """Return the verdicts that need no motion."""
        return self.passive(self._times.listen)

    def move(self, joints: tuple[int, ...] | None = None) -> Iterator[Verdict]:
        """Yield the verdicts that need motions of these arm joints (indices; None for all) until the first failure.

        Call this only after every verdict of `listen` has passed.
        """
        self._drain()
        self._silence_limit = max(SILENT, usual_watchdog(has_simulator(self._publishers())))
        every = tuple(range(len(self._profile.joint_names)))
        try:
            for verdict in self._moves(joints or every):
                yield verdict
                if not verdict.passed:
                    self._hold()
                    return
        except HeldError as error:
            yield Verdict("motion", False, str(error))
        except KeyboardInterrupt:
            self._hold()
            self._arm.wait_for_all_acked(Duration(seconds=0.5))
            raise

    def _moves(self, joints: tuple[int, ...]) -> Iterator[Verdict]:
        profile, times, names = self._profile, self._times, self._profile.joint_names
        first, *others = joints[-1:] + joints[:-1]  # the last joint moves the least of the arm
        self._announce(f"moving {names[first]} by {motions.NUDGE} rad and back, then waiting")
        nudges = [self._nudge(first)]
        # An arm that goes on by itself must not be moved any more, so this comes first.
        self._forget()
        here = self._measurement().joint_positions
        problem = self._watch(here, here, times.silence)
        silence = motions.check_silence(profile, self._record())
        if problem and silence.passed:
            raise HeldError(problem)
        yield silence
        for joint in others:
            if not motions.check_nudges(profile, nudges[-1:]).passed:
                break  # where another joint moved than was asked to, no more is asked for
            self._announce(f"moving {names[joint]} by {motions.NUDGE} rad and back")
            nudges.append(self._nudge(joint))
        yield motions.check_nudges(profile, nudges)
        yield motions.check_motion_velocities(profile, nudges)
        yield motions.check_latency(profile, nudges)
        yield self.stopping(first)
        yield self._grips()

    # Motions.

    def _nudge(self, joint: int) -> motions.NudgeRecord:
        start = self._measurement().joint_positions
        out, amplitude = self._plan(start, joint, motions.NUDGE, self._times.nudge)
        back = motions.plan_nudge(self._profile, out.points[-1], joint, -amplitude, self._times.nudge)
        motion = out.then(back)
        self._forget()
        sent = self._follow(motion, self._seconds(motion) + SETTLE)
        planned = np.append(0.0, motion.points[:, joint] - start[joint])
        return motions.NudgeRecord(joint, amplitude, planned, sent, self._record())

    def _plan(self, start: Array, joint: int, way: float, seconds: float) -> tuple[Motion, float]:
        """Plan towards the middle of the joint's range, or away from it if the safety filter refuses that."""
        profile = self._profile
        inwards = way if start[joint] <= (profile.lower[joint] + profile.upper[joint]) / 2 else -way
        plans = [(motions.plan_nudge(profile, start, joint, a, seconds), a) for a in (inwards, -inwards)]
        return next((plan for plan in plans if not self._filter.plan_fault(plan[0])), plans[0])

    def stopping(self, joint: int) -> Verdict:
        """Hold a slow motion of one joint half-way; return whether the arm stops in time.

        HeldError if another joint leaves its course or joint_states stop.
        """
        profile, start = self._profile, self._measurement().joint_positions
        motion, _ = self._plan(start, joint, SLOW_WAY, self._times.slow_motion)
        self._announce(f"moving {profile.joint_names[joint]} slowly by {SLOW_WAY} rad, held half-way, then back")
        half = len(motion.points) // 2
        self._follow(motion, half * profile.control_period)
        self._forget()
        self._hold()
        speed = float(np.abs(motion.velocities[half - 1, joint]))
        here, way = self._newest()[1].positions, motions.stopping_way(speed)
        problem = self._watch(here - way, here + way, REST)
        verdict = motions.check_stop(joint, speed, self._record())
        if problem and verdict.passed:
            raise HeldError(problem)
        if verdict.passed:
            here = self._measurement().joint_positions
            back = motions.plan_nudge(
                profile, here, joint, float(start[joint] - here[joint]), self._times.slow_motion / 2
            )
            self._follow(back, self._seconds(back) + SETTLE)
        return verdict

    def _grips(self) -> Verdict:
        profile, reached = self._profile, []
        asked = [CLOSED * profile.max_width, profile.max_width]
        for width in asked:
            self._announce(f"moving the fingers to an opening of {width:.3f} m")
            self._grip(width)
            tolerance = motions.WIDTH_SHARE * profile.max_width / 2
            deadline = time.monotonic() + self._times.gripper
            while abs(self._newest()[1].finger_width - width) > tolerance and time.monotonic() < deadline:
                self._spin(0.02)
            reached.append(self._newest()[1].finger_width)
        return motions.check_gripper(profile, asked, reached)

    # Commands: each through the safety filter.

    def _send(self, motion: Motion) -> float:
        """Send an arm motion that the safety filter allows; return the time, s."""
        message = arm_message(self._profile, self._allowed(motion, self._measurement()).motion, 0)
        sent = self._now()
        self._arm.publish(message)
        self._sent.put(motion, sent)
        return sent

    def _allowed(self, motion: Motion, measurement: Measurement, width: float | None = None) -> Command:
        profile = self._profile
        target = float(np.clip(measurement.finger_width if width is None else width, 0.0, profile.max_width))
        command = Command(motion, target, min(FORCE, profile.max_force))
        allowed = self._filter.filter(command, measurement)
        if allowed is not command:
            raise HeldError(f"the safety filter refused the motion: {self._filter.last_refusal}")
        return allowed

    def _grip(self, width: float) -> None:
        measurement = self._measurement()
        resting = stop(self._profile, measured_state(measurement))
        command = self._allowed(resting, measurement, width)
        self._gripper.publish(self._gripper_message(self._profile, command, 0))

    def _hold(self) -> None:
        """Stop the arm from its present state, or from where the last motion has brought it.

        If neither is known, send an empty trajectory, at which many drivers stop.
        """
        now = self._now()
        state = self._present.state(now) or self._sent.state(now)
        motion = None if state is None else stop(self._profile, state)
        self._sent.put(motion, now)
        self._arm.publish(arm_message(self._profile, motion, 0))

    def _measurement(self) -> Measurement:
        """Return the arm as measured last, without the wrench, which the safety filter does not use."""
        at, sample = self._newest()
        if self._now() - at > self._silence_limit:
            raise HeldError(f"no joint_states came for {self._silence_limit} s")
        return measurement_from(sample, None)

    def _watch(self, lowest: Array, highest: Array, seconds: float) -> str:
        """Record for `seconds`; return why the arm was held, or "".

        It is held when it leaves the bounds [n] (rad) or when joint_states stop.
        """
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            self._spin(0.01)
            at, sample = self._newest()
            beyond = np.maximum(lowest - sample.positions, sample.positions - highest) - OFF_COURSE
            if (beyond > 0).any():
                self._hold()
                joint = self._profile.joint_names[int(np.argmax(beyond))]
                return f"{joint} left its course by more than {OFF_COURSE} rad, and the arm was held"
            if self._now() - at > self._silence_limit:
                self._hold()
                return f"no joint_states came for {self._silence_limit} s in a motion, and the arm was held"
        return ""

    def _follow(self, motion: Motion, seconds: float) -> float:
        """Send a motion and record for `seconds`; return the time at which it was sent, s."""
        sent = self._send(motion)
        if problem := self._watch(*extent(motion, self._profile.control_period), seconds):
            raise HeldError(problem)
        return sent

    def _seconds(self, motion: Motion) -> float:
        return len(motion.points) * self._profile.control_period
