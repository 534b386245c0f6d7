"""Safety filter: the last check before a command is published; a command that breaks a limit becomes a stop.

`SafetyFilter` checks every command of a trial and every motion of `mql check-robot`. Stops and holds only brake an arm
that moves already, so refusing one for workspace or clearance would let it run on. They are planned within the arm's
own limits of acceleration and jerk: a refused command's stop by `joint_motion.stop`, a hold and the first command by
`hold_motion`, which also checks joint limits (`joint_fault`). A hold of `mql check-robot` is `joint_motion.stop` alone.

The limits come from the robot profile (config/robots/NAME.yaml). `RobotProfile.slowed` scales them by `limit_scale`.
Constants of this module are tolerances of the checks.
"""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from mql_ros.grasping.motion import joint_motion, spline
from mql_ros.grasping.robot.profile import RobotProfile
from mql_ros.grasping.safety.clearance import ArmClearance, place_words
from mql_ros.grasping.types import ArmState, Array, Command, Measurement, Motion

LAG = 1.5
"""Largest step from the measured position, as a multiple of one at full speed: an arm follows with a lag."""
MOVING_SPEED = 0.05
"""Measured speed above which a joint counts as moving, rad/s; the controller compensates for less."""
REACH_TOLERANCE = 0.005
"""Largest distance between the end of a motion and the tool's target, m."""


class SafetyFilter:
    """Checks commands against a robot profile and counts those that it refuses.

    Along the whole spline it checks position, speed, acceleration and jerk of every joint, the tool's workspace box and
    the clearance of the links. It also checks for finite numbers, an end at rest, the distance from the measured
    position, jumps of the measured position, and finger opening and force.
    """

    def __init__(self, profile: RobotProfile) -> None:
        self.profile = self._original = profile
        self.braking = profile
        """Limits for braking: acceleration and jerk are never tightened, because the arm could not stop in time."""
        self.refusals = 0
        self.last_refusal = ""
        """Reason of the latest refusal in one sentence; empty if there was none."""
        self._clearance = ArmClearance(profile)
        self._finger_target: float | None = None
        self._finger_force = 0.0
        self.position_jumped = False
        """Whether the measured position has jumped in this trial; it is not trusted any more."""
        self._trusted: Measurement | None = None
        self._sent: Motion | None = None
        """Motion that was allowed last, at driver time `_sent_at`, s."""
        self._sent_at = 0.0

    def tighten(self, scale: float, force: float) -> None:
        """Lower the speed limit to `scale` (in (0, 1]) times the profile's and a finger's force limit to `force`, N.

        Acceleration and jerk shrink by the square and the cube of the scale. Raises ValueError, and changes nothing,
        if a limit would become wider than it is.
        """
        now = self.profile
        tighter = self._original.slowed(scale, force)
        if (tighter.velocity > now.velocity * (1 + 1e-9)).any() or tighter.max_force > now.max_force:
            raise ValueError("a limit can only be tightened while the node runs; start it anew to widen one")
        self.profile = tighter
        self.braking = replace(self._original, velocity=tighter.velocity)

    def begin(self, measurement: Measurement) -> None:
        """Begin a trial: trust the measured position, and forget what was sent before."""
        self._trusted, self._sent, self.position_jumped = measurement, None, False

    def filter(self, command: Command, measurement: Measurement, plan_fault: str | None = None) -> Command:
        """Return the command if it is allowed, otherwise one that stops the arm where it is.

        The arm's position is the measured one. After a jump it is the one that the last command led to, until the next
        trial. `plan_fault` is the result of `plan_fault()` for the whole plan. If it is None, the motion is checked
        here, and one that starts at rest is refused while the arm moves. A refused command keeps its finger part if
        that is allowed, otherwise the one allowed last.
        """
        if plan_fault is None:
            plan_fault = self.plan_fault(command.motion) or self._rest_fault(command.motion, measurement)
        finger_fault = self._finger_fault(command.finger_target, command.finger_force)
        if not finger_fault:
            self._finger_target, self._finger_force = command.finger_target, command.finger_force
        fault = self._jump(measurement) or plan_fault or self._start_fault(command.motion, measurement) or finger_fault
        if fault:
            self.refusals += 1
            self.last_refusal = fault
            command = self._hold(measurement)
        self._sent, self._sent_at = command.motion, measurement.stamp
        return command

    def plan_fault(self, motion: Motion, target: Array | None = None, braking: bool = False) -> str:
        """Return in one sentence what is wrong with a motion, or "" if it is allowed.

        target: tool position at the end [3], m, base frame; None for any. braking: the motion stops another one, and
        may use the arm's own limits of acceleration and jerk.
        """
        profile, points = self.profile, motion.points
        names = profile.joint_names
        shapes = {points.shape, motion.velocities.shape, motion.accelerations.shape}
        if len(shapes) > 1 or points.ndim != 2 or points.shape[1] != len(names) or len(points) == 0:
            return f"points {points.shape}, velocities and accelerations are not one row of {len(names)} per period"
        begin = (motion.start.positions, motion.start.velocities, motion.start.accelerations)
        if not all(np.isfinite(part).all() for part in (points, motion.velocities, motion.accelerations, *begin)):
            return "the motion holds a number that is not finite"
        if motion.velocities[-1].any() or motion.accelerations[-1].any():
            return "the motion does not end at rest"
        limits = self.braking if braking else profile
        if fault := joint_fault(profile, limits, motion):
            return fault
        return self._reach_fault(points[-1], target) or self._clearance.fault(motion, profile.control_period)

    def _reach_fault(self, end: Array, target: Array | None) -> str:
        if target is None:
            return ""
        short = float(np.linalg.norm(self.profile.chain.forward(end)[0] - target))
        if short <= REACH_TOLERANCE:
            return ""
        return f"the arm cannot bring the tool to {place_words(target)}; {short * 1000:.0f} mm would be left"

    def _start_fault(self, motion: Motion, measurement: Measurement) -> str:
        if self.position_jumped:
            assert self._sent is not None, "the jump was answered"
            is_rest = np.array_equal(motion.points, self._sent.points[-len(motion.points) :])
            return "" if is_rest else "the measured position has jumped; only the stop that followed is allowed"
        steps, allowed = np.abs(motion.points[0] - measurement.joint_positions), self._step(1.0)
        if (steps <= allowed).all():
            return ""
        j = int(np.argmax(steps / allowed))
        return (
            f"joint {self.profile.joint_names[j]} is {steps[j]:.3f} rad away from where the motion goes on; "
            f"at most {allowed[j]:.3f} are allowed"
        )

    def _rest_fault(self, motion: Motion, measurement: Measurement) -> str:
        moves = "" if motion.start.velocities.any() else what_moves(self.profile, measurement)
        return f"{moves}, but the motion begins at rest" if moves else ""

    def _jump(self, measurement: Measurement) -> str:
        """Return in one sentence how the measured position has jumped, faster than the arm can move, or ""."""
        if self.position_jumped:
            return ""
        before, self._trusted = self._trusted, measurement
        if before is None:
            return ""
        periods = max(1.0, (measurement.stamp - before.stamp) / self.profile.control_period)
        steps, allowed = np.abs(measurement.joint_positions - before.joint_positions), self._step(periods)
        if (steps <= allowed).all():
            return ""
        self.position_jumped, self._trusted = True, before
        j = int(np.argmax(steps / allowed))
        return f"joint {self.profile.joint_names[j]} was measured to jump by {steps[j]:.3f} rad"

    def _state(self, measurement: Measurement) -> ArmState:
        """Return the measured state, or after a jump the one that the last command leads to."""
        if not self.position_jumped:
            return measured_state(measurement)
        if self._sent is None:
            assert self._trusted is not None, "a jump is one from somewhere"
            return ArmState.at_rest(self._trusted.joint_positions)
        period = self.profile.control_period
        return spline.state_at(self._sent, max(measurement.stamp - self._sent_at, period), period)

    def _step(self, periods: float) -> Array:
        """Return how far the joints may be from their last or planned positions after some control periods [n], rad."""
        return max_deviation(self._original, periods)

    def _finger_fault(self, target: float, force: float) -> str:
        if not (math.isfinite(target) and math.isfinite(force)):
            return "the finger command is not finite"
        if not 0.0 <= target <= self.profile.max_width:
            return f"the fingers would open to {target:.3f} m; allowed are 0 to {self.profile.max_width:.3f}"
        if not 0.0 <= force <= self.profile.max_force:
            return f"the fingers would press with {force:.1f} N; allowed are 0 to {self.profile.max_force:.1f}"
        return ""

    def _hold(self, measurement: Measurement) -> Command:
        profile = self.profile
        target = measurement.finger_width if self._finger_target is None else self._finger_target
        return Command(
            # With the arm's own limits: the tightened ones would let it run on for long.
            joint_motion.stop(self._original, self._state(measurement)),
            min(max(target, 0.0), profile.max_width),
            min(self._finger_force, profile.max_force),
        )


def joint_fault(profile: RobotProfile, limits: RobotProfile, motion: Motion, tolerance: float = 1e-6) -> str:
    """Return in one sentence which joint limit a motion breaks, or "": positions by `profile`, the rest by `limits`.

    tolerance: fraction by which a limit may be exceeded.
    """
    names, period = profile.joint_names, profile.control_period
    lowest, highest = spline.extent(motion, period)
    # An arm that stands outside its limits may come back, but not get farther out.
    start = motion.start.positions
    outside = (lowest < np.minimum(profile.lower, start) - 1e-6) | (highest > np.maximum(profile.upper, start) + 1e-6)
    if outside.any():
        j = int(np.argmax(outside))
        farthest = lowest[j] if lowest[j] < profile.lower[j] else highest[j]
        between = f"{profile.lower[j]:.3f} and {profile.upper[j]:.3f}"
        return f"joint {names[j]} would go to {farthest:.3f} rad; its limits are {between}"
    for what, unit, bound, limit in zip(
        ("a speed", "an acceleration", "a jerk"),
        ("rad/s", "rad/s^2", "rad/s^3"),
        spline.largest(motion, period),
        (limits.velocity, limits.acceleration, limits.jerk),
        strict=True,
    ):
        if (bound > limit * (1 + tolerance)).any():
            j = int(np.argmax(bound / limit))
            return f"joint {names[j]} would reach {what} of {bound[j]:.2f} {unit}; its limit is {limit[j]:.2f}"
    return ""


def hold_motion(profile: RobotProfile, measured: ArmState | None, sent: ArmState | None) -> Motion | None:
    """Return the shortest stop within the arm's own limits, or None if none is known to be safe.

    It starts at the measured state. It starts at `sent`, the state that the last motion led to, if the measurement is
    missing, outside the position limits, or farther from `sent` than an arm that follows can be.
    """
    states = []
    if measured is not None and is_within(profile, measured).all():
        follows = sent is None or (np.abs(measured.positions - sent.positions) <= max_deviation(profile, 2.0)).all()
        states = [measured] if follows else []
    if sent is not None:  # with its acceleration, as a rule: to go on with that may lead beyond the limit of speed
        states += [sent, replace(sent, accelerations=np.zeros_like(sent.accelerations))]
    for state in states:
        motion = joint_motion.stop(profile, state)
        if not joint_fault(profile, profile, motion, tolerance=1e-5):  # stops are planned up to the limits
            return motion
    return None


def is_within(profile: RobotProfile, state: ArmState) -> NDArray[np.bool_]:
    """Return which joints [n] are within their position limits and have a finite speed."""
    inside = (state.positions >= profile.lower) & (state.positions <= profile.upper)
    return np.asarray(inside & np.isfinite(state.velocities))


def max_deviation(profile: RobotProfile, periods: float) -> Array:
    """Return how far the joints may be from their last or planned positions after some control periods [n], rad."""
    return np.asarray(LAG * periods * profile.velocity * profile.control_period)


def measured_state(measurement: Measurement) -> ArmState:
    """Return the measured state of the arm with accelerations of zero."""
    return replace(ArmState.at_rest(measurement.joint_positions), velocities=measurement.joint_velocities)


def what_moves(profile: RobotProfile, measurement: Measurement) -> str:
    """Return a phrase about the joint measured to move fastest, or "" if the arm stands still."""
    speeds = np.abs(measurement.joint_velocities)
    j = int(np.argmax(speeds))
    return f"joint {profile.joint_names[j]} moves at {speeds[j]:.2f} rad/s" if speeds[j] > MOVING_SPEED else ""
