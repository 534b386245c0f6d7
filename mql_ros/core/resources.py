"""Paths of config/, launch/ and models/, however the package was installed."""

import os
import site
import sys
import sysconfig
from collections.abc import Iterator
from pathlib import Path

from mql_ros.core.errors import UserError

PACKAGE = "mql_ros"


def share_path(*parts: str) -> Path:
    """Return the path of an installed file or folder, such as `share_path("config", "nodes.yaml")`.

    It searches the ament index (colcon), then share/ of the Python installation (`pip install .`), then the source tree
    (an editable install has no share/). Raises UserError if it is in none of them.
    """
    searched = []
    for folder in _share_folders():
        path = folder.joinpath(*parts)
        if path.exists():
            return path
        searched.append(str(folder))
    raise UserError(
        f"'{Path(*parts)}' of the package {PACKAGE} was not found in {', '.join(searched)}; "
        "install the package again (pip install . or colcon build), or run from a complete source tree"
    )


def _share_folders() -> Iterator[Path]:
    # Read directly: ament_index_python is missing without ROS, and raises if the variable is not set.
    prefixes = [prefix for prefix in os.environ.get("AMENT_PREFIX_PATH", "").split(os.pathsep) if prefix]
    # Both are the same in a virtual environment. Debian's pip writes to /usr/local, a user's to ~/.local.
    prefixes += [sys.prefix, sysconfig.get_path("data")]
    if site.ENABLE_USER_SITE:
        prefixes.append(site.getuserbase())
    for prefix in dict.fromkeys(prefixes):
        yield Path(prefix, "share", PACKAGE)
    source_tree = Path(__file__).resolve().parents[2]
    if (source_tree / "package.xml").exists():
        yield source_tree
