"""Files and directories are written as a whole or not at all."""

import json
import os
from pathlib import Path

import pytest

from mql_ros.core.errors import UserError
from mql_ros.core.files import check_writable, new_directory, write_json, write_text


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.parametrize("existing", [False, True])
@pytest.mark.parametrize("fails", ["fsync", "replace"])
def test_an_interrupted_write_leaves_the_old_file_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fails: str, existing: bool
) -> None:
    file = tmp_path / "a.txt"
    if existing:
        write_text(file, "old")

    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(os, fails, interrupted)
    with pytest.raises(KeyboardInterrupt):
        write_text(file, "new")
    assert names(tmp_path) == (["a.txt"] if existing else [])
    assert not existing or file.read_text() == "old"


def test_json_is_read_back_and_nan_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    write_json(tmp_path / "a.json", {"é": [1, 0.1]})
    assert json.loads((tmp_path / "a.json").read_text()) == {"é": [1, 0.1]}
    with pytest.raises(ValueError, match="JSON"):
        write_json(tmp_path / "b.json", float("nan"))
    assert names(tmp_path) == ["a.json"]


def test_a_place_that_cannot_be_written_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="cannot be written"):
        write_text(tmp_path / "missing" / "a.txt", "")
    with pytest.raises(UserError, match="there is no directory"):
        check_writable(str(tmp_path / "missing" / "a.txt"))


def test_a_new_directory_replaces_the_old_one_only_if_the_block_ends_well(tmp_path: Path) -> None:
    for text in ("first", "second"):
        with new_directory(tmp_path / "a") as folder:
            (folder / text).touch()
    with pytest.raises(RuntimeError), new_directory(tmp_path / "a") as folder:
        (folder / "third").touch()
        raise RuntimeError
    assert names(tmp_path) == ["a"] and names(tmp_path / "a") == ["second"]
