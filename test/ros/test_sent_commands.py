"""In real time a plan is sent once; what departs from it is sent again."""

import numpy as np
from helpers.grasping import block, measured

from mql_ros.grasping.robot.profile import RobotProfile
from mql_ros.grasping.task.trial import TrialMachine
from mql_ros.grasping.types import ArmState, Command, Motion
from mql_ros.ros.driver.sent_commands import SentPlan


def command(points: np.ndarray, width: float = 0.08, force: float = 5.0) -> Command:
    nothing = np.zeros_like(points)
    return Command(Motion(ArmState.at_rest(points[0]), points, nothing, nothing), width, force)


def test_a_plan_is_sent_once() -> None:
    tracker, plan = SentPlan(), np.random.default_rng(1).normal(size=(4, 7))
    assert tracker.changes(command(plan), True) == (True, True)
    for k in range(1, 4):
        assert tracker.changes(command(plan[k:]), False) == (False, False)
    for _ in range(3):
        assert tracker.changes(command(plan[-1:]), False) == (False, False)
    tracker.changes(command(plan), True)
    assert tracker.changes(command(plan[2:]), False) == (False, False), "measurements may be lost"
    assert tracker.changes(command(plan[1:]), False) == (True, False), "but no plan goes back"


def test_a_retreat_a_new_decision_and_the_fingers_are_sent() -> None:
    tracker, plan = SentPlan(), np.random.default_rng(1).normal(size=(4, 7))
    tracker.changes(command(plan), True)
    retreat = plan[:2] + 0.1
    assert tracker.changes(command(retreat), False) == (True, False)
    assert tracker.changes(command(retreat[1:]), False) == (False, False)
    assert tracker.changes(command(retreat[1:], width=0.0), False) == (False, True)
    assert tracker.changes(command(retreat[1:], width=0.0), True) == (True, False)
    tracker.forget()
    assert tracker.changes(command(retreat[1:], width=0.0), False) == (True, True)


def test_a_trial_that_goes_as_planned_takes_three_arm_messages(panda: RobotProfile) -> None:
    machine, tracker = TrialMachine(panda), SentPlan()
    measurement = measured(panda.home)
    machine.begin(measurement, block())
    arm = gripper = 0
    while not machine.done:
        machine.decide(np.array([-0.4, 0.2, 0.1, 0.3, 0.0, 0.0]), measurement)
        new_plan = True
        while (wanted := machine.command(measurement)) is not None:
            sent = tracker.changes(wanted, new_plan)
            new_plan = False
            arm, gripper = arm + sent[0], gripper + sent[1]
            measurement = measured(wanted.motion.points[0])
    assert machine.refusals == 0
    assert (arm, gripper) == (3, 3)
