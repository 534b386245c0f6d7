"""An oracle: searches for a grasp with an adequate force, and says why where there is none.

It knows mass, friction and crush force, and sees without noise; it finds places only by trying them, as a policy must.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Any

import numpy as np

from mql_ros.grasping.learning.candidates import ABOVE_TABLE, LOWEST, antipodal, carried_over, scattered
from mql_ros.grasping.perception.camera import PerceptionError
from mql_ros.grasping.perception.height_map import CELL, CELLS, HeightMap, Heights
from mql_ros.grasping.task import spaces
from mql_ros.grasping.types import Array
from mql_sim.benches import Bench
from mql_sim.camera import DepthNoise, Miscalibration
from mql_sim.environment import GraspTask
from mql_sim.objects.hidden import slip_force
from mql_sim.objects.thing import Thing

ATTEMPTS = 32
"""Placements in which a grasp is searched."""
CONFIRMATIONS, ENOUGH = 3, 2
"""Further placements in which a grasp that was found is repeated, and how many of them must succeed."""
UNSEEN = 20
"""Placements in a row in which an object is not seen, after which the search ends."""
FOUND = 3
"""Grasps that may fail to be confirmed."""
PLACE = 0.02
"""Side of what counts as one place on an object, m."""
BLADE = 0.004
"""Objects that rise less above the table than this offer nothing to hold, m."""
EXACT = Bench(
    calibration=Miscalibration(shift=0.0), slips=0.0,
    noise=DepthNoise(deviation=0.0, quantum=0.0, missing=0.0, missing_at_edges=0.0),
)  # fmt: skip
"""A bench without noise."""


@dataclass(frozen=True)
class Verdict:
    """What the oracle found for an object."""

    success: bool
    grasp: tuple[float, float, float, float] | None
    """Best grasp: x, y, z (m) about the view's centre of the placement where it was found, and heading (rad)."""
    force: float
    """Force that was used, N: the geometric mean of those at which it slips and gives way."""
    confirmed: int
    """Further placements, of `CONFIRMATIONS`, in which the best grasp lifted the object."""
    attempts: int
    """Trials until the grasp was found."""
    reason: str
    """Why there is no grasp, in one sentence; empty if there is one."""

    def as_dict(self) -> dict[str, Any]:
        """Return plain JSON."""
        grasp = None if self.grasp is None else dict(zip(("x", "y", "z", "yaw"), self.grasp, strict=True))
        return {
            "success": self.success, "grasp": grasp, "force": self.force, "confirmed": self.confirmed,
            "attempts": self.attempts, "reason": self.reason,
        }  # fmt: skip


def adequate_force(thing: Thing, largest: float = spaces.FORCE_HIGH) -> float:
    """Return the geometric mean of the forces at which an object slips and gives way, at most the largest, N."""
    slip = slip_force(thing.mass, thing.friction)
    return float(np.sqrt(slip * min(thing.crush_force, max(largest, slip))))


class Oracle:
    """The search for a grasp of one object; `search` does all of it."""

    def __init__(self, task: GraspTask, thing: Thing, seed: int) -> None:
        self._task, self._thing = task, thing
        self._force = min(adequate_force(thing, task.world.profile.max_force), task.world.profile.max_force)
        self._rng = np.random.default_rng([seed, 13])
        self._outcomes: Counter[str] = Counter()
        self._narrowest, self._top = np.inf, 0.0
        self._unseen = ""

    def search(self, seed: int) -> Verdict:
        """Try candidates on one placement after the other until one lifts, and on further placements again."""
        if not self._task.set_thing(self._thing, seed, EXACT):
            return self._verdict(None, 0, 0, "it does not come to rest on the table")
        best: tuple[Array | None, int] = None, -1
        tried = found = 0
        while tried < ATTEMPTS and found < FOUND:
            if not self._see():
                break
            tried += 1
            view = self._task.view
            grasp = self._candidate(view.heights, tried)
            if grasp is None or not self._lifts(grasp):
                continue
            found += 1
            confirmed = sum(self._repeats(grasp, view) for _ in range(CONFIRMATIONS))
            if confirmed > best[1]:
                best = grasp, confirmed
            if confirmed >= ENOUGH:
                break
        success = best[1] >= ENOUGH
        return self._verdict(best[0], max(best[1], 0), tried, "" if success else self._why(found))

    def _see(self) -> bool:
        """Begin a trial in the next placement in which the object is seen; False if there is none among several."""
        for _ in range(UNSEEN):
            try:
                self._task.begin_trial()
                break
            except (PerceptionError, ValueError) as error:
                self._unseen = str(error)
        else:
            return False
        heights = self._task.view.heights
        self._narrowest = min(self._narrowest, calipers(heights)[0])
        self._top = max(self._top, float(heights.max()))
        return True

    def _candidate(self, heights: Heights, number: int) -> Array | None:
        """Another candidate each time: the best one first, then any, across the narrowest side, and anywhere."""
        grasps, _ = antipodal(heights, self._rng)
        if number % 4 == 3:
            return calipers(heights)[1]
        if number % 4 == 0 or (len(grasps) == 0 and number > 2):
            return scattered(heights, self._rng, 1)[0]
        if len(grasps) == 0:
            return None
        # The best candidates crowd in one place: after the first, every place has the same chance.
        places = np.unique(np.floor(grasps[:, :2] / PLACE), axis=0, return_inverse=True)[1].ravel()
        chosen = 0 if number == 1 else self._rng.choice(np.flatnonzero(places == self._rng.choice(np.unique(places))))
        return np.asarray(grasps[chosen])

    def _lifts(self, grasp: Array) -> bool:
        """Carry a grasp [4] out and count what became of it."""
        task = self._task
        refusals = task.machine.refusals
        observation = np.zeros(0)
        for action in spaces.trial_actions(grasp, self._force):
            observation, _, done = task.decide(action)
            if done:
                break
        if task.truly_lifted and task.world.measure().finger_width <= task.world.profile.max_width:
            self._outcomes["lifted"] += 1
            return True
        touched = observation[spaces.VIEW_SIZE + spaces.SIGNAL["effort_peak"]] > 0.0
        if task.machine.refusals > refusals:
            self._outcomes["refused"] += 1
        elif task.world.crushed:
            self._outcomes["crushed"] += 1
        else:
            self._outcomes["slipped" if touched else "missed"] += 1
        return False

    def _repeats(self, grasp: Array, view: HeightMap) -> bool:
        """Whether the same grasp lifts the object where it lies next."""
        return self._see() and self._lifts(carried_over(grasp, view, self._task.view))

    def _why(self, found: int) -> str:
        """Why no grasp was found."""
        thing, count = self._thing, self._outcomes
        largest = self._task.world.profile.max_force
        slip, opening = slip_force(thing.mass, thing.friction), 1000 * self._task.world.profile.max_width
        refusal = self._task.machine.last_refusal
        tried = sum(count.values())
        if tried == 0:
            return f"it is not seen so that a trial could begin: {self._unseen}" if self._unseen else "nothing was seen"
        if found:
            return "a grasp was found, but it does not lift the object again in other placements"
        if slip >= largest:
            return f"it slips at the largest force: {slip:.0f} N would be needed and the hand has {largest:.0f} N"
        if slip >= thing.crush_force:
            return f"it gives way at {thing.crush_force:.1f} N, before {slip:.1f} N hold it"
        if self._top < BLADE:
            return f"it is too flat: {1000 * self._top:.0f} mm above the table"
        if self._narrowest > self._task.world.profile.max_width and count["missed"] + count["refused"] > tried / 2:
            return (
                f"it is too wide everywhere: {1000 * self._narrowest:.0f} mm across at its narrowest, and the hand "
                f"opens to {opening:.0f} mm; no rim or handle was found to hold either"
            )
        kind, _ = max(count.items(), key=lambda item: item[1] if item[0] in ("refused", "crushed", "slipped") else 0)
        reasons = {
            "refused": f"the arm cannot reach it: {refusal}",
            "crushed": f"it gives way before it is lifted, at {thing.crush_force:.1f} N",
            "slipped": f"it slips out of every grasp that was tried, with {self._force:.1f} N",
        }
        return reasons.get(kind, f"the fingers closed on nothing in {tried} places that looked best")

    def _verdict(self, grasp: Array | None, confirmed: int, attempts: int, reason: str) -> Verdict:
        x, y, z, yaw = np.zeros(4) if grasp is None else grasp
        chosen = None if grasp is None else (float(x), float(y), float(z), float(yaw))
        return Verdict(not reason, chosen, self._force, confirmed, attempts, reason)


def find_grasp(task: GraspTask, thing: Thing, seed: int = 0) -> Verdict:
    """Search for a grasp of an object; `seed` decides how it rests and where it lies, as in a session."""
    return Oracle(task, thing, seed).search(seed)


def calipers(heights: Heights) -> tuple[float, Array]:
    """Width (m) of a seen shape where it is narrowest, seen from above, and the grasp [4] across its middle there."""
    cells = np.argwhere(heights > ABOVE_TABLE)
    if len(cells) == 0:
        return 0.0, np.array([0.0, 0.0, LOWEST, 0.0])
    places = (cells - CELLS / 2 + 0.5) * CELL
    yaws = np.arange(36) * (np.pi / 36) - np.pi / 2
    along = np.stack([np.cos(yaws), np.sin(yaws)])
    across = np.stack([np.sin(yaws), -np.cos(yaws)])
    low, high = (places @ across).min(axis=0), (places @ across).max(axis=0)
    k = int(np.argmin(high - low))
    inward = places @ along[:, k]
    middle = across[:, k] * (low + high)[k] / 2 + along[:, k] * (inward.min() + inward.max()) / 2
    z = max(LOWEST, float(heights.max()) - 0.03)
    return float(high[k] - low[k] + CELL), np.array([*middle, z, yaws[k]])
