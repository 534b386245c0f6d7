"""What `policy` announces, and the policy loaded from it (knows no rclpy; torch is imported when a policy is loaded)."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from mql_ros.errors import UserError
from mql_ros.grasping import spaces
from mql_ros.nodes.conversions import BadMessage

if TYPE_CHECKING:
    from mql_ros.algorithm.context import ContextTracker
    from mql_ros.algorithm.policy_bundle import PolicyBundle
    from mql_ros.algorithm.td3 import TD3Learner


@dataclass(frozen=True)
class Announcement:
    """A policy that the nodes shall use."""

    bundle: str
    """Its directory."""
    version: int
    hash: str
    """SHA-256 of its manifest; a bundle with another one is not loaded."""

    def to_json(self) -> str:
        """As `policy` carries it."""
        return json.dumps(asdict(self))

    @staticmethod
    def from_json(text: str) -> Announcement:
        """From what `policy` carries; BadMessage when it is something else."""
        try:
            data = json.loads(text)
            return Announcement(str(data["bundle"]), int(data["version"]), str(data["hash"]))
        except (ValueError, TypeError, KeyError) as error:
            raise BadMessage(f"policy is no JSON object with bundle, version and hash: {text[:80]!r}") from error


@dataclass(frozen=True)
class LoadedPolicy:
    """A policy ready to act."""

    version: int
    hash: str
    learner: TD3Learner
    history_blocks: int

    @property
    def context_size(self) -> int:
        """Length of the context."""
        return self.learner.network_config.context_size

    def act(self, observation: NDArray[np.float64], context: NDArray[np.float32]) -> NDArray[np.float64]:
        """Action [4] for an observation [15] and a context."""
        return self.learner.act(observation.astype(np.float32), context).astype(np.float64)

    def new_tracker(self) -> ContextTracker:
        """An empty history of this policy's length, with its encoder."""
        from mql_ros.algorithm.context import ContextTracker

        return ContextTracker(
            self.learner.encoder, self.history_blocks, spaces.ACTION_SIZE, spaces.OBSERVATION_SIZE
        )


def load_policy(announcement: Announcement, robot: str) -> LoadedPolicy:
    """Load an announced policy for a robot; UserError says why it cannot be used."""
    from mql_ros.algorithm.policy_bundle import load_bundle

    bundle = load_bundle(announcement.bundle)
    if bundle.hash != announcement.hash:
        raise UserError(
            f"policy bundle {announcement.bundle} has hash {bundle.hash[:12]}, but {announcement.hash[:12]} was "
            "announced; it was changed since; announce it anew"
        )
    check_policy(bundle, robot)
    import torch

    torch.set_num_threads(1)  # for one observation at a time, more threads only disturb the other nodes
    return LoadedPolicy(announcement.version, bundle.hash, bundle.make_learner(), bundle.history_blocks)


def check_policy(bundle: PolicyBundle, robot: str) -> None:
    """Raise UserError when a policy is for another robot or another task."""
    trained_robot, trained_task = bundle.manifest["robot"].get("name"), bundle.manifest["task"].get("name")
    if trained_robot != robot:
        raise UserError(
            f"policy bundle {bundle.path} was trained for robot '{trained_robot}', not for '{robot}'; choose another"
        )
    network = bundle.network_config
    sizes = network.observation_size, network.action_size
    if trained_task != spaces.TASK_NAME or sizes != (spaces.OBSERVATION_SIZE, spaces.ACTION_SIZE):
        raise UserError(
            f"policy bundle {bundle.path} was trained for task '{trained_task}' with {sizes[0]} observations and "
            f"{sizes[1]} actions; expected '{spaces.TASK_NAME}' with {spaces.OBSERVATION_SIZE} and "
            f"{spaces.ACTION_SIZE}; choose another"
        )
