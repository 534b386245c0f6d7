"""The file of a robot profile together with those that it is based on, as one mapping."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

from mql_ros.core.errors import UserError
from mql_ros.core.resources import share_path
from mql_ros.core.settings import parse_yaml


def find_profile(name: str, folder: Path = Path(), asked_by: str = "") -> Path:
    """The file of a profile: a name in config/robots, or the path of a .yaml file, relative to `folder`."""
    path = folder / name if name.endswith((".yaml", ".yml")) else share_path("config", "robots") / f"{name}.yaml"
    if not path.is_file():
        known = sorted(p.stem for p in share_path("config", "robots").glob("*.yaml"))
        raise UserError(
            f"{asked_by}unknown robot '{name}'; known robots are {', '.join(known)}, or give the path of a .yaml file"
        )
    return path


def read_profile(path: Path, above: tuple[Path, ...] = ()) -> tuple[dict[str, Any], str]:
    """The entries of a file and those of its base that it does not set; with the SHA-256 of all of their contents.

    `above` are the files that led here by `based_on`.
    """
    if (real := path.resolve()) in above:
        raise UserError(f"robot profile {above[-1].name}: 'based_on' leads back to {path.name}")
    what = f"robot profile {path.name}"
    try:
        content = path.read_bytes()
    except OSError as error:
        raise UserError(f"{what} cannot be read ({error.strerror}); choose another") from error
    data = parse_yaml(content, what)
    _find_urdf(data, real.parent)
    _find_urdf(data.get("gripper"), real.parent)
    if "based_on" not in data:
        return data, hashlib.sha256(content).hexdigest()
    name = data.pop("based_on")
    if not isinstance(name, str):
        raise UserError(f"robot profile {path.name}: 'based_on' is {name!r}; expected a robot's name or a .yaml file")
    base = find_profile(name, real.parent, f"robot profile {path.name} is based on the ")
    below, sha256 = read_profile(base, (*above, real))
    return _merged(below, data), hashlib.sha256(content + sha256.encode()).hexdigest()


def _merged(base: dict, own: dict) -> dict:
    """Mappings key by key; of all else, lists too, the file's own value."""
    merged = dict(base)
    for key, value in own.items():
        below = base.get(key)
        merged[key] = _merged(below, value) if isinstance(below, dict) and isinstance(value, dict) else value
    return merged


def _find_urdf(section: Any, folder: Path) -> None:
    """Make a URDF's name the absolute path of the file beside the profile or in config/robots, where there is one."""
    if not isinstance(section, dict) or not isinstance(urdf := section.get("urdf"), str):
        return
    places = (folder / urdf, share_path("config", "robots") / urdf)
    section["urdf"] = next((str(place) for place in places if place.is_file()), urdf)
