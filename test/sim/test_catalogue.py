import numpy as np
import pytest

from mql_ros.core.errors import UserError
from mql_ros.grasping.task import spaces
from mql_sim.objects.catalogue import (
    HELD_OUT_NAMED,
    PROCEDURAL_TRAINING,
    TRAINING_NAMED,
    development_names,
    find_object,
    procedural,
    training_names,
)
from mql_sim.objects.spec import Shape, slip_force


def test_the_objects_of_the_demo_are_there() -> None:
    assert {"mug", "soccer-ball"} <= set(TRAINING_NAMED)
    assert "bottle" in HELD_OUT_NAMED and len(HELD_OUT_NAMED) >= 3
    assert len(training_names()) >= 400


def test_hidden_parameters_are_continuous() -> None:
    specs = [procedural(number) for number in range(PROCEDURAL_TRAINING)]
    assert {spec.category for spec in specs} == {"top", "handle", "narrow"}
    for hidden in ("mass", "friction", "crush_force", "grasp_force", "grasp_z"):
        values = np.array([getattr(spec, hidden) for spec in specs])
        # Friction has a floor for handles, and so a few equal values.
        assert len(np.unique(values)) > 0.9 * len(specs), hidden
        gaps = np.diff(np.sort(values)) / np.ptp(values)
        assert np.sort(gaps)[int(0.9 * len(gaps))] < 0.02, f"{hidden} has no clusters with holes between"
    assert len(np.unique([spec.grasp_x for spec in specs if spec.category != "narrow"])) > 200


def test_the_catalogue_always_makes_an_object_the_same() -> None:
    assert procedural(7) == procedural(7) == find_object("procedural-0007")
    assert procedural(7) != procedural(8)


@pytest.mark.parametrize("name", [*TRAINING_NAMED, *HELD_OUT_NAMED, *development_names()[:20], *training_names()[4:44]])
def test_an_object_can_be_grasped_by_an_action(name: str) -> None:
    spec = find_object(name)
    assert spec.name == name
    assert abs(spec.grasp_x - spaces.X_MIDDLE) < spaces.X_RANGE and abs(spec.grasp_z - spaces.Z_MIDDLE) < spaces.Z_RANGE
    assert spaces.FORCE_LOW < spec.grasp_force < spaces.FORCE_HIGH
    assert slip_force(spec.mass, spec.friction) < spec.grasp_force < spec.crush_force
    lowest = min(shape.position[2] - shape.half_extents()[2] for shape in spec.shapes)
    assert lowest == pytest.approx(0.0, abs=1e-9), "it stands on the table"


@pytest.mark.parametrize("name", ["botle", "", "procedural-x", "no/such/file.urdf"])
def test_an_unknown_object_is_refused_in_one_sentence(name: str) -> None:
    with pytest.raises(UserError) as error:
        find_object(name)
    assert "\n" not in str(error.value)
    if name == "botle":
        assert "did you mean 'bottle'?" in str(error.value)


@pytest.mark.parametrize(
    ("shape", "extents"),
    [
        (Shape("box", (0.2, 0.4, 0.6), (0, 0, 0)), (0.1, 0.2, 0.3)),
        (Shape("box", (0.2, 0.4, 0.6), (0, 0, 0), rpy=(0, 0, np.pi / 2)), (0.2, 0.1, 0.3)),
        (Shape("cylinder", (0.1, 0.6), (0, 0, 0)), (0.1, 0.1, 0.3)),
        (Shape("cylinder", (0.1, 0.6), (0, 0, 0), rpy=(np.pi / 2, 0, 0)), (0.1, 0.3, 0.1)),
        (Shape("sphere", (0.1,), (0, 0, 0), rpy=(1, 1, 1)), (0.1, 0.1, 0.1)),
    ],
)
def test_half_extents_of_every_kind_of_shape(shape: Shape, extents: tuple[float, float, float]) -> None:
    assert shape.half_extents() == pytest.approx(extents)
