"""Sessions seen from another side: mirrored, and turned by quarters about the vertical.

How the base's axes lie on the table does not matter to a grasp. Reflections and quarter turns bring the cells of a
height map onto cells, so nothing is interpolated. What changes is the camera's side alone.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from mql_ros.algorithm.experience.batch import Batch
from mql_ros.grasping.learning.networks import tool_poses
from mql_ros.grasping.task import spaces
from mql_ros.grasping.task.spaces import Phase

_YAW = spaces.ACTION_NAMES.index("yaw")


def moved(batch: Batch, quarters: Tensor, mirrored: Tensor) -> Batch:
    """A batch of whole sessions with each window w mirrored (x axis kept) where `mirrored` [W], then turned.

    `quarters` [W] int64 counts quarter turns from x to y. Windows and their transitions move alike.
    """
    a, (windows, length) = spaces.ACTION_SIZE, batch.items.shape[:2]
    items = batch.items.flatten(0, 1)
    action, following, done = items[:, :a], items[:, a + 1 : -1], items[:, -1]
    phases = following[:, spaces.VIEW_SIZE : spaces.VIEW_SIZE + len(Phase)]
    # An item holds the observation that followed its action.
    last = (done > 0.5).to(torch.int64)
    phase = (phases.argmax(dim=1) - 1 + last).clamp(min=0)
    of_item = quarters.repeat_interleave(length), mirrored.repeat_interleave(length)
    items = torch.cat(
        [
            _actions(action, phase, _heading(following), *of_item),
            items[:, a : a + 1],
            _observations(following, *of_item),
            items[:, -1:],
        ],
        dim=1,
    )
    of_step = quarters[batch.row], mirrored[batch.row]
    phase = batch.observation[:, spaces.VIEW_SIZE : spaces.VIEW_SIZE + len(Phase)].argmax(dim=1)
    return replace(
        batch,
        items=items.reshape(windows, length, -1),
        observation=_observations(batch.observation, *of_step),
        action=_actions(batch.action, phase, _heading(batch.observation), *of_step),
        next_observation=_observations(batch.next_observation, *of_step),
    )


def moved_at_random(batch: Batch, rng: np.random.Generator, share: float) -> Batch:
    """The batch with a share of its windows moved, evenly by each of the eight motions."""
    count = len(batch.items)
    chosen = rng.random(count) < share
    quarters, mirrored = rng.integers(4, size=count) * chosen, (rng.random(count) < 0.5) & chosen
    return moved(batch, torch.from_numpy(quarters), torch.from_numpy(mirrored))


def _heading(observation: Tensor) -> Tensor:
    """Heading of the tool [n] in observations [n, O], rad in [-pi / 2, pi / 2]."""
    return tool_poses(observation[:, spaces.VIEW_SIZE :])[:, 3]


def _turned_heading(yaw: Tensor, quarters: Tensor, mirrored: Tensor) -> tuple[Tensor, Tensor]:
    """Heading [n] after the motion, within a half turn of pads, and 1 or -1 [n]: whether the tool's axes flipped."""
    yaw = torch.where(mirrored, -yaw, yaw) + quarters * (torch.pi / 2)
    halves = torch.ceil(yaw / torch.pi - 0.5)
    return yaw - halves * torch.pi, 1.0 - 2.0 * (halves.to(torch.int64) % 2)


def _turned(x: Tensor, y: Tensor, quarters: Tensor, mirrored: Tensor) -> tuple[Tensor, Tensor]:
    """Coordinates in the base's axes after the motion."""
    y = torch.where(mirrored, -y, y)
    c, s = _COS[quarters], _SIN[quarters]
    return c * x - s * y, s * x + c * y


_COS, _SIN = torch.tensor([1.0, 0.0, -1.0, 0.0]), torch.tensor([0.0, 1.0, 0.0, -1.0])


def _actions(action: Tensor, phase: Tensor, yaw: Tensor, quarters: Tensor, mirrored: Tensor) -> Tensor:
    """Actions [n, A] of phases [n], of a tool with these headings [n] (rad), after the motion."""
    found = action.clone()
    place, close = phase == Phase.PLACE, phase == Phase.CLOSE
    x, y = _turned(action[:, 0], action[:, 1], quarters, mirrored)
    heading, _ = _turned_heading(action[:, _YAW] * (torch.pi / 2), quarters, mirrored)
    _, flip = _turned_heading(yaw, quarters, mirrored)
    across = torch.where(mirrored, -action[:, 1], action[:, 1])
    found[:, 0] = torch.where(place, x, torch.where(close, flip * action[:, 0], action[:, 0]))
    found[:, 1] = torch.where(place, y, torch.where(close, flip * across, action[:, 1]))
    found[:, _YAW] = torch.where(place, heading / (torch.pi / 2), action[:, _YAW])
    return found


def _observations(observation: Tensor, quarters: Tensor, mirrored: Tensor) -> Tensor:
    """Observations [n, O] after the motion; before PLACE the tool is where it waits, and only the view moves."""
    cells = spaces.VIEW_CELLS
    view = observation[:, : spaces.VIEW_SIZE].reshape(-1, cells, cells)
    view = torch.where(mirrored[:, None, None], view.flip(2), view)
    for turns in (1, 2, 3):
        chosen = quarters == turns
        view = torch.where(chosen[:, None, None], view.rot90(turns, (1, 2)), view)
    signals = observation[:, spaces.VIEW_SIZE :].clone()
    _, flip = _turned_heading(_heading(observation), quarters, mirrored)
    column = {name: signals[:, number].clone() for name, number in spaces.SIGNAL.items()}
    x, y = _turned(column["tool_x"], column["tool_y"], quarters, mirrored)
    c, s = _turned(column["tool_cos"], column["tool_sin"], (2 * quarters) % 4, mirrored)
    mirror = 1.0 - 2.0 * mirrored.to(signals.dtype)
    moved = {"tool_x": x, "tool_y": y, "tool_cos": c, "tool_sin": s}
    moved |= {name: column[name] * flip for name in ("contact_x", "lift_torque_y")}
    moved |= {name: column[name] * flip * mirror for name in ("contact_y", "side_force", "lift_torque_x")}
    waiting = column["phase_place"] > 0.5
    for name, values in moved.items():
        signals[:, spaces.SIGNAL[name]] = torch.where(waiting, column[name], values)
    return torch.cat([view.flatten(1), signals], dim=1)
