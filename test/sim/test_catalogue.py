import re
from pathlib import Path

import numpy as np
import pytest
from scipy.spatial import ConvexHull
from scipy.spatial.distance import pdist

from mql_ros.core.errors import UserError
from mql_ros.grasping.perception.height_map import CELL, CELLS
from mql_sim import oracle
from mql_sim.environment import GraspTask
from mql_sim.objects.catalogue import (
    development_names,
    find_thing,
    held_out_hard_names,
    held_out_names,
    thing_of_session,
    training_names,
)
from mql_sim.objects.hard import KINDS, hard_thing
from mql_sim.objects.hidden import HiddenRange, slip_force, with_hidden
from mql_sim.objects.load import LONGEST, random_urdf
from mql_sim.objects.solid import box, sphere
from mql_sim.objects.thing import Thing, thing_from_solid
from mql_sim.oracle import CONFIRMATIONS, ENOUGH, find_grasp

CASES = Path(__file__).parents[1] / "data" / "objects"
FILES = sorted(file.relative_to(CASES) for file in CASES.rglob("*.urdf"))


def test_training_development_and_held_out_objects_are_apart() -> None:
    parts = [training_names(), development_names(), held_out_names(), held_out_hard_names()]
    names = [name for part in parts for name in part]
    assert len(set(names)) == len(names)
    hard = np.mean([name.startswith("hard") for name in training_names()])
    assert len(training_names()) == 1199 and 0.3 < hard < 0.35
    assert {"random", "hard"} == {name.partition("-")[0] for name in development_names()[:6]}


def test_an_object_of_a_number_is_always_the_same() -> None:
    for number in range(len(KINDS)):
        first, again = hard_thing(number), hard_thing(number)
        assert first.content_hash == again.content_hash == find_thing(f"hard-{number:04d}").content_hash
        assert first.content_hash != hard_thing(number + len(KINDS)).content_hash
        assert first.size[:2].max() < 0.155, "it fits the height map"


def test_hidden_properties_are_drawn_within_their_ranges_and_by_the_session() -> None:
    thing, ranges = find_thing("random-003"), HiddenRange()
    drawn = [with_hidden(thing, np.random.default_rng(seed)) for seed in range(50)]
    for made in drawn:
        slip = slip_force(made.mass, made.friction)
        assert ranges.mass[0] <= made.mass <= ranges.mass[1]
        assert ranges.friction[0] <= made.friction <= ranges.friction[1]
        assert ranges.window[0] <= made.crush_force / (1.15 * slip) <= ranges.window[1]
        assert (np.abs(made.center_of_mass - thing.center_of_mass) <= ranges.offset * thing.size).all()
    assert len({made.content_hash for made in drawn}) == 50
    session = thing_of_session("random-003", 8)
    assert session.content_hash == thing_of_session("random-003", 8).content_hash
    assert session.content_hash != thing_of_session("random-003", 9).content_hash
    assert thing_of_session("can", 1).content_hash == thing_of_session("can", 2).content_hash


@pytest.mark.parametrize("number", [12, 48, 807, 824])
def test_random_objects_fit_into_the_height_map_however_they_lie(number: int) -> None:
    corners = random_urdf(number).solid.vertices
    assert pdist(corners[ConvexHull(corners).vertices]).max() <= LONGEST + 1e-9 < CELLS * CELL


@pytest.mark.parametrize("name", ["botle", "", "random-x", "random-168", "no/such/file.urdf"])
def test_an_unknown_object_is_refused_in_one_sentence(name: str) -> None:
    with pytest.raises(UserError) as error:
        find_thing(name)
    assert "\n" not in str(error.value)
    if name == "botle":
        assert "did you mean bottle?" in str(error.value)


@pytest.mark.slow
@pytest.mark.parametrize("file", FILES, ids=str)
def test_the_oracle_grasps_an_object_from_a_file(task: GraspTask, file: Path) -> None:
    verdict = find_grasp(task, find_thing(str(CASES / file)))
    assert verdict.success, verdict.reason
    assert verdict.grasp is not None and ENOUGH <= verdict.confirmed <= CONFIRMATIONS


def test_the_oracle_goes_by_contents_not_by_names(task: GraspTask) -> None:
    a, b = (find_grasp(task, find_thing(str(CASES / "same_bytes" / f"{name}.urdf")), 4) for name in "ab")
    assert a == b


@pytest.mark.parametrize(
    ("thing", "reason"),
    [
        (thing_from_solid("ball", sphere(0.06), mass=0.2), "too wide everywhere|fingers closed on nothing|slips out"),
        (thing_from_solid("block", box([0.05, 0.05, 0.05]), mass=5.0, friction=0.3), "slips at the largest force"),
        (thing_from_solid("egg", box([0.05, 0.05, 0.05]), mass=0.5, crush_force=2.0), "gives way at 2.0 N"),
        (thing_from_solid("board", box([0.2, 0.2, 0.02]), mass=0.5), "not seen so that a trial could begin"),
    ],
    ids=lambda value: getattr(value, "name", ""),
)
def test_the_oracle_says_why_there_is_no_grasp(
    task: GraspTask, thing: Thing, reason: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(oracle, "ATTEMPTS", 6)
    verdict = find_grasp(task, thing)
    assert not verdict.success and verdict.reason and "\n" not in verdict.reason
    assert re.search(reason, verdict.reason), verdict.reason
