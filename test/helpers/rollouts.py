"""Workers that simulate in this process: no test waits for processes to start."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

from mql_ros.grasping.robot.profile import load_profile
from mql_ros.rollouts.workers import Workers
from mql_sim.environment import GraspTask


class WorkersHere(Workers):
    """Run everything in one task of this process; results come in reverse order."""

    task: GraspTask | None = None

    def __init__(self, robot: str, processes: int) -> None:
        self._version = 0
        if WorkersHere.task is None:
            WorkersHere.task = GraspTask(load_profile(robot))

    def __exit__(self, *_: Any) -> None:
        pass

    def map_unordered(
        self, function: Callable[[GraspTask, Any], Any], arguments: Sequence[Any]
    ) -> Iterator[tuple[int, Any]]:
        assert WorkersHere.task is not None
        for number in reversed(range(len(arguments))):
            yield number, function(WorkersHere.task, arguments[number])
