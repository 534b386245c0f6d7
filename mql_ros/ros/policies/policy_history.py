"""History of announced policies, and the check that rolls a worse adapted policy back (needs no rclpy)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from mql_ros.ros.policies.policy_loading import Announcement


class PolicyHistory:
    """Stack of announced policies: the last is in force, the first is the initial one. No version number recurs."""

    def __init__(self, initial: Announcement) -> None:
        self._stack = [initial]
        self._highest = initial.version

    @property
    def present(self) -> Announcement:
        """The policy in force."""
        return self._stack[-1]

    @property
    def initial(self) -> Announcement:
        """The policy that the node started with."""
        return self._stack[0]

    @property
    def next_version(self) -> int:
        """The lowest version number above all used ones."""
        return self._highest + 1

    def push(self, announcement: Announcement) -> None:
        """Put a new policy in force."""
        self._stack.append(announcement)
        self._highest = max(self._highest, announcement.version)

    def roll_back(self) -> bool:
        """Return to the previous policy; return False if there is none."""
        if len(self._stack) == 1:
            return False
        self._stack.pop()
        return True

    def restore_initial(self) -> None:
        """Return to the initial policy."""
        del self._stack[1:]


@dataclass(frozen=True)
class RollbackCheck:
    """Comparison of an adapted policy's first trials with the last trials of the previous policy."""

    before: int
    """Version of the previous policy."""
    adapted: int
    """Version of the adapted policy."""
    session: int
    """Number of the session, in which both policies act."""
    trials: int
    """Number of trials of each policy."""
    margin: float
    """Tolerated decrease of the mean trial reward."""

    def verdict(self, returns: Sequence[tuple[int, float]]) -> tuple[bool, str] | None:
        """Return whether the adapted policy passed, and a sentence; None while trials are missing.

        `returns` holds (policy version, sum of rewards) of each finished trial of the session.
        """
        after = [value for version, value in returns if version == self.adapted][: self.trials]
        before = [value for version, value in returns if version == self.before][-self.trials :]
        if len(after) < self.trials or not before:
            return None
        new, old = float(np.mean(after)), float(np.mean(before))
        passed = new >= old - self.margin
        what = "keeps its place" if passed else "was rolled back"
        return passed, (
            f"policy version {self.adapted} {what}: mean reward {new:.3f} in {len(after)} trials, "
            f"after {old:.3f} in {len(before)} trials of version {self.before}"
        )
