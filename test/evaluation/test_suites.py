"""The suites of `mql evaluate`: what they hold, and how the names of tasks are read."""

import itertools
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from mql_ros.core.errors import UserError
from mql_ros.evaluation.suites import SUITES, find_names, find_task, task_name
from mql_sim.objects.catalogue import find_object, training_names
from mql_sim.objects.spec import ObjectSpec


def suites() -> dict[str, list[str]]:
    """All suites by name; the bottle is in the first held-out suite, so not counted among the named."""
    return {suite: [n for n in names if suite != "held-out" or n != "bottle"] for suite, names in SUITES.items()}


def parameters(spec: ObjectSpec) -> tuple:
    """What an object is made of, without name and colour."""
    return tuple(replace(shape, color=(0, 0, 0, 0)) for shape in spec.shapes), spec.mass, spec.friction


def test_no_two_suites_share_an_object() -> None:
    assert set(suites()) == {
        "training", "development", "beyond", "held-out", "in-distribution", "out-of-distribution", "kinds",
        "out-of-distribution-kinds",
    }  # fmt: skip
    for names in suites().values():
        assert len(names) == len(set(names))
    # Not by name only: nothing held out is a copy of something else.
    members = {suite: [spec for name in names for spec in find_task(name).members] for suite, names in suites().items()}
    made = {suite: {parameters(spec) for spec in specs} for suite, specs in members.items()}
    for first, second in itertools.combinations(suites(), 2):
        assert not set(suites()[first]) & set(suites()[second]), (first, second)
        assert not made[first] & made[second], (first, second)
    assert sum(len(parts) for parts in made.values()) == sum(len(specs) for specs in members.values())


def test_the_held_out_suites_are_what_was_written_down() -> None:
    fresh = [f"procedural-{number}" for number in range(20_000, 20_039)]
    assert suites()["in-distribution"] == [*fresh, "bottle"]
    assert suites()["out-of-distribution"] == [f"beyond-{number}" for number in range(1_000, 1_040)]
    assert suites()["out-of-distribution-kinds"] == [f"kind-{number}" for number in range(1_000, 1_040)]
    assert len(suites()["beyond"]) == 30 and len(suites()["in-distribution"]) == 40


def test_the_shipped_policy_has_seen_its_training_objects_only() -> None:
    manifest = Path(__file__).resolve().parents[2] / "models" / "grasp" / "manifest.json"
    seen = json.loads(manifest.read_text())["training_objects"]
    assert seen == training_names()
    for suite, names in suites().items():
        assert suite == "training" or not set(seen) & set(names)
    assert "bottle" not in seen


@pytest.mark.parametrize("suite", ["kinds", "out-of-distribution-kinds"])
def test_no_one_grasp_does_for_all_objects_of_a_kind(suite: str) -> None:
    """Members differ in what the grasp needs by more than the search takes a grasp to bear."""
    too_different = []
    for name in SUITES[suite]:
        kind = find_task(name)
        assert len(kind.tried) == 4 and len(kind.tested) == 3 and len({spec.category for spec in kind.members}) == 1
        heights = np.array([spec.grasp_z for spec in kind.members])
        forces = np.log([spec.grasp_force for spec in kind.members])
        too_different.append(np.ptp(heights) > 0.03 or np.ptp(forces) > 0.5)
        limits = [kind.members[0].name.rpartition("-")[0]] * len(kind.members)
        assert [spec.name.rpartition("-")[0] for spec in kind.members] == limits
    assert np.mean(too_different) > 0.95


def test_a_task_is_a_kind_or_objects_or_one_object() -> None:
    assert find_task("mug").one_object and find_task("mug").members == (find_object("mug"),)
    several = find_task("mug+can+jug")
    assert not several.one_object
    assert [spec.name for spec in several.tried] == ["mug", "can"] and [spec.name for spec in several.tested] == ["jug"]
    assert find_task("kind-7").members == find_task("kind-0007").members
    assert find_object("kind-0007-2") == find_task("kind-0007").tried[2]
    for wrong, message in (("mug+cam", "did you mean 'can'"), ("mug+", "different objects"), ("mug+mug", "different"),
                           ("mug+kind-3", "'kind-3' is a kind of objects")):  # fmt: skip
        with pytest.raises(UserError, match=message):
            find_task(wrong)
    assert task_name("kind-7") == "kind-0007" and task_name("mug+procedural-7") == "mug+procedural-0007"


def test_a_file_goes_by_its_path_whatever_that_holds(tmp_path: Path) -> None:
    file = tmp_path / "a+b.urdf"
    file.write_text(find_object("can").urdf())
    assert find_task(str(file)).one_object and task_name(str(file)) == str(file)


def test_names_are_found_once(tmp_path: Path) -> None:
    for name in ("b", "a"):
        (tmp_path / f"{name}.urdf").write_text(find_object("can").urdf())
    files = [str(tmp_path / "a.urdf"), str(tmp_path / "b.urdf")]
    assert find_names([str(tmp_path), "procedural-7", "mug", "procedural-0007", files[0]]) == [
        *files, "procedural-0007", "mug",
    ]  # fmt: skip
    assert find_names(["in-distribution", "bottle"]) == list(SUITES["in-distribution"])
