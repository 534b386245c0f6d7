"""What RViz is shown of the grasp of a trial."""

from dataclasses import replace

import numpy as np
import pytest
from helpers.ros import some_transition

from mql_ros.ros.nodes.scene_markers import Grasp, TrialGrasp


def grasp(height: float) -> Grasp:
    return Grasp(np.array([0.5, 0.1, height]), np.eye(3), 0.04)


@pytest.mark.parametrize(("last", "lifted"), [(0.9, True), (0.1, False)])
def test_the_place_where_the_fingers_closed_is_shown_with_its_outcome(last: float, lifted: bool) -> None:
    trial = TrialGrasp()
    for step, (reward, height) in enumerate(((-0.1, 0.05), (0.0, 0.03), (last, 0.2))):
        assert trial.lifted is None
        trial.add(replace(some_transition(step), reward=reward), grasp(height))
    assert trial.grasp is not None and trial.grasp.place[2] == 0.03
    assert trial.lifted is lifted


def test_the_next_trial_begins_with_no_grasp() -> None:
    trial = TrialGrasp()
    for sequence in range(4):
        trial.add(some_transition(sequence), grasp(0.05))
    assert trial.grasp is None and trial.lifted is None
