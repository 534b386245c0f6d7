"""Networks of the grasping policy: what was seen is cropped where the fingers are, then judged with what was felt."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from mql_ros.algorithm.networks import Encoder
from mql_ros.algorithm.q_learning import ProposingCritic
from mql_ros.grasping.learning import proposals
from mql_ros.grasping.task import spaces
from mql_ros.grasping.task.spaces import Phase

CROP_CELLS, CROP_CELL = 20, 0.006
"""A crop covers 12 x 12 cm in the gripper's frame, m a cell."""
CROP_SCALE = 0.03
NUMBERS = 9


@dataclass(frozen=True)
class GraspNetworkConfig:
    """Sizes of the networks; two configurations that differ describe incompatible weights."""

    context_size: int = 48
    """Length C of the context, which is the hidden size of the GRU."""
    embedding_size: int = 48
    """Length of an embedded crop."""
    hidden_size: int = 128
    """Width of the critics' two hidden layers."""
    item_size: int = 64
    """Width of the tanh embedding of a history item in front of the GRU."""
    use_context: bool = True
    """False zeroes the context everywhere: the published ablation without context."""
    dropout: float = 0.1
    """Probability with which a hidden unit of the critics is dropped in training."""


def tool_poses(signals: Tensor) -> Tensor:
    """Pose [..., 4] of the tool (x, y, z m, heading rad) about the view's centre, from signals [..., S]."""
    x, y = signals[..., 3] * spaces.PLACE_SCALE, signals[..., 4] * spaces.PLACE_SCALE
    yaw = 0.5 * torch.atan2(signals[..., 7], signals[..., 6])
    return torch.stack([x, y, signals[..., 5] * spaces.HEIGHT_SCALE, yaw], dim=-1)


def grasp_poses(signals: Tensor, actions: Tensor) -> Tensor:
    """Pose [..., 4] at which the fingers will be: PLACE's own, CLOSE's corrected one, LIFT's present one."""
    half, middle = 0.5 * (spaces.Z_HIGH - spaces.Z_LOW), 0.5 * (spaces.Z_HIGH + spaces.Z_LOW)
    placed = torch.stack(
        [
            actions[..., 0] * spaces.REACH,
            actions[..., 1] * spaces.REACH,
            actions[..., 2] * half + middle,
            actions[..., 3] * (torch.pi / 2),
        ],
        dim=-1,
    )
    tool = tool_poses(signals)
    c, s = torch.cos(tool[..., 3]), torch.sin(tool[..., 3])
    along, across, up = (actions[..., k] * spaces.CORRECTION for k in range(3))
    shift = torch.stack([c * along + s * across, s * along - c * across, up, torch.zeros_like(up)], dim=-1)
    place, close = signals[..., :1], signals[..., 1:2]
    return place * placed + (1.0 - place) * (tool + close * shift)


_MIDDLES = (torch.arange(CROP_CELLS, dtype=torch.float32) - CROP_CELLS / 2 + 0.5) * CROP_CELL


def crops(views: Tensor, poses: Tensor) -> Tensor:
    """Crops [B, K, 20, 20] of views [B, 1024] in the frames of poses [B, K, 4]: height over the fingertips."""
    count, several = poses.shape[:2]
    heights = views.reshape(count, 1, spaces.VIEW_CELLS, spaces.VIEW_CELLS) * spaces.VIEW_SCALE
    c, s = torch.cos(poses[..., 3])[..., None, None], torch.sin(poses[..., 3])[..., None, None]
    along, across = _MIDDLES[:, None], _MIDDLES[None, :]
    x = poses[..., 0, None, None] + c * along + s * across
    y = poses[..., 1, None, None] + s * along - c * across
    half = 0.5 * spaces.VIEW_CELLS * spaces.CELL
    grid = torch.stack([y, x], dim=-1) / half  # the last axis of the image is y
    grid = grid.reshape(count, several * CROP_CELLS, CROP_CELLS, 2)
    found = F.grid_sample(heights, grid, mode="bilinear", padding_mode="zeros", align_corners=False)
    found = found.reshape(count, several, CROP_CELLS, CROP_CELLS)
    return ((found - poses[..., 2, None, None]) / CROP_SCALE).clamp(-2.0, 2.0)


def numbers(poses: Tensor, crop: Tensor, top: Tensor) -> Tensor:
    """Few numbers [..., 9] about a pose: height, how deep the shape reaches between the fingers, where it is."""
    c, s = torch.cos(poses[..., 3]), torch.sin(poses[..., 3])
    between = crop[..., CROP_CELLS // 2 - 2 : CROP_CELLS // 2 + 2, CROP_CELLS // 2 - 4 : CROP_CELLS // 2 + 4]
    depth = between.amax(dim=(-2, -1))
    along = (c * poses[..., 0] + s * poses[..., 1]) / 0.04
    across = (s * poses[..., 0] - c * poses[..., 1]) / 0.04
    rest = [torch.cos(2 * poses[..., 3]), torch.sin(2 * poses[..., 3]), c, s]
    return torch.stack([poses[..., 2] / 0.05, depth, along, across, top.expand_as(depth), *rest], dim=-1)


class CropEmbedding(nn.Module):
    """A small convolutional network: crops [n, 20, 20] -> [n, E]."""

    def __init__(self, size: int, channels: int = 16) -> None:
        super().__init__()
        self.first = nn.Conv2d(1, channels, 5, stride=2, padding=2)
        self.second = nn.Conv2d(channels, 2 * channels, 3, stride=2, padding=1)
        self.out = nn.Linear(2 * channels * 25, size)

    def forward(self, crop: Tensor) -> Tensor:
        values = F.relu(self.second(F.relu(self.first(crop[:, None]))))
        return torch.tanh(self.out(values.flatten(1)))


class GraspEncoder(Encoder):
    """GRU over history items: crop where the fingers were, what was done, felt and earned."""

    def __init__(self, config: GraspNetworkConfig) -> None:
        super().__init__()
        self.config = config
        self.embedding = CropEmbedding(config.embedding_size, 8)
        size = config.embedding_size + NUMBERS + spaces.ACTION_SIZE + spaces.SIGNAL_SIZE + 5
        self.item = nn.Linear(size, config.item_size)
        self.gru = nn.GRU(config.item_size, config.context_size, batch_first=True)

    def embed(self, items: Tensor) -> Tensor:
        """Items [n, A + 1 + O + 1] -> [n, item_size]."""
        a = spaces.ACTION_SIZE
        action, reward, done = items[:, :a], items[:, a : a + 1], items[:, -1:]
        view, signals = items[:, a + 1 : a + 1 + spaces.VIEW_SIZE], items[:, a + 1 + spaces.VIEW_SIZE : -1]
        pose = tool_poses(signals)
        crop = crops(view, pose[:, None])[:, 0]
        known = numbers(pose, crop, signals[:, -1])
        side = signals[:, 16:17]
        c, s = known[:, 7:8], known[:, 8:9]
        parts = [self.embedding(crop), known, action, signals, reward, done, action[:, 4:5] ** 2, s * side, -c * side]
        return torch.tanh(self.item(torch.cat(parts, dim=-1)))

    def forward(self, items: Tensor, lengths: Tensor | None = None) -> Tensor:
        """Contexts along every window: items [W, L, D] -> [W, L + 1, C]."""
        windows, length = items.shape[:2]
        if not self.config.use_context or items.numel() == 0:
            return items.new_zeros(windows, length + 1, self.config.context_size)
        outputs, _ = self.gru(self.embed(items.flatten(0, 1)).reshape(windows, length, -1))
        return F.pad(outputs, (0, 0, 1, 0))

    def step(self, item: Tensor, hidden: Tensor) -> Tensor:
        """One more item for each of n histories: item [D], hidden [n, C] -> [n, C]."""
        if not self.config.use_context:
            return torch.zeros_like(hidden)
        embedded = self.embed(item[None]).expand(len(hidden), -1)
        return torch.gru_cell(embedded, hidden, *self.gru.all_weights[0])


class GraspCritic(ProposingCritic):
    """Two action values as logits: the sigmoid of a logit is the return, scaled to [0, 1]."""

    def __init__(self, config: GraspNetworkConfig) -> None:
        super().__init__()
        self.config = config
        self.embedding = CropEmbedding(config.embedding_size)
        size = config.embedding_size + NUMBERS + spaces.SIGNAL_SIZE + 6 + config.context_size
        self.heads = nn.ModuleList(
            nn.Sequential(
                nn.Linear(size, config.hidden_size),
                nn.LayerNorm(config.hidden_size),
                nn.ReLU(),
                nn.Dropout(config.dropout),
                nn.Linear(config.hidden_size, config.hidden_size),
                nn.LayerNorm(config.hidden_size),
                nn.ReLU(),
                nn.Linear(config.hidden_size, 1),
            )
            for _ in range(2)
        )

    def look(self, observation: Tensor, poses: Tensor, context: Tensor) -> Tensor:
        """What is known [B, K, E + 9 + S + C] at poses [B, K, 4] in observations [B, O] with contexts [B, C]."""
        view, signals = observation[:, : spaces.VIEW_SIZE], observation[:, spaces.VIEW_SIZE :]
        crop = crops(view, poses)
        embedded = self.embedding(crop.flatten(0, 1)).reshape(*poses.shape[:2], -1)
        context = context if self.config.use_context else torch.zeros_like(context)
        same = torch.cat([signals, context], dim=-1)[:, None].expand(-1, poses.shape[1], -1)
        return torch.cat([embedded, numbers(poses, crop, signals[:, None, -1]), same], dim=-1)

    def judge(self, known: Tensor, signals: Tensor, action: Tensor) -> Tensor:
        """Logits [2, ...] for what is known at the pose [..., E + 9 + S + C], signals and actions [..., 6]."""
        close, lift = signals[..., 1:2], signals[..., 2:3]
        force = action[..., 4:5] * (close + lift)
        done = torch.cat([force, force * force, action[..., 5:6] * lift, action[..., :3] * close], dim=-1)
        return torch.stack([self._logit(head, known, done) for head in self.heads])

    @staticmethod
    def _logit(head: nn.Module, known: Tensor, done: Tensor) -> Tensor:
        """A head's logit; several actions may share what is known, which is then multiplied once."""
        first, *rest = head.children()
        assert isinstance(first, nn.Linear)
        size = known.shape[-1]
        hidden = F.linear(known, first.weight[:, :size], first.bias) + F.linear(done, first.weight[:, size:])
        for layer in rest:
            hidden = layer(hidden)
        return hidden[..., 0]

    def forward(self, observation: Tensor, context: Tensor, action: Tensor) -> Tensor:
        """Logits [2, B, K] of actions [B, K, A] in observations [B, O] with contexts [B, C]."""
        signals = observation[:, None, spaces.VIEW_SIZE :].expand(-1, action.shape[1], -1)
        return self.judge(self.look(observation, grasp_poses(signals, action), context), signals, action)

    def greatest(self, observation: Tensor, context: Tensor) -> Tensor:
        """The greatest smaller logit [M] over the actions that may follow observations [M, O] before CLOSE or LIFT."""
        found = observation.new_zeros(len(observation))
        closing = observation[:, spaces.VIEW_SIZE + Phase.CLOSE] > 0.5
        for chosen, propose in ((closing, proposals.next_closing), (~closing, proposals.next_lifting)):
            if not bool(chosen.any()):
                continue
            seen = observation[chosen]
            signals = seen[:, None, None, spaces.VIEW_SIZE :]
            actions = propose(seen[:, spaces.VIEW_SIZE :])
            # What is seen at the fingers depends on the correction alone, which comes with several forces.
            poses = grasp_poses(signals[:, 0], actions[:, :, 0])
            known = self.look(seen, poses, context[chosen])[:, :, None]
            found[chosen] = self.judge(known, signals, actions).amin(dim=0).amax(dim=(1, 2))
        return found

    def propose(self, observation: NDArray, rng: np.random.Generator) -> NDArray:
        """Actions [K, A] to choose from in an observation [O]."""
        return proposals.proposals(observation, rng)
