"""Ways to grasp without learning: what the policy is compared with. They see and feel what the policy does."""

from __future__ import annotations

import numpy as np

from mql_ros.grasping.learning import candidates, proposals
from mql_ros.grasping.perception.height_map import Heights
from mql_ros.grasping.task import spaces
from mql_ros.grasping.task.reward import SUCCESS_RETURN
from mql_ros.grasping.task.spaces import Phase
from mql_ros.grasping.types import Array

FIRST_FORCE = 7.0
"""N; adequate for more objects than any other force."""
SLIPPED, CRUSHED = 1.7, 0.6
"""What the force rule multiplies the force by."""
SHUT = 0.0032
"""Fingers nearer than this after closing on something went through it: it gave way, m."""
FELT_EFFORT = 0.1
"""Effort signal from which on the fingers felt something."""


class Heuristic:
    """The best antipodal candidate with one force."""

    def __init__(self, seed: int, force: float = FIRST_FORCE) -> None:
        self._rng = np.random.default_rng([seed, 71])
        self._force = force
        self._total, self._grasp = 0.0, np.zeros(4)
        self._heights: Heights = np.zeros((spaces.VIEW_CELLS, spaces.VIEW_CELLS), np.float32)
        self._touched = self._shut = False

    def act(self, observation: Array) -> Array:
        """The action [A] for an observation [O]."""
        phase = spaces.phase_of(observation)
        if phase is Phase.PLACE:
            self._heights, self._total = spaces.heights_of(observation), 0.0
            self._touched = self._shut = False
            self._grasp = self._choose()
            return spaces.grasp_action(*self._grasp)
        if phase is Phase.CLOSE:
            return spaces.closing_action(0.0, 0.0, 0.0, self._force)
        return spaces.lifting_action(self._force, spaces.LIFT_SPEED)

    def learn(self, action: Array, reward: float, observation: Array, done: bool) -> None:
        """Feel what came of an action [A]: the observation [O] that followed and whether the trial is over."""
        self._total += reward
        signals = dict(zip(spaces.SIGNAL_NAMES, observation[spaces.VIEW_SIZE :], strict=True))
        self._touched |= bool(signals["effort_peak"] > FELT_EFFORT)
        if signals["phase_lift"] > 0.5 and not done:
            self._shut = (signals["finger_width"] + 1.0) * spaces.WIDTH_SCALE < SHUT
        if done:
            self._finish(self._total >= SUCCESS_RETURN)

    def _choose(self) -> Array:
        grasps, _ = candidates.antipodal(self._heights, self._rng)
        return grasps[0] if len(grasps) else candidates.scattered(self._heights, self._rng, 1)[0]

    def _finish(self, success: bool) -> None:
        pass


class ForceRule(Heuristic):
    """The same with more force after a slip, less after a crush, and another good candidate after a failure."""

    TOP = 12
    """Candidates of which one is drawn after a failure."""

    def __init__(self, seed: int, force: float = FIRST_FORCE) -> None:
        super().__init__(seed, force)
        self._failures = 0

    def _choose(self) -> Array:
        grasps, _ = candidates.antipodal(self._heights, self._rng)
        if len(grasps) == 0:
            return candidates.scattered(self._heights, self._rng, 1)[0]
        return grasps[self._rng.integers(min(self.TOP, len(grasps)))] if self._failures else grasps[0]

    def _finish(self, success: bool) -> None:
        self._failures = 0 if success else self._failures + 1
        if not success and self._touched:
            factor = CRUSHED if self._shut else SLIPPED
            self._force = float(np.clip(self._force * factor, spaces.FORCE_LOW, spaces.FORCE_HIGH))


class Repeat(ForceRule):
    """The force rule, and once a grasp has succeeded the same grasp, carried over to where the object lies now."""

    PATIENCE = 2
    """Failures in a row after which a grasp that succeeded is given up."""

    def __init__(self, seed: int, force: float = FIRST_FORCE) -> None:
        super().__init__(seed, force)
        self._won: tuple[Heights, Array] | None = None

    def _choose(self) -> Array:
        if self._won is None:
            return super()._choose()
        return candidates.carried_over(self._won[1], self._won[0], self._heights)

    def _finish(self, success: bool) -> None:
        super()._finish(success)
        if success:
            self._won = self._heights, self._grasp
        elif self._failures >= self.PATIENCE:
            self._won = None


class KnownForce(Repeat):
    """The same with a force that is known to be adequate: what finding the place alone costs."""

    def _finish(self, success: bool) -> None:
        force = self._force
        super()._finish(success)
        self._force = force


class Thompson(Heuristic):
    """Thompson sampling over grasps of this object with forces (Exploratory Grasping, Danielczuk et al. 2020).

    The grasps are antipodal candidates of the first view, carried over to each later one; each with each force has a
    Beta posterior of its success.
    """

    GRASPS = 12
    FORCES = (2.5, 5.0, 10.0, 20.0)
    """N."""

    def __init__(self, seed: int, force: float = FIRST_FORCE) -> None:
        super().__init__(seed, force)
        self._first: Heights | None = None
        self._arms = np.zeros((0, 4))
        self._pulled = 0

    def _choose(self) -> Array:
        rng = self._rng
        if self._first is None or len(self._arms) == 0:
            grasps, _ = candidates.antipodal(self._heights, rng)
            kept = grasps[:: max(1, len(grasps) // self.GRASPS)][: self.GRASPS]
            self._arms = kept if len(kept) else candidates.scattered(self._heights, rng, self.GRASPS)
            self._first = self._heights
            self._counts = np.ones((len(self._arms) * len(self.FORCES), 2))
        self._pulled = int(np.argmax(rng.beta(self._counts[:, 0], self._counts[:, 1])))
        arm, force = divmod(self._pulled, len(self.FORCES))
        self._force = self.FORCES[force]
        return candidates.carried_over(self._arms[arm], self._first, self._heights)

    def _finish(self, success: bool) -> None:
        self._counts[self._pulled, 0 if success else 1] += 1.0


class Scripted(ForceRule):
    """The first data of a training: grasps, corrections, forces and speeds that vary widely; nothing privileged."""

    ANYWHERE, ANY_FITTING = 0.15, 0.5
    """Shares of grasps anywhere on the shape, and (up to the second) anywhere it fits; the others are good ones."""
    CORRECTED, FORCE_CHANGED = 0.4, 0.5
    """Shares of CLOSE with a large correction, and of LIFT with another force."""

    def __init__(self, seed: int) -> None:
        super().__init__(seed)
        rng = self._rng
        self._force = float(np.exp(rng.uniform(np.log(2.0), np.log(20.0))))
        self._ruled = rng.random() < 0.7

    def act(self, observation: Array) -> Array:
        """The action [A] for an observation [O]."""
        rng = self._rng
        action = super().act(observation)
        phase = spaces.phase_of(observation)
        if phase is Phase.PLACE:
            near = self._grasp + np.append(rng.normal(0.0, 0.003, 3), rng.normal(0.0, 0.08))
            near[2] = max(near[2], candidates.LOWEST)
            return spaces.grasp_action(*near)
        if phase is Phase.CLOSE:
            step = proposals.CORRECTIONS[rng.integers(len(proposals.CORRECTIONS))]
            action[:3] = step * (rng.random() < self.CORRECTED) + rng.normal(0.0, 0.1, 3)
        else:
            action[spaces.FORCE] += rng.normal(0.0, 0.13) * (rng.random() < self.FORCE_CHANGED)
            action[5] = rng.uniform(-1.0, 1.0)
        return np.clip(action, -1.0, 1.0)

    def _choose(self) -> Array:
        rng = self._rng
        grasps, _ = candidates.antipodal(self._heights, rng)
        drawn = rng.random()
        if len(grasps) == 0 or drawn < self.ANYWHERE:
            return candidates.scattered(self._heights, rng, 1)[0]
        return grasps[rng.integers(len(grasps) if drawn < self.ANY_FITTING else min(4, len(grasps)))]

    def _finish(self, success: bool) -> None:
        if self._ruled:
            super()._finish(success)
            self._force = float(
                np.clip(self._force * np.exp(self._rng.normal(0.0, 0.15)), spaces.FORCE_LOW, spaces.FORCE_HIGH)
            )
        else:
            self._force = float(np.exp(self._rng.uniform(np.log(spaces.FORCE_LOW), np.log(spaces.FORCE_HIGH))))
