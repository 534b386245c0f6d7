"""What the camera sees at the beginning of a trial (needs no rclpy)."""

from __future__ import annotations

from collections.abc import Generator
from typing import Any

from mql_ros.grasping.perception.camera import PerceptionError
from mql_ros.grasping.perception.height_map import HeightMap, check_still
from mql_ros.ros.base.coroutine import CoroutineError, Wait
from mql_ros.ros.trials.interface import Inbox, TrialSettings


def wait_for_view(inbox: Inbox, since: float, settings: TrialSettings) -> Generator[Wait, Any, HeightMap]:
    """Wait for an image taken at `since` (s, driver time) or later; return what it shows.

    In real time a second image must show the object in the same place. CoroutineError says why no trial can begin.
    """
    view = yield from _next(inbox, since, settings)
    if not settings.lockstep:
        earlier = view
        view = yield from _next(inbox, max(since, earlier.stamp + 1e-9), settings)
        try:
            check_still(earlier, view)
        except PerceptionError as error:
            raise CoroutineError(str(error)) from error
    return view


def _next(inbox: Inbox, since: float, settings: TrialSettings) -> Generator[Wait, Any, HeightMap]:
    yield Wait(
        "a view of the object on object_view; the status of perception on /diagnostics says why",
        lambda: inbox.view_stamp >= since or None,
        settings.view_wait,
    )
    if inbox.view is None:
        raise CoroutineError("the camera sees nothing on the table; put an object there")
    return inbox.view
