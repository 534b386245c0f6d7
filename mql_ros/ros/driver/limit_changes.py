"""Parameters that bound what the arm does: they can only be tightened while the policy server runs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from mql_ros.grasping.task.trial import TrialMachine
from mql_ros.ros.base.parameters import contradiction


def refused_limit(machine: TrialMachine, setting: Callable[[str], Any], name: str, value: Any) -> str | None:
    """Give `machine` a new value of the parameter `name` if it is a limit; why it must not have it, in one sentence.

    `setting` tells the present values.
    """
    if problem := contradiction(setting("sim"), {name: value}):
        return problem
    if name in ("watchdog", "stale_after") and value > setting(name):
        return f"{name} can only be lowered while the node runs; start it anew with a longer time"
    if name in ("limit_scale", "force_limit"):
        now = {key: setting(key) for key in ("limit_scale", "force_limit")} | {name: value}
        try:
            machine.tighten(now["limit_scale"], now["force_limit"])
        except ValueError as error:
            return str(error)
    return None
