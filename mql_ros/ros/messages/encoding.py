"""Stamps and numbers in ROS messages."""

from __future__ import annotations

import array
from collections.abc import Sequence

import numpy as np
from builtin_interfaces.msg import Duration, Time

from mql_ros.grasping.types import Array

SECOND = 1_000_000_000


class MessageError(ValueError):
    """A message that must not be acted on, with the reason."""


def nanoseconds(stamp: Time | Duration) -> int:
    """Return a message's time in ns."""
    return int(stamp.sec) * SECOND + int(stamp.nanosec)


def to_nanoseconds(seconds: float) -> int:
    """Return the nearest nanosecond: dividing it by SECOND gives `seconds` again, to the last bit."""
    whole, fraction = divmod(seconds, 1.0)  # exact, unlike seconds * SECOND
    return int(whole) * SECOND + round(fraction * SECOND)


def time_message(stamp: int) -> Time:
    """Return a message's time for a time in ns."""
    return Time(sec=stamp // SECOND, nanosec=stamp % SECOND)


def doubles(values: Array | Sequence[float]) -> array.array:
    """Return an array that rclpy assigns to a float64[] field without checking each element."""
    return array.array("d", np.ascontiguousarray(values, dtype=np.float64).tobytes())


def finite(what: str, values: Array) -> Array:
    """Return the values; MessageError names `what` if one is not finite."""
    if not np.isfinite(values).all():
        raise MessageError(f"{what} holds a number that is not finite")
    return values


def read_stamps(text: str) -> tuple[float, ...]:
    """Return the stamps (s) that the message of a Trigger response gives in ns; () if it holds anything else."""
    words = text.split()
    return tuple(int(word) / SECOND for word in words) if all(w.isascii() and w.isdigit() for w in words) else ()
