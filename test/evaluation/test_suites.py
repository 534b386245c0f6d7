"""The suites of `mql evaluate`: what they hold, and how words become names of objects."""

import itertools
import shutil
from pathlib import Path

import pytest
from helpers.evaluation import save_small_policy

from mql_ros.core.errors import UserError
from mql_ros.evaluation.suites import SUITES, find_names, identity, trained_on

OBJECT = Path(__file__).resolve().parents[1] / "data" / "objects" / "capsule.urdf"


def test_only_the_suite_of_old_objects_shares_objects_with_another() -> None:
    for first, second in itertools.combinations(SUITES, 2):
        assert len(SUITES[first]) == len(set(SUITES[first])) > 0
        shared = set(SUITES[first]) & set(SUITES[second])
        assert not shared or (first, second) == ("training", "in-distribution")
    assert set(SUITES["in-distribution"]) < set(SUITES["training"])


def test_the_held_out_suites_are_what_was_written_down() -> None:
    assert SUITES["random-urdfs"] == tuple(f"random-{number}" for number in range(900, 1000))
    assert len(SUITES["hard-to-place"]) == len(set(SUITES["hard-to-place"])) > 0
    assert all(name.startswith("hard-") for name in SUITES["hard-to-place"])


def test_names_are_found_once(tmp_path: Path) -> None:
    for name in ("b.urdf", "a.URDF"):
        shutil.copy(OBJECT, tmp_path / name)
    (tmp_path / "notes.txt").write_text("no object")
    files = [str(tmp_path / "a.URDF"), str(tmp_path / "b.urdf")]
    assert find_names([str(tmp_path), "bottle", files[0], "bottle"]) == [*files, "bottle"]
    assert find_names(["household", "bottle"]) == list(SUITES["household"])


def test_what_is_no_object_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="did you mean bottle"):
        find_names(["botle"])
    with pytest.raises(UserError, match=r"holds no \.urdf"):
        find_names([str(tmp_path)])


def test_a_file_is_what_it_holds_whatever_its_name(tmp_path: Path) -> None:
    copy = Path(shutil.copy(OBJECT, tmp_path / "other.urdf"))
    assert identity(str(copy)) == identity(str(OBJECT)) != identity("bottle") == "bottle"


def test_objects_that_a_policy_was_trained_on_are_counted(tmp_path: Path) -> None:
    policy = save_small_policy(tmp_path / "bundle")
    assert trained_on(policy, ["random-001", "random-900", "random-003"]) == 2
