"""One trial as a state machine: decisions in, commands for arm and gripper out, one control period at a time.

The Gymnasium environment and the policy server drive the very same machine, the one with a simulator in the same
process and the other over topics; that is what makes their actions equal bit for bit.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from mql_ros.grasping.motion import joint_motion
from mql_ros.grasping.motion.kinematics import quaternion_to_matrix, yaw_of
from mql_ros.grasping.motion.spline import state_at
from mql_ros.grasping.robot.profile import RobotProfile
from mql_ros.grasping.safety.filter import SafetyFilter, measured_state, what_moves
from mql_ros.grasping.task import spaces
from mql_ros.grasping.task.spaces import Phase
from mql_ros.grasping.types import ArmState, Array, Command, Measurement, Motion

TRAVEL_SPEED = 0.50
DESCENT_SPEED = 0.32
CORRECTION_SPEED = 0.15
CLOSING_PERIODS = 7
"""Least number of control periods in which the fingers close; slow fingers get as many as they need."""
SETTLING_PERIODS = 10
"""Longest time for which an arm that lags behind its plan is waited for, control periods."""
HOME_TOLERANCE = 0.05
"""A trial starts with the tool within this distance of its home, m."""
UPRIGHT = 0.9
"""Cosine of the largest tilt with which an object counts as standing."""
RETREAT = 0.008
"""How far the tool backs off after the guard has stopped it, m."""


class TrialMachine:
    """Plans and supervises the three decisions of a trial on one object.

    Use: `begin(measurement)`; then for each decision `decide(action, measurement)` and, once per control period,
    `command(measurement)` until it returns None; `observation(measurement)` is what the policy sees next.
    """

    def __init__(self, profile: RobotProfile) -> None:
        self.profile = profile
        self.phase = Phase.PLACE
        self.done = True
        self.executed: Array = np.zeros(spaces.ACTION_SIZE)
        """The executed action [4] in [-1, 1] of the last decision; differs from the policy's if a limit changed it."""
        self._safety = SafetyFilter(profile)
        self._plan_fault = ""
        self._next = 0

    def tighten(self, scale: float, force: float) -> None:
        """Lower speed and force limits (see SafetyFilter.tighten); ValueError where they would become wider.

        A motion under way that breaks them is stopped; where it keeps to them it goes on.
        """
        self._safety.tighten(scale, force)
        self.profile = self._safety.profile
        if self.done:
            return
        self._press_with(self._force)
        if self._next < len(self._motion.points) and not self._refused:  # a stop is as short as the arm can make it
            fault = self._safety.plan_fault(self._motion.rest(self._next), braking=self._braking)
            self._plan_fault = self._plan_fault or (fault and f"{fault}, since limits were tightened")

    @property
    def refusals(self) -> int:
        """How many commands the safety filter has replaced by holding still; each of them ended its decision."""
        return self._safety.refusals

    @property
    def last_refusal(self) -> str:
        """Why the latest of them was refused, one sentence; empty when there was none."""
        return self._safety.last_refusal

    @property
    def position_jumped(self) -> bool:
        """Whether the measured position has jumped in this trial: the arm was stopped, and the trial is over."""
        return self._safety.position_jumped

    def begin(self, measurement: Measurement) -> None:
        """Start a trial from where arm and object are now.

        Raises ValueError, and starts nothing, unless the tool rests at home, above everything, and the object stands
        within the workspace: the first motion crosses over at the height at which the tool is.
        """
        self._check_start(measurement)
        self.phase = Phase.PLACE
        self.done = False
        self._origin = measurement.object_position.copy()
        yaw = yaw_of(measurement.object_orientation)
        self._x_axis = np.array([np.cos(yaw), np.sin(yaw), 0.0])
        self._yaw = yaw
        self._force = self.profile.max_force
        self._finger_target = self.profile.max_width
        self._guarded = False
        self._safety.begin(measurement)
        self._start_decision(measurement)

    def _check_start(self, measurement: Measurement) -> None:
        profile = self.profile
        tool, _ = profile.chain.forward(measurement.joint_positions)
        away = float(np.linalg.norm(tool - profile.home_position))
        if away > HOME_TOLERANCE:
            raise ValueError(
                f"the tool is {away:.2f} m from its home {profile.home_position.tolist()}; a trial starts there: "
                "bring the arm home first"
            )
        if moves := what_moves(profile, measurement):
            raise ValueError(f"{moves}; a trial starts at rest: wait until the arm stands still")
        x, y, z = (float(v) for v in measurement.object_position)
        lower, upper = profile.workspace_lower, profile.workspace_upper
        if not (lower[0] <= x <= upper[0] and lower[1] <= y <= upper[1] and -0.05 <= z <= upper[2]):
            raise ValueError(f"the object's pose is ({x:.2f}, {y:.2f}, {z:.2f}), outside the workspace")
        if quaternion_to_matrix(measurement.object_orientation)[2, 2] < UPRIGHT:
            raise ValueError("the object does not stand upright; a trial starts with a standing object")

    def _start_decision(self, measurement: Measurement) -> None:
        joints = measurement.joint_positions
        self._effort_peak = 0.0
        self._contact_peak = 0.0
        self._push_peak = 0.0
        self._contact_x = 0.0
        self._weight = 0.0
        nothing = np.empty((0, len(joints)))
        self._motion = Motion(ArmState.at_rest(joints), nothing, nothing, nothing)
        self._plan_fault = ""
        self._next, self._began = 0, measurement.stamp
        self._wait = self._settling = 0
        self._retreating = self._braking = self._refused = False

    def decide(self, action: Array, measurement: Measurement) -> None:
        """Plan the present decision for an action [4] in [-1, 1]; ValueError when it is not finite."""
        self.executed = action = spaces.sanitized(action)
        self._start_decision(measurement)
        rest = self._come_to_rest(measurement)
        joints = rest.state(len(rest.points)).positions
        position, _ = self.profile.chain.forward(measurement.joint_positions)
        self._decided_from = position
        if self.phase is Phase.PLACE:
            place = spaces.place_from_action(action)
            above = self._origin + place.x * self._x_axis
            above[2] = position[2]
            travel = self._line(joints, above, TRAVEL_SPEED)
            below = above.copy()
            below[2] = self._origin[2] + place.z
            self._plan(rest.then(travel).then(self._line(travel.points[-1], below, DESCENT_SPEED)), below)
        elif self.phase is Phase.CLOSE:
            shift = spaces.correction_from_action(action)
            target = position + shift.x * self._x_axis + np.array([0.0, 0.0, shift.z])
            self._plan(rest.then(self._line(joints, target, CORRECTION_SPEED)), target)
            self._press_with(spaces.force_from_action(action))
            needed = int(np.ceil(self.profile.finger_seconds / self.profile.control_period - 1e-9))
            self._wait = max(CLOSING_PERIODS, needed)
        else:
            self._press_with(spaces.force_from_action(action))
            target = position + np.array([0.0, 0.0, spaces.LIFT_HEIGHT])
            self._plan(rest.then(self._line(joints, target, spaces.speed_from_action(action))), target)
            self._wait = 3

    def _come_to_rest(self, measurement: Measurement) -> Motion:
        """Lines begin at rest: what brings a moving arm there first, no points where it stands still."""
        if what_moves(self.profile, measurement):
            # From the velocity that it has: where that is above a tightened limit, the plan becomes a hold.
            state = measured_state(measurement)
            return replace(joint_motion.stop(self.profile, state), start=state)
        return self._motion

    def _line(self, joints: Array, target: Array, speed: float) -> Motion:
        return joint_motion.straight_line(self.profile, joints, target, self._yaw, speed)

    def _plan(self, plan: Motion, target: Array) -> None:
        """Check a motion that begins now; `target` [3] is where it should bring the tool, m, base frame."""
        self._motion, self._next = plan, 0
        # The whole plan is checked once; what is left for each period is cheap.
        wanted = np.clip(target, self.profile.workspace_lower, self.profile.workspace_upper)
        if (wanted != target).any():
            self._record_place(wanted)
        self._plan_fault = self._safety.plan_fault(plan, wanted, braking=self._braking)

    def _press_with(self, force: float) -> None:
        """Let the fingers press with `force`, N, or with what is allowed, and learn from that."""
        self._force = min(force, self.profile.max_force)
        if self._force < force and self.phase is not Phase.PLACE:
            self.executed = self.executed.copy()
            self.executed[2] = spaces.action_for(force=self._force)[2]

    def _record_place(self, target: Array) -> None:
        """The tool goes to `target` [3] (m, base frame), not where the action aimed: learn from what was done."""
        if self.phase is Phase.LIFT:  # its height is no part of the action
            return
        way = target - (self._origin if self.phase is Phase.PLACE else self._decided_from)
        place = spaces.Place(float(way @ self._x_axis), float(way[2]))
        placing = self.phase is Phase.PLACE
        action = spaces.action_for(place=place) if placing else spaces.action_for(correction=place)
        self.executed = np.concatenate([action[:2], self.executed[2:]])

    def _allowed(self, command: Command, measurement: Measurement) -> Command:
        """The one way out for commands: what the safety filter refuses ends the decision at rest."""
        allowed = self._safety.filter(command, measurement, self._plan_fault)
        if allowed is not command:
            self._record_place(self.profile.chain.forward(allowed.motion.points[-1])[0])
            self._motion, self._plan_fault, self._wait = allowed.motion, "", 0
            self._began = measurement.stamp
            # One way to rest is followed to its end; if that is refused too, the decision is over at once.
            self._next = len(self._motion.points) if self._refused else 1
            self._refused = True
        return allowed

    def command(self, measurement: Measurement) -> Command | None:
        """What to do in the next control period, or None when the decision has been carried out."""
        self._feel(measurement)
        # The arm goes on also where a measurement was lost.
        self._next = max(self._next, round((measurement.stamp - self._began) / self.profile.control_period))
        under_way = self._next < len(self._motion.points)
        settling = not under_way and self._wait == 0 and self._settles(measurement)
        if (under_way or (settling and self.phase is Phase.PLACE)) and self._must_stop(measurement):
            self._retreat(measurement)
            under_way = True
        if under_way:
            command = Command(self._motion.rest(self._next), self._finger_target, self._force)
            self._next += 1
            return self._allowed(command, measurement)
        if self._wait > 0 or settling:
            self._wait = max(0, self._wait - 1)
            if self.phase is Phase.CLOSE:
                self._finger_target = 0.0
            resting = self._motion.rest(len(self._motion.points))
            return self._allowed(Command(resting, self._finger_target, self._force), measurement)
        self.done = self.phase is Phase.LIFT or self.position_jumped
        if not self.done:
            self.phase = Phase(self.phase + 1)
        return None

    def _settles(self, measurement: Measurement) -> bool:
        """Whether an arm that lags behind its plan is waited for, though not for ever, before the next decision."""
        if self.phase is Phase.LIFT or self._refused or not what_moves(self.profile, measurement):
            return False
        self._settling += 1
        return self._settling <= SETTLING_PERIODS

    def _feel(self, measurement: Measurement) -> None:
        force = measurement.contact_force
        size = float(np.sqrt(force @ force))
        self._effort_peak = max(self._effort_peak, measurement.finger_effort)
        # The tool points down: what holds it up pushes along -z, what hangs in the fingers pulls along +z.
        up = -float(force[2])
        if up > max(self._push_peak, 1.0):
            self._push_peak = up
            self._contact_x = float(measurement.contact_torque[1]) / up
        self._contact_peak = max(self._contact_peak, size)
        if self.phase is Phase.LIFT:
            self._weight = max(self._weight, -up)

    def _must_stop(self, measurement: Measurement) -> bool:
        if self.phase is Phase.LIFT or self._retreating or self._refused:
            return False
        force = measurement.contact_force
        return float(force @ force) > self.profile.guard_force**2

    def _retreat(self, measurement: Measurement) -> None:
        """Give up the motion and back off: further pushing would tip or break what is in the way."""
        self._guarded = self._retreating = True
        # The arm is where the plan has brought it by now, and moves as planned: it turns back as soon as it can.
        state = state_at(self._motion, measurement.stamp - self._began, self.profile.control_period)
        self._began = measurement.stamp
        position, turn = self.profile.chain.forward(measurement.joint_positions)
        target = np.minimum(position + np.array([0.0, 0.0, RETREAT]), self.profile.workspace_upper)
        joints, _ = self.profile.chain.inverse(target, turn, state.positions)
        self._braking = bool(state.velocities.any())
        limits = self._safety.braking if self._braking else self.profile
        self._plan(joint_motion.turn_back(limits, state, joints), target)

    def observation(self, measurement: Measurement) -> Array:
        """What the policy sees before its next decision (names in `spaces.OBSERVATION_NAMES`) [15]."""
        position, _ = self.profile.chain.forward(measurement.joint_positions)
        up = quaternion_to_matrix(measurement.object_orientation)[:, 2]
        moved = measurement.object_position - self._origin
        phase = np.zeros(3)
        phase[self.phase] = 1.0
        span = np.log(spaces.FORCE_HIGH / spaces.FORCE_LOW)
        values = [
            *phase,
            ((position - self._origin) @ self._x_axis - spaces.X_MIDDLE) / spaces.X_RANGE,
            (position[2] - self._origin[2] - spaces.Z_MIDDLE) / spaces.Z_RANGE,
            measurement.finger_width / spaces.WIDTH_SCALE - 1.0,
            np.log1p(self._effort_peak) / 3.0,
            float(self._guarded),
            np.log1p(self._contact_peak) / 3.0,
            self._contact_x / 0.03,
            moved[2] / spaces.HEIGHT_SCALE,
            (moved @ self._x_axis) / 0.03,
            (up @ self._x_axis) / 0.3,
            self._weight / 5.0,
            2.0 * np.log(self._force / spaces.FORCE_LOW) / span - 1.0,
        ]
        return np.clip(np.array(values, dtype=np.float64), -spaces.OBSERVATION_LIMIT, spaces.OBSERVATION_LIMIT)
