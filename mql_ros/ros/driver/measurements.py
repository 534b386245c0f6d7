"""Joins what arrives on separate topics into measurements (knows no rclpy)."""

from __future__ import annotations

import math
from collections import OrderedDict, deque
from dataclasses import replace
from typing import Any

import numpy as np

from mql_ros.grasping.safety.filter import LAG
from mql_ros.grasping.types import ArmState, Array, Measurement
from mql_ros.ros.messages.encoding import SECOND
from mql_ros.ros.messages.sensors import JointSample, PoseSample, WrenchSample, measurement_from

PENDING = 50
"""Instants that may wait for their other parts."""
FRESH = 0.1
"""Joint positions to hold at, and a wrench beside joint states, are no older than this, s."""
TRUSTED_AFTER = 0.25
"""So long after a jump joint positions are not believed, s; what stays there is where the arm is."""
SHORTEST = 0.05
"""Within less time than this, s, positions may change by as much: stamps jitter."""
ARRIVALS = 40
"""Joint samples whose arrival is compared: twice what may lie waiting in the queue of a subscription."""
DRIFT = 1e-3
"""Two clocks drift apart by no more than this, s/s; time servers adjust them by half of it."""
LATER = 0.2
"""Joint positions are not believed while they come later than they once did by more than this, s."""


class NewestJoints:
    """The newest joint sample and its age, also where the driver has another clock and samples lay waiting.

    The time of arrival alone tells nothing after a pause of this process: all that lay waiting arrives at once. So a
    sample is as old as it came later, after its stamp, than the promptest of the last ones did. How much later those
    come than the promptest ever, `later` tells: a delay that grows slowly would not be noticed among the last ones.
    """

    def __init__(self, fastest: Array) -> None:
        """`fastest`: speed limits of the joints [n], rad/s; what moves much faster has jumped."""
        self._fastest = fastest
        self._sample: JointSample | None = None
        self._stamp = 0
        self._jumped_at: int | None = None
        self._delays: deque[float] = deque(maxlen=ARRIVALS)
        self._least = math.inf
        """The smallest delay ever, grown by DRIFT since, as of `_heard`, s."""
        self._heard = 0.0

    def put(self, sample: JointSample, now: float) -> None:
        """A sample has arrived at `now`, s of a clock that only moves forward."""
        if sample.stamp < self._stamp:
            self._delays.clear()  # the driver has been started anew, or its clock was set back
            self._least = math.inf
            self._jumped_at = None
        elif self._sample is not None:
            step = LAG * self._fastest * max((sample.stamp - self._stamp) / SECOND, SHORTEST)
            if (np.abs(sample.positions - self._sample.positions) > step).any():
                self._jumped_at = sample.stamp
        self._sample, self._stamp = sample, sample.stamp
        delay = now - sample.stamp / SECOND
        self._delays.append(delay)
        self._least = min(delay, self._least + DRIFT * max(now - self._heard, 0.0))
        self._heard = now

    def state(self, now: float) -> ArmState | None:
        """The arm as it must be at `now`, s, if it has kept the velocity that was measured.

        None where the sample is not fresh, or positions have jumped, or they come much later than they once did.
        """
        if self._sample is None or (age := self.age(now)) > FRESH or self.later() > LATER:
            return None
        if self._jumped_at is not None and self._stamp - self._jumped_at < TRUSTED_AFTER * SECOND:
            return None
        measured = replace(ArmState.at_rest(self._sample.positions), velocities=self._sample.velocities)
        return measured.after(max(age, 0.0))

    def fingers(self, now: float) -> tuple[float, float] | None:
        """Opening (m) and effort (N) of the fingers, under the same conditions."""
        if self._sample is None or self.state(now) is None:
            return None
        return self._sample.finger_width, self._sample.finger_effort

    def age(self, now: float) -> float:
        """Age of the newest sample at `now`, s; infinite where there is none."""
        return self.age_of(self._stamp, now) if self._sample is not None else math.inf

    def later(self) -> float:
        """By how much the promptest of the last samples came later than the promptest ever, but for drift, s."""
        return min(self._delays) - self._least if self._delays else 0.0

    def age_of(self, stamp: int, now: float) -> float:
        """Age at `now`, s, of what the driver stamped so; infinite where no sample has come."""
        return now - stamp / SECOND - min(self._delays, default=-math.inf)


class MeasurementAssembler:
    """Joint states, object pose and wrench as one Measurement for each control period.

    `exact` joins by equal stamps, so that nothing depends on the order of arrival. Otherwise a measurement is made of
    the first joint sample in each control period and the newest pose and wrench, none older than `stale_after`
    seconds and the wrench, by which the arm is stopped, no older than FRESH; the periods are counted from time zero, so
    that two nodes choose the same samples.
    """

    def __init__(self, *, exact: bool, use_wrench: bool, control_period: float, stale_after: float) -> None:
        self._exact = exact
        self._use_wrench = use_wrench
        self._period = round(control_period * SECOND)
        self.stale_after = stale_after
        self.stale = 0
        """Measurements that were not made because the pose or the wrench was too old or missing."""
        self._pending: OrderedDict[int, dict[str, Any]] = OrderedDict()
        self._newest: dict[str, Any] = {}
        self._last = -1

    def joints(self, sample: JointSample) -> Measurement | None:
        """Take in a joint sample; the measurement that it completes."""
        if self._exact:
            return self._complete("joints", sample)
        if sample.stamp >= self._last and sample.stamp // self._period == self._last // self._period:
            return None
        limit = sample.stamp - self.stale_after * SECOND
        pose, wrench = self._newest.get("pose"), self._newest.get("wrench")
        wrench_limit = max(limit, sample.stamp - FRESH * SECOND)
        if pose is None or pose.stamp < limit or (self._use_wrench and (wrench is None or wrench.stamp < wrench_limit)):
            self.stale += 1
            return None
        self._last = sample.stamp
        return measurement_from(sample, pose, wrench if self._use_wrench else None)

    def pose(self, sample: PoseSample) -> Measurement | None:
        """Take in a pose; the measurement that it completes."""
        if self._exact:
            return self._complete("pose", sample)
        self._newest["pose"] = sample
        return None

    def wrench(self, sample: WrenchSample) -> Measurement | None:
        """Take in a wrench; the measurement that it completes."""
        if self._exact:
            return self._complete("wrench", sample)
        self._newest["wrench"] = sample
        return None

    def _complete(self, part: str, sample: Any) -> Measurement | None:
        if sample.stamp == self._last:
            return None  # said again
        parts = self._pending.setdefault(sample.stamp, {})
        parts[part] = sample
        if "joints" not in parts or "pose" not in parts or (self._use_wrench and "wrench" not in parts):
            while len(self._pending) > PENDING:
                self._pending.popitem(last=False)
            return None
        # Older instants will not be completed: their other parts are lost.
        while self._pending:
            stamp, _ = self._pending.popitem(last=False)
            if stamp == sample.stamp:
                break
        self._last = sample.stamp
        return measurement_from(parts["joints"], parts["pose"], parts.get("wrench") if self._use_wrench else None)
