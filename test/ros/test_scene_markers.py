"""What RViz is shown of the grasps."""

from dataclasses import replace

import numpy as np
from helpers.ros import some_transition

from mql_ros.ros.messages.sensors import PoseSample
from mql_ros.ros.nodes.scene_markers import KEPT, Grasps

UPRIGHT = np.array([0.0, 0.0, 0.0, 1.0])
QUARTER = np.array([0.0, 0.0, np.sqrt(0.5), np.sqrt(0.5)])
"""A quarter turn about z."""


def test_a_grasp_stays_on_the_object_and_gets_its_outcome() -> None:
    grasps = Grasps()
    obj = PoseSample(0, np.array([0.5, 0.1, 0.0]), QUARTER)
    tool = np.array([0.5, 0.14, 0.05])  # 4 cm along the object's x axis, which points along y
    for sequence in range(3):
        grasps.add(some_transition(sequence), tool, obj)
        if sequence == 1:
            assert grasps.newest[0].lifted is None
    (grasp,) = grasps.newest
    assert np.allclose(grasp.place, [0.04, 0.0, 0.05])
    # That the object was lifted is shown by the last observation, as everywhere.
    assert grasp.lifted in (True, False)


def test_a_trial_that_ended_early_leaves_the_grasp_before_it_alone() -> None:
    grasps = Grasps()
    obj = PoseSample(0, np.zeros(3), UPRIGHT)
    for sequence in range(2):
        grasps.add(some_transition(sequence), np.zeros(3), obj)
    grasps.add(some_transition(3, done=True), np.zeros(3), obj)
    assert [grasp.lifted for grasp in grasps.newest] == [None]


def test_a_new_session_shows_its_own_grasps_and_old_ones_go() -> None:
    grasps = Grasps()
    obj = PoseSample(0, np.zeros(3), UPRIGHT)
    for trial in range(KEPT + 5):
        grasps.add(replace(some_transition(1), trial=trial), np.zeros(3), obj)
    assert len(grasps.newest) == KEPT and grasps.newest[0].trial == 5
    grasps.add(some_transition(1, session=2), np.zeros(3), obj)
    assert len(grasps.newest) == 1
