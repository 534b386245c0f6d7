"""Joins the messages of separate topics into measurements (no rclpy)."""

from __future__ import annotations

import math
from collections import OrderedDict, deque
from dataclasses import replace
from typing import Any

import numpy as np

from mql_ros.grasping.safety.filter import LAG
from mql_ros.grasping.types import ArmState, Array, Measurement
from mql_ros.ros.messages.encoding import SECOND
from mql_ros.ros.messages.sensors import JointSample, WrenchSample, measurement_from

PENDING = 50
"""Largest number of incomplete instants that are kept."""
FRESH = 0.1
"""Largest age of joint positions to hold at, and of a wrench beside joint states, s."""
TRUSTED_AFTER = 0.25
"""Time after a jump for which joint positions are not trusted, s; after that the arm is where they stay."""
SHORTEST = 0.05
"""Shortest step of time by which a jump is judged, s: stamps jitter."""
ARRIVALS = 40
"""Number of joint samples whose delays are compared: twice the depth of a subscription's queue."""
DRIFT = 1e-3
"""Largest drift between two clocks, s/s; time servers adjust them by half of it."""
LATER = 0.2
"""Joint positions are not trusted while their delay has grown by more than this, s."""


class NewestJoints:
    """The newest joint sample and its age, even if the driver has another clock and samples were queued.

    After a pause of this process all queued samples arrive at once, so the time of arrival does not give their age. The
    age of a sample is its delay (arrival minus stamp) beyond the smallest delay of the last ARRIVALS samples. `later`
    compares that one with the smallest delay ever, because a delay that grows slowly does not show among the last ones.
    """

    def __init__(self, fastest: Array) -> None:
        """`fastest` are the speed limits of the joints [n], rad/s; a position that moves much faster has jumped."""
        self._fastest = fastest
        self._sample: JointSample | None = None
        self._stamp = 0
        self._jumped_at: int | None = None
        self._delays: deque[float] = deque(maxlen=ARRIVALS)
        self._least = math.inf
        """Smallest delay ever, grown by DRIFT since, at the time `_arrived`, s."""
        self._arrived = 0.0

    def put(self, sample: JointSample, now: float) -> None:
        """Store a sample that arrived at `now`, s of a steady clock."""
        if sample.stamp < self._stamp:
            self._delays.clear()  # the driver was restarted, or its clock was set back
            self._least = math.inf
            self._jumped_at = None
        elif self._sample is not None:
            step = LAG * self._fastest * max((sample.stamp - self._stamp) / SECOND, SHORTEST)
            if (np.abs(sample.positions - self._sample.positions) > step).any():
                self._jumped_at = sample.stamp
        self._sample, self._stamp = sample, sample.stamp
        delay = now - sample.stamp / SECOND
        self._delays.append(delay)
        self._least = min(delay, self._least + DRIFT * max(now - self._arrived, 0.0))
        self._arrived = now

    def state(self, now: float) -> ArmState | None:
        """Return the state of the arm at `now`, s, extrapolated by the measured velocities.

        Return None if the sample is older than FRESH, positions have jumped, or their delay has grown by over LATER.
        """
        if self._sample is None or (age := self.age(now)) > FRESH or self.later() > LATER:
            return None
        if self._jumped_at is not None and self._stamp - self._jumped_at < TRUSTED_AFTER * SECOND:
            return None
        measured = replace(ArmState.at_rest(self._sample.positions), velocities=self._sample.velocities)
        return measured.after(max(age, 0.0))

    def fingers(self, now: float) -> tuple[float, float] | None:
        """Return opening (m) and effort (N) of the fingers at `now`, s; None if the joint states are not trusted."""
        if self._sample is None or self.state(now) is None:
            return None
        return self._sample.finger_width, self._sample.finger_effort

    def age(self, now: float) -> float:
        """Return the age of the newest sample at `now`, s; infinite without one."""
        return self.age_of(self._stamp, now) if self._sample is not None else math.inf

    def later(self) -> float:
        """Return by how much the smallest delay of the last samples exceeds the smallest ever, without drift, s."""
        return min(self._delays) - self._least if self._delays else 0.0

    def age_of(self, stamp: int, now: float) -> float:
        """Return the age at `now`, s, of a message with this stamp (ns); infinite before the first sample."""
        return now - stamp / SECOND - min(self._delays, default=-math.inf)


class MeasurementAssembler:
    """Joins joint states and wrench into one Measurement for each control period.

    `exact` joins by equal stamps, so that the result does not depend on the order of arrival. Otherwise a measurement
    takes the first joint sample of each control period with the newest wrench, which is no older than FRESH. Control
    periods are counted from time zero, so that two nodes choose the same samples.
    """

    def __init__(self, *, exact: bool, use_wrench: bool, control_period: float) -> None:
        self._exact = exact
        self._use_wrench = use_wrench
        self._period = round(control_period * SECOND)
        self.stale = 0
        """Number of measurements not made because the wrench was too old or missing."""
        self._pending: OrderedDict[int, dict[str, Any]] = OrderedDict()
        self._newest: WrenchSample | None = None
        self._last = -1

    def joints(self, sample: JointSample) -> Measurement | None:
        """Take a joint sample; return the measurement that it completes, or None."""
        if self._exact:
            return self._complete("joints", sample)
        if sample.stamp >= self._last and sample.stamp // self._period == self._last // self._period:
            return None
        wrench = self._newest
        if self._use_wrench and (wrench is None or wrench.stamp < sample.stamp - FRESH * SECOND):
            self.stale += 1
            return None
        self._last = sample.stamp
        return measurement_from(sample, wrench if self._use_wrench else None)

    def wrench(self, sample: WrenchSample) -> Measurement | None:
        """Take a wrench; return the measurement that it completes, or None."""
        if self._exact:
            return self._complete("wrench", sample)
        self._newest = sample
        return None

    def _complete(self, part: str, sample: Any) -> Measurement | None:
        if sample.stamp == self._last:
            return None  # repeated
        parts = self._pending.setdefault(sample.stamp, {})
        parts[part] = sample
        if "joints" not in parts or (self._use_wrench and "wrench" not in parts):
            while len(self._pending) > PENDING:
                self._pending.popitem(last=False)
            return None
        # Older instants will not be completed: their other parts are lost.
        while self._pending:
            stamp, _ = self._pending.popitem(last=False)
            if stamp == sample.stamp:
                break
        self._last = sample.stamp
        return measurement_from(parts["joints"], parts.get("wrench") if self._use_wrench else None)
