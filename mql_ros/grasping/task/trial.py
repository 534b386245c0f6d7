"""One trial as a state machine: decisions in, commands for arm and gripper out, one control period at a time.

The Gymnasium environment and the policy server drive the very same machine, the one with a simulator in the same
process and the other over topics; that is what makes their actions equal bit for bit.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from mql_ros.grasping.learning.candidates import top_below
from mql_ros.grasping.motion import joint_motion
from mql_ros.grasping.motion.kinematics import tool_down
from mql_ros.grasping.motion.spline import state_at
from mql_ros.grasping.perception.height_map import HeightMap
from mql_ros.grasping.robot.profile import RobotProfile
from mql_ros.grasping.safety.filter import SafetyFilter, measured_state, what_moves
from mql_ros.grasping.task import spaces
from mql_ros.grasping.task.reward import HELD_EFFORT
from mql_ros.grasping.task.spaces import Phase
from mql_ros.grasping.types import ArmState, Array, Command, Measurement, Motion

TRAVEL_SPEED = 0.50
DESCENT_SPEED = 0.32
CONTACT_SPEED = 0.12
"""Speed of the last part of a descent, from `CLEARANCE` above what was seen below the fingers, m/s."""
CLEARANCE = 0.03
"""m."""
TABLE = 0.0
"""Height of the table in the base frame, m."""
CORRECTION_SPEED = 0.15
CLOSING_PERIODS = 7
"""Least number of control periods in which the fingers close; slow fingers get as many as they need."""
SETTLING_PERIODS = 10
"""Longest time for which an arm that lags behind its plan is waited for, control periods."""
HOME_TOLERANCE = 0.05
"""A trial starts with the tool within this distance of its home, m."""
RETREAT = 0.008
"""How far the tool backs off after the guard has stopped it, m."""


class TrialMachine:
    """Plans and supervises the three decisions of a trial on one object.

    Use: `begin(measurement, view)`; then for each decision `decide(action, measurement)` and, once per control period,
    `command(measurement)` until it returns None; `observation(measurement)` is what the policy sees next.
    """

    def __init__(self, profile: RobotProfile) -> None:
        self.profile = profile
        self.phase = Phase.PLACE
        self.done = True
        self.executed: Array = np.zeros(spaces.ACTION_SIZE)
        """The executed action [6] in [-1, 1] of the last decision; differs from the policy's if a limit changed it."""
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

    def begin(self, measurement: Measurement, view: HeightMap) -> None:
        """Start a trial from where the arm is now, with what the camera sees.

        Raises ValueError, and starts nothing, unless the tool rests at home, above everything that is seen, and the
        object lies within the workspace.
        """
        self._check_start(measurement, view)
        self.phase = Phase.PLACE
        self.done = False
        self._view = view
        self._seen = spaces.view_entries(view.heights)
        self._origin = np.array([view.centre[0], view.centre[1], TABLE])
        self._yaw = 0.0
        self._force = self.profile.max_force
        self._finger_target = self.profile.max_width
        self._guarded = False
        self._safety.begin(measurement)
        self._start_decision(measurement)

    def _check_start(self, measurement: Measurement, view: HeightMap) -> None:
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
        x, y = (float(v) for v in view.centre)
        lower, upper = profile.workspace_lower, profile.workspace_upper
        if not (lower[0] <= x <= upper[0] and lower[1] <= y <= upper[1]):
            raise ValueError(f"the object is seen at ({x:.2f}, {y:.2f}), outside the workspace")
        if TABLE + view.top + CLEARANCE > tool[2]:
            raise ValueError(
                f"what is seen is {view.top:.2f} m high and the tool waits at {tool[2]:.2f} m; it could not pass above"
            )

    def _start_decision(self, measurement: Measurement) -> None:
        joints = measurement.joint_positions
        self._effort_peak = 0.0
        self._contact_peak = 0.0
        self._push_peak = 0.0
        self._contact = np.zeros(2)
        self._side_force = 0.0
        self._touch_width = 0.0
        self._weight = 0.0
        self._lift_torque = np.zeros(2)
        nothing = np.empty((0, len(joints)))
        self._motion = Motion(ArmState.at_rest(joints), nothing, nothing, nothing)
        self._plan_fault = ""
        self._next, self._began = 0, measurement.stamp
        self._wait = self._settling = 0
        self._retreating = self._braking = self._refused = False

    def decide(self, action: Array, measurement: Measurement) -> None:
        """Plan the present decision for an action [6] in [-1, 1]; ValueError when it is not finite."""
        self.executed = action = spaces.sanitized(action)
        self._start_decision(measurement)
        rest = self._come_to_rest(measurement)
        joints = rest.state(len(rest.points)).positions
        position, _ = self.profile.chain.forward(measurement.joint_positions)
        self._decided_from = position
        if self.phase is Phase.PLACE:
            x, y, z, self._yaw = (float(v) for v in spaces.grasps_of(action))
            self._plan_descent(rest, joints, self._origin + np.array([x, y, z]))
        elif self.phase is Phase.CLOSE:
            target = position + self._shift(action)
            self._plan(rest.then(self._line(joints, target, CORRECTION_SPEED)), target)
            self._press_with(spaces.force_from_action(action))
            needed = int(np.ceil(self.profile.finger_seconds / self.profile.control_period - 1e-9))
            self._wait = max(CLOSING_PERIODS, needed)
        else:
            self._press_with(spaces.force_from_action(action))
            target = position + np.array([0.0, 0.0, spaces.LIFT_HEIGHT])
            self._plan(rest.then(self._line(joints, target, spaces.speed_from_action(action))), target)
            self._wait = 3

    def _shift(self, action: Array) -> Array:
        """The correction [3] that a CLOSE action asks for, m, base frame."""
        return tool_down(self._yaw) @ (np.asarray(action[:3]) * spaces.CORRECTION * np.array([1.0, 1.0, -1.0]))

    def _plan_descent(self, rest: Motion, joints: Array, target: Array) -> None:
        """Cross above everything that was seen, go down quickly to above what is below the fingers, then slowly."""
        ceiling = self.profile.workspace_upper[2]
        below = self._origin[2] + top_below(self._view.heights, target[:2] - self._origin[:2], self._yaw) + CLEARANCE
        slow_from = min(max(below, target[2] + CLEARANCE), ceiling)
        over = min(max(self._origin[2] + self._view.top + CLEARANCE, slow_from), ceiling)
        if over - slow_from < CLEARANCE:  # a stop on the way would cost more than it saves
            slow_from = over
        plan, at = rest, joints
        for height, speed in ((over, TRAVEL_SPEED), (slow_from, DESCENT_SPEED), (target[2], CONTACT_SPEED)):
            if height == slow_from == over and speed == DESCENT_SPEED:
                continue
            part = self._line(at, np.array([target[0], target[1], height]), speed)
            plan, at = plan.then(part), part.points[-1]
        self._plan(plan, target)

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
            self.executed[spaces.FORCE] = spaces.force_entry(self._force)

    def _record_place(self, target: Array) -> None:
        """The tool goes to `target` [3] (m, base frame), not where the action aimed: learn from what was done."""
        if self.phase is Phase.LIFT:  # its height is no part of the action
            return
        if self.phase is Phase.PLACE:
            way = target - self._origin
            entries = spaces.grasp_action(float(way[0]), float(way[1]), float(way[2]), self._yaw)[:4]
            self.executed = np.concatenate([entries, self.executed[4:]])
        else:
            shift = tool_down(self._yaw).T @ (target - self._decided_from) * np.array([1.0, 1.0, -1.0])
            entries = np.clip(shift / spaces.CORRECTION, -1.0, 1.0)
            self.executed = np.concatenate([entries, self.executed[3:]])

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
            # The torque about the tool's origin says where along its axes it was held up.
            self._contact = np.array([measurement.contact_torque[1], -measurement.contact_torque[0]]) / up
        self._contact_peak = max(self._contact_peak, size)
        if self.phase is Phase.CLOSE and self._touch_width == 0.0:
            if abs(float(force[1])) > abs(self._side_force):
                self._side_force = float(force[1])
            if measurement.finger_effort >= HELD_EFFORT:
                self._touch_width = measurement.finger_width
        if self.phase is Phase.LIFT and -up > self._weight:
            self._weight = -up
            self._lift_torque = measurement.contact_torque[:2].copy()

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
        """What the policy sees before its next decision: the view, then the signals [`spaces.OBSERVATION_SIZE`]."""
        return np.concatenate([self._seen, self._signals(measurement)])

    def _signals(self, measurement: Measurement) -> Array:
        position, turn = self.profile.chain.forward(measurement.joint_positions)
        way = position - self._origin
        yaw = float(np.arctan2(turn[1, 0], turn[0, 0]))
        phase = np.zeros(3)
        phase[self.phase] = 1.0
        values = [
            *phase,
            way[0] / spaces.PLACE_SCALE,
            way[1] / spaces.PLACE_SCALE,
            way[2] / spaces.HEIGHT_SCALE,
            np.cos(2.0 * yaw),
            np.sin(2.0 * yaw),
            measurement.finger_width / spaces.WIDTH_SCALE - 1.0,
            np.log1p(self._effort_peak) / 3.0,
            np.log1p(measurement.finger_effort) / 3.0,
            self._touch_width / spaces.WIDTH_SCALE,
            float(self._guarded),
            np.log1p(self._contact_peak) / 3.0,
            self._contact[0] / 0.03,
            self._contact[1] / 0.03,
            self._side_force / 5.0,
            self._weight / spaces.WEIGHT_SCALE,
            self._lift_torque[0] / 0.2,
            self._lift_torque[1] / 0.2,
            spaces.force_entry(self._force),
            self._view.top / spaces.HEIGHT_SCALE,
        ]
        return np.clip(np.array(values, dtype=np.float64), -spaces.SIGNAL_LIMIT, spaces.SIGNAL_LIMIT)
