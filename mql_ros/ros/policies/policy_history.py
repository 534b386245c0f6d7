"""Which policy is in force, and whether an adapted one keeps its place (knows no rclpy)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from mql_ros.ros.policies.policy_loading import Announcement


class PolicyHistory:
    """Announced policies: the newest is in force, the first is the one of the start. Version numbers never recur."""

    def __init__(self, initial: Announcement) -> None:
        self._stack = [initial]
        self._highest = initial.version

    @property
    def present(self) -> Announcement:
        """The policy in force."""
        return self._stack[-1]

    @property
    def initial(self) -> Announcement:
        """The policy of the start."""
        return self._stack[0]

    @property
    def next_version(self) -> int:
        """A number that no policy has had."""
        return self._highest + 1

    def push(self, announcement: Announcement) -> None:
        """A new policy is in force."""
        self._stack.append(announcement)
        self._highest = max(self._highest, announcement.version)

    def roll_back(self) -> bool:
        """Return to the policy before; False when there is none."""
        if len(self._stack) == 1:
            return False
        self._stack.pop()
        return True

    def restore_initial(self) -> None:
        """Return to the policy of the start."""
        del self._stack[1:]


@dataclass(frozen=True)
class RollbackCheck:
    """Comparison of an adapted policy's first trials with the last trials of the policy before."""

    before: int
    """Version of the policy before."""
    adapted: int
    """Version of the adapted policy."""
    session: int
    trials: int
    margin: float
    """By how much the mean trial reward may be lower."""

    def verdict(self, returns: Sequence[tuple[int, float]]) -> tuple[bool, str] | None:
        """Whether it passed, and a sentence, given (version, reward) of the session's trials; None: too early."""
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
